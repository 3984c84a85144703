"""What may be seen: a `View` describes it, a `Look` is the tensors it gives.

The one rule of attention: a token sees another that is `real` and whose `order` is not greater
than its own. `full` is 0 everywhere; `causal` counts up; `prefix` is 0 for a drawn length, then
counts up. `rank` places one modality after another: a text of rank 1 sees a picture of rank 0, the
picture does not see the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch

from sensorium import draws
from sensorium.tokens import Batch, Tokens, expect

Order = Literal["full", "causal", "prefix"]
RANK = 2**20  # more than the longest sequence: what is of a higher rank comes after all of it


@dataclass(frozen=True)
class Edited:
    """What an edit gives: the tokens after it, and which are hidden, bool [b, t]."""

    tokens: Tokens
    hidden: torch.Tensor


class Edit(Protocol):
    """What a view does to tokens: a member of the shelf `edits`, frozen and hashable."""

    def apply(self, tokens: Tokens, about: Any, rngs: list[np.random.Generator]) -> Edited:
        """The tokens after the edit.

        Args:
            tokens: of b records, as they are.
            about: the object of the modality, which knows its vocabulary.
            rngs: one a record.
        """
        ...


@dataclass(frozen=True)
class View:
    """A frozen description, usable as a key: what of a modality is seen, after what, and when."""

    modality: str
    variant: int = 0
    edits: tuple[Edit, ...] = ()
    order: Order = "full"
    rank: int = 0

    @property
    def name(self) -> str:
        """What a batch calls its presence and identity: `text`, or `text#1` for a variant."""
        return f"{self.modality}#{self.variant}" if self.variant else self.modality

    @property
    def drawn(self) -> bool:
        """Whether it needs draws, so that it is looked at where the batch is made."""
        return bool(self.edits) or self.order == "prefix"


@dataclass(frozen=True)
class Look:
    """What a view gives.

    tokens: after its edits. order: int64 [b, t]. present: bool [b].
    places: int64 [k], flat indices into [b, t] of the positions whose state predicts something, in
        ascending order; None where a view predicts nothing.
    truth: int64 [k], the ids that they predict: where an edit hides, the clean id of the hidden
        position itself; elsewhere, in an ordered view, the next id.
    """

    tokens: Tokens
    order: torch.Tensor
    present: torch.Tensor
    places: torch.Tensor | None = None
    truth: torch.Tensor | None = None

    def __post_init__(self) -> None:
        b, t = self.tokens.real.shape
        expect("order", self.order, (b, t), torch.int64)
        expect("present", self.present, (b,), torch.bool)
        if (self.places is None) != (self.truth is None):
            raise TypeError("look: expected both places and truth, or neither")
        if self.places is not None and self.truth is not None:
            expect("places", self.places, (None,), torch.int64)
            expect("truth", self.truth, (len(self.places),), torch.int64)

    @property
    def owner(self) -> torch.Tensor:
        """int64 [k], which record each place belongs to."""
        assert self.places is not None, "only a look that predicts has places"
        return self.places // self.tokens.real.shape[1]

    def to(self, device: torch.device | str) -> Look:
        """The same look on a device."""
        return Look(
            self.tokens.to(device),
            self.order.to(device),
            self.present.to(device),
            None if self.places is None else self.places.to(device),
            None if self.truth is None else self.truth.to(device),
        )


def look(view: View, batch: Batch, about: Any = None) -> Look:
    """The tensors of a view: what was attached to the batch, or made now.

    Draws depend on the record and the view's name alone: of two views that hide words of one text
    at two rates, the one hides what the other hides and more.

    Args:
        about: the object of the modality, for views with edits.

    Raises:
        KeyError: the batch has no such modality or variant.
        TypeError: the view needs draws and the batch carries none.
    """
    if view in batch.looks:
        return batch.looks[view]
    clean = batch.tokens[view.modality, view.variant]
    there = batch.there(view)
    rngs: list[np.random.Generator] = []
    if view.drawn:
        if batch.draw is None:
            raise TypeError(f"{view.name}: expected a batch with draws, found one without")
        rngs = [draws.generator(int(key), "view", view.name) for key in batch.draw]
    tokens, hidden = clean, None
    for edit in view.edits:
        edited = edit.apply(tokens, about, rngs)
        tokens = edited.tokens
        hidden = edited.hidden if hidden is None else hidden | edited.hidden
    order = torch.zeros_like(tokens.real, dtype=torch.int64)
    count = torch.arange(order.shape[1], device=order.device)
    given = torch.zeros(len(order), dtype=torch.int64, device=order.device)
    if view.order == "causal":
        order = order + count
    elif view.order == "prefix":
        given = _prefixes(tokens.real, rngs)
        order = (count - given[:, None] + 1).clamp(min=0)
    order = order + view.rank * RANK
    if clean.ids is None or (hidden is None and view.order == "full"):
        return Look(tokens, order, there)
    if hidden is not None:
        predicts, ids = hidden & tokens.real, clean.ids
    else:  # each position predicts the next; what the prefix shows is not asked
        follows = torch.zeros_like(tokens.real)
        follows[:, :-1] = tokens.real[:, :-1] & tokens.real[:, 1:]
        predicts = follows & (count >= given[:, None] - 1)
        ids = clean.ids.roll(-1, 1)
    places = (predicts & there[:, None]).flatten().nonzero().flatten()
    return Look(tokens, order, there, places, ids.flatten()[places])


def _prefixes(real: torch.Tensor, rngs: list[np.random.Generator]) -> torch.Tensor:
    """How many tokens a record shows before it must continue: 1 to all but one, int64 [b]."""
    lengths = real.sum(1).tolist()
    drawn = [1 + int(r.random() * max(1, n - 1)) for n, r in zip(lengths, rngs, strict=True)]
    return torch.tensor(drawn, dtype=torch.int64, device=real.device)


def attach(batch: Batch, views: Iterable[View], about: Mapping[str, Any]) -> Batch:
    """The batch with the looks of all views that need draws, or whose places a GPU would wait for.

    Args:
        about: modality -> its object.
    """
    made = [view for view in views if view.drawn or view.order != "full"]
    looks = {view: look(view, batch, about.get(view.modality)) for view in made}
    return replace(batch, looks=batch.looks | looks) if looks else batch


def visible(real: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """The one rule of attention as a table: bool [b, 1, t, t], row sees column.

    Args:
        real: bool [b, t].
        order: int64 [b, t].
    """
    return (real[:, None, :] & (order[:, None, :] <= order[:, :, None]))[:, None]
