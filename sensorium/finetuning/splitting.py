"""What a fine-tuning may be tested on: nothing that its source was trained on, where that is known.

Of the source's own data, each record keeps the split that it had. Of other data, what the source
trained on is counted, by pictures byte for byte and by texts, and said.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium import integrity, shelf, splits
from sensorium.errors import DataError, UserError
from sensorium.records import SPLITS, Record, Records
from sensorium.run import Run

if TYPE_CHECKING:
    from sensorium.records import Value

_CONTENTS = ("image", "text")


def place_of(name: str) -> str:
    """Where to read data again: a data set's name, or an absolute path."""
    return name if name in shelf.names("datasets") else str(Path(name).expanduser().resolve())


def lineage(source: Run) -> Iterator[Run]:
    """The source, then what it was tuned from, and so on, as far as these runs are there.

    Raises:
        RunError: a run's copy of its source is damaged.
    """
    while True:
        yield source
        tune = source.recipe.tune
        if tune is None:
            return
        copy = source.folder / "source"
        if copy.exists():
            integrity.check(source.folder, source.info, "source")
            source = Run.open(copy)
            continue
        try:
            source = Run.open(tune.run)
        except UserError:
            return


def as_before(source: Run, records: Records) -> Records:
    """Records of the data that the source was trained on keep their splits, in place.

    A record that the source did not have goes where its group is (training first); one whose group
    is new keeps the split that was drawn for it.

    Returns:
        `records`; `records.notes` says how many kept their split.

    Raises:
        DataError: no record is left for a split.
    """
    here = place_of(records.name)
    for run in lineage(source):
        if run.info.get("data") == here and (run.folder / "splits.json").exists():
            known = integrity.read_json(run.folder / "splits.json", "record keys with their splits")
            return _assigned(records, known)
    return records


def _assigned(records: Records, known: dict[str, str]) -> Records:
    kept = sum(record.key in known for record in records)
    if not kept:
        return records
    groups = splits.groups(records)
    homes: dict[str, str] = {}  # group -> split; training wins, for what was seen was seen
    for group, record in zip(groups, records, strict=True):
        split = known.get(record.key)
        if split is not None and homes.get(group) != "train":
            homes[group] = split
    for at, (group, record) in enumerate(zip(groups, list(records), strict=True)):
        split = known.get(record.key) or homes.get(group, record.split)
        records.records[at] = dataclasses.replace(record, split=split)
    for split in SPLITS:
        if not records.positions(split):
            raise DataError(
                file=records.name,
                expected=f"records of the source's {split} split, which its data keeps",
                found=f"{len(records):,} records, none of them in it",
            )
    note = f"{kept:,} of {len(records):,} records keep the split that they had in the source"
    if note not in records.notes:
        records.notes.append(note)
    return records


def overlap(source: Run, records: Records) -> dict[str, Any]:
    """How many test records hold a picture or a text that the source was trained on.

    Pictures are equal byte for byte, texts when case and blanks are made equal; texts that are
    classes are not compared.

    Args:
        source: finished.
        records: the new data, with its splits.

    Returns:
        {records, of}, or {records: None, of, reason} where the source's data is not there.
    """
    test = [records[at] for at in records.positions("test")]
    try:
        had = source.records()
    except UserError as error:
        return {"records": None, "of": len(test), "reason": "; ".join(error.lines)}
    asked = [_contents(record, records.fields) for record in test]
    seen = [_contents(had[at], had.fields) for at in had.positions("train")]
    both = Records(records.name, asked + seen)
    found: set[int] = set()
    for marks in (splits._same_bytes(both, "image"), splits._same_text(both, "text")):
        trained_on = {mark for mark, at in marks if at >= len(asked)}
        found |= {at for mark, at in marks if at < len(asked) and mark in trained_on}
    return {"records": len(found), "of": len(test)}


def _contents(record: Record, fields: dict[str, str]) -> Record:
    """The record with its first picture and its first text alone, under the modalities' names."""
    values: dict[str, Value] = {
        kind: record.fields.get(name)
        for name, kind in reversed(fields.items())
        if kind in _CONTENTS
    }
    return dataclasses.replace(record, fields=values)


def overlap_line(told: dict[str, Any]) -> str:
    """What `overlap` found, for people."""
    if told["records"] is None:
        return f"whether the source was trained on any test record is not known: {told['reason']}"
    return (
        f"{told['records']:,} of {told['of']:,} test records hold a picture or text that the "
        "source was trained on"
    )
