"""A small head over a frozen tower's features: the part that is trained when towers are locked.

Zhai et al. 2022 (LiT, arXiv 2111.07991), section 3: lock the towers, tune what is above them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from sensorium.layers import mean_pool
from sensorium.model import State
from sensorium.views import Look

SUMMARY = "a small head over frozen features"


class Values(Protocol):
    """What this encoder asks of a modality: values per token."""

    channels: int


class Spec(BaseModel):
    """Form of the head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["projection"] = "projection"
    dropout: float = Field(0.0, ge=0, lt=1, description="of the features, while training")


class Encoder(nn.Module):
    """Features -> the mean of their tokens, normalised. `width` is c of the features."""

    def __init__(self, spec: Spec, modality: Values) -> None:
        super().__init__()
        self.spec, self.width = spec, modality.channels
        self.dropout = nn.Dropout(spec.dropout)

    def embed(self, look: Look) -> State:
        """values float [b, t, c] -> State."""
        tokens = look.tokens
        assert tokens.values is not None, "projection reads values"
        return State(
            tokens=tokens.values.float(),
            real=tokens.real,
            order=look.order,
            position=tokens.position,
        )

    def encode(self, state: State) -> State:
        """Mean over real tokens, dropout."""
        return replace(state, pooled=self.dropout(mean_pool(state.tokens, state.real)))
