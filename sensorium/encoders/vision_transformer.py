"""Patches -> states: the vision transformer (ViT), CLIP's form of it, and CoCa's poolers.

Pixels are normalised here, so that patches stay uint8 until they reach the device. The linear map
of a patch equals the strided convolution of the reference implementations.

Sources: ViT, arXiv 2010.11929 section 3.1; CLIP, arXiv 2103.00020 section 2.4; CoCa, arXiv
2205.01917 section 3.2. Checked against huggingface/transformers `models/vit/modeling_vit.py` and
`models/clip/modeling_clip.py` with equal weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from sensorium.layers import Activation, Cache, Norm, Pool, Stack, initialise, mean_pool
from sensorium.model import State
from sensorium.views import Look

SUMMARY = "ViT, CLIP's form of it, and CoCa's attentional poolers"
Colour = tuple[float, float, float]


class Grid(Protocol):
    """What this encoder asks of a modality: values of a patch, patches of a (square) picture."""

    channels: int
    tokens_per_item: int


class Spec(BaseModel):
    """Size and form of the encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["vision_transformer"] = "vision_transformer"
    width: int = Field(256, ge=1)
    depth: int = Field(4, ge=0, description="blocks; 0: the embeddings are the states")
    heads: int = Field(4, ge=1)
    mlp: float = Field(4.0, gt=0, description="hidden width of the MLP over width")
    norm: Norm = Field("pre", description="norm before each branch (ViT) or after each sum (BERT)")
    activation: Activation = "gelu"
    eps: float = Field(1e-6, gt=0, description="added to the variance in norms")
    dropout: float = Field(0.0, ge=0, lt=1)
    patch_bias: bool = Field(True, description="bias of the patch map (ViT); CLIP has none")
    embedding_norm: bool = Field(False, description="norm of the summed embeddings (CLIP)")
    final_norm: bool = Field(True, description="norm of the last states (pre-norm models)")
    class_token: bool = Field(True, description="a learned token before the patches")
    pool: Literal["first", "mean"] = Field(
        "first", description="pooled state: the class token, or the mean of the patches"
    )
    queries: int = Field(
        0,
        ge=0,
        description="CoCa: so many learned queries ask the patches and are the states; one more "
        "asks them and is the pooled state, whatever `pool` says",
    )
    mean: Colour = Field((0.5, 0.5, 0.5), description="of red, green, blue in [0, 1]")
    std: Colour = Field((0.5, 0.5, 0.5), description="of red, green, blue in [0, 1]")

    @model_validator(mode="after")
    def _whole_heads(self):
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if not self.class_token and self.pool == "first" and not self.queries:
            raise ValueError("pool is first, but class_token is false: no token stands for all")
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std} is not positive")
        return self


class Encoder(nn.Module):
    """The encoder over one grid of patches. `width` is d of its states."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, spec: Spec, modality: Grid) -> None:
        super().__init__()
        self.spec, self.width = spec, spec.width
        self.side = round(modality.tokens_per_item**0.5)
        self.patch = nn.Linear(modality.channels, spec.width, bias=spec.patch_bias)
        self.class_token = nn.Parameter(torch.empty(spec.width)) if spec.class_token else None
        self.positions = nn.Embedding(spec.class_token + modality.tokens_per_item, spec.width)
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
        self.pools = nn.ModuleList(
            Pool(queries, spec.width, spec.heads, spec.eps)
            for queries in ((spec.queries, 1) if spec.queries else ())
        )
        # (x / 255 - mean) / std of each colour, for the values of a patch: row, column, colour.
        pixels = modality.channels // 3
        scale = 1 / (255 * torch.tensor(spec.std, dtype=torch.float64))
        shift = torch.tensor(spec.mean, dtype=torch.float64) * 255
        self.register_buffer("scale", scale.float().repeat(pixels), persistent=False)
        self.register_buffer("shift", shift.float().repeat(pixels), persistent=False)
        if self.class_token is not None:
            nn.init.trunc_normal_(self.class_token, std=0.02, a=-0.04, b=0.04)
        initialise(self)

    def embed(self, look: Look) -> State:
        """Values [n, p, c] of a look -> State with tokens [n, p, width]; 1 + p with a class token.

        The class token is at position (-1, -1): it is no patch, and a table of patches that is
        asked for it fails instead of answering.

        Raises:
            TypeError: the look has ids, not values.
        """
        tokens, real, order = look.tokens, look.tokens.real, look.order
        if tokens.values is None:
            raise TypeError(f"vision_transformer: expected values, found {tokens.modality} ids")
        n = len(tokens.values)
        x = self.patch((tokens.values - self.shift) * self.scale)
        position = tokens.position
        place = position[..., 0] * self.side + position[..., 1]
        if self.class_token is not None:
            x = torch.cat([self.class_token.to(x.dtype).expand(n, 1, -1), x], 1)
            position = nn.functional.pad(position, (0, 0, 1, 0), value=-1)
            place = nn.functional.pad(1 + place, (1, 0))
            real = nn.functional.pad(real, (1, 0), value=True)
            # It sees all patches; where the order tells patches apart, only the last see it.
            order = torch.cat([order.amax(1, keepdim=True), order], 1)
        x = self.dropout(self.embedding_norm(x + self.positions(place)))
        return State(tokens=x, real=real, order=order, position=position)

    def encode(self, state: State, cache: Cache | None = None) -> State:
        """The same rows with encoded tokens (zero at padding) and pooled [n, width].

        With queries, the tokens are their answers [n, queries, width] at position (-1, -1), all
        real: the patches are asked first, and the pooled state asks the answers (CoCa's cascade).
        A picture is seen whole, so a cache has nothing to hold of it.
        """
        x = self.final_norm(self.stack(state.tokens, state.real, state.order))
        x = x.masked_fill(~state.real[..., None], 0.0)
        if len(self.pools):
            return self._asked(replace(state, tokens=x))
        first = int(self.spec.class_token)
        pooled = (
            x[:, 0] if self.spec.pool == "first" else mean_pool(x[:, first:], state.real[:, first:])
        )
        return replace(state, tokens=x, pooled=pooled)

    def _asked(self, state: State) -> State:
        many, one = self.pools
        answers = many(state.tokens, state.real)
        n, q, _ = answers.shape
        real = state.real.new_ones(n, q)
        return State(
            tokens=answers,
            real=real,
            order=state.order.amax(1, keepdim=True).expand(n, q),
            position=state.position.new_full((1, q, state.position.shape[2]), -1),
            pooled=one(answers, real)[:, 0],
        )
