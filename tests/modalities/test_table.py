"""Tables: what each column is taken as, numbers against numpy, words, missing cells, mistakes."""

import hashlib
import json

import numpy as np
import pytest
import torch

from sensorium.errors import DataError, RecipeError, RunError
from sensorium.modalities.table import FARTHEST, Column, Modality, Spec
from sensorium.records import Blob, Record, Source

NAMES = ("price", "colour", "note", "sold")
ROWS = [
    {
        "price": 3 * at + at % 2,
        "colour": ("red", "blue", "green")[at % 3],
        "note": f"lot {at} of the old harbour",
        "sold": at % 2 == 0,
    }
    for at in range(12)
]


def records(rows):
    return [Record(str(at), Source("m", at), row) for at, row in enumerate(rows)]


def fitted(rows=ROWS, names=NAMES, **spec) -> Modality:
    made = Modality(Spec(**spec))
    made.fit(records(rows), names)
    return made


def one(cells, **spec) -> Modality:
    """A table of one column `x`."""
    return fitted([{"x": cell} for cell in cells], ("x",), **spec)


def kinds(modality):
    return {column.name: column.kind for column in modality.columns}


def test_what_a_column_is():
    told = {"price": "number", "colour": "category", "note": "words", "sold": "boolean"}
    assert kinds(fitted()) == told
    assert [column.name for column in fitted().columns] == sorted(NAMES)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([1, 2.5, "3", " 4e1 ", "-.5", None, ""], "number"),
        ([True, "FALSE", False], "boolean"),
        ([True, 2, 3, 2, True, 3], "category"),  # truth and numbers mixed are no numbers
        (["1,5", "2", "1,5", "2"], "category"),  # a comma may stand for thousands as well
        (["n/a", "1", "n/a", "1"], "category"),
        (["nan", "inf", "nan", "inf"], "category"),
        (["a", "b", "c", "a"], "words"),  # fewer than half are said again
        (["a", "b", "a", "b"], "category"),
    ],
)
def test_kinds_are_inferred(cells, kind):
    assert kinds(one(cells)) == {"x": kind}


def test_many_different_texts_are_words():
    cells = [f"kind {at % 5}" for at in range(40)]
    assert kinds(one(cells)) == {"x": "category"}
    assert kinds(one(cells, categories=4)) == {"x": "words"}


def test_a_kind_can_be_overruled():
    assert kinds(one([1, 2, 1], kinds={"x": "category"})) == {"x": "category"}
    same = [one([1, 2, 3], kinds={"x": "category"}).read({"x": x}, "f") for x in (2, 2.0, "2")]
    assert all(np.array_equal(same[0], other) for other in same)


def test_what_was_taken_is_told():
    line = fitted().told()
    assert "colour (category, 3)" in line
    assert "price (number, 17 ± 10.44)" in line
    assert "note (words)" in line


def test_numbers_are_standardised_as_numpy_does():
    cells = np.random.default_rng(0).normal(40, 7, 500)
    written = [str(x) if at % 2 else float(x) for at, x in enumerate(cells)]
    modality = one([*written, None])
    got = [modality.read({"x": x}, "f") for x in written]
    want = (cells - cells.mean()) / cells.std()
    np.testing.assert_allclose([row[0, 1] for row in got], want, atol=1e-5)
    assert all(row[0, 0] == 1 for row in got)


def test_numbers_of_any_size_stay_finite():
    modality = one([1e308, -1e308, 3])
    column = modality.columns[0]
    assert np.isfinite([column.mean, column.deviation]).all()
    far = one([1.0, 2.0, 3.0])
    assert far.read({"x": 1e300}, "f")[0, 1] == FARTHEST
    assert far.read({"x": -1e300}, "f")[0, 1] == -FARTHEST


def test_a_number_that_only_may_be_missing_is_no_division_by_zero():
    modality = one([0.1, 0.1, 0.1, None])
    assert modality.read({"x": 0.1}, "f").tolist() == [[1, 0]]
    assert modality.read({"x": 1.1}, "f")[0, 1] == pytest.approx(1)


def test_categories_are_numbered_and_0_is_what_training_had_not():
    modality = one(["b", "a", " c", "a", "b", "c"])
    found = [modality.read({"x": x}, "f")[0].tolist() for x in ("a", "b", "c", "d", "A")]
    assert found == [[1, 1], [1, 2], [1, 3], [1, 0], [1, 0]]


def test_truth_is_the_same_in_any_spelling():
    modality = one([True, False])
    rows = [modality.read({"x": x}, "f")[0, 1] for x in (True, "true", " TRUE", False, "False")]
    assert rows == [2, 2, 2, 1, 1]


def test_words_are_hashed_with_the_column_as_key():
    """As the definition says, written down again: BLAKE2b of the typed, length-prefixed key."""

    def entry(column: str, word: str) -> int:
        state = hashlib.blake2b(digest_size=8)
        for part in ("table word", column, word):
            state.update(b"s" + len(part.encode()).to_bytes(4, "little") + part.encode())
        return 1 + (int.from_bytes(state.digest(), "little") >> 1) % 97

    texts = ["the old harbour", "a new one", "Old, OLD!", "ﬁsh"]
    rows = [{"x": text, "y": text} for text in texts]
    modality = fitted(rows, ("x", "y"), buckets=97, words=4)
    words = [["the", "old", "harbour"], ["a", "new", "one"], ["old", "old"], ["fish"]]
    for row, said in zip(rows, words, strict=True):
        for got, column in zip(modality.read(row, "f"), "xy", strict=True):
            want = sorted(entry(column, word) for word in said)
            assert got.tolist() == [1, *want, *[0] * (4 - len(want))]
    assert entry("x", "old") != entry("y", "old")


def test_words_are_a_bag_of_the_first():
    modality = one(["a b c", "d e f", "g h i"], words=3)
    first, turned, longer = (modality.read({"x": x}, "f") for x in ("a b c", "c A b", "c b a d"))
    assert first.shape == (1, 4)
    assert np.array_equal(first, turned)
    assert np.array_equal(first, longer)
    assert modality.read({"x": "?!"}, "f").tolist() == [[1, 0, 0, 0]]  # there, and no word


def test_the_order_of_columns_and_records_decides_nothing():
    row = ROWS[4]
    turned = fitted([dict(reversed(row.items())) for row in reversed(ROWS)], NAMES[::-1])
    assert turned.state() == fitted().state()
    assert np.array_equal(turned.read(row, "f"), fitted().read(dict(reversed(row.items())), "f"))


def test_missing_cells_hold_zeros():
    modality = fitted()
    row = modality.read({"price": None, "colour": "  ", "note": float("nan"), "sold": True}, "f")
    at = [column.name for column in modality.columns].index("sold")
    assert row[at].tolist()[:2] == [1, 2]
    assert not np.delete(row, at, 0).any()
    assert np.array_equal(row, modality.read({"sold": True}, "f"))


def test_other_fields_are_not_looked_at():
    modality = fitted()
    more = {**ROWS[0], "photo": Blob("a.png", data=b"x"), "list": [1, 2]}
    assert np.array_equal(modality.read(more, "f"), modality.read(ROWS[0], "f"))


def test_one_token_a_column_all_real():
    modality = fitted()
    content = modality.read({"sold": True}, "f")
    tokens = modality.tokens(content, None)
    assert tokens.values.shape == (1, modality.tokens_per_item, modality.channels)
    assert tokens.values.dtype == torch.float32
    assert tokens.real.all()
    assert tokens.position[0, :, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ([5, 5, 5], "only 5.0 in 3"),
        (["a", " a", "a"], "only 'a' in 3"),
        ([None, "", " "], "empty cells only in 3"),
        ([[1], [2, 3]], "a list of 1 in 2"),
        ([Blob("a.png", data=b"x")] * 2, "Blob"),
    ],
)
def test_a_column_that_tells_nothing_is_refused(cells, found):
    with pytest.raises(DataError) as caught:
        one(cells)
    assert caught.value.field == "x"
    assert "at least two different cells" in caught.value.expected
    assert found in caught.value.found


def test_what_is_missing_can_be_all_that_a_column_tells():
    assert one(["sale", "sale", None, None]).read({"x": "sale"}, "f").tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("cheap", "a number"),
        (True, "a number"),
        ([1, 2], "a number"),
        (float("inf"), "a finite number"),
        ("1e999", "a finite number"),
        (10**400, "a finite number"),
    ],
)
def test_a_cell_of_another_kind_is_refused(cell, expected):
    with pytest.raises(DataError, match=r"a\.csv row 3, column price") as caught:
        fitted().read({"price": cell}, "a.csv row 3")
    assert caught.value.expected.startswith(expected)


@pytest.mark.parametrize("value", [{}, {"price": None}, {"other": 3}])
def test_a_table_without_cells_is_refused(value):
    with pytest.raises(DataError, match="a cell that is not empty"):
        fitted().read(value, "f")


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(DataError, match="valid Unicode"):
        fitted().read({"colour": "\ud83d"}, "f")


def test_an_overruled_column_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(RecipeError) as caught:
        fitted(kinds={"pric": "number"})
    assert caught.value.nearest == "price"
    assert caught.value.field == "modalities.table.kinds.pric"


def test_reading_needs_a_fit():
    with pytest.raises(RuntimeError, match="fit or load"):
        Modality(Spec()).read({"x": 1}, "f")


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'[{"name": "b", "kind": "number"}, {"name": "a", "kind": "number"}]',
        b'[{"name": "a", "kind": "colour"}]',
        b'[{"name": "a", "kind": "number", "deviation": 0.0}]',
        b'[{"name": "a", "kind": "number", "more": 1}]',
    ],
)
def test_a_damaged_file_is_refused(content, tmp_path):
    (tmp_path / "columns.json").write_bytes(content)
    with pytest.raises(RunError, match="columns of a table"):
        Modality(Spec()).load(tmp_path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RunError, match="No such file"):
        Modality(Spec()).load(tmp_path)


def test_the_state_is_plain_json():
    (data,) = fitted().state().values()
    told = {column["name"]: column for column in json.loads(data)}
    assert told["colour"]["categories"] == ["blue", "green", "red"]
    prices = [row["price"] for row in ROWS]
    assert told["price"]["mean"] == pytest.approx(np.mean(prices))
    assert told["price"]["deviation"] == pytest.approx(np.std(prices))
    assert Column(name="a", kind="words").categories == ()
