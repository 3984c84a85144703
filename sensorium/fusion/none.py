"""No fusion: the streams never meet; each State leaves as it came. The dual encoders of the survey.

Shares nothing, has no parameters; an absent modality therefore cannot influence another.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict
from torch import nn

from sensorium.model import State

SUMMARY = "streams never meet (dual encoders)"


class Spec(BaseModel):
    """No options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["none"] = "none"


class Fusion(nn.Module):
    """States -> the same States."""

    def __init__(self, spec: Spec, widths: dict[str, int]) -> None:
        super().__init__()

    def forward(self, states: list[State]) -> list[State]:
        return list(states)
