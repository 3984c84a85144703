"""Merge attention: the tokens of all modalities in one sequence, through one stack of blocks.

The single-stream models of the survey (VisualBERT, UNITER, ViLT, SimVLM): every token sees every
other that the one rule of attention lets it see, so a prefix or causal text beside a picture is a
matter of orders, not of another module.

Sources: VisualBERT, arXiv 1908.03557 section 3.2; ViLT, arXiv 2102.03334 section 3.1; SimVLM, arXiv
2108.10904 section 3.2. Checked against huggingface/transformers
`models/visual_bert/modeling_visual_bert.py` and `models/vilt/modeling_vilt.py` with equal weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from sensorium.errors import RecipeError
from sensorium.fusion._parts import (
    Pooler,
    Pooling,
    Rows,
    gathered,
    lead_of,
    pooled_of,
    whole_heads,
)
from sensorium.layers import Activation, Cache, Norm, Stack, initialise, mean_pool
from sensorium.model import State

SUMMARY = "all tokens in one sequence (single-stream models)"


class Spec(BaseModel):
    """Size and form of the stack; its width is the encoders'."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["merge_attention"] = "merge_attention"
    depth: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    mlp: float = Field(4.0, gt=0, description="hidden width of the MLP over width")
    norm: Norm = Field("pre", description="norm before each branch (ViLT) or after each sum (BERT)")
    activation: Activation = "gelu"
    eps: float = Field(1e-5, gt=0, description="added to the variance in norms")
    dropout: float = Field(0.0, ge=0, lt=1)
    final_norm: bool = Field(True, description="norm of the last states (pre-norm models)")
    types: bool = Field(True, description="a learned vector added to each modality's tokens")
    embedding_norm: bool = Field(False, description="one norm over all embeddings (VisualBERT)")
    lead: str = Field("text", description="the modality whose pooled state is the joint vector")
    pool: Pooling = Field(
        "first", description="of the lead: first or last token, mean, BERT's pooler of the first"
    )


class Fusion(nn.Module):
    """States of one width -> States of the same width; the joint vector is the lead's pooled state.

    The pooled state of any other part is the mean of its tokens.

    Raises:
        RecipeError: encoders of different width, no such lead, heads that do not divide the width.
    """

    meets = True
    decodes = True
    shares = "Everything: one stack reads the tokens of all modalities."
    absence = "An absent modality is one learned token; its content cannot be seen."

    def __init__(self, spec: Spec, widths: dict[str, int]) -> None:
        super().__init__()
        if len(set(widths.values())) != 1:
            raise RecipeError(
                "fusion merge_attention",
                field="encoders",
                expected="encoders of one width, since their tokens form one sequence",
                found=", ".join(f"{name} {width}" for name, width in widths.items()),
            )
        width = next(iter(widths.values()))
        whole_heads("merge_attention", width, spec.heads)
        self.spec, self.joint_width = spec, width
        self.lead = lead_of("merge_attention", spec.lead, widths)
        self.types = nn.Embedding(len(widths), width) if spec.types else None
        self.embedding_norm = (
            nn.LayerNorm(width, eps=spec.eps) if spec.embedding_norm else nn.Identity()
        )
        self.dropout = nn.Dropout(spec.dropout)
        self.stack = Stack(
            spec.depth,
            width,
            spec.heads,
            mlp=spec.mlp,
            norm=spec.norm,
            activation=spec.activation,
            eps=spec.eps,
            dropout=spec.dropout,
        )
        self.final_norm = nn.LayerNorm(width, eps=spec.eps) if spec.final_norm else nn.Identity()
        self.pooler = Pooler(width, spec.pool)
        initialise(self)

    def forward(
        self, states: list[State], rows: Rows = None, cache: Cache | None = None
    ) -> list[State]:
        """One State a part, zero at padding, with `pooled` [n, d] (None with a cache)."""
        parts = gathered(states, rows)
        tokens = [part.tokens for part in parts]
        if self.types is not None:
            tokens = [x + kind for x, kind in zip(tokens, self.types.weight, strict=True)]
        x = self.dropout(self.embedding_norm(torch.cat(tokens, 1)))
        real = torch.cat([part.real for part in parts], 1)
        order = torch.cat([part.order for part in parts], 1)
        x = self.final_norm(self.stack(x, real, order, cache))
        x = x.masked_fill(~real[..., None], 0.0)
        out = []
        sizes = [part.real.shape[1] for part in parts]
        for at, (part, own) in enumerate(zip(parts, x.split(sizes, 1), strict=True)):
            pool = self.pooler if at == self.lead else mean_pool
            pooled = pool(own, part.real) if cache is None else None
            out.append(replace(part, tokens=own, pooled=pooled))
        return out

    def joint(self, states: list[State]) -> torch.Tensor:
        """[n, d]: the lead's pooled state."""
        return pooled_of(states[self.lead])
