"""Tokens: one modality of some records as padded tensors; Batch: all that a step may see.

`real` says what is not padding. Shapes are checked when a value is constructed, so a mistake is
named where it is made. Letters: b = records, t = tokens, c = values per token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from sensorium.records import Source


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

    keys, sources: one per record, for errors and keyed draws.
    tokens: (modality, variant) -> Tokens; a variant is which augmentation or which caption.
    present: modality -> bool [b]; False where the record lacks it (its tokens are then a stand-in
        whose content must not matter).
    identity: modality -> int64 [b], equal where two records carry the same content, e.g. the same
        caption: such a pair is no negative.
    """

    keys: tuple[str, ...]
    sources: tuple[Source, ...]
    tokens: dict[tuple[str, int], Tokens]
    present: dict[str, torch.Tensor]
    identity: dict[str, torch.Tensor] = field(default_factory=dict)

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
        for modality, same in self.identity.items():
            expect(f"{modality} identity", same, (b,), torch.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        return replace(
            self,
            tokens={at: tokens.to(device) for at, tokens in self.tokens.items()},
            present={at: x.to(device) for at, x in self.present.items()},
            identity={at: x.to(device) for at, x in self.identity.items()},
        )
