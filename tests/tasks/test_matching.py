"""Forced choice by hand; constants lose; each control has its own difference."""

import numpy as np
import pytest

from sensorium.tasks import matching
from sensorium.tasks.retrieval import wilson


def ask(own, others=None):
    return matching.score(own, others or {}, "text_to_image", "forced choice", {"split": "x"},
                          ("k",))  # fmt: skip


def test_by_hand():
    own = (np.array([2.0, 1.0, 0.0, np.nan]), np.array([1.0, 1.0, 3.0, 0.0]))
    told = ask(own)
    assert told["value"] == 0.25  # a tie, a loss and a NaN lose
    assert told["interval"] == list(wilson(0.25, 4))
    assert told["controls"] == {"chance": {"value": 0.5, "interval": "exact"}}
    assert told["protocol"]["records"] == 4
    assert told["protocol"]["split"] == "x"


def test_a_constant_logit_wins_nothing():
    assert ask((np.zeros(8), np.zeros(8)))["value"] == 0


def test_controls_are_paired():
    rng = np.random.default_rng(0)
    own = (rng.normal(1.5, 1, 400), rng.normal(0, 1, 400))
    alone = (rng.normal(0, 1, 400), rng.normal(0, 1, 400))
    told = ask(own, {"image_alone": alone, "text_alone": "no text"})
    beside = told["controls"]["image_alone"]
    assert beside["value"] == (alone[0] > alone[1]).mean()
    assert beside["difference"] == pytest.approx(told["value"] - beside["value"])
    assert beside["difference_interval"][0] > 0
    assert told["controls"]["text_alone"] == {"value": None, "reason": "no text"}
    # against itself there is nothing
    same = ask(own, {"image_alone": own})["controls"]["image_alone"]
    assert same["difference"] == 0
    assert same["difference_interval"] == [0, 0]
