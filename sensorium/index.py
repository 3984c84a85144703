"""Building a run's index: what is new is embedded, what is gone is dropped, the rest is kept.

A content is known by its digest, so a file that moved costs nothing and one that changed under
its old name is embedded again. `store.py` says what is written, `search.py` asks.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

import sensorium
from sensorium import files, reading, shelf, store
from sensorium.comparing import refuse_blind
from sensorium.errors import DataError, RunError, clip
from sensorium.integrity import read_json
from sensorium.records import JOINED, Blob, Record, Records, Rejected, Source, Value
from sensorium.store import Index, Pool

if TYPE_CHECKING:
    from sensorium.run import Run

LARGE = 200_000  # contents of one modality; from here on a graph is worth its memory
EXTRA = "pip install 'sensorium[index]'"
_TOGETHER, _BYTES = 1024, 128 << 20  # contents embedded at once, and the bytes they may hold
_READ = 32  # files read ahead

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Built:
    """What `build` did.

    records: indexed. rows: their pictures and texts. new, removed: contents that were embedded,
    or that no record has any more. rejected: how many pictures, texts or records were set aside,
    with their `reasons`. notes: what was decided for the user.
    """

    records: int
    rows: int
    new: int
    removed: int
    rejected: int
    reasons: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()


def build(
    run: Run,
    data: str | Path,
    progress: Progress | None = None,
    fields: dict[str, str] | None = None,
    only: Container[str] | None = None,
) -> Built:
    """Makes `run`'s index hold exactly the records of `data`; embeds only contents that are new.

    Args:
        run: a finished run.
        data: a data set's name or a path; one picture or one text is enough to be indexed, so a
            bare folder of pictures will do. It replaces what was indexed before.
        progress: called with (items done, items in all).
        fields: field -> modality, where the inferred ones are wrong.
        only: keys of the records that are wanted; None: all.

    Raises:
        DataError: the data cannot be read, or nothing in it can be indexed.
        RunError: the run has not finished or compares nothing, another process is building, or the
            disk failed.
    """
    refuse_blind(run)
    mine = store.weights(run)
    place = run.folder / "index"
    records, told = _gallery(run, data, fields)  # before the claim: a mistake writes nothing
    if only is not None:
        records.records = [record for record in records if record.key in only]
    with files.claim(place):
        held, notes = _held(place, mine)
        rejected = list(records.rejected)
        columns = {
            kind: name
            for name, kind in reversed(records.fields.items())
            if kind in run.recipe.modalities and kind not in JOINED
        }
        items = {
            name: _items(record.fields.get(columns[name]) for record in records) for name in columns
        }
        total = sum(map(len, items.values()))
        parts: dict[str, _Part] = {}
        done = 0
        for name, given in items.items():
            old = held.pools[name] if held and name in held.pools else None

            def tick(count: int, before: int = done) -> None:
                if progress:
                    progress(before + count, total)

            parts[name] = _part(run, name, columns[name], records, given, old, tick)
            rejected += parts[name].rejected
            done += len(given)
        kept = _lines(records, set(columns.values()), parts)
        if not kept:
            reason = f"; first: {rejected[0]}" if rejected else ""
            raise DataError(
                file=records.name,
                expected="at least one picture or text to index",
                found=f"none in {len(records) + len(records.rejected):,} records{reason}",
            )
        gone = _gone(held, parts)
        facts: dict[str, Any] = {
            "format": store.FORMAT,
            "sensorium": sensorium.__version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "weights": mine,
            "data": told,
            "fields": columns,
            "space": run.width,
            "records": len(kept),
            "rows": {name: len(part.content) for name, part in parts.items()},
        }
        new = sum(part.new for part in parts.values())
        lines = b"".join(line + b"\n" for line in kept)
        if new or gone or not _same(held, facts, lines, parts):
            contents, more = _contents(lines, parts)
            store.write(place, facts, contents)
            notes += more
        else:
            store.sweep(place)
        rows = sum(facts["rows"].values())
    return Built(
        len(kept), rows, new, gone, len(rejected), tuple(rejected), tuple(records.notes + notes)
    )


@dataclass
class _Part:
    """One modality of the index to be: as `Pool`, with items grouped by record."""

    vectors: np.ndarray
    digests: np.ndarray
    content: list[int]
    owner: list[int]
    labels: list[str | dict[str, Any]]
    new: int
    rejected: list[Rejected]


def _gallery(run: Run, data: str | Path, fields: dict[str, str] | None) -> tuple[Records, str]:
    """The records to index, and the data's name that holds in any working directory."""
    told = str(data)
    if told not in shelf.names("datasets"):
        told = str(Path(data).expanduser().resolve())
    known = str(run.info["data"])
    own = known in (str(data), told) or Path(known).resolve() == Path(told)
    records = reading.read(
        data, fields if fields or not own else run.info["fields"], limit=1.0, need=()
    )
    # `--where split=test` shows what the model never saw; only the run itself knows.
    splits: dict[str, str] = {}
    if own:
        splits = read_json(run.folder / "splits.json", "record keys with their splits")
    kept: dict[str, Record] = {}
    for record in records:
        if record.key in kept:
            reason = f"key {clip(record.key)} is already that of {kept[record.key].source}"
            records.rejected.append(Rejected(record.source, reason, record.key))
            continue
        if split := splits.get(record.key, record.split):
            record.fields.setdefault("split", split)
        kept[record.key] = record
    records.records = list(kept.values())
    return records, told


def _held(place: Path, mine: dict[str, Any]) -> tuple[Index | None, list[str]]:
    """The index that is there if it can be added to, and why not if it cannot."""
    try:
        name = store.current(place)
        if name is None:
            return None, []
        facts = store.read_facts(place / name)
        if facts["weights"]["sha256"] != mine["sha256"]:
            said = store.said(facts["weights"])
            return None, [f"the index was of other weights ({said}): replaced"]
        return store.read(place / name, facts), []
    except RunError as error:
        return None, [f"the old index could not be used ({'; '.join(error.lines)}): made anew"]


def _items(values: Iterator[Value]) -> list[tuple[int, Any]]:
    """(record position, value) of all that is there; a list is several."""
    return [
        (at, item)
        for at, value in enumerate(values)
        for item in (value if isinstance(value, list) else [value])
        if item is not None and item != ""
    ]


def _part(
    run: Run,
    modality: str,
    name: str,
    records: Records,
    items: list[tuple[int, Any]],
    old: Pool | None,
    tick: Callable[[int], None],
) -> _Part:
    """Reads and digests all items of a field, and embeds the contents that `old` does not hold.

    One pass: what is digested is what is embedded, even if the file changes meanwhile.
    """
    held = {} if old is None else {row.tobytes(): at for at, row in enumerate(old.digests)}
    fresh: dict[bytes, np.ndarray] = {}
    failed: dict[bytes, str] = {}
    waiting: dict[bytes, Value] = {}
    found: list[tuple[int, bytes, str | dict[str, Any]]] = []
    rejected: list[Rejected] = []
    size = 0

    def refuse(at: int, reason: str) -> None:
        rejected.append(Rejected(records[at].source, reason, records[at].key, name))

    with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1)) as threads:
        for start in range(0, len(items), _READ):
            chunk = items[start : start + _READ]
            for (at, _), result in zip(
                chunk, threads.map(_digested, [value for _, value in chunk]), strict=True
            ):
                if isinstance(result, str):
                    refuse(at, result)
                    continue
                digest, label, value = result
                found.append((at, digest, label))
                if not any(digest in known for known in (held, fresh, failed, waiting)):
                    waiting[digest] = value
                    size += len(value.data or b"") if isinstance(value, Blob) else len(label)
            if len(waiting) >= _TOGETHER or size >= _BYTES:
                _embed(run, modality, name, waiting, fresh, failed)
                size = 0
            tick(start + len(chunk))
    _embed(run, modality, name, waiting, fresh, failed)

    order: dict[bytes, int] = {}
    part = _Part(np.empty(0), np.empty(0), [], [], [], 0, rejected)
    for at, digest, label in found:
        if digest in failed:
            refuse(at, failed[digest])
            continue
        part.content.append(order.setdefault(digest, len(order)))
        part.owner.append(at)
        part.labels.append(label)
    part.vectors = np.empty((len(order), run.width), np.float32)
    for digest, at in order.items():
        part.vectors[at] = old.vectors[held[digest]] if old and digest in held else fresh[digest]
    part.digests = np.frombuffer(b"".join(order), np.uint8).reshape(-1, 16)
    part.new = sum(digest not in held for digest in order)
    return part


def _digested(value: Any) -> tuple[bytes, str | dict[str, Any], Value] | str:
    """An item's digest, its label and its content in memory; or why it cannot be used."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    try:
        if isinstance(value, Blob):
            data = value.read()
            label = {
                "name": value.name,
                "file": None if value.file is None else str(value.file),
                "offset": value.offset,
                "size": value.size,
            }
            return hashlib.sha256(data).digest()[:16], label, Blob(value.name, data=data)
        if isinstance(value, str):
            return hashlib.sha256(value.encode()).digest()[:16], value.strip(), value
    except DataError as error:
        return "; ".join(error.lines)
    except UnicodeEncodeError:
        pass
    return f"expected a picture or valid Unicode text, found {clip(value)}"


def _embed(
    run: Run,
    modality: str,
    name: str,
    waiting: dict[bytes, Value],
    fresh: dict[bytes, np.ndarray],
    failed: dict[bytes, str],
) -> None:
    """Moves what waits to `fresh` with its vector, or to `failed` with the reason."""
    if not waiting:
        return
    from sensorium.prepare import column

    source = Source("index")
    asked = [Record("", source, {name: value}) for value in waiting.values()]
    made, bad = column(run.reader(modality), asked, name)
    vectors = iter(run.embed(modality, made))
    reasons = iter(bad)
    for digest, there in zip(waiting, made.index, strict=True):
        if there:
            fresh[digest] = next(vectors)
        else:
            failed[digest] = next(reasons).reason
    waiting.clear()


def _lines(records: Records, taking_part: set[str], parts: dict[str, _Part]) -> list[bytes]:
    """The lines of `records.jsonl`: the records that have an item; owners become line numbers."""
    mine: list[dict[str, list]] = [{} for _ in range(len(records))]
    for name, part in parts.items():
        for content, owner, label in zip(part.content, part.owner, part.labels, strict=True):
            mine[owner].setdefault(name, []).append([content, label])
    lines = []
    for record, items in zip(records, mine, strict=True):
        if not items:
            continue
        line = {
            "key": record.key,
            "source": str(record.source),
            "fields": {
                name: plain
                for name, value in record.fields.items()
                if name not in taking_part and (plain := _plain(value)) is not None
            },
            "items": items,
        }
        # ASCII: file names and bad texts may hold halves of surrogate pairs.
        lines.append(json.dumps(line, separators=(",", ":"), allow_nan=False).encode())
    return lines


def _plain(value: Value) -> Any:
    """A field's value as it is kept for `where`: text, number, truth, or a list of these."""
    if isinstance(value, list):
        return [one for one in map(_plain, value) if one is not None and type(one) is not list]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int) else None


def _gone(held: Index | None, parts: dict[str, _Part]) -> int:
    """How many contents the old index holds that the new one will not."""
    count = 0
    for name, pool in held.pools.items() if held else ():
        now = {row.tobytes() for row in parts[name].digests} if name in parts else set()
        count += sum(row.tobytes() not in now for row in pool.digests)
    return count


def _same(held: Index | None, facts: dict[str, Any], lines: bytes, parts: dict[str, _Part]) -> bool:
    """Whether the old index already is what would be written."""
    if held is None or any(held.facts[x] != facts[x] for x in ("data", "fields", "rows", "space")):
        return False
    return (
        held.facts["files"][store.RECORDS]["sha256"] == hashlib.sha256(lines).hexdigest()
        and all(np.array_equal(held.pools[m].digests, part.digests) for m, part in parts.items())
        and all((held.pools[m].graph is not None) == _wants_graph(p) for m, p in parts.items())
    )


def _wants_graph(part: _Part) -> bool:
    return len(part.vectors) >= LARGE and find_spec("usearch") is not None


def _contents(lines: bytes, parts: dict[str, _Part]) -> tuple[dict[str, bytes], list[str]]:
    """The files of a generation by name, and notes."""
    tensors: dict[str, np.ndarray] = {}
    notes = []
    for name, part in parts.items():
        tensors |= {f"{name}.vectors": part.vectors, f"{name}.digests": part.digests}
    contents = {store.RECORDS: lines, store.VECTORS: safetensors.numpy.save(tensors)}
    for name, part in parts.items():
        if _wants_graph(part):
            from sensorium.search import graph_of

            contents[f"{name}.usearch"] = graph_of(part.vectors)
        elif len(part.vectors) >= LARGE:
            notes.append(f"{EXTRA} speeds up search among {len(part.vectors):,} contents of {name}")
    return contents, notes
