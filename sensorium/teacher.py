"""The teacher: a copy of the model that follows it as a moving average, and never learns itself.

He et al. 2020 (MoCo, arXiv 1911.05722) section 3.2; Li et al. 2021 (ALBEF, arXiv 2107.07651)
section 3.2. It starts as an exact copy, takes its step after each update, and computes in
evaluation mode: ALBEF's published teacher keeps dropout, ours does not, so that soft targets do not
depend on a draw.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from sensorium.model import Model


def teacher_of(model: Model) -> Model:
    """A frozen copy of a model."""
    return copy.deepcopy(model).requires_grad_(False).eval()


def follow(teacher: Model, model: Model, momentum: float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * model, parameters; buffers are copied."""
    with torch.no_grad():
        for mine, yours in zip(teacher.parameters(), model.parameters(), strict=True):
            mine.lerp_(yours.detach().to(mine.dtype), 1 - momentum)
        for kept, given in zip(teacher.buffers(), model.buffers(), strict=True):
            kept.copy_(given)
