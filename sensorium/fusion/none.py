"""No fusion: the streams never meet; each State leaves as it came. The dual encoders of the survey.

Shares nothing, has no parameters; an absent modality therefore cannot influence another.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from sensorium.fusion._parts import Rows, gathered
from sensorium.layers import Cache
from sensorium.model import State

SUMMARY = "streams never meet (dual encoders)"


class Spec(BaseModel):
    """No options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["none"] = "none"


class Fusion(nn.Module):
    """States -> the same States. There is no joint vector: `joint_width` is 0."""

    meets = False
    decodes = True
    shares = "Nothing: each modality keeps its own encoder."
    absence = "An absent modality changes nothing of another."
    joint_width = 0

    def __init__(self, spec: Spec, widths: dict[str, int]) -> None:
        super().__init__()

    def forward(
        self, states: list[State], rows: Rows = None, cache: Cache | None = None
    ) -> list[State]:
        return gathered(states, rows)

    def joint(self, states: list[State]) -> torch.Tensor:
        """Nothing, [n, 0]: an objective that needs a joint vector asks for `joint_width` first."""
        return states[0].tokens.new_zeros(len(states[0].tokens), 0)
