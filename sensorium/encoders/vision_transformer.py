"""Patches -> states: the vision transformer (ViT) and CLIP's form of it.

Pixels are normalised here, so that patches stay uint8 until they reach the device. The linear map
of a patch equals the strided convolution of the reference implementations.

Sources: ViT, arXiv 2010.11929 section 3.1; CLIP, arXiv 2103.00020 section 2.4. Checked against
huggingface/transformers `models/vit/modeling_vit.py` and `models/clip/modeling_clip.py` with
equal weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from sensorium.layers import Activation, Stack, initialise, mean_pool
from sensorium.model import State
from sensorium.views import Look

SUMMARY = "ViT, and CLIP's form of it"
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
    depth: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    mlp: float = Field(4.0, gt=0, description="hidden width of the MLP over width")
    activation: Activation = "gelu"
    eps: float = Field(1e-6, gt=0, description="added to the variance in norms")
    dropout: float = Field(0.0, ge=0, lt=1)
    patch_bias: bool = Field(True, description="bias of the patch map (ViT); CLIP has none")
    embedding_norm: bool = Field(False, description="norm of the summed embeddings (CLIP)")
    pool: Literal["first", "mean"] = Field(
        "first", description="pooled state: the class token, or the mean of the patches"
    )
    mean: Colour = Field((0.5, 0.5, 0.5), description="of red, green, blue in [0, 1]")
    std: Colour = Field((0.5, 0.5, 0.5), description="of red, green, blue in [0, 1]")

    @model_validator(mode="after")
    def _whole_heads(self):
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
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
        self.class_token = nn.Parameter(torch.empty(spec.width))
        self.positions = nn.Embedding(1 + modality.tokens_per_item, spec.width)
        self.embedding_norm = (
            nn.LayerNorm(spec.width, eps=spec.eps) if spec.embedding_norm else nn.Identity()
        )
        self.dropout = nn.Dropout(spec.dropout)
        self.stack = Stack(
            spec.depth,
            spec.width,
            spec.heads,
            mlp=spec.mlp,
            activation=spec.activation,
            eps=spec.eps,
            dropout=spec.dropout,
        )
        self.final_norm = nn.LayerNorm(spec.width, eps=spec.eps)
        # (x / 255 - mean) / std of each colour, for the values of a patch: row, column, colour.
        pixels = modality.channels // 3
        scale = 1 / (255 * torch.tensor(spec.std, dtype=torch.float64))
        shift = torch.tensor(spec.mean, dtype=torch.float64) * 255
        self.register_buffer("scale", scale.float().repeat(pixels), persistent=False)
        self.register_buffer("shift", shift.float().repeat(pixels), persistent=False)
        nn.init.trunc_normal_(self.class_token, std=0.02, a=-0.04, b=0.04)
        initialise(self)

    def embed(self, look: Look) -> State:
        """Values [n, p, c] of a look -> State with tokens [n, 1 + p, width], class token first.

        The class token is at position (-1, -1): it is no patch, and a table of patches that is
        asked for it fails instead of answering.

        Raises:
            TypeError: the look has ids, not values.
        """
        tokens = look.tokens
        if tokens.values is None:
            raise TypeError(f"vision_transformer: expected values, found {tokens.modality} ids")
        n = len(tokens.values)
        x = self.patch((tokens.values - self.shift) * self.scale)
        x = torch.cat([self.class_token.to(x.dtype).expand(n, 1, -1), x], 1)
        position = nn.functional.pad(tokens.position, (0, 0, 1, 0), value=-1)
        place = 1 + position[..., 0] * self.side + position[..., 1]
        place[..., 0] = 0
        x = self.dropout(self.embedding_norm(x + self.positions(place)))
        return State(
            tokens=x,
            real=nn.functional.pad(tokens.real, (1, 0), value=True),
            # It sees all patches; where the order tells patches apart, only the last see it.
            order=torch.cat([look.order.amax(1, keepdim=True), look.order], 1),
            position=position,
        )

    def encode(self, state: State) -> State:
        """The same rows with encoded tokens (zero at padding) and pooled [n, width]."""
        x = self.final_norm(self.stack(state.tokens, state.real, state.order))
        x = x.masked_fill(~state.real[..., None], 0.0)
        pooled = x[:, 0] if self.spec.pool == "first" else mean_pool(x[:, 1:], state.real[:, 1:])
        return replace(state, tokens=x, pooled=pooled)
