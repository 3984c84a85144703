"""A folder of pictures, with what is said about them in one of three places.

1. A `metadata.csv`, `.jsonl` or `.parquet` beside the pictures, as Hugging Face's imagefolder
   reads (https://huggingface.co/docs/datasets/image_dataset): `file_name` becomes the field
   `image`, `x_file_name` the field `x`. It wins over the other two.
2. A text file with each picture's name: `0001.png`, `0001.txt`; every line is one caption.
3. The folder that a picture is in: its class, as the field `text`.

Where the first level of folders is made of split names (train, validation, valid, val, dev,
test), those are splits. Names that begin with a dot are passed over, links to folders not followed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from sensorium.errors import DataError, nearest
from sensorium.layouts import _rows, csv, jsonl, parquet
from sensorium.layouts._header import SUFFIXES, Unusable
from sensorium.layouts._media import Root
from sensorium.layouts._rows import METADATA
from sensorium.records import Blob, Record, Rejected, Source

SUMMARY = "a folder of pictures with .txt files, a metadata file, or one sub-folder per class"
FILE_NAME = "file_name"


def recognise(path: Path) -> bool:
    """Whether `path` is a folder that holds a picture or metadata, at any depth."""
    if not path.is_dir():
        return False
    for _, files in _walk(path):
        if any(_is_picture(name) or name in METADATA for name in files):
            return True
    return False


def read(path: Path, fields: dict[str, str] | None = None) -> Iterator[Record | Rejected]:
    """Records in the order of their paths (metadata: of its rows).

    Args:
        path: the folder.
        fields: field -> modality where the user said so; matters to metadata files only.

    Raises:
        DataError: a metadata file that cannot be read at all.
    """
    root = Root(path)
    folders = list(_walk(path))
    holding = [_parts(root, folder) for folder, files in folders if any(map(_is_picture, files))]
    top = {parts[0] for parts in holding if parts}
    splits = bool(top) and all(name.lower() in _rows.ALIASES for name in top)
    if any(name in METADATA for _, files in folders for name in files):
        for item in _from_metadata(root, folders, fields):
            yield _with_split_of_folder(item) if splits and isinstance(item, Record) else item
        return
    names = {folder: frozenset(files) for folder, files in folders}
    captions = any(_caption_file(n, names[folder]) for folder, files in folders for n in files)
    for folder, files in folders:
        parts = _parts(root, folder)
        split = _rows.ALIASES[parts[0].lower()] if splits and parts else None
        below = parts[1:] if splits else parts
        word = below[-1].replace("_", " ").replace("-", " ").strip() if below else None
        for link in _links(folder):
            yield Rejected(Source(root.name(Path(folder) / link)), "a link to a folder: not opened")
        for name in filter(_is_picture, files):
            yield _paired(root, Path(folder), name, names[folder], split, captions, word)


def _paired(
    root: Root,
    folder: Path,
    name: str,
    files: frozenset[str],
    split: str | None,
    captions: bool,
    word: str | None,
) -> Record | Rejected:
    """One picture with its captions, or with its class; with neither where no picture has one."""
    key = root.name(folder / name)
    source = Source(key)
    found: dict = {}
    try:
        found["image"] = root.picture(name, folder)
        if captions:
            text = _caption_file(name, files)
            if text is None:
                raise Unusable(f"no caption: expected {Path(name).with_suffix('.txt').name}")
            found["text"] = root.texts(text, folder)
        elif word:
            found["text"] = word
    except Unusable as reason:
        usable = Record(key, source, found, split=split) if found else None
        return Rejected(source, str(reason), key, usable=usable)
    return Record(key, source, found, split=split)


def _with_split_of_folder(record: Record) -> Record:
    """Metadata above the split folders: `train/0001.png` is of train where no column says else."""
    picture = record.fields.get("image")
    if record.split is not None or not isinstance(picture, Blob):
        return record
    split = _rows.ALIASES.get(picture.name.split("/")[0].lower())
    return dataclasses.replace(record, split=split)


def _from_metadata(
    root: Root, folders: list[tuple[str, list[str]]], fields: dict[str, str] | None
) -> Iterator[Record | Rejected]:
    keys = _rows.Keys()
    named: set[str] = set()  # pictures that some row speaks of, so that the others can be counted
    for folder, files in folders:
        for table in (name for name in METADATA if name in files):
            file = Path(folder) / table
            parts = _parts(root, folder)
            yield from _rows.records(
                _naming(_metadata_rows(file, root), file, root, named),
                file,
                root,
                fields,
                keys=keys,
                split=_rows.ALIASES.get(parts[0].lower()) if parts else None,
                rename=_field,
                pictures=lambda column: _field(column) != column,
            )
    for folder, files in folders:
        for name in filter(_is_picture, files):
            key = root.name(Path(folder) / name)
            if key not in named:
                yield Rejected(Source(key), "no row of the metadata names it", key)


def _metadata_rows(file: Path, root: Root) -> Iterator[_rows.Row | Rejected]:
    name = root.name(file)
    if file.suffix == ".csv":
        return csv.rows(file, name)
    if file.suffix == ".jsonl":
        return jsonl.rows(file, name)
    return parquet.rows(file, name)


def _naming(
    rows: Iterator[_rows.Row | Rejected], file: Path, root: Root, named: set[str]
) -> Iterator[_rows.Row | Rejected]:
    """Passes the rows on and notes the pictures that they name.

    Raises:
        DataError: the first row has no `file_name`.
    """
    first = True
    for row in rows:
        if isinstance(row, tuple):
            pictures = {c: v for c, v in row[1].items() if FILE_NAME in c}
            if first and not pictures:
                raise DataError(
                    file=root.name(file),
                    expected=f"a column {FILE_NAME} or x_{FILE_NAME}",
                    found=", ".join(row[1]),
                    nearest=nearest(FILE_NAME, row[1]),
                )
            first = False
            for value in pictures.values():
                for told in value if isinstance(value, list) else [value]:
                    if isinstance(told, str):
                        named.add(root.name(Path(os.path.normpath(file.parent / told.strip()))))
        yield row


def _field(column: str) -> str:
    """`file_name` -> `image`, `x_file_name` -> `x`, as Hugging Face names them."""
    if column == FILE_NAME:
        return "image"
    return column.removesuffix("_" + FILE_NAME)


def _walk(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(folder, names of its files) in the order of the paths; hidden ones left out."""
    for folder, below, files in os.walk(os.path.abspath(path)):
        below[:] = sorted(name for name in below if name[0] != "." and name != "__MACOSX")
        yield folder, sorted(name for name in files if name[0] != ".")


def _links(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_symlink() and e.is_dir())


def _parts(root: Root, folder: str) -> tuple[str, ...]:
    return Path(os.path.abspath(folder)).relative_to(root.folder).parts


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _caption_file(name: str, files: frozenset[str]) -> str | None:
    """The text file with a picture's name, where there is one."""
    if not _is_picture(name):
        return None
    stem = name.rsplit(".", 1)[0]
    return next((f for f in (stem + ".txt", stem + ".TXT") if f in files), None)
