"""What the user has: a `Record` is a key, where it came from, and named fields.

A field's value is text, a number, a list of texts, or a `Blob` (bytes that stay where they are:
a file, a stretch of a tar, a cell already in memory) until a modality reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sensorium.errors import DataError

SPLITS = ("train", "validation", "test")  # fit on train, choose on validation, report on test


@dataclass(frozen=True)
class Source:
    """Where a record was read: a file and, where the file has rows, the row counted from 1."""

    file: str
    row: int | None = None

    def __str__(self) -> str:
        return self.file if self.row is None else f"{self.file} row {self.row}"


@dataclass(frozen=True)
class Blob:
    """Bytes by reference: a whole file, a stretch of one (`offset`, `size`), or bytes in memory.

    `name` is what errors call it and where its suffix is read; never a place to write to.
    """

    name: str
    file: Path | None = None
    offset: int = 0
    size: int | None = None
    data: bytes | None = field(default=None, repr=False)

    def read(self) -> bytes:
        """All bytes.

        Raises:
            DataError: the file is missing, unreadable or shorter than `offset + size`.
        """
        if self.data is not None:
            return self.data
        assert self.file is not None, "a Blob has a file or data"
        try:
            with open(self.file, "rb") as stream:
                stream.seek(self.offset)
                data = stream.read() if self.size is None else stream.read(self.size)
        except OSError as error:
            raise DataError(
                file=self.name, expected="a readable file", found=error.strerror or str(error)
            ) from None
        if self.size is not None and len(data) != self.size:
            raise DataError(
                file=self.name, expected=f"{self.size} bytes", found=f"{len(data)} bytes"
            )
        return data


Value = str | int | float | bool | list | Blob | None
JOINED = ("table",)  # modalities that read several fields of a record as one
Field = str | tuple[str, ...]  # what a modality reads of a record: a field, or several as one


def missing(cell: object) -> bool:
    """Whether a cell of a table holds nothing: None, an empty text or list, or NaN."""
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or cell == [] or cell != cell


def field_of(fields: dict[str, str], modality: str) -> Field:
    """What a modality or target reads of a record, by the modality of each field.

    Raises:
        KeyError: no field has it.
    """
    names = tuple(name for name, kind in fields.items() if kind == modality)
    if not names:
        raise KeyError(modality)
    return names if modality in JOINED else names[0]


@dataclass(frozen=True)
class Record:
    """One thing of the user's, e.g. a photograph and its captions.

    `group` names what must stay in one split (a concept, a source image, a speaker); None leaves
    it to `splits.assign`. `split` is set where the data says so.
    """

    key: str
    source: Source
    fields: dict[str, Value]
    group: str | None = None
    split: str | None = None

    def value(self, field: Field) -> Any:
        """What a modality reads: the value of a field; of several, those by name that are not
        missing, or None where all are."""
        if isinstance(field, str):
            return self.fields.get(field)
        cells = {name: self.fields.get(name) for name in field}
        return {name: cell for name, cell in cells.items() if not missing(cell)} or None


@dataclass(frozen=True)
class Rejected:
    """A record that was set aside, with the reason; counted, reported, never replaced.

    `usable` is the record without what it lacks, for those who can do without: a gallery needs no
    captions.
    """

    source: Source
    reason: str
    key: str | None = None
    field: str | None = None
    usable: Record | None = None

    def __str__(self) -> str:
        where = str(self.source) + (f", field {self.field}" if self.field else "")
        return f"{where}: {self.reason}"


@dataclass
class Records:
    """A data set in memory: the records by position, what each field is, what was set aside.

    `fields` maps a field's name to its modality, e.g. {"photo": "image", "title": "text"}, in
    the order in which they were found; only these take part. All fields of modality `table` are
    one table. `notes` says what reading decided for the user (which of several texts takes part,
    where a split came from).
    """

    name: str
    records: list[Record]
    fields: dict[str, str] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    licence: str | None = None
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, position: int) -> Record:
        return self.records[position]

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def positions(self, split: str) -> list[int]:
        """Positions of the records of one split, in the data's order."""
        return [at for at, record in enumerate(self.records) if record.split == split]

    def field_of(self, modality: str) -> str:
        """The first field of a modality.

        Raises:
            DataError: no field has it.
        """
        for name, kind in self.fields.items():
            if kind == modality:
                return name
        raise DataError(
            file=self.name,
            expected=f"a field of modality {modality}",
            found=", ".join(f"{k}={v}" for k, v in self.fields.items()) or "no fields",
        )
