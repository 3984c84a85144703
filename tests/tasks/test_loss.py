"""A mean over all that is counted, not a mean of batches; few batches have no interval."""

import numpy as np
import pytest

from sensorium.tasks import loss


def test_the_mean_is_over_what_is_counted():
    own = np.array([[6.0, 3], [2, 1], [0, 0], [4, 4], [10, 2]])
    told = loss.score(own, {"untrained": own * [2, 1]}, 1.5, "slip", {"split": "test"}, ("k",))
    assert told["value"] == pytest.approx(22 / 10)
    low, high = told["interval"]
    assert low < told["value"] < high
    beside = told["controls"]["untrained"]
    assert beside["value"] == pytest.approx(4.4)
    assert beside["difference"] == pytest.approx(-2.2)
    assert beside["difference_interval"][1] < 0
    assert told["controls"]["chance"] == {"value": 1.5, "interval": "exact"}
    assert told["better"] == "lower"
    assert told["protocol"]["batches"] == 5


def test_few_batches_tell_no_interval():
    own = np.array([[6.0, 3], [2, 1]])
    told = loss.score(own, {"untrained": own, "x": "why"}, 1.5, "slip", {}, ("k",))
    assert told["interval"] is None
    assert told["controls"]["untrained"]["difference_interval"] is None
    assert told["controls"]["x"] == {"value": None, "reason": "why"}
    assert "fewer than 5 batches" in told["protocol"]["interval"]


def test_equal_batches_are_certain():
    own = np.tile([[4.0, 2]], (6, 1))
    assert loss.score(own, {}, 1.0, "x", {}, ("k",))["interval"] == pytest.approx([2, 2])
