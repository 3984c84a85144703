"""Token ids -> states: the transformer encoder of BERT and of CLIP's text tower.

Word, position and (BERT) type embeddings are summed, normalised where BERT does, and passed
through blocks under the one rule of attention; a causal view makes it CLIP's.

Sources: BERT, arXiv 1810.04805; CLIP, arXiv 2103.00020 section 2.4. Checked against
huggingface/transformers `models/bert/modeling_bert.py` and `models/clip/modeling_clip.py` with
equal weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from sensorium.layers import Activation, Cache, Norm, Stack, initialise, last_pool, mean_pool
from sensorium.model import State
from sensorium.views import Look

SUMMARY = "BERT's encoder, and CLIP's text tower in a causal view"


class Text(Protocol):
    """What this encoder asks of a modality: entries of its vocabulary, most tokens of a text."""

    vocabulary: int
    length: int


class Spec(BaseModel):
    """Size and form of the encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["transformer"] = "transformer"
    width: int = Field(256, ge=1)
    depth: int = Field(4, ge=0, description="blocks; 0: the embeddings are the states")
    heads: int = Field(4, ge=1)
    mlp: float = Field(4.0, gt=0, description="hidden width of the MLP over width")
    norm: Norm = Field("pre", description="norm before each branch (CLIP) or after each sum (BERT)")
    activation: Activation = "gelu"
    eps: float = Field(1e-5, gt=0, description="added to the variance in norms")
    dropout: float = Field(0.0, ge=0, lt=1)
    types: int = Field(0, ge=0, description="entries of BERT's type table; type 0 is used")
    embedding_norm: bool = Field(False, description="norm of the summed embeddings (BERT)")
    final_norm: bool = Field(True, description="norm of the last states (pre-norm models)")
    pool: Literal["mean", "first", "last", "pooler"] = Field(
        "mean", description="pooled state: mean of real tokens, first, last real, BERT's pooler"
    )

    @model_validator(mode="after")
    def _whole_heads(self):
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class Encoder(nn.Module):
    """The encoder over one vocabulary. `width` is d of its states."""

    def __init__(self, spec: Spec, modality: Text) -> None:
        super().__init__()
        self.spec, self.width = spec, spec.width
        self.words = nn.Embedding(modality.vocabulary, spec.width)
        self.positions = nn.Embedding(modality.length, spec.width)
        self.types = nn.Embedding(spec.types, spec.width) if spec.types else None
        self.embedding_norm = (
            nn.LayerNorm(spec.width, eps=spec.eps) if spec.embedding_norm else nn.Identity()
        )
        self.dropout = nn.Dropout(spec.dropout)
        self.stack = Stack(
            spec.depth,
            spec.width,
            spec.heads,
            mlp=spec.mlp,
            norm=spec.norm,
            activation=spec.activation,
            eps=spec.eps,
            dropout=spec.dropout,
        )
        self.final_norm = (
            nn.LayerNorm(spec.width, eps=spec.eps) if spec.final_norm else nn.Identity()
        )
        self.pooler = nn.Linear(spec.width, spec.width) if spec.pool == "pooler" else None
        initialise(self)

    def embed(self, look: Look) -> State:
        """Ids [n, t] of a look -> State with tokens [n, t, width].

        Raises:
            TypeError: the look has values, not ids.
        """
        tokens = look.tokens
        if tokens.ids is None:
            raise TypeError(f"transformer: expected ids, found {tokens.modality} with values")
        summed = self.words(tokens.ids) + self.positions(tokens.position[..., 0])
        if self.types is not None:
            summed = summed + self.types.weight[0]
        summed = self.dropout(self.embedding_norm(summed))
        return State(tokens=summed, real=tokens.real, order=look.order, position=tokens.position)

    def encode(self, state: State, cache: Cache | None = None) -> State:
        """The same rows with encoded tokens (zero at padding) and pooled [n, width].

        With a cache, the state holds only new tokens, at their positions; `pooled`, which would
        be of all tokens, is None.
        """
        x = self.final_norm(self.stack(state.tokens, state.real, state.order, cache))
        if self.spec.final_norm:  # its bias is no zero: keep padding at zero after it too
            x = x.masked_fill(~state.real[..., None], 0.0)
        pooled = self._pool(x, state.real) if cache is None else None
        return replace(state, tokens=x, pooled=pooled)

    def _pool(self, x: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        if self.spec.pool == "mean":
            return mean_pool(x, real)
        if self.spec.pool == "last":
            return last_pool(x, real)
        if self.pooler is not None:
            return torch.tanh(self.pooler(x[:, 0]))
        return x[:, 0]
