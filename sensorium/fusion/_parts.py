"""What several fusions do alike: gather rows, find the lead, make one vector of a State."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from sensorium.errors import RecipeError, nearest
from sensorium.layers import Cache, across, last_pool, mean_pool, table
from sensorium.model import State

Pooling = Literal["first", "last", "mean", "pooler"]
Rows = list[torch.Tensor] | None


def gather(state: State, index: torch.Tensor) -> State:
    """Row i of what comes out is row index[i] of `state`; int64 [n]."""

    def taken(tensor: torch.Tensor | None) -> torch.Tensor | None:
        return None if tensor is None else tensor[index]

    return replace(
        state,
        tokens=state.tokens[index],
        real=state.real[index],
        order=state.order[index],
        position=state.position[index] if len(state.position) > 1 else state.position,
        pooled=taken(state.pooled),
        prior=taken(state.prior),
    )


def gathered(states: list[State], rows: Rows) -> list[State]:
    """Every State with its rows paired anew, or as they came."""
    if rows is None:
        return list(states)
    return [gather(state, index) for state, index in zip(states, rows, strict=True)]


def lead_of(use: str, name: str, widths: dict[str, int]) -> int:
    """Which part is the lead.

    Raises:
        RecipeError: no modality is called so.
    """
    if name not in widths:
        raise RecipeError(
            f"fusion {use}",
            field="fusion.lead",
            expected="a modality of the recipe: " + ", ".join(widths),
            found=name,
            nearest=nearest(name, widths),
        )
    return list(widths).index(name)


def whole_heads(use: str, width: int, heads: int, field: str = "heads") -> None:
    """Raises a RecipeError unless heads divide the width."""
    if width % heads:
        raise RecipeError(
            f"fusion {use}",
            field=f"fusion.{field}",
            expected=f"a divisor of the width {width}",
            found=str(heads),
        )


def exactly_two(use: str, widths: dict[str, int]) -> None:
    """Raises a RecipeError unless there are two modalities."""
    if len(widths) != 2:
        raise RecipeError(
            f"fusion {use}",
            field="fusion.use",
            expected="two modalities",
            found=", ".join(widths),
            see="merge_attention, concatenate and additive take any number",
        )


def pooled_of(state: State) -> torch.Tensor:
    """`pooled`, which an encoder or a fusion gave."""
    assert state.pooled is not None, "a joint vector needs whole sequences: none with a cache"
    return state.pooled


class Pooler(nn.Module):
    """One vector of a sequence: [n, t, d] -> [n, d].

    first and last real token, mean of real tokens, or BERT's pooler (linear and tanh of the first;
    arXiv 1810.04805, google-research/bert `modeling.py`).
    """

    def __init__(self, width: int, how: Pooling) -> None:
        super().__init__()
        self.how = how
        self.linear = nn.Linear(width, width) if how == "pooler" else None

    def forward(self, tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        if self.how == "mean":
            return mean_pool(tokens, real)
        if self.how == "last":
            return last_pool(tokens, real)
        first = tokens[:, 0]
        return first if self.linear is None else torch.tanh(self.linear(first))


class Meeting:
    """Who sees whom when two sequences meet: tables for new tokens over all that were seen.

    Attributes:
        own: per part bool [n, 1, t, held + t], its tokens over its own.
        across: per part bool [n, 1, t, m], its tokens over the other's.
    """

    def __init__(self, site: nn.Module, parts: list[State], cache: Cache | None) -> None:
        known = [(part.real, part.order) for part in parts]
        if cache is not None:
            known = [
                cache.extend(site, f"part {at}", pair, axis=1)  # type: ignore[misc]
                for at, pair in enumerate(known)
            ]
        news = [part.order.shape[1] for part in parts]
        self.own = [
            table(real, order)[:, :, real.shape[1] - t :]
            for (real, order), t in zip(known, news, strict=True)
        ]
        self.across = [
            across(part.order, *other) for part, other in zip(parts, reversed(known), strict=True)
        ]
