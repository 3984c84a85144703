"""The modules that compute nodes. The model never contains an objective and never sees a batch.

Letters: b = records, t = tokens, d = width of an encoder, e = width of the shared space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from sensorium.tokens import expect
from sensorium.views import Look


@dataclass(frozen=True)
class State:
    """What an encoder knows of each token.

    tokens: float [b, t, d]; real: bool [b, t]; order: int64 [b, t]; position: int64
    [b or 1, t, axes]; pooled: float [b, d], one vector a record, or None before encoding; prior:
    float [b, p], unit length, a vector that nothing trains and that is kept beside what is learned.
    """

    tokens: torch.Tensor
    real: torch.Tensor
    order: torch.Tensor
    position: torch.Tensor
    pooled: torch.Tensor | None = None
    prior: torch.Tensor | None = None

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
        prior: weight of the encoders' prior in a similarity, beside 1 for what is learned.
    """

    encoders: Any  # ModuleDicts, whose members the type checker knows only as Module
    projections: Any

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        space: int,
        project: bool = True,
        prior: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        self.space = space
        self.prior = prior
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

    def vector_width(self, modality: str) -> int:
        """Values of a vector: the learned space, and the prior where there is one."""
        known = getattr(self.encoders[modality], "prior_width", 0) if self.prior else 0
        return self.space + known

    def vector(self, modality: str, state: State) -> torch.Tensor:
        """float32 [b, e], unit length; with a prior [b, e + p], still of unit length."""
        assert state.pooled is not None, "an encoder must give `pooled` to be read as a vector"
        pooled = state.pooled
        if modality in self.projections:
            pooled = self.projections[modality](pooled)
        learned = F.normalize(pooled.float(), dim=-1)
        if state.prior is None or not self.prior:
            return learned
        # The cosine of two such vectors is (learned + prior * known) / (1 + prior).
        both = torch.cat([learned, self.prior**0.5 * state.prior.float()], dim=-1)
        return both / (1 + self.prior) ** 0.5
