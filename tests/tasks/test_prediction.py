"""Guesses against torch's cross-entropy and slow loops; each control by hand."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sensorium.tasks import prediction
from sensorium.tasks.prediction import guesses, joined, scores, unigram


def some(k=40, v=7, records=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(k, v, generator=generator)
    truth = torch.randint(v, (k,), generator=generator)
    owner = torch.randint(records, (k,), generator=generator)
    return logits, truth, owner


def test_nats_are_the_cross_entropy():
    logits, truth, owner = some()
    found = guesses(logits, truth, owner)
    assert found.nats.mean() == pytest.approx(float(F.cross_entropy(logits, truth)), rel=1e-6)
    for at in range(len(truth)):
        above = all(logits[at, j] < logits[at, truth[at]] for j in range(7) if j != truth[at])
        assert found.right[at] == above
    assert (found.top == logits.argmax(1).numpy()).all()


def test_equal_logits_and_nan_are_never_right():
    truth, owner = torch.zeros(3, dtype=torch.int64), torch.arange(3)
    assert not guesses(torch.zeros(3, 5), truth, owner).right.any()
    assert not guesses(torch.full((3, 5), torch.nan), truth, owner).right.any()
    logits = torch.zeros(3, 5)
    logits[:, 0] = 1
    assert guesses(logits, truth, owner).right.all()
    logits[1, 3] = torch.nan
    assert guesses(logits, truth, owner).right.tolist() == [True, False, True]


def test_batches_join():
    logits, truth, owner = some()
    whole = guesses(logits, truth, owner)
    parts = [guesses(logits[a:b], truth[a:b], owner[a:b]) for a, b in ((0, 13), (13, 40))]
    for name in ("nats", "right", "owner", "truth", "top"):
        assert (getattr(joined(parts), name) == getattr(whole, name)).all()


def test_the_unigram_control_knows_frequencies_only():
    logits, _, _ = some(4, 4)
    asked = guesses(logits, torch.tensor([0, 1, 2, 3]), torch.arange(4))
    found = unigram(np.array([5, 2, 1, 0]), asked)
    # One added to each of 5, 2, 1, 0: 6, 3, 2, 1 of 12.
    assert found.nats == pytest.approx([math.log(2), math.log(4), math.log(6), math.log(12)])
    assert found.right.tolist() == [True, False, False, False]
    assert found.top.tolist() == [0] * 4


def test_the_unigram_control_names_the_first_of_equals():
    """A caption with one "a" and one end each: the tie at the top is no loss of the control."""
    asked = guesses(torch.zeros(5, 4), torch.tensor([0, 1, 1, 2, 3]), torch.arange(5))
    found = unigram(np.array([1, 5, 5, 0]), asked)
    assert found.right.tolist() == [False, True, True, False, False]
    assert found.top.tolist() == [1] * 5
    # The model itself, with equal logits, is still never right.
    assert not asked.right.any()


def test_every_score_beside_its_controls():
    logits, truth, owner = some()
    own = guesses(logits + 9 * F.one_hot(truth, 7), truth, owner)
    worse = guesses(logits, truth, owner)
    made = scores(own, {"unigram": worse, "gone": "why"}, 7, "masked_tokens", {"split": "test"},
                  ("k",))  # fmt: skip
    assert [score["metric"] for score in made] == ["top guess", "nats per token"]
    for score in made:
        low, high = score["interval"]
        assert low <= score["value"] <= high
        assert score["protocol"]["split"] == "test"
        assert score["protocol"]["tokens"] == 40
        assert {"ties", "interval", "records"} <= set(score["protocol"])
        beside = score["controls"]["unigram"]
        assert beside["difference"] == pytest.approx(score["value"] - beside["value"])
        low, high = beside["difference_interval"]
        # What is better is beyond zero, on the side that the metric calls better.
        assert low > 0 if score["better"] == "higher" else high < 0
        assert score["controls"]["gone"] == {"value": None, "reason": "why"}
    assert made[0]["controls"]["chance"]["value"] == 1 / 7
    assert made[1]["controls"]["chance"]["value"] == math.log(7)


def test_intervals_are_over_records_and_not_over_tokens():
    """Ten equal tokens a record are one piece of evidence."""
    logits, truth, _ = some(20)
    one = guesses(logits, truth, torch.arange(20))
    rows = torch.arange(20).repeat_interleave(10)
    ten = guesses(logits[rows], truth[rows], rows)
    alone, many = (scores(x, {}, 7, "d", {}, ("k",))[1] for x in (one, ten))
    assert many["interval"] == pytest.approx(alone["interval"])
    assert many["protocol"]["tokens"] == 200
    assert prediction.SUMMARY
