"""Self-supervision of pictures: two random views of one picture find each other (SimCLR).

Chen et al. 2020 (SimCLR, arXiv 2002.05709), equation 1, in the form of Mu et al. 2022 (SLIP, arXiv
2112.12750), section 3: temperature 0.1, fixed; two hidden layers of 4,096 and 256 values out.
Checked against the expressions in facebookresearch/SLIP losses.py (SIMCLRLoss) and models.py
(_build_mlp), rebuilt in the test. Differences: a picture that comes twice in a batch is no negative
of itself but a further positive (Khosla et al. 2020, arXiv 2004.11362, equation 2); a record
without a picture takes no part, in the statistics neither; and the head keeps no running
statistics, for nothing uses it after training.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional as F

from sensorium import ranks
from sensorium.errors import RecipeError
from sensorium.nodes import Encode, Given, Read
from sensorium.objectives.contrastive import alike, contents, one_way, similarities
from sensorium.step import Loss
from sensorium.tokens import Batch

SUMMARY = "two random views of a picture find each other among the batch (SimCLR, as in SLIP)"


class Spec(BaseModel):
    """Options of self-supervision."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["image_self_supervision"] = "image_self_supervision"
    weight: float = Field(1.0, gt=0)
    of: str = Field("image", description="the modality whose variants 1 and 2 are random views")
    temperature: float = Field(0.1, gt=0, description="fixed")
    hidden: int = Field(4096, ge=1, description="width of the head's two hidden layers")
    out: int = Field(256, ge=1, description="width of what is compared")


class BatchNorm(nn.Module):
    """Each channel to mean 0 and variance 1 over the records that are there, of all processes.

    Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1. Equal to torch's BatchNorm1d in training
    where all are there; always of the batch at hand, so it keeps no state.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, x: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """[b, d] and bool [b] -> [b, d]; what is not there has no influence on the others."""
        kind, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))
        present = there[:, None].to(x.dtype)
        count = ranks.sum(present.sum()).clamp(min=1)
        mean = ranks.sum((x * present).sum(dim=0)) / count
        variance = ranks.sum(((x - mean).square() * present).sum(dim=0)) / count
        return ((x - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias).to(kind)


class Head(nn.Module):
    """What is compared is not what is kept: linear, norm, ReLU, twice, and linear.

    Args:
        width: d, of what the encoder gives.
    """

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.layer1, self.norm1 = nn.Linear(width, hidden), BatchNorm(hidden)
        self.layer2, self.norm2 = nn.Linear(hidden, hidden), BatchNorm(hidden)
        self.layer3 = nn.Linear(hidden, out)

    def forward(self, x: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """[b, d] and bool [b] -> [b, out]."""
        x = self.norm1(self.layer1(x), there).relu()
        return self.layer3(self.norm2(self.layer2(x), there).relu())


def nt_xent(
    first: torch.Tensor,
    second: torch.Tensor,
    scale: torch.Tensor,
    about: torch.Tensor,
    valid: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Each view finds its other among all others of both views, of all processes.

    Args:
        first, second: float [b, out], of unit length; views of the same b records.
        scale: float [1], 1 / temperature.
        about: int64 [b, k], as `contents` gives.
        valid: bool [b].

    Returns:
        The sums over my records with the first and with the second view asking, and how many
        candidates each has, 2 n - 1 with n valid records; scalars.
    """
    firsts, seconds = ranks.gather(first), ranks.gather(second)
    everyone = ranks.gather(valid)
    same = alike(about, ranks.gather(about))
    rows = torch.arange(len(first), device=first.device)
    itself = torch.zeros_like(same)
    itself[rows, rows + ranks.rank() * len(first)] = True
    positive = torch.cat([same, same & ~itself], dim=1)
    candidates = torch.cat([everyone, everyone])

    def side(asks: torch.Tensor, others: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        # A view is no candidate of itself. No row is empty: its other view remains.
        mine = similarities(asks, own, scale).masked_fill(itself, -torch.inf)
        logits = torch.cat([similarities(asks, others, scale), mine], dim=1)
        return one_way(logits, positive, valid, candidates)

    count = (2 * everyone.sum() - 1).clamp(min=1)
    return side(first, seconds, firsts), side(second, firsts, seconds), count


class Objective(nn.Module):
    """SimCLR on two variants of a picture, beside whatever else looks at it; owns the head.

    Raises:
        RecipeError: the recipe declares fewer than two variants.
    """

    additive = False  # a half batch offers half the negatives, and other statistics

    def __init__(self, spec: Spec, given: Given) -> None:
        super().__init__()
        self.spec = spec
        declared = given.variants.get(spec.of, 0)
        if declared < 2:
            raise RecipeError(
                field=f"variants.{spec.of}",
                expected="two random views: [{augment: true}, {augment: true}]",
                found=f"{declared} variants",
            )
        self.views = [given.plain(spec.of, variant=number) for number in (1, 2)]
        self.head = Head(given.widths[spec.of], spec.hidden, spec.out)

    def needs(self) -> dict[str, Read]:
        """What the encoder gives of each view, before any projection into the shared space."""
        first, second = self.views
        return {"first": Read(Encode(first), "pooled"), "second": Read(Encode(second), "pooled")}

    def _valid(self, batch: Batch) -> torch.Tensor:
        return batch.there(self.views[0]) & batch.there(self.views[1])

    def count(self, batch: Batch) -> torch.Tensor:
        """How many records have the picture; int64 scalar."""
        return self._valid(batch).sum()

    def score(self, got: dict[str, torch.Tensor], batch: Batch) -> Loss:
        """The mean of both views asking; `chance` is ln(2 n - 1): nothing learned yet."""
        valid, scale = self._valid(batch), got["first"].new_tensor([1 / self.spec.temperature])
        first, second = (
            F.normalize(self.head(got[name], valid).float(), dim=1) for name in ("first", "second")
        )
        about = contents(batch, self.views)
        a, b, candidates = nt_xent(first, second, scale, about, valid)
        return Loss(sum=(a + b) / 2, count=valid.sum(), chance=candidates.to(a.dtype).log())
