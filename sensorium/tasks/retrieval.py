"""Retrieval: each query ranks a pool; how often does a right answer come first?

Protocol, stamped on every score: one pool is all records of a split; a query has one or several
right answers; ties count against us, so constant vectors score zero and not 100 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.tasks._intervals import bootstrap, wilson

__all__ = ["CUTS", "SUMMARY", "TIES", "Ranks", "bootstrap", "chance", "rank", "rank_vectors",
           "similarity", "wilson"]  # fmt: skip
SUMMARY = "words find pictures and pictures find words, recall@k over the whole split"
CUTS = (1, 5, 10)
TIES = "a tie with a wrong answer counts as lost"
CELLS = 2**22  # similarities in memory at once


@dataclass(frozen=True)
class Ranks:
    """How well each query did.

    ranks: of its best right answer, int64 [queries], counted from 1.
    pool: how many could be found.
    answers: how many of them are right, int64 [queries].
    """

    ranks: NDArray[np.int64]
    pool: int
    answers: NDArray[np.int64]

    def recall(self, k: int) -> float:
        """Share of queries with a right answer among the first k."""
        return float((self.ranks <= k).mean())

    @property
    def mean_reciprocal(self) -> float:
        """Mean of 1 / rank."""
        return float((1 / self.ranks).mean())

    def chance(self, k: int) -> float:
        """Recall@k of a random order."""
        return chance(self.answers, self.pool, k)


def rank(similarity: NDArray, right: NDArray[np.bool_]) -> Ranks:
    """Ranks from a whole table of similarities.

    Args:
        similarity: float [queries, pool].
        right: bool [queries, pool]; each query has at least one right answer.

    A right answer's rank is 1 + the number of wrong answers that score at least as high: other
    right answers do not push it down, ties do, and NaN loses to everything.

    Raises:
        ValueError: a query has no right answer.
    """
    answers = right.sum(axis=1)
    if not answers.all():
        raise ValueError("every query needs a right answer in the pool")
    worst = np.nan_to_num(similarity, nan=-np.inf)
    best = np.where(right, worst, -np.inf).max(axis=1, keepdims=True)
    above = ((worst >= best) & ~right).sum(axis=1)
    return Ranks(above + 1, similarity.shape[1], answers)


def similarity(queries: NDArray, pool: NDArray) -> NDArray[np.float32]:
    """Inner products, float32 [queries, pool], of [queries, e] and [pool, e].

    Summed in float64 and then rounded: a product in float32 depends in its last bits on the size
    of the block, and ties would come and go with it.
    """
    return (queries.astype(np.float64) @ pool.astype(np.float64, copy=False).T).astype(np.float32)


def rank_vectors(
    queries: NDArray,
    pool: NDArray,
    right_of: Callable[[range], NDArray[np.bool_]],
    block: int | None = None,
) -> Ranks:
    """Ranks from vectors, a block of queries at a time: no whole table is ever in memory.

    Args:
        queries: float [queries, e].
        pool: float [pool, e].
        right_of: some queries, as places, -> bool [those, pool]; see `rank`.
        block: queries at a time; by default as many as `CELLS` similarities allow.

    Raises:
        ValueError: a query has no right answer, or there are no queries.
    """
    if block is None:
        block = max(1, CELLS // max(1, len(pool)))
    pool = pool.astype(np.float64)  # once, not for each block
    parts = []
    for start in range(0, len(queries), block):
        rows = range(start, min(start + block, len(queries)))
        parts.append(rank(similarity(queries[rows.start : rows.stop], pool), right_of(rows)))
    if not parts:
        raise ValueError("there are no queries")
    return Ranks(
        np.concatenate([part.ranks for part in parts]),
        len(pool),
        np.concatenate([part.answers for part in parts]),
    )


def chance(answers: NDArray[np.int64], pool: int, k: int) -> float:
    """Exact recall@k of a random order: 1 - C(pool - r, k) / C(pool, k), mean over queries.

    Args:
        answers: how many right ones each query has, r, int [queries].
        pool: how many can be found.
        k: how many are looked at.
    """
    whole = math.comb(pool, min(k, pool))
    values, times = np.unique(answers, return_counts=True)
    missed = [math.comb(pool - int(r), min(k, pool)) / whole for r in values]
    return float(1 - np.average(missed, weights=times))
