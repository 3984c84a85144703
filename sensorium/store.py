"""The index of a run on disk: the vectors of a data set's pictures and texts, kept for search.

    index/current                    the name of the one generation that counts
    index/NAME/manifest.json         weights, data, counts, each file's size and SHA-256; sealed
    index/NAME/vectors.safetensors   MODALITY.vectors float32 [u, e], MODALITY.digests uint8 [u, 16]
    index/NAME/records.jsonl         a line per record: key, source, fields, items by modality
    index/NAME/MODALITY.usearch      a graph for approximate search, where there are many

u counts contents, not items: a text that a hundred records share is stored once. A generation is
written under a new name and counts from the moment that `current` is renamed over, so a kill leaves
the old index or the new one. Every byte is verified before it is used; no pickle.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

from sensorium import files, integrity, manifest, towers_imported
from sensorium.errors import RunError, clip, command
from sensorium.manifest import Damaged

if TYPE_CHECKING:
    from sensorium.run import Run

FORMAT = 1
CURRENT, MANIFEST, RECORDS, VECTORS = (
    "current", "manifest.json", "records.jsonl", "vectors.safetensors",
)  # fmt: skip
_NAME = re.compile(r"[0-9a-f]{16}\Z")
_MODALITY = re.compile(r"[a-z][a-z0-9_]*\Z")
_GRAPH = re.compile(r"[a-z][a-z0-9_]*\.usearch\Z")
_TRIES = 5  # a reader may meet this many swaps in a row


@dataclass
class Pool:
    """All items of one modality.

    vectors: float32 [u, e], unit length; digests: uint8 [u, 16], the SHA-256 of the contents, cut.
    content, owner: int64 [n], per item its row of `vectors` and the position of its record.
    labels: per item the text, or {name, file, offset, size} of what was read.
    graph: the bytes of the graph's file (search opens them), or None.
    """

    vectors: np.ndarray
    digests: np.ndarray
    content: np.ndarray
    owner: np.ndarray
    labels: list[str | dict[str, Any]]
    graph: Any = field(default=None, repr=False)


@dataclass
class Index:
    """An index in memory. `fields` maps a modality to the field that it was read from."""

    name: str
    facts: dict[str, Any]
    keys: list[str]
    sources: list[str]
    values: list[dict[str, Any]]
    pools: dict[str, Pool]
    position: dict[str, int] = field(repr=False)

    @property
    def fields(self) -> dict[str, str]:
        """modality -> field."""
        return self.facts["fields"]


def weights(run: Run) -> dict[str, Any]:
    """What decides a run's vectors: {sha256, recipe, step}.

    The hash covers the recipe, the weights of the best step, what reading learned (a tokenizer)
    and the frozen towers. Nothing large is read: the hashes are those of the manifests, which
    loading verifies.

    Raises:
        RunError: the run has not finished, or its checkpoint or what reading learned is damaged.
    """
    step = run.info.get("best_step")
    if step is None:
        raise RunError(
            file=run.folder,
            expected="a finished run",
            found="one that has not finished training",
            see=command("resume", run.folder),
        )
    integrity.check(run.folder, run.info, "modalities")
    facts = manifest.read(run.folder / "checkpoints" / f"step-{step:08d}" / manifest.MANIFEST)
    learned = {
        f"{file.parent.name}/{file.name}": files.sha256(file)
        for file in sorted((run.folder / "modalities").glob("*/*"))
    }
    frozen = {
        name: [part["use"], towers_imported.weight_hash(part)]
        for name, part in run.recipe.prepare.items()
    }
    model = facts["files"]["model.safetensors"]["sha256"]
    whole = json.dumps([FORMAT, run.recipe.hash, model, learned, frozen], sort_keys=True)
    return {
        "sha256": hashlib.sha256(whole.encode()).hexdigest(),
        "recipe": run.recipe.name,
        "step": step,
    }


# Writing


def write(place: Path, facts: dict[str, Any], contents: dict[str, bytes]) -> None:
    """Writes a generation, makes it the current one, deletes the others. One writer at a time.

    Args:
        place: the folder `index`.
        facts: the manifest without `files`.
        contents: file name -> bytes.

    Raises:
        RunError: the disk failed or is full; the old index still holds.
    """
    folder = place / secrets.token_hex(8)
    target, size = folder, sum(map(len, contents.values()))
    try:
        folder.mkdir()
        entries = {}
        for name, data in contents.items():
            target, size = folder / name, len(data)
            written, digest = files.write_new(target, [data])
            entries[name] = {"size": written, "sha256": digest}
        sealed = manifest.seal({**facts, "files": entries})
        target, size = folder / MANIFEST, len(sealed)
        files.write_new(target, [sealed])
        files.sync_folder(folder)
        files.sync_folder(place)
    except OSError as error:
        _delete(folder)
        raise files.unwritable(target, size, error, old="index") from None
    except BaseException:
        _delete(folder)
        raise
    # From here on the new generation counts; a reader of the old one finds that out and turns.
    files.write_bytes(place / CURRENT, f"{folder.name}\n".encode())
    sweep(place)


def sweep(place: Path) -> None:
    """Deletes all generations but the current one: those before it, and what kills have left."""
    now = current(place)
    for other in list(place.iterdir()):
        if _NAME.match(other.name) and other.name != now:
            _delete(other)


def _delete(folder: Path) -> None:
    """Deletes a generation; a folder that holds anything else is left alone."""
    with contextlib.suppress(OSError):  # what stays is tried again by the next build
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            return
        inside = list(folder.iterdir())
        ours = (MANIFEST, RECORDS, VECTORS)
        if all(file.name in ours or _GRAPH.match(file.name) for file in inside):
            for file in inside:
                file.unlink()
            folder.rmdir()


# Opening


def load(run: Run) -> Index:
    """The run's index, verified; read again only after it changed.

    Raises:
        RunError: none is there, it is damaged or of a newer format, or it is the index of another
            run or of other weights (names both).
    """
    place = run.folder / "index"
    mine = None
    for left in reversed(range(_TRIES)):
        with advice(run):
            name = current(place)
        if name is None:
            raise RunError(file=place, expected="an index", found="none yet", see=_see(run))
        if run._index is not None and run._index.name == name:
            return run._index
        mine = mine or weights(run)
        try:
            with advice(run):
                facts = read_facts(place / name)
                if facts["weights"]["sha256"] == mine["sha256"]:
                    run._index = read(place / name, facts)
                    return run._index
        except Damaged:
            # A build may have swapped the index while it was being read.
            if not left or current(place) == name:
                raise
        else:
            raise RunError(
                "the index of another run",
                file=place,
                expected=f"weights {said(mine)}",
                found=said(facts["weights"]),
                see=_see(run),
            )
    raise AssertionError("the last try returns or raises")


@contextlib.contextmanager
def advice(run: Run) -> Iterator[None]:
    """Adds to an error about damage how to make the index anew."""
    try:
        yield
    except Damaged as error:
        error.see = _see(run)
        raise


def _see(run: Run) -> str:
    return command("index", run.folder, run.info["data"])


def said(mine: dict[str, Any]) -> str:
    """Weights in a few words, for errors."""
    return f"{mine['sha256'][:12]} (recipe {mine['recipe']}, step {mine['step']})"


def current(place: Path) -> str | None:
    """The name of the generation that counts; None where nothing was ever indexed."""
    file = place / CURRENT
    if not os.path.lexists(file):
        return None
    name = manifest.read_bytes(file, 64).decode("ascii", "replace").removesuffix("\n")
    if not _NAME.match(name):
        raise Damaged(file=file, expected="the name of an index", found=clip(name))
    return name


def read_facts(folder: Path) -> dict[str, Any]:
    """The manifest of a generation, its fields of the types that the rest relies on.

    Raises:
        Damaged: it is not what was written.
        RunError: its format is newer than this version reads.
    """
    file = folder / MANIFEST
    facts = manifest.unseal(file)
    version = facts.get("format")
    if type(version) is int and version > FORMAT:
        raise manifest.newer(file, version, FORMAT, facts.get("sensorium"))
    kinds = dict(
        format=int, data=str, space=int, records=int, fields=dict, rows=dict, files=dict,
        weights=dict,
    )  # fmt: skip
    for name, kind in kinds.items():
        if type(facts.get(name)) is not kind:
            raise Damaged(
                file=file, field=name, expected=kind.__name__, found=clip(facts.get(name))
            )
    mine = facts["weights"]
    if not all(type(mine.get(x)) is str for x in ("sha256", "recipe")) or "step" not in mine:
        raise Damaged(file=file, field="weights", expected="sha256, recipe, step", found=clip(mine))
    if not all(type(facts["fields"].get(name)) is str for name in facts["rows"]):
        raise Damaged(
            file=file, field="fields", expected="a field for each modality",
            found=clip(facts["fields"]),
        )  # fmt: skip
    if bad := [name for name in facts["rows"] if not _MODALITY.match(name)]:
        raise Damaged(file=file, field="rows", expected="modalities", found=clip(bad[0]))
    for name in (RECORDS, VECTORS):
        if name not in facts["files"]:
            raise Damaged(file=file, field="files", expected=name, found=clip(facts["files"]))
    for name, entry in facts["files"].items():
        whole = type(entry) is dict and type(entry.get("size")) is int
        if not whole or type(entry.get("sha256")) is not str:
            raise Damaged(file=file, field=name, expected="size and sha256", found=clip(entry))
    return facts


def _verified(folder: Path, name: str, facts: dict[str, Any]) -> bytes:
    """A file's bytes, which are those that the manifest speaks of."""
    entry = facts["files"][name]
    data = manifest.read_bytes(folder / name, entry["size"])
    if len(data) != entry["size"]:
        raise Damaged(
            "truncated", file=folder / name, expected=f"{entry['size']:,} bytes",
            found=f"{len(data):,} bytes",
        )  # fmt: skip
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry["sha256"]:
        raise Damaged(
            "altered", file=folder / name, expected=f"SHA-256 {entry['sha256']}", found=digest
        )
    return data


def read(folder: Path, facts: dict[str, Any]) -> Index:
    """A generation in memory.

    Raises:
        Damaged: a file is not what was written, or says what cannot be.
    """
    file = folder / VECTORS
    try:
        tensors = safetensors.numpy.load(_verified(folder, VECTORS, facts))
    except Damaged:
        raise
    except Exception as error:  # a lying header fails in as many ways as there are lies
        raise Damaged(
            file=file, expected="safetensors", found=f"{type(error).__name__}: {error}"
        ) from None
    pools = {}
    for name in facts["rows"]:
        vectors, digests = (tensors.get(f"{name}.{x}") for x in ("vectors", "digests"))
        if vectors is None or digests is None:
            raise Damaged(f"no vectors of {name}", file=file)
        shapes = [("vectors", vectors, (len(vectors), facts["space"]), np.float32),
                  ("digests", digests, (len(vectors), 16), np.uint8)]  # fmt: skip
        for what, array, shape, dtype in shapes:
            if array.shape != shape or array.dtype != dtype:
                raise Damaged(
                    file=file, field=f"{name}.{what}", expected=f"{np.dtype(dtype)} {list(shape)}",
                    found=f"{array.dtype} {list(array.shape)}",
                )  # fmt: skip
        if not np.isfinite(vectors).all():
            raise Damaged(file=file, field=name, expected="finite vectors", found="others")
        none = np.zeros(0, np.int64)
        graph = f"{name}.usearch"
        bytes_ = _verified(folder, graph, facts) if graph in facts["files"] else None
        pools[name] = Pool(vectors, digests, none, none, [], bytes_)
    index = Index(folder.name, facts, [], [], [], pools, {})
    _read_records(folder, facts, index)
    return index


def _read_records(folder: Path, facts: dict[str, Any], index: Index) -> None:
    """Fills in what `records.jsonl` says."""
    file = folder / RECORDS
    lines = _verified(folder, RECORDS, facts).splitlines()
    try:
        records = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError) as error:
        raise Damaged(file=file, expected="JSON lines", found=clip(str(error))) from None
    if not len(records) == len(lines) == facts["records"]:
        raise Damaged(
            file=file, expected=f"{facts['records']:,} records", found=f"{len(lines):,} lines"
        )
    content: dict[str, list[int]] = {name: [] for name in index.pools}
    owner: dict[str, list[int]] = {name: [] for name in index.pools}
    for at, record in enumerate(records):
        try:
            key, source, values = record["key"], record["source"], record["fields"]
            if not (type(key) is type(source) is str and type(values) is dict):
                raise TypeError("expected text, text, fields")
            if index.position.setdefault(key, at) != at:
                raise ValueError(f"key {clip(key)} comes twice")
            for name, items in record["items"].items():
                pool = index.pools[name]
                for row, label in items:
                    if type(row) is not int or not 0 <= row < len(pool.vectors):
                        raise ValueError(f"no vector {clip(row)}")
                    if type(label) is not str and not _is_reference(label):
                        raise TypeError(f"expected a text or a file, found {clip(label)}")
                    content[name].append(row)
                    owner[name].append(at)
                    pool.labels.append(label)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Damaged(file=file, row=at + 1, expected="a record", found=str(error)) from None
        index.keys.append(key)
        index.sources.append(source)
        index.values.append(values)
    for name, pool in index.pools.items():
        pool.content = np.array(content[name], np.int64)
        pool.owner = np.array(owner[name], np.int64)
        if len(pool.content) != facts["rows"][name]:
            raise Damaged(
                file=file, field=name, expected=f"{facts['rows'][name]} items",
                found=f"{len(pool.content)}",
            )  # fmt: skip


def _is_reference(label: Any) -> bool:
    return (
        type(label) is dict
        and type(label.get("name")) is str
        and (label.get("file") is None or type(label["file"]) is str)
    )
