"""Intervals, equality, Holm and power, against scipy, slow loops, closed forms and simulation."""

import itertools
import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks import machine, statistics_page
from benchmarks.statistics import Setting, coverage, outcomes
from sensorium import draws
from sensorium.comparison import statistics
from sensorium.comparison.statistics import (
    Difference,
    Spread,
    difference,
    holm,
    mean_squares,
    needed_seeds,
    pigeonhole,
    power,
    power_equal,
    smallest_detectable,
)
from sensorium.errors import DataError


def normal(seeds, items, seed_sd, item_sd, rest_sd, *key):
    """Differences of the two-way model with mean 0, [seeds, items]."""
    rng = draws.generator("two way", seeds, items, *key)
    return (
        seed_sd * rng.standard_normal((seeds, 1))
        + item_sd * rng.standard_normal((1, items))
        + rest_sd * rng.standard_normal((seeds, items))
    )


# --- mean, variance, interval -------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_one_number_a_seed_is_the_paired_t_test(seeds):
    rng = np.random.default_rng(seeds)
    first, second = rng.normal(size=(2, seeds, 1)) + np.array([0.8, 0])[:, None, None]
    found, known = difference(first, second), stats.ttest_rel(first[:, 0], second[:, 0])
    assert found.p() == pytest.approx(known.pvalue, rel=1e-9)
    for level in (0.9, 0.95, 0.99):
        assert found.interval(level) == pytest.approx(known.confidence_interval(level), rel=1e-9)


def test_with_endless_items_it_is_the_paired_t_test_of_the_seeds_means():
    """With the same thing in every item, and so with a test set that has no luck of its own."""
    means = np.array([[0.3], [0.1], [0.25], [0.4]])
    found = difference(np.repeat(means, 5000, axis=1))
    assert found.p() == pytest.approx(stats.ttest_1samp(means[:, 0], 0).pvalue, rel=1e-6)


def test_a_small_p_is_as_small_as_scipys():
    values = np.array([1.0, 1.001, 0.999, 1.0005, 0.9995, 1.0001])
    known = stats.ttest_1samp(values, 0).pvalue
    assert known < 1e-14
    assert difference(values[:, None]).p() == pytest.approx(known, rel=1e-9)


def test_mean_squares_are_those_of_a_slow_loop():
    x = normal(4, 6, 1, 2, 3)
    middle = x.sum() / 24
    rows = [sum(x[s]) / 6 for s in range(4)]
    columns = [sum(x[:, i]) / 4 for i in range(6)]
    by_seed = 6 * sum((r - middle) ** 2 for r in rows) / 3
    by_item = 4 * sum((c - middle) ** 2 for c in columns) / 5
    rest = sum((x[s, i] - rows[s] - columns[i] + middle) ** 2 for s in range(4) for i in range(6))
    assert mean_squares(x) == pytest.approx((by_seed / 24, by_item / 24, rest / 15 / 24))


def test_the_standard_error_is_the_random_effects_variance():
    """Mean over many tables against var(seed)/S + var(item)/N + var(rest)/(S N)."""
    told = [difference(normal(5, 40, 1.0, 3.0, 2.0, at)).error ** 2 for at in range(3000)]
    assert np.mean(told) == pytest.approx(1 / 5 + 9 / 40 + 4 / 200, rel=0.03)


def test_the_crossed_bootstraps_variance_is_that_of_all_draws():
    """Every draw of 3 seeds crossed with every draw of 4 items, each once."""
    x = normal(3, 4, 1, 2, 3)
    means = [
        x[np.ix_(seeds, items)].mean()
        for seeds in itertools.product(range(3), repeat=3)
        for items in itertools.product(range(4), repeat=4)
    ]
    assert difference(x).bootstrap_error == pytest.approx(np.std(means), rel=1e-9)


def test_what_is_drawn_agrees_with_it():
    x = normal(5, 30, 1, 2, 3, "drawn")
    drawn = pigeonhole(x, ("a key",), 4000)
    assert np.std(drawn) == pytest.approx(difference(x).bootstrap_error, rel=0.05)
    assert np.mean(drawn) == pytest.approx(x.mean(), abs=0.05)
    assert difference(x, key=("b",)).percentiles == difference(x, key=("b",)).percentiles
    low, high = difference(x, key=("b",)).percentiles
    assert low < x.mean() < high
    assert difference(x).percentiles is None


def test_the_interval_has_each_parts_own_quantile():
    """Written out by hand from the mean squares."""
    x = normal(3, 50, 1, 6, 2)
    by_seed, by_item, rest = mean_squares(x)
    assert by_item > rest
    half = math.sqrt(
        stats.t.ppf(0.975, 2) ** 2 * by_seed + stats.t.ppf(0.975, 49) ** 2 * (by_item - rest)
    )
    assert difference(x).interval() == pytest.approx((x.mean() - half, x.mean() + half))


@pytest.mark.parametrize("at", range(5))
def test_p_is_one_minus_the_level_that_just_reaches(at):
    found = difference(normal(4, 60, 1, 4, 3, "p", at) + 0.7)
    for other in (0.0, 0.5, -1.0):
        level = 1 - found.p(other)
        assert min(abs(x - other) for x in found.interval(level)) < 1e-6


def test_pairing_is_used():
    """What an item does to both arms alike does not widen the interval."""
    first, second = normal(4, 80, 1, 1, 1, "a"), normal(4, 80, 1, 1, 1, "b")
    hard = 100 * np.random.default_rng(0).normal(size=(1, 80))
    assert difference(first + hard, second + hard).error == pytest.approx(
        difference(first, second).error, rel=1e-6
    )


def test_arms_that_do_not_differ_at_all_differ_by_nothing():
    same = np.ones((3, 20))
    found = difference(same, same)
    assert (found.mean, found.interval(), found.p()) == (0, (0, 0), 1)
    assert found.p_equal(0.01) == 0
    apart = difference(same, 0 * same)
    assert apart.p() == 0
    assert apart.interval() == (1, 1)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (np.ones((1, 5)), np.ones((1, 5)), "two seeds"),
        (np.ones((3, 5)), np.ones((3, 4)), r"\[3, 5\] and \[3, 4\]"),
        (np.ones(5), np.ones(5), "same seeds and items"),
        (np.ones((2, 0)), np.ones((2, 0)), "same seeds and items"),
        (np.full((2, 5), np.nan), np.ones((2, 5)), "10 that are not"),
    ],
)
def test_what_cannot_be_compared_is_refused(first, second, words):
    with pytest.raises(DataError, match=words):
        difference(first, second)


def test_without_scipy_the_extra_is_named_at_once():
    code = (
        "import sys; sys.modules['scipy'] = None\n"
        "from sensorium.errors import MissingExtra\n"
        "try:\n import sensorium.comparison.statistics\n"
        "except MissingExtra as error: print(error)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "compare needs scipy",
        "see      pip install 'sensorium[compare]'",
        "False",
    ]


# --- equality and families ----------------------------------------------------------------------


@pytest.mark.parametrize("at", range(8))
def test_equality_is_shown_exactly_where_the_90_percent_interval_lies_within(at):
    found = difference(normal(6, 100, 0.5, 2, 2, "equal", at))
    low, high = found.interval(0.9)
    for margin in (0.3, 0.6, 0.9, max(-low, high) * 1.0001, max(-low, high) * 0.9999):
        assert (found.p_equal(margin) < 0.05) == (-margin < low and high < margin)


def test_two_one_sided_tests_are_scipys_on_one_number_a_seed():
    values = np.array([0.2, -0.1, 0.3, 0.15, 0.0])
    known = max(
        stats.ttest_1samp(values, -0.5, alternative="greater").pvalue,
        stats.ttest_1samp(values, 0.5, alternative="less").pvalue,
    )
    assert difference(values[:, None]).p_equal(0.5) == pytest.approx(known, rel=1e-9)
    far = max(
        stats.ttest_1samp(values, -0.05, alternative="greater").pvalue,
        stats.ttest_1samp(values, 0.05, alternative="less").pvalue,
    )
    assert far > 0.5  # the mean itself lies outside
    assert difference(values[:, None]).p_equal(0.05) == pytest.approx(far, rel=1e-9)


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04: times 4, 3, 2, 1 is .04 .06 .06 .04; never less than one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_holm_is_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    rng = np.random.default_rng(1)
    for count in (1, 2, 7, 30):
        values = rng.uniform(size=count) ** 3
        known = multitest.multipletests(values, method="holm")[1]
        assert holm(values) == pytest.approx(list(known))


def test_equality_is_statsmodels():
    weights = pytest.importorskip("statsmodels.stats.weightstats")
    first, second = np.random.default_rng(3).normal(size=(2, 9))
    known = weights.ttost_paired(first, second, -1.5, 1.5)[0]
    assert difference(first[:, None], second[:, None]).p_equal(1.5) == pytest.approx(known)


# --- power --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
@pytest.mark.parametrize("true", [0.0, 1.0, 3.0])
def test_without_an_item_part_power_is_the_noncentral_t(seeds, true):
    edge, shift = stats.t.ppf(0.975, seeds - 1), true / (2 / math.sqrt(seeds))
    known = stats.nct.sf(edge, seeds - 1, shift) + stats.nct.cdf(-edge, seeds - 1, shift)
    assert power(true, Spread(seeds, 1, 2.0, 0.0)) == pytest.approx(known, abs=5e-4)


@pytest.mark.parametrize(("seeds", "known"), [(5, 3.3), (10, 2.0), (20, 1.3)])
def test_the_smallest_detectable_difference_of_seeds_alone(seeds, known):
    """At 80 % power, SD 2; published tables of the paired t test."""
    assert smallest_detectable(Spread(seeds, 1, 2.0, 0.0)) == pytest.approx(known, abs=0.07)


def found_in_simulation(true, spread, times, what):
    """Share of simulated tables for which `what(Difference)` holds."""
    rest = 2.0
    seed = math.sqrt(spread.seed_sd**2 - rest**2 / spread.items)
    return np.mean(
        [
            what(
                difference(
                    normal(spread.seeds, spread.items, seed, spread.item_sd, rest, "power", at)
                    + true
                )
            )
            for at in range(times)
        ]
    )


@pytest.mark.parametrize("spread", [Spread(4, 60, 0.6, 3.0), Spread(8, 100, 0.5, 1.0)])
def test_power_holds_in_simulation(spread):
    true = smallest_detectable(spread)
    assert power(true, spread) == pytest.approx(0.8, abs=1e-6)
    share = found_in_simulation(true, spread, 2000, lambda x: abs(x.mean) > x.half())
    assert share == pytest.approx(0.8, abs=0.035)  # 4 standard errors of 2,000 simulations


def test_power_of_equality_holds_in_simulation():
    spread = Spread(6, 100, 0.5, 1.0)
    stated = power_equal(0.8, spread, true=0.1)
    assert 0.5 < stated < 0.95
    share = found_in_simulation(0.1, spread, 2000, lambda x: abs(x.mean) + x.half(0.9) < 0.8)
    assert share == pytest.approx(stated, abs=0.045)


def test_needed_seeds_decide_and_one_fewer_does_not():
    spread = Spread(5, 400, 1.0, 4.0)
    needed = needed_seeds(1.0, spread)

    def decided(true, seeds):
        def either(found: Difference) -> bool:
            low, high = found.interval(0.9)
            return abs(found.mean) > found.half(0.95) or (low > -1 and high < 1)

        return found_in_simulation(true, replace(spread, seeds=seeds), 1000, either)

    worst = min(decided(true, needed) for true in (0.0, 0.25, 0.5, 0.75, 1.0))
    assert worst >= 0.8 - 0.05
    assert min(decided(true, needed - 3) for true in (0.25, 0.5, 0.75)) < 0.8
    # It is no fewer than what either question alone would need.
    enough = replace(spread, seeds=needed)
    assert power(1.0, enough) >= 0.8
    assert power_equal(1.0, enough) >= 0.8


def test_where_items_are_too_few_no_seeds_are_enough():
    assert needed_seeds(1.0, Spread(5, 100, 1.0, 10.0)) is None
    assert needed_seeds(1.0, Spread(5, 10_000, 1.0, 10.0)) is not None
    assert needed_seeds(1.0, Spread(5, 100, 0.0, 0.0)) == 2


def test_more_seeds_items_and_agreement_detect_less():
    base = Spread(5, 400, 1.0, 4.0)
    known = smallest_detectable(base)
    assert smallest_detectable(replace(base, seeds=10)) < known
    assert smallest_detectable(replace(base, items=4000)) < known
    assert smallest_detectable(replace(base, seed_sd=0.5)) < known
    assert smallest_detectable(Spread(3, 10, 0.0, 0.0)) == 0


# --- coverage -----------------------------------------------------------------------------------


def test_simulated_outcomes_have_the_truth_that_is_stated():
    setting = Setting(20, 1000, 0.04, (0.8, 0.6), (0.9, 0.5))
    made = [outcomes(setting, "truth", at) for at in range(200)]
    found = np.mean([first.mean() - second.mean() for first, second in made])
    assert setting.truth == pytest.approx(0.9 * 0.3 - 0.5 * 0.1)
    assert found == pytest.approx(setting.truth, abs=0.012)


def test_the_page_says_what_was_measured():
    result = json.loads((machine.RESULTS / "statistics.json").read_text("utf-8"))
    text = statistics_page.PAGE.read_text("utf-8")
    assert statistics_page.filled(text, result) == text
    least, most = re.search(r"covered ([\d.]+) to ([\d.]+) %", statistics.__doc__).groups()
    assert statistics_page.extremes(result, "used", "95 %") == f"{least} to {most} %"
    assert len(result["coverage"]) == 40
    assert all(row["better"] + row["worse"] <= 0.07 for row in result["same arms, margin 2 points"])


@pytest.mark.parametrize(
    ("seeds", "items", "points"), [(3, 200, 0), (3, 4000, 4), (5, 200, 2), (10, 200, 4)]
)
def test_intervals_cover_what_they_say(seeds, items, points):
    told = coverage(Setting(seeds, items, points / 100), 500, "test", str(points))["used"]
    assert told["95 %"] >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 500)
    assert told["90 %"] >= 0.90 - 3 * math.sqrt(0.90 * 0.10 / 500)
