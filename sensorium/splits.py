"""Train, validation, test: by group, never by row; the same for any order of the records.

A group is what must not be on both sides: the record's own `group`, joined with every record that
has the same picture (byte for byte) or the same text. Texts that are classes do not join: ten
thousand shoes called "sneaker" are not one thing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable

from sensorium import draws
from sensorium.errors import DataError
from sensorium.records import SPLITS, Blob, Record, Records

LEAST = 3  # records of validation and of test, where there are at least three times as many
SHARES = {"test": 0.1, "validation": 0.1}  # of the records; the rest is train


def assign(records: Records, seed: int = 0) -> Records:
    """Gives every record a split, in place, and returns `records`.

    Splits that the data states are kept. What is missing (all three, or validation or test) is
    drawn by group, out of train where train is stated; `records.notes` says so.

    Raises:
        DataError: too few groups for the splits that must be drawn.
    """
    given = Counter(record.split for record in records)
    if None not in given and all(given[split] for split in SPLITS):
        return records
    wanted = [split for split in SHARES if not given[split]]
    pool = [at for at, record in enumerate(records) if record.split in (None, "train")]
    if not given["train"] and not given[None]:
        # Only validation or test is stated, e.g. a folder called `test` alone: it says nothing.
        wanted, pool = list(SHARES), list(range(len(records)))
        records.notes.append("the data states no train split: all three are drawn by group")
    elif given["train"] or len(given) > 1:
        if wanted:
            drawn = " and ".join(reversed(wanted))
            records.notes.append(f"the data states no {drawn} split: drawn from train by group")
        if given[None] and len(given) > 1:
            records.notes.append(f"{given[None]:,} records state no split: taken as train")
    labels = groups(records)
    inside = set(pool)
    # A group that reaches into a stated split stays where it is: moving half of it would leak.
    outside = {labels[at] for at in range(len(records)) if at not in inside}
    if leaking := sum(labels[at] in outside for at in pool):
        records.notes.append(
            f"{leaking:,} records of train share a group, picture or text with a stated "
            f"validation or test record"
        )
    chosen = _draw(
        Counter(labels[at] for at in pool if labels[at] not in outside), len(pool), wanted, seed,
        records.name,
    )  # fmt: skip
    for at in pool:
        split = chosen.get(labels[at], "train")
        if records.records[at].split != split:
            records.records[at] = dataclasses.replace(records.records[at], split=split)
    return records


def groups(records: Records) -> list[str]:
    """The group of each record, by position: a name that does not depend on the order.

    Records are joined by equal `group`, equal picture bytes and equal normalised text (of the
    fields that take part); the name is the least of the joined groups' own or records' keys.
    """
    parent = list(range(len(records)))

    def find(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    def join(same: Iterable[tuple[object, int]]) -> None:
        first: dict[object, int] = {}
        for mark, at in same:
            parent[find(at)] = find(first.setdefault(mark, at))

    join((record.group, at) for at, record in enumerate(records) if record.group is not None)
    for field, modality in records.fields.items():
        if modality == "image":
            join(_same_bytes(records, field))
        elif modality == "text":
            join(_same_text(records, field))
    names: dict[int, str] = {}
    for at, record in enumerate(records):
        own = f"key {record.key}" if record.group is None else f"group {record.group}"
        at = find(at)
        names[at] = min(own, names.get(at, own))
    return [names[find(at)] for at in range(len(records))]


def normalised(text: str) -> str:
    """The text as compared: compatibility forms, case and blanks made equal."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _same_text(records: Records, field: str) -> list[tuple[object, int]]:
    """(normalised text, position) of each caption; nothing where the texts are classes."""
    found: list[tuple[object, int]] = []
    for at, record in enumerate(records):
        value = record.fields.get(field)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and text.strip():
                found.append((normalised(text), at))
    classes = len({text for text, _ in found}) * 2 < len(found)
    return [] if classes else found


def _same_bytes(records: Records, field: str) -> list[tuple[object, int]]:
    """(hash of the picture, position) of each record whose picture's size another one shares."""
    sizes: dict[int, list[int]] = {}
    for at, record in enumerate(records):
        value = record.fields.get(field)
        if isinstance(value, Blob) and (size := _size(value)) is not None:
            sizes.setdefault(size, []).append(at)
    found: list[tuple[object, int]] = []
    for size, places in sizes.items():
        if len(places) < 2:
            continue
        for at in places:
            if (data := _bytes(records[at], field)) is not None:
                found.append(((size, hashlib.blake2b(data, digest_size=16).digest()), at))
    return found


def _size(blob: Blob) -> int | None:
    if blob.data is not None:
        return len(blob.data)
    if blob.size is not None:
        return blob.size
    assert blob.file is not None, "a Blob has a file or data"
    try:
        return os.stat(blob.file).st_size
    except OSError:
        return None  # gone since it was read; decoding will say so, with its name


def _bytes(record: Record, field: str) -> bytes | None:
    blob = record.fields[field]
    assert isinstance(blob, Blob)
    try:
        return blob.read()
    except DataError:
        return None  # as above


def _draw(
    sizes: Counter[str], total: int, wanted: list[str], seed: int, name: str
) -> dict[str, str]:
    """The split of each group that leaves train: groups in a keyed order fill test, then
    validation, each up to its share of `total` records; one too large for a share stays in train.

    Raises:
        DataError: a split would stay empty.
    """
    if len(sizes) <= len(wanted):
        raise DataError(
            file=name,
            expected=f"at least {len(wanted) + 1} groups to draw {', '.join(wanted)} from",
            found=f"{len(sizes)}; records with one group, picture or text stay together",
        )
    order = sorted(sizes, key=lambda group: (draws.uniform(seed, "split", group), group))
    # A share of few records is still asked of more than one: retrieval needs a wrong answer, and
    # one of them may turn out to be damaged.
    least = max(1, min(LEAST, total // 3))
    room = {split: max(least, round(SHARES[split] * total)) for split in wanted}
    chosen: dict[str, str] = {}
    filled: Counter[str] = Counter()
    for group in order:
        for split in wanted:
            if filled[split] + sizes[group] <= room[split]:
                chosen[group] = split
                filled[split] += sizes[group]
                break
    for split in wanted:
        if not filled[split]:  # every group is larger than a share: the smallest will have to do
            group = min((g for g in order if g not in chosen), key=lambda g: sizes[g])
            chosen[group] = split
            filled[split] += sizes[group]
    return chosen
