"""Cross-attention: a modality asks another, in every layer; one way or both ways.

self_first, one way: each layer of the lead is self-attention, cross-attention to the other's
encoded states, MLP (ALBEF, BLIP; CoCa's upper decoder where the lead is causal). self_first, both
ways: each modality has such layers and asks the other's states as they entered the layer (METER).
cross_first (LXMERT): one cross-attention serves both directions, computed from both inputs at once;
then each modality has self-attention and an MLP of its own.

Sources: ALBEF, arXiv 2107.07651 section 3.1; BLIP, arXiv 2201.12086, salesforce/BLIP
`models/med.py`; CoCa, arXiv 2205.01917 section 3.2; METER, arXiv 2111.02387 section 3.1; LXMERT,
arXiv 1908.07490 section 2.2. Checked against huggingface/transformers
`models/blip/modeling_blip_text.py`, `models/gpt2/modeling_gpt2.py` and
`models/lxmert/modeling_lxmert.py` with equal weights.
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
    Pooling,
    Rows,
    exactly_two,
    gathered,
    lead_of,
    pooled_of,
    whole_heads,
)
from sensorium.layers import (
    Activation,
    Block,
    Cache,
    CrossBlock,
    Crossing,
    Norm,
    initialise,
    mean_pool,
)
from sensorium.model import State

SUMMARY = "one modality asks the other, or both ask (ALBEF, BLIP, CoCa, LXMERT)"


class Spec(BaseModel):
    """Size and form of the layers; widths are the encoders'."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["cross_attention"] = "cross_attention"
    depth: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    ways: Literal["one", "both"] = Field("one", description="the lead asks, or both ask")
    order: Literal["self_first", "cross_first"] = Field(
        "self_first", description="self-attention, cross, MLP; or LXMERT's shared cross first"
    )
    mlp: float = Field(4.0, gt=0, description="hidden width of the MLP over width")
    norm: Norm = Field("pre", description="norm before each branch (CoCa) or after each sum (BERT)")
    activation: Activation = "gelu"
    eps: float = Field(1e-5, gt=0, description="added to the variance in norms")
    dropout: float = Field(0.0, ge=0, lt=1)
    final_norm: bool = Field(True, description="norm of the last states (pre-norm models)")
    lead: str = Field("text", description="the modality that asks and gives the joint vector")
    pool: Pooling = Field(
        "first", description="of the lead: first or last token, mean, BERT's pooler of the first"
    )


class Fusion(nn.Module):
    """States -> States of the same widths; the joint vector is the lead's pooled state.

    One way, the other part leaves as it came. Both ways, its pooled state is the mean of its
    tokens.

    Raises:
        RecipeError: other than two modalities, no such lead, heads that do not divide a width,
            or a shared cross-attention over different widths.
    """

    meets = True
    decodes = True
    absence = "An absent modality is one learned token; its content cannot be seen."
    crossings: Any  # lists of modules, whose members the type checker knows only as Module
    layers: Any
    final_norms: Any

    def __init__(self, spec: Spec, widths: dict[str, int]) -> None:
        super().__init__()
        exactly_two("cross_attention", widths)
        self.spec, self.names = spec, list(widths)
        self.lead = lead_of("cross_attention", spec.lead, widths)
        asking = self.names if spec.ways == "both" else [spec.lead]
        self.asking = [self.names.index(name) for name in asking]
        self.joint_width = widths[spec.lead]
        shared = spec.order == "cross_first" and spec.ways == "both"
        self.shares = (
            "One cross-attention a layer serves both directions; the rest is each modality's own."
            if shared
            else "Nothing: each modality that asks has layers of its own."
        )
        if shared and len(set(widths.values())) != 1:
            raise RecipeError(
                "fusion cross_attention",
                field="encoders",
                expected="encoders of one width, since both directions share one cross-attention",
                found=", ".join(f"{name} {width}" for name, width in widths.items()),
            )
        for name in asking:
            whole_heads("cross_attention", widths[name], spec.heads)
        other = dict(zip(self.names, reversed(widths.values()), strict=True))
        form: dict[str, Any] = dict(norm=spec.norm, eps=spec.eps, dropout=spec.dropout)
        block: dict[str, Any] = form | dict(mlp=spec.mlp, activation=spec.activation)
        self.crossings = nn.ModuleList()
        self.layers = nn.ModuleList()
        for _ in range(spec.depth):
            layer = nn.ModuleDict()
            for name in asking:
                if spec.order == "self_first":
                    layer[name] = CrossBlock(widths[name], spec.heads, other[name], **block)
                else:
                    layer[name] = Block(widths[name], spec.heads, **block)
            self.layers.append(layer)
            if spec.order == "cross_first":
                width, memory = widths[spec.lead], other[spec.lead]
                self.crossings.append(Crossing(width, memory, spec.heads, **form))
        self.final_norms = nn.ModuleDict(
            {name: nn.LayerNorm(widths[name], eps=spec.eps) for name in asking}
            if spec.final_norm
            else {}
        )
        self.pooler = Pooler(self.joint_width, spec.pool)
        initialise(self)

    def forward(
        self, states: list[State], rows: Rows = None, cache: Cache | None = None
    ) -> list[State]:
        """One State a part, zero at padding, with `pooled` [n, d] (None with a cache)."""
        parts = gathered(states, rows)
        meeting = Meeting(self, parts, cache)
        now = [part.tokens for part in parts]
        for depth in range(self.spec.depth):
            # What does not change is projected for the records given, and its rows gathered after.
            kept = rows is not None and (depth == 0 or self.spec.ways == "one")
            before = [state.tokens for state in states] if kept else now
            after = list(now)
            for at in self.asking:
                index = rows[1 - at] if kept and rows is not None else None
                asked = (before[1 - at], meeting.across[at], index, cache)
                after[at] = self._layer(depth, at, now[at], meeting.own[at], asked)
            now = after
        return [self._out(at, part, now[at], cache) for at, part in enumerate(parts)]

    def _layer(
        self, depth: int, at: int, x: torch.Tensor, own: torch.Tensor, asked: tuple
    ) -> torch.Tensor:
        block = self.layers[depth][self.names[at]]
        memory, across, index, cache = asked
        if self.spec.order == "self_first":
            return block(x, own, memory, across, index, cache)
        x = self.crossings[depth](x, memory, across, index, cache, self.names[at])
        return block(x, own, cache)

    def _out(self, at: int, part: State, x: torch.Tensor, cache: Cache | None) -> State:
        if at not in self.asking:
            return part
        if self.spec.final_norm:
            x = self.final_norms[self.names[at]](x)
        x = x.masked_fill(~part.real[..., None], 0.0)
        pool = self.pooler if at == self.lead else mean_pool
        return replace(part, tokens=x, pooled=pool(x, part.real) if cache is None else None)

    def joint(self, states: list[State]) -> torch.Tensor:
        """[n, d]: the lead's pooled state."""
        return pooled_of(states[self.lead])
