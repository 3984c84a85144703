"""What must be computed: descriptions only. A node is frozen and hashable: it is its own cache key.

Reading upwards: `Embed` turns a view's tokens into states, `Encode` lets one modality's states see
each other, `Fuse` lets modalities meet, `Read` takes out what an objective or a search needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sensorium.views import View


@dataclass(frozen=True)
class Embed:
    """Tokens of one view -> States [b, t, d]."""

    view: View


@dataclass(frozen=True)
class Encode:
    """States of one view after that modality's encoder [b, t, d]."""

    view: View

    @property
    def inputs(self) -> tuple[Embed]:
        return (Embed(self.view),)


@dataclass(frozen=True)
class Fuse:
    """States of several views after they met: one State per part, in the order of the parts."""

    parts: tuple[Encode | Embed, ...]

    @property
    def inputs(self) -> tuple[Encode | Embed, ...]:
        return self.parts


@dataclass(frozen=True)
class Read:
    """One tensor out of a node.

    `vector` is float32 [b, e] of unit length, what contrast compares and search stores. `part`
    says which State of a `Fuse`.
    """

    of: Encode | Fuse
    modality: str
    give: Literal["vector"] = "vector"
    part: int = 0

    @property
    def inputs(self) -> tuple[Encode | Fuse]:
        return (self.of,)


Node = Embed | Encode | Fuse | Read
