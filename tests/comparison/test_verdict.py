"""Exactly one of four answers, by rules fixed before; and how often they are right."""

import itertools
import json
import math
import re

import numpy as np
import pytest

from benchmarks.statistics import ITEMS, POINTS, SEEDS, Setting, answers, promised, shares
from sensorium import draws
from sensorium.comparison.statistics import Difference, Spread, difference, holm, needed_seeds
from sensorium.comparison.threshold import Reached
from sensorium.comparison.verdict import (
    Arm,
    Evidence,
    Question,
    compared,
    judge,
    weigh,
    weigh_samples,
)

ASKED = Question("merge", "late", "accuracy:label", margin=0.02)
SAMPLES = Question("merge", "late", "accuracy:label", margin=0.5, unit="log2 samples", higher=False)
ARMS = (Arm("merge", 0.71, (0.7, 0.72)), Arm("late", 0.7, (0.69, 0.71)))
FOUR = re.compile(
    r"better|worse|no difference larger than [\d.]+ (points|nats|doublings of samples)"
    r"|cannot tell: (would need (\d+ seeds|more items than [\d,]+, however many seeds"
    r"|a larger budget)|no arm learned)"
)


def table(mean, *key, seeds=5, items=1000, seed_sd=0.003):
    """0/1 outcomes of one arm, [seeds, items], whose seeds differ by about `seed_sd`."""
    rng = draws.generator("verdict", *key)
    rates = mean + seed_sd * rng.standard_normal((seeds, 1))
    return (rng.random((seeds, items)) < rates).astype(float)


def told(mean, other, question=ASKED, **about):
    evidence = weigh(question, table(mean, "a", **about), table(other, "b", **about))
    return judge([evidence])[0]


def changed(question=ASKED, **values):
    return Question(**{**question.__dict__, **values})


# --- the four answers ---------------------------------------------------------------------------


def test_better_and_worse():
    better, worse = told(0.9, 0.6), told(0.6, 0.9)
    assert (better.kind, better.words) == ("better", "better")
    assert (worse.kind, worse.words) == ("worse", "worse")
    assert better.interval[0] > 0.2
    assert better.difference == pytest.approx(0.3, abs=0.03)


def test_where_lower_is_better_less_is_better():
    question = changed(higher=False, unit="nats", outcome="loss:contrastive")
    assert told(0.6, 0.9, question).kind == "better"
    assert told(0.9, 0.6, question).kind == "worse"


def test_no_difference_larger_than_the_margin():
    verdict = told(0.7, 0.7, changed(margin=0.05), items=8000)
    assert (verdict.kind, verdict.words) == ("equal", "no difference larger than 5.0 points")
    low, high = verdict.interval_equal
    assert -0.05 < low < high < 0.05
    assert "90 % interval" in verdict.sentence


def test_a_difference_that_does_not_matter_is_no_difference():
    """The interval excludes 0 and lies within the margin: the margin was there first."""
    verdict = told(0.75, 0.72, changed(margin=0.1), items=20_000)
    assert verdict.interval[0] > 0
    assert verdict.p_holm < 0.05
    assert verdict.kind == "equal"


def test_cannot_tell_says_how_many_seeds():
    verdict = told(0.7, 0.7, seed_sd=0.03, items=20_000)
    assert verdict.kind == "unknown"
    assert verdict.words == f"cannot tell: would need {verdict.needed_seeds} seeds"
    found = difference(table(0.7, "a", seed_sd=0.03, items=20_000),
                       table(0.7, "b", seed_sd=0.03, items=20_000))  # fmt: skip
    assert verdict.needed_seeds == needed_seeds(0.02, found.spread) > verdict.seeds


def test_cannot_tell_says_when_items_are_what_is_missing():
    hard = np.random.default_rng(0).normal(0, 1.0, (1, 40))  # differs by item, for all seeds alike
    verdict = judge([weigh(ASKED, np.repeat(hard, 4, 0), np.zeros((4, 40)))])[0]
    assert verdict.words == "cannot tell: would need more items than 40, however many seeds"
    assert verdict.needed_seeds is None


def test_alike_on_every_item_needs_enough_of_them():
    """Of 140 items that all agree, 3/140 = 2.1 % of others may still differ; of 160, 1.9 %."""
    few, enough = (judge([weigh(ASKED, np.ones((3, n)), np.ones((3, n)))])[0] for n in (140, 160))
    assert few.words == "cannot tell: would need more items than 140, however many seeds"
    assert enough.kind == "equal"
    for count, kind in ((3, "unknown"), (4, "better")):
        apart = judge([weigh(ASKED, np.ones((3, count)), np.zeros((3, count)))])[0]
        assert apart.kind == kind


def test_undecided_with_enough_seeds_asks_for_more_than_there_are():
    """Five seeds decide 80 % of such comparisons; this one is among the others."""
    spread = Spread(5, 10_000, 0.01, 0.0)
    assert needed_seeds(0.0215, spread) <= 5
    found = Difference(0.0122, spread, (0.0122,) * 5, 0.01)  # between .0120 and .0124
    verdict = judge([Evidence(changed(margin=0.0215), found, ARMS, learned=True)])[0]
    assert verdict.kind == "unknown"
    assert verdict.needed_seeds > 5


def test_the_second_interval_is_that_of_the_two_one_sided_tests():
    verdict = told(0.7, 0.7)
    found = difference(table(0.7, "a"), table(0.7, "b"))
    assert verdict.interval == pytest.approx(found.interval(0.95))
    assert verdict.interval_equal == pytest.approx(found.interval(0.90))
    assert verdict.p_equal == found.p_equal(0.02)


# --- did anything learn -------------------------------------------------------------------------


def test_where_no_arm_is_above_the_floor_nothing_is_said_of_arms():
    question = changed(floor=0.5, margin=0.2, prediction=(0.0, 0.1))
    verdict = told(0.5, 0.5, question)
    assert (verdict.kind, verdict.words) == ("unknown", "cannot tell: no arm learned")
    assert verdict.prediction is None
    assert "no skill 50.0 points" in verdict.sentence
    assert told(0.9, 0.5, question).kind == "better"
    assert told(0.5, 0.5, changed(question, floor=None)).kind == "equal"


def test_a_positive_control_that_learns_makes_floor_scores_an_answer():
    question = changed(floor=0.5, margin=0.2)
    first, second = table(0.5, "a"), table(0.5, "b")
    for control, kind in ((table(0.9, "c"), "equal"), (table(0.5, "d"), "unknown")):
        assert judge([weigh(question, first, second, control=control)])[0].kind == kind


def test_the_floor_of_a_loss_lies_above():
    question = changed(floor=2.0, higher=False, unit="nats")
    low, high = 1.0 + table(0.5, "a") / 10, 2.0 + table(0.5, "b")
    assert judge([weigh(question, low, high)])[0].kind == "better"
    assert judge([weigh(question, high, high)])[0].words == "cannot tell: no arm learned"


# --- families -----------------------------------------------------------------------------------


def test_holm_over_a_family_takes_back_what_alone_would_be_found():
    borderline = None
    for at in range(400):
        evidence = weigh(ASKED, table(0.72, "f", at, items=4000), table(0.7, "g", at, items=4000))
        verdict = judge([evidence])[0]
        if verdict.kind == "better" and verdict.p > 0.02:
            borderline = evidence
            break
    assert borderline is not None
    others = [weigh(ASKED, table(0.7, "o", n), table(0.7, "p", n)) for n in range(4)]
    verdicts = judge([borderline, *others])
    assert [x.p_holm for x in verdicts] == holm([x.p for x in verdicts])
    assert {x.family for x in verdicts} == {5}
    assert verdicts[0].kind == "unknown"
    assert verdicts[0].interval[0] > 0


# --- samples to a threshold ---------------------------------------------------------------------


def runs(*values, budget=14.0):
    return [Reached(budget, math.inf) if x is None else Reached(x, x) for x in values]


def test_fewer_samples_are_better():
    verdict = judge([weigh_samples(SAMPLES, runs(10, 10.2, 9.9), runs(12, 12.1, 12.3))])[0]
    assert (verdict.kind, verdict.flag) == ("better", "value")
    assert "doublings of samples" in verdict.sentence
    assert verdict.detectable_after is not None


def test_never_reached_is_worse_by_at_least():
    verdict = judge([weigh_samples(SAMPLES, runs(None, None, None), runs(10, 10.2, 9.9))])[0]
    assert (verdict.kind, verdict.flag) == ("worse", "at least")
    assert verdict.interval[1] is None
    assert "at least 3.97 doublings of samples" in verdict.sentence
    assert [x.reached for x in verdict.arms] == [0, 3]


def test_reached_by_nobody_is_no_arm_learned_unless_a_control_did():
    nobody = runs(None, None, None)
    verdict = judge([weigh_samples(SAMPLES, nobody, nobody)])[0]
    assert verdict.words == "cannot tell: no arm learned"
    verdict = judge([weigh_samples(SAMPLES, nobody, nobody, runs(10, None, 11))])[0]
    assert verdict.words == "cannot tell: would need a larger budget"
    assert verdict.prediction is None


def test_signs_alone_may_tell():
    first, second = runs(*[10] * 9, None), runs(*[12] * 9, None)
    verdict = judge([weigh_samples(SAMPLES, first, second)])[0]
    assert (verdict.kind, verdict.flag, verdict.difference) == ("better", "none", None)
    assert "fewer samples in 9, more in 0" in verdict.sentence


# --- predictions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "interval", "answer"),
    [
        ((40, 52), (38, 44), "kept"),
        ((40, 52), (20, 30), "less than predicted"),
        ((40, 52), (60, 70), "more than predicted"),
        ((40, 52), (-9, -3), "missed"),
        ((40, 52), (-5, 9), "less than predicted"),
        ((1, 10), (-4, 2), "less than predicted"),  # overlaps, but points the other way
        ((0, 3), (-1, 2.5), "kept"),
        ((0, 3), (-3, 2), "less than predicted"),
        ((0, 3), (0, 0), "kept"),
        ((-5, 5), (-1, 2), "kept"),
        ((-5, 5), (6, 9), "missed"),
        ((3, 9), (4, math.inf), "kept"),
        ((3, 9), (10, math.inf), "more than predicted"),
    ],
)
def test_what_became_of_a_prediction(prediction, interval, answer):
    low, high = interval
    middle = low if math.isinf(high) else (low + high) / 2
    assert compared(prediction, interval, middle) == answer
    mirrored = compared((-prediction[1], -prediction[0]), (-high, -low), -middle)
    assert mirrored == answer


# --- the record ---------------------------------------------------------------------------------


def test_every_verdict_is_one_of_the_four_and_says_so_in_json():
    floor = changed(floor=0.5, assumed=Spread(5, 1000, 0.02, 0.4), prediction=(0.1, 0.3))
    made = [
        told(mean, other, question)
        for (mean, other), question in itertools.product(
            [(0.9, 0.6), (0.6, 0.9), (0.7, 0.7), (0.5, 0.5)], [ASKED, floor, changed(margin=0.2)]
        )
    ]
    made += judge([weigh_samples(SAMPLES, runs(None, 12, 11), runs(10, None, 12))])
    for verdict in made:
        assert FOUR.fullmatch(verdict.words), verdict.words
        assert f": {verdict.words} (" in verdict.sentence
        assert json.loads(json.dumps(verdict.to_json(), allow_nan=False))["kind"] == verdict.kind
        assert len(verdict.each) == verdict.seeds
    assert all(x.detectable_before is not None for x in made[1:12:3])


def test_drawn_percentiles_are_beside_when_a_key_is_given():
    evidence = weigh(ASKED, table(0.7, "a"), table(0.6, "b"), ("plan",))
    low, high = judge([evidence])[0].percentiles
    assert low < evidence.found.mean < high


# --- the instrument -----------------------------------------------------------------------------

WIDEST = 0.07  # share of better or worse among comparisons of an arm with itself


@pytest.mark.parametrize(("seeds", "items", "points"), [(3, 200, 4), (5, 200, 1), (10, 200, 2)])
def test_an_arm_under_two_names_is_rarely_better_or_worse(seeds, items, points):
    told = shares(answers(Setting(seeds, items, points / 100), 0.02, 200, "same", str(points)))
    assert told["better"] + told["worse"] <= WIDEST


def test_an_arm_under_two_names_is_shown_equal_where_seeds_and_items_allow():
    told = shares(answers(Setting(20, 4000, 0.01), 0.05, 30, "equal"))
    assert told["equal"] >= 0.9


def test_a_planted_difference_is_found_as_often_as_stated():
    setting = Setting(8, 300, 0.03, (0.77, 0.70))
    stated = promised(setting, 600, "planted")
    found = shares(answers(setting, 0.005, 300, "planted"))
    assert 0.3 < stated < 0.9
    assert found["better"] == pytest.approx(stated, abs=4 * math.sqrt(0.25 / 300))
    assert found["worse"] <= 0.01


@pytest.mark.heavy
@pytest.mark.parametrize("points", POINTS)
@pytest.mark.parametrize("items", ITEMS)
@pytest.mark.parametrize("seeds", SEEDS)
def test_an_arm_under_two_names_in_every_setting(seeds, items, points):
    """python -m pytest -m heavy tests/comparison/test_verdict.py"""
    told = shares(answers(Setting(seeds, items, points / 100), 0.02, 200, "heavy", str(points)))
    # 7 % of 200 is the bound for a rate of 5 %; 40 settings at once leave room for chance.
    assert told["better"] + told["worse"] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


@pytest.mark.heavy
@pytest.mark.parametrize("points", [2, 4, 8])
@pytest.mark.parametrize("seeds", SEEDS)
def test_planted_differences_in_every_setting(seeds, points):
    setting = Setting(seeds, 1000, 0.02, (0.7 + points / 200, 0.7 - points / 200))
    stated = promised(setting, 2000, "heavy", str(points))
    found = shares(answers(setting, 0.001, 600, "heavy", str(points)))
    assert found["better"] == pytest.approx(stated, abs=4 * math.sqrt(0.25 / 600))
