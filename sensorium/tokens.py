"""Tokens: one modality of some records as padded tensors; Batch: all that a step may see.

`real` says what is not padding. Shapes are checked when a value is constructed, so a mistake is
named where it is made. Letters: b = records, t = tokens, c = values per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from sensorium.records import Source

if TYPE_CHECKING:
    from sensorium.views import Look, View


def expect(what: str, tensor: torch.Tensor, shape: Sequence[int | None], *dtypes: torch.dtype):
    """Raises a TypeError that names what was expected of a tensor and what was found."""
    fits = len(tensor.shape) == len(shape) and all(
        want is None or want == have for want, have in zip(shape, tensor.shape, strict=True)
    )
    if not fits or (dtypes and tensor.dtype not in dtypes):
        wanted = "[" + ", ".join("any" if side is None else str(side) for side in shape) + "]"
        kinds = " or ".join(str(d) for d in dtypes)
        raise TypeError(
            f"{what}: expected {wanted} {kinds}, found {list(tensor.shape)} {tensor.dtype}"
        )


@dataclass(frozen=True)
class Tokens:
    """One modality of b records, padded to the longest.

    Exactly one of:
        ids: int64 [b, t], indices into a vocabulary.
        values: uint8 or float [b, t, c], e.g. the pixels of patches or a frozen tower's features.
    Always:
        real: bool [b, t]; False is padding.
        position: int64 [b or 1, t, axes]: row and column of a patch, index of a word.
    """

    modality: str
    real: torch.Tensor
    position: torch.Tensor
    ids: torch.Tensor | None = None
    values: torch.Tensor | None = None

    def __post_init__(self) -> None:
        b, t = self.real.shape
        expect(f"{self.modality} real", self.real, (b, t), torch.bool)
        if (self.ids is None) == (self.values is None):
            raise TypeError(f"{self.modality} tokens: expected either ids or values, not both")
        if self.ids is not None:
            expect(f"{self.modality} ids", self.ids, (b, t), torch.int64)
        if self.values is not None:
            expect(f"{self.modality} values", self.values, (b, t, None))
        if self.position.shape[0] not in (1, b):
            raise TypeError(
                f"{self.modality} position: expected first side 1 or {b}, "
                f"found {list(self.position.shape)}"
            )
        expect(f"{self.modality} position", self.position, (None, t, None), torch.int64)

    def to(self, device: torch.device | str) -> Tokens:
        """The same tokens on a device."""
        return replace(
            self,
            real=self.real.to(device),
            position=self.position.to(device),
            ids=None if self.ids is None else self.ids.to(device),
            values=None if self.values is None else self.values.to(device),
        )


def collate(parts: Sequence[Tokens], length: int = 0) -> Tokens:
    """Joins tokens of one modality along b, padded to the longest.

    Args:
        parts: tokens of one modality, all with ids or all with values of equal c.
        length: pad at least to this many tokens.
    """
    first = parts[0]
    if any((part.ids is None) != (first.ids is None) for part in parts):
        raise TypeError("tokens to join: expected all with ids or all with values")
    longest = max(length, *(part.real.shape[1] for part in parts))
    fixed = all(part.real.shape[1] == longest for part in parts)
    shared = fixed and all(part.position is first.position for part in parts)

    def join(tensors: list[torch.Tensor]) -> torch.Tensor:
        if fixed:
            return torch.cat(tensors)
        whole = tensors[0].new_zeros((sum(len(x) for x in tensors), longest, *tensors[0].shape[2:]))
        row = 0
        for x in tensors:
            whole[row : row + len(x), : x.shape[1]] = x
            row += len(x)
        return whole

    return Tokens(
        modality=first.modality,
        real=join([part.real for part in parts]),
        position=first.position if shared else join([_rows(part) for part in parts]),
        ids=None if first.ids is None else join([p.ids for p in parts if p.ids is not None]),
        values=None
        if first.values is None
        else join([p.values for p in parts if p.values is not None]),
    )


def _rows(part: Tokens) -> torch.Tensor:
    return part.position.expand(part.real.shape[0], -1, -1)


@dataclass(frozen=True)
class Batch:
    """What a step may see of b records.

    keys, sources: one per record, for errors.
    tokens: (modality, variant) -> Tokens; a variant is which augmentation or which caption.
    present: name of a plain view (`text`, `text#1`) -> bool [b]; False where the record lacks it
        (its tokens are then a stand-in whose content must not matter). A variant that says nothing
        of its own is present where its modality is.
    identity: the same names -> int64 [b], equal where two records carry the same content, e.g. the
        same caption: such a pair is no negative.
    targets: name -> int64 [b], the class of each record; -1 where it has none.
    draw: int64 [b], one keyed number a record, from which all draws of this step derive; None
        where nothing may be drawn.
    looks: what views with draws of their own give (`views.attach`), made where the batch is made.
    progress: share of the training that is done; schedules read it. 1 outside training.
    """

    keys: tuple[str, ...]
    sources: tuple[Source, ...]
    tokens: dict[tuple[str, int], Tokens]
    present: dict[str, torch.Tensor]
    identity: dict[str, torch.Tensor] = field(default_factory=dict)
    targets: dict[str, torch.Tensor] = field(default_factory=dict)
    draw: torch.Tensor | None = None
    looks: dict[View, Look] = field(default_factory=dict)
    progress: float = 1.0

    def __post_init__(self) -> None:
        b = len(self.keys)
        if len(self.sources) != b:
            raise TypeError(f"batch sources: expected {b}, found {len(self.sources)}")
        for (modality, variant), tokens in self.tokens.items():
            if tokens.modality != modality or tokens.real.shape[0] != b:
                raise TypeError(
                    f"batch tokens ({modality}, {variant}): expected {b} records of {modality}, "
                    f"found {tokens.real.shape[0]} of {tokens.modality}"
                )
            if modality not in self.present:
                raise TypeError(f"batch present: nothing is said about {modality}")
        for modality, present in self.present.items():
            expect(f"{modality} present", present, (b,), torch.bool)
        for name, numbers in (self.identity | self.targets).items():
            expect(f"{name} identity or target", numbers, (b,), torch.int64)
        if self.draw is not None:
            expect("batch draw", self.draw, (b,), torch.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def there(self, view: View) -> torch.Tensor:
        """Which records have what a view looks at, bool [b]."""
        return self.present.get(view.name, self.present[view.modality])

    def same(self, view: View) -> torch.Tensor | None:
        """int64 [b], equal where two records carry the same content in a view; None: unknown."""
        return self.identity.get(view.name, self.identity.get(view.modality))

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""

        def moved(group: dict) -> dict:
            return {at: x.to(device) for at, x in group.items()}

        return replace(
            self,
            tokens=moved(self.tokens),
            present=moved(self.present),
            identity=moved(self.identity),
            targets=moved(self.targets),
            draw=None if self.draw is None else self.draw.to(device),
            looks=moved(self.looks),
        )
