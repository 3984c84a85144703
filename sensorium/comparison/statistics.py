"""Differences between two arms with their uncertainty: intervals, equality, power, Holm.

The outcome of an arm is an array [seeds, items]; the arms are paired by seed and by item, so all
that follows is about d = a − b. Both seeds and items are draws: another seed would have given
another model, another draw of the test set other items. With the two-way model

    d[s, i] = mean + seed[s] + item[i] + rest[s, i]

and the mean squares of its table of variances, each divided by S N (S seeds, N items),

    A = mean square of seeds, B = of items, R = of the rest,

A estimates var(seed)/S + var(rest)/(S N), and B − R estimates var(item)/N, so A + (B − R) is the
variance of the mean: the random-effects variance.

**What the crossed bootstrap has to do with it.** Drawing seeds and items with replacement, apart
from each other (the pigeonhole bootstrap: Owen 2007, Annals of Applied Statistics 1:386; Owen and
Eckles 2012, ibid. 6:895), gives a mean the variance

    A (S−1)/S + B (N−1)/N + R (S−1)(N−1)/(S N)

exactly, over infinitely many draws: nothing has to be drawn to know it. It is wrong in two ways
where seeds are few: the seeds' part is too small by (S−1)/S, and the rest is counted three times
instead of once ("mildly conservative"). With S/(S−1) for the seeds' part and the rest counted
once it is the variance above. `pigeonhole` draws, as a check and for who wants percentiles.

**The interval.** Each part gets the t quantile of its own degrees of freedom,

    half width² = t²(S−1) A + t²(N−1) max(0, B − R),

which covers at least as often as it says for independent parts (Banerjee 1960, Sankhyā 22:357).
In simulations of 0/1 outcomes with 3 to 20 seeds, 200 and 4,000 items and seed SDs of 0 to 4
points its 95 % intervals covered 94.5 to 98.4 %. Satterthwaite's (1946) single t quantile, which
was tried first, fell to 91.8 %, the bootstrap as it is to 82 %, and t intervals of the seeds'
means alone, which forget the items, to 53 % (benchmarks/results/statistics.json).

**What no interval can do.** Learning goes in plateaus: a seed has learned the thing or not. Where
one arm learns in 80 % of its seeds and the other in half, 95 % intervals cover 80 % with 3 seeds
and 94 to 95 % with 5 to 20: seeds that agree by luck cannot tell of the other plateau.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium import draws
from sensorium.errors import DataError, MissingExtra

try:
    from scipy import special
except ImportError as error:
    raise MissingExtra("compare", "scipy", "compare") from error

LEVEL = 0.95
MOST_SEEDS = 1000  # a comparison that needs more is not a question of seeds
Values = NDArray[Any]


def quantile(freedom: int, level: float) -> float:
    """Of Student's t: the half width of a two-sided interval in standard errors."""
    return float(-special.stdtrit(freedom, (1 - level) / 2))


# --- the difference -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """How much differences vary, and over how many seeds and items they are averaged.

    seed_sd: SD over seeds of a seed's mean difference (its share of the rest included, so it holds
        for about this number of items). item_sd: SD over items of what an item does to all seeds
        alike. Both in the outcome's unit.
    """

    seeds: int
    items: int
    seed_sd: float
    item_sd: float

    @property
    def seed_error(self) -> float:
        """The seeds' part of the standard error."""
        return self.seed_sd / math.sqrt(self.seeds)

    @property
    def item_error(self) -> float:
        """The items' part of the standard error."""
        return self.item_sd / math.sqrt(self.items)


@dataclass(frozen=True)
class Difference:
    """A mean over seeds and items with its uncertainty; see the head of the file.

    each: the mean of every seed. bootstrap_error: the standard error of the crossed bootstrap as
    it is, uncorrected. percentiles: its 95 % percentile interval where it was drawn: short with
    few seeds, shown as a check, no verdict rests on it.
    """

    mean: float
    spread: Spread
    each: tuple[float, ...]
    bootstrap_error: float
    percentiles: tuple[float, float] | None = None

    @property
    def error(self) -> float:
        """The standard error: the root of the random-effects variance."""
        return math.hypot(self.spread.seed_error, self.spread.item_error)

    def half(self, level: float = LEVEL) -> float:
        """Half the width of the interval."""
        return self._beyond(math.log(1 - level))

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The two-sided interval of a level, e.g. .95."""
        half = self.half(level)
        return self.mean - half, self.mean + half

    def p(self, other: float = 0.0) -> float:
        """Two-sided p value of "the mean is `other`": 1 − the level that just reaches it."""
        far = abs(self.mean - other)
        if far == 0:
            return 1.0
        low, high = -700.0, 0.0  # log p; the half width falls as p grows
        if self.error == 0 or self._beyond(low) < far:
            return 0.0  # no spread at all, or farther than any p that a float holds
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self._beyond(middle) > far else (low, middle)
        return math.exp(high)

    def _beyond(self, log_p: float) -> float:
        # `half` of level 1 − p, from p itself: the level would lose a small p.
        tail = math.exp(log_p) / 2
        by_seeds = self.spread.seed_error * float(special.stdtrit(self.spread.seeds - 1, tail))
        if not self.spread.item_error:
            return abs(by_seeds)
        by_items = self.spread.item_error * float(special.stdtrit(self.spread.items - 1, tail))
        return math.hypot(by_seeds, by_items)

    def p_beyond(self, bound: float, below: bool) -> float:
        """One-sided p value of "the mean is at or beyond `bound`", below or above it."""
        both = self.p(bound)
        inside = self.mean > bound if below else self.mean < bound
        return both / 2 if inside else 1 - both / 2

    def p_equal(self, margin: float) -> float:
        """p value of "the means differ by `margin` or more": two one-sided tests.

        Below alpha exactly where the interval of level 1 − 2 alpha lies within ± margin
        (Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15:657).
        """
        return max(self.p_beyond(-margin, below=True), self.p_beyond(margin, below=False))


def difference(
    first: Values, second: Values | float = 0.0, key: tuple[draws.Key, ...] = ()
) -> Difference:
    """The mean of first − second with its uncertainty.

    Args:
        first, second: [seeds, items], paired in both; the items are the same for all seeds. One
            number a seed is [seeds, 1]: then this is the paired t test. A number as `second`:
            how far one arm is from it. Items that each seed has for itself (not the same ones)
            must be averaged first, [seeds, 1]: their luck is then part of the seeds'.
        key: of the draws for `percentiles`; empty: none are drawn.

    Raises:
        DataError: fewer than two seeds, shapes that differ, outcomes that are not finite.
    """
    one, other = np.asarray(first, float), np.asarray(second, float)
    if one.ndim != 2 or (other.ndim and other.shape != one.shape) or not one.size:
        raise DataError(
            "outcomes of two arms",
            expected="two tables of the same seeds and items",
            found=f"{list(one.shape)} and {list(other.shape)}",
        )
    for values in (one, other):
        if not np.isfinite(values).all():
            raise DataError(
                "outcomes of an arm",
                expected="finite numbers",
                found=f"{int((~np.isfinite(values)).sum())} that are not",
            )
    apart = one - other
    seeds, items = apart.shape
    if seeds < 2:
        raise DataError("a comparison", expected="two seeds or more", found="one")
    by_seed, by_item, rest = mean_squares(apart)
    each = apart.mean(axis=1)
    wide = by_seed * (seeds - 1) / seeds + by_item * (items - 1) / items
    wide += rest * (seeds - 1) * (items - 1) / (seeds * items)
    percentiles = None
    if key:
        low, high = np.quantile(pigeonhole(apart, key), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        percentiles = float(low), float(high)
    of_items = max(0.0, by_item - rest)
    return Difference(
        float(apart.mean()),
        Spread(seeds, items, math.sqrt(by_seed * seeds), math.sqrt(of_items * items)),
        tuple(float(x) for x in each),
        math.sqrt(wide),
        percentiles,
    )


def mean_squares(values: Values) -> tuple[float, float, float]:
    """A, B and R of the head of the file, of values [seeds, items]; 0 where there is one item."""
    seeds, items = values.shape
    rows, columns, middle = values.mean(axis=1), values.mean(axis=0), values.mean()
    by_seed = float(((rows - middle) ** 2).sum()) / (seeds - 1) / seeds
    if items == 1:
        return by_seed, 0.0, 0.0
    by_item = float(((columns - middle) ** 2).sum()) / (items - 1) / items
    left = values - rows[:, None] - columns + middle
    rest = float((left**2).sum()) / ((seeds - 1) * (items - 1)) / (seeds * items)
    return by_seed, by_item, rest


def pigeonhole(values: Values, key: tuple[draws.Key, ...], times: int = 2000) -> Values:
    """Means of values [seeds, items] over draws of seeds crossed with draws of items, [times]."""
    seeds, items = values.shape
    rng = draws.generator("pigeonhole", seeds, items, *key)
    means = []
    for start in range(0, times, 250):  # the draws of 4,000 items need 8 MB at a time
        count = min(250, times - start)
        of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=count) / seeds
        of_items = rng.multinomial(items, np.full(items, 1 / items), size=count) / items
        means.append(np.einsum("ts,ts->t", of_seeds, of_items @ values.T))
    return np.concatenate(means)


def holm(values: Sequence[float]) -> list[float]:
    """p values adjusted for being a family (Holm 1979): reject below alpha what may be rejected."""
    adjusted, least = [0.0] * len(values), 0.0
    for rank, at in enumerate(sorted(range(len(values)), key=lambda at: values[at])):
        least = max(least, min(1.0, (len(values) - rank) * values[at]))
        adjusted[at] = least
    return adjusted


# --- power --------------------------------------------------------------------------------------


@cache
def _estimates(freedom: int) -> Values:
    """Quantiles of an estimated SD over the true one, [500]: its square is chi-square."""
    return np.sqrt(special.chdtri(freedom, (np.arange(500) + 0.5) / 500) / freedom)


class _Design:
    """What runs of one design would find: 500 estimates of the seeds' part, equally likely.

    `wide` and `narrow`, [500]: half widths of level 1 − alpha and 1 − 2 alpha_equal.
    """

    def __init__(self, spread: Spread, alpha: float, alpha_equal: float) -> None:
        freedom = spread.seeds - 1
        estimated = spread.seed_error * _estimates(freedom)
        self.error = math.hypot(spread.seed_error, spread.item_error)

        def half(level: float) -> Values:
            by_items = 0.0
            if spread.item_error:
                by_items = quantile(max(1, spread.items - 1), level) * spread.item_error
            return np.hypot(quantile(freedom, level) * estimated, by_items)

        self.wide, self.narrow = half(1 - alpha), half(1 - 2 * alpha_equal)

    def below(self, bound: Values, true: float) -> Values:
        """Chance that |estimate| < bound, [500]; 0 for a bound below 0."""
        if self.error == 0:
            return (bound > abs(true)).astype(float)
        end, start = (bound - true) / self.error, (-bound - true) / self.error
        return np.where(bound > 0, special.ndtr(end) - special.ndtr(start), 0.0)

    def found(self, true: float) -> Values:
        """Chance that the interval excludes 0, [500]."""
        return 1 - self.below(self.wide, true)

    def equal(self, margin: float, true: float) -> Values:
        """Chance that equality is shown, [500]."""
        return self.below(margin - self.narrow, true)

    def decided(self, margin: float, true: float) -> float:
        """Chance of either, or both."""
        either = np.minimum(1.0, self.found(true) + self.equal(margin, true))
        return float(np.mean(np.where(margin - self.narrow >= self.wide, 1.0, either)))


def power(true: float, spread: Spread, alpha: float = 0.05) -> float:
    """Chance that the interval of level 1 − alpha excludes 0 when the true difference is `true`.

    Holds for normal effects and a known item part; without an item part it is the power of the
    paired t test, by the noncentral t distribution.
    """
    return float(np.mean(_Design(spread, alpha, alpha).found(true)))


def power_equal(margin: float, spread: Spread, alpha: float = 0.05, true: float = 0.0) -> float:
    """Chance that equality within `margin` is shown when the true difference is `true`."""
    return float(np.mean(_Design(spread, alpha, alpha).equal(margin, true)))


def needed_seeds(
    margin: float,
    spread: Spread,
    alpha: float = 0.05,
    wanted: float = 0.8,
    alpha_equal: float = 0.05,
) -> int | None:
    """Seeds with which `wanted` of such comparisons end in a verdict, whatever the true difference.

    So a true difference of `margin` is found, and a true 0 shown to be smaller than `margin`, at
    least that often. None where no number of seeds is enough, because the items are too few.

    Args:
        margin: what counts as no difference, in the outcome's unit.
        spread: as observed or assumed; its number of seeds plays no part.
        alpha, alpha_equal: of the test of a difference, and of each one-sided test of equality.
    """

    def enough(seeds: int) -> bool:
        design = _Design(replace(spread, seeds=seeds), alpha, alpha_equal)
        return all(
            design.decided(margin, share * margin) >= wanted
            for share in (0.5, 0.25, 0.75, 0.0, 1.0)
        )

    if not enough(MOST_SEEDS):
        return None
    low, high = 1, 2
    while not enough(high):
        low, high = high, min(2 * high, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def smallest_detectable(spread: Spread, alpha: float = 0.05, wanted: float = 0.8) -> float:
    """The smallest true difference that is found with power `wanted`, in the outcome's unit.

    Before running: of an assumed or earlier spread with the planned seeds and items. After: of
    the observed one.
    """
    design = _Design(spread, alpha, alpha)
    low, high = 0.0, design.error
    if high == 0:
        return 0.0
    while np.mean(design.found(high)) < wanted:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if np.mean(design.found(middle)) >= wanted else (middle, high)
    return high
