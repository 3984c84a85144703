"""How sure a score is: intervals over records, paired differences, and the form of every score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium import draws

Key = tuple[int | str, ...]
TIMES = 4000  # resamples of a bootstrap
_CELLS = 2**22  # drawn numbers in memory at once


def wilson(share: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share of n independent trials (Wilson 1927)."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(
    values: NDArray, clusters: NDArray[np.int64], key: Key, times: int = TIMES
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


def resampled(
    facts: NDArray, statistic: Callable[[NDArray], NDArray], key: Key, times: int = TIMES
) -> list[float]:
    """Percentile interval (95 %) of what is computed from sums over records, records resampled.

    Args:
        facts: float [n, s], what each record adds.
        statistic: sums [r, s] -> values [r].
        key: of the draws.
    """
    n, rng, found = len(facts), draws.generator(*key), []
    block = max(1, _CELLS // n)
    for start in range(0, times, block):
        rows = min(block, times - start)
        found.append(statistic(rng.multinomial(n, np.full(n, 1 / n), size=rows) @ facts))
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    return [float(low), float(high)]


def stratified(
    values: NDArray, groups: NDArray[np.int64], key: Key, times: int = TIMES
) -> list[float]:
    """Percentile interval (95 %) of the mean of group means, records resampled within groups.

    Args:
        values: [n], of -1, 0 and 1: hits, or differences of hits.
        groups: int64 [n], e.g. the class of each record; those without records do not count.
        key: of the draws.
    """
    rng, whole = draws.generator(*key), np.zeros(times)
    present = np.unique(groups)
    for group in present:
        own = values[groups == group]
        shares = [float((own == value).mean()) for value in (-1, 0, 1)]
        drawn = rng.multinomial(len(own), shares, size=times)
        whole += (drawn[:, 2] - drawn[:, 0]) / len(own)
    low, high = np.quantile(whole / len(present), [0.025, 0.975])
    return [float(low), float(high)]


def means(
    own: NDArray,
    others: Mapping[str, NDArray | str],
    clusters: NDArray[np.int64],
    key: Key,
    shares: bool = False,
) -> dict[str, Any]:
    """The mean of a run's values, and of each control's beside it, with paired differences.

    Args:
        own: float or bool [n].
        others: control -> its values [n], of the same things in the same order; or why none.
        clusters: int64 [n], the record of each value.
        key: of the draws.
        shares: whether each record has one value, 0 or 1: then the interval is Wilson's.

    Returns:
        {value, interval, controls}, as a score has them.
    """
    clusters = np.unique(clusters, return_inverse=True)[1].astype(np.int64)

    def interval(values: NDArray, name: str) -> list[float]:
        if shares:
            return list(wilson(float(values.mean()), len(values)))
        return bootstrap(values.astype(float), clusters, (*key, "value", name))

    beside: dict[str, Any] = {}
    for name, values in others.items():
        if isinstance(values, str):
            beside[name] = {"value": None, "reason": values}
            continue
        difference = own.astype(float) - values.astype(float)
        beside[name] = {
            "value": float(values.mean()),
            "interval": interval(values, name),
            "difference": float(difference.mean()),
            "difference_interval": bootstrap(difference, clusters, (*key, name)),
        }
    return {"value": float(own.mean()), "interval": interval(own, ""), "controls": beside}


def exact(value: float) -> dict[str, Any]:
    """A control whose value is known without asking anything."""
    return {"value": float(value), "interval": "exact"}
