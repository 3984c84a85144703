"""Classification: which of the known classes is this record? Also answers from a closed set.

A linear layer over one state of the record. Where modalities meet, over the joint vector (with a
question as the text and answers as classes this is visual question answering: VQA v2's 3,129
answers, LXMERT, 1908.07490 section 4.2; ViLT, 2102.03334); of one modality, over what its encoder
pools (ViT, BERT).

`chance` is the loss of whoever knows how frequent classes are and nothing else, counted in training
up to this step: ln(classes) at the start. The batch's own frequencies would be too good a guess
where classes are many and records few.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional as F

from sensorium import ranks
from sensorium.errors import RecipeError, nearest
from sensorium.nodes import Encode, Given, Read
from sensorium.step import Loss
from sensorium.tokens import Batch

SUMMARY = "which of the known classes, or answers, is this record?"


class Spec(BaseModel):
    """Options of classification."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["classification"] = "classification"
    weight: float = Field(1.0, gt=0)
    target: str = Field("label", description="the recipe's target that is told")
    of: tuple[str, ...] = Field((), description="modalities it is told from; none: all")
    smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the target that is spread over all classes"
    )


class Objective(nn.Module):
    """Owns the linear layer, and how often each class was seen.

    From all modalities: their joint vector, where fusion has one. Otherwise the pooled states of
    the encoders side by side, zero where a record lacks the modality.

    Raises:
        RecipeError: the recipe has no such target.
    """

    additive = True
    seen: torch.Tensor

    def __init__(self, spec: Spec, given: Given) -> None:
        super().__init__()
        if spec.target not in given.classes:
            raise RecipeError(
                field="classification.target",
                expected="a target of the recipe: " + (", ".join(given.classes) or "there is none"),
                found=spec.target,
                nearest=nearest(spec.target, list(given.classes)),
            )
        self.spec, self.given = spec, given
        self.of = spec.of or tuple(given.views)
        joined = given.joint > 0 and set(self.of) == set(given.views)
        self.joint = joined and len(self.of) > 1
        width = given.joint if self.joint else sum(given.widths[name] for name in self.of)
        classes = given.classes[spec.target]
        self.head = nn.Linear(width, classes)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        # Laplace's prior: each class was seen once before anything was.
        self.register_buffer("seen", torch.ones(classes, dtype=torch.int64))

    def needs(self) -> dict[str, Read]:
        """`joint` [b, D], or `pooled` [b, d] of each modality by its name."""
        if self.joint:
            return {"joint": Read(self.given.fuse(), "joint")}
        return {name: Read(Encode(self.given.views[name]), "pooled") for name in self.of}

    def _counts(self, batch: Batch) -> torch.Tensor:
        """Records with a class and at least one of the modalities, bool [b]."""
        there = torch.stack([batch.present[name] for name in self.of]).any(0)
        return there & (batch.targets[self.spec.target] >= 0)

    def count(self, batch: Batch) -> torch.Tensor:
        """How many records are asked about; int64 scalar."""
        return self._counts(batch).sum()

    def logits(self, got: dict[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        """What each record may be: float32 [b, classes]."""
        if self.joint:
            return self.head(got["joint"]).float()
        parts = [got[name] * batch.present[name][:, None] for name in self.of]
        return self.head(torch.cat(parts, 1)).float()

    def score(self, got: dict[str, torch.Tensor], batch: Batch) -> Loss:
        """Cross-entropy over the records that count."""
        rows, logits = self._counts(batch), self.logits(got, batch)
        truth = torch.where(rows, batch.targets[self.spec.target], -1)
        right = (logits.detach().argmax(1) == truth).sum()
        total, count = self._loss(logits, truth), rows.sum()
        prior = self.seen.to(logits.dtype) / self.seen.sum()
        prior = torch.lerp(prior, torch.full_like(prior, 1 / len(prior)), self.spec.smoothing)
        luck = self._loss(prior.log().expand_as(logits), truth)
        chance = torch.where(count > 0, luck / count.clamp(min=1), prior.new_tensor(0.0))
        return Loss(sum=total, count=count, chance=chance, parts={"right": right.float()})

    def _loss(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(
            logits, truth, ignore_index=-1, reduction="sum", label_smoothing=self.spec.smoothing
        )

    @torch.no_grad()
    def after(self, got: dict[str, torch.Tensor], batch: Batch) -> None:
        """Counts the classes of this step, of all processes' records."""
        rows, labels = self._counts(batch), batch.targets[self.spec.target].clamp(min=0)
        told = torch.zeros_like(self.seen).index_add_(0, labels, rows.to(self.seen))
        self.seen.add_(ranks.sum(told))
