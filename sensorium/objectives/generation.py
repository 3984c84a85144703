"""Generation: say each next word, from the words before it and the picture.

Captioning where modalities meet (CoCa, Yu et al. 2022, arXiv 2205.01917 section 3.2; BLIP,
2201.12086; UniVL), prefix language modelling with `order: prefix` (SimVLM, Wang et al. 2022,
2108.10904 section 3.1: the loss is on what follows the prefix), and GPT where nothing meets.

The view is causal at rank 0. A picture, whose order is 0 everywhere, then sees the text's first
token and no other, and that one is never asked for: nothing leaks, whatever the fusion. Where the
recipe's text is causal anyway (CoCa), this is its plain view, and contrast and captions share one
encode. With `rank: 1` the picture sees no token at all.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional as F

from sensorium.errors import RecipeError, nearest
from sensorium.nodes import Given, Read
from sensorium.step import Loss
from sensorium.tokens import Batch, expect
from sensorium.views import look

SUMMARY = "each next word is said from those before it and the picture (CoCa, SimVLM, GPT)"


class Spec(BaseModel):
    """Options of generation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["generation"] = "generation"
    weight: float = Field(1.0, gt=0)
    of: str = Field("text", description="the modality that is written")
    order: Literal["causal", "prefix"] = Field(
        "causal", description="prefix: a drawn beginning is seen whole and not asked for"
    )
    rank: int = Field(0, ge=0, description="1: the picture sees no word, not even the first")
    smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the target that is spread over all words"
    )


class Objective(nn.Module):
    """Owns nothing: the vocabulary head is the model's, tied to the word table.

    Raises:
        RecipeError: a modality without a vocabulary.
    """

    additive = True

    def __init__(self, spec: Spec, given: Given) -> None:
        super().__init__()
        if spec.of not in given.entries:
            raise RecipeError(
                field="generation.of",
                expected="a modality with a vocabulary: "
                + (", ".join(given.entries) or "there is none"),
                found=spec.of,
                nearest=nearest(spec.of, list(given.entries)),
            )
        self.spec, self.given = spec, given
        self.entries = given.entries[spec.of]
        self.view = given.plain(spec.of, order=spec.order, rank=spec.rank)

    def needs(self) -> dict[str, Read]:
        """`logits` [k, V], at the k places whose next token is asked for."""
        return {"logits": self.given.logits(self.view)}

    def _truth(self, batch: Batch) -> torch.Tensor:
        truth = look(self.view, batch).truth
        assert truth is not None, "an ordered view of ids predicts the next"
        return truth

    def count(self, batch: Batch) -> torch.Tensor:
        """How many next tokens are asked for, the end of each text included. int64 scalar."""
        truth = self._truth(batch)
        return truth.new_full((), len(truth))

    def score(self, got: dict[str, torch.Tensor], batch: Batch) -> Loss:
        """Cross-entropy over all next tokens of the batch; `chance` is ln(V), smoothed or not."""
        truth, logits = self._truth(batch), got["logits"]
        expect("logits", logits, (len(truth), self.entries))
        total = F.cross_entropy(
            logits.float(), truth, reduction="sum", label_smoothing=self.spec.smoothing
        )
        right = (logits.detach().argmax(1) == truth).sum()
        return Loss(
            sum=total,
            count=truth.new_full((), len(truth)),
            chance=total.new_full((), self.entries).log(),
            parts={"right": right.float()},
        )
