"""Intervals against the normal approximation, exact binomials and slow resampling."""

import numpy as np
import pytest

from sensorium.tasks._intervals import means, resampled, stratified


def test_resampling_sums_equals_the_bootstrap_of_a_mean():
    """A ratio of sums with every record counting once is a mean: its error is known."""
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, 500)
    facts = np.stack([values, np.ones(500)], axis=1)
    low, high = resampled(facts, lambda sums: sums[:, 0] / sums[:, 1], ("t",))
    error = values.std() / np.sqrt(500)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_blocks_change_no_interval(monkeypatch):
    from sensorium.tasks import _intervals

    facts = np.random.default_rng(1).random((30, 2))
    whole = resampled(facts, lambda sums: sums[:, 0] / sums[:, 1], ("t",))
    monkeypatch.setattr(_intervals, "_CELLS", 30 * 7)
    assert resampled(facts, lambda sums: sums[:, 0] / sums[:, 1], ("t",)) == pytest.approx(whole)


def test_records_are_resampled_within_their_class():
    """Two classes, one always right: all of the spread is the other's, halved."""
    groups = np.repeat([0, 1], [10, 400])
    hits = np.concatenate([np.ones(10), np.arange(400) % 4 == 0]).astype(int)
    low, high = stratified(hits, groups, ("t",))
    error = np.sqrt(0.25 * 0.75 / 400) / 2
    assert low == pytest.approx(0.625 - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(0.625 + 1.96 * error, abs=0.3 * error)
    minus = stratified(-hits, groups, ("t",))
    assert minus == pytest.approx([-high, -low], abs=0.3 * error)


def test_a_mean_stands_beside_its_controls():
    own, other = np.array([1.0, 2, 3, 6]), np.array([1.0, 1, 1, 1])
    told = means(own, {"other": other, "gone": "no data"}, np.array([7, 7, 9, 9]), ("t",))
    assert told["value"] == 3
    beside = told["controls"]["other"]
    assert beside["difference"] == 2
    # Two records, 1.5 and 4.5 on the mean: the mean of two draws is one of 1.5, 3 and 4.5.
    assert told["interval"] == [1.5, 4.5]
    assert beside["difference_interval"] == [0.5, 3.5]
    assert told["controls"]["gone"] == {"value": None, "reason": "no data"}
