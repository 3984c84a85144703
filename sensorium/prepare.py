"""Before views: fields are read once, frozen towers run once, and both are kept by content hash.

A prepared `Column` holds one modality of all records as arrays, so a training step only gathers.
The cache key is what decides the values: the modality's options, the tower's weight hash, and the
bytes of each picture or the text as read. Another weight or another crop is another key, never a
stale hit. Identity is wider than that key: two spellings of a caption are one right answer.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sensorium import cache, draws, files, towers_imported
from sensorium.errors import DataError
from sensorium.recipe import Recipe, member
from sensorium.records import Blob, Field, Record, Rejected, Source, field_of
from sensorium.splits import normalised
from sensorium.tokens import Batch, Tokens, collate
from sensorium.views import View, look

_CHUNK = 32  # items read and encoded together
_SHARD = 512  # items written together: what a kill can lose

Progress = Callable[[int, int], None]


@dataclass
class Column:
    """One modality of some records.

    items: the prepared contents: float32 features [items, t, c], uint8 pictures
        [items, size, size, 3], float32 tables [items, columns, c], or a list of texts.
    index: per record the positions of its items; several captions are several; none is absent.
    identity: int64 [items], equal for pictures with the same bytes, for texts that differ in
        blanks, case or compatibility forms only, and for tables that are read as the same.
    features: whether items are a frozen tower's features.
    """

    modality: str
    items: np.ndarray | list[str]
    index: list[list[int]]
    identity: np.ndarray
    features: bool

    def part(self, positions: list[int]) -> Column:
        """The column of some records only, in the order given."""
        items = [item for at in positions for item in self.index[at]]
        counter = iter(range(len(items)))
        index = [[next(counter) for _ in self.index[at]] for at in positions]
        kept = (
            self.items[items]
            if isinstance(self.items, np.ndarray)
            else [self.items[i] for i in items]
        )
        return Column(self.modality, kept, index, self.identity[items], self.features)


class Reader:
    """Reads one modality as a recipe asks: its options, its tower if it has one.

    Attributes:
        modality: the object of the shelf `modalities`.
        frozen: the name of its frozen tower, or None.
        tower: that tower; loaded when first used, which a warm cache never does.
    """

    def __init__(self, recipe: Recipe, name: str, device: str = "cpu") -> None:
        content = {**recipe.modalities, **recipe.targets}[name]
        module, spec = member("modalities", f"modalities.{name}", content)
        self.name = name
        self.modality = module.Modality(spec)
        self.frozen: str | None = None
        self.device = device
        # What is not given is left out, so that an option of a later version changes no key.
        identity: dict[str, Any] = {"modality": spec.model_dump(mode="json", exclude_none=True)}
        self._tower = recipe.prepare.get(name, {})
        if self._tower:
            self.frozen = str(self._tower["use"])
            identity["tower"] = [self.frozen, towers_imported.weight_hash(self._tower)]
        order = self._tower.get("order") or recipe.order.get(name, "full")
        self.view = View(name, order=order)
        self.key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]

    @functools.cached_property
    def tower(self) -> Any:
        """The frozen encoder.

        Raises:
            UserError: it is not in the cache, or damaged.
        """
        assert self.frozen is not None, "only some modalities have a tower"
        return towers_imported.load(self._tower, self.modality).to(self.device)

    def digest(self, value: Any, name: str) -> bytes:
        """16 bytes that name what is read of one item: its key in the cache.

        A text's and a table's are of what `read` gives: blanks around it make no other text. A
        picture's are of its bytes, so that what is known is not decoded again.

        Raises:
            DataError: the text cannot be read, or the picture's file.
        """
        if isinstance(value, Blob) and self.modality.name == "image":
            data = value.read()
        else:
            content = self.read(value, name)
            data = content.encode() if isinstance(content, str) else content.tobytes()
        return hashlib.sha256(data).digest()[:16]

    def identity(self, value: Any, name: str) -> int:
        """63 bits, equal for what counts as one thing: see `Column`.

        Texts are compared as splits compare them: tokenizers lower-case, so a model cannot tell
        "A cat" from "a cat" and must not be asked to.

        Raises:
            DataError: the text cannot be read, or the picture's file.
        """
        if self.modality.name == "text":
            return draws.integer("text", normalised(str(self.read(value, name))))
        return int.from_bytes(self.digest(value, name)[:8], "little") >> 1

    def read(self, value: Any, name: str) -> np.ndarray | str:
        """One item's content before any tower."""
        return self.modality.read(value, name)

    @torch.inference_mode()
    def encode(self, contents: list[Any], fill: bool = True) -> np.ndarray:
        """The tower's pooled features, float32 [items, 1, c].

        Items of one length (texts: to the next multiple of 8 tokens) are encoded `_CHUNK` at a
        time, a short chunk filled up with repeats: what an item gives never depends on its company,
        so the cache is exact to the bit whatever was prepared together. Without `fill` a single
        item costs a thirtieth and may differ in the last bits.
        """
        rows = [self.modality.tokens(content, None) for content in contents]
        by_length: dict[int, list[int]] = {}
        for at, tokens in enumerate(rows):
            t = tokens.real.shape[1]
            if tokens.ids is not None:
                t = min(-(-t // 8) * 8, self.modality.length)
            by_length.setdefault(t, []).append(at)
        given: dict[int, np.ndarray] = {}
        for length, members in sorted(by_length.items()):
            for start in range(0, len(members), _CHUNK):
                chunk = members[start : start + _CHUNK]
                filled = chunk + [chunk[-1]] * (_CHUNK - len(chunk) if fill else 0)
                batch = single(self.name, collate([rows[at] for at in filled], length))
                state = self.tower.embed(look(self.view, batch.to(self.device)))
                pooled = self.tower.encode(state).pooled.float().cpu().numpy()
                given.update(zip(chunk, pooled, strict=False))
        return np.stack([given[at] for at in range(len(contents))])[:, None]


def fitted_on(recipe: Recipe, fields: dict[str, str], modality: str) -> Field:
    """What reading a modality is learned from: its field, and those of its variants.

    Args:
        fields: field -> modality.
    """
    own = field_of(fields, modality)
    more = [x.field for x in recipe.variants.get(modality, ()) if x.field is not None]
    return own if isinstance(own, tuple) or not more else tuple(dict.fromkeys((own, *more)))


def fields_read(recipe: Recipe, fields: dict[str, str]) -> dict[str, tuple[str, Field]]:
    """What batches are made of: modality, variant with a field of its own (`text#1`) or target
    -> (who reads it, which field).

    Args:
        fields: field -> modality.
    """
    names = (*recipe.modalities, *recipe.targets)
    own: dict[str, tuple[str, Field]] = {name: (name, field_of(fields, name)) for name in names}
    for modality, variants in recipe.variants.items():
        for at, variant in enumerate(variants, 1):
            if variant.field is not None:
                own[f"{modality}#{at}"] = (modality, variant.field)
    return own


def single(modality: str, tokens: Tokens) -> Batch:
    """A batch of one modality, everything present: what encoding for search needs."""
    n = tokens.real.shape[0]
    return Batch(
        keys=("",) * n,
        sources=(Source("memory"),) * n,
        tokens={(modality, 0): tokens},
        present={modality: torch.ones(n, dtype=torch.bool)},
    )


class Kept:
    """Prepared items by content digest, in shards that are only ever added.

    A shard is a safetensors file {digests: uint8 [n, 16], values: [n, ...]}, written aside and
    renamed; several processes may add at once. Damaged shards are deleted and counted as absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._found: dict[bytes, tuple[Path, int]] = {}
        for file in sorted(folder.glob("*.safetensors")):
            try:
                with safe_open(file, "np") as shard:
                    digests = shard.get_tensor("digests")
                    shard.get_slice("values").get_shape()
            except (SafetensorError, OSError):
                file.unlink(missing_ok=True)
                continue
            for row, digest in enumerate(digests):
                self._found[digest.tobytes()] = (file, row)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._found

    def add(self, digests: list[bytes], values: np.ndarray) -> None:
        """Writes one shard."""
        rows = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{uuid.uuid4().hex}.safetensors"
        files.write_bytes(file, save({"digests": rows.copy(), "values": values}))
        self._found.update({digest: (file, row) for row, digest in enumerate(digests)})

    def get(self, digests: list[bytes]) -> np.ndarray:
        """The values of some digests, [len(digests), ...], each shard read once."""
        wanted: dict[Path, list[tuple[int, int]]] = {}
        for at, digest in enumerate(digests):
            file, row = self._found[digest]
            wanted.setdefault(file, []).append((at, row))
        whole: np.ndarray | None = None
        for file, places in wanted.items():
            with safe_open(file, "np") as shard:
                values = shard.get_tensor("values")
            if whole is None:
                whole = np.empty((len(digests), *values.shape[1:]), values.dtype)
            at, rows = np.array(places).T
            whole[at] = values[rows]
        assert whole is not None, "get needs at least one digest"
        return whole


def column(
    reader: Reader, records: list[Record], field: Field, progress: Progress | None = None
) -> tuple[Column, list[Rejected]]:
    """Prepares one field of all records; what cannot be read is set aside with its reason.

    Args:
        reader: how the field's modality is read.
        records: in the order of the column.
        field: the field's name, or the names that are one; a list value is several items.
        progress: called with (items done, items in all).

    Returns:
        The column, and what was set aside (the record keeps its other items).
    """
    values: list[Any] = []
    owner: list[int] = []
    for position, record in enumerate(records):
        value = record.value(field)
        for item in value if isinstance(value, list) else [value]:
            if item is not None and item != "":
                values.append(item)
                owner.append(position)
    # Texts, classes and tables are as quick to read again as to look up. How a table is read is
    # learned from its training split besides, which no key of the cache says.
    whole = reader.frozen is None and reader.modality.name in ("text", "label", "table")
    kept = None if whole else Kept(cache.folder("features") / reader.key)
    told = field if isinstance(field, str) else reader.name
    read, rejected = _read_all(reader, kept, values, [records[at] for at in owner], told, progress)
    index: list[list[int]] = [[] for _ in records]
    for at, item in enumerate(read):
        index[owner[item.at]].append(at)
    identity = np.array([item.identity for item in read], np.int64)
    items: np.ndarray | list[str]
    if kept is None:
        items = [item.content for item in read]
        if read and not isinstance(items[0], str):
            items = np.stack(items)
    elif read:
        items = kept.get([item.digest for item in read])
    else:
        items = np.zeros((0, 1, 1), np.float32)
    return Column(reader.name, items, index, identity, reader.frozen is not None), rejected


def one(reader: Reader, value: Any, name: str) -> Column:
    """A column of a single value, e.g. a query; never cached.

    Raises:
        DataError: the value cannot be read as that modality.
    """
    content = reader.read(value, name)
    items: Any = [content]
    if reader.frozen is not None:
        items = reader.encode(items, fill=False)
    elif not isinstance(content, str):
        items = np.stack(items)
    identity = np.zeros(1, np.int64)
    return Column(reader.name, items, [[0]], identity, reader.frozen is not None)


def cost(reader: Reader, records: list[Record], field: Field) -> float:
    """Seconds that reading and encoding one field of one record takes where nothing is cached.

    The cache is neither read nor written: what was prepared before must not decide what this
    tells. The first record is thrown away, for it pays for loading and warming the tower.

    Args:
        reader: how the field's modality is read.
        records: at least 2; the more, the better the estimate.
        field: as of `column`; a list value is several items, which all count.
    """

    def read(item: Any) -> Any:
        try:
            return reader.read(item, str(field))
        except DataError:
            return None  # set aside when it is prepared; the attempt costs all the same

    def prepare(some: list[Record]) -> None:
        values = [record.value(field) for record in some]
        items = [x for value in values for x in (value if isinstance(value, list) else [value])]
        given = [
            x for x in pool.map(read, [x for x in items if x not in (None, "")]) if x is not None
        ]
        if given and reader.frozen is not None:
            # Unfilled: in so small a probe, texts of each length would be filled up to a chunk.
            reader.encode(given, fill=False)

    with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1)) as pool:
        prepare(records[:1])
        start = time.monotonic()
        prepare(records[1:])
        return (time.monotonic() - start) / (len(records) - 1)


class _Read(NamedTuple):
    """One value that could be read; `content` is None where the cache has it."""

    at: int
    digest: bytes
    identity: int
    content: Any


def _read_all(
    reader: Reader,
    kept: Kept | None,
    values: list[Any],
    owners: list[Record],
    field: str,
    progress: Progress | None,
) -> tuple[list[_Read], list[Rejected]]:
    """What could be read, in the order of the values; what could not, with its reason."""
    good: list[_Read] = []
    rejected: list[Rejected] = []
    waiting: dict[bytes, Any] = {}

    def read(at: int) -> _Read:
        value, name = values[at], f"{owners[at].source}, field {field}"
        if isinstance(value, Blob):
            value = Blob(value.name, data=value.read())
        digest = reader.digest(value, name)
        known = kept is not None and digest in kept
        content = None if known else reader.read(value, name)
        return _Read(at, digest, reader.identity(value, name), content)

    def flush() -> None:
        if kept is not None and waiting:
            given = list(waiting.values())
            ready = reader.encode(given) if reader.frozen is not None else np.stack(given)
            kept.add(list(waiting), ready)
            waiting.clear()

    # Decoding releases the interpreter lock: threads read ahead while the tower computes.
    with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1)) as pool:
        for at, result in enumerate(_ahead(pool, read, len(values))):
            try:
                item = result()
            except DataError as error:
                owner = owners[at]
                rejected.append(Rejected(owner.source, "; ".join(error.lines), owner.key, field))
                continue
            good.append(item if kept is None else item._replace(content=None))
            if kept is not None and item.content is not None:
                waiting[item.digest] = item.content
                if len(waiting) >= _SHARD:
                    flush()
            if progress:
                progress(at + 1, len(values))
    flush()
    return good, rejected


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[int], Any], count: int
) -> Iterator[Callable[[], Any]]:
    """Results in order, at most a few chunks of them in memory."""
    ahead = [pool.submit(work, at) for at in range(min(count, 2 * _CHUNK))]
    for at in range(count):
        future = ahead[at]
        following = at + 2 * _CHUNK
        if following < count:
            ahead.append(pool.submit(work, following))
        yield future.result
        ahead[at] = None  # type: ignore[call-overload]
