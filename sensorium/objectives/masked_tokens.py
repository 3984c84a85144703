"""Masked tokens: say the words that were hidden, from the other words and the picture.

BERT (Devlin et al. 2019, arXiv 1810.04805 section 3.1) with a picture beside it: VisualBERT
(1908.03557), UNITER (1909.11740), ALBEF (2107.07651). Only words are hidden, the picture is whole.
With `order: causal, rank: 1` a word sees the picture and the words before it, and the picture sees
no word: the sequence-to-sequence form of VLP (1909.11059 section 3.2), which asks for hidden words
too, not for next ones.

With `soft`, part of the target is what the teacher would say (momentum distillation, ALBEF section
3.4, equations 6 and 7; salesforce/ALBEF `models/xbert.py`, BertForMaskedLM).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional as F

from sensorium.errors import RecipeError, nearest
from sensorium.nodes import Given, Read
from sensorium.step import Loss
from sensorium.tokens import Batch, expect
from sensorium.views import Look, look

SUMMARY = "hidden words are said from the other words and the picture (BERT, ALBEF)"


class Spec(BaseModel):
    """Options of masked tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["masked_tokens"] = "masked_tokens"
    weight: float = Field(1.0, gt=0)
    of: str = Field("text", description="the modality whose words are hidden")
    edits: tuple[Any, ...] = Field(({"use": "hide"},), description="what hides them")
    order: Literal["full", "causal", "prefix"] = Field("full", description="which words see which")
    rank: int = Field(0, ge=0, description="1: words see the picture, the picture sees no word")
    soft: float = Field(
        0.0, ge=0, lt=1, description="share of the teacher's answer in the target; 0: no teacher"
    )
    ramp: float = Field(
        0.0, ge=0, le=1, description="share of the training over which `soft` grows from 0"
    )


def softened(
    logits: torch.Tensor, truth: torch.Tensor, teacher: torch.Tensor, share: float
) -> torch.Tensor:
    """(1 - share) * cross-entropy to the truth + share * cross-entropy to the teacher's softmax.

    Args:
        logits, teacher: [k, V]. The teacher's have no gradient.
        truth: int64 [k].

    Returns:
        The sum over k, a float32 scalar. Equal logits give k ln(V), whatever the teacher says.
    """
    log_share = F.log_softmax(logits.float(), dim=1)
    hard = -log_share.gather(1, truth[:, None]).sum()
    soft = -(teacher.float().softmax(1) * log_share).sum()
    return (1 - share) * hard + share * soft


class Objective(nn.Module):
    """Owns nothing: the vocabulary head is the model's, tied to the word table.

    The logits are [k, V], for the k hidden places alone: 2,000 places of 30,000 entries take 240 MB
    in float32, as much again for their gradient, and once more with a teacher.

    Raises:
        RecipeError: a modality without a vocabulary, nothing that hides words, or soft targets
            without a teacher.
    """

    additive = True

    def __init__(self, spec: Spec, given: Given) -> None:
        super().__init__()
        self.spec = spec
        if spec.of not in given.entries:
            raise RecipeError(
                field="masked_tokens.of",
                expected="a modality with a vocabulary: "
                + (", ".join(given.entries) or "there is none"),
                found=spec.of,
                nearest=nearest(spec.of, list(given.entries)),
            )
        self.entries = given.entries[spec.of]
        if not spec.edits:
            raise RecipeError(
                field="masked_tokens.edits", expected="an edit that hides words", found="none",
                see="generation asks for next words",
            )  # fmt: skip
        if spec.soft and not given.teacher:
            raise RecipeError(
                "masked_tokens: soft mixes in what a teacher says, and the recipe has none",
                expected="a teacher, e.g. teacher: {momentum: 0.995}",
            )
        self.view = given.plain(spec.of, edits=spec.edits, order=spec.order, rank=spec.rank)
        self.given = given

    def needs(self) -> dict[str, Read]:
        """`logits` [k, V], and the teacher's as `soft`."""
        needs = {"logits": self.given.logits(self.view)}
        if self.spec.soft:
            needs["soft"] = self.given.logits(self.view, "teacher")
        return needs

    def _truth(self, batch: Batch) -> torch.Tensor:
        seen: Look = look(self.view, batch)
        assert seen.truth is not None, "an edit that hides words tells which"
        return seen.truth

    def count(self, batch: Batch) -> torch.Tensor:
        """How many words are hidden: all of them in records that have the text. int64 scalar."""
        truth = self._truth(batch)
        return truth.new_full((), len(truth))

    def share(self, batch: Batch) -> float:
        """The teacher's share of the target at this point of the training."""
        ramp = self.spec.ramp
        return self.spec.soft * (min(1.0, batch.progress / ramp) if ramp else 1.0)

    def score(self, got: dict[str, torch.Tensor], batch: Batch) -> Loss:
        """Cross-entropy over the hidden places; `chance` is ln(V), every word as likely.

        Whoever knows how frequent words are, and nothing else, is already below it.
        """
        truth, logits = self._truth(batch), got["logits"]
        expect("logits", logits, (len(truth), self.entries))
        if "soft" in got and self.training:  # in evaluation the truth alone is asked for
            total = softened(logits, truth, got["soft"], self.share(batch))
        else:
            total = F.cross_entropy(logits.float(), truth, reduction="sum")
        right = (logits.detach().argmax(1) == truth).sum()
        return Loss(
            sum=total,
            count=truth.new_full((), len(truth)),
            chance=total.new_full((), self.entries).log(),
            parts={"right": right.float()},
        )
