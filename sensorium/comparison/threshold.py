"""Samples to a threshold: log2 of how many an arm needed, as bounds where it was not seen.

A run is looked at now and then, up to its budget. What is known of the number of samples that it
needed is an interval on the log2 scale:

- reached between two looks: linear interpolation of the score in log2 of samples between the
  first look at or beyond the threshold and the one before (that it may fall below again later
  plays no part);
- not reached: more than the budget, and nothing else;
- there at the first look already: at most that, and nothing else.

A pair of runs gives an interval of their difference by subtracting bounds. Both not reached: no
information. One not reached: a bound. No number is invented for what was not seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from sensorium.comparison.statistics import LEVEL, Difference, difference
from sensorium.errors import DataError

Flag = Literal["value", "at least", "at most", "between", "none"]


@dataclass(frozen=True)
class Reached:
    """log2 of the samples that one run needed: between `low` and `high`, equal where it was seen.

    high is inf where the budget ended first; low is −inf where the first look was beyond already.
    """

    low: float
    high: float

    @property
    def seen(self) -> bool:
        """Whether the crossing itself lies between two looks."""
        return self.low == self.high


def reached(
    samples: Sequence[float], scores: Sequence[float], threshold: float, higher: bool = True
) -> Reached:
    """When a run first was at or beyond the threshold.

    Args:
        samples: seen at each look, ascending; a look at 0, before training, may come first.
        scores: at each look. higher: whether larger is better; else beyond means at or below.

    Raises:
        DataError: no look after the start, or looks that do not ascend.
    """
    order = [float(x) for x in samples]
    if len(order) != len(scores) or not order or order[-1] <= 0 or order[0] < 0:
        raise DataError(
            "samples to a threshold", expected="a score at each look, one of them after the start"
        )
    if any(b <= a for a, b in pairwise(order)):
        raise DataError("samples to a threshold", expected="looks in ascending order")
    sign = 1.0 if higher else -1.0
    left = [sign * (float(score) - threshold) for score in scores]
    at = next((at for at, x in enumerate(left) if x >= 0), None)
    if at is None:
        return Reached(math.log2(order[-1]), math.inf)
    if at == 0 or order[at - 1] == 0:  # on a log scale there is nothing between 0 and a look
        return Reached(-math.inf, math.log2(order[at] or order[1]))
    before, here = math.log2(order[at - 1]), math.log2(order[at])
    if not math.isfinite(left[at - 1]):  # a run that diverged and came back
        return Reached(before, here)
    crossing = before + (here - before) * -left[at - 1] / (left[at] - left[at - 1])
    return Reached(crossing, crossing)


@dataclass(frozen=True)
class SamplesDifference:
    """The difference of log2 samples over seeds: a value, or what is known of it.

    lows, highs: bounds of each seed's difference, ±inf where open. fewer, more: seeds in which
    the first arm surely needed fewer, or more, samples; the others say neither.

    The mean difference lies between the mean of the lows and the mean of the highs; an interval
    takes the lower limit of the one and the upper of the other, so that it covers at least as
    often as it says. One seed with both runs not reached leaves both means open; then only the
    count of seeds remains, judged by the sign test.
    """

    lows: tuple[float, ...]
    highs: tuple[float, ...]

    @property
    def flag(self) -> Flag:
        """What is known: a value, a bound ("at least", "at most"), both bounds, or nothing."""
        low, high = (math.isfinite(x) for x in self.bounds)
        if low and high:
            return "value" if self.lows == self.highs else "between"
        return "at least" if low else "at most" if high else "none"

    @property
    def bounds(self) -> tuple[float, float]:
        """The mean of the lows and of the highs; equal where all were seen."""
        low = math.fsum(self.lows) / len(self.lows) if _finite(self.lows) else -math.inf
        high = math.fsum(self.highs) / len(self.highs) if _finite(self.highs) else math.inf
        return low, high

    @property
    def fewer(self) -> int:
        """Seeds in which the first arm surely needed fewer samples."""
        return sum(x < 0 for x in self.highs)

    @property
    def more(self) -> int:
        """Seeds in which the first arm surely needed more samples."""
        return sum(x > 0 for x in self.lows)

    @property
    def value(self) -> Difference | None:
        """As an ordinary difference, where all crossings were seen."""
        return _mean(self.lows) if self.flag == "value" else None

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Of the mean difference; a limit is ±inf where nothing bounds it."""
        low = _mean(self.lows).interval(level)[0] if _finite(self.lows) else -math.inf
        high = _mean(self.highs).interval(level)[1] if _finite(self.highs) else math.inf
        return low, high

    def p(self) -> float:
        """Two-sided p value of "no difference".

        From the bounds' means; where both are open, from the signs of those seeds that have one
        (Gehan 1965 scores a pair in the same way: sure order ±1, else 0).
        """
        if self.flag == "none":
            return sign_test(self.fewer, self.more)
        above = _mean(self.lows).p_beyond(0, below=True) if _finite(self.lows) else 1.0
        beneath = _mean(self.highs).p_beyond(0, below=False) if _finite(self.highs) else 1.0
        return min(1.0, 2 * min(above, beneath))

    def p_equal(self, margin: float) -> float:
        """p value of "the means differ by `margin` or more"; 1 where a side is open."""
        if not (_finite(self.lows) and _finite(self.highs)):
            return 1.0
        return max(
            _mean(self.lows).p_beyond(-margin, below=True),
            _mean(self.highs).p_beyond(margin, below=False),
        )


def log2_samples(first: Sequence[Reached], second: Sequence[Reached]) -> SamplesDifference:
    """First − second, seed by seed; negative: the first arm needed fewer samples.

    Raises:
        DataError: fewer than two seeds, or not as many of one as of the other.
    """
    if len(first) != len(second) or len(first) < 2:
        raise DataError(
            "samples to a threshold",
            expected="two seeds or more of each arm, the same ones",
            found=f"{len(first)} and {len(second)}",
        )
    pairs = list(zip(first, second, strict=True))
    return SamplesDifference(
        tuple(_apart(a.low, b.high, -math.inf) for a, b in pairs),
        tuple(_apart(a.high, b.low, math.inf) for a, b in pairs),
    )


def sign_test(fewer: int, more: int) -> float:
    """Two-sided p value of as uneven a split or more, when both are as likely; ties left out."""
    count = fewer + more
    return min(1.0, 2 * float(special.bdtr(min(fewer, more), count, 0.5))) if count else 1.0


def _apart(one: float, other: float, unknown: float) -> float:
    return one - other if math.isfinite(one) and math.isfinite(other) else unknown


def _finite(values: Sequence[float]) -> bool:
    return all(math.isfinite(x) for x in values)


def _mean(values: Sequence[float]) -> Difference:
    given: NDArray[np.float64] = np.asarray(values, float)[:, None]
    return difference(given)
