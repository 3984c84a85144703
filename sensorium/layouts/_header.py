"""Is this a picture, and how large? Answered from the first bytes, without decoding or torch.

The formats and the limit hold for `modalities/image.py` too; here they cost some 20 microseconds a
file, so that a hundred thousand rows read in seconds. What a header cannot show (a truncated
picture) is found when the picture is decoded.
"""

from __future__ import annotations

import codecs
import io
import struct
import warnings
from typing import BinaryIO

from sensorium.errors import clip

MAX_PIXELS = 175_000_000  # below the size at which Pillow itself refuses
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
HEAD = 64  # bytes read first: enough for every format but JPEG and TIFF

# What people find under a picture's name, by first bytes; the words go into the error.
_OTHERS = (
    (b"%PDF", "a PDF file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"version https://git-lfs", "a Git LFS pointer: run git lfs pull"),
    (b"RIFF", "a RIFF file that is no WebP"),
    (b"OggS", "an Ogg file"),
    (b"\x7fELF", "a program"),
)


class Unusable(Exception):
    """Why a value cannot be used as a picture or text; the reason of a `Rejected`."""


def look(stream: BinaryIO) -> tuple[str, int, int]:
    """Format, width and height of a picture, reading only its header.

    Args:
        stream: at the picture's first byte; seekable.

    Raises:
        Unusable: no bytes, not one of `FORMATS`, or more than `MAX_PIXELS`.
    """
    start = stream.tell()
    head = stream.read(HEAD)
    if not head:
        raise Unusable("expected a picture, found 0 bytes")
    try:
        found = _size(head, stream, start)
    except (struct.error, IndexError, EOFError):
        raise Unusable("expected a picture, found one that ends within its header") from None
    if found is None:
        raise Unusable(f"expected a picture ({', '.join(FORMATS)}), found {what(head)}")
    kind, width, height = found
    if width < 1 or height < 1:
        raise Unusable(f"expected a picture, found a {kind} header of {width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise Unusable(
            f"expected at most {MAX_PIXELS:,} pixels, found a header that claims "
            f"{width:,} x {height:,}"
        )
    return kind, width, height


def is_picture(data: bytes) -> bool:
    """Whether bytes begin as a usable picture does."""
    try:
        look(io.BytesIO(data))
    except Unusable:
        return False
    return True


def _size(head: bytes, stream: BinaryIO, start: int) -> tuple[str, int, int] | None:
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        if head[12:16] != b"IHDR":
            raise EOFError
        return ("PNG", *struct.unpack(">II", head[16:24]))
    if head[:3] == b"\xff\xd8\xff":
        return ("JPEG", *_jpeg(stream, start + 2))
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ("WEBP", *_webp(head))
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return ("GIF", *struct.unpack("<HH", head[6:10]))
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        if struct.unpack("<I", head[14:18])[0] == 12:  # the OS/2 header has 16-bit sizes
            return ("BMP", *struct.unpack("<HH", head[18:22]))
        width, height = struct.unpack("<ii", head[18:26])
        return "BMP", width, abs(height)  # a negative height means rows from the top
    if head[:4] in (b"II*\0", b"MM\0*"):
        return _tiff(stream, start)
    return None


def _jpeg(stream: BinaryIO, at: int) -> tuple[int, int]:
    """Walks the segments up to the frame header (ITU-T T.81, B.2); large EXIF is jumped over."""
    for _ in range(1000):  # far more segments than any real file has before its frame
        stream.seek(at)
        marker, code, length = struct.unpack(">BBH", stream.read(4))
        if marker != 0xFF:
            raise EOFError
        if code == 0xFF:  # a fill byte before the marker
            at += 1
            continue
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">xHH", stream.read(5))
            return width, height
        at += 2 + length
    raise EOFError


def _webp(head: bytes) -> tuple[int, int]:
    """The three kinds of first chunk (RFC 9649, section 2)."""
    chunk = head[12:16]
    if chunk == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L":
        bits = struct.unpack("<I", head[21:25])[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8X":
        if len(head) < 30:
            raise EOFError
        low, high = head[24:27], head[27:30]  # 24-bit numbers
        return int.from_bytes(low, "little") + 1, int.from_bytes(high, "little") + 1
    raise EOFError


def _tiff(stream: BinaryIO, start: int) -> tuple[str, int, int]:
    """TIFF keeps its header anywhere in the file and is rare: Pillow reads it, lazily."""
    from PIL import Image, UnidentifiedImageError

    stream.seek(start)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on its own pixel limit, and on what it mends
            picture = Image.open(stream, formats=("TIFF",))
    except Image.DecompressionBombError:
        raise Unusable(
            f"expected at most {MAX_PIXELS:,} pixels, found a header that claims far more"
        ) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, TypeError, KeyError):
        raise EOFError from None
    return "TIFF", picture.width, picture.height


def what(head: bytes) -> str:
    """A few words for bytes that are no picture we read."""
    if head[4:8] == b"ftyp":
        kind = "AVIF" if head[8:12] in (b"avif", b"avis") else "HEIC or MP4"
        return f"{kind}, which is not supported"
    for magic, words in _OTHERS:
        if head.startswith(magic):
            return words
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if start.startswith((b"<svg", b"<?xml")):
        return "SVG or XML, which is not supported"
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the end may cut a letter
    except UnicodeDecodeError:
        return f"bytes {clip(head[:16])}"
    if text.isprintable() or all(c.isprintable() or c in "\r\n\t" for c in text):
        return f"text {clip(text, 40)}"
    return f"bytes {clip(head[:16])}"
