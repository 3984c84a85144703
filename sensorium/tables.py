"""Which fields of a data set are the columns of its table, and which cannot be.

One number, truth value or text a record is a cell. What each column is (number, category, words) is
learned from the training split, by `modalities/table.py`.
"""

from __future__ import annotations

from collections import Counter

from sensorium.errors import DataError, clip
from sensorium.layouts._header import SUFFIXES
from sensorium.records import Blob, Records, Value, missing

# Called so, a field is what a model is asked for, and no inferred table may give it away.
LABELS = ("label", "class", "category", "answer")
CAPTION = "caption"  # how the fields of further captions begin: caption_de, captions
FACT = (
    "fact."  # how fields begin that take part only where they are named: what is known, for probes
)


def infer(records: Records) -> dict[str, str]:
    """Column -> `table`, of every field that can be one, where none is told to be.

    Left out are fields that take part as something else, captions, labels and questions by their
    name, facts (`fact.kind_1`), texts that hold JSON, and fields with one value for all.
    `records.notes` says what was taken.
    """
    if "table" in records.fields.values():
        return {}
    taken: list[str] = []
    left: list[str] = []
    for name in dict.fromkeys(name for record in records for name in record.fields):
        if name in records.fields:
            continue
        values = [record.fields.get(name) for record in records]
        low = name.lower()
        meant = low in (*LABELS, "question") or low.startswith((CAPTION, FACT))
        fits = not meant and _unfit(values) is None and not _json(values)
        (taken if fits and _varies(values) else left).append(name)
    if taken:
        more = f"; not from {', '.join(left)}" if left else ""
        records.notes.append(f"table is read from {', '.join(taken)}{more}")
    return dict.fromkeys(taken, "table")


def refuse_unfit(records: Records, names: list[str]) -> None:
    """Raises a DataError where most values of a field that is told to be a column are pictures or
    lists."""
    for name in names:
        if (found := _unfit([record.fields.get(name) for record in records])) is not None:
            raise _no_column(records, name, found)


def refuse_constant(records: Records) -> None:
    """Raises a DataError where a column of the table has one cell for all records."""
    for name, kind in records.fields.items():
        values = [record.fields.get(name) for record in records] if kind == "table" else []
        if values and not _varies(values):
            cell = values[0]
            raise _no_column(
                records, name, "empty cells only" if missing(cell) else f"only {clip(cell)}"
            )


def _no_column(records: Records, name: str, found: str) -> DataError:
    return DataError(
        file=records.name,
        field=name,
        expected="a column of a table: one number, truth value or text a record, not all the same",
        found=found,
    )


def _unfit(values: list[Value]) -> str | None:
    """What most values are, if no cells of a table."""
    kinds = Counter(_kind(value) for value in values if not missing(value))
    kind, count = kinds.most_common(1)[0] if kinds else (None, 0)
    return kind if count * 2 > kinds.total() else None


def _kind(value: Value) -> str | None:
    if isinstance(value, Blob):
        return "pictures"
    if isinstance(value, list):
        return "lists"
    if isinstance(value, str) and value.strip().lower().endswith(SUFFIXES):
        return "names of pictures"
    return None


def _varies(values: list[Value]) -> bool:
    """Whether there are two different cells; a missing one differs from all others."""
    found = {None if missing(value) else str(value).strip() for value in values}
    return len(found) > 1


def _json(values: list[Value]) -> bool:
    there = [value for value in values if not missing(value)]
    said = [value.strip() for value in there if isinstance(value, str)]
    nested = sum(text[0] + text[-1] in ("{}", "[]") for text in said)
    return nested * 2 > len(there)
