"""Retrieval: each query ranks a pool; how often does a right answer come first?

Protocol, stamped on every score: one pool is all records of a split; a query has one or several
right answers; ties count against us, so constant vectors score zero and not 100 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from sensorium import draws

SUMMARY = "words find pictures and pictures find words, recall@k over the whole split"
CUTS = (1, 5, 10)
TIES = "a tie with a wrong answer counts as lost"


@dataclass(frozen=True)
class Ranks:
    """Rank of the best right answer of each query, int64 [queries], counted from 1."""

    ranks: NDArray[np.int64]
    pool: int

    def recall(self, k: int) -> float:
        """Share of queries with a right answer among the first k."""
        return float((self.ranks <= k).mean())

    @property
    def mean_reciprocal(self) -> float:
        """Mean of 1 / rank."""
        return float((1 / self.ranks).mean())


def rank(similarity: NDArray, right: NDArray[np.bool_]) -> Ranks:
    """Ranks from a whole table of similarities.

    Args:
        similarity: float [queries, pool].
        right: bool [queries, pool]; each query has at least one right answer.

    A right answer's rank is 1 + the number of wrong answers that score at least as high: other
    right answers do not push it down, ties do, and NaN loses to everything.
    """
    if not right.any(axis=1).all():
        raise ValueError("every query needs a right answer in the pool")
    worst = np.nan_to_num(similarity.astype(np.float64), nan=-np.inf)
    best = np.where(right, worst, -np.inf).max(axis=1, keepdims=True)
    above = ((worst >= best) & ~right).sum(axis=1)
    return Ranks(above + 1, similarity.shape[1])


def chance(right: NDArray[np.bool_], k: int) -> float:
    """Exact recall@k of a random order: 1 - C(pool - r, k) / C(pool, k), mean over queries."""
    pool = right.shape[1]
    whole = math.comb(pool, min(k, pool))
    counts = right.sum(axis=1)
    values, times = np.unique(counts, return_counts=True)
    missed = [math.comb(pool - int(r), min(k, pool)) / whole for r in values]
    return float(1 - np.average(missed, weights=times))


def wilson(share: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share of n independent trials (Wilson 1927)."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(
    values: NDArray, clusters: NDArray[np.int64], key: tuple[int | str, ...], times: int = 4000
) -> list[float]:
    """Percentile interval (95 %) of a mean, whole clusters drawn with replacement.

    Args:
        values: float [n], e.g. paired differences of hits.
        clusters: int [n], 0 to c - 1; queries of one record are one cluster.
        key: of the draws.
    """
    count = int(clusters.max()) + 1
    sums = np.bincount(clusters, values, count)
    sizes = np.bincount(clusters, minlength=count)
    drawn = draws.generator(*key).integers(count, size=(times, count))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return [float(low), float(high)]
