"""Contrast: a record's two views find each other among everybody else's.

Symmetric InfoNCE, survey code CS. Radford et al. 2021 (CLIP), section 2.3 and figure 3; bounded
learned temperature from the same section ("clipped to prevent scaling the logits by more than
100"), the parameter itself after each update, as SLIP and ALBEF do. Several positives share one
row's target equally (Khosla et al. 2020, equation 2; UniCL, Yang et al. 2022, equation 2): two
records that carry the same caption are no negatives of each other.

With a teacher as Li et al. 2021 (ALBEF, arXiv 2107.07651), section 3.2, equations 1, 2 and 6:
what is asked is the student's, what answers is the teacher's vectors of this batch and, in a queue,
of batches before (He et al. 2020, MoCo, arXiv 1911.05722); the target is mixed with what the
teacher itself would answer. Checked against the expression in salesforce/ALBEF
models/model_pretrain.py, rebuilt in the test. Differences: a queue starts empty instead of full of
noise; what carries the same content is a positive there too; the batch need not divide the queue;
and keys of other processes answer before they are in the queue.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional as F

from sensorium import draws, ranks
from sensorium.errors import RecipeError
from sensorium.nodes import Encode, Given, Read
from sensorium.step import Loss
from sensorium.tokens import Batch, expect
from sensorium.views import View

SUMMARY = "two views of a record find each other among the batch (symmetric InfoNCE)"


class Spec(BaseModel):
    """Options of contrast."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["contrastive"] = "contrastive"
    weight: float = Field(1.0, gt=0)
    between: tuple[str, str] = Field(("image", "text"), description="the two modalities")
    temperature: float = Field(0.07, gt=0, description="initial; learned")
    largest_scale: float = Field(100.0, gt=0, description="upper bound of 1 / temperature")
    smallest_scale: float = Field(0.0, ge=0, description="lower bound of 1 / temperature")
    queue: int = Field(0, ge=0, description="the teacher's vectors of earlier batches, a side")
    soft: float = Field(0.0, ge=0, le=1, description="share of the target that the teacher sets")
    ramp: float = Field(0.0, ge=0, le=1, description="share of training in which `soft` grows")


def one_way(
    logits: torch.Tensor,
    positive: torch.Tensor,
    asks: torch.Tensor,
    candidates: torch.Tensor,
    judged: torch.Tensor | None = None,
    soft: float = 0.0,
) -> torch.Tensor:
    """Cross-entropy of each row over its candidates, summed over the rows that ask; a scalar.

    The target of a row is shared equally by its positives; with `judged` a share `soft` of it is
    softmax(judged) instead. Without skill (all logits of a row equal) each row's loss is
    ln(candidates), whatever the target.

    Args:
        logits: float [n, m], at least float32.
        positive: bool [n, m]; each row that asks has at least one among the candidates.
        asks: bool [n]. candidates: bool [m].
        judged: float [n, m], the teacher's logits; no gradient.
    """
    n, m = logits.shape
    expect("positive", positive, (n, m), torch.bool)
    expect("asks", asks, (n,), torch.bool)
    expect("candidates", candidates, (m,), torch.bool)
    # A row that does not ask keeps all, so that no softmax is empty; its target is zero.
    closed = asks[:, None] & ~candidates[None, :]
    hard = (positive & candidates & asks[:, None]).to(logits.dtype)
    target = hard / hard.sum(dim=1, keepdim=True).clamp(min=1)
    if judged is not None:
        answer = F.softmax(judged.masked_fill(closed, -torch.inf), dim=1) * asks[:, None]
        target = soft * answer + (1 - soft) * target
    log_share = F.log_softmax(logits.masked_fill(closed, -torch.inf), dim=1)
    # What is no candidate has no target either; minus infinity times zero would not be zero.
    return -(target * log_share.masked_fill(target == 0, 0.0)).sum()


def similarities(asked: torch.Tensor, keys: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """scale * cosine of unit vectors [n, e] and [m, e] -> [n, m], at least float32.

    Half precision cannot hold logits of scale 100.
    """
    expect("keys", keys, (None, asked.shape[1]))
    wide = torch.promote_types(asked.dtype, torch.float32)
    return scale * (asked.to(wide) @ keys.to(wide).T)


def bounded(log_scale: torch.Tensor, smallest: float, largest: float) -> torch.Tensor:
    """1 / temperature within its bounds, float like `log_scale`.

    Out of bounds too, the gradient is that of exp: a plain clamp has none there, so that what once
    overshot (the float next to ln 100 is enough) would never come back.
    """
    value = log_scale.detach().exp().clamp(smallest, largest)
    return value * (log_scale - log_scale.detach()).exp()  # exp(0) is exactly 1


@torch.no_grad()
def keep_within(log_scale: torch.Tensor, smallest: float, largest: float) -> None:
    """Puts the parameter itself back within its bounds, in place; for after an update.

    Else it could run far out where the loss asks for ever more, and be long in coming back.
    """
    log_scale.clamp_(math.log(smallest) if smallest > 0 else None, math.log(largest))


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
    expect("right", right, tuple(left.shape))
    logits = similarities(left, right, scale)
    return one_way(logits, positive, valid, valid), one_way(logits.T, positive.T, valid, valid)


def contents(batch: Batch, views: Sequence[View]) -> torch.Tensor:
    """What each record is: a number for its key, then one for its content in each view.

    Returns:
        int64 [b, 1 + views], the same for the same record or content in any batch.
    """
    numbers = [draws.integer("record", key) for key in batch.keys]
    record = torch.tensor(numbers, dtype=torch.int64, device=batch.there(views[0]).device)
    told = [batch.same(view) for view in views]
    return torch.stack([record, *(record if same is None else same for same in told)], dim=1)


def alike(mine: torch.Tensor, theirs: torch.Tensor, across: bool = False) -> torch.Tensor:
    """Which are the same record, or carry the same content in a view.

    Args:
        mine: int64 [n, k]. theirs: int64 [m, k]; both as `contents` gives.
        across: the first two views are of one modality, so that what one record carries in the
            first may be what another carries in the second, e.g. a text and another's translation.

    Returns:
        bool [n, m].
    """
    same = mine[:, None, 0] == theirs[None, :, 0]
    for at in range(1, mine.shape[1]):
        same = same | (mine[:, None, at] == theirs[None, :, at])
    if across:
        same = same | (mine[:, None, 1] == theirs[None, :, 2])
        same = same | (mine[:, None, 2] == theirs[None, :, 1])
    return same


def contrast(
    left: torch.Tensor,
    right: torch.Tensor,
    scale: torch.Tensor,
    batch: Batch,
    views: Sequence[View],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Symmetric InfoNCE between two views of a batch; rows of mine, columns of all processes.

    Args:
        left, right: float [b, e], unit length. scale: float [1].
        views: the two that are compared; a record that lacks one takes no part.

    Returns:
        The left -> right and the right -> left sums over my records, and how many candidates each
        has, int64; all scalars.
    """
    valid, about = batch.there(views[0]) & batch.there(views[1]), contents(batch, views)
    everyone = ranks.gather(valid)
    across = views[0].modality == views[1].modality
    positive = alike(about, ranks.gather(about), across)
    if ranks.size() == 1:  # one product serves both ways
        return *info_nce(left, right, scale, positive, valid), everyone.sum()
    there = similarities(left, ranks.gather(right), scale)
    back = similarities(right, ranks.gather(left), scale)
    return (
        one_way(there, positive, valid, everyone),
        one_way(back, positive, valid, everyone),
        everyone.sum(),
    )


class Objective(nn.Module):
    """Contrast between two modalities; owns the temperature and, where asked for, the queue.

    Where the recipe has a teacher, the teacher's vectors answer; else the batch's own.
    """

    additive = False  # a half batch offers half the negatives

    def __init__(self, spec: Spec, given: Given) -> None:
        super().__init__()
        self.spec = spec
        self.views = [given.views[modality] for modality in spec.between]
        self.taught = given.teacher
        for option in ("queue", "soft"):
            if getattr(spec, option) and not given.teacher:
                raise RecipeError(
                    f"contrastive: {option} holds what a teacher says, and the recipe has none",
                    expected="a teacher, e.g. teacher: {momentum: 0.995}",
                )
        # Shape [1]: sharded training refuses scalar parameters.
        self.log_scale = nn.Parameter(torch.tensor([math.log(1 / spec.temperature)]))
        if spec.queue:
            for side, view in zip(("left", "right"), self.views, strict=True):
                self.register_buffer(side, torch.zeros(spec.queue, given.vectors[view.modality]))
            self.register_buffer("about", torch.zeros(spec.queue, 3, dtype=torch.int64))
            self.register_buffer("filled", torch.zeros(spec.queue, dtype=torch.bool))
            self.register_buffer("next", torch.zeros(1, dtype=torch.int64))

    left: torch.Tensor  # [queue, e], vectors of the left view
    right: torch.Tensor  # [queue, e]
    about: torch.Tensor  # int64 [queue, 3], `contents` of whom they are
    filled: torch.Tensor  # bool [queue]; False: nothing yet, or a record that lacked a side
    next: torch.Tensor  # int64 [1], where the next one is written

    @property
    def scale(self) -> torch.Tensor:
        """1 / temperature, bounded; float [1]."""
        return bounded(self.log_scale, self.spec.smallest_scale, self.spec.largest_scale)

    def needs(self) -> dict[str, Read]:
        """The two vectors, each from its own encoder: nothing is fused before it is compared."""
        left, right = self.views
        needed = {"left": Read(Encode(left)), "right": Read(Encode(right))}
        if self.taught:
            needed["left_key"] = Read(Encode(left, "teacher"))
            needed["right_key"] = Read(Encode(right, "teacher"))
        return needed

    def _valid(self, batch: Batch) -> torch.Tensor:
        return batch.there(self.views[0]) & batch.there(self.views[1])

    def count(self, batch: Batch) -> torch.Tensor:
        """How many records have both sides; int64 scalar."""
        return self._valid(batch).sum()

    def score(self, got: dict[str, torch.Tensor], batch: Batch) -> Loss:
        """The mean of both directions; `chance` is ln(candidates): nothing learned yet.

        Queue and teacher belong to training. In evaluation a batch is asked plainly: a queue that
        fills and a teacher that moves would make one step's loss no match for another's.
        """
        if self.taught and self.training:
            there, back, candidates = self._taught(got, batch)
        else:
            there, back, candidates = contrast(
                got["left"], got["right"], self.scale, batch, self.views
            )
        left, right = (view.name for view in self.views)
        return Loss(
            sum=(there + back) / 2,
            count=self.count(batch),
            parts={f"{left}_to_{right}": there.detach(), f"{right}_to_{left}": back.detach()},
            chance=candidates.clamp(min=1).log(),
        )

    def share(self, batch: Batch) -> float:
        """How much of the target the teacher sets at this point of the training."""
        grown = 1.0 if self.spec.ramp == 0 else min(1.0, batch.progress / self.spec.ramp)
        return self.spec.soft * grown

    def _taught(
        self, got: dict[str, torch.Tensor], batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As `contrast`, with [the teacher's vectors of this batch | the queue] as candidates."""
        valid, about = self._valid(batch), contents(batch, self.views)
        lefts, rights = ranks.gather(got["left_key"]), ranks.gather(got["right_key"])
        abouts, candidates = ranks.gather(about), ranks.gather(valid)
        if self.spec.queue:
            lefts = torch.cat([lefts, self.left.to(lefts.dtype)])
            rights = torch.cat([rights, self.right.to(rights.dtype)])
            abouts = torch.cat([abouts, self.about])
            candidates = torch.cat([candidates, self.filled])
        positive, soft = alike(about, abouts), self.share(batch)

        def side(asked: torch.Tensor, judge: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
            keys, judged = keys.detach(), None
            if soft > 0:
                judged = similarities(judge.detach(), keys, self.scale.detach())
            logits = similarities(asked, keys, self.scale)
            return one_way(logits, positive, valid, candidates, judged, soft)

        there = side(got["left"], got["left_key"], rights)
        back = side(got["right"], got["right_key"], lefts)
        return there, back, candidates.sum()

    @torch.no_grad()
    def after(self, got: dict[str, torch.Tensor], batch: Batch) -> None:
        """The temperature goes back within its bounds; the oldest in the queue make room for the
        teacher's vectors of this batch.

        A record that lacks a side is written too, as a place that is not filled: how much is
        written must not depend on data.
        """
        keep_within(self.log_scale, self.spec.smallest_scale, self.spec.largest_scale)
        if not self.spec.queue:
            return
        new = {
            "left": ranks.gather(got["left_key"]),
            "right": ranks.gather(got["right_key"]),
            "about": ranks.gather(contents(batch, self.views)),
            "filled": ranks.gather(self._valid(batch)),
        }
        size, count = self.spec.queue, len(new["filled"])
        first = max(0, count - size)  # of more than it holds, the last ones stay
        at = (self.next + torch.arange(first, count, device=self.next.device)) % size
        for name, rows in new.items():
            held = getattr(self, name)
            held[at] = rows[first:].to(held.dtype)
        self.next.copy_((self.next + count) % size)
