"""Cells -> states: the FT-Transformer, one token a column and a class token before them.

A token is the column's bias plus: of a number x, x times a learned vector; of a category, its own
vector; of words, the mean of their vectors. A missing cell is a learned vector of its column and
nothing else. A category that training did not have adds nothing to the bias.

There is no embedding of positions: what a token is about is in the vectors of its column, so states
do not depend on the order of the columns.

Source: Gorishniy et al. 2021, arXiv 2106.11959 section 3.3 and figure 2; its tokenizer's uniform
initial weights, as yandex-research/rtdl. Departures: the blocks are those of `layers.Stack` (GELU
instead of ReGLU, and the first block keeps its first norm); the class token is first, not last;
booleans are categories, and words and missing cells, which the paper does not have, as above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from sensorium.layers import Activation, Cache, Norm, Stack, initialise, mean_pool
from sensorium.model import State
from sensorium.views import Look

SUMMARY = "FT-Transformer: numbers, categories and words of a table as tokens"


class Column(Protocol):
    """What this encoder asks of a column: its kind, and the values of a boolean or a category."""

    @property
    def kind(self) -> str:
        """number, boolean, category or words."""
        ...

    @property
    def categories(self) -> Sequence[str]:
        """Their names by number from 1; 0 is one that is not known."""
        ...


class Table(Protocol):
    """What this encoder asks of a modality: columns, and entries that words are hashed to."""

    buckets: int

    @property
    def columns(self) -> Sequence[Column]:
        """In the order of the tokens; none before the modality is fitted."""
        ...


class Spec(BaseModel):
    """Size and form of the encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["tabular"] = "tabular"
    width: int = Field(256, ge=1)
    depth: int = Field(4, ge=0, description="blocks; 0: the embeddings are the states")
    heads: int = Field(4, ge=1)
    mlp: float = Field(4.0, gt=0, description="hidden width of the MLP over width")
    norm: Norm = Field("pre", description="norm before each branch or after each sum")
    activation: Activation = "gelu"
    eps: float = Field(1e-5, gt=0, description="added to the variance in norms")
    dropout: float = Field(0.0, ge=0, lt=1)
    final_norm: bool = Field(True, description="norm of the last states (pre-norm models)")
    pool: Literal["first", "mean"] = Field(
        "first", description="pooled state: the class token, or the mean of the columns"
    )

    @model_validator(mode="after")
    def _whole_heads(self):
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class Tokenizer(nn.Module):
    """Values [n, columns, c] of cells -> tokens [n, columns, width].

    Args:
        modality: its columns give the parts: a part without columns is not built.
    """

    places: torch.Tensor  # int64 [columns], where each column's token is among those of its part
    starts: torch.Tensor  # int64 [1, boolean and category columns], row of their unknown value

    def __init__(self, modality: Table, width: int) -> None:
        super().__init__()
        kinds = [column.kind for column in modality.columns]
        self.numbers = [at for at, kind in enumerate(kinds) if kind == "number"]
        self.choices = [at for at, kind in enumerate(kinds) if kind in ("boolean", "category")]
        self.worded = [at for at, kind in enumerate(kinds) if kind == "words"]
        self.bias = nn.Parameter(torch.empty(len(kinds), width))
        self.missing = nn.Parameter(torch.empty(len(kinds), width))
        self.scale = nn.Parameter(torch.empty(len(self.numbers), width)) if self.numbers else None
        sizes = [1 + len(modality.columns[at].categories) for at in self.choices]
        starts = [sum(sizes[:at]) for at in range(len(sizes))]
        self.values = nn.Embedding(sum(sizes), width) if sizes else None
        self.words = nn.Embedding(1 + modality.buckets, width) if self.worded else None
        order = [*self.numbers, *self.choices, *self.worded]
        places = sorted(range(len(order)), key=order.__getitem__)
        self.register_buffer("places", torch.tensor(places, dtype=torch.int64), persistent=False)
        self.register_buffer("starts", torch.tensor([starts], dtype=torch.int64), persistent=False)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(width**-0.5), width**-0.5)
        with torch.no_grad():
            if self.values is not None:  # no record of training has it: it would stay as drawn
                self.values.weight[starts] = 0.0
            if self.words is not None:
                self.words.weight[0] = 0.0

    def forward(self, values: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """[n, columns, c], bool [n, columns] -> [n, columns, width].

        What is not there is set to zero first, so that whatever it held reaches no lookup and no
        product.
        """
        content = values[..., 1:].masked_fill(~there[..., None], 0.0)
        parts = []
        if self.scale is not None:
            parts.append(content[:, self.numbers, :1].to(self.scale.dtype) * self.scale)
        if self.values is not None:
            parts.append(self.values(content[:, self.choices, 0].long() + self.starts))
        if self.words is not None:
            entries = content[:, self.worded].long()
            said = (entries > 0)[..., None].to(self.words.weight.dtype)
            total = (self.words(entries) * said).sum(2)
            parts.append(total / said.sum(2).clamp(min=1))
        told = torch.cat(parts, 1)[:, self.places] + self.bias
        return torch.where(there[..., None], told, self.missing)


class Encoder(nn.Module):
    """The encoder over one table. `width` is d of its states."""

    def __init__(self, spec: Spec, modality: Table) -> None:
        super().__init__()
        self.spec, self.width = spec, spec.width
        self.class_token = nn.Parameter(torch.empty(spec.width))
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
        initialise(self)
        nn.init.uniform_(self.class_token, -(spec.width**-0.5), spec.width**-0.5)
        self.tokenizer = Tokenizer(modality, spec.width)  # after: its initial weights are its own

    def embed(self, look: Look) -> State:
        """Values [n, t, c] of a look -> State with tokens [n, 1 + t, width].

        The class token is at position -1: it is no column.

        Raises:
            TypeError: the look has ids, not values, or another number of columns.
        """
        tokens, order = look.tokens, look.order
        if tokens.values is None:
            raise TypeError(f"tabular: expected values, found {tokens.modality} ids")
        n, t, _ = tokens.values.shape
        if t != len(self.tokenizer.bias) or not t:
            raise TypeError(f"tabular: expected {len(self.tokenizer.bias)} columns, found {t}")
        x = self.tokenizer(tokens.values, tokens.real & (tokens.values[..., 0] > 0))
        x = torch.cat([self.class_token.to(x.dtype).expand(n, 1, -1), x], 1)
        return State(
            tokens=self.dropout(x),
            real=nn.functional.pad(tokens.real, (1, 0), value=True),
            # It sees all columns; where the order tells them apart, only the last see it.
            order=torch.cat([order.amax(1, keepdim=True), order], 1),
            position=nn.functional.pad(tokens.position, (0, 0, 1, 0), value=-1),
        )

    def encode(self, state: State, cache: Cache | None = None) -> State:
        """The same rows with encoded tokens (zero at padding) and pooled [n, width].

        A table is seen whole, so a cache has nothing to hold of it.
        """
        x = self.final_norm(self.stack(state.tokens, state.real, state.order))
        x = x.masked_fill(~state.real[..., None], 0.0)
        pooled = x[:, 0] if self.spec.pool == "first" else mean_pool(x[:, 1:], state.real[:, 1:])
        return replace(state, tokens=x, pooled=pooled)
