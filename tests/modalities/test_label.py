"""Categories: what is one class, how classes are numbered, what is refused."""

import json

import pytest

from sensorium.errors import DataError, RunError
from sensorium.modalities import label
from sensorium.records import Blob, Record, Source


def fitted(values: list) -> label.Modality:
    modality = label.Modality(label.Spec())
    records = [Record(str(at), Source("a.csv", at), {"kind": v}) for at, v in enumerate(values)]
    modality.fit(records, "kind")
    return modality


def read(value):
    return label.Modality(label.Spec()).read(value, "kind")


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (" boat\n", "boat"),
        ("Boat", "Boat"),
        (3, "3"),
        (3.0, "3"),
        ("3", "3"),
        (-2.5, "-2.5"),
        (True, "true"),
        ("cafe\u0301", "caf\u00e9"),
        (Blob("a.txt", data="\ufeffBöot ".encode()), "Böot"),
    ],
)
def test_what_is_a_class(value, want):
    assert read(value) == want


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, "expected a class, found nothing"),
        (" ", "expected a class, found an empty one"),
        (["boat", "car"], "expected one class, found a list of 2"),
        (float("nan"), "found nan"),
        (float("inf"), "found inf"),
        (Blob("a.txt", data=b"\xff\xfe\x00"), "expected UTF-8 text"),
    ],
)
def test_what_is_no_class(value, found):
    with pytest.raises(DataError, match=found):
        read(value)


def test_classes_are_sorted_whatever_the_order_of_records():
    values = ["car", "boat", None, "", "train", "boat"]
    assert fitted(values).classes == fitted(values[::-1]).classes == ["boat", "car", "train"]
    assert fitted([10, "9", 2.0, "-1.5", "10"]).classes == ["-1.5", "2", "9", "10"]
    assert fitted(["10", "9", "x"]).classes == ["10", "9", "x"]


def test_index_and_what_training_did_not_have():
    modality = fitted(["car", "boat"])
    assert [modality.index(name) for name in modality.classes] == [0, 1]
    assert modality.index("Boat") == modality.index("plane") == -1


@pytest.mark.parametrize(
    ("values", "found"),
    [(["boat"] * 5, "found only 'boat' in 5 training"), ([None, ""], "found none in 2 training")],
)
def test_fewer_than_two_classes(values, found):
    with pytest.raises(DataError, match=f"field kind\nexpected at least two classes, {found}"):
        fitted(values)


def test_state_keeps_the_numbers(tmp_path):
    modality = fitted(["10", "9", "Böot", "x"])
    for name, data in modality.state().items():
        (tmp_path / name).write_bytes(data)
    other = label.Modality(label.Spec())
    other.load(tmp_path)
    assert other.classes == modality.classes
    assert other.index("Böot") == modality.index("Böot") >= 0
    assert json.loads((tmp_path / "classes.json").read_text("utf-8")) == modality.classes


@pytest.mark.parametrize(
    "data", [None, b"", b"\xff", b"{}", b"[]", b'["a"]', b'["a", 1]', b'["a", "b", "a"]']
)
def test_damaged_classes_are_named(tmp_path, data):
    if data is not None:
        (tmp_path / "classes.json").write_bytes(data)
    with pytest.raises(RunError, match=r"classes\.json\nexpected a list of at least two classes"):
        label.Modality(label.Spec()).load(tmp_path)


def test_before_fit_and_as_tokens_it_says_what_is_wrong():
    with pytest.raises(RuntimeError, match="fit or load"):
        label.Modality(label.Spec()).index("boat")
    with pytest.raises(TypeError, match="a label is a target and has no tokens"):
        fitted(["a", "b"]).tokens("a", None)
