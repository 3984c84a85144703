"""A name or a path -> `Records`: choose the layout, infer what each field is, set aside, split.

Every decision that the user did not make is written into `Records.notes`; everything that was set
aside is in `Records.rejected`. Missing media is normal up to `limit`; above it reading stops.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sensorium import shelf, splits, tables
from sensorium.errors import DataError, clip, command, nearest, unknown
from sensorium.layouts import _header
from sensorium.records import Blob, Record, Records, Rejected, Value, missing

if TYPE_CHECKING:
    from sensorium.recipe import Recipe

NO_PICTURE = "expected a picture, found an empty cell"
NO_TEXT = "expected text, found an empty cell"
LEAST = 10  # usable records; fewer cannot give three splits that mean anything
SAMPLE = 1000  # records that are looked at to infer what a field is
# What people call the field that describes a picture, most telling first.
CAPTIONS = ("caption", "captions", "text", "txt", "title", "description", "name", "label", "class")
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
# Tried in this order; `folder` last, for it also fits a folder of shards with a picture beside.
ORDER = ("webdataset", "coco", "parquet", "csv", "jsonl", "folder")
_WHAT = {"image": "pictures", "text": "texts", "label": "classes", "table": "numbers or categories"}
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|\.\d+)([eE][+-]?\d+)?\Z")


def read(
    data: str | Path,
    fields: dict[str, str] | None = None,
    limit: float = 0.1,
    need: tuple[str, ...] | None = None,
    train: tuple[str, ...] = ("image", "text"),
) -> Records:
    """A data set in memory, with a modality for each field that takes part and a split per record.

    Args:
        data: the name of a member of the `datasets` shelf, or a path.
        fields: what takes part, e.g. {"photo": "image", "title": "text"}; None infers one picture
            and one text. Where a table takes part and no field is told to be of it, its columns
            are inferred in both cases: see `tables`.
        limit: the share of records that may be set aside.
        need: the modalities that a record cannot do without. None asks for what training needs:
            all of `train`, enough records, splits. Else, e.g. for a gallery to search, records
            may be few and keep the split that the data states or None.
        train: the modalities (and targets) that a model is trained on. Where a label is told from
            them, a record is kept that has one of them: what it lacks is a fact. Else they are
            compared, and a record needs all.

    Raises:
        DataError: nothing there; no layout fits; an unknown field or modality; too many bad
            records; fewer than `LEAST` usable ones; no pictures, no texts, or all texts equal; a
            column of a table that holds pictures or lists, or one value alone.
    """
    if not str(data).strip():
        raise DataError("data", expected="a data set's name or a path", found="an empty text")
    _check_modalities(str(data), fields)
    path = Path(data).expanduser()
    if str(data) in shelf.names("datasets"):
        found: Records = shelf.load("datasets", str(data)).read()
        if fields is not None:
            found.fields = _told(found, fields)
        if "table" in (train if need is None else need):
            found.fields |= tables.infer(found)
        if path.exists():
            found.notes.append(f"{data} is the data set of that name; the path would be ./{data}")
        return splits.assign(found) if need is None else found
    records = Records(name=str(data), records=[])
    try:
        layout = choose(path)
        if layout == "folder" and (table := _table_of(path)) is not None:
            records.notes.append(f"read from {table.name} in the folder {path}")
            path, layout = table, choose(table)
        for item in shelf.load("layouts", layout).read(path, fields):
            if isinstance(item, Rejected) and item.usable is not None and (
                need is not None or ("label" in train and lacks(item))
            ):  # fmt: skip
                item = item.usable
            (records.rejected if isinstance(item, Rejected) else records.records).append(item)
    except OSError as error:
        raise DataError(
            file=error.filename or data, expected="readable data", found=error.strerror
        ) from None
    if not records.records and not records.rejected:
        raise DataError(file=data, expected="records", found=f"an empty {layout}")
    if records.records:
        records.fields = infer(records) if fields is None else _told(records, fields)
        if "table" in (train if need is None else need):
            records.fields |= tables.infer(records)
        one_is_enough = need is None and "label" in train
        _set_aside_incomplete(records, train if need is None else need, one_is_enough)
        _join_rows_of_one_picture(records)
    _check_rate(records, limit, is_composed(path))
    if need is not None:
        for modality in need:
            records.field_of(modality)
        return records
    _check_usable(records, train)
    return splits.assign(records)


def refuse_missing(recipe: Recipe, records: Records) -> None:
    """Checks that the data has a field for all that a recipe reads, and those that variants name.

    Raises:
        DataError: a field is not in the data; names those that are, and the nearest.
    """
    for name in (*recipe.modalities, *recipe.targets):
        records.field_of(name)
    held = list(dict.fromkeys(field for record in records for field in record.fields))
    for modality, variants in recipe.variants.items():
        for at, variant in enumerate(variants):
            if variant.field is not None and variant.field not in held:
                place, near = f"variants.{modality}.{at}.field", nearest(variant.field, held)
                raise DataError(
                    file=records.name,
                    field=variant.field,
                    expected=f"the field that {place} of recipe {recipe.name} names, one of "
                    + ", ".join(held),
                    found="no such field",
                    nearest=near,
                    see=f"the same command with {place}={shlex.quote(near or 'FIELD')}",
                )


def choose(path: Path) -> str:
    """The layout that fits a path.

    Raises:
        DataError: the path does not exist (names a sibling that does), is an empty folder, or
            fits no layout.
    """
    try:
        there = path.exists()
    except (OSError, ValueError) as error:  # a name too long, or with a zero byte
        found = getattr(error, "strerror", None) or str(error)
        raise DataError(f"no data at {clip(str(path))}", expected="a path", found=found) from None
    if not there:
        _missing(path)
    if path.is_dir() and not any(path.iterdir()):
        raise DataError(file=path, expected="pictures with captions", found="an empty folder")
    names = shelf.names("layouts")
    for name in sorted(names, key=lambda n: ORDER.index(n) if n in ORDER else len(ORDER)):
        if shelf.load("layouts", name).recognise(path):
            return name
    known = "; ".join(f"{name}: {shelf.load('layouts', name).SUMMARY}" for name in names)
    if path.is_dir():
        raise DataError(
            f"no layout fits the folder {path}",
            expected=f"one of {known}",
            found=", ".join(sorted(p.name for p in path.iterdir())[:5]),
        )
    raise DataError(f"no layout fits {path}", expected=f"one of {known}",
                    found=f"{path.name}: {_begins(path)}")  # fmt: skip


def _begins(path: Path) -> str:
    """What a file holds, by its first bytes."""
    try:
        with open(path, "rb", buffering=0) as stream:
            head = stream.read(_header.HEAD)
    except OSError as error:
        return error.strerror or str(error)
    return _header.what(head) if head else "an empty file"


def _table_of(folder: Path) -> Path | None:
    """The one table at the top of a folder whose first rows name pictures, e.g. `captions.csv`
    beside `images`; None where there is none, or metadata that the folder's own layout reads."""
    tables = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in TABLES and p.is_file()]
    if len(tables) != 1 or tables[0].stem == "metadata":
        return None
    first = itertools.islice(shelf.load("layouts", choose(tables[0])).read(tables[0]), LEAST)
    pictured = any(
        isinstance(value, Blob)
        for item in first
        if isinstance(item, Record)
        for value in item.fields.values()
    )
    return tables[0] if pictured else None


def _missing(path: Path) -> None:
    """Raises the error for a path that is not there, with the nearest that is."""
    parent = path.parent
    siblings = [p.name for p in parent.iterdir()] if parent.is_dir() else []
    near = nearest(path.name, siblings)
    names = shelf.names("datasets")
    own = nearest(str(path), names)
    raise DataError(
        f"no data at {path}",
        expected="a file, a folder, or one of " + ", ".join(names),
        found="no such path" if parent.is_dir() else f"no folder {parent}",
        nearest=str(parent / near) if near else own,
    )


def infer(records: Records) -> dict[str, str]:
    """One picture and one text: the first picture field, and the likeliest caption.

    Others of the same modality are named in `records.notes`, with how to choose them. Facts
    (`fact.kind_1`) take part only where they are named.
    """
    known = kinds_of(records.records)
    kinds = {name: kind for name, kind in known.items() if not name.startswith(tables.FACT)}
    pictures = [name for name, kind in kinds.items() if kind == "image"]
    texts = [name for name, kind in kinds.items() if kind == "text"]
    taken = {}
    if pictures:
        taken[pictures[0]] = "image"
    if texts:
        taken[_caption(texts, records.records)] = "text"
    for modality, names in (("image", pictures), ("text", texts)):
        if len(names) > 1:
            chosen = next(name for name in names if name in taken)
            others = [name for name in names if name not in taken]
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            records.notes.append(
                f"{modality} is read from {chosen}; not from {', '.join(others[:5])}{more}"
            )
    return taken


def kinds_of(records: Iterable[Record]) -> dict[str, str]:
    """What each field holds, from the first records: image, text, number or other."""
    values: dict[str, list[Value]] = {}
    for at, record in enumerate(records):
        if at >= SAMPLE:
            break
        for name, value in record.fields.items():
            values.setdefault(name, [])
            if value not in (None, "", []):
                values[name].append(value)
    return {name: _kind(name, found) for name, found in values.items()}


def _kind(field: str, values: list[Value]) -> str:
    """What most of the values are; the odd one out is set aside later, with its row."""
    kinds = Counter(map(_kind_of_one, values))
    kind, count = kinds.most_common(1)[0] if kinds else ("other", 0)
    if kind == "number" and (kinds["text"] or _said_to_be_text(field, values)):
        return "text"  # captions may be numbers (classes 0 to 9), numbers are never words
    return kind if count * 2 > len(values) else "other"


def _said_to_be_text(field: str, values: list[Value]) -> bool:
    return field.lower() in CAPTIONS and all(isinstance(value, str) for value in values)


def _kind_of_one(value: Value) -> str:
    if isinstance(value, Blob):
        return "image"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str) and _NUMBER.match(value.strip()):
        return "number"
    return "text" if _words(value) else "other"


def _words(value: Value) -> list[str]:
    """The texts of a value; none when it is something else."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [item for item in value if item.strip()]
    return []


def _caption(names: list[str], records: list[Record]) -> str:
    """The text field that describes: by its name, else the first that varies and has several words,
    else the first that varies, else the first."""
    by_name = [name for known in CAPTIONS for name in names if name.lower() == known]
    if by_name:
        return by_name[0]

    def share(name: str, test: Callable[[str], bool]) -> float:
        words = [_words(record.fields.get(name)) for record in records[:SAMPLE]]
        return sum(bool(w) and test(w[0]) for w in words) / max(1, len(words))

    def varies(name: str) -> bool:
        found = {tuple(_words(record.fields.get(name))) for record in records[:SAMPLE]}
        return len(found) > 1 and share(name, lambda text: "://" in text) < 0.5

    varied = [name for name in names if varies(name)]
    prose = [name for name in varied if share(name, lambda text: " " in text.strip()) >= 0.5]
    return (prose or varied or names)[0]


def _check_modalities(data: str, fields: dict[str, str] | None) -> None:
    known = shelf.names("modalities")
    for name, kind in (fields or {}).items():
        if kind not in known:
            raise unknown("modality", kind, known, DataError, file=data, field=name)


def _told(records: Records, fields: dict[str, str]) -> dict[str, str]:
    """The user's fields, checked against what the records hold."""
    present = list(dict.fromkeys(name for record in records for name in record.fields))
    for name in fields:
        if name not in present:
            raise DataError(
                file=records.name,
                field=name,
                expected="one of " + ", ".join(present),
                found=clip(name),
                nearest=nearest(name, present),
            )
    tables.refuse_unfit(records, [name for name, kind in fields.items() if kind == "table"])
    return dict(fields)


def is_composed(path: Path) -> bool:
    """Whether a path is a composed world (`sensorium world make`), or its folder `unseen`."""
    return any((folder / "world.json").is_file() for folder in (path, path.parent))


def lacks(refused: Rejected) -> bool:
    """Whether a record was set aside for lacking a picture or a text, with nothing wrong in it."""
    return refused.reason in (NO_PICTURE, NO_TEXT)


def _set_aside_incomplete(records: Records, need: tuple[str, ...], one_is_enough: bool) -> None:
    """Moves records whose first picture or text is absent to `rejected`, where it is needed;
    numbers told to be text become text."""
    kept = []
    first = {kind: name for name, kind in reversed(records.fields.items()) if kind in need}
    texts = [name for name, kind in records.fields.items() if kind == "text"]
    for record in records.records:
        for name in texts:
            if isinstance(value := record.fields.get(name), int | float):
                record.fields[name] = str(value)
        reason = _incomplete(record, first)
        if one_is_enough and reason is not None and reason[1] in (NO_PICTURE, NO_TEXT):
            reason = None if _has_one(record, records.fields, need) else reason
        if reason is None:
            kept.append(record)
        else:
            field, why = reason
            records.rejected.append(Rejected(record.source, why, record.key, field))
    records.records = kept


def _incomplete(record: Record, first: dict[str, str]) -> tuple[str, str] | None:
    """The field for which a record cannot be used, and why: what is wrong before what is absent."""
    absent = None
    for modality, name in first.items():
        value = record.fields.get(name)
        empty = value in (None, "", [])
        if modality == "label" and empty:
            return name, "expected a class, found an empty cell"
        if modality == "image" and not isinstance(value, Blob):
            if not empty:
                return name, f"expected a picture, found {clip(value)}"
            absent = absent or (name, NO_PICTURE)
        if modality == "text" and not _words(value):
            if not empty:
                return name, f"expected text, found {clip(value)}"
            absent = absent or (name, NO_TEXT)
    return absent


def _has_one(record: Record, fields: dict[str, str], need: tuple[str, ...]) -> bool:
    """Whether a record has a picture, a text or a cell of its table, of those that are needed."""
    return any(
        kind in need and kind != "label" and not missing(record.fields.get(name))
        for name, kind in fields.items()
    )


def _join_rows_of_one_picture(records: Records) -> None:
    """Rows that differ in the caption alone become one record with several captions.

    Such tables (one row per caption) are common; kept apart, each picture would count as a wrong
    answer for its own other captions. Only records called after their picture are joined: a key of
    the user's is kept. Fields that take no part are those of the picture's first row.
    """
    picture = next((name for name, kind in records.fields.items() if kind == "image"), None)
    text = next((name for name, kind in records.fields.items() if kind == "text"), None)
    if picture is None or text is None or not any("#" in r.key for r in records.records):
        return
    groups: dict[tuple, list[Record]] = {}
    for record in records.records:
        blob = record.fields.get(picture)
        name = blob.name if isinstance(blob, Blob) else None
        ours = name is not None and (record.key == name or record.key.startswith(f"{name}#"))
        rest = [repr(record.fields.get(other)) for other in records.fields if other != text]
        key = (name, record.split, record.group, *rest) if ours else (record.key,)
        groups.setdefault(key, []).append(record)
    if len(groups) == len(records.records):
        return
    joined = []
    for same in groups.values():
        words = list(dict.fromkeys(w for record in same for w in _words(record.fields.get(text))))
        if len(same) > 1:
            fields = {**same[0].fields, text: words if len(words) > 1 else "".join(words)}
            same[0] = dataclasses.replace(same[0], fields=fields)
        joined.append(same[0])
    records.notes.append(
        f"{len(records.records):,} rows describe {len(joined):,} pictures: "
        f"rows of one picture are one record with several captions"
    )
    records.records = joined


def _check_rate(records: Records, limit: float, composed: bool) -> None:
    """In a composed world what is absent is so by its setting, and only what is wrong counts."""
    total = len(records.records) + len(records.rejected)
    wrong = [x for x in records.rejected if not (composed and lacks(x))]
    if len(wrong) > limit * total:
        raise DataError(
            f"{records.name}: {len(wrong):,} of {total:,} records cannot be used\n"
            + "\n".join(f"  {reason}" for reason in wrong[:3]),
            expected=f"at most {limit:.0%}",
            found=f"{len(wrong) / total:.0%}",
            see=command("doctor", records.name),
        )


def _check_usable(records: Records, train: tuple[str, ...]) -> None:
    kinds = kinds_of(records.records)
    held = ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "no fields"
    for modality in train:
        if modality not in records.fields.values():
            raise DataError(
                file=records.name,
                expected=f"a field with {_WHAT.get(modality, modality)}",
                found=held,
                see=command("doctor", records.name),
            )
    if len(records) < LEAST:
        raise DataError(
            file=records.name,
            expected=f"at least {LEAST} usable records",
            found=f"{len(records)}",
            see=command("doctor", records.name),
        )
    tables.refuse_constant(records)
    if "text" not in train or "label" in train:  # one question may be asked of every picture
        return
    text = records.field_of("text")
    first = _words(records[0].fields[text])
    if all(_words(record.fields[text]) == first for record in records):
        raise DataError(
            file=records.name,
            field=text,
            expected="texts that differ",
            found=f"{clip(first[0])} {len(records):,} times",
            see=command("doctor", records.name),
        )
