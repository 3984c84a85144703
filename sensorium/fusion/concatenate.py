"""Concatenate: an MLP over the pooled states side by side. The least that can interact.

Tokens never meet, so a text is encoded without its picture; only the joint vector depends on both,
and unlike `additive` it is no sum: the MLP may weigh one modality by the other. "Late" or
"concatenation" fusion of the survey (arXiv 2302.10035).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from sensorium.fusion._parts import Rows, gathered, pooled_of
from sensorium.layers import MLP, Activation, Cache, initialise
from sensorium.model import State

SUMMARY = "an MLP over pooled states side by side (tokens never meet)"


class Spec(BaseModel):
    """Size of the MLP."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["concatenate"] = "concatenate"
    mlp: float = Field(2.0, gt=0, description="hidden width of the MLP over the widths together")
    activation: Activation = "gelu"


class Fusion(nn.Module):
    """States -> the same States; the joint vector is an MLP of their pooled states."""

    meets = False
    decodes = True
    shares = "Nothing but the MLP over the pooled states."
    absence = "An absent modality is its learned stand-in's pooled state."

    def __init__(self, spec: Spec, widths: dict[str, int]) -> None:
        super().__init__()
        self.joint_width = sum(widths.values())
        self.mlp = MLP(self.joint_width, round(spec.mlp * self.joint_width), spec.activation)
        initialise(self)

    def forward(
        self, states: list[State], rows: Rows = None, cache: Cache | None = None
    ) -> list[State]:
        return gathered(states, rows)

    def joint(self, states: list[State]) -> torch.Tensor:
        """[n, sum of widths]."""
        return self.mlp(torch.cat([pooled_of(state) for state in states], -1))
