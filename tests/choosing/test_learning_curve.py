"""The fit against curves that are known, its interval by simulation, and against a straight line
through means by scipy's and the package's own statistics."""

import numpy as np
import pytest

from sensorium import draws
from sensorium.choosing import learning_curve
from sensorium.choosing.learning_curve import fit, learn
from sensorium.choosing.questions import helps
from sensorium.comparison import statistics

RECORDS = (125, 250, 500, 1000)


def exact(power, last, floor):
    """Error at any number of records: `last` above the floor at 1,000."""
    return lambda n: floor + last * (np.asarray(n, float) / 1000) ** -power


@pytest.mark.parametrize("power", [0.1, 0.3, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_a_power_law_without_noise_is_found(power, floor):
    error = exact(power, 0.05, floor)
    found = fit(RECORDS, error(RECORDS)[None])
    assert found[0][0] == pytest.approx(power)
    assert found[1][0] == pytest.approx(floor, abs=1e-9)
    assert found[1][0] + found[2][0] * 2000 ** -found[0][0] == pytest.approx(error(2000), abs=1e-9)


def test_the_fit_is_the_best_of_scipys_on_the_same_family():
    from scipy import optimize

    rng = draws.generator("scipy")
    for _ in range(5):
        errors = exact(0.4, 0.2, 0.05)(RECORDS) + rng.normal(0, 0.01, 4)
        power, floor, scale = (x[0] for x in fit(RECORDS, errors[None]))

        def rest(at, errors=errors):
            x = (np.array(RECORDS) / 1000) ** -at[0]
            return ((errors - at[1] - at[2] * x) ** 2).sum()

        own = rest((power, floor, scale * 1000**-power))
        bounds = [(0.001, 1.5), (0, None), (None, None)]
        other = min(
            optimize.minimize(rest, (start, 0.05, 0.2), bounds=bounds).fun
            for start in (0.1, 0.5, 1.2)
        )
        # The grid of powers is coarse; it costs less than a tenth of the noise.
        assert own <= other + 1e-5


def noisy(error, seeds, items, spread, *key):
    """0/1 scores [seeds, items] of each point: seeds vary by `spread`, items are hard or easy."""
    rng = draws.generator("noisy", *key)
    hard = rng.uniform(-0.15, 0.15, items)
    made = []
    for n in RECORDS:
        right = 1 - error(n) + rng.normal(0, spread, (seeds, 1)) + hard
        made.append((rng.random((seeds, items)) < right).astype(float))
    return made


@pytest.mark.parametrize(
    ("power", "last", "floor"), [(0.1, 0.5, 0.0), (0.3, 0.35, 0.0), (0.5, 0.2, 0.1), (1, 0.05, 0.2)]
)
@pytest.mark.parametrize("seeds", [3, 10])
def test_the_interval_covers_the_true_gain(power, last, floor, seeds, monkeypatch):
    """At least 90 of 100 where 95 are claimed: 100 simulations err by 2 points."""
    monkeypatch.setattr(learning_curve, "TIMES", 500)
    error = exact(power, last, floor)
    true = error(1000) - error(2000)
    hit = 0
    for at in range(100):
        values = noisy(error, seeds, 300, 0.02, power, seeds, at)
        low, high = learn(RECORDS, values, ("covers", at)).interval
        hit += low <= true <= high
    assert hit >= 90


def test_a_straight_line_has_the_interval_of_its_contrast(monkeypatch):
    """With the power held at 0 the gain is a sum of means with fixed weights, and so its interval
    is that of `statistics.difference` of the same sum, item by item."""
    monkeypatch.setattr(learning_curve, "POWERS", np.array([1e-3]))
    monkeypatch.setattr(learning_curve, "TIMES", 200_000)
    values = noisy(exact(0.05, 0.5, 0.0), 5, 400, 0.03, "line")
    x = np.log2(RECORDS)
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    line = statistics.difference(sum(w * y for w, y in zip(weights, values, strict=True)))
    found = learn(RECORDS, values, ("line",))
    assert found.gain == pytest.approx(line.mean, rel=0.01)
    assert found.interval == pytest.approx(line.interval(), abs=0.1 * line.half())


def test_more_records_are_called_what_they_are():
    steep = learn(RECORDS, noisy(exact(0.5, 0.4, 0), 5, 3000, 0.003, "steep"), ("a",))
    flat = learn(RECORDS, [np.full((3, 500), 1.0)] * 4, ("b",))
    loud = learn(RECORDS, noisy(exact(0.3, 0.35, 0), 3, 50, 0.1, "loud"), ("c",))
    assert helps(steep, 0.02) == "better"
    assert helps(flat, 0.02) == "equal"
    assert helps(loud, 0.02) == "unknown"
    assert loud.interval[0] < 0 < 0.02 < loud.interval[1]


def test_the_same_key_gives_the_same_interval_and_another_a_near_one():
    values = noisy(exact(0.3, 0.35, 0), 3, 300, 0.02, "key")
    one, same, other = (learn(RECORDS, values, (key,)) for key in ("a", "a", "b"))
    assert one == same
    assert one.interval != other.interval
    assert one.interval == pytest.approx(other.interval, abs=0.02)
