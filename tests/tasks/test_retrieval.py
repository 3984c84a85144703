"""Ranks, chance and intervals against slow loops, enumeration and scipy."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from sensorium.tasks import retrieval


def slow_ranks(table, right):
    """Sort each row, wrong answers before right ones where scores are equal."""
    ranks = []
    for row, answers in zip(table, right, strict=True):
        order = sorted(range(len(row)), key=lambda j: (-row[j], bool(answers[j])))
        wrong_before = 0
        for j in order:
            if answers[j]:
                break
            wrong_before += 1
        ranks.append(1 + wrong_before)
    return ranks


@given(st.integers(0, 10_000))
def test_equals_sorting(seed):
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 4, (5, 6)).astype(float)  # many ties
    right = rng.random((5, 6)) < 0.3
    right[np.arange(5), rng.integers(0, 6, 5)] = True
    assert retrieval.rank(table, right).ranks.tolist() == slow_ranks(table, right)


def test_constant_vectors_score_nothing():
    """The trap of counting ties for us: a collapsed model would score 100 %."""
    found = retrieval.rank(np.ones((20, 20)), np.eye(20, dtype=bool))
    assert found.recall(1) == 0
    assert found.recall(10) == 0
    assert found.ranks.tolist() == [20] * 20


def test_nan_loses():
    table = np.eye(3)
    table[0, 0] = np.nan
    assert retrieval.rank(table, np.eye(3, dtype=bool)).ranks.tolist() == [3, 1, 1]


def test_a_query_without_an_answer_is_an_error():
    with pytest.raises(ValueError, match="right answer"):
        retrieval.rank(np.ones((1, 2)), np.zeros((1, 2), bool))


@pytest.mark.parametrize(("pool", "answers", "k"), [(5, 1, 1), (5, 2, 2), (6, 3, 2), (4, 1, 9)])
def test_chance_equals_all_orders(pool, answers, k):
    right = np.zeros((1, pool), bool)
    right[0, :answers] = True
    orders = list(itertools.permutations(range(pool)))
    hit = sum(any(at < answers for at in order[:k]) for order in orders)
    assert retrieval.chance(right, k) == pytest.approx(hit / len(orders))


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (54, 174), (1, 2)])
def test_interval_equals_scipy(hits, n):
    told = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert retrieval.wilson(hits / n, n) == pytest.approx((told.low, told.high), abs=1e-9)


def test_mean_reciprocal_by_hand():
    found = retrieval.Ranks(np.array([1, 2, 4]), 10)
    assert found.mean_reciprocal == pytest.approx((1 + 1 / 2 + 1 / 4) / 3)
    assert found.recall(2) == pytest.approx(2 / 3)
