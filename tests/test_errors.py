"""One clear error: what it says, in which order, and that it survives a process boundary."""

import copy
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium import errors
from sensorium.errors import (
    DataError,
    MissingExtra,
    NonFinite,
    RecipeError,
    RunError,
    Stopped,
    UserError,
    clip,
    nearest,
    unknown,
)

KINDS = [UserError, DataError, RecipeError, RunError, NonFinite, Stopped]


@pytest.mark.parametrize(
    ("place", "what"),
    [
        (dict(file="a.csv"), "a.csv"),
        (dict(file="a.csv", row=88), "a.csv row 88"),
        (dict(file="a.csv", row=0), "a.csv row 0"),
        (dict(file="a.csv", row=88, field="title"), "a.csv row 88, field title"),
        (dict(file="a.csv", record="k 1", field="title"), "a.csv record k 1, field title"),
        (dict(record="k1"), "record k1"),
        (dict(field="seed"), "field seed"),
        ({}, ""),
    ],
)
def test_the_place_is_the_first_line(place, what):
    assert UserError(**place).lines[0] == what
    told = UserError("too short", **place).lines[0]
    assert told == (f"{what}: too short" if what else "too short")


def test_each_thing_has_its_line():
    error = UserError(
        "captions.csv row 88, field title",
        expected="text",
        found="an empty cell",
        nearest="titel",
        see="sensorium doctor captions.csv",
    )
    assert str(error).splitlines() == [
        "captions.csv row 88, field title",
        "expected text, found an empty cell",
        "nearest  titel",
        "see      sensorium doctor captions.csv",
    ]
    assert UserError("x", expected="text").lines[1:] == ["expected text"]
    assert UserError("x", found="").lines[1:] == ["found "]


TEXT = st.none() | st.text()
FIELDS = st.fixed_dictionaries(
    dict(
        file=TEXT, row=st.none() | st.integers(), record=TEXT, field=TEXT, expected=TEXT,
        found=TEXT, nearest=TEXT, see=TEXT,
    )
)  # fmt: skip


@given(kind=st.sampled_from(KINDS), what=st.text(), fields=FIELDS)
def test_it_comes_back_from_another_process(kind, what, fields):
    error = kind(what, **fields)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert str(again) == str(error)
        assert vars(again) == vars(error)
        assert again.exit_code == error.exit_code


def test_one_with_its_own_arguments_comes_back_too():
    error = MissingExtra("a graph", "usearch", "index")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert "pip install 'sensorium[index]'" in str(error)


def test_exit_codes_differ_by_kind():
    assert {kind.__name__: kind.exit_code for kind in KINDS} == {
        "UserError": errors.EXIT_MISTAKE,
        "DataError": errors.EXIT_MISTAKE,
        "RecipeError": errors.EXIT_MISTAKE,
        "RunError": errors.EXIT_MISTAKE,
        "NonFinite": errors.EXIT_NUMERIC,
        "Stopped": errors.EXIT_STOPPED,
    }
    codes = {errors.EXIT_MISTAKE, errors.EXIT_NUMERIC, errors.EXIT_STOPPED}
    assert len(codes) == 3
    assert not codes & {0, 1}


@pytest.mark.parametrize(
    ("name", "valid", "found"),
    [
        ("contrastiv", ["contrastive", "matching"], "contrastive"),
        ("optimizer", ["objectives", "optimiser"], "optimiser"),
        ("imgae", ["text", "image"], "image"),
        ("xyz", ["text", "image"], None),
        ("image", [], None),
        ("", ["image"], None),
    ],
)
def test_the_nearest_name(name, valid, found):
    assert nearest(name, valid) == found
    assert nearest(name, iter(valid)) == found


@given(name=st.text(), valid=st.lists(st.text()))
def test_the_nearest_is_one_of_the_valid(name, valid):
    found = nearest(name, valid)
    assert found is None or found in valid
    if name and name in valid:
        assert found == name


@given(value=st.text() | st.binary() | st.lists(st.integers()), limit=st.integers(5, 200))
def test_a_found_value_fits_one_line(value, limit):
    told = clip(value, limit)
    assert len(told) <= limit
    assert "\n" not in told
    assert told in (repr(value), repr(value)[: limit - 1] + "…")


def test_an_unknown_name_lists_the_valid_ones():
    error = unknown("split", "tst", ["train", "test"], RunError, file="run")
    assert type(error) is RunError
    assert error.lines == [
        "run: no split called 'tst'",
        "expected one of test, train",
        "nearest  test",
    ]
    assert "but there is none" in str(unknown("recipe", "x", []))


def test_errors_import_nothing_heavy():
    code = "import sys, sensorium.errors; print({'torch', 'numpy', 'rich'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"
