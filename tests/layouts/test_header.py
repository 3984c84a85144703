"""The header reader against Pillow, an independent reader, and against hostile bytes."""

import contextlib
import io
import struct

import pytest
from miniature import picture
from PIL import Image

from sensorium.layouts import _header
from sensorium.layouts._header import Unusable, look

SIZES = [(1, 1), (9, 7), (300, 2), (257, 511)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", _header.FORMATS)
def test_agrees_with_pillow(kind, size):
    data = picture(3, kind, size)
    assert look(io.BytesIO(data)) == (kind, *size) == (kind, *Image.open(io.BytesIO(data)).size)


@pytest.mark.parametrize("size", SIZES)
def test_webp_has_three_kinds_of_header(size):
    lossless = picture(3, "WEBP", size, lossless=True)
    out = io.BytesIO()
    Image.new("RGBA", size, (1, 2, 3, 100)).save(out, "WEBP", exif=Image.Exif().tobytes())
    assert lossless[12:16] == b"VP8L"
    assert out.getvalue()[12:16] in (b"VP8X", b"VP8L")
    for data in (lossless, out.getvalue()):
        assert look(io.BytesIO(data)) == ("WEBP", *size)


def test_jpeg_behind_a_large_exif_and_turned_by_it():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees: the header's size is the stored one, either way
    exif[0x010E] = "x" * 50_000
    data = picture(1, "JPEG", (30, 20), exif=exif.tobytes(), progressive=True)
    assert look(io.BytesIO(data)) == ("JPEG", 30, 20)


def test_a_picture_inside_a_file_is_read_from_where_the_stream_stands():
    for kind in _header.FORMATS[:5]:
        stream = io.BytesIO(b"x" * 100 + picture(1, kind))
        stream.seek(100)
        assert look(stream) == (kind, 9, 7)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"a text called png", "text 'a text called png'"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"%PDF-1.7", "a PDF"),
        (b"PK\x03\x04", "a zip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"<svg xmlns=", "SVG"),
        (bytes(range(128, 200)), "bytes"),
        ("ein Bild für dich".encode(), "text"),
        (picture()[:18], "ends within its header"),
        (picture(kind="JPEG")[:30], "ends within its header"),
        (picture(kind="TIFF")[:12], "ends within its header"),
    ],
)
def test_says_what_it_found(data, words):
    with pytest.raises(Unusable, match="expected a picture") as error:
        look(io.BytesIO(data))
    assert words in str(error.value)


def test_a_bomb_is_refused_by_its_header():
    png = bytearray(picture())
    png[16:24] = struct.pack(">II", 60_000, 60_000)
    with pytest.raises(Unusable, match="at most 175,000,000 pixels"):
        look(io.BytesIO(bytes(png)))
    png[16:24] = struct.pack(">II", 0, 5)
    with pytest.raises(Unusable, match="0 x 5"):
        look(io.BytesIO(bytes(png)))


def test_every_cut_of_every_format_is_a_size_or_a_reason():
    for kind in _header.FORMATS:
        data = picture(5, kind)
        for end in range(min(len(data), 400)):
            with contextlib.suppress(Unusable):
                assert look(io.BytesIO(data[:end])) == (kind, 9, 7)
