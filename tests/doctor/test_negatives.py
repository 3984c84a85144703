import itertools

import numpy as np
import pytest

from sensorium.doctor.negatives import expected_equal, folded


def _simulated(labels, batch, draws=20_000):
    """Batches as training makes them: a permutation's first records, one caption of each."""
    rng = np.random.default_rng(0)
    n, total = len(labels), 0
    for _ in range(draws):
        shown = [
            own[rng.integers(len(own))] for own in (labels[i] for i in rng.permutation(n)[:batch])
        ]
        total += sum(label == shown[0] for label in shown[1:])
    return total / draws


def _by_hand(labels, batch):
    """Over all ordered pairs of records and all their captions."""
    n, pairs = len(labels), 0.0
    for one, other in itertools.permutations(labels, 2):
        same = sum(a == b for a, b in itertools.product(one, other))
        pairs += same / (len(one) * len(other))
    return (batch - 1) * pairs / (n * (n - 1))


CASES = {
    "all different": [[i] for i in range(12)],
    "all equal": [["a"]] * 9,
    "classes": [[i % 3] for i in range(15)],
    "skewed": [["a"]] * 8 + [["b"]] * 2 + [["c"], ["d"]],
    "captions": [["a", "b"], ["a"], ["b", "c", "a"], ["d"], ["d", "d", "e"], ["e"], ["f"]],
}


@pytest.mark.parametrize("labels", CASES.values(), ids=CASES)
@pytest.mark.parametrize("batch", [2, 5])
def test_the_formula_equals_counting(labels, batch):
    assert expected_equal(labels, batch) == pytest.approx(_by_hand(labels, batch))


@pytest.mark.parametrize("name", ["skewed", "captions"])
def test_the_formula_agrees_with_simulation(name):
    labels, batch = CASES[name], 5
    assert expected_equal(labels, batch) == pytest.approx(_simulated(labels, batch), abs=0.04)


def test_the_closed_form():
    sizes = [7, 3, 3, 1]
    labels = [[c] for c, n in enumerate(sizes) for _ in range(n)]
    n = sum(sizes)
    expected = 7 * sum(c * (c - 1) for c in sizes) / (n * (n - 1))
    assert expected_equal(labels, 8) == pytest.approx(expected)


def test_edges():
    assert expected_equal([], 8) == 0
    assert expected_equal([["a"]], 8) == 0
    assert expected_equal([["a"]] * 4, 100) == pytest.approx(3)  # a batch is at most the records
    assert expected_equal([["a"], ["a"], []], 3) == pytest.approx(2 / 3)  # one shows nothing


def test_a_hundred_thousand_texts_are_counted_once_each():
    class Counted(str):
        compared = 0

        def __eq__(self, other):
            Counted.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    labels = [[Counted(f"text {at % 50_000}")] for at in range(100_000)]
    assert expected_equal(labels, 256) == pytest.approx(255 / 99_999)
    assert Counted.compared < 10 * len(labels)


def test_folded():
    assert folded("A dog, running!") == folded("a  dog running")
    assert folded("a dog") != folded("a dot")
    assert folded("?!") == "?!"
