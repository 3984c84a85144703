"""Samples to a threshold: crossings by hand, censoring as bounds, and that the bounds hold."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from sensorium import draws
from sensorium.comparison.threshold import Reached, log2_samples, reached, sign_test
from sensorium.errors import DataError

NEVER = math.inf
LOOKS = [1000, 2000, 4000, 8000]


def seen(*values):
    return [Reached(x, x) for x in values]


def open_at(budget):
    return Reached(budget, math.inf)


# --- one run ------------------------------------------------------------------------------------


def test_a_crossing_lies_between_two_looks_linear_in_log2():
    # .6 at 2,000 and 1.0 at 4,000: .9 lies three quarters of a doubling after 2,000.
    told = reached(LOOKS, [0.5, 0.6, 1.0, 1.0], 0.9)
    assert told.seen
    assert told.low == pytest.approx(math.log2(2000) + 0.75)


def test_a_look_that_is_just_there_counts():
    assert reached(LOOKS, [0.5, 0.6, 0.9, 1.0], 0.9).low == pytest.approx(math.log2(4000))


def test_the_first_time_counts_even_if_it_falls_again():
    told = reached(LOOKS, [0.5, 0.95, 0.4, 0.99], 0.9)
    assert math.log2(1000) < told.high < math.log2(2000)


def test_lower_may_be_better():
    told = reached(LOOKS, [3.0, 2.0, 1.0, 0.5], 1.5, higher=False)
    assert told.low == pytest.approx(math.log2(2000) + 0.5)


def test_never_is_more_than_the_budget_and_nothing_else():
    assert reached(LOOKS, [0.5, 0.6, 0.7, 0.89], 0.9) == open_at(math.log2(8000))
    assert reached(LOOKS, [math.nan] * 4, 0.9) == open_at(math.log2(8000))


@pytest.mark.parametrize(
    ("looks", "scores", "most"),
    [
        (LOOKS, [0.95, 1, 1, 1], 1000),
        ([0, 500, 1000], [0.5, 0.95, 1.0], 500),
        ([0, 500, 1000], [0.95, 0.95, 1.0], 500),
    ],
)
def test_there_at_once_is_at_most_the_first_look(looks, scores, most):
    told = reached(looks, scores, 0.9)
    assert (told.low, told.high) == (-math.inf, pytest.approx(math.log2(most)))


def test_from_a_score_that_is_no_number_only_the_looks_bound():
    told = reached([100, 200, 400], [0.1, math.nan, 0.95], 0.9)
    assert (told.low, told.high) == (math.log2(200), math.log2(400))


@pytest.mark.parametrize(
    ("looks", "scores"), [([], []), ([0], [1]), ([1, 2], [1]), ([2, 1], [0, 1]), ([-1, 2], [0, 1])]
)
def test_looks_that_make_no_sense_are_refused(looks, scores):
    with pytest.raises(DataError, match="samples to a threshold"):
        reached(looks, scores, 0.9)


# --- two arms -----------------------------------------------------------------------------------


def test_all_seen_is_the_paired_t_test():
    first, second = [12.0, 12.5, 13.0, 12.2], [11.0, 11.9, 11.5, 12.0]
    told, known = log2_samples(seen(*first), seen(*second)), stats.ttest_rel(first, second)
    assert told.flag == "value"
    assert told.bounds[0] == told.bounds[1] == pytest.approx(np.mean(first) - np.mean(second))
    assert told.interval() == pytest.approx(known.confidence_interval())
    assert told.p() == pytest.approx(known.pvalue)
    assert told.p_equal(1.0) == pytest.approx(
        stats.ttest_1samp(np.subtract(first, second), 1.0, alternative="less").pvalue
    )
    assert (told.fewer, told.more) == (0, 4)


def test_one_not_reached_is_a_bound():
    first, second = [open_at(13.0)] * 3, seen(10.0, 10.5, 9.8)
    told = log2_samples(first, second)
    assert (told.flag, told.lows) == ("at least", pytest.approx((3.0, 2.5, 3.2)))
    assert told.highs == (NEVER,) * 3
    low, high = told.interval()
    assert (low, high) == (
        pytest.approx(stats.ttest_1samp([3.0, 2.5, 3.2], 0).confidence_interval().low),
        math.inf,
    )
    assert told.p() == pytest.approx(stats.ttest_1samp([3.0, 2.5, 3.2], 0).pvalue)
    assert told.p_equal(10) == 1
    assert told.value is None
    mirror = log2_samples(second, first)
    assert (mirror.flag, mirror.p(), mirror.fewer) == ("at most", told.p(), 3)
    assert mirror.interval() == (-math.inf, -low)


def test_both_not_reached_is_no_information():
    told = log2_samples([open_at(13.0)] * 4, [open_at(13.0)] * 4)
    assert (told.flag, told.fewer, told.more, told.p()) == ("none", 0, 0, 1)
    assert told.interval() == (-math.inf, math.inf)
    assert told.bounds == (-math.inf, math.inf)


def test_one_seed_without_information_leaves_only_the_signs():
    first = [*seen(*[10.0] * 9), open_at(13.0)]
    second = [*seen(*[12.0 + at / 10 for at in range(9)]), open_at(13.0)]
    told = log2_samples(first, second)
    assert (told.flag, told.fewer, told.more) == ("none", 9, 0)
    assert told.p() == pytest.approx(stats.binomtest(0, 9).pvalue)


def test_bounds_on_either_side_are_never_made_a_number():
    told = log2_samples([open_at(13.0), *seen(11.0)], [*seen(12.0), open_at(13.0)])
    assert told.flag == "none"
    assert (told.fewer, told.more, told.p()) == (1, 1, 1)


def test_bounds_of_both_sides_lie_between():
    told = log2_samples([Reached(9.0, 10.0), *seen(9.5)], seen(8.0, 8.2))
    assert told.flag == "between"
    assert told.bounds == pytest.approx((1.15, 1.65))


@pytest.mark.parametrize(("fewer", "more"), list(itertools.product((0, 1, 3, 8), (0, 2, 8))))
def test_the_sign_test_is_scipys(fewer, more):
    known = stats.binomtest(fewer, fewer + more).pvalue if fewer + more else 1
    assert sign_test(fewer, more) == pytest.approx(known)


@pytest.mark.parametrize(("first", "second"), [(seen(1, 2), seen(1)), (seen(1), seen(1))])
def test_seeds_must_be_two_or_more_and_the_same(first, second):
    with pytest.raises(DataError, match="two seeds or more of each arm"):
        log2_samples(first, second)


@pytest.mark.parametrize("budget", [11.0, 12.0, 20.0])
def test_intervals_hold_the_truth_however_many_are_censored(budget):
    """Crossings are normal; whoever is later than the budget is only known to be later."""
    rng = draws.generator("censored", str(budget))
    held, open_ones, times = 0, 0, 1000
    for _ in range(times):
        first, second = rng.normal(11.5, 0.8, 6), rng.normal(10.5, 0.8, 6)
        told = log2_samples(
            *(
                [Reached(x, x) if x <= budget else open_at(budget) for x in values]
                for values in (first, second)
            )
        )
        low, high = told.interval()
        held += low <= 1.0 <= high
        open_ones += told.flag != "value"
    assert held / times >= 0.95 - 0.021
    assert (open_ones > 0.5 * times) == (budget < 20)


@pytest.mark.parametrize("budget", [11.0, 20.0])
def test_the_same_arm_twice_is_rarely_found_different(budget):
    rng = draws.generator("the same", str(budget))
    found, times = 0, 1000
    for _ in range(times):
        runs = rng.normal(11.0, 0.8, (2, 8))
        found += (
            log2_samples(
                *([Reached(x, x) if x <= budget else open_at(budget) for x in r] for r in runs)
            ).p()
            < 0.05
        )
    assert found / times <= 0.05 + 0.021
