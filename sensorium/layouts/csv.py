"""A table of text: CSV or TSV with a header line; pictures are paths relative to the file.

Rows are counted from 1 below the header, whatever line breaks the cells hold. The text is UTF-8
(or UTF-16 with its byte order mark). Broken rows are set aside; an unclosed quote, which would
swallow the rest of the file, is an error.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from sensorium.errors import DataError, clip
from sensorium.layouts._header import SUFFIXES
from sensorium.layouts._media import Root
from sensorium.layouts._rows import Row, records
from sensorium.records import Record, Rejected, Source

SUMMARY = "a CSV or TSV file with a header line; pictures are paths relative to it"
MAX_CELL = 10_000_000  # characters; Python's own limit of 131,072 is too low for long documents


def recognise(path: Path) -> bool:
    """Whether `path` is a file called .csv or .tsv."""
    return path.suffix.lower() in (".csv", ".tsv") and path.is_file()


def read(path: Path, fields: dict[str, str] | None = None) -> Iterator[Record | Rejected]:
    """Records in the file's order.

    Args:
        path: the file.
        fields: column -> modality where the user said so; None infers which are pictures.

    Raises:
        DataError: no header, a column twice, or a quote that is never closed.
    """
    root = Root(path.parent)
    return records(rows(path, root.name(path)), path, root, fields)


def rows(path: Path, name: str) -> Iterator[Row | Rejected]:
    """(row, {column: cell}) of each row; raises as `read`."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))
    with open(path, "rb") as stream:
        wide = stream.read(2) in (b"\xff\xfe", b"\xfe\xff")
    # Bytes that are not UTF-8 become lone surrogates, so one bad row does not end the file.
    with open(
        path,
        encoding="utf-16" if wide else "utf-8-sig",
        errors="replace" if wide else "surrogateescape",
        newline="",
    ) as lines:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(lines.readline())
        lines.seek(0)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        header = _header(reader, name)
        row = 0
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                row += 1
                if "end of data" in str(error) or "limit" in str(error):
                    raise DataError(
                        file=name,
                        row=row,
                        expected='a closing "',
                        found="none before the end of the file"
                        if "end of data" in str(error)
                        else f"none within {MAX_CELL:,} characters",
                    ) from None
                yield Rejected(Source(name, row), f"malformed: {error}")
                continue
            if not cells:
                continue
            row += 1
            if len(cells) != len(header):
                yield Rejected(
                    Source(name, row), f"expected {len(header)} cells, found {len(cells)}"
                )
            elif not _clean(cells):
                yield Rejected(Source(name, row), "expected UTF-8 text, found other bytes")
            else:
                yield row, dict(zip(header, cells, strict=True))


def _clean(cells: list[str]) -> bool:
    """Whether no cell holds a byte that was not UTF-8."""
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return False
    return True


def _delimiter(line: str) -> str:
    """The separator that the header line holds most of; a comma when it has none."""
    return max(",;\t|", key=line.count) if line else ","


def _header(reader, name: str) -> list[str]:
    try:
        header = [cell.strip() for cell in next(reader, [])]
    except csv.Error as error:
        raise DataError(file=name, expected="a header line", found=str(error)) from None
    if not any(header):
        raise DataError(file=name, expected="a header line", found="an empty file")
    if paths := [cell for cell in header if cell.lower().endswith(SUFFIXES)]:
        raise DataError(
            file=name,
            expected="a header line that names the columns, e.g. image,caption",
            found=f"a first line with the picture {clip(paths[0])}",
        )
    if not _clean(header):
        raise DataError(file=name, expected="UTF-8 text", found="other bytes in the header")
    for column in header:
        if header.count(column) > 1:
            raise DataError(
                file=name, expected="each column once", found=f"two columns {clip(column)}"
            )
    return header
