import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from miniature import bad, csv_of, good, jsonl_of, picture, pictures

from sensorium.errors import DataError
from sensorium.layouts import folder


def test_captions_beside_pictures(tmp_path):
    names = pictures(tmp_path, 3)
    (tmp_path / "000.txt").write_text("a boat\n")
    (tmp_path / "001.txt").write_text("a car\n\nein Auto\n")
    items = list(folder.read(tmp_path))
    assert [r.key for r in good(items)] == names[:2]
    assert [r.fields["text"] for r in good(items)] == ["a boat", ["a car", "ein Auto"]]
    assert str(bad(items)[0]) == "002.png: no caption: expected 002.txt"
    assert all(r.split is None for r in good(items))


def test_classes_are_sub_folders(tmp_path):
    for name in ("polar_bear", "ice-cream van"):
        pictures(tmp_path / name, 2, ".JPG")
    found = list(folder.read(tmp_path))
    assert [r.fields["text"] for r in found] == ["ice cream van"] * 2 + ["polar bear"] * 2
    assert len({r.key for r in found}) == 4


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("Training", "val", "testing")])
def test_split_folders_of_classes_and_of_captions(tmp_path, names):
    for at, name in enumerate(names):
        pictures(tmp_path / "classes" / name / "cat", 1)
        pictures(tmp_path / "captions" / name, 1)
        (tmp_path / "captions" / name / "000.txt").write_text(f"text {at}")
    for kind in ("classes", "captions"):
        found = good(folder.read(tmp_path / kind))
        assert sorted(r.split for r in found) == ["test", "train", "validation"]
        assert all(r.fields["text"] not in names for r in found)


def test_a_class_called_train_is_a_class(tmp_path):
    for name in ("bus", "train", "car"):
        pictures(tmp_path / name, 1)
    found = list(folder.read(tmp_path))
    assert [(r.fields["text"], r.split) for r in found] == [
        ("bus", None), ("car", None), ("train", None),
    ]  # fmt: skip


def _metadata(path, kind, rows):
    if kind == "csv":
        csv_of(path / "metadata.csv", rows)
    elif kind == "jsonl":
        jsonl_of(path / "metadata.jsonl", rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path / "metadata.parquet")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_metadata_as_hugging_face_reads_it(tmp_path, kind):
    for split in ("train", "test"):
        pictures(tmp_path / split, 3)
        rows = [{"file_name": f"{n:03d}.png", "text": f"{split} {n}"} for n in range(2)]
        _metadata(tmp_path / split, kind, rows)
    items = list(folder.read(tmp_path))
    assert [(r.key, r.split, r.fields["text"]) for r in good(items)] == [
        ("test/000.png", "test", "test 0"),
        ("test/001.png", "test", "test 1"),
        ("train/000.png", "train", "train 0"),
        ("train/001.png", "train", "train 1"),
    ]
    assert good(items)[0].fields["image"].read() == picture(0)
    assert str(good(items)[0].source) == f"test/metadata.{kind} row 1"
    assert [str(r) for r in bad(items)] == [
        "test/002.png: no row of the metadata names it",
        "train/002.png: no row of the metadata names it",
    ]


def test_metadata_above_split_folders(tmp_path):
    rows = []
    for split in ("train", "dev", "test"):
        pictures(tmp_path / split, 1)
        rows.append({"file_name": f"{split}/000.png", "text": split})
    csv_of(tmp_path / "metadata.csv", rows)
    assert {r.fields["text"]: r.split for r in good(folder.read(tmp_path))} == {
        "train": "train", "dev": "validation", "test": "test",
    }  # fmt: skip


def test_several_pictures_a_row(tmp_path):
    pictures(tmp_path, 4)
    csv_of(
        tmp_path / "metadata.csv",
        [
            {"front_file_name": "000.png", "back_file_name": "001.png", "text": "a"},
            {"front_file_name": "002.png", "back_file_name": "", "text": "b"},
        ],
    )
    items = list(folder.read(tmp_path))
    assert [set(r.fields) for r in good(items)] == [{"front", "back", "text"}] * 2
    assert good(items)[1].fields["back"] is None
    assert [r.source.file for r in bad(items)] == ["003.png"]


def test_metadata_wins_over_classes_and_text_files(tmp_path):
    pictures(tmp_path / "cat", 2)
    (tmp_path / "cat" / "000.txt").write_text("by file")
    csv_of(
        tmp_path / "metadata.csv",
        [{"file_name": "cat/000.png", "text": "by row"}, {"file_name": "no.png", "text": "x"}],
    )
    items = list(folder.read(tmp_path))
    assert [r.fields["text"] for r in good(items)] == ["by row"]
    assert sorted(r.reason for r in bad(items)) == [
        "no file no.png",
        "no row of the metadata names it",
    ]


def test_metadata_without_file_name_names_the_nearest(tmp_path):
    pictures(tmp_path, 1)
    csv_of(tmp_path / "metadata.csv", [{"filename": "000.png", "text": "a"}])
    with pytest.raises(DataError) as error:
        list(folder.read(tmp_path))
    assert error.value.nearest == "filename"
    assert "metadata.csv" in str(error.value)


def test_metadata_cannot_name_what_is_outside(tmp_path):
    root = tmp_path / "root"
    pictures(root / "train", 1)
    pictures(tmp_path / "other", 1)
    csv_of(
        root / "train" / "metadata.csv",
        [
            {"file_name": "000.png", "text": "a"},
            {"file_name": "../../other/000.png", "text": "b"},
            {"file_name": str(tmp_path / "other" / "000.png"), "text": "c"},
        ],
    )
    items = list(folder.read(root))
    assert len(good(items)) == 1
    assert ["leads out" in r.reason for r in bad(items)] == [True, True]


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_links_out_are_refused_and_links_to_folders_not_followed(tmp_path):
    root = tmp_path / "root"
    pictures(root / "cat", 1)
    pictures(tmp_path / "other", 1)
    (root / "cat" / "out.png").symlink_to(tmp_path / "other" / "000.png")
    (root / "dog").symlink_to(tmp_path / "other")
    (root / "loop").symlink_to(root)
    items = list(folder.read(root))
    assert [r.key for r in good(items)] == ["cat/000.png"]
    assert sorted(r.source.file for r in bad(items)) == ["cat/out.png", "dog", "loop"]


def test_hidden_files_are_passed_over(tmp_path):
    pictures(tmp_path / "cat", 1)
    pictures(tmp_path / ".git", 1)
    pictures(tmp_path / "__MACOSX" / "cat", 1)
    (tmp_path / "cat" / "._000.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    assert [r.key for r in folder.read(tmp_path)] == ["cat/000.png"]


def test_a_text_called_png(tmp_path):
    pictures(tmp_path / "cat", 1)
    (tmp_path / "cat" / "a.png").write_text("not a picture")
    (tmp_path / "cat" / "b.png").write_bytes(b"")
    assert [r.reason.split("found")[1] for r in bad(folder.read(tmp_path))] == [
        " text 'not a picture'", " 0 bytes",
    ]  # fmt: skip


def test_recognises(tmp_path):
    assert not folder.recognise(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    assert not folder.recognise(tmp_path)
    pictures(tmp_path / "a" / "b" / "c", 1)
    assert folder.recognise(tmp_path)
    assert not folder.recognise(tmp_path / "notes.txt")
