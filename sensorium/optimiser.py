"""AdamW with linear warm-up and cosine decay; matrices decay, vectors and scales do not."""

from __future__ import annotations

import math

import torch
from torch import nn

from sensorium.recipe import Optimiser


def build(step: nn.Module, options: Optimiser) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) over what a step trains.

    Weight decay reaches matrices only: biases, norms, temperatures and other vectors are not
    decayed (the habit of CLIP's and BERT's published code).
    """
    trained = [p for p in step.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=options.learning_rate,
        betas=(options.beta1, options.beta2),
        eps=options.epsilon,
    )


def rate(step: int, steps: int, options: Optimiser) -> float:
    """The learning rate of a step (counted from 0): warms up linearly, then a half cosine to 0."""
    warm = max(1, round(options.warmup * steps))
    if step < warm:
        return options.learning_rate * (step + 1) / warm
    share = (step - warm) / max(1, steps - warm)
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
