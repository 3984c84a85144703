"""Parquet: one file, or a folder of shards; pictures are paths, bytes, or both.

Pictures in cells are binary columns (img2dataset) or Hugging Face's struct {bytes, path}. Files
are memory-mapped and read in small batches. Pictures of up to `MEMORY` bytes a data set are kept;
beyond that a record keeps only where its picture is (`Cell`), and reading it again costs one row
group, so write such files with small row groups.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sensorium.errors import DataError, clip
from sensorium.layouts._header import is_picture
from sensorium.layouts._media import Root
from sensorium.layouts._rows import METADATA, Keys, Row, records
from sensorium.records import Blob, Record, Rejected

SUMMARY = "a Parquet file or a folder of them; pictures are relative paths, bytes or structs"
MEMORY = 1 << 30
BATCH = 512  # rows


@dataclass(frozen=True)
class Cell(Blob):
    """A picture that stays in its Parquet file: `column` of the `at`-th row of a row group."""

    column: str = ""
    group: int = 0
    at: int = 0

    def read(self) -> bytes:
        """All bytes.

        Raises:
            DataError: the file is missing or changed.
        """
        assert self.file is not None
        try:
            value = _column(self.file, self.group, self.column)[self.at].as_py()
        except (OSError, ValueError, IndexError) as error:
            raise DataError(file=self.name, expected="a readable cell", found=str(error)) from None
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise DataError(file=self.name, expected="bytes", found=clip(data))
        return data


@functools.lru_cache(maxsize=4)
def _column(file: Path, group: int, column: str):
    from pyarrow import parquet

    with parquet.ParquetFile(file, memory_map=True) as table:
        return table.read_row_group(group, columns=[column]).column(0).combine_chunks()


def recognise(path: Path) -> bool:
    """Whether `path` is a Parquet file, or a folder of shards (`metadata.parquet` is none)."""
    if path.is_dir():
        return bool(_shards(path))
    if path.suffix.lower() not in (".parquet", ".pq") or not path.is_file():
        return False
    with open(path, "rb") as stream:
        return stream.read(4) == b"PAR1"


def read(path: Path, fields: dict[str, str] | None = None) -> Iterator[Record | Rejected]:
    """Records in the order of the shards' names, then of their rows.

    Args:
        path: a file, or a folder whose .parquet files are the shards of one data set.
        fields: column -> modality where the user said so; None infers which are pictures.

    Raises:
        DataError: a file that is not Parquet.
    """
    path = Path(os.path.abspath(path))  # a `Cell` is read again from wherever
    files = _shards(path) if path.is_dir() else [path]
    root = Root(path if path.is_dir() else path.parent)
    keys, held = Keys(), sum(file.stat().st_size for file in files)
    for file in files:
        name = root.name(file)
        yield from records(rows(file, name, held > MEMORY), file, root, fields, keys=keys)


def rows(path: Path, name: str, by_reference: bool = False) -> Iterator[Row]:
    """(row, {column: value}) of each row; raises as `read`."""
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path, memory_map=True) as table:
            row = 0
            for group in range(table.num_row_groups):
                at = 0
                for batch in table.iter_batches(batch_size=BATCH, row_groups=[group]):
                    for values in batch.to_pylist():
                        row += 1
                        if by_reference:
                            values = _leave(values, path, name, row, group, at)
                        yield row, values
                        at += 1
    except (ArrowException, OSError) as error:
        raise DataError(file=name, expected="a Parquet file", found=str(error)) from None


def _leave(values: dict, path: Path, name: str, row: int, group: int, at: int) -> dict:
    """The row with bytes replaced by where they are."""
    kept = {}
    for column, value in values.items():
        data = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(data, bytes) and is_picture(data):
            kept[column] = Cell(f"{name} row {row}", path, size=len(data), column=column,
                                group=group, at=at)  # fmt: skip
        else:
            kept[column] = value
    return kept


def _shards(folder: Path) -> list[Path]:
    return sorted(f for f in folder.glob("*.parquet") if f.is_file() and f.name not in METADATA)
