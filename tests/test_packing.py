"""Packing: first fit by property, and unpack undoes pack."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.packing import first_fit, pack, pack_plan, unpack


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ragged(lengths: list[int], t: int) -> torch.Tensor:
    return torch.arange(t) < torch.tensor(lengths)[:, None]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_first_fit_overlaps_nothing_and_wastes_at_most_half(lengths):
    lengths = np.array(lengths)
    row, start, rows = first_fit(lengths, 9)
    filled = np.zeros((max(rows, 1), 9), int)
    for at, length in enumerate(lengths):
        assert start[at] + length <= 9
        filled[row[at], start[at] : start[at] + length] += 1
    assert filled.max(initial=0) <= 1
    assert filled.sum() == lengths.sum()
    # First-fit leaves at most one row that is not more than half full.
    assert rows <= 2 * math.ceil(lengths.sum() / 9)


def scattered(n: int = 12, t: int = 10, share: float = 0.35) -> torch.Tensor:
    """Real tokens anywhere in a row; one row full, one empty."""
    real = torch.rand(n, t, generator=draws(3)) < share
    real[0], real[1] = True, False
    return real


def test_unpack_undoes_pack():
    real = scattered()
    packing = pack_plan(real, real.sum(1).numpy())
    assert packing.segment.shape[0] <= len(real) / 2
    x = torch.randn(12, 10, 3, generator=draws())
    packed = pack(x, packing)
    assert torch.equal(unpack(packed, packing), x * real[..., None])
    assert torch.equal(packed[packing.segment < 0], torch.zeros_like(packed[packing.segment < 0]))
    for row in range(12):  # a record stays in order, in adjacent slots of one row
        where = (packing.segment == row).nonzero()
        if len(where):
            assert len(where[:, 0].unique()) == 1
            assert torch.equal(where[:, 1], torch.arange(len(where)) + where[0, 1])
            assert torch.equal(packed[packing.segment == row], x[row][real[row]])


def test_packing_is_left_out_where_it_saves_little():
    full = torch.ones(4, 8, dtype=torch.bool)
    assert pack_plan(full, full.sum(1).numpy()) is None
    awkward = ragged([5, 5, 5, 5], 8)  # no two fit into one row
    assert pack_plan(awkward, awkward.sum(1).numpy()) is None
    nothing = ragged([0, 0], 8)
    assert pack_plan(nothing, nothing.sum(1).numpy()) is None
    assert pack_plan(ragged([4, 4, 4, 4], 8), np.array([4, 4, 4, 4])).segment.shape == (2, 8)
