import io
import json
import tarfile

import pytest
from miniature import bad, good, picture, tar_of

from sensorium.errors import DataError
from sensorium.layouts import webdataset


def sample(number, **more):
    """Three members, as img2dataset's writer orders and names them."""
    key = f"{number:09d}"
    sidecar = {
        "url": f"http://e.org/{number}.jpg", "caption": f"text {number}", "key": key,
        "status": "success", "error_message": None, "width": 9, "height": 7, "original_width": 90,
        "original_height": 70, "exif": "{}", "sha256": "9f",
    } | more  # fmt: skip
    return [
        (key + ".jpg", picture(number, "JPEG")),
        (key + ".json", json.dumps(sidecar).encode()),
        (key + ".txt", f"text {number}".encode()),
    ]


def tar(tmp_path, *samples, name="00000.tar"):
    return tar_of(tmp_path / name, [member for s in samples for member in s])


def test_one_tar(tmp_path):
    path = tar(tmp_path, sample(3, license="cc-by"), sample(4))
    first, second = webdataset.read(path)
    assert (first.key, str(second.source)) == ("000000003", "00000.tar row 2")
    assert first.fields["text"] == "text 3"
    assert (first.fields["license"], first.fields["original_width"]) == ("cc-by", 90)
    assert "caption" not in first.fields  # said once
    blob = first.fields["image"]
    assert (blob.file, blob.data) == (path, None)  # it stays in the tar
    assert blob.read() == picture(3, "JPEG")
    assert blob.name == "00000.tar:000000003.jpg"


def test_a_folder_of_tars_with_splits(tmp_path):
    tar(tmp_path / "train", sample(0), name="00001.tar")
    tar(tmp_path / "train", sample(0), name="00000.tar")
    tar(tmp_path / "val", sample(0))
    found = list(webdataset.read(tmp_path))
    assert [(r.key, r.split) for r in found] == [
        ("train/00000/000000000", "train"),
        ("train/00001/000000000", "train"),
        ("val/00000/000000000", "validation"),
    ]


def test_other_writers(tmp_path):
    path = tar_of(
        tmp_path / "t.tar",
        [
            ("./a/x.seg.png", picture(9)),  # another picture: its suffix is not one of ours
            ("./a/x.PNG", picture(1)),
            ("./a/x.txt", "\ufeffeins\nzwei\n".encode()),
            ("a/y.webp", picture(2, "WEBP")),
            ("a/y.json", b'{"text": ["one", "two"], "split": "dev", "group": 5, "deep": {"a": 1}}'),
            ("a/y.cls", b"7\n"),
        ],
    )
    first, second = webdataset.read(path)
    assert first.key == "a/x"
    assert first.fields["image"].read() == picture(1)
    assert first.fields["text"] == ["eins", "zwei"]
    assert second.fields["text"] == ["one", "two"]
    assert (second.split, second.group, second.fields["cls"]) == ("validation", "5", "7")
    assert second.fields["deep"] == '{"a": 1}'


def test_half_and_interleaved_samples_are_set_aside(tmp_path):
    path = tar(
        tmp_path,
        sample(0),
        sample(1)[:1],  # the picture alone
        sample(2)[2:],  # the caption alone
        [sample(3)[0], *sample(4), *sample(3)[1:]],  # 4 inside 3
        sample(5),
        [("000000006.jpg", b"no picture"), ("000000006.txt", b"x")],
        [("000000007.jpg", b""), ("000000007.txt", b"x")],
        [("000000008.jpg", picture(8, "JPEG")), ("000000008.json", b"{")],
        [*sample(9), ("000000009.txt", b"again")],
        [("000000010.jpg", picture(8, "JPEG")), ("000000010.txt", b" \n")],
        sample(11, split="elsewhere"),
    )
    items = list(webdataset.read(path))
    assert [r.key for r in good(items)] == ["000000000", "000000004", "000000005"]
    assert [r.reason for r in bad(items)][:6] == [
        "no caption: found .jpg",
        "no picture: found .txt",
        "no caption: found .jpg",
        "'000000003.json' comes apart from the others of its key",
        "'000000003.txt' comes apart from the others of its key",
        "expected a picture (JPEG, PNG, WEBP, GIF, BMP, TIFF), found text 'no picture'",
    ]
    rest = [r.reason for r in bad(items)][6:]
    for reason, words in zip(
        rest, ["0 bytes", "expected JSON", "two members end in .txt", "empty", "elsewhere"],
        strict=True,
    ):  # fmt: skip
        assert words in reason


def test_hostile_members_are_no_samples(tmp_path):
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w") as out:

        def add(name, data=b"", kind=tarfile.REGTYPE, link=""):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(data)
            out.addfile(info, io.BytesIO(data))

        add("folder", kind=tarfile.DIRTYPE)
        add("._000.jpg", b"\0\5\x16\7")
        add("a.jpg", kind=tarfile.SYMTYPE, link="/etc/passwd")
        add("a.txt", b"x")
        add("b.jpg", kind=tarfile.LNKTYPE, link="a.txt")
        add("b.txt", b"x")
        add("c.jpg", kind=tarfile.FIFOTYPE)
        add("../../d.jpg", picture(1, "JPEG"))
        add("../../d.txt", b"a name that leads out is only a name")
    items = list(webdataset.read(path))
    assert [r.key for r in good(items)] == ["../../d"]
    assert good(items)[0].fields["image"].file == path
    assert [r.key for r in bad(items)] == ["a", "b", "c"]
    assert all("no ordinary file" in r.reason for r in bad(items))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.tar"]  # nothing was extracted


@pytest.mark.parametrize("damage", ["cut in data", "cut in header", "header", "no tar", "empty"])
def test_a_damaged_tar_is_an_error_not_a_short_data_set(tmp_path, damage):
    path = tar(tmp_path, *[sample(n) for n in range(5)])
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as whole:
        third = whole.getmembers()[6]
    if damage == "cut in data":
        data = data[: third.offset_data + 10]
    elif damage == "cut in header":
        data = data[: third.offset + 100]
    elif damage == "header":
        data[third.offset + 150] ^= 1
    else:
        data = bytearray(b"" if damage == "empty" else b"x" * 2000)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"00000\.tar"):
        list(webdataset.read(path))


def test_recognises(tmp_path):
    assert not webdataset.recognise(tmp_path)
    path = tar(tmp_path / "sub", sample(0))
    assert not webdataset.recognise(tmp_path)
    assert webdataset.recognise(tmp_path / "sub")
    assert webdataset.recognise(path)
