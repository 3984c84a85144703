"""No fusion: the streams never meet; each State leaves as it came. The dual encoders of the survey.

Shares nothing, has no parameters; an absent modality therefore cannot influence another.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from sensorium.layers import Cache
from sensorium.model import State

SUMMARY = "streams never meet (dual encoders)"


class Spec(BaseModel):
    """No options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["none"] = "none"


class Fusion(nn.Module):
    """States -> the same States."""

    meets = False
    decodes = False
    shares = "nothing: the streams never meet"
    absence = "an absent modality has nobody to influence"
    joint_width = 0

    def __init__(self, spec: Spec, widths: dict[str, int]) -> None:
        super().__init__()

    def forward(
        self,
        states: list[State],
        rows: list[torch.Tensor] | None = None,
        cache: Cache | None = None,
    ) -> list[State]:
        return list(states)

    def joint(self, states: list[State]) -> torch.Tensor:
        """There is none: no objective that needs one can be built on this."""
        raise TypeError("fusion none has no joint state")
