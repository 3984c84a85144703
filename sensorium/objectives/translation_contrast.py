"""Translation contrast: a text and its translation find each other, through one and the same tower.

The text-text task of MURAL (Jain et al. 2021, arXiv 2109.05125), beside image-text contrast: what
is said in a language with few pictures is learned from its translations. Symmetric InfoNCE as in
`contrastive`, with a temperature of its own. Written after the paper's description, no code of it
is public; the paper also tries projection heads for each task, here both tasks compare the vectors
that search stores.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from sensorium.errors import RecipeError
from sensorium.nodes import Encode, Given, Read
from sensorium.objectives.contrastive import bounded, contrast, keep_within
from sensorium.step import Loss
from sensorium.tokens import Batch

SUMMARY = "a text and its translation find each other among the batch (MURAL)"


class Spec(BaseModel):
    """Options of translation contrast."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["translation_contrast"] = "translation_contrast"
    weight: float = Field(1.0, gt=0)
    of: str = Field("text", description="the modality that is said in two languages")
    source: int = Field(0, ge=0, description="which variant is translated; 0: the text itself")
    variant: int = Field(1, ge=1, description="which variant is the translation")
    temperature: float = Field(0.07, gt=0, description="initial; learned")
    largest_scale: float = Field(100.0, gt=0, description="upper bound of 1 / temperature")


class Objective(nn.Module):
    """Contrast between a text and a variant of it; owns the temperature.

    Raises:
        RecipeError: the recipe declares no such variant.
    """

    additive = False  # a half batch offers half the negatives

    def __init__(self, spec: Spec, given: Given) -> None:
        super().__init__()
        self.spec = spec
        declared = given.variants.get(spec.of, 0)
        if declared < max(spec.source, spec.variant):
            raise RecipeError(
                field=f"variants.{spec.of}",
                expected=f"a variant {max(spec.source, spec.variant)}, "
                "e.g. [{field: translation}]",
                found=f"{declared} variants",
            )
        if spec.source == spec.variant:
            raise RecipeError(
                field="translation_contrast.source", expected="another than the translation",
                found=str(spec.source),
            )  # fmt: skip
        source = given.plain(spec.of, variant=spec.source) if spec.source else given.views[spec.of]
        self.views = (source, given.plain(spec.of, variant=spec.variant))
        self.log_scale = nn.Parameter(torch.tensor([math.log(1 / spec.temperature)]))

    @property
    def scale(self) -> torch.Tensor:
        """1 / temperature, bounded; float [1]."""
        return bounded(self.log_scale, 0.0, self.spec.largest_scale)

    def needs(self) -> dict[str, Read]:
        """The vectors of both texts, by the same encoder."""
        text, translation = self.views
        return {"text": Read(Encode(text)), "translation": Read(Encode(translation))}

    def count(self, batch: Batch) -> torch.Tensor:
        """How many records have both texts; int64 scalar."""
        return (batch.there(self.views[0]) & batch.there(self.views[1])).sum()

    def score(self, got: dict[str, torch.Tensor], batch: Batch) -> Loss:
        """The mean of both directions; `chance` is ln(candidates): nothing learned yet.

        Two records with an equal text, or an equal translation, are no negatives of each other;
        nor are they where the text of the one is the translation of the other.
        """
        there, back, candidates = contrast(
            got["text"], got["translation"], self.scale, batch, self.views
        )
        return Loss(
            sum=(there + back) / 2,
            count=self.count(batch),
            parts={
                "text_to_translation": there.detach(),
                "translation_to_text": back.detach(),
            },
            chance=candidates.clamp(min=1).log(),
        )

    def after(self, got: dict[str, torch.Tensor], batch: Batch) -> None:
        """The temperature goes back within its bounds."""
        keep_within(self.log_scale, 0.0, self.spec.largest_scale)
