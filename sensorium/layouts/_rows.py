"""A table's rows -> records: what CSV, Parquet, JSON Lines and metadata files have in common.

The first rows decide which columns name pictures and which is the key, the split and the group;
then rows stream. A record without a `key` or `id` is called after its picture, which survives
re-ordering the rows, or after its row where it has none. Paths are relative to the table's folder;
where none of the first is found there, to the one of `FOLDERS` beside the table that holds them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sensorium.errors import clip
from sensorium.layouts._header import SUFFIXES, Unusable, is_picture
from sensorium.layouts._media import Root, memory
from sensorium.records import Blob, Record, Rejected, Source, Value

PEEK = 200
FOLDERS = ("images", "image", "imgs", "img", "pictures", "photos")  # tried beside a table
ALIASES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # of a folder of pictures

Row = tuple[int, dict[str, object]]


@dataclass
class Roles:
    """Which columns are more than a field."""

    pictures: list[str] = field(default_factory=list)
    key: str | None = None
    split: str | None = None
    group: str | None = None


class Keys:
    """Keys seen so far, with where; a key met twice is refused, naming both places."""

    def __init__(self) -> None:
        self._seen: dict[str, Source] = {}

    def take(self, key: str, source: Source) -> None:
        """Raises Unusable when another record has this key."""
        if first := self._seen.get(key):
            raise Unusable(f"key {clip(key)} is already that of {first}")
        self._seen[key] = source

    def free(self, name: str, source: Source) -> str:
        """`name`, or `name#2`, `name#3` ... where it is taken: keys that we make up ourselves."""
        key, count = name, 2
        while key in self._seen:
            key, count = f"{name}#{count}", count + 1
        self._seen[key] = source
        return key


def records(
    rows: Iterable[Row | Rejected],
    file: Path,
    root: Root,
    fields: dict[str, str] | None = None,
    *,
    keys: Keys | None = None,
    split: str | None = None,
    rename: Callable[[str], str] = str,
    pictures: Callable[[str], bool] | None = None,
) -> Iterator[Record | Rejected]:
    """Records of one table, lazily, in the table's order.

    Args:
        rows: (row counted from 1, {column: value}), or a row already refused.
        file: the table; paths in cells are relative to its folder.
        root: what may be opened.
        fields: the user's word on which columns are pictures; None infers it.
        keys: shared by the tables of one data set.
        split: of rows that do not say.
        rename: a column's name -> its field's.
        pictures: which columns are pictures by the layout's own rule, whatever they hold.
    """
    keys = keys or Keys()
    rows = iter(rows)
    first = list(itertools.islice(rows, PEEK))
    name = root.name(Path(file))
    sample = [row[1] for row in first if isinstance(row, tuple)]
    roles = _roles(sample, fields, rename, pictures or (lambda column: False))
    home = _home(root, file.parent, [row.get(c) for row in sample for c in roles.pictures[:1]])
    for row in itertools.chain(first, rows):
        if isinstance(row, Rejected):
            yield row
            continue
        source = Source(name, row[0])
        yield _record(row[1], source, home, root, roles, keys, split, rename)


def _record(
    row: dict[str, object],
    source: Source,
    home: Path,
    root: Root,
    roles: Roles,
    keys: Keys,
    split: str | None,
    rename: Callable[[str], str],
) -> Record | Rejected:
    found: dict[str, Value] = {}
    lacking = False
    key = None if roles.key is None else _text(row.get(roles.key))
    column: str | None = roles.key
    try:
        if roles.key is not None:
            if not key:
                raise Unusable("expected a key, found an empty cell")
            keys.take(key, source)
        column = roles.split
        if column is not None and (told := _text(row.get(column))):
            split = ALIASES.get(told.lower())
            if split is None:
                raise Unusable(f"expected train, validation or test, found {clip(told)}")
        group = (_text(row.get(roles.group)) if roles.group is not None else None) or None
        for column, value in row.items():
            if column in (roles.key, roles.split, roles.group):
                continue
            if column not in roles.pictures:
                found[rename(column)] = _value(value)
            elif _absent(value):
                found[rename(column)] = None  # a fact, no error
                lacking = lacking or column == roles.pictures[0]
            else:
                found[rename(column)] = _picture(value, source, root, home)
    except Unusable as reason:
        return Rejected(source, str(reason), key, column)
    if key is None:
        own = found.get(rename(roles.pictures[0])) if roles.pictures else None
        key = keys.free(own.name if isinstance(own, Blob) else f"row {source.row}", source)
    record = Record(key, source, found, group, split)
    if not lacking:
        return record
    first = rename(roles.pictures[0])
    return Rejected(source, "expected a picture, found an empty cell", key, first, record)


def _absent(value: object) -> bool:
    """Whether a picture's cell is empty."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and ("bytes" in value or "path" in value):
        return not value.get("bytes") and value.get("path") is None
    return value in (None, "")


def _home(root: Root, folder: Path, told: list[object]) -> Path:
    """The folder that a table's paths start from; see the module's docstring."""
    paths = [path.strip() for path in told if isinstance(path, str) and path.strip()][:20]
    below = [p for p in sorted(folder.iterdir()) if p.name.lower() in FOLDERS and p.is_dir()]
    for place in (folder, *below):
        if any(root.holds(path, place) for path in paths):
            return place
    return folder


def _picture(value: object, source: Source, root: Root, home: Path) -> Value:
    """One cell's picture: a path, bytes, or Hugging Face's {bytes, path}; or a list's only one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and ("bytes" in value or "path" in value):
        value = (
            Blob(_text(value.get("path")) or str(source), data=value["bytes"])
            if value.get("bytes")
            else value.get("path")
        )
    if isinstance(value, bytes):
        value = Blob(str(source), data=value)
    if isinstance(value, Blob):
        return value if value.data is None else memory(value.data, value.name)
    if not isinstance(value, str):
        raise Unusable(f"expected a picture's path, found {clip(value)}")
    return root.picture(value.strip(), home)


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _value(value: object) -> Value:
    """A cell as a record's field: text, number, list of texts; what is nested becomes its text."""
    if isinstance(value, str):
        return value if value.strip() else None
    if value is None or value != value:  # NaN is how data frames say that nothing is there
        return None
    if isinstance(value, int | float | Blob):
        return value
    if isinstance(value, bytes):
        return None  # bytes that are no picture: no modality reads them
    if isinstance(value, list):
        return [item if isinstance(item, str | int | float) else str(item) for item in value]
    return str(value)


def _roles(
    rows: list[dict[str, object]],
    fields: dict[str, str] | None,
    rename: Callable[[str], str],
    told: Callable[[str], bool],
) -> Roles:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    free = [column for column in columns if rename(column) not in (fields or {})]
    # What the user calls a field is one, even when its column is called `id`.
    lower = {column.strip().lower(): column for column in reversed(free)}
    roles = Roles(key=lower.get("key", lower.get("id")), group=lower.get("group"))
    if (split := lower.get("split")) is not None and any(
        _text(row.get(split)).lower() in ALIASES for row in rows
    ):
        roles.split = split  # a column that only shares the name stays a field
    for column in columns:
        if column in (roles.key, roles.split, roles.group):
            continue
        if fields is not None:
            picture = fields.get(rename(column)) == "image"
        else:
            picture = told(column) or _names_pictures([row.get(column) for row in rows])
        if picture:
            roles.pictures.append(column)
    return roles


def _names_pictures(values: list[object]) -> bool:
    """Whether a column's first values are mostly pictures: by suffix, or by their bytes."""
    values = [value for value in values if value not in (None, "", [])]
    good = 0
    for value in values:
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, Blob):
            good += 1  # the layout has looked at it
        elif isinstance(value, bytes):
            good += is_picture(value)
        elif isinstance(value, str):
            good += value.rstrip().lower().endswith(SUFFIXES) and "\n" not in value.strip()
    return good * 2 > len(values)
