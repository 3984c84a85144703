"""SigLIP's picture tower: a vision transformer without a class token, pooled by attention.

One learned query asks all patches; its answer, and an MLP of its norm added to it, is the pooled
state. Source: Zhai et al. 2023 (arXiv 2303.15343); the head as in google-research/big_vision
`models/vit.py`, MAPHead. Checked against huggingface/transformers
`models/siglip/modeling_siglip.py` with equal weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn
from torch.nn import functional as F

from sensorium.encoders import vision_transformer
from sensorium.layers import MLP, Activation, Attention, Cache, initialise
from sensorium.model import State

SUMMARY = "SigLIP's picture tower, pooled by attention"


class Spec(BaseModel):
    """Size and form of the encoder; the options are those of `vision_transformer`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["siglip_vision"] = "siglip_vision"
    width: int = Field(256, ge=1)
    depth: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    mlp: float = Field(4.0, gt=0, description="hidden width of the MLP over width")
    activation: Activation = "gelu_tanh"
    eps: float = Field(1e-6, gt=0, description="added to the variance in norms")
    dropout: float = Field(0.0, ge=0, lt=1)
    mean: vision_transformer.Colour = Field((0.5, 0.5, 0.5), description="of colours in [0, 1]")
    std: vision_transformer.Colour = Field((0.5, 0.5, 0.5), description="of colours in [0, 1]")

    @model_validator(mode="after")
    def _known_to_the_transformer(self):
        self.inner()
        return self

    def inner(self) -> vision_transformer.Spec:
        """The transformer below the head."""
        return vision_transformer.Spec(
            **self.model_dump(exclude={"use"}), class_token=False, pool="mean"
        )


class Head(nn.Module):
    """One learned query over all real tokens: [n, t, d] -> [n, d]."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.empty(spec.width))
        self.attention = Attention(spec.width, spec.heads)
        self.norm = nn.LayerNorm(spec.width, eps=spec.eps)
        self.mlp = MLP(spec.width, round(spec.mlp * spec.width), spec.activation)
        nn.init.normal_(self.probe, std=spec.width**-0.5)
        initialise(self)

    def forward(self, tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        n, t, d = tokens.shape
        heads = self.attention.heads
        weight, bias = self.attention.qkv.weight, self.attention.qkv.bias
        q = F.linear(self.probe, weight[:d], bias[:d]).expand(n, 1, d)
        kv = F.linear(tokens, weight[d:], bias[d:])
        q = q.view(n, 1, heads, -1).transpose(1, 2)
        k, v = kv.view(n, t, 2, heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=real[:, None, None, :])
        x = self.attention.out(seen.transpose(1, 2).reshape(n, d))
        return x + self.mlp(self.norm(x))


class Encoder(vision_transformer.Encoder):
    """The encoder over one grid of patches. `width` is d of its states."""

    def __init__(self, spec: Spec, modality: vision_transformer.Grid) -> None:
        super().__init__(spec.inner(), modality)
        self.head = Head(spec)

    def encode(self, state: State, cache: Cache | None = None) -> State:
        """The same rows with encoded tokens (zero at padding) and pooled [n, width]."""
        state = super().encode(state)
        return replace(state, pooled=self.head(state.tokens, state.real))
