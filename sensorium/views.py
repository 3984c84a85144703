"""What may be seen: a `View` describes it, a `Look` is the tensors it gives.

The one rule of attention: a token sees another that is `real` and whose `order` is not greater
than its own. `full` is 0 everywhere; `causal` counts up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from sensorium.tokens import Batch, Tokens, expect

Order = Literal["full", "causal"]


@dataclass(frozen=True)
class View:
    """A frozen description, usable as a key: which modality, which variant of it, which order."""

    modality: str
    variant: int = 0
    order: Order = "full"


@dataclass(frozen=True)
class Look:
    """What a view gives: tokens, order int64 [b, t], present bool [b]."""

    tokens: Tokens
    order: torch.Tensor
    present: torch.Tensor

    def __post_init__(self) -> None:
        b, t = self.tokens.real.shape
        expect("order", self.order, (b, t), torch.int64)
        expect("present", self.present, (b,), torch.bool)


def look(view: View, batch: Batch) -> Look:
    """The tensors of a view. Absent records keep one real token, so that no row is empty.

    Raises:
        KeyError: the batch has no such modality or variant.
    """
    tokens = batch.tokens[view.modality, view.variant]
    order = torch.zeros_like(tokens.real, dtype=torch.int64)
    if view.order == "causal":
        order += torch.arange(order.shape[1], device=order.device)
    return Look(tokens, order, batch.present[view.modality])


def visible(real: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """The one rule of attention as a table: bool [b, 1, t, t], row sees column.

    Args:
        real: bool [b, t].
        order: int64 [b, t].
    """
    return (real[:, None, :] & (order[:, None, :] <= order[:, :, None]))[:, None]
