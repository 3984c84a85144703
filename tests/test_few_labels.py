"""Samplers, linear fit and intervals of the benchmark `few_labels`; its page says what it found."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp

from benchmarks import few_labels, few_labels_page
from benchmarks.few_labels_statistics import (
    RIDGE,
    compared,
    dealt,
    linear,
    resamples,
    sided,
    solved,
    verdict,
)
from sensorium.building import build
from sensorium.prepare import Column
from sensorium.records import Record, Source

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "few_labels.json"
PAGE = ROOT / "docs" / "claim-few-labels.md"

# --- samplers -----------------------------------------------------------------------------------

CLASSES = [0] * 50 + [1] * 3 + [2] * 20
NAMES = [f"record {at}" for at in range(len(CLASSES))]


@pytest.mark.parametrize("count", [1, 7, 9, 30, 73, 1000])
def test_labels_are_dealt_evenly_until_a_class_has_no_more(count):
    chosen = dealt(CLASSES, NAMES, count, 5)
    assert len(chosen) == len(set(chosen)) == min(count, 73)
    got = np.bincount([CLASSES[at] for at in chosen], minlength=3)
    # Whoever got less than another has no more, or came later in the same turn.
    for kind, there in enumerate((50, 3, 20)):
        assert got[kind] == there or got[kind] >= got.max() - 1


def test_a_smaller_budget_is_the_beginning_of_a_larger_one():
    assert dealt(CLASSES, NAMES, 70, 1)[:12] == dealt(CLASSES, NAMES, 12, 1)
    assert dealt(CLASSES, NAMES, 12, 1) != dealt(CLASSES, NAMES, 12, 2)


def test_the_order_of_the_records_decides_nothing():
    back = list(range(len(NAMES)))[::-1]
    there = {NAMES[at] for at in dealt(CLASSES, NAMES, 15, 3)}
    turned = [NAMES[at] for at in back]
    assert there == {turned[at] for at in dealt([CLASSES[at] for at in back], turned, 15, 3)}


def test_a_side_is_of_the_medians_of_the_pool_alone():
    brightness = np.array([1.0, 2, 3, 10, 20, 30, 40, 2.5, 99, 5])
    classes = np.array([0, 0, 0, 1, 1, 1, 1, 0, 1, -1])
    # Medians of the first seven: 2 and 25. What is equal to it is not brighter.
    told = sided(brightness, classes, range(7))
    assert told.tolist() == [False, False, True, False, False, True, True, True, True, False]


def miniature(n=60):
    """A corpus of noise with two classes, of which the second is brighter; 12 are asked."""
    rng = np.random.default_rng(0)
    truth = np.arange(n) % 2
    pixels = rng.integers(0, 120, (n, 32, 32, 3)) + 100 * truth[:, None, None, None]
    pixels = (pixels + rng.integers(0, 30, n)[:, None, None, None]).astype(np.uint8)
    records = [
        Record(f"r{at}", Source("made", at), {"label": "ab"[k]}) for at, k in enumerate(truth)
    ]

    def own(name, items):
        return Column(name, items, [[at] for at in range(n)], np.arange(n), name == "towers")

    return few_labels.Corpus(
        name="made",
        records=records,
        classes=("a", "b"),
        truth=truth,
        columns={
            "image": own("image", pixels),
            "label": own("label", list(np.array(["a", "b"])[truth])),
            "towers": own("towers", rng.standard_normal((n, 1, 5)).astype(np.float32)),
        },
        brightness=pixels.reshape(n, -1).mean(1),
        train=list(range(48)),
        asked=list(range(48, 60)),
        seconds_of_towers=0.0,
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_biased_labels_come_from_one_half_of_each_class(seed):
    about = miniature()
    chosen = few_labels.labelled(about, seed, 20, biased=True)
    assert len(chosen) == 20
    assert set(chosen) <= set(about.labelled)
    for kind in (0, 1):
        own = [at for at in about.labelled if about.truth[at] == kind]
        middle = np.median(about.brightness[own])
        bright = {about.brightness[at] > middle for at in chosen if about.truth[at] == kind}
        assert bright == {(kind + seed) % 2 == 0}
    even = few_labels.labelled(about, seed, 20, biased=False)
    assert [int(about.truth[at]) for at in even].count(0) == 10


def test_budgets_above_what_is_there_are_what_is_there():
    told = miniature().conditions(few_labels.Settings(budgets=(10, 100, 1000), biased=100))
    # 48 are labelled, 24 of each class: half of a class has 12, two such halves 24, in tens 20.
    assert told == {
        "10": (10, False), "48": (48, False), "20": (20, False), "20, biased": (20, True),
    }  # fmt: skip


# --- arms ---------------------------------------------------------------------------------------


def test_all_arms_begin_with_the_same_encoder_of_pictures():
    def weights(made, **more):
        return build(made, **more).model.encoders["image"].state_dict()

    class Label:
        target, classes = True, ["a", "b"]

    settings = few_labels.Settings()
    made = few_labels.classifier(3, 10, settings)
    first = weights(made, modalities={"label": Label()})
    for arm in few_labels.EARLIER:
        other = weights(few_labels.earlier(arm, 3))
        assert first.keys() == other.keys()
        assert all(torch.equal(first[name], other[name]) for name in first), arm
    other = weights(few_labels.earlier("pictures", 4))
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_what_was_pretrained_is_carried_over_and_classes_keep_their_numbers():
    about, settings = miniature(), few_labels.Settings()
    made = few_labels.classifier(0, 16, settings)
    source = few_labels.trained(made, about, about.train, 2)
    carried = few_labels.trained(made, about, about.train, 0, source)
    for one, other in zip(
        carried.model.encoders.parameters(), source.model.encoders.parameters(), strict=True
    ):
        assert torch.equal(one, other)
    own = few_labels.pooled(carried, about, about.asked)
    assert np.array_equal(own, few_labels.pooled(source, about, about.asked))
    # Brightness tells the classes apart: a few steps learn it.
    given = few_labels._asked_of(made, about, about.train, 60)
    assert np.mean(np.array(given) == about.truth[about.asked]) > 0.9
    # A class without labels is never answered, and the others keep the corpus's numbers.
    about = replace(about, classes=("none", "a", "b"), truth=about.truth + 1)
    assert few_labels._asked_of(made, about, about.train, 60) == [at + 1 for at in given]


# --- the linear layer ---------------------------------------------------------------------------


def test_the_linear_fit_is_the_optimum_that_scipy_finds():
    rng = np.random.default_rng(1)
    x, numbers = rng.standard_normal((40, 3)), rng.integers(0, 4, 40)

    def loss(flat):
        weights, bias = flat[:12].reshape(3, 4), flat[12:]
        logits = x @ weights + bias
        own = logits[np.arange(40), numbers]
        return (logsumexp(logits, axis=1) - own).sum() + RIDGE / 2 * (weights**2).sum()

    found = minimize(loss, np.zeros(16), method="BFGS", options={"gtol": 1e-7})
    weights, _ = solved(torch.from_numpy(x), torch.from_numpy(numbers), 4)
    assert np.allclose(weights.numpy(), found.x[:12].reshape(3, 4), atol=1e-4)


def test_the_linear_fit_without_use_of_features_answers_the_most_frequent():
    features = np.zeros((9, 2), np.float32)
    fitted = linear(features, np.array([4, 4, 4, 4, 4, 1, 1, 7, 7]), 8)
    assert fitted(np.ones((3, 2), np.float32)).tolist() == [4, 4, 4]


def test_the_linear_fit_does_not_depend_on_the_scale_of_a_feature():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((60, 4)).astype(np.float32)
    classes = x[:, 0].round().clip(-1, 1).astype(int) + 1
    wide = x * np.array([100, 0.01, 1, 5], np.float32) + 3
    new = rng.standard_normal((30, 4)).astype(np.float32)
    moved = new * np.array([100, 0.01, 1, 5], np.float32) + 3
    plain = linear(x, classes, 3)(new)
    assert len(set(plain.tolist())) == 3
    assert np.mean(plain == linear(wide, classes, 3)(moved)) > 0.95


# --- intervals ----------------------------------------------------------------------------------


def test_means_and_shares_by_hand():
    truth = np.array([0, 0, 0, 1])
    values = np.array([[1, 1, 0, 0], [1, 0, 0, 1]])
    assert resamples(truth, 2, by_class=False).mean(values) == pytest.approx(0.5)
    # Classes count the same: (2/3 + 0) / 2 and (1/3 + 1) / 2.
    assert resamples(truth, 2, by_class=True).mean(values) == pytest.approx(0.5)
    assert resamples(truth, 2, by_class=True).mean(values[:1]) == pytest.approx(1 / 3)
    for by_class in (False, True):
        drawn = resamples(truth, 2, by_class)
        assert np.allclose(drawn.seeds.sum(1), 1)
        assert np.allclose(drawn.items.sum(1), 1)
    assert np.allclose(resamples(truth, 2, by_class=True).items[:, 3], 0.5)  # alone in its class


def test_the_interval_is_that_of_a_slow_crossed_bootstrap():
    rng = np.random.default_rng(3)
    values = rng.random((5, 40)) + rng.random((5, 1)) + rng.random(40)
    slow = []
    for _ in range(6000):
        rows, columns = rng.integers(5, size=5), rng.integers(40, size=40)
        slow.append(values[rows][:, columns].mean())
    told = resamples(np.zeros(40, int), 5, by_class=False).interval(values)
    width = np.quantile(slow, 0.975) - np.quantile(slow, 0.025)
    assert np.allclose(told, np.quantile(slow, [0.025, 0.975]), atol=0.08 * width)


def test_the_width_has_its_closed_forms():
    # Seeds alike, items normal: the standard error of a mean over n, times 1.96 both ways.
    rng = np.random.default_rng(4)
    row = rng.standard_normal(400)
    low, high = resamples(np.zeros(400, int), 3, by_class=False).interval(np.tile(row, (3, 1)))
    assert high - low == pytest.approx(2 * 1.96 * row.std() / math.sqrt(400), rel=0.08)
    # Items alike within their classes, seeds alike: nothing is left that could differ by class.
    truth = np.repeat([0, 1], [30, 10])
    same = np.tile(truth.astype(float), (3, 1))
    low, high = resamples(truth, 3, by_class=True).interval(same)
    assert low == pytest.approx(high) == pytest.approx(0.5)
    low, high = resamples(truth, 3, by_class=False).interval(same)
    assert high - low > 0.1


def test_the_interval_of_a_part_is_that_of_a_slow_bootstrap():
    rng = np.random.default_rng(6)
    values, of = rng.random((5, 60)), rng.random((5, 60)) < 0.4
    values[of] += 2  # what is left out must have no influence
    slow = []
    for _ in range(6000):
        rows, columns = rng.integers(5, size=5), rng.integers(60, size=60)
        part = of[rows][:, columns]
        slow.append(values[rows][:, columns][part].mean())
    told = resamples(np.zeros(60, int), 5, by_class=False).interval(values, of)
    width = np.quantile(slow, 0.975) - np.quantile(slow, 0.025)
    assert np.allclose(told, np.quantile(slow, [0.025, 0.975]), atol=0.08 * width)


def test_verdicts():
    assert verdict([0.01, 0.2]) == "better"
    assert verdict([-0.2, -0.01]) == "worse"
    assert verdict([0.0, 0.2]) == verdict([-0.1, 0.1]) == "cannot tell"


def test_what_bias_costs_by_hand():
    truth, light = np.array([0, 0, 1, 1]), np.array([True, False, True, False])
    right, wrong = [0, 0, 1, 1], [1, 1, 0, 0]
    # Seed 0 showed the bright of class 0 and the dark of class 1: items 0 and 3.
    only_shown = [0, 1, 0, 1]
    job = {
        "corpus": "made",
        "seed": 0,
        "labels": {"4": {"a": 2, "b": 2}},
        "answers": {
            "4": {"scratch, full": right, "pictures, full": right, "captions, full": wrong},
            "4, biased": {
                "scratch, full": only_shown, "pictures, full": right, "captions, full": wrong,
            },
        },
    }  # fmt: skip
    told = compared([job], truth, light)
    bias = told["bias"]["scratch, full"]
    assert bias["biased minus even"]["accuracy"]["mean"] == pytest.approx(-0.5)
    assert bias["accuracy where labels were"] == 1
    assert bias["accuracy where none were"] == 0
    apart = told["bias"]["pictures, full"]["where none were, minus scratch"]
    # Wrong by scratch on both items, right by the other: in every draw that has one of them.
    assert apart["mean"] == 1
    assert apart["interval"] == pytest.approx([1, 1])
    kept = told["bias"]["pictures, full"]["that minus scratch's"]["mean class accuracy"]
    assert kept["mean"] == pytest.approx(0.5)
    minus = told["captions minus pictures"]["4"]["captions, full"]["accuracy"]
    assert minus["mean"] == -1
    assert minus["verdict"] == "worse"


# --- the page -----------------------------------------------------------------------------------


def test_the_page_has_the_figures_of_the_result_file():
    result, text = json.loads(RESULT.read_text("utf-8")), PAGE.read_text("utf-8")
    assert few_labels_page.filled(text, result) == text
    assert few_labels_page.picture(result) == few_labels_page.PICTURE.read_text("utf-8")


def test_the_result_file_is_of_the_whole_measurement():
    result = json.loads(RESULT.read_text("utf-8"))
    assert result["settings"]["split"] == "test"
    for name in ("emoji", "tuxpaint", "fashion_mnist"):
        assert result[name]["seeds"] == result["settings"]["seeds"] == [0, 1, 2, 3, 4]


def test_no_figure_of_the_page_stands_outside_what_is_made():
    """A share such as .384 is always from the result file, never typed."""
    text = re.sub(r"<!-- made: .*?<!-- end -->", "", PAGE.read_text("utf-8"), flags=re.S)
    assert re.findall(r"(?<![\w.])[−-]?\.\d{2,3}\b", text) == []


def test_what_the_page_says_in_words_is_so():
    result = json.loads(RESULT.read_text("utf-8"))
    of = {name: result[name]["minus"] for name in few_labels_page.NAMES}

    def said(name, condition, arm, base="scratch, full"):
        return of[name][base][condition][arm]["mean class accuracy"]["verdict"]

    most = {"emoji": "1000", "tuxpaint": "268", "fashion_mnist": "1000"}
    pictures = "pictures, linear"
    for name, largest in most.items():
        assert said(name, "100", "towers, linear") == said(name, largest, "towers, linear")
        assert said(name, "100", "towers, linear") == "better"
        other = result[name]["bias"]["towers, linear"]["where none were, minus scratch"]
        assert other["verdict"] == "better"
        assert said(name, "100", pictures) == "better"
        for told in result[name]["captions minus pictures"].values():
            assert all(x["mean class accuracy"]["verdict"] != "better" for x in told.values())
        for arm, told in result[name]["bias"].items():
            better = told.get("where none were, minus scratch", {}).get("verdict") == "better"
            own = name == "fashion_mnist" and "pictures" in arm
            assert not better or own or arm == "towers, linear"
    assert said("fashion_mnist", "10", pictures) == "better"
    assert said("fashion_mnist", "1000", pictures) == "cannot tell"
    assert said("emoji", "1000", pictures) == "cannot tell"
    for condition in ("10", "100", "1000"):
        assert said("emoji", condition, pictures, "untrained, linear") == "cannot tell"
    gained = [
        (name, arm)
        for name in most
        for arm in of[name]["scratch, full"]["100"]
        if arm.endswith("full") and said(name, "100", arm) == "better"
    ]
    assert gained == [("fashion_mnist", "pictures, full")]
    assert said("fashion_mnist", "100", "pictures, full", "scratch, longer") == "cannot tell"
    assert said("emoji", "100", "pictures, full", "scratch, longer") == "worse"
