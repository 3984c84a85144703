import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from miniature import bad, good, picture, pictures

from sensorium.errors import DataError
from sensorium.layouts import parquet
from sensorium.records import Blob


def write(path, group=2, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def test_paths_beside_the_file(tmp_path):
    names = pictures(tmp_path / "img", 5)
    path = write(tmp_path / "t.parquet", photo=["img/" + n for n in names], title=list("abcde"),
                 price=[1, 2, 3, None, 5])  # fmt: skip
    found = list(parquet.read(path))
    assert [r.key for r in found] == ["img/" + n for n in names]
    assert [r.source.row for r in found] == [1, 2, 3, 4, 5]
    assert [r.fields["price"] for r in found] == [1, 2, 3, None, 5]
    assert found[4].fields["photo"].read() == picture(4)


@pytest.fixture(params=["memory", "reference"])
def held(request, monkeypatch):
    """Both ways of holding pictures give the same bytes."""
    if request.param == "reference":
        monkeypatch.setattr(parquet, "MEMORY", 0)
    return request.param


def test_bytes_as_img2dataset_writes_them(tmp_path, held):
    data = [picture(n, "JPEG") for n in range(5)]
    path = write(tmp_path / "00000.parquet", key=[f"{n:09d}" for n in range(5)], jpg=data,
                 txt=[f"text {n}" for n in range(5)])  # fmt: skip
    found = list(parquet.read(path))
    assert [r.fields["jpg"].read() for r in found] == data
    assert isinstance(found[0].fields["jpg"], parquet.Cell) == (held == "reference")
    assert [r.key for r in found] == [f"{n:09d}" for n in range(5)]
    # Order of access must not matter, nor a journey to another process.
    backwards = pickle.loads(pickle.dumps(found[::-1]))
    assert [r.fields["jpg"].read() for r in backwards] == data[::-1]


def test_hugging_face_struct(tmp_path, held):
    pictures(tmp_path, 2)
    column = [
        {"bytes": picture(8), "path": "eight.png"},
        {"bytes": None, "path": "001.png"},
        {"bytes": b"no picture", "path": "x.png"},
        {"bytes": None, "path": "../x.png"},
        {"bytes": None, "path": None},
        None,
        {"bytes": picture(9), "path": None},
    ]
    path = write(tmp_path / "t.parquet", image=column, text=list("abcdefg"))
    items = list(parquet.read(path))
    assert [r.fields["text"] for r in good(items)] == ["a", "b", "g"]
    assert [r.fields["image"].read() for r in good(items)] == [picture(8), picture(1), picture(9)]
    reasons = [r.reason for r in bad(items)]
    assert "text 'no picture'" in reasons[0]
    assert "leads out" in reasons[1]
    assert "empty cell" in reasons[2]
    assert "empty cell" in reasons[3]


def test_shards_of_a_folder_in_order_with_unique_keys(tmp_path):
    for shard in (1, 0):
        write(tmp_path / f"part-{shard}.parquet", id=[shard, 5], image=[picture(shard)] * 2,
              text=["a", "b"])  # fmt: skip
    items = list(parquet.read(tmp_path))
    assert [str(r.source) for r in items] == [
        "part-0.parquet row 1", "part-0.parquet row 2",
        "part-1.parquet row 1", "part-1.parquet row 2",
    ]  # fmt: skip
    assert [r.key for r in good(items)] == ["0", "5", "1"]
    assert bad(items)[0].reason == "key '5' is already that of part-0.parquet row 2"


def test_lists_of_captions_and_missing_values(tmp_path):
    path = write(tmp_path / "t.parquet", image=[picture(1), picture(2)],
                 captions=[["a", "b"], None], note=[float("nan"), 1.0])  # fmt: skip
    first, second = parquet.read(path)
    assert first.fields["captions"] == ["a", "b"]
    assert second.fields["captions"] is None
    assert first.fields["note"] is None


def test_what_is_no_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"image,text\n")
    assert not parquet.recognise(path)
    path.write_bytes(b"PAR1" + b"x" * 100)
    assert parquet.recognise(path)
    with pytest.raises(DataError, match="Parquet"):
        list(parquet.read(path))
    (tmp_path / "imagefolder").mkdir()
    write(tmp_path / "imagefolder" / "metadata.parquet", file_name=["a.png"])
    assert not parquet.recognise(tmp_path / "imagefolder")


def test_a_file_that_changed_is_an_error_not_another_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MEMORY", 0)
    path = write(tmp_path / "t.parquet", image=[picture(1)] * 4, text=list("abcd"))
    blob = list(parquet.read(path))[3].fields["image"]
    assert isinstance(blob, Blob)
    parquet._column.cache_clear()
    write(path, image=[picture(1)], text=["a"])
    with pytest.raises(DataError, match=r"t\.parquet row 4"):
        blob.read()
