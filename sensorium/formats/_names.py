"""How our weight names map to another library's: a table, read in both directions.

A table has our names as keys and theirs as values; `*` stands for one part between dots, and the
parts that our `*` matched fill theirs from left to right:

    {"stack.blocks.*.mlp.up.*": "encoder.layer.*.intermediate.dense.*"}

Several names of theirs are one weight of ours, joined along the first axis. `Shaped` says that a
weight is laid out in another way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

Form = Literal[
    "patch", "vector", "table", "scalar", "turned", "flipped", "rank", "one row", "types"
]


@dataclass(frozen=True)
class Shaped:
    """One weight of theirs in another layout.

    patch: theirs a convolution [d, colour, row, column], ours linear [d, row * column * colour].
    vector: theirs [1, 1, d], ours [d].
    table: theirs [1, t, d], ours [t, d].
    scalar: theirs [], ours [1].
    turned: theirs [in, out] (GPT-2's), ours [out, in].
    flipped: rows in the reverse order: theirs class 1 is a match, ours class 0.
    rank: theirs one score [1, ...], ours two classes, whose difference is that score.
    one row: theirs a table whose first row alone is used, ours that row at every place. Not exact
        backwards: ours may have learned rows that differ.
    types: theirs two tables, of which a text's first row and a picture's second are used; ours both
        (VisualBERT). Not exact backwards: the other rows are lost.
    """

    name: str | tuple[str, ...]
    form: Form


Theirs = str | tuple[str, ...] | Shaped
Names = Mapping[str, Theirs]


@dataclass(frozen=True)
class Place:
    """Where one weight of ours is in their file."""

    names: tuple[str, ...]
    form: Form | None = None

    def shapes(self, ours: torch.Size | tuple[int, ...]) -> list[tuple[int, ...] | None]:
        """The shapes that their weights must have, given that of ours; None: any number of rows."""
        d = tuple(ours)
        match self.form:
            case None:
                return [(d[0] // len(self.names), *d[1:])] * len(self.names) if d else [d]
            case "patch":
                side = round((d[1] / 3) ** 0.5)
                return [(d[0], 3, side, side)]
            case "vector":
                return [(1, 1, *d)]
            case "table":
                return [(1, *d)]
            case "scalar":
                return [()]
            case "turned":
                return [(d[1], d[0])]
            case "flipped":
                return [d]
            case "rank":
                return [(1, *d[1:])]
            case "one row":
                return [None]
            case "types":
                return [(2, d[1])] * 2
        raise ValueError(self.form)

    def to_ours(self, theirs: list[torch.Tensor], shape: torch.Size) -> torch.Tensor:
        """Our weight from theirs, contiguous, of the given shape."""
        one = theirs[0]
        if self.form is None:
            whole = torch.cat(theirs) if len(theirs) > 1 else one
        elif self.form == "patch":
            whole = one.permute(0, 2, 3, 1)
        elif self.form == "turned":
            whole = one.T
        elif self.form == "flipped":
            whole = one.flip(0)
        elif self.form == "rank":
            whole = torch.cat([one, torch.zeros_like(one)])
        elif self.form == "one row":
            whole = one[:1].expand(shape)
        elif self.form == "types":
            whole = torch.stack([one[0], theirs[1][1]])
        else:
            whole = one
        return whole.reshape(shape).contiguous()

    def to_theirs(self, ours: torch.Tensor) -> dict[str, torch.Tensor]:
        """Their weights from ours: the inverse of `to_ours`."""
        if self.form is None:
            parts = list(ours.chunk(len(self.names))) if len(self.names) > 1 else [ours]
        elif self.form == "patch":
            side = round((ours.shape[1] / 3) ** 0.5)
            parts = [ours.reshape(-1, side, side, 3).permute(0, 3, 1, 2)]
        elif self.form == "turned":
            parts = [ours.T]
        elif self.form == "flipped":
            parts = [ours.flip(0)]
        elif self.form == "rank":
            parts = [ours[:1] - ours[1:]]
        elif self.form in ("one row", "types"):
            raise ValueError(f"{self.names[0]}: form {self.form} has no way back")
        else:
            shape = self.shapes(ours.shape)[0]
            assert shape is not None, self.form
            parts = [ours.reshape(shape)]
        return {name: part.contiguous() for name, part in zip(self.names, parts, strict=True)}


def _pattern(text: str) -> re.Pattern[str]:
    parts = (re.escape(part).replace(r"\*", "([^.]+)") for part in text.split("**"))
    return re.compile("(.*)".join(parts) + r"\Z")


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name matches a pattern: `*` is one part between dots, `**` any number of them."""
    return any(_pattern(text).match(name) for text in patterns)


def place(ours: str, names: Names) -> Place | None:
    """Where one weight of ours is in their file, or None where the table does not tell.

    Raises:
        ValueError: two lines of the table match the name.
    """
    found = [
        _filled(theirs, groups.groups())
        for text, theirs in names.items()
        if (groups := _pattern(text).match(ours))
    ]
    if len(found) > 1:
        raise ValueError(f"{ours} matches {len(found)} lines of the table")
    return found[0] if found else None


def _filled(theirs: Theirs, parts: tuple[str, ...]) -> Place:
    named = theirs.name if isinstance(theirs, Shaped) else theirs
    several = (named,) if isinstance(named, str) else named
    form = theirs.form if isinstance(theirs, Shaped) else None
    return Place(tuple(_fill(text, parts) for text in several), form)


def _fill(text: str, parts: tuple[str, ...]) -> str:
    left = iter(parts)
    return re.sub(r"\*", lambda _: next(left), text)


def below(ours: str, theirs: str, names: Names) -> dict[str, Theirs]:
    """The same table for a part within a larger model: both sides with a prefix."""

    def longer(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        return theirs + value if isinstance(value, str) else tuple(theirs + x for x in value)

    def moved(value: Theirs) -> Theirs:
        if isinstance(value, Shaped):
            return Shaped(longer(value.name), value.form)
        return longer(value)

    return {ours + key: moved(value) for key, value in names.items()}
