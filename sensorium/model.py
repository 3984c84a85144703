"""The modules that compute nodes. The model never contains an objective and never sees a batch.

Letters: b = records, n = rows after pairing, t = tokens, d = width of an encoder, e = width of the
shared space, V = entries of a vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from sensorium.layers import Cache, initialise
from sensorium.tokens import expect
from sensorium.views import Look


@dataclass(frozen=True)
class State:
    """What an encoder knows of each token.

    tokens: float [b, t, d]; real: bool [b, t]; order: int64 [b, t]; position: int64
    [b or 1, t, axes]; pooled: float [b, width], one vector a record, as wide as its encoder says
    (mostly d), or None before encoding; prior: float [b, p], unit length, a vector that nothing
    trains and that is kept beside what is learned.
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
            expect("state pooled", self.pooled, (b, None))


class Vocabulary(nn.Module):
    """States -> logits over a vocabulary, tied to the word table.

    With `transform` as BERT's (arXiv 1810.04805; google-research/bert `run_pretraining.py`,
    get_masked_lm_output): linear, GELU, norm, then the table's transpose and a bias; without, the
    table's transpose alone (GPT-2, Radford et al. 2019; openai/gpt-2 `src/model.py`).

    Args:
        entries: V.
        width: d, of the states and of the word table.
    """

    def __init__(
        self, entries: int, width: int, transform: bool = True, eps: float = 1e-12
    ) -> None:
        super().__init__()
        self.transform = nn.Linear(width, width) if transform else None
        self.norm = nn.LayerNorm(width, eps=eps) if transform else None
        self.bias = nn.Parameter(torch.zeros(entries)) if transform else None
        initialise(self)

    def forward(self, states: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """[k, d] and the word table [V, d] -> [k, V]."""
        x = states
        if self.transform is not None and self.norm is not None:
            x = self.norm(F.gelu(self.transform(x)))
        return F.linear(x, words, self.bias)


class Model(nn.Module):
    """Encoders, fusion, the projections into the shared space and the heads over vocabularies.

    Args:
        encoders: modality -> its encoder, in the recipe's order.
        fusion: where states meet.
        space: width of the shared space.
        project: a linear layer from each encoder into the space; without one, widths must agree.
        prior: weight of what encoders know untrained, beside 1 for what they learn.
        compared: modalities whose vectors something reads; by default all.
        told: modality -> options of its `Vocabulary`, for those whose logits something reads.
    """

    # torch says Tensor | Module of any member; these are ours.
    encoders: Any
    fusion: Any
    projections: Any
    vocabularies: Any

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        space: int,
        project: bool = True,
        prior: float = 0.0,
        compared: Collection[str] | None = None,
        told: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        self.space = space
        self.prior = prior
        self.projections = nn.ModuleDict()
        for modality, encoder in self.encoders.items():
            if compared is not None and modality not in compared:
                continue
            width = int(encoder.width)
            if project:
                self.projections[modality] = nn.Linear(width, space, bias=False)
                nn.init.normal_(self.projections[modality].weight, std=width**-0.5)
            elif width != space:
                raise ValueError(f"{modality}: expected width {space}, found {width}")
        self.vocabularies = nn.ModuleDict(
            {
                modality: Vocabulary(*self.encoders[modality].words.weight.shape, **options)
                for modality, options in (told or {}).items()
            }
        )
        # One learned token stands where a record lacks a modality, so that no row is empty.
        self.absent = nn.ParameterDict()
        if getattr(fusion, "joint_width", 0):
            for modality, encoder in self.encoders.items():
                # Drawn, not zero: norms of post-norm encoders (eps 1e-12) would make a constant
                # vector's gradient a million times larger, each of them.
                self.absent[modality] = nn.Parameter(torch.empty(int(encoder.width)))
                nn.init.normal_(self.absent[modality], std=0.02)

    def embed(self, look: Look) -> State:
        """Tokens -> State, by the modality's own encoder; an absent record is one learned token."""
        state = self.encoders[look.tokens.modality].embed(look)
        if look.tokens.modality not in self.absent:
            return state
        lacking = ~look.present
        first = torch.zeros_like(state.real)
        first[:, 0] = True
        stand_in = self.absent[look.tokens.modality].to(state.tokens.dtype)
        tokens = torch.where(
            lacking[:, None, None], stand_in * first[..., None].to(stand_in.dtype), state.tokens
        )
        real = (lacking[:, None] & first) | (~lacking[:, None] & state.real)
        return replace(state, tokens=tokens, real=real)

    def encode(self, modality: str, state: State, cache: Cache | None = None) -> State:
        """State -> State with `pooled`; with a cache, only new tokens come in and go out."""
        if cache is None:
            return self.encoders[modality].encode(state)
        return self.encoders[modality].encode(state, cache)

    def fuse(
        self,
        states: list[State],
        rows: list[torch.Tensor] | None = None,
        cache: Cache | None = None,
    ) -> list[State]:
        """One State per part, after they met; `rows` pairs them anew, int64 [n] each."""
        return self.fusion(states, rows, cache)

    def joint(self, states: list[State]) -> torch.Tensor:
        """[n, D], one state a row, of what `fuse` gave."""
        return self.fusion.joint(states)

    def logits(self, modality: str, states: torch.Tensor) -> torch.Tensor:
        """[k, d] -> [k, V] by the modality's vocabulary head."""
        return self.vocabularies[modality](states, self.encoders[modality].words.weight)

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
