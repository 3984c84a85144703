"""Matching: does this picture belong to this text? A question to the joint vector of a pair.

Each record's own pair is right. Wrong ones come from the batch, drawn evenly (ViLBERT, arXiv
1908.02265 section 3.2; VisualBERT, 1908.03557; UNITER, 1909.11740) or the likelier the more alike
they are (ALBEF, 2107.07651 section 3.2; BLIP, 2201.12086), or from the caller, as a variant of the
text that is wrong. Three-way adds the caller's wrong text as a class of its own: 1 is somebody
else's, 2 is about this picture and wrong. (Oscar and VinVL, 2004.06165 and 2101.00529, ask in three
ways too; their 2 is a wrong caption and their 1 wrong object tags.)

Class 0 is a match, as in ViLBERT, Oscar and VisualBERT; ALBEF and UNITER count the other way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn
from torch.nn import functional as F

from sensorium import ranks
from sensorium.errors import RecipeError, nearest
from sensorium.nodes import Encode, Given, Read, Rows
from sensorium.step import Loss
from sensorium.tokens import Batch
from sensorium.views import View

SUMMARY = "does this picture belong to this text? wrong pairs are random, hard or given"
MATCH = 0


class Spec(BaseModel):
    """Options of matching."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["matching"] = "matching"
    weight: float = Field(1.0, gt=0)
    between: tuple[str, str] = Field(
        ("image", "text"), description="the pair; edits and variants are of the second"
    )
    negatives: Literal["random", "hard", "given"] = Field(
        "random", description="wrong pairs: even draws, draws by similarity, the caller's"
    )
    replace: str = Field(
        "both", description="which side of a wrong pair is another record's: a modality, or both"
    )
    ways: Literal[2, 3] = Field(2, description="3: the caller's wrong text is a class of its own")
    variant: int = Field(1, ge=1, description="the caller's wrong text (given, or three-way)")
    temperature: float = Field(0.07, gt=0, description="hard: similarities are divided by it")
    edits: tuple[Any, ...] = Field(
        (), description="as in masked_tokens: equal edits share one pass through fusion"
    )

    @model_validator(mode="after")
    def _three(self):
        if self.ways == 3 and self.negatives == "given":
            raise ValueError("ways is 3: negatives must be random or hard, beside the given ones")
        return self


# --- who is the wrong partner -------------------------------------------------------------------


def _mixed(x: torch.Tensor) -> torch.Tensor:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014) on int64, which wraps around."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15), (31, 1)):
        low = (x >> shift) & (2 ** (64 - shift) - 1)  # >> keeps the sign: clear what it brought in
        x = (x ^ low) * factor
    return x


def gumbel(rows: torch.Tensor, columns: torch.Tensor, purpose: int) -> torch.Tensor:
    """Standard Gumbel noise, one number for each pair of draws.

    A number depends on its two draws and the purpose alone: not on the batch's order, its size or
    the device. The largest of log weight + noise is a draw in proportion to the weights.

    Args:
        rows: int64 [n], `Batch.draw` of those who ask.
        columns: int64 [m], of those who answer.

    Returns:
        float32 [n, m].
    """
    bits = _mixed(_mixed(rows + purpose)[:, None] ^ columns[None, :])
    share = ((bits >> 1) & (2**63 - 1)).float() * 2.0**-63  # fine near 0, where the largest are
    return -(-torch.log1p(-share.clamp(2.0**-64, 1 - 2.0**-24))).log()


@dataclass(frozen=True)
class RandomPartner:
    """Another record's text or picture, each as likely as any other.

    between: the plain views of the pair. replaced: those of the two whose rows are exchanged; b
    rows each, in this order. others: modalities that come along with what is kept.
    """

    between: tuple[View, View]
    replaced: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[Read, ...]:
        return ()

    def candidates(self, batch: Batch) -> torch.Tensor:
        """bool [b, b]: a pair of record i with j's content would be wrong.

        Both records are whole, and differ in text and in picture: where one is equal, the pair
        would be right. Symmetric.
        """
        there = whole(batch, self.between)
        fit = there[:, None] & there[None, :]
        fit = fit & ~torch.eye(len(batch), dtype=torch.bool, device=fit.device)
        for view in self.between:
            same = batch.same(view)
            if same is not None:
                fit = fit & (same[:, None] != same[None, :])
        return fit

    def weights(self, got: Sequence[torch.Tensor], at: int) -> torch.Tensor | float:
        """log weight of j for i, up to a constant of i: float [b, b]."""
        return 0.0

    @torch.no_grad()
    def rows(self, got: Sequence[torch.Tensor], batch: Batch) -> Rows:
        """b rows for each side that is replaced; a record without any candidate keeps its own."""
        if batch.draw is None:
            raise TypeError("matching: expected a batch with draws, found one without")
        fit = self.candidates(batch)
        own = torch.arange(len(batch), device=fit.device)
        index: dict[str, list[torch.Tensor]] = {}
        names = [view.modality for view in self.between]
        for modality in self.replaced:
            at = names.index(modality)
            score = self.weights(got, at) + gumbel(batch.draw, batch.draw, at)
            drawn = score.masked_fill(~fit, -math.inf).argmax(1)
            for name in (*names, *self.others):
                wrong = torch.where(fit.any(1), drawn, own) if name == modality else own
                index.setdefault(name, []).append(wrong)
        return Rows({name: torch.cat(parts) for name, parts in index.items()})


@dataclass(frozen=True)
class HardPartner(RandomPartner):
    """Drawn by softmax(similarity / temperature) over the candidates of the batch.

    ALBEF section 3.2: one wrong text a picture, one wrong picture a text. The similarity is that of
    the student's own vectors (ALBEF asks the teacher's); noise is added to logarithms, so no weight
    is lost to rounding, as in half precision there.
    """

    temperature: float = 0.07

    @property
    def inputs(self) -> tuple[Read, ...]:
        return tuple(Read(Encode(view)) for view in self.between)

    def weights(self, got: Sequence[torch.Tensor], at: int) -> torch.Tensor:
        """Row i: what is kept of record i, against what may replace the other side."""
        kept, replacing = got[1 - at].detach(), got[at].detach()
        return kept.float() @ replacing.float().T / self.temperature


def whole(batch: Batch, views: Sequence[View]) -> torch.Tensor:
    """Which records have all of some views, bool [b]."""
    there = batch.there(views[0])
    for view in views[1:]:
        there = there & batch.there(view)
    return there


# --- the objective ------------------------------------------------------------------------------


class Objective(nn.Module):
    """A linear layer over joint vectors; the model owns what makes them.

    Raises:
        RecipeError: a fusion without a joint vector, no such side or variant.
    """

    def __init__(self, spec: Spec, given: Given) -> None:
        super().__init__()
        self.spec, self.given = spec, given
        image, text = spec.between
        if not given.joint:
            raise RecipeError(
                field="fusion",
                expected="one that gives a joint vector, which matching asks",
                found="one where modalities do not meet",
                see="sensorium list fusion",
            )
        if spec.replace not in (*spec.between, "both"):
            choices = (*spec.between, "both")
            raise RecipeError(
                field="matching.replace",
                expected="one of " + ", ".join(choices),
                found=spec.replace,
                nearest=nearest(spec.replace, choices),
            )
        self.asks_given = spec.negatives == "given" or spec.ways == 3
        if self.asks_given and given.variants.get(text, 0) < spec.variant:
            raise RecipeError(
                field=f"variants.{text}",
                expected=f"a variant {spec.variant}: the field with the wrong {text}",
                found=f"{given.variants.get(text, 0)} variants",
            )
        self.plain = (given.views[image], given.views[text])
        self.seen = given.plain(text, edits=spec.edits)
        self.wrong = given.plain(text, edits=spec.edits, variant=spec.variant)
        self.pairing = None if spec.negatives == "given" else self._pairing()
        self.additive = self.pairing is None  # half a batch has other wrong partners
        self.head = nn.Linear(given.joint, spec.ways)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def _pairing(self) -> RandomPartner:
        spec = self.spec
        replaced = tuple(reversed(spec.between)) if spec.replace == "both" else (spec.replace,)
        others = tuple(name for name in self.given.views if name not in spec.between)
        if spec.negatives == "hard":
            return HardPartner(self.plain, replaced, others, spec.temperature)
        return RandomPartner(self.plain, replaced, others)

    def needs(self) -> dict[str, Read]:
        """Joint vectors: `own` [b, D], `partner` [b or 2b, D], `given` [b, D]."""
        needs = {"own": Read(self.given.fuse(self.seen), "joint")}
        if self.pairing is not None:
            needs["partner"] = Read(self.given.fuse(self.seen, rows=self.pairing), "joint")
        if self.asks_given:
            needs["given"] = Read(self.given.fuse(self.wrong), "joint")
        return needs

    def _asked(self, batch: Batch) -> dict[str, tuple[torch.Tensor, int]]:
        """What is asked -> which of its rows count, bool [n], and their class."""
        there = whole(batch, self.plain)
        asked = {"own": (there, MATCH)}
        if self.pairing is not None:
            some = self.pairing.candidates(batch).any(1)
            asked["partner"] = (some.repeat(len(self.pairing.replaced)), 1)
        if self.asks_given:
            counts = there & batch.there(self.wrong)
            right, wrong = batch.same(self.plain[1]), batch.same(self.wrong)
            if right is not None and wrong is not None:
                counts = counts & (right != wrong)  # a wrong text that is the right one is none
            asked["given"] = (counts, self.spec.ways - 1)
        return asked

    def count(self, batch: Batch) -> torch.Tensor:
        """How many pairs are asked about: known from presence and identity. int64 scalar."""
        return torch.stack([rows.sum() for rows, _ in self._asked(batch).values()]).sum()

    def score(self, got: dict[str, torch.Tensor], batch: Batch) -> Loss:
        """Cross-entropy over the pairs that count.

        `chance` is the entropy of their classes: what somebody gives who knows how many pairs are
        wrong and looks at none. Logits of zero give ln(ways), which is more where classes are
        uneven, e.g. ln 2 = 0.69 against 0.64 with two wrong pairs to a right one; a loss between
        the two has learned a count, not a match.
        """
        asked = self._asked(batch)
        rows = torch.cat([counts for counts, _ in asked.values()])
        label = torch.cat([torch.full_like(x, at, dtype=torch.int64) for x, at in asked.values()])
        logits = self.head(torch.cat([got[name] for name in asked])).float()
        each = F.cross_entropy(logits, label, reduction="none")
        count = rows.sum()
        shares = torch.stack([(rows & (label == at)).sum() for at in range(self.spec.ways)])
        right = (logits.detach().argmax(1) == label) & rows
        return Loss(
            sum=torch.where(rows, each, 0.0).sum(),
            count=count,
            chance=torch.special.entr(ranks.sum(shares) / ranks.sum(count).clamp(min=1)).sum(),
            parts={"right": right.sum().float()},
        )
