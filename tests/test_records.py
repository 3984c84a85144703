"""Records: bytes by reference, splits in the data's order, the first field of a modality."""

from pathlib import Path

import pytest

from sensorium.errors import DataError
from sensorium.records import Blob, Record, Records, Rejected, Source

BYTES = bytes(range(100))


@pytest.fixture
def file(tmp_path):
    """A file of a hundred bytes that all differ."""
    path = tmp_path / "bytes.bin"
    path.write_bytes(BYTES)
    return path


@pytest.mark.parametrize(
    ("offset", "size"), [(0, None), (0, 100), (30, None), (30, 20), (99, 1), (50, 0), (100, None)]
)
def test_a_blob_is_a_stretch_of_a_file(file, offset, size):
    end = None if size is None else offset + size
    assert Blob("x", file, offset, size).read() == BYTES[offset:end]


def test_bytes_in_memory_come_first():
    assert Blob("x", data=b"here").read() == b"here"
    assert Blob("x", Path("nowhere"), data=b"").read() == b""
    assert "here" not in repr(Blob("x", data=b"here"))  # errors print records, not their bytes


@pytest.mark.parametrize(("offset", "size", "left"), [(90, 20, 10), (100, 1, 0), (500, 7, 0)])
def test_a_file_that_is_too_short_is_told_with_both_sizes(file, offset, size, left):
    with pytest.raises(DataError) as caught:
        Blob("pictures.tar: 7.png", file, offset, size).read()
    assert caught.value.file == "pictures.tar: 7.png"  # the name, not where the bytes lie
    assert (caught.value.expected, caught.value.found) == (f"{size} bytes", f"{left} bytes")


def test_a_file_that_cannot_be_read_is_told_by_name(tmp_path):
    for path, reason in ((tmp_path / "gone.png", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(DataError, match=reason) as caught:
            Blob("photo", path).read()
        assert caught.value.file == "photo"


def test_a_blob_without_file_and_data_is_a_mistake_of_ours():
    with pytest.raises(AssertionError):
        Blob("x").read()


def records(**more):
    """Six records in mixed splits, the last in none."""
    splits = ["test", "train", "validation", "train", "test", None]
    made = [Record(f"k{at}", Source("x.csv", at + 1), {}, split=s) for at, s in enumerate(splits)]
    return Records("x.csv", made, **more)


def test_positions_of_a_split_in_the_order_of_the_data():
    assert records().positions("train") == [1, 3]
    assert records().positions("test") == [0, 4]
    assert records().positions("validation") == [2]
    assert records().positions("elsewhere") == []


def test_records_are_a_sequence():
    made = records()
    assert len(made) == 6
    assert made[4].key == "k4"
    assert [record.key for record in made] == [f"k{at}" for at in range(6)]


def test_the_first_field_of_a_modality():
    made = records(fields={"title": "text", "photo": "image", "caption": "text"})
    assert made.field_of("text") == "title"
    assert made.field_of("image") == "photo"
    with pytest.raises(DataError) as caught:
        made.field_of("audio")
    assert caught.value.expected == "a field of modality audio"
    assert caught.value.found == "title=text, photo=image, caption=text"
    with pytest.raises(DataError, match="found no fields"):
        records().field_of("text")


def test_places_are_said_as_people_say_them():
    assert str(Source("a.csv", 88)) == "a.csv row 88"
    assert str(Source("a.png")) == "a.png"
    assert str(Rejected(Source("a.csv", 2), "empty", field="title")) == (
        "a.csv row 2, field title: empty"
    )
    assert str(Rejected(Source("a.png"), "no picture")) == "a.png: no picture"
