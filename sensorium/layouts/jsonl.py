"""Lines of JSON, one object a line; or a .json file that is one list of objects.

Pictures are paths relative to the file. Rows are counted from 1: lines of a .jsonl (blank ones
counted, so that an editor finds the row), items of a list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from sensorium.errors import DataError, clip
from sensorium.layouts._media import Root
from sensorium.layouts._rows import Row, records
from sensorium.records import Record, Rejected, Source

SUMMARY = "a file of JSON lines (or one JSON list of objects); pictures are paths relative to it"
LINES = (".jsonl", ".ndjson")


def recognise(path: Path) -> bool:
    """Whether `path` is a file called .jsonl or .ndjson, or a .json that begins with a list."""
    if not path.is_file():
        return False
    if path.suffix.lower() in LINES:
        return True
    if path.suffix.lower() != ".json":
        return False
    with open(path, "rb") as stream:
        return stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def read(path: Path, fields: dict[str, str] | None = None) -> Iterator[Record | Rejected]:
    """Records in the file's order.

    Args:
        path: the file.
        fields: name -> modality where the user said so; None infers which are pictures.

    Raises:
        DataError: a .json that is not valid as a whole.
    """
    root = Root(path.parent)
    return records(rows(path, root.name(path)), path, root, fields)


def rows(path: Path, name: str) -> Iterator[Row | Rejected]:
    """(row, object) of each line or item; raises as `read`."""
    if path.suffix.lower() in LINES:
        yield from _lines(path, name)
        return
    try:
        items = json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=_nothing)
    except (ValueError, RecursionError) as error:
        raise DataError(file=name, expected="JSON", found=_why(error)) from None
    for row, item in enumerate(items, 1):
        yield _object(item, name, row)


def _lines(path: Path, name: str) -> Iterator[Row | Rejected]:
    with open(path, "rb") as stream:
        for row, line in enumerate(stream, 1):
            if row == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            try:
                item = json.loads(line.rstrip(), parse_constant=_nothing)
            except (ValueError, RecursionError) as error:  # bad UTF-8 is a ValueError too
                yield Rejected(Source(name, row), f"expected JSON, found {_why(error)}")
                continue
            yield _object(item, name, row)


def _object(item: object, name: str, row: int) -> Row | Rejected:
    if isinstance(item, dict):
        return row, item
    return Rejected(Source(name, row), f"expected a JSON object, found {clip(item)}")


def _nothing(word: str) -> None:
    """NaN and infinities, which JSON does not have but Python writes: nothing is there."""


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        near = clip(error.doc[max(0, error.pos - 20) : error.pos + 20])
        return f"{error.msg} at line {error.lineno}, column {error.colno}, near {near}"
    if isinstance(error, UnicodeDecodeError):
        return "bytes that are not UTF-8"
    return "nesting that is too deep" if isinstance(error, RecursionError) else str(error)
