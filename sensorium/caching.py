"""Keys and values of tokens already seen, so that each next token costs one token's work.

A cache holds tensors by call site: a module, and a word where one module is called at several
places (one cross-attention for both directions). Every site only ever appends, cross-attention
too: its memory is given whole with the first call and as a state of no tokens after it, so it is
projected once. Letters: n = rows, t = tokens.
"""

from __future__ import annotations

import torch
from torch import nn


class Cache:
    """What was seen so far. Pass the same one to every call of one generation, then drop it.

    The rule of attention holds between new tokens and held ones, by their `real` and `order`. A
    held token is not computed again, so what comes later must have a greater order than what it
    must not change; a causal text of a higher `rank` than its picture has.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[nn.Module, str], tuple[torch.Tensor, ...]] = {}

    def extend(
        self, module: nn.Module, place: str, new: tuple[torch.Tensor, ...], axis: int
    ) -> tuple[torch.Tensor, ...]:
        """What a site holds after `new` was appended.

        Args:
            module: who asks.
            place: which of its calls, where it is called at several places.
            new: tensors of the new tokens, n rows each.
            axis: the axis of tokens; the others agree with what is held.
        """
        held = self._held.get((module, place))
        if held is not None:
            pairs = zip(held, new, strict=True)
            new = tuple(torch.cat(pair, axis) if pair[1].shape[axis] else pair[0] for pair in pairs)
        self._held[module, place] = new
        return new

    def reorder(self, index: torch.Tensor) -> None:
        """Row i becomes what row index[i] was: beams that go on, or one record in several rows.

        Args:
            index: int64 [m], each less than n; m may differ from n.
        """
        for site, held in self._held.items():
            self._held[site] = tuple(tensor.index_select(0, index) for tensor in held)

    def take(self, index: torch.Tensor) -> Cache:
        """Another cache with rows chosen by index, int64 [m]; what the one is told later does not
        reach the other."""
        other = Cache()
        other._held = dict(self._held)
        other.reorder(index)
        return other
