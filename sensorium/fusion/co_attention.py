"""Co-attention: two streams of different width exchange keys and values (ViLBERT's order).

In each layer both streams ask each other at once, with projections of their own into a shared
inner width; each adds the answer to its own state, norms it and passes a feed-forward part; then
each has one layer of its own. The joint vector is the product, element by element, of the two
pooled states, each through a linear layer to the inner width and a ReLU.

Sources: ViLBERT, Lu et al. 2019 (arXiv 1908.02265) section 3.1; jiasenlu/vilbert_beta
`vilbert/vilbert.py`, classes BertConnectionLayer and BertEncoder. Its text layers before the first
connection are the text encoder here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from sensorium.errors import RecipeError
from sensorium.fusion._parts import (
    Meeting,
    Pooler,
    Rows,
    exactly_two,
    gathered,
    pooled_of,
    whole_heads,
)
from sensorium.layers import MLP, Activation, Block, Cache, Crossing, Norm, initialise
from sensorium.model import State

SUMMARY = "two streams exchange keys and values in every layer (ViLBERT)"


class Spec(BaseModel):
    """Size and form of the layers; the streams' widths are the encoders'."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["co_attention"] = "co_attention"
    depth: int = Field(2, ge=1, description="connections, each followed by a layer of each stream")
    heads: int = Field(4, ge=1)
    own_heads: dict[str, int] = Field({}, description="heads of a stream's own layers, if others")
    inner: int | None = Field(
        None, ge=1, description="shared width of queries, keys, values; by default the widest"
    )
    mlp: float | dict[str, float] = Field(
        4.0, description="hidden width of the MLPs over width; one for all, or by modality"
    )
    norm: Norm = Field("pre", description="norm before each branch or after each sum (ViLBERT)")
    activation: Activation = "gelu"
    eps: float = Field(1e-5, gt=0, description="added to the variance in norms")
    dropout: float = Field(0.0, ge=0, lt=1)
    final_norm: bool = Field(True, description="norm of the last states (pre-norm models)")
    pool: Literal["first", "mean"] = Field("first", description="pooled state of each stream")


class Connection(nn.Module):
    """One stream's half of a connection: ask the other, then the feed-forward part."""

    def __init__(
        self, width: int, memory: int, heads: int, inner: int, mlp: float, **form: Any
    ) -> None:
        super().__init__()
        activation = form.pop("activation")
        self.norm: Norm = form["norm"]
        self.cross = Crossing(width, memory, heads, inner, **form)
        self.mlp = MLP(width, round(mlp * width), activation)
        self.mlp_norm = nn.LayerNorm(width, eps=form["eps"])
        self.dropout = nn.Dropout(form["dropout"])

    def forward(self, x: torch.Tensor, *asked: Any) -> torch.Tensor:
        """[n, t, d] -> [n, t, d]; what is asked, as of `layers.CrossAttention`."""
        x = self.cross(x, *asked)
        if self.norm == "pre":
            return x + self.dropout(self.mlp(self.mlp_norm(x)))
        return self.mlp_norm(x + self.dropout(self.mlp(x)))


class Fusion(nn.Module):
    """States -> States of the same widths; the joint vector has the inner width.

    Raises:
        RecipeError: other than two modalities, heads that do not divide a width, or an `mlp`
            that leaves a modality out.
    """

    meets = True
    decodes = True
    shares = "Nothing: each stream has its own layers; they exchange keys and values."
    absence = "An absent modality is one learned token; its content cannot be seen."
    connections: Any  # lists of modules, whose members the type checker knows only as Module
    layers: Any
    final_norms: Any
    poolers: Any

    def __init__(self, spec: Spec, widths: dict[str, int]) -> None:
        super().__init__()
        exactly_two("co_attention", widths)
        self.spec, self.names = spec, list(widths)
        self.joint_width = inner = spec.inner or max(widths.values())
        whole_heads("co_attention", inner, spec.heads)
        other = dict(zip(self.names, reversed(widths.values()), strict=True))
        mlp = self._by_modality(spec.mlp)
        heads = {name: spec.own_heads.get(name, spec.heads) for name in widths}
        for name, width in widths.items():
            whole_heads("co_attention", width, heads[name])
        form: dict[str, Any] = dict(
            norm=spec.norm, activation=spec.activation, eps=spec.eps, dropout=spec.dropout
        )
        self.connections, self.layers = nn.ModuleList(), nn.ModuleList()
        for _ in range(spec.depth):
            connection, layer = nn.ModuleDict(), nn.ModuleDict()
            for name, d in widths.items():
                connection[name] = Connection(d, other[name], spec.heads, inner, mlp[name], **form)
                layer[name] = Block(d, heads[name], mlp[name], **form)
            self.connections.append(connection)
            self.layers.append(layer)
        self.final_norms = nn.ModuleDict(
            {name: nn.LayerNorm(width, eps=spec.eps) for name, width in widths.items()}
            if spec.final_norm
            else {}
        )
        self.pool = Pooler(inner, spec.pool)
        self.poolers = nn.ModuleDict(
            {name: nn.Linear(width, inner) for name, width in widths.items()}
        )
        initialise(self)

    def _by_modality(self, mlp: float | dict[str, float]) -> dict[str, float]:
        if not isinstance(mlp, dict):
            return dict.fromkeys(self.names, mlp)
        if set(mlp) != set(self.names):
            raise RecipeError(
                "fusion co_attention",
                field="fusion.mlp",
                expected="one number, or one for each of " + ", ".join(self.names),
                found=", ".join(mlp) or "none",
            )
        return mlp

    def forward(
        self, states: list[State], rows: Rows = None, cache: Cache | None = None
    ) -> list[State]:
        """One State a part, zero at padding, with `pooled` [n, d] (None with a cache)."""
        parts = gathered(states, rows)
        meeting = Meeting(self, parts, cache)
        now = [part.tokens for part in parts]
        for depth in range(self.spec.depth):
            # At first keys and values are projected for the records given, then gathered.
            first = rows is not None and depth == 0
            before = [state.tokens for state in states] if first else now
            met = []
            for at, name in enumerate(self.names):
                index = rows[1 - at] if first and rows is not None else None
                asked = (before[1 - at], meeting.across[at], index, cache)
                met.append(self.connections[depth][name](now[at], *asked))
            now = [
                self.layers[depth][name](x, own, cache)
                for name, x, own in zip(self.names, met, meeting.own, strict=True)
            ]
        return [self._out(*each, cache) for each in zip(self.names, parts, now, strict=True)]

    def _out(self, name: str, part: State, x: torch.Tensor, cache: Cache | None) -> State:
        if self.spec.final_norm:
            x = self.final_norms[name](x)
        x = x.masked_fill(~part.real[..., None], 0.0)
        pooled = self.pool(x, part.real) if cache is None else None
        return replace(part, tokens=x, pooled=pooled)

    def joint(self, states: list[State]) -> torch.Tensor:
        """[n, inner]: the product of the two pooled states, each through its linear and ReLU."""
        one, two = (
            torch.relu(self.poolers[name](pooled_of(state)))
            for name, state in zip(self.names, states, strict=True)
        )
        return one * two
