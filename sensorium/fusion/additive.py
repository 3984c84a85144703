"""Additive: each modality scores alone and scores add. The control that cannot interact.

The joint vector is the pooled states side by side, so a linear layer on it is a sum of one score a
modality: f(a, b) - f(a', b) - f(a, b') + f(a', b') is zero. What a model with this fusion reaches
is what its data give away without any interaction; EMAP (Hessel and Lee 2020, arXiv 2010.06572)
projects any other model onto this form, and leaves this one as it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from sensorium.fusion._parts import Rows, gathered, pooled_of, whole_heads
from sensorium.layers import Activation, Cache, Norm, Stack, initialise, mean_pool
from sensorium.model import State

SUMMARY = "each modality scores alone, scores add (the control that cannot interact)"


class Spec(BaseModel):
    """Blocks of each modality's own; without them the encoders' states are used as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["additive"] = "additive"
    depth: int = Field(0, ge=0, description="own blocks a modality, to compare at equal depth")
    heads: int = Field(4, ge=1)
    mlp: float = Field(4.0, gt=0, description="hidden width of the MLP over width")
    norm: Norm = Field("pre", description="norm before each branch or after each sum")
    activation: Activation = "gelu"
    eps: float = Field(1e-5, gt=0, description="added to the variance in norms")
    dropout: float = Field(0.0, ge=0, lt=1)
    final_norm: bool = Field(True, description="norm of the last states, where there are blocks")


class Fusion(nn.Module):
    """States -> States that never met; the joint vector is their pooled states side by side.

    Without blocks `pooled` is the encoder's, with blocks the mean of the tokens after them.

    Raises:
        RecipeError: heads do not divide a width.
    """

    meets = False
    decodes = True
    shares = "Nothing: each modality has blocks of its own, or none."
    absence = "An absent modality adds a constant to a score."
    stacks: Any  # by modality; the type checker knows a ModuleDict's members only as Module
    final_norms: Any

    def __init__(self, spec: Spec, widths: dict[str, int]) -> None:
        super().__init__()
        self.spec, self.names, self.joint_width = spec, list(widths), sum(widths.values())
        self.stacks, self.final_norms = nn.ModuleDict(), nn.ModuleDict()
        for name, width in widths.items() if spec.depth else ():
            whole_heads("additive", width, spec.heads)
            self.stacks[name] = Stack(
                spec.depth,
                width,
                spec.heads,
                mlp=spec.mlp,
                norm=spec.norm,
                activation=spec.activation,
                eps=spec.eps,
                dropout=spec.dropout,
            )
            self.final_norms[name] = (
                nn.LayerNorm(width, eps=spec.eps) if spec.final_norm else nn.Identity()
            )
        initialise(self)

    def forward(
        self, states: list[State], rows: Rows = None, cache: Cache | None = None
    ) -> list[State]:
        """One State a part, zero at padding where there are blocks."""
        # Nobody meets, so blocks see each record once and rows are gathered after.
        own = [self._own(*pair, cache) for pair in zip(self.names, states, strict=True)]
        return gathered(own, rows)

    def _own(self, name: str, state: State, cache: Cache | None) -> State:
        if not self.spec.depth or not state.real.shape[1]:
            return state
        x = self.stacks[name](state.tokens, state.real, state.order, cache)
        x = self.final_norms[name](x).masked_fill(~state.real[..., None], 0.0)
        return replace(state, tokens=x, pooled=mean_pool(x, state.real) if cache is None else None)

    def joint(self, states: list[State]) -> torch.Tensor:
        """[n, sum of widths]: pooled states side by side, in the recipe's order."""
        return torch.cat([pooled_of(state) for state in states], -1)
