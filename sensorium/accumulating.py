"""Accumulation: a batch in several parts, one backward each, one update. Less memory, equal loss.

Each objective's mean is over the whole batch, so its count is totalled before the first backward:
a mean of the parts' means would weigh a part with few hidden words as much as one with many. Exact
for objectives whose parts add up; a contrast over half a batch has half the negatives and is
another loss, so that it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from sensorium import ranks
from sensorium.errors import RecipeError
from sensorium.step import Loss, Step
from sensorium.tokens import Batch


def accumulate(step: Step, parts: Sequence[Batch]) -> dict[str, Loss]:
    """Runs each part's forward and backward; gradients add up to those of the whole batch.

    Args:
        step: its gradients are cleared by the caller before, and applied after.
        parts: of the batch; with several processes equally many in each.

    Returns:
        Each objective's loss over all parts and processes, without gradient.

    Raises:
        RecipeError: an objective whose parts do not add up to the whole.
    """
    if len(parts) > 1:
        refuse(step)
    with torch.no_grad():
        counts = {
            name: ranks.sum(sum(objective.count(part) for part in parts))
            for name, objective in step.objectives.items()
        }
    told: dict[str, Loss] = {}
    for part in parts:
        outcome = step(part)
        total = torch.zeros((), device=next(step.parameters()).device)
        for name, objective in step.objectives.items():
            loss = outcome.losses[name]  # already of all processes
            total = total + objective.spec.weight * loss.sum / counts[name].clamp(min=1)
            told[name] = _added(told.get(name), loss)
        total.backward()
        step.commit(outcome, part)
    return told


def refuse(step: Step) -> None:
    """Says why a step cannot be taken in parts, where it cannot.

    Raises:
        RecipeError: names the objectives.
    """
    if whole := [name for name, x in step.objectives.items() if not x.additive]:
        raise RecipeError(
            f"accumulation would change {', '.join(whole)}: half a batch offers other candidates, "
            "so that two halves are not the whole",
            expected="objectives whose parts add up, or the batch in one part",
        )


def _added(a: Loss | None, b: Loss) -> Loss:
    b = replace(b, sum=b.sum.detach(), parts={name: x.detach() for name, x in b.parts.items()})
    if a is None:
        return b
    count = a.count + b.count
    return Loss(
        sum=a.sum + b.sum,
        count=count,
        chance=(a.chance * a.count + b.chance * b.count) / count.clamp(min=1),
        parts={name: a.parts[name] + b.parts[name] for name in a.parts},
    )
