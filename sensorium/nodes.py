"""What must be computed: descriptions only. A node is frozen and hashable: it is its own cache key.

Reading upwards: `Embed` turns a view's tokens into states, `Encode` lets one modality's states see
each other, `Fuse` lets modalities meet, `Read` takes out what an objective or a search needs. `who`
computes it: the student, which learns, or the teacher, which follows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

import torch

from sensorium.tokens import Batch, expect
from sensorium.views import View

if TYPE_CHECKING:
    from collections.abc import Sequence

Who = Literal["student", "teacher"]
Give = Literal["vector", "pooled", "joint", "tokens", "logits"]


@dataclass(frozen=True)
class Embed:
    """Tokens of one view -> States [b, t, d]."""

    view: View
    who: Who = "student"


@dataclass(frozen=True)
class Encode:
    """States of one view after that modality's encoder [b, t, d]."""

    view: View
    who: Who = "student"

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (Embed(self.view, self.who),)


@dataclass(frozen=True)
class Rows:
    """Which record of each modality meets which: modality -> int64 [n], equal n for all."""

    index: dict[str, torch.Tensor]

    def __post_init__(self) -> None:
        counts = {len(index) for index in self.index.values()}
        if len(counts) != 1:
            raise TypeError(f"rows: expected equally many of each modality, found {counts}")
        for modality, index in self.index.items():
            expect(f"rows of {modality}", index, (None,), torch.int64)


class Pairing(Protocol):
    """Decides who meets whom, e.g. hard negatives; frozen and hashable, part of a node's key.

    `rows` has no gradient, and for a batch size always gives equally many rows.
    """

    @property
    def inputs(self) -> tuple[Read, ...]:
        """What must be computed before it can decide."""
        ...

    def rows(self, got: Sequence[torch.Tensor], batch: Batch) -> Rows:
        """The pairs.

        Args:
            got: the tensors of `inputs`, in their order.
        """
        ...


@dataclass(frozen=True)
class Fuse:
    """States of several views after they met: one State per part, in the order of the parts.

    `rows` pairs records anew, [n, t, d] instead of [b, t, d]; None: each meets its own.
    """

    parts: tuple[Encode, ...]
    rows: Pairing | None = None

    @property
    def who(self) -> Who:
        """Whose modules compute it: those of its parts."""
        return self.parts[0].who

    @property
    def inputs(self) -> tuple[Node, ...]:
        return self.parts if self.rows is None else (*self.parts, *self.rows.inputs)


@dataclass(frozen=True)
class Read:
    """One tensor out of a node.

    vector: float32 [b, e] of unit length, what contrast compares and search stores.
    pooled: [b, d], one state a record. tokens: [n, t, d].
    joint: [n, D], one state a row in which all parts of a `Fuse` have met.
    logits: [k, V], over the vocabulary, at the places that the part's look predicts.
    `part` says which State of a `Fuse`.
    """

    of: Encode | Fuse
    give: Give = "vector"
    part: int = 0

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.of,)

    @property
    def view(self) -> View:
        """The view whose states are read."""
        return self.of.parts[self.part].view if isinstance(self.of, Fuse) else self.of.view

    @property
    def who(self) -> Who:
        """Whose modules compute it."""
        return self.of.who


Node = Embed | Encode | Fuse | Read


@dataclass(frozen=True)
class Given:
    """What a model offers to objectives, known before any data.

    views: modality -> its plain view, in the recipe's order.
    meets: whether fusion lets modalities meet; a sole modality has nobody to meet.
    joint: width of what `Read(..., "joint")` gives.
    widths: modality -> width of what `Read(..., "pooled")` gives.
    entries: modality -> size of its vocabulary, where it has one.
    classes: target -> how many classes it has.
    variants: modality -> how many variants beside the plain one a batch carries.
    vectors: modality -> width of what `Read(..., "vector")` gives.
    teacher: whether nodes may be computed by a teacher.
    """

    views: dict[str, View]
    meets: bool = False
    joint: int = 0
    widths: Mapping[str, int] = field(default_factory=dict)
    entries: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    variants: Mapping[str, int] = field(default_factory=dict)
    vectors: Mapping[str, int] = field(default_factory=dict)
    teacher: bool = False

    def fuse(self, *replacing: View, who: Who = "student", rows: Pairing | None = None) -> Fuse:
        """All modalities meet, some of them in other views than the plain one."""
        seen = self.views | {view.modality: view for view in replacing}
        return Fuse(tuple(Encode(view, who) for view in seen.values()), rows)

    def seen(self, view: View, who: Who = "student") -> tuple[Encode | Fuse, int]:
        """Where a view's tokens see all that they may: the node, and the view's part in it."""
        if not self.meets:
            return Encode(view, who), 0
        return self.fuse(view, who=who), list(self.views).index(view.modality)

    def logits(self, view: View, who: Who = "student") -> Read:
        """What a view predicts, with all that it may see."""
        node, part = self.seen(view, who)
        return Read(node, "logits", part)

    def plain(self, modality: str, **changes) -> View:
        """A modality's plain view with some fields changed."""
        return replace(self.views[modality], **changes)
