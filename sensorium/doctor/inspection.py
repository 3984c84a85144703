"""What one picture, or one text, shows by itself: readable or not, and what looks wrong.

Pictures are decoded as training decodes them; nothing here loads torch.
"""

from __future__ import annotations

import re
import time
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath

from sensorium.doctor.duplicates import Mark, digest, mark
from sensorium.errors import DataError
from sensorium.pictures import opened, upright
from sensorium.records import Blob

LEAST_SIDE = 16  # pixels; of less, enlarging makes a blur
MOST_ASPECT = 8  # longer by shorter side; of more, the square crop sees a sliver
LARGE = 50_000_000  # pixels; decoding takes a second and 150 MB
ONE_COLOUR = 4  # most difference of any two pixels in a channel, of 255
_SUFFIXES = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".gif": "GIF",
    ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF",
}  # fmt: skip
_PLAIN = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr")  # modes of 8 bits or fewer


@dataclass(frozen=True)
class Sight:
    """One picture, decoded.

    error: why it cannot be read, or None; then what follows it is known.
    digest: of its bytes; mode: Pillow's, before conversion; moves: several frames or pages;
    plain: one colour all over; mark: what near duplicates are found by; seconds: to read, decode
    and shrink it.
    """

    name: str
    error: str | None = None
    digest: bytes | None = None
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    moves: bool = False
    plain: bool = False
    mark: Mark | None = None
    seconds: float = 0.0


def see(blob: Blob, near: int) -> Sight:
    """Reads and decodes a whole picture.

    Args:
        blob: where it is.
        near: its shorter side as the recipe wants it, pixels: JPEGs are decoded near that size.
    """
    start = time.perf_counter()
    try:
        data = blob.read()
    except DataError as error:
        return Sight(blob.name, "; ".join(error.lines[1:] or error.lines))
    own = digest(data)
    try:
        picture = opened(data, blob.name)
        kind, mode, size = str(picture.format), picture.mode, picture.size
        moves = bool(getattr(picture, "is_animated", False))
        whole = upright(picture, blob.name, near)
        small = whole.resize(_fit(whole.size, near), reducing_gap=3.0)
    except DataError as error:
        return Sight(blob.name, "; ".join(error.lines[1:]), own)
    seconds = time.perf_counter() - start
    extent = [high - low for low, high in small.getextrema()]  # type: ignore[misc]
    plain = max(extent) <= ONE_COLOUR
    return Sight(
        blob.name,
        None,
        own,
        "JPEG" if kind == "MPO" else kind,
        mode,
        *size,
        moves,
        plain,
        None if plain else mark(small),
        seconds,
    )


def _fit(size: tuple[int, int], near: int) -> tuple[int, int]:
    """Shrunk so that the shorter side is `near`; never enlarged."""
    scale = min(1.0, near / min(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def oddities(sight: Sight) -> list[str]:
    """What is unusual about a readable picture: ids of findings."""
    found = []
    told = _SUFFIXES.get(PurePosixPath(sight.name.lower()).suffix)
    if told is not None and told != sight.format:
        found.append("suffix-mismatch")
    if min(sight.width, sight.height) < LEAST_SIDE:
        found.append("tiny-pictures")
    if max(sight.width, sight.height) > MOST_ASPECT * min(sight.width, sight.height):
        found.append("extreme-aspect")
    if sight.plain:
        found.append("single-colour")
    if sight.mode not in _PLAIN:
        found.append("unusual-mode")
    if sight.moves:
        found.append("animated")
    if sight.width * sight.height > LARGE:
        found.append("large-pictures")
    return found


_FILE_NAME = re.compile(
    r"(?:(?:IMG|DSC|DSCN|DSCF|DCIM|PXL|MVI|VID|GOPR|SAM|WP|CIMG|SCAN|SCREENSHOT|PHOTO|IMAGE"
    r"|PICTURE|UNTITLED)[ _-]*\(?\d[\d ().:_-]*(?:WA\d+)?"
    r"|[\w ()./\\-]*\.(?:jpe?g|png|gif|webp|bmp|tiff?|heic|avif|mp4)"
    r"|[0-9a-f]{16,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\Z",
    re.I,
)
_ADDRESS = re.compile(r"\b(?:https?://|www\.)\S", re.I)
_MARKUP = re.compile(
    r"</?(?:a|b|i|u|p|br|hr|div|span|em|strong|font|img|table|t[rdh]|[ou]l|li|h[1-6]|script|style)"
    r"(?:\s[^<>]*)?/?>|&(?:amp|lt|gt|quot|apos|nbsp|#\d{2,6}|#x[0-9a-f]{2,6});",
    re.I,
)
_PLACEHOLDERS = {
    "", "-", "--", ".", "...", "?", "n/a", "na", "none", "null", "nan", "nil", "untitled",
    "unknown", "image", "photo", "picture", "caption", "text", "todo", "tbd", "test",
    "no caption", "no description", "no title", "alt text",
}  # fmt: skip
# Letters that are bytes of Windows-1252: what UTF-8 looks like when it is read as that.
_HIGH = {bytes([b]).decode("cp1252"): b for b in range(128, 256) if b not in
         (0x81, 0x8D, 0x8F, 0x90, 0x9D)} | {chr(b): b for b in range(128, 160)}  # fmt: skip
_RUN = re.compile("[" + re.escape("".join(_HIGH)) + "]{2,}")
# Sequences of UTF-8 that people's letters and signs have. An accented capital before a quotation
# mark or dash (`CAFÉ”`) would be one too, so the rarer two-byte leads do not meet those.
_UTF8 = re.compile(
    rb"[\xc2\xc3\xce\xcf\xd0\xd1][\x80-\xbf]"
    rb"|[\xc4\xc5\xd8\xd9][\x80-\x84\x86-\x90\x98-\xba\xbc-\xbf]"
    rb"|[\xe2-\xe9][\x80-\xbf]{2}|\xf0[\x9f\xa0][\x80-\xbf]{2}"
)
# Not the joiners of scripts and emoji: only what nobody types.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def suspicious(text: str, classes: bool = False) -> str | None:
    """The id of the finding that a text belongs to, or None.

    Args:
        text: one caption.
        classes: the texts are class names, among which `none` may be one.
    """
    stripped = text.strip()
    if not stripped:
        return "empty-texts"
    if "\N{REPLACEMENT CHARACTER}" in text or (not text.isascii() and mended(text) != text):
        return "misread-texts"
    if _CONTROLS.search(text):
        return "control-characters"
    if _ADDRESS.search(text):
        return "address-texts"
    if _MARKUP.search(text):
        return "markup-texts"
    if _FILE_NAME.match(stripped):
        return "file-name-texts"
    if not classes and stripped.casefold() in _PLACEHOLDERS:
        return "placeholder-texts"
    return None


def mended(text: str) -> str:
    """The text with UTF-8 that was read as Windows-1252 read rightly: `cafÃ©` -> `café`."""

    def mend(run: re.Match) -> str:
        right, last = "", 0
        for part in _UTF8.finditer(bytes(_HIGH[letter] for letter in run[0])):
            letter = part[0].decode("utf-8", "replace")
            wrong = unicodedata.category(letter[0])[0] == "C" or letter == "\ufffd"
            right += run[0][last : part.start()] + (
                run[0][slice(*part.span())] if wrong else letter
            )
            last = part.end()
        return right + run[0][last:]

    return _RUN.sub(mend, text)
