"""Answers against torch and slow loops; constants lose; unknown classes count as wrong."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from sensorium.tasks import classification
from sensorium.tasks.classification import answers, frequent, mean_class_accuracy, scores


def named(made):
    return {score["metric"]: score for score in made}


@given(st.integers(0, 10_000))
def test_ranks_equal_sorting(seed):
    """Many ties: the truth comes after all that are as high."""
    rng = np.random.default_rng(seed)
    logits = rng.integers(0, 3, (6, 5)).astype(float)
    truth = rng.integers(0, 5, 6)
    for row, name, rank in zip(logits, truth, answers(logits, truth).rank, strict=True):
        order = sorted(range(5), key=lambda j, row=row, name=name: (-row[j], j == name))
        assert order.index(name) + 1 == rank


def test_nats_are_the_cross_entropy():
    logits, truth = torch.randn(30, 4), torch.randint(4, (30,))
    found = answers(logits.numpy(), truth.numpy())
    assert found.nats.mean() == pytest.approx(float(F.cross_entropy(logits, truth)), rel=1e-5)


def test_constants_win_nothing_and_nan_neither():
    truth = np.arange(6) % 3
    for logits in (np.zeros((6, 3)), np.full((6, 3), np.nan)):
        made = named(scores(answers(logits, truth), {}, 3, "label", {}, ("k",)))
        assert made["accuracy"]["value"] == 0
        assert made["mean class accuracy"]["value"] == 0
        assert made["nats per record"]["value"] == pytest.approx(math.log(3))


def test_by_hand():
    """Class 0 three times, class 1 once: accuracy weighs records, its mean weighs classes."""
    logits = np.array([[2.0, 1], [2, 1], [1, 2], [1, 2]])
    truth = np.array([0, 0, 0, 1])
    made = named(scores(answers(logits, truth), {}, 2, "label", {"split": "test"}, ("k",)))
    assert made["accuracy"]["value"] == 0.75
    assert made["mean class accuracy"]["value"] == pytest.approx((2 / 3 + 1) / 2)
    assert "top 5" not in made
    assert made["accuracy"]["controls"]["chance"]["value"] == 0.5
    assert made["nats per record"]["controls"]["chance"]["value"] == math.log(2)
    assert made["accuracy"]["protocol"]["split"] == "test"
    assert mean_class_accuracy(np.array([True, False]), np.array([4, 4])) == 0.5


def test_a_class_that_training_lacked_counts_as_wrong():
    logits, truth = np.array([[2.0, 1], [2, 1]]), np.array([0, -1])
    made = named(scores(answers(logits, truth), {}, 2, "label", {}, ("k",)))
    assert made["accuracy"]["value"] == 0.5
    assert made["accuracy"]["protocol"]["of_classes_unknown_to_training"] == 1
    # Nats and means over classes are over the rest.
    assert made["nats per record"]["value"] == pytest.approx(math.log(1 + math.exp(-1)))
    assert made["mean class accuracy"]["value"] == 1
    none = scores(answers(logits, np.array([-1, -1])), {}, 2, "label", {}, ("k",))
    assert [score["metric"] for score in none] == ["accuracy"]


def test_the_first_five_count_where_classes_are_many():
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(200, 12)), rng.integers(0, 12, 200)
    made = named(scores(answers(logits, truth), {}, 12, "label", {}, ("k",)))
    slow = np.mean([t in np.argsort(-row)[:5] for row, t in zip(logits, truth, strict=True)])
    assert made["top 5"]["value"] == pytest.approx(slow)
    assert made["top 5"]["controls"]["chance"]["value"] == pytest.approx(5 / 12)


def test_the_majority_control():
    """One added to each count; the most frequent class is right."""
    truth = np.array([1, 1, 0, 2])
    found = frequent(np.array([2, 5, 0]), truth)
    assert (found.rank == 1).tolist() == [True, True, False, False]
    assert found.nats == pytest.approx(-np.log(np.array([6, 6, 3, 1]) / 10))


def test_the_majority_control_of_balanced_classes():
    """Ten classes, 3 records each: the first is named, right of 1 in 10; the first 5 of 1 in 2."""
    truth = np.append(np.arange(10), -1)
    found = frequent(np.full(10, 3), truth)
    assert found.rank.tolist() == [*range(1, 11), 11]
    assert (found.rank == 1)[:10].mean() == 0.1
    assert found.nats[:10] == pytest.approx(np.full(10, math.log(10)))
    assert np.isnan(found.nats[10])
    assert (frequent(np.array([1, 5, 5]), np.arange(3)).rank == 1).tolist() == [False, True, False]


def test_controls_are_paired():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 300)
    own = answers(rng.normal(size=(300, 3)) + 3 * np.eye(3)[truth], truth)
    other = answers(rng.normal(size=(300, 3)), truth)
    made = scores(own, {"majority": other, "text_alone": "one modality"}, 3, "label", {}, ("k",))
    for score in made:
        beside = score["controls"]["majority"]
        assert beside["difference"] == pytest.approx(score["value"] - beside["value"])
        low, high = beside["difference_interval"]
        assert low > 0 if score["better"] == "higher" else high < 0
        assert score["controls"]["text_alone"]["reason"] == "one modality"
        assert list(score["controls"])[-1] == "chance"
    assert classification.SUMMARY
