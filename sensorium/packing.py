"""Packing: several short sequences in one row, so that padding costs no arithmetic.

As in Krell et al. 2021 (arXiv 2107.02027) section 3.2, first-fit; within a row, a token sees only
its own sequence (their section 3.3): `layers.table` takes the `segment` of a `Packing`.
Letters: n = rows, t = tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

# Packing costs a gather, a scatter and a table. It is done when it leaves at most this share of
# the padded batch's slots; above it the arithmetic saved no longer pays for the moves.
WORTH_PACKING = 0.9


@dataclass(frozen=True)
class Packing:
    """Where each real token of [n, t] goes in rows of the same length t.

    Attributes:
        shape: (n, t) of the padded batch.
        source: int64 [k], flat index of each real token in the padded batch.
        target: int64 [k], flat index of the same token in the packed rows.
        segment: int64 [rows, t], which sequence a slot belongs to; -1 where it is empty.
    """

    shape: tuple[int, int]
    source: torch.Tensor
    target: torch.Tensor
    segment: torch.Tensor


def first_fit(lengths: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray, int]:
    """First-fit decreasing: each sequence, longest first, goes to the first row with space.

    Args:
        lengths: int [n], each at most `capacity`; sequences of length 0 take no space.

    Returns:
        row int64 [n], start int64 [n] within the row, number of rows.
    """
    row, start = np.zeros(len(lengths), np.int64), np.zeros(len(lengths), np.int64)
    space = np.full(len(lengths), capacity, np.int64)
    for at in np.argsort(-lengths, kind="stable"):
        if lengths[at] == 0:
            break
        chosen = int(np.argmax(space >= lengths[at]))
        row[at], start[at] = chosen, capacity - space[chosen]
        space[chosen] -= lengths[at]
    return row, start, int((space < capacity).sum())


def pack_plan(real: torch.Tensor, lengths: np.ndarray) -> Packing | None:
    """How to pack a batch, or None when it would leave more than `WORTH_PACKING` of the slots.

    Args:
        real: bool [n, t]; the real tokens of a row need not be adjacent.
        lengths: int [n], real tokens of each row, on the CPU.
    """
    n, t = real.shape
    total = int(lengths.sum())
    if total == 0 or total > WORTH_PACKING * n * t:
        return None
    row, start, rows = first_fit(lengths, t)
    if rows > WORTH_PACKING * n:
        return None
    # Real tokens in row-major order: within a sequence they stay in order, so the offset of a
    # token is its index minus the index of its sequence's first.
    firsts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    target = np.repeat(row * t + start, lengths) + np.arange(total) - firsts
    segment = np.full(rows * t, -1, np.int64)
    segment[target] = np.repeat(np.arange(n), lengths)
    source = real.flatten().nonzero().flatten()  # waits for a GPU, as the lengths already did
    return Packing(
        (n, t),
        source,
        torch.from_numpy(target).to(real.device),
        torch.from_numpy(segment).view(rows, t).to(real.device),
    )


def pack(tensor: torch.Tensor, packing: Packing) -> torch.Tensor:
    """[n, t, ...] -> [rows, t, ...], zero in empty slots."""
    rest = tensor.shape[2:]
    rows = tensor.new_zeros((packing.segment.numel(), *rest))
    rows = rows.index_copy(0, packing.target, tensor.flatten(0, 1)[packing.source])
    return rows.view(*packing.segment.shape, *rest)


def unpack(rows: torch.Tensor, packing: Packing) -> torch.Tensor:
    """[rows, t, ...] -> [n, t, ...], zero where nothing is real; inverse of `pack`."""
    n, t = packing.shape
    rest = rows.shape[2:]
    tensor = rows.new_zeros((n * t, *rest))
    tensor = tensor.index_copy(0, packing.source, rows.flatten(0, 1)[packing.target])
    return tensor.view(n, t, *rest)
