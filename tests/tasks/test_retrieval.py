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


@given(st.integers(0, 10_000), st.integers(1, 9))
def test_blocks_of_any_size_give_the_ranks_of_the_whole_table(seed, block):
    """Small whole numbers: many ties; several right answers each."""
    rng = np.random.default_rng(seed)
    queries = rng.integers(-1, 2, (7, 3)).astype(np.float32)
    pool = rng.integers(-1, 2, (6, 3)).astype(np.float32)
    right = rng.random((7, 6)) < 0.3
    right[np.arange(7), rng.integers(0, 6, 7)] = True
    found = retrieval.rank_vectors(
        queries, pool, lambda rows: right[rows.start : rows.stop], block=block
    )
    whole = retrieval.rank(queries @ pool.T, right)
    assert found.ranks.tolist() == whole.ranks.tolist()
    assert found.answers.tolist() == whole.answers.tolist() == right.sum(axis=1).tolist()
    assert found.pool == whole.pool == 6


@pytest.mark.parametrize("block", [1, 2, 3, 17, 64, 200])
def test_the_block_changes_no_rank_of_real_vectors(block):
    """Twins in the pool tie to the last bit, whatever kernel multiplies a block of that size."""
    rng = np.random.default_rng(0)
    queries, pool = (rng.normal(size=(200, 61)).astype(np.float32) for _ in range(2))
    pool[100:] = pool[:100]
    eye = np.eye(200, dtype=bool)
    found = retrieval.rank_vectors(queries, pool, lambda rows: eye[rows.start : rows.stop], block)
    whole = retrieval.rank(retrieval.similarity(queries, pool), eye)
    assert found.ranks.tolist() == whole.ranks.tolist()
    assert (found.ranks > 1).all()  # the twin is a wrong answer that ties


def test_large_splits_are_ranked_without_the_whole_table(monkeypatch):
    """20,000 queries on a pool of 2,000: 40 million similarities, at most 100,000 at once."""
    rng, shapes, real = np.random.default_rng(1), [], retrieval.similarity

    def watched(queries, pool):
        shapes.append((len(queries), len(pool)))
        return real(queries, pool)

    def right(rows):
        shapes.append((len(rows), 2000))
        return np.arange(2000) == (np.arange(rows.start, rows.stop) // 10)[:, None]

    monkeypatch.setattr(retrieval, "similarity", watched)
    pool = rng.normal(size=(2000, 8))
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    found = retrieval.rank_vectors(np.repeat(pool, 10, axis=0) * 2, pool, right, block=50)
    assert max(shapes) == (50, 2000)
    assert len(shapes) == 2 * 400
    assert len(found.ranks) == 20_000
    assert found.recall(1) == 1  # each asks for its own unit vector


def test_no_queries_is_an_error():
    with pytest.raises(ValueError, match="no queries"):
        retrieval.rank_vectors(np.zeros((0, 2)), np.zeros((3, 2)), lambda rows: np.zeros((0, 3)))


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
    assert retrieval.chance(right.sum(axis=1), pool, k) == pytest.approx(hit / len(orders))


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (54, 174), (1, 2)])
def test_interval_equals_scipy(hits, n):
    told = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert retrieval.wilson(hits / n, n) == pytest.approx((told.low, told.high), abs=1e-9)


def test_mean_reciprocal_by_hand():
    found = retrieval.Ranks(np.array([1, 2, 4]), 10, np.ones(3, np.int64))
    assert found.chance(1) == pytest.approx(1 / 10)
    assert found.mean_reciprocal == pytest.approx((1 + 1 / 2 + 1 / 4) / 3)
    assert found.recall(2) == pytest.approx(2 / 3)
