"""AdamW with linear warm-up and decay; matrices decay, vectors and scales do not."""

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
    """The learning rate of a step (counted from 0): warms up linearly, then follows the schedule:
    a half cosine or a line down to `floor` of it, or constant."""
    warm = max(1, round(options.warmup * steps))
    if step < warm:
        return options.learning_rate * (step + 1) / warm
    share = (step - warm) / max(1, steps - warm)
    left = {
        "cosine": 0.5 * (1 + math.cos(math.pi * share)),
        "linear": 1 - share,
        "constant": 1.0,
    }[options.schedule]
    return options.learning_rate * (options.floor + (1 - options.floor) * left)
