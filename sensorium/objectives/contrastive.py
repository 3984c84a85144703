"""Contrast: a record's two views find each other among everybody else's.

Symmetric InfoNCE, survey code CS. Radford et al. 2021 (CLIP), section 2.3 and figure 3; bounded
learned temperature from the same section ("clipped to prevent scaling the logits by more than
100"). Several positives share one row's target equally (Khosla et al. 2020, equation 2; UniCL, Yang
et al. 2022, equation 2): two records that carry the same caption are no negatives of each other.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional as F

from sensorium.nodes import Encode, Given, Read
from sensorium.step import Loss
from sensorium.tokens import Batch, expect

SUMMARY = "two views of a record find each other among the batch (symmetric InfoNCE)"


class Spec(BaseModel):
    """Options of contrast."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["contrastive"] = "contrastive"
    weight: float = Field(1.0, gt=0)
    between: tuple[str, str] = Field(("image", "text"), description="the two modalities")
    temperature: float = Field(0.07, gt=0, description="initial; learned")
    largest_scale: float = Field(100.0, gt=0, description="upper bound of 1 / temperature")


def info_nce(
    left: torch.Tensor,
    right: torch.Tensor,
    scale: torch.Tensor,
    positive: torch.Tensor,
    valid: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of each row over all right vectors, and of each column over all left ones.

    Args:
        left, right: float [n, e], unit length.
        scale: float [1], 1 / temperature.
        positive: bool [n, n]; row i and column j belong together; the diagonal is always true.
        valid: bool [n]; records that take part. Others neither ask nor answer.

    Returns:
        Sums over valid records of the left -> right and the right -> left loss, scalars. Without
        skill (all similarities equal) each equals n_valid * ln(n_valid).
    """
    n = len(left)
    expect("left", left, (n, None))
    expect("right", right, (n, left.shape[1]))
    expect("positive", positive, (n, n), torch.bool)
    expect("valid", valid, (n,), torch.bool)
    # At least float32: half precision cannot hold logits of scale 100.
    wide = torch.promote_types(left.dtype, torch.float32)
    logits = scale * (left.to(wide) @ right.to(wide).T)
    both = valid[:, None] & valid[None, :]
    # An invalid row keeps its own column, so that no softmax is empty; its loss is not counted.
    candidates = both | torch.eye(n, dtype=torch.bool, device=left.device)
    logits = logits.masked_fill(~candidates, -torch.inf)
    target = (positive & candidates).to(wide)

    def side(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        target = target / target.sum(dim=1, keepdim=True)
        # What is no candidate has no target either; minus infinity times zero would not be zero.
        log_share = F.log_softmax(logits, dim=1).masked_fill(target == 0, 0.0)
        return -((target * log_share).sum(dim=1) * valid).sum()

    return side(logits, target), side(logits.T, target.T)


class Objective(nn.Module):
    """Contrast between two modalities; owns the temperature."""

    additive = False  # a half batch offers half the negatives
    # The published bound is on exp(log_scale); the parameter itself stays free, so that the
    # gradient at the bound still points back inside.

    def __init__(self, spec: Spec, given: Given) -> None:
        super().__init__()
        self.spec = spec
        self.views = [given.views[modality] for modality in spec.between]
        # Shape [1]: sharded training refuses scalar parameters.
        self.log_scale = nn.Parameter(torch.tensor([math.log(1 / spec.temperature)]))

    @property
    def scale(self) -> torch.Tensor:
        """1 / temperature, bounded; float [1]."""
        return self.log_scale.exp().clamp(max=self.spec.largest_scale)

    def needs(self) -> dict[str, Read]:
        """The two vectors, each from its own encoder: nothing is fused before it is compared."""
        return {
            side: Read(Encode(view))
            for side, view in zip(("left", "right"), self.views, strict=True)
        }

    def _valid(self, batch: Batch) -> torch.Tensor:
        left, right = self.spec.between
        return batch.present[left] & batch.present[right]

    def count(self, batch: Batch) -> torch.Tensor:
        """How many records have both sides; int64 scalar."""
        return self._valid(batch).sum()

    def score(self, got: dict[str, torch.Tensor], batch: Batch) -> Loss:
        """The mean of both directions; `chance` is ln(n): nothing learned yet."""
        positive = torch.eye(len(batch), dtype=torch.bool, device=got["left"].device)
        for modality in self.spec.between:
            if modality in batch.identity:
                same = batch.identity[modality]
                positive = positive | (same[:, None] == same[None, :])
        valid = self._valid(batch)
        there, back = info_nce(got["left"], got["right"], self.scale, positive, valid)
        count = valid.sum()
        left, right = self.spec.between
        return Loss(
            sum=(there + back) / 2,
            count=count,
            parts={f"{left}_to_{right}": there.detach(), f"{right}_to_{left}": back.detach()},
            chance=count.clamp(min=1).log(),
        )
