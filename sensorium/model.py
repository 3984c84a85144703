"""The modules that compute nodes. The model never contains an objective and never sees a batch.

Letters: b = records, t = tokens, d = width of an encoder, e = width of the shared space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from sensorium.tokens import expect
from sensorium.views import Look


@dataclass(frozen=True)
class State:
    """What an encoder knows of each token.

    tokens: float [b, t, d]; real: bool [b, t]; order: int64 [b, t]; position: int64
    [b or 1, t, axes]; pooled: float [b, d], one vector a record, or None before encoding.
    """

    tokens: torch.Tensor
    real: torch.Tensor
    order: torch.Tensor
    position: torch.Tensor
    pooled: torch.Tensor | None = None

    def __post_init__(self) -> None:
        b, t = self.real.shape
        expect("state tokens", self.tokens, (b, t, None))
        expect("state order", self.order, (b, t), torch.int64)
        if self.pooled is not None:
            expect("state pooled", self.pooled, (b, self.tokens.shape[2]))


class Model(nn.Module):
    """Encoders, fusion and the projections into the shared space.

    Args:
        encoders: modality -> module with `width`, `embed(look) -> State`, `encode(state) -> State`.
        fusion: module from a list of States to a list of States.
        space: width e of the shared space.
        project: whether `vector` passes a linear layer without bias (CLIP, Radford et al. 2021,
            section 2.3); False where an encoder already ends in the shared space.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        space: int,
        project: bool = True,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        self.space = space
        self.projections = nn.ModuleDict()
        for modality, encoder in self.encoders.items():
            width = int(encoder.width)
            if project:
                self.projections[modality] = nn.Linear(width, space, bias=False)
                nn.init.normal_(self.projections[modality].weight, std=width**-0.5)
            elif width != space:
                raise ValueError(f"{modality}: expected width {space}, found {width}")

    def embed(self, look: Look) -> State:
        """Tokens -> State, by the modality's own encoder."""
        return self.encoders[look.tokens.modality].embed(look)

    def encode(self, modality: str, state: State) -> State:
        """State -> State with `pooled`."""
        return self.encoders[modality].encode(state)

    def fuse(self, states: list[State]) -> list[State]:
        """One State per part, after they met."""
        return self.fusion(states)

    def vector(self, modality: str, state: State) -> torch.Tensor:
        """float32 [b, e], unit length."""
        assert state.pooled is not None, "an encoder must give `pooled` to be read as a vector"
        pooled = state.pooled
        if modality in self.projections:
            pooled = self.projections[modality](pooled)
        return F.normalize(pooled.float(), dim=-1)
