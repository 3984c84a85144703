"""Which fields are columns of a table: what is inferred, what is told, what cannot be one."""

import json

import pyarrow
import pytest
from commands import sensorium
from miniature import csv_of, picture, pictures
from pyarrow import parquet

from sensorium import reading, tables
from sensorium.errors import DataError
from sensorium.records import Blob, Record, Records, Source, field_of, missing
from sensorium.world import _making, _setting

TRAIN = ("image", "text", "table")
COUNT = 20


def row(at: int, name: str) -> dict[str, str]:
    return {
        "id": f"k{at}",
        "photo": name,
        "title": f"thing {at}",
        "price": str(1.5 * at) if at % 5 else "",
        "colour": ("red", "blue")[at % 2],
        "caption_de": f"Ding {at}",
        "boxes": json.dumps([[at, 1, 2, 3]]),
        "same": "always",
        "category": f"c{at % 3}",
        "group": f"g{at}",
    }


@pytest.fixture
def shop(tmp_path):
    names = pictures(tmp_path, COUNT)
    return csv_of(tmp_path / "shop.csv", [row(at, name) for at, name in enumerate(names)])


def test_nothing_is_inferred_where_no_table_is_asked_for(shop):
    assert reading.read(shop).fields == {"photo": "image", "title": "text"}


def test_what_is_left_over_is_the_table(shop):
    found = reading.read(shop, train=TRAIN)
    want = {"photo": "image", "title": "text", "price": "table", "colour": "table"}
    assert found.fields == want
    note = next(note for note in found.notes if note.startswith("table"))
    left = "caption_de, boxes, same, category"
    assert note == f"table is read from price, colour; not from {left}"
    assert found[1].fields["price"] == "1.5"  # records keep their fields as they are


def test_facts_and_questions_are_no_columns_and_no_text_unless_they_are_named():
    cells = {
        "image": lambda at: Blob(f"{at}.png", data=b""),
        "fact.kind_1": lambda at: f"a kind {at % 3}",
        "question": lambda at: f"is it {at}?",
        "price": lambda at: at,
    }
    rows = [
        Record(str(at), Source("a", at), {name: cell(at) for name, cell in cells.items()})
        for at in range(COUNT)
    ]
    assert tables.infer(Records("a", rows, {"image": "image"})) == {"price": "table"}
    asked = Records("a", [Record(x.key, x.source, {**x.fields, "question": None}) for x in rows])
    assert reading.infer(asked) == {"image": "image"}  # else it would be the likeliest text
    named = {"image": "image", "question": "text", "fact.kind_1": "table"}
    assert reading._told(Records("a", rows), named) == named


def test_of_a_composed_world_only_its_table_is_one(tmp_path):
    """The factors stand beside it for probes and would give the label away."""
    setting = _setting.load("dropout", ["emit=[image, boxes, caption, question, table]"])
    _making.make(setting, 60, 0, tmp_path / "w")
    found = reading.read(tmp_path / "w", train=TRAIN)
    assert [name for name, kind in found.fields.items() if kind == "table"] == ["kind"]
    assert found.field_of("text") == "caption"


def test_what_is_told_otherwise_is_no_column(shop):
    told = {"photo": "image", "title": "text", "colour": "label"}
    found = reading.read(shop, told, train=(*TRAIN, "label"))
    assert found.fields == {**told, "price": "table"}


def test_told_columns_are_all(shop):
    told = {"photo": "image", "title": "text", "category": "table"}
    assert reading.read(shop, told, train=TRAIN).fields == told


def test_typed_columns_of_parquet(tmp_path):
    columns = {
        "image": [picture(at) for at in range(COUNT)],
        "caption": [f"thing {at}" for at in range(COUNT)],
        "whole": pyarrow.array([None if at % 4 == 3 else at for at in range(COUNT)], "int16"),
        "share": pyarrow.array([at / 7 for at in range(COUNT)], "float32"),
        "gone": pyarrow.array([float("nan")] * COUNT),
        "sold": [at % 2 == 0 for at in range(COUNT)],
        "kind": pyarrow.array(["a", "b"] * (COUNT // 2)).dictionary_encode(),
        "several": [[at, 1] for at in range(COUNT)],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "data.parquet")
    found = reading.read(tmp_path / "data.parquet", train=TRAIN)
    assert [x for x, kind in found.fields.items() if kind == "table"] == [
        "whole", "share", "sold", "kind",
    ]  # fmt: skip
    cells = found[3].value(field_of(found.fields, "table"))
    assert cells == {"share": pytest.approx(3 / 7), "sold": False, "kind": "b"}


def test_a_value_is_a_field_or_the_cells_that_are_there():
    record = Record("a", Source("m"), {"x": 0, "y": " ", "z": False, "w": None})
    assert record.value("y") == " "
    assert record.value(("x", "y", "z", "w")) == {"x": 0, "z": False}
    assert record.value(("y", "w", "none")) is None
    assert [missing(x) for x in (None, "", " \t", [], float("nan"))] == [True] * 5
    assert [missing(x) for x in (0, False, "0", 0.0, [1])] == [False] * 5


def test_fields_of_a_modality():
    fields = {"a": "image", "b": "table", "c": "image", "d": "table"}
    assert field_of(fields, "image") == "a"
    assert field_of(fields, "table") == ("b", "d")
    with pytest.raises(KeyError):
        field_of(fields, "text")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([["a", "b"]] * 12, "lists"),
        ([f"{at}.png" for at in range(12)], "names of pictures"),
        (["always"] * 12, "only 'always'"),
        ([None] * 12, "empty cells only"),
    ],
)
def test_what_cannot_be_a_column_is_told(tmp_path, values, found):
    columns = {
        "image": [picture(at) for at in range(12)],
        "caption": [f"thing {at}" for at in range(12)],
        "extra": pyarrow.array(values, None if values[0] else "string"),
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "d.parquet")
    told = {"image": "image", "caption": "text", "extra": "table"}
    with pytest.raises(DataError) as caught:
        reading.read(tmp_path / "d.parquet", told, train=TRAIN)
    assert (caught.value.field, caught.value.found) == ("extra", found)
    assert caught.value.expected.startswith("a column of a table")
    with pytest.raises(DataError) as caught:  # and it is not inferred either
        reading.read(tmp_path / "d.parquet", {"image": "image", "caption": "text"}, train=TRAIN)
    assert caught.value.expected == "a field with numbers or categories"


def test_pictures_are_no_column(tmp_path):
    records = [
        Record(str(at), Source("m"), {"photo": picture, "n": at})
        for at, picture in enumerate(reading_blobs(tmp_path))
    ]
    found = Records("memory", records)
    with pytest.raises(DataError, match="found pictures"):
        tables.refuse_unfit(found, ["photo"])
    assert tables.infer(found) == {"n": "table"}


def reading_blobs(folder):
    for number, name in enumerate(pictures(folder / "p", 12)):
        (folder / "p" / name).with_suffix(".txt").write_text(f"thing {number}")
    return [record.fields["image"] for record in reading.read(folder / "p")]


def test_a_column_that_is_not_there_is_named_with_the_nearest(shop, tmp_path):
    told = sensorium("pretrain", shop, "--out", tmp_path / "run", "--field", "prise=table")
    assert told.code == 2
    assert "field prise" in told.words
    assert "nearest price" in told.words
    assert len(told.err.splitlines()) <= 5
    assert not (tmp_path / "run").exists()
