"""The additive bound against an exact search over all sums, by linear programming with choices."""

import numpy as np
import pytest
from scipy import optimize, sparse

from sensorium.world._additive import BEST, additive
from sensorium.world._floors import told
from sensorium.world._setting import load


def best_sum(p):
    """How often the best f_y(a) + g_y(b) is right under p[y, a, b].

    A case is right where its answer's score exceeds every other one by 1. HiGHS proves that no
    choice of scores within the bounds does better.
    """
    answers, rows, columns = p.shape
    scores = answers * (rows + columns)
    large = 4 * max(rows, columns) * answers

    def places(y, a, b):
        return [y * rows + a, answers * rows + y * columns + b]

    conditions, least = [], []
    for cell, (y, a, b) in enumerate(np.ndindex(p.shape)):
        for other in range(answers):
            if other != y:
                row = np.zeros(scores + p.size)
                row[places(y, a, b)], row[places(other, a, b)] = 1, -1
                row[scores + cell] = -(4 * large + 1)
                conditions.append(row)
                least.append(1 - (4 * large + 1))
    cost = np.concatenate([np.zeros(scores), -p.ravel()])
    done = optimize.milp(
        cost,
        constraints=optimize.LinearConstraint(sparse.csr_array(np.array(conditions)), least),
        integrality=np.repeat([0, 1], [scores, p.size]),
        bounds=optimize.Bounds(
            np.repeat([-large, 0], [scores, p.size]), np.repeat([large, 1], [scores, p.size])
        ),
    )
    assert done.status == 0
    return -done.fun


def equality(n):
    p = np.zeros((2, n, n))
    p[0] = 0.5 / (n * (n - 1)) * (1 - np.eye(n))
    p[1] = 0.5 / n * np.eye(n)
    return p


def modular(m):
    p = np.zeros((m, m, m))
    for a, b in np.ndindex(m, m):
        p[(a + b) % m, a, b] = 1 / m**2
    return p


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_equality_is_summed_right_in_three_of_four_cases_whatever_n(n):
    assert best_sum(equality(n)) == pytest.approx(BEST, abs=1e-6)


@pytest.mark.parametrize("n", range(2, 12))
def test_the_staircase_that_the_proof_draws_reaches_the_bound(n):
    """f = g = the value's rank: "equal" where the column is not beyond the row."""
    rows, columns = np.indices((n, n))
    called = (columns <= rows).astype(int)
    assert np.take_along_axis(equality(n), called[None], 0).sum() == pytest.approx(BEST)


@pytest.mark.parametrize("m", [2, 4])
def test_a_sum_modulo_two_or_four_is_summed_right_in_three_of_four_cases(m):
    assert best_sum(modular(m)) == pytest.approx(BEST, abs=1e-6)


def test_the_search_finds_what_is_a_sum_after_all():
    p = np.zeros((4, 2, 2))
    for a, b in np.ndindex(2, 2):
        p[2 * a + b, a, b] = 0.25
    assert best_sum(p) == pytest.approx(1)


def test_a_component_that_a_modality_tells_does_not_loosen_the_bound():
    """One bit by the picture alone and one by both together: y = (u, c + n), a = (u, c), b = n."""
    p = np.zeros((4, 4, 2))
    for u, c, n in np.ndindex(2, 2, 2):
        p[2 * u + (c + n) % 2, 2 * u + c, n] = 1 / 8
    found = additive(load("bits", ["bits={unique_image: 1, synergy: 1}"]), "test", 0.5, 1.0)
    assert (found.best, found.exact) == (BEST, True)
    assert best_sum(p) == pytest.approx(found.best, abs=1e-6)


def test_a_hidden_half_of_the_synergy_is_luck_to_everybody():
    """y = c + n modulo 2, where n is hidden in half of the cases."""
    p = np.zeros((2, 2, 3))
    for y, c, n in np.ndindex(2, 2, 2):
        p[y, c, n] = 0.5 * (0.25 if y == (c + n) % 2 else 0)
        p[y, c, 2] = 0.5 * 0.25
    found = told(load("bits", ["bits={synergy: 0.5}"]), "test")
    assert found["best_possible"] == pytest.approx(0.75)
    assert found["best_sum"] == pytest.approx(best_sum(p), abs=1e-6)
    assert found["best_sum_fitted"] == pytest.approx(0.5)


def test_a_hidden_component_elsewhere_leaves_an_upper_bound_only():
    found = told(load("bits", ["bits={unique_image: 0.5, synergy: 1}"]), "test")
    assert "best_sum" not in found
    assert found["best_sum_at_most"] == found["best_possible"] == pytest.approx(0.75)


def test_log_loss_finds_no_sum_for_equality():
    """A general solver, from a random start, ends at the constant."""
    p = equality(4)
    rng = np.random.default_rng(0)

    def loss(x):
        score = x[:4, None] + x[None, 4:]
        yes = 1 / (1 + np.exp(-score))
        slope = p.sum(0) * yes - p[1]
        value = -(p[1] * np.log(yes) + p[0] * np.log(1 - yes)).sum()
        return value, np.concatenate([slope.sum(1), slope.sum(0)])

    done = optimize.minimize(loss, rng.normal(size=8), jac=True, tol=1e-12)
    score = done.x[:4, None] + done.x[None, 4:]
    np.testing.assert_allclose(score, 0, atol=1e-4)
    assert done.fun == pytest.approx(np.log(2))
    assert told(load("synergy"), "test")["best_sum_fitted"] == 0.5


def test_where_a_caption_names_the_things_colour_too_a_sum_is_not_bounded_by_that():
    """Then the text alone settles it."""
    found = told(load("synergy", ["mentions=[named_colour, colour_1]"]), "test")
    assert found["best_text_only"] == found["best_sum"] == 1


def test_a_split_that_ties_the_two_factors_states_no_closed_form():
    changes = ["split={over: [colour_1, named_colour], modulo: 4}"]
    found = told(load("synergy", changes), "train")
    assert "best_sum" not in found
    assert found["best_sum_at_most"] == found["best_possible"]
