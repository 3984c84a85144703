"""From a name or a path to records: what is chosen, inferred, set aside, refused."""

import json
import os
import subprocess
import sys

import pytest
from miniature import csv_of, jsonl_of, picture, pictures, tar_of

from sensorium import reading
from sensorium.errors import DataError
from sensorium.world import _making, _setting


def table(folder, count=20, **changes):
    """captions.csv with `count` good rows; `changes` are {row: {column: cell}} as row_3={...}."""
    names = pictures(folder, count)
    rows = [{"photo": n, "title": f"thing {i}", "price": f"{i}.50"} for i, n in enumerate(names)]
    for row, cells in changes.items():
        rows[int(row.removeprefix("row_")) - 1].update(cells)
    return csv_of(folder / "captions.csv", rows)


def error_of(*args, **more) -> DataError:
    with pytest.raises(DataError) as error:
        reading.read(*args, **more)
    return error.value


def test_a_csv(tmp_path):
    found = reading.read(table(tmp_path))
    assert found.fields == {"photo": "image", "title": "text"}
    assert len(found) == 20
    assert {r.split for r in found} == {"train", "validation", "test"}
    assert (found.rejected, found.notes) == ([], [])


def _as_folder(place, captions):
    for name, text in zip(pictures(place, len(captions)), captions, strict=True):
        (place / name).with_suffix(".txt").write_text("\n".join(text))
    return place


def _as_jsonl(place, captions):
    names = pictures(place, len(captions))
    return jsonl_of(place / "t.jsonl", [{"image": n, "text": t} for n, t in
                                        zip(names, captions, strict=True)])  # fmt: skip


def _as_csv(place, captions):
    names = pictures(place, len(captions))
    return csv_of(place / "t.csv", [{"image": n, "text": t} for n, texts in
                                    zip(names, captions, strict=True) for t in texts])  # fmt: skip


def _as_parquet(place, captions):
    import pyarrow as pa
    import pyarrow.parquet as pq

    place.mkdir(parents=True)
    data = [picture(n) for n in range(len(captions))]
    pq.write_table(pa.table({"image": data, "text": captions}), place / "t.parquet")
    return place / "t.parquet"


def _as_coco(place, captions):
    names = pictures(place, len(captions))
    found = {
        "images": [{"id": i, "file_name": n} for i, n in enumerate(names)],
        "annotations": [
            {"image_id": i, "caption": t} for i, texts in enumerate(captions) for t in texts
        ],
    }
    (place / "c.json").write_text(json.dumps(found))
    return place / "c.json"


def _as_webdataset(place, captions):
    return tar_of(
        place / "t.tar",
        [
            member
            for n, texts in enumerate(captions)
            for member in (
                (f"{n:03d}.png", picture(n)),
                (f"{n:03d}.txt", "\n".join(texts).encode()),
            )
        ],
    )


@pytest.mark.parametrize(
    "make", [_as_folder, _as_jsonl, _as_csv, _as_parquet, _as_coco, _as_webdataset]
)
def test_every_layout_says_the_same(tmp_path, make):
    captions = [[f"{n} ships", f"{n} Schiffe"] for n in range(12)]
    found = reading.read(make(tmp_path / "data", captions))
    assert found.fields == {"image": "image", "text": "text"}
    assert [r.fields["text"] for r in found] == captions
    assert [r.fields["image"].read() for r in found] == [picture(n) for n in range(12)]
    assert {r.split for r in found} == {"train", "validation", "test"}


@pytest.mark.parametrize(
    "make", [_as_folder, _as_jsonl, _as_csv, _as_parquet, _as_coco, _as_webdataset]
)
def test_a_relative_path_reads_the_same(tmp_path, make, monkeypatch):
    """As people type it: `photos`, `captions.csv`, `data/captions.csv`."""
    path = make(tmp_path / "data" / "in", [[f"{n} ships", f"{n} Schiffe"] for n in range(12)])
    whole = reading.read(path)
    for where in (path.parent, tmp_path):
        monkeypatch.chdir(where)
        found = reading.read(path.relative_to(where))
        assert found.records == whole.records
        assert [r.fields["image"].read() for r in found] == [picture(n) for n in range(12)]


def test_the_users_fields_win(tmp_path):
    path = table(tmp_path)
    found = reading.read(path, {"photo": "image", "price": "text"})
    assert found.fields == {"photo": "image", "price": "text"}
    assert found[3].fields["price"] == "3.50"
    error = error_of(path, {"phto": "image", "title": "text"})
    assert (error.nearest, error.expected) == ("photo", "one of photo, title, price")
    error = error_of(path, {"photo": "imgae", "title": "text"})
    assert error.nearest == "image"
    assert error.field == "photo"


def test_numbers_told_to_be_text_become_text(tmp_path):
    names = pictures(tmp_path, 12)
    path = jsonl_of(tmp_path / "t.jsonl", [{"p": n, "size": i} for i, n in enumerate(names)])
    assert "size (number)" in str(error_of(path))
    found = reading.read(path, {"p": "image", "size": "text"})
    assert found[5].fields["size"] == "5"


def test_several_texts_one_is_chosen_and_said(tmp_path):
    names = pictures(tmp_path, 12)
    rows = [{"photo": n, "sku": f"x{i}", "seller": "we", "words": f"a thing {i}"}
            for i, n in enumerate(names)]  # fmt: skip
    found = reading.read(csv_of(tmp_path / "t.csv", rows))
    assert found.fields == {"photo": "image", "words": "text"}
    assert found.notes == ["text is read from words; not from sku, seller"]
    for row in rows:
        row["Caption"] = row.pop("sku")  # a telling name wins over prose
    assert reading.read(csv_of(tmp_path / "t.csv", rows)).fields["Caption"] == "text"


def test_bad_records_are_set_aside_up_to_the_limit(tmp_path):
    path = table(
        tmp_path,
        row_2={"photo": "gone.png"},
        row_5={"title": " "},
    )
    found = reading.read(path)
    assert len(found) == 18
    assert [str(r) for r in found.rejected] == [
        "captions.csv row 2, field photo: no file gone.png",
        "captions.csv row 5, field title: expected text, found an empty cell",
    ]
    assert found.rejected[1].key == "004.png"
    error = error_of(path, limit=0.05)
    for words in ("2 of 20", "gone.png", "row 5, field title", "at most 5%", "found 10%"):
        assert words in str(error)
    assert error.see == f"sensorium doctor {path}"


def half_empty(folder):
    """20 rows: ten lack the picture, five the text, two of those both; all have a class."""
    rows = {f"row_{row}": {"kind": f"k{row % 2}"} for row in range(1, 21)}
    for row in range(1, 11):
        rows[f"row_{row}"]["photo"] = ""
    for row in (1, 2, 11, 12, 13):
        rows[f"row_{row}"]["title"] = ""
    return table(folder, **rows)


def test_where_a_label_is_told_one_modality_is_enough(tmp_path):
    path = half_empty(tmp_path)
    fields = {"photo": "image", "title": "text", "kind": "label"}
    found = reading.read(path, fields, train=("image", "text", "label"))
    assert [x.source.row for x in found.rejected] == [1, 2]
    assert all(reading.lacks(x) for x in found.rejected)
    absent = [x.key for x in found if x.fields["photo"] is None]
    assert len(absent) == 8
    assert len([x for x in found if x.fields["title"] is None]) == 3
    # Where picture and text are compared, a record needs both, and so many are refused.
    error = error_of(path, fields=fields)
    assert "13 of 20" in str(error)


def test_what_is_broken_is_not_absent(tmp_path):
    """A picture that is not there though it is named is wrong, whatever else the record has."""
    path = half_empty(tmp_path)
    path.write_text(path.read_text().replace("013.png", "gone.png"))
    fields = {"photo": "image", "title": "text", "kind": "label"}
    found = reading.read(path, fields, limit=0.2, train=("image", "text", "label"))
    assert {x.source.row: reading.lacks(x) for x in found.rejected} == {1: True, 2: True, 14: False}


def test_a_composed_world_may_lack_as_much_as_its_setting_says(tmp_path):
    setting = _setting.load("plain", ["missing.image=0.4", "missing.text=0.4"])
    _making.make(setting, 120, 0, tmp_path / "w")
    found = reading.read(tmp_path / "w")
    assert len(found.rejected) > 40
    assert all(reading.lacks(x) for x in found.rejected)
    (tmp_path / "w" / "world.json").unlink()
    with pytest.raises(DataError, match="at most 10%"):
        reading.read(tmp_path / "w")


def test_above_the_limit_three_reasons_are_given(tmp_path):
    gone = {f"row_{row}": {"photo": f"gone{row}.png"} for row in range(1, 12)}
    text = str(error_of(table(tmp_path, **gone)))
    assert [f"gone{row}.png" in text for row in (1, 2, 3, 4)] == [True, True, True, False]


def test_rows_of_one_picture_are_one_record(tmp_path):
    names = pictures(tmp_path, 12)
    rows = [
        {"image_name": n, "comment_number": str(c), "comment": f"caption {c} of picture {n[:3]}"}
        for n in names
        for c in range(5)
    ]
    found = reading.read(csv_of(tmp_path / "results.csv", rows, "|"))
    assert [r.key for r in found] == names
    assert found[3].fields["comment"] == [f"caption {c} of picture 003" for c in range(5)]
    assert "60 rows describe 12 pictures" in found.notes[-1]
    for number, row in enumerate(rows):
        row["id"] = str(number)
    assert len(reading.read(csv_of(tmp_path / "results.csv", rows, "|"))) == 60  # keys are kept


def test_one_table_in_a_folder_is_read(tmp_path):
    table(tmp_path)
    found = reading.read(tmp_path)
    assert found.fields == {"photo": "image", "title": "text"}
    assert "captions.csv" in found.notes[0]
    csv_of(tmp_path / "captions.csv", [{"a": "1", "b": "2"}])  # names no picture: not meant
    assert "text" not in str(error_of(tmp_path).found)


def test_pictures_in_a_folder_beside_the_table(tmp_path):
    table(tmp_path)
    (tmp_path / "Images").mkdir()
    for file in tmp_path.glob("*.png"):
        file.rename(tmp_path / "Images" / file.name)
    for path in (tmp_path, tmp_path / "captions.csv"):
        found = reading.read(path)
        assert found[0].fields["photo"].name == "Images/000.png"
        assert found.rejected == []


def test_classes_that_are_digits(tmp_path):
    for digit in range(4):
        pictures(tmp_path / str(digit), 5)
    found = reading.read(tmp_path)
    assert found.fields == {"image": "image", "text": "text"}
    assert found[0].fields["text"] == "0"


@pytest.mark.parametrize("broken", ["few", "equal", "no text", "no picture"])
def test_what_cannot_be_learned_from(tmp_path, broken):
    if broken == "few":
        error = error_of(table(tmp_path, 9))
        assert "at least 10 usable records, found 9" in str(error)
    elif broken == "equal":
        same = {f"row_{row}": {"title": "a photo"} for row in range(1, 21)}
        assert "texts that differ, found 'a photo' 20 times" in str(
            error_of(table(tmp_path, **same))
        )
    elif broken == "no text":
        pictures(tmp_path, 12)
        assert "a field with texts, found image (image)" in str(error_of(tmp_path))
    else:
        rows = [{"a": f"x {n}", "b": "y"} for n in range(12)]
        error = error_of(csv_of(tmp_path / "t.csv", rows))
        assert "a field with pictures, found a (text), b (text)" in str(error)


def test_nothing_there(tmp_path):
    (tmp_path / "captions.csv").write_text("a,b\n")
    error = error_of(tmp_path / "captoins.csv")
    assert error.nearest == str(tmp_path / "captions.csv")
    assert error_of("emojis").nearest == "emoji"
    assert "no folder" in str(error_of(tmp_path / "no" / "thing.csv"))
    (tmp_path / "void").mkdir()
    assert "an empty folder" in str(error_of(tmp_path / "void"))
    assert "an empty csv" in str(error_of(tmp_path / "captions.csv"))


def test_no_layout_fits_says_which_are_known(tmp_path):
    (tmp_path / "data.xlsx").write_bytes(b"PK")
    for path in (tmp_path, tmp_path / "data.xlsx"):
        error = error_of(path)
        assert "data.xlsx" in error.found
        for name in ("csv", "parquet", "webdataset", "coco", "folder", "jsonl"):
            assert f"{name}: " in error.expected


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(tmp_path):
    path = table(tmp_path)
    path.chmod(0)
    assert "readable" in str(error_of(path))


def test_programming_errors_are_not_swallowed(tmp_path, monkeypatch):
    from sensorium.layouts import csv

    def broken(path, fields=None):
        raise ZeroDivisionError

    monkeypatch.setattr(csv, "read", broken)
    with pytest.raises(ZeroDivisionError):
        reading.read(table(tmp_path))


def test_a_data_set_wins_over_a_path_of_its_name_and_says_so(tmp_path, monkeypatch):
    _as_folder(tmp_path / "emoji", [[f"text {n}"] for n in range(12)])
    monkeypatch.chdir(tmp_path)
    found = reading.read("emoji")
    assert len(found) == 1543
    assert "./emoji" in found.notes[-1]
    assert len(reading.read("./emoji")) == 12


def test_another_language_of_a_data_set():
    found = reading.read("emoji", {"image": "image", "text_zh": "text"})
    assert found.fields == {"image": "image", "text_zh": "text"}
    assert error_of("emoji", {"image": "image", "text_hz": "text"}).nearest == "text_zh"


def test_importing_and_mistakes_need_neither_torch_nor_arrow(tmp_path):
    program = (
        "import sys; from sensorium import reading\n"
        "try: reading.read(sys.argv[1])\n"
        "except reading.DataError: print(sorted({'torch', 'pyarrow', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "no.csv")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_a_gallery_needs_no_captions(tmp_path):
    pictures(tmp_path / "few", 3)
    (tmp_path / "few" / "001.txt").write_text("a thing")
    found = reading.read(tmp_path / "few", need=("image",))
    assert [r.fields for r in found if "text" in r.fields] == [found[1].fields]
    assert [r.key for r in found] == ["000.png", "001.png", "002.png"]
    assert (found.rejected, {r.split for r in found}) == ([], {None})
    bare = reading.read(table(tmp_path / "rows", 4, row_2={"title": ""}), need=())
    assert (len(bare), bare.fields) == (4, {"photo": "image", "title": "text"})
    pictures(tmp_path / "none", 2)
    with pytest.raises(DataError, match="modality text"):
        reading.read(tmp_path / "none", need=("text",))


def test_rows_of_one_picture_without_a_caption(tmp_path):
    pictures(tmp_path, 2)
    rows = [("000.png", ""), ("000.png", "one"), ("001.png", ""), ("001.png", "")]
    file = jsonl_of(tmp_path / "t.jsonl", [{"image": a, "text": b} for a, b in rows])
    found = reading.read(file, need=())
    assert [r.fields["text"] for r in found] == ["one", ""]
