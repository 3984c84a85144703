"""Asking an index: the records nearest to words, to a picture, or to one of them.

Exact: every vector is compared, and the best are compared again in float64, so equal contents
score equally to the bit and ties go by key. From `index.LARGE` contents on, and with usearch
installed, a graph proposes the candidates instead (HNSW, Malkov and Yashunin 2016, arXiv
1603.09320); a filter always searches exactly what it leaves.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sensorium.comparing import refuse_blind
from sensorium.errors import DataError, clip, nearest, unknown
from sensorium.manifest import Damaged
from sensorium.records import Blob
from sensorium.store import Index, Pool, advice, load

if TYPE_CHECKING:
    from sensorium.run import Run

_BLOCK = 8192  # vectors compared at once
_NAMES = 20_000  # keys among which a misspelt one is looked for
_EXPANSION = 256  # candidates that the graph keeps while it walks
# Half precision takes half the memory; the final order is float64 anyway.
_GRAPH: dict[str, Any] = dict(metric="cos", dtype="f16", connectivity=32)


def search(
    run: Run,
    *,
    words: str | None = None,
    image: str | Path | Blob | None = None,
    like: str | None = None,
    k: int = 10,
    where: dict[str, Any] | None = None,
    among: str | None = None,
) -> list[dict[str, Any]]:
    """The k indexed records nearest to one question; fewer if there are fewer.

    A record comes once, at its nearest item. Ties go by key.

    Args:
        run: a finished run with an index.
        words: a text.
        image: a picture.
        like: the key of an indexed record; its neighbours, without itself. Needs no model.
        k: how many.
        where: field -> value that records must have, compared before ranking. Numbers compare as
            numbers, a list has a value if one of its items is equal, the field of the captions if
            one of them is.
        among: the modality of what is found; by default pictures, and texts in an index without
            pictures (`like`: what the record itself has).

    Returns:
        One dict a record, best first: {rank, key, score, modality, source, fields}; `score` is the
        cosine. Where known `text` (the one found, else the record's first), and `file` (a path)
        or `inside` (a name in an archive).

    Raises:
        DataError: none or several of words, image and like; nothing in the words; an unreadable
            picture; an unknown key, field or modality (names the nearest).
        RunError: no index, a damaged one, or the index of another run; a run that compares nothing.
    """
    asked = {"words": words, "image": image, "like": like}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) != 1:
        raise DataError(
            "search", expected="one of words, image and like", found=" and ".join(given) or "none"
        )
    if k < 1:
        raise DataError("search", field="k", expected="at least 1", found=str(k))
    if words is not None and not words.strip():
        raise DataError("search", expected="words", found="none")
    if not (run.folder / "index").exists():  # where there is one, it compares
        refuse_blind(run)
    index = load(run)
    allowed = _allowed(index, where or {})
    if like is not None:
        at = _position(index, like)
        modality = _modality(index, among, at)
        pool = index.pools[modality]
        own = pool if (pool.owner == at).any() else index.pools[_modality(index, None, at)]
        queries = own.vectors[own.content[own.owner == at]]
        allowed[at] = False
    else:
        modality = _modality(index, among)
        pool = index.pools[modality]
        if words is not None:
            queries = run.vector("text", words, "words")[None]
        else:
            blob = image if isinstance(image, Blob) else Blob(str(image), Path(str(image)))
            queries = run.vector("image", blob, blob.name)[None]
    with advice(run):
        found = best(index, pool, queries, allowed, k, exact=bool(where))
    return [_told(index, modality, pool, rank, *one) for rank, one in enumerate(found, start=1)]


# Which records may be found


def _modality(index: Index, among: str | None, at: int | None = None) -> str:
    """The modality that is searched: the first with rows (of record `at`), or the one asked for."""
    full = [name for name, pool in index.pools.items() if len(pool.owner)]
    if among is not None:
        if among not in full:
            raise unknown("indexed modality", among, full, DataError)
        return among
    pictures_first = sorted(full, key=lambda name: name != "image")
    if at is not None:
        pictures_first = [n for n in pictures_first if (index.pools[n].owner == at).any()]
    return pictures_first[0]


def _position(index: Index, key: str) -> int:
    if key in index.position:
        return index.position[key]
    # Comparing spellings is slow: among very many keys only those of about this length are.
    keys: Iterable[str] = index.keys
    if len(index.keys) > _NAMES:
        keys = [other for other in index.keys if abs(len(other) - len(key)) < 2][:_NAMES]
    raise DataError(
        f"no indexed record called {clip(key)}",
        expected=f"one of {len(index.keys):,} keys, e.g. {clip(index.keys[0])}",
        nearest=nearest(key, keys),
    )


def _allowed(index: Index, where: dict[str, Any]) -> np.ndarray:
    """Which records have all the values, bool [records].

    Raises:
        DataError: no record has such a field.
    """
    allowed = np.ones(len(index.keys), bool)
    for name, wanted in where.items():
        texts = [m for m, field in index.fields.items() if field == name and m != "image"]
        if texts:
            pool = index.pools[texts[0]]
            fits = [label == str(wanted) for label in pool.labels]
            has = np.zeros(len(index.keys), bool)
            has[pool.owner[fits]] = True
        else:
            if not any(name in values for values in index.values):
                known = {field for values in index.values for field in values}
                known |= {field for m, field in index.fields.items() if m != "image"}
                raise unknown("indexed field", name, known, DataError)
            has = np.array([_fits(values.get(name), wanted) for values in index.values])
        allowed &= has
    return allowed


def _fits(value: Any, wanted: Any) -> bool:
    """Whether a stored value is the wanted one, which may come as text from a command line."""
    if isinstance(value, list):
        return any(_fits(one, wanted) for one in value)
    if value is None:
        return False
    if isinstance(value, bool):
        return str(wanted).lower() == str(value).lower()
    if isinstance(value, int | float) and str(value) != str(wanted):
        try:
            return float(wanted) == value
        except (TypeError, ValueError):
            return False
    return str(value) == str(wanted)


# Ranking


def best(
    index: Index,
    pool: Pool,
    queries: np.ndarray,
    allowed: np.ndarray,
    k: int,
    exact: bool = True,
) -> list[tuple[float, int, int]]:
    """The k best records, best first: (score, record, item).

    Args:
        index: whose keys break ties.
        pool: what is searched.
        queries: float32 [q, e], unit length; a record scores by the best of q and of its items.
        allowed: bool [records].
        k: at least 1.
        exact: compare with everything that is allowed, even if there is a graph.
    """
    graph = None if exact else _graph(pool)
    items = None if graph is None else graph.near(queries, allowed, k)
    if items is None:
        items = _close(pool, queries, allowed, k)
    used, place = np.unique(pool.content[items], return_inverse=True)
    scores = _scores(pool.vectors, used, queries, 64)[place].tolist()
    found: dict[int, tuple[float, int]] = {}
    for item, record, value in zip(items.tolist(), pool.owner[items].tolist(), scores, strict=True):
        if record not in found or value > found[record][0]:
            found[record] = (value, item)
    ranked = sorted(found, key=lambda record: (-found[record][0], index.keys[record]))
    return [(found[record][0], record, found[record][1]) for record in ranked[:k]]


def _close(pool: Pool, queries: np.ndarray, allowed: np.ndarray, k: int) -> np.ndarray:
    """The items of all records that may be among the k best: those that float32 puts there, and
    those so close behind that its rounding may have. int64 [items], ascending."""
    items = np.flatnonzero(allowed[pool.owner])
    if not len(items):
        return items
    owner, content = pool.owner[items], pool.content[items]
    used = _present(content, len(pool.vectors))
    near = np.empty(len(pool.vectors), np.float32)
    near[used] = _scores(pool.vectors, used, queries)
    records = np.full(len(allowed), -np.inf, np.float32)
    np.maximum.at(records, owner, near[content])
    last = len(records) - min(k, int((records > -np.inf).sum()))
    # Rounding moves a dot product of unit vectors by at most e * 2**-24; both sides may move.
    slack = 2 * pool.vectors.shape[1] * np.finfo(np.float32).eps
    least = max(np.partition(records, last)[last] - slack, np.finfo(np.float32).min)
    return items[(records >= least)[owner]]


def _present(positions: np.ndarray, count: int) -> np.ndarray:
    """The positions, each once and ascending, in linear time."""
    there = np.zeros(count, bool)
    there[positions] = True
    return np.flatnonzero(there)


def _scores(vectors: np.ndarray, rows: np.ndarray, queries: np.ndarray, bits: int = 32):
    """The best cosine of each of some rows with any query, float [rows].

    In 64 bits each row is summed by itself in one order: equal vectors score equally wherever
    they stand, which the tiles of a matrix product do not promise.
    """
    scores = np.empty(len(rows), np.float64 if bits == 64 else np.float32)
    for start in range(0, len(rows), _BLOCK):
        if len(rows) == len(vectors):  # all: no need to copy
            part = vectors[start : start + _BLOCK]
        else:
            part = vectors[rows[start : start + _BLOCK]]
        if bits == 64:
            wide, asked = part.astype(np.float64), queries.astype(np.float64)
            each = np.stack([(wide * query).sum(axis=1) for query in asked], axis=1)
        else:
            each = part @ queries.T
        scores[start : start + len(part)] = each.max(axis=1)
    return scores


# The graph


def graph_of(vectors: np.ndarray) -> bytes:
    """A graph over vectors, float32 [u, e], as the bytes of usearch's file."""
    from usearch.index import Index as Graph

    graph = Graph(ndim=vectors.shape[1], **_GRAPH)
    graph.add(np.arange(len(vectors), dtype=np.uint64), vectors)
    return bytes(graph.save() or b"")


class _Graph:
    """A graph over a pool's contents, and which items have each content."""

    def __init__(self, graph: Any, pool: Pool) -> None:
        self.graph, self.owner = graph, pool.owner
        self.items = np.argsort(pool.content, kind="stable")
        self.start = np.searchsorted(pool.content[self.items], np.arange(len(pool.vectors) + 1))
        self.records = len(np.unique(pool.owner))

    def near(self, queries: np.ndarray, allowed: np.ndarray, k: int) -> np.ndarray | None:
        """The allowed items of the nearest contents, ascending, of at least k records if there are
        so many; None where that takes everything."""
        u = len(self.start) - 1
        wanted = min(k, self.records - int((~allowed).sum()))
        count = max(4 * k, 64)
        while count < u:
            found = [self.graph.search(query, count, threads=1).keys for query in queries]
            contents = np.unique(np.concatenate(found).astype(np.int64))
            contents = contents[(contents >= 0) & (contents < u)]
            items = np.concatenate(
                [self.items[self.start[at] : self.start[at + 1]] for at in contents]
            )
            items = np.sort(items[allowed[self.owner[items]]])
            if len(np.unique(self.owner[items])) >= wanted:
                return items
            count *= 4
        return None


def _graph(pool: Pool) -> _Graph | None:
    """The pool's graph, opened when first asked for; None without one, or without usearch.

    Its bytes were verified by the index's manifest before the library sees any of them.

    Raises:
        Damaged: it is not a graph over the pool's vectors.
    """
    if isinstance(pool.graph, bytes):
        try:
            from usearch.index import Index as Graph
        except ImportError:
            return None
        u, e = pool.vectors.shape
        graph = Graph(ndim=e, expansion_search=_EXPANSION, **_GRAPH)
        try:
            graph.load(pool.graph)
        except Exception as error:  # the library raises what it likes
            raise Damaged("index", expected="a graph of usearch", found=clip(str(error))) from None
        if (len(graph), graph.ndim) != (u, e):
            raise Damaged(
                "index", expected=f"a graph of {u} x {e}", found=f"{len(graph)} x {graph.ndim}"
            )
        pool.graph = _Graph(graph, pool)
    return pool.graph


# What is told


def _told(
    index: Index, modality: str, pool: Pool, rank: int, score: float, record: int, item: int
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "rank": rank,
        "key": index.keys[record],
        "score": score,
        "modality": modality,
    }
    labels = [pool.labels[item]]
    for other in index.pools.values():
        if other is not pool:
            at = int(np.searchsorted(other.owner, record))  # owners ascend
            labels += (
                [other.labels[at]] if at < len(other.owner) and other.owner[at] == record else []
            )
    for label in labels:
        if isinstance(label, str):
            told.setdefault("text", label)
        elif label["file"] is not None and not label.get("offset") and label.get("size") is None:
            told.setdefault("file", label["file"])
        else:
            told.setdefault("inside", label["name"])
    return {**told, "source": index.sources[record], "fields": index.values[record]}
