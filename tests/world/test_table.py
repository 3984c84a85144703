"""Table rows: right as often as stated, wrong values uniform, forms, empty cells."""

import collections
import math

import pytest

from sensorium.errors import RecipeError
from sensorium.world import _sampling, _setting, table

COUNT = 4000


def load(*changes):
    return _setting.load("dropout", list(changes))


def rows(setting, count=COUNT, split="train"):
    for at in range(count):
        scene = _sampling.scene(setting, 4, split, at)
        yield scene.facts, table.emit(scene, setting, _sampling.key(setting, 4, split, at))


def near(found, count, share):
    return abs(found - count * share) <= 4.5 * math.sqrt(count * share * (1 - share))


@pytest.mark.parametrize("reliability", [0.0, 0.3, 0.8, 0.95, 1.0])
def test_a_column_is_right_as_often_as_stated(reliability):
    setting = load(f"table.kind.reliability={reliability}")
    right = sum(row["kind"] == facts["kind_1"] for facts, row in rows(setting))
    assert near(right, COUNT, reliability)


def test_wrong_values_are_uniform_over_the_others():
    setting = load("table.kind.reliability=0", "kinds=8")
    wrong = collections.Counter()
    values = setting.factors["kind_1"]
    for facts, row in rows(setting):
        step = (values.index(row["kind"]) - values.index(facts["kind_1"])) % len(values)
        wrong[step] += 1
    assert set(wrong) == set(range(1, 8))
    assert all(near(often, COUNT, 1 / 7) for often in wrong.values())


def test_columns_err_one_by_one():
    """Two copies of one factor, each right half of the time: both in a quarter."""
    setting = load("table={a: {of: kind_1, reliability: 0.5}, b: {of: kind_1, reliability: 0.5}}")
    both = sum(row["a"] == row["b"] == facts["kind_1"] for facts, row in rows(setting))
    assert near(both, COUNT, 0.25)


def test_each_form_holds_the_same_fact():
    forms = "a: {of: colour_1}, b: {of: colour_1, form: number}, c: {of: size_1, form: boolean}"
    setting = load("sizes=2", f"table={{{forms}, d: {{of: colour_1, form: text}}}}")
    assert {name: str(kind) for name, kind in table.columns(setting).items()} == {
        "a": "string", "b": "double", "c": "bool", "d": "string",
    }  # fmt: skip
    for facts, row in rows(setting, 100):
        colour = facts["colour_1"]
        assert row["a"] == colour
        assert row["b"] == ["red", "green", "blue", "yellow"].index(colour) + 1.0
        assert row["c"] is (facts["size_1"] == "large")
        assert row["d"] == f"somebody noted {colour}"


def test_cells_are_empty_as_often_as_stated_whatever_they_would_hold():
    setting = load("table.kind.blank=0.25")
    empty = collections.Counter(
        facts["kind_1"] for facts, row in rows(setting) if row["kind"] is None
    )
    assert near(empty.total(), COUNT, 0.25)
    assert all(near(often, empty.total(), 1 / 16) for often in empty.values())
    full = load()
    for (_, some), (_, all_) in zip(rows(setting, 200), rows(full, 200), strict=True):
        assert some["kind"] in (None, all_["kind"])  # the other cells stay what they were


def test_what_is_hidden_is_no_cell():
    setting = _setting.load(
        "bits",
        ["bits.unique_image=0.5", "table={g: {of: ground}}",
         "emit=[image, caption, table]"],
    )  # fmt: skip
    seen = [(facts["ground"], row["g"]) for facts, row in rows(setting, 200)]
    assert {row for ground, row in seen if ground == "hidden"} == {None}
    assert all(row == ground for ground, row in seen if ground != "hidden")


def test_the_kinds_of_the_split_unseen_are_copied_too():
    setting = load("unseen_kinds=16", "table.kind.reliability=0.5")
    for facts, row in rows(setting, 200, "unseen"):
        assert row["kind"] in setting.unseen
        assert facts["kind_1"] in setting.unseen


def test_a_truth_value_needs_two_values():
    with pytest.raises(RecipeError, match="two values"):
        load("table={a: {of: colour_1, form: boolean}}")
