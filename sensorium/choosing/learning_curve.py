"""Would more records help: scores at some shares of the records, a curve, and where it goes.

The error falls as a power of the records, with or without a floor (Hestness et al. 2017, arXiv
1712.00409; Rosenfeld et al. 2020, arXiv 1909.12673):

    error(n) = floor + scale · n^(−power),   power <= 1.5,   0 <= floor

where a power of 0 is a straight line in log2 of records. For each power of a grid, floor and
scale are least squares in closed form; the power with the smallest sum of squares is taken. The
scale may be below zero: then more records made it worse.

**The interval.** Seeds and items are draws. The means of the shares have a covariance of two parts,
as a difference has (`comparison.statistics`): that of seeds, with S − 1 degrees of freedom, and
that of items. Means are drawn from it as Student's t, each part by its own degrees of freedom, and
the curve is fitted to each draw. A bootstrap that draws the seeds themselves would be too short by
far with three seeds; for a straight line this one is the interval of `statistics.difference`.
The curve that is told has a power of 0 or more. To the draws also powers down to −0.5 are fitted,
curves that become steeper: else a straight line, at the end of what is allowed, would be taken for
bent by whatever noise bends it. A bend that no power law has is in no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium import draws

_GRID = np.arange(-10, 31) / 20
POWERS = np.where(_GRID == 0, 1e-3, _GRID)  # 1e-3: a straight line in log2
TIMES = 4000  # draws
Values = NDArray[Any]


@dataclass(frozen=True)
class Curve:
    """A fitted curve of the score against records.

    records, means: of the measured points, ascending. intervals: 95 %, of each. at: records that
    it is extrapolated to. score, score_interval: there. gain, interval, narrow: score there minus
    at the most records measured, with its 95 % and 90 % interval. power, floor, scale: of the
    error.
    """

    records: tuple[int, ...]
    means: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]
    at: int
    score: float
    score_interval: tuple[float, float]
    gain: float
    interval: tuple[float, float]
    narrow: tuple[float, float]
    power: float
    floor: float
    scale: float

    def value(self, records: float) -> float:
        """The fitted score at so many records."""
        return float(1 - self.floor - self.scale * records**-self.power)


def fit(
    records: Sequence[int], errors: Values, least: float = 0.0
) -> tuple[Values, Values, Values]:
    """Power, floor and scale of the least squares, each float64 [draws].

    Args:
        records: [points], ascending, three or more.
        errors: [draws, points].
        least: power; below 0 the error falls faster and faster.
    """
    best = np.full(len(errors), np.inf)
    found = np.zeros((3, len(errors)))
    most = float(records[-1])
    for power in POWERS[least <= POWERS]:
        x = (np.asarray(records, float) / most) ** -power
        middle = x.mean()
        scale = (errors - errors.mean(1, keepdims=True)) @ (x - middle) / ((x - middle) ** 2).sum()
        floor = errors.mean(1) - scale * middle
        below = floor < 0  # then the floor is 0 and the scale alone is fitted
        # Near a straight line the floor is only where that line would end, far away.
        if power > 0.01:
            scale = np.where(below, errors @ x / (x @ x), scale)
            floor = np.where(below, 0.0, floor)
        rest = ((errors - floor[:, None] - scale[:, None] * x) ** 2).sum(1)
        better = rest < best
        best = np.where(better, rest, best)
        for row, value in enumerate((np.full(len(errors), power), floor, scale * most**power)):
            found[row] = np.where(better, value, found[row])
    return found[0], found[1], found[2]


def learn(
    records: Sequence[int], values: Sequence[Values], key: tuple[draws.Key, ...], times: int = 2
) -> Curve:
    """A curve through scores, extrapolated to `times` the most records.

    Args:
        records: of training, of each point, ascending.
        values: scores in 0 to 1 of each point, [seeds, items], the same seeds and items for all.
        key: of the draws.
    """
    table = np.stack([np.asarray(x, float) for x in values])  # [points, seeds, items]
    means = table.mean((1, 2))
    drawn = means + _noise(table, key)
    at = times * records[-1]
    ends = [_ends(records, 1 - means[None], at, 0.0), _ends(records, 1 - drawn, at, POWERS[0])]
    power, floor, scale, last, then = (float(x[0]) for x in ends[0])
    gains = ends[1][4] - ends[1][3]
    return Curve(
        tuple(records), tuple(map(float, means)),
        tuple(_between(drawn[:, point], 0.95) for point in range(len(records))),
        at, then, _between(ends[1][4], 0.95), then - last, _between(gains, 0.95),
        _between(gains, 0.9), power, floor, scale,
    )  # fmt: skip


def _ends(records: Sequence[int], errors: Values, at: int, least: float) -> list[Values]:
    """Power, floor, scale, and the scores at the most records and at `at`, each [draws]."""
    power, floor, scale = fit(records, errors, least)
    scores = [np.clip(1 - floor - scale * float(n) ** -power, 0.0, 1.0) for n in (records[-1], at)]
    return [power, floor, scale, *scores]


def _between(values: Values, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _noise(table: Values, key: tuple[draws.Key, ...]) -> Values:
    """How far the means of the points may be off, [TIMES, points]: see the head of the file."""
    points, seeds, items = table.shape
    rng = draws.generator("learning curve", seeds, items, *key)
    rows = table.mean(2) - table.mean((1, 2))[:, None]  # [points, seeds]
    columns = table.mean(1) - table.mean((1, 2))[:, None]  # [points, items]
    by_seed = rows @ rows.T / (seeds - 1) / seeds
    made = _student(by_seed, seeds - 1, rng)
    if items > 1:
        by_item = columns @ columns.T / (items - 1) / items
        left = (
            table - table.mean(2)[:, :, None] - table.mean(1)[:, None, :]
            + table.mean((1, 2))[:, None, None]
        ).reshape(points, -1)  # fmt: skip
        rest = left @ left.T / ((seeds - 1) * (items - 1)) / (seeds * items)
        made = made + _student(by_item - rest, items - 1, rng)
    return made


def _student(covariance: Values, freedom: int, rng: np.random.Generator) -> Values:
    """Draws of a multivariate t, [TIMES, points]; what is negative in it is left out."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    normal = rng.standard_normal((TIMES, len(covariance))) @ root.T
    return normal * np.sqrt(freedom / rng.chisquare(freedom, (TIMES, 1)))
