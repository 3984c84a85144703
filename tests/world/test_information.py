import numpy as np
import pytest
from scipy import linalg, optimize

from sensorium.world import _information
from sensorium.world._information import broja, decomposed, entropy, i_min, mutual
from sensorium.world._setting import load, names


def gate(rule, values=2, targets=2):
    """p[y, a, b] of two uniform independent sources."""
    p = np.zeros((targets, values, values))
    for a in range(values):
        for b in range(values):
            p[rule(a, b), a, b] += 1 / values**2
    return p


def same():
    p = np.zeros((2, 2, 2))
    p[0, 0, 0] = p[1, 1, 1] = 0.5
    return p


AND = 0.811278124459133 - 0.5  # H(1/4) less what is left: 0.311 bits, as published


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (gate(lambda a, b: a ^ b), (0, 0, 0, 1)),
        (gate(lambda a, b: a & b), (AND, 0, 0, 0.5)),
        (gate(lambda a, b: 2 * a + b, targets=4), (0, 1, 1, 0)),
        (same(), (1, 0, 0, 0)),
        (gate(lambda a, b: a), (0, 1, 0, 0)),
        (gate(lambda a, b: (a + b) % 4, 4, 4), (0, 0, 0, 2)),
    ],
    ids=["xor", "and", "copy", "redundant", "one source", "sum modulo 4"],
)
def test_the_published_cases(p, expected):
    found = broja(p)
    parts = (found.redundancy, found.unique_first, found.unique_second, found.synergy)
    np.testing.assert_allclose(parts, expected, atol=1e-6)


def test_i_min_calls_equal_amounts_about_different_things_redundant():
    found = i_min(gate(lambda a, b: 2 * a + b, targets=4))
    parts = (found.redundancy, found.unique_first, found.unique_second, found.synergy)
    np.testing.assert_allclose(parts, (1, 0, 0, 1), atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_i_min_is_the_expected_least_specific_information(seed):
    p = np.random.default_rng(seed).dirichlet(np.ones(18)).reshape(3, 2, 3)
    total = 0.0
    for y in range(3):
        said = []
        for axis, count in ((1, 2), (2, 3)):
            bits = 0.0
            for x in range(count):
                joint = np.take(p[y], x, axis - 1).sum()
                among = np.take(p, x, axis).sum()
                given = joint / p[y].sum()
                bits += given * np.log2(joint / among / p[y].sum())
            said.append(bits)
        total += p[y].sum() * min(said)
    assert i_min(p).redundancy == pytest.approx(total, abs=1e-12)


def least(p):
    """min over q with the pairs of p of I(Y; A, B), by a general solver."""
    shape = p.shape
    rows = []
    for axis in (1, 2):
        for y in range(shape[0]):
            for x in range(shape[axis]):
                row = np.zeros(shape)
                row[(y, x) if axis == 1 else (y, slice(None), x)] = 1
                rows.append(row.ravel())
    free = linalg.null_space(np.array(rows))  # what may change without changing a pair
    start = np.einsum("ya,yb,y->yab", p.sum(2), p.sum(1), 1 / p.sum((1, 2))).ravel()

    def bits(x):
        q = np.maximum(start + free @ x, 1e-15).reshape(shape[0], -1)
        value = (q * np.log2(q / (q.sum(0) * q.sum(1, keepdims=True)))).sum()
        return value, free.T @ np.log2(q / q.sum(0)).ravel()

    done = optimize.minimize(
        bits, np.zeros(free.shape[1]), jac=True, method="trust-constr",
        constraints=optimize.LinearConstraint(free, 1e-12 - start, np.inf, keep_feasible=True),
        options={"maxiter": 3000, "gtol": 1e-9, "xtol": 1e-12},
    )  # fmt: skip
    return float(done.fun)


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 3, 2), (3, 2, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_broja_reaches_what_a_general_solver_reaches(shape, seed):
    p = np.random.default_rng(seed).dirichlet(np.full(np.prod(shape), 0.7)).reshape(shape)
    found = broja(p)
    joint = mutual(p.reshape(len(p), -1))
    oracle = least(p)
    assert joint - found.synergy <= oracle + 1e-6  # never above what another solver finds
    assert joint - found.synergy == pytest.approx(oracle, abs=5e-5)  # its barrier keeps off
    assert found.gap < 2e-6


@pytest.mark.parametrize("split_of", [broja, i_min])
@pytest.mark.parametrize("seed", range(5))
def test_the_four_parts_add_up(split_of, seed):
    p = np.random.default_rng(seed).dirichlet(np.full(36, 0.5)).reshape(4, 3, 3)
    found = split_of(p)
    first, second = mutual(p.sum(2)), mutual(p.sum(1))
    assert found.redundancy + found.unique_first == pytest.approx(first)
    assert found.redundancy + found.unique_second == pytest.approx(second)
    total = found.redundancy + found.unique_first + found.unique_second + found.synergy
    assert total == pytest.approx(mutual(p.reshape(4, -1)))
    assert min(found.unique_first, found.unique_second, found.synergy, found.redundancy) > -1e-6


def test_listed_cases_say_the_same_as_the_table():
    p = np.random.default_rng(3).dirichlet(np.ones(24)).reshape(2, 3, 4)
    columns = [column.ravel() for column in np.indices(p.shape)]
    found = decomposed(*columns, p.ravel())
    for name, split_of in (("broja", broja), ("i_min", i_min)):
        assert found[name].synergy == pytest.approx(split_of(p).synergy, abs=1e-9)


def test_entropy_of_a_fair_die():
    assert entropy(np.full(8, 1 / 8)) == pytest.approx(3)
    assert entropy(np.array([0.5, 0.25, 0.25, 0])) == pytest.approx(1.5)


KNOBS = [
    {"redundancy": 1, "unique_image": 1, "unique_text": 1, "synergy": 1},
    {"redundancy": 2, "synergy": 2},
    {"unique_image": 0.25, "unique_text": 2},
    {"redundancy": 1.5, "unique_image": 0.5, "synergy": 0.75},
    {"synergy": 1.6},
]


@pytest.mark.parametrize("knobs", KNOBS)
def test_bits_by_counting_are_what_the_knobs_say_in_every_split(knobs):
    """`image` is the first source, `text` the second."""
    setting = load("bits", [f"bits={knobs}".replace("'", "")])
    for split in ("train", "validation", "test"):
        found = _information.bits(setting)[split]["image and text"]["broja"]
        parts = ("redundancy", "unique_first", "unique_second", "synergy")
        wanted = ("redundancy", "unique_image", "unique_text", "synergy")
        for part, knob in zip(parts, wanted, strict=True):
            assert found[part] == pytest.approx(knobs.get(knob, 0), abs=1e-6), (split, knob)


SHIPPED = {  # redundancy, unique image, unique text, synergy
    "bits": (1, 1, 1, 1),
    "synergy": (0, 0, 0, 1),
    "plain": (4, 0, 0, 0),
    "dropout": (0, 4, 0, 0),
}


@pytest.mark.parametrize("name", names())
def test_the_shipped_settings_carry_the_same_bits_in_every_split(name):
    setting = load(name)
    found = _information.bits(setting)
    assert bool(found) == (name in SHIPPED)
    for split in found:
        told = found[split]["image and text"]["broja"]
        parts = [told[x] for x in ("redundancy", "unique_first", "unique_second", "synergy")]
        np.testing.assert_allclose(parts, SHIPPED[name], atol=1e-6)
    assert not found or set(found) == set(setting.splits)


def test_a_table_that_is_often_right_tells_what_its_channel_lets_through():
    """Capacity of a symmetric channel: log2 n - H(r) - (1 - r) log2(n - 1)."""
    r, n = 0.95, 16
    noise = -r * np.log2(r) - (1 - r) * np.log2(1 - r)
    expected = np.log2(n) - noise - (1 - r) * np.log2(n - 1)
    found = _information.bits(load("dropout"))["test"]
    assert found["table"] == pytest.approx(expected, abs=1e-9)
    assert found["image and table"]["broja"]["redundancy"] == pytest.approx(expected, abs=1e-6)
