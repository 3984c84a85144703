"""WebDataset tars, as img2dataset writes them: `000000003.jpg`, `.txt`, `.json` make one sample.

Only headers are read; a picture stays in its tar (`Blob` with offset and size) and nothing is
extracted. A sample is the run of members with one key: the member's path up to the first dot of
its name. A sample without picture or caption, and members that come apart from the others of their
key, are set aside. Rows count the samples of a tar from 1.

img2dataset's failures are in the .parquet beside the tar, not in it: counts there differ.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sensorium.errors import DataError, clip
from sensorium.layouts._header import HEAD, SUFFIXES, Unusable, look
from sensorium.layouts._media import MAX_TEXT, Root, lines, memory
from sensorium.layouts._rows import ALIASES, Keys
from sensorium.records import Blob, Record, Rejected, Source, Value

SUMMARY = "a WebDataset .tar, or a folder of them, as img2dataset writes"


@dataclass
class _Sample:
    """The members of one key: suffix -> (offset, size); `trouble` is why it cannot be used."""

    key: str
    row: int
    members: dict[str, tuple[int, int]] = field(default_factory=dict)
    trouble: str | None = None


def recognise(path: Path) -> bool:
    """Whether `path` is a .tar, or a folder with one at the top or in a folder named by a split."""
    if path.is_dir():
        return bool(_tars(path))
    return path.suffix.lower() == ".tar" and path.is_file()


def read(path: Path, fields: dict[str, str] | None = None) -> Iterator[Record | Rejected]:
    """Records in the order of the tars' names, then of their members.

    Args:
        path: a tar, or a folder of tars (keys then begin with the tar's name).
        fields: not needed; members say what they are.

    Raises:
        DataError: a file that is no tar, or is damaged.
    """
    folder = path.is_dir()
    root = Root(path if folder else path.parent)
    keys = Keys()
    for tar in _tars(path) if folder else [path]:
        name = root.name(tar)
        split = ALIASES.get(name.split("/")[0].lower()) if "/" in name else None
        try:
            tar = root.file(os.path.abspath(tar))
        except Unusable as reason:
            yield Rejected(Source(name), str(reason))
            continue
        prefix = name.removesuffix(tar.suffix) + "/" if folder else ""
        with open(tar, "rb") as stream:
            for sample in _samples(stream, name):
                yield _record(sample, stream, tar, name, prefix, split, keys)


def _tars(folder: Path) -> list[Path]:
    below = [p for p in folder.iterdir() if p.name.lower() in ALIASES and p.is_dir()]
    return sorted(tar for place in (folder, *below) for tar in place.glob("*.tar"))


def _samples(stream: BinaryIO, name: str) -> Iterator[_Sample | Rejected]:
    """Runs of members with one key."""
    closed: set[str] = set()
    now: _Sample | None = None
    row = 0
    for member in _members(stream, name):
        if member.isdir() or member.name.rsplit("/", 1)[-1].startswith("."):
            continue
        key, suffix = _parts(member.name)
        if now is None or key != now.key:
            if now is not None:
                closed.add(now.key)
                yield now
                now = None
            row += 1
            if key in closed:
                yield Rejected(
                    Source(name, row), f"{clip(member.name)} comes apart from the others of its key"
                )
                continue
            now = _Sample(key, row)
        if not member.isreg() or member.issparse():
            now.trouble = f"{clip(member.name)} is no ordinary file"
        elif suffix in now.members:
            now.trouble = f"two members end in .{suffix}"
        else:
            now.members[suffix] = (member.offset_data, member.size)
    if now is not None:
        yield now


def _members(stream: BinaryIO, name: str) -> Iterator[tarfile.TarInfo]:
    end = 0
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            while (member := tar.next()) is not None:
                yield member
                end = tar.offset
                tar.members = []  # type: ignore[attr-defined]  # else a long tar fills memory
    except tarfile.TarError as error:
        raise DataError(file=name, expected="an undamaged tar file", found=str(error)) from None
    # A damaged header looks to tarfile like the end; the end is zeros, or no more bytes.
    stream.seek(end)
    rest = stream.read(512)
    if rest.strip(b"\0"):
        found = clip(rest[:16]) if len(rest) == 512 else f"{len(rest)} of its 512 bytes: truncated"
        raise DataError(file=name, expected=f"a member's header at byte {end:,}", found=found)


def _parts(member: str) -> tuple[str, str]:
    """`a/b.c/0001.seg.png` -> (`a/b.c/0001`, `seg.png`)."""
    folder, slash, base = member.removeprefix("./").rpartition("/")
    stem, _, suffix = base.partition(".")
    return folder + slash + stem, suffix.lower()


def _record(
    sample: _Sample | Rejected,
    stream: BinaryIO,
    tar: Path,
    name: str,
    prefix: str,
    split: str | None,
    keys: Keys,
) -> Record | Rejected:
    if isinstance(sample, Rejected):
        return sample
    source, key = Source(name, sample.row), prefix + sample.key
    try:
        if sample.trouble:
            raise Unusable(sample.trouble)
        found = _fields(sample, stream, tar, name)
        told = found.pop("split", None)
        if told not in (None, ""):
            split = ALIASES.get(str(told).lower())
            if split is None:
                raise Unusable(f"expected train, validation or test, found {clip(told)}")
        keys.take(key, source)
    except Unusable as reason:
        return Rejected(source, str(reason), key)
    group = found.pop("group", None)
    return Record(key, source, found, None if group in (None, "") else str(group), split)


def _fields(sample: _Sample, stream: BinaryIO, tar: Path, name: str) -> dict[str, Value]:
    """`image`, `text`, then what the .json holds."""
    has = ", ".join("." + suffix for suffix in sample.members)
    picture = next((s for s in sample.members if "." + s in SUFFIXES), None)
    if picture is None:
        raise Unusable(f"no picture: found {has}")
    extra: dict[str, Value] = {}
    if "json" in sample.members:
        extra = _sidecar(_small(sample, "json", stream))
    text: Value
    if "txt" in sample.members:
        text = lines(_small(sample, "txt", stream), ".txt")
    else:
        text = extra.get("caption") or extra.get("text")
        if not text:
            raise Unusable(f"no caption: found {has}")
    if extra.get("caption") == text:
        del extra["caption"]  # img2dataset writes it twice
    extra.pop("key", None)
    if "cls" in sample.members:
        extra["cls"] = _small(sample, "cls", stream).decode("utf-8", "replace").strip()
    return {
        "image": _picture(sample, picture, stream, tar, name),
        **{field: value for field, value in extra.items() if field not in ("image", "text")},
        "text": text,
    }


def _picture(sample: _Sample, suffix: str, stream: BinaryIO, tar: Path, name: str) -> Blob:
    offset, size = sample.members[suffix]
    title = f"{name}:{sample.key}.{suffix}"
    stream.seek(offset)
    if size < HEAD:  # a header must not be read on into the next member
        memory(stream.read(size), title)
    else:
        look(stream)
    return Blob(title, tar, offset, size)


def _small(sample: _Sample, suffix: str, stream: BinaryIO) -> bytes:
    offset, size = sample.members[suffix]
    if size > MAX_TEXT:
        raise Unusable(f".{suffix}: expected at most {MAX_TEXT:,} bytes, found {size:,}")
    stream.seek(offset)
    return stream.read(size)


def _sidecar(data: bytes) -> dict[str, Value]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unusable(f".json: expected JSON, found {clip(str(error))}") from None
    if not isinstance(found, dict):
        raise Unusable(f".json: expected an object, found {clip(found)}")
    kept: dict[str, Value] = {}
    for name, value in found.items():
        plain = isinstance(value, str | int | float | list)
        kept[name] = value if plain or value is None else json.dumps(value, ensure_ascii=False)
    return kept
