"""Every objective can be learned: soon better than without skill, and eight records by heart."""

import math

import pytest
import torch
from small_step import batch, small

from sensorium import shelf

OPTIONAL = ("negatives", "ways", "order", "queue", "soft")
OPTIONS = {  # what a small world needs; the rest is as people get it
    "image_self_supervision": {"hidden": 64, "out": 32},
    "masked_tokens": {"edits": [{"use": "hide", "rate": 0.4}]},
}
CASES = [
    *({"use": name} | OPTIONS.get(name, {}) for name in shelf.names("objectives")),
    {"use": "matching", "negatives": "hard"},
    {"use": "matching", "ways": 3},
    {"use": "generation", "order": "prefix"},
    {"use": "contrastive", "queue": 16, "soft": 0.4},
]


def least(options):
    """What no model gets under, with eight records: their older copies in a queue are right too."""
    return math.log(1 + options.get("queue", 0) / 8)


def named(options):
    return ", ".join(f"{k}={v}" for k, v in options.items() if k in ("use", *OPTIONAL))[4:]


def train(step, batches):
    """Adam with a short warm-up over some batches; yields each step's Loss."""
    optimiser = torch.optim.Adam(step.parameters(), betas=(0.9, 0.98))
    for at, made in enumerate(batches):
        optimiser.param_groups[0]["lr"] = 3e-3 * min(1.0, (at + 1) / 20)
        step.follow()
        optimiser.zero_grad()
        outcome = step(made)
        outcome.total.backward()
        torch.nn.utils.clip_grad_norm_(step.parameters(), 1.0)
        optimiser.step()
        step.commit(outcome, made)
        yield outcome.losses["0"]


@pytest.mark.parametrize("options", CASES, ids=named)
def test_in_200_steps_it_is_better_than_without_skill(options):
    """On new records, by five standard errors of the mean over 20 batches."""
    step = small(options, spread=0.15)
    for _ in train(step, (batch(range(at, at + 16), step) for at in range(0, 200 * 16, 16))):
        pass
    step.eval()
    better = []
    with torch.no_grad():
        for at in range(10_000, 10_000 + 20 * 16, 16):
            loss = step(batch(range(at, at + 16), step)).losses["0"]
            better.append((loss.chance - loss.mean).item())
    found = torch.tensor(better)
    error = found.std().item() / math.sqrt(len(found))
    assert found.mean().item() > 5 * error


@pytest.mark.parametrize("options", CASES, ids=named)
def test_it_learns_eight_records_by_heart(options):
    """To under 5 % of the way from its no-skill value, in at most 400 steps over the same draws."""
    step = small(options, spread=0.15)
    made = batch(range(8), step)
    floor = least(options)
    for loss in train(step, (made for _ in range(400))):
        left = (loss.mean.item() - floor) / (loss.chance.item() - floor)
        if left < 0.05:
            break
    assert left < 0.05
