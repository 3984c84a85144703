"""SigLIP's text tower: texts padded to one length, all of it seen, the last token pooled.

The model was trained on texts without a first special token, filled up with padding that takes part
as any word does; both are done here, so that texts come as they come to every encoder.

Source: Zhai et al. 2023 (arXiv 2303.15343); google-research/big_vision
`models/proj/image_text/text_transformer.py`. Checked against huggingface/transformers
`models/siglip/modeling_siglip.py` with equal weights.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from sensorium.encoders import transformer
from sensorium.layers import Activation, Cache, initialise
from sensorium.model import State
from sensorium.tokens import Tokens
from sensorium.views import Look

SUMMARY = "SigLIP's text tower: filled up with padding, the last token pooled"


class Spec(BaseModel):
    """Size and form of the encoder; the options are those of `transformer`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["siglip_text"] = "siglip_text"
    width: int = Field(256, ge=1)
    depth: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    mlp: float = Field(4.0, gt=0, description="hidden width of the MLP over width")
    activation: Activation = "gelu_tanh"
    eps: float = Field(1e-6, gt=0, description="added to the variance in norms")
    dropout: float = Field(0.0, ge=0, lt=1)
    pad: int = Field(1, ge=0, description="id of the entry that fills a text up")
    out: int | None = Field(None, ge=1, description="width of the pooled state; none: width")

    @model_validator(mode="after")
    def _known_to_the_transformer(self):
        self.inner()
        return self

    def inner(self) -> transformer.Spec:
        """The transformer below the head."""
        return transformer.Spec(
            **self.model_dump(exclude={"use", "pad", "out"}), norm="pre", pool="last"
        )


class Encoder(transformer.Encoder):
    """The encoder over one vocabulary, for texts of at most `length` - 1 tokens after the first."""

    def __init__(self, spec: Spec, modality: transformer.Text) -> None:
        self.filled = modality.length - 1  # the first token is left out
        super().__init__(
            spec.inner(), SimpleNamespace(vocabulary=modality.vocabulary, length=self.filled)
        )
        self.pad = spec.pad
        self.head = nn.Linear(spec.width, spec.out or spec.width)
        initialise(self.head)

    def embed(self, look: Look) -> State:
        """Ids [n, t] of a look -> State with tokens [n, length - 1, width], all real.

        The first id of each text is left out, what is not real is padding, and so is all that
        lacks of the full length.

        Raises:
            TypeError: the look has values, not ids, or more than `length` tokens.
        """
        tokens = look.tokens
        if tokens.ids is None:
            raise TypeError(f"siglip_text: expected ids, found {tokens.modality} with values")
        t = tokens.ids.shape[1]
        if t > self.filled + 1:
            raise TypeError(f"siglip_text: expected at most {self.filled + 1} tokens, found {t}")
        ids = torch.where(tokens.real, tokens.ids, self.pad)[:, 1:]
        ids = nn.functional.pad(ids, (0, self.filled - ids.shape[1]), value=self.pad)
        filled = Tokens(
            modality=tokens.modality,
            real=torch.ones_like(ids, dtype=torch.bool),
            position=torch.arange(self.filled, device=ids.device)[None, :, None],
            ids=ids,
        )
        return super().embed(Look(filled, torch.zeros_like(ids), look.present))

    def encode(self, state: State, cache: Cache | None = None) -> State:
        """The same rows with encoded tokens and pooled [n, out]."""
        state = super().encode(state, cache)
        return state if state.pooled is None else replace(state, pooled=self.head(state.pooled))
