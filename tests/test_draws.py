"""Keyed draws: the same key gives the same draw, everywhere; another key another."""

import subprocess
import sys

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium import draws

PARTS = st.lists(st.one_of(st.integers(-(2**70), 2**70), st.text(max_size=8)), max_size=4)


@given(PARTS, PARTS)
def test_keys_differ_when_their_parts_do(a, b):
    same = [(type(x), x) for x in a] == [(type(x), x) for x in b]
    assert (draws.integer(*a) == draws.integer(*b)) == same


def test_type_and_boundaries_count():
    keys = [(1, "2"), ("1", 2), ("12",), (12,), ("1", "2"), ("", "12"), ()]
    assert len({draws.integer(*key) for key in keys}) == len(keys)


def test_another_process_draws_the_same():
    code = "from sensorium import draws; print(draws.integer(3, 'é'), draws.order(9, 1, 'x'))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split(" ", 1)[0] == str(draws.integer(3, "é"))
    assert told.stdout.split(" ", 1)[1].strip() == str(draws.order(9, 1, "x"))


def test_global_streams_are_neither_read_nor_moved():
    np.random.seed(0)
    torch.manual_seed(0)
    first = draws.order(50, "a")
    before = np.random.get_state()[2], torch.get_rng_state().clone()
    assert (first == draws.order(50, "a")).all()
    assert np.random.get_state()[2] == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_uniform_is_uniform():
    values = np.array([draws.uniform("u", at) for at in range(20_000)])
    counts = np.histogram(values, bins=10, range=(0, 1))[0]
    # chi-squared with 9 degrees of freedom: 33.7 has p = 1e-4
    assert ((counts - 2000) ** 2 / 2000).sum() < 33.7


def test_order_is_a_permutation():
    assert sorted(draws.order(100, "p")) == list(range(100))
    assert (draws.order(100, "p") != draws.order(100, "q")).any()


def test_a_sample_depends_on_names_alone_and_grows_by_adding():
    names = [f"n{at}" for at in range(50)]
    picked = {names[at] for at in draws.sample(names, 20, "s")}
    turned = names[::-1]
    assert {turned[at] for at in draws.sample(turned, 20, "s")} == picked
    assert {names[at] for at in draws.sample(names, 10, "s")} < picked
    assert {names[at] for at in draws.sample(names, 20, "t")} != picked
    assert draws.sample(names, 20, "s") == sorted(draws.sample(names, 20, "s"))
    assert draws.sample(names, 50, "s") == draws.sample(names, 99, "s") == list(range(50))


def test_uniform_is_below_one_whatever_the_hash(monkeypatch):
    monkeypatch.setattr(draws, "_digest", lambda key, size: b"\xff" * size)
    assert draws.uniform("any") < 1.0
    assert int(draws.uniform("any") * 5) == 4
