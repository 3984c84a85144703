"""AdamW against the published update in plain numbers; the edges of the learning rate."""

import math

import pytest
import torch
from torch import nn

from sensorium.optimiser import build, rate
from sensorium.recipe import Optimiser


class Slow:
    """Loshchilov & Hutter 2019, algorithm 2, on a list of numbers; t counts from 1."""

    def __init__(self, values, options, decay):
        self.values, self.options, self.decay = list(values), options, decay
        self.m, self.v, self.t = [0.0] * len(values), [0.0] * len(values), 0

    def step(self, gradient, rate):
        o = self.options
        self.t += 1
        for at, g in enumerate(gradient):
            self.m[at] = o.beta1 * self.m[at] + (1 - o.beta1) * g
            self.v[at] = o.beta2 * self.v[at] + (1 - o.beta2) * g * g
            m = self.m[at] / (1 - o.beta1**self.t)
            v = self.v[at] / (1 - o.beta2**self.t)
            # The decay is outside of the fraction: it is not scaled by the gradient's history.
            move = m / (math.sqrt(v) + o.epsilon) + self.decay * self.values[at]
            self.values[at] -= rate * move


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_three_steps_equal_the_published_update(decay):
    options = Optimiser(
        learning_rate=0.1, weight_decay=decay, beta1=0.8, beta2=0.95, epsilon=1e-2, warmup=0.4
    )
    rng = torch.Generator().manual_seed(0)
    module = nn.Linear(3, 2).double()
    slow = {
        "weight": Slow(module.weight.detach().flatten().tolist(), options, decay),
        "bias": Slow(module.bias.detach().tolist(), options, 0.0),  # vectors do not decay
    }
    adam = build(module, options)
    for at in range(3):
        learning = rate(at, 5, options)
        for group in adam.param_groups:
            group["lr"] = learning
        for name, p in module.named_parameters():
            p.grad = torch.randn(p.shape, generator=rng, dtype=torch.float64)
            slow[name].step(p.grad.flatten().tolist(), learning)
        adam.step()
        for name, p in module.named_parameters():
            assert p.detach().flatten().tolist() == pytest.approx(slow[name].values, abs=1e-12)


def test_without_a_gradient_only_matrices_shrink():
    """Decoupled decay alone: each step takes rate x decay of what is there."""
    module = nn.Linear(3, 2)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    adam = build(module, Optimiser(learning_rate=0.1, weight_decay=0.5))
    for _ in range(3):
        for p in module.parameters():
            p.grad = torch.zeros_like(p)
        adam.step()
    assert torch.allclose(module.weight, before["weight"] * (1 - 0.1 * 0.5) ** 3)
    assert torch.equal(module.bias, before["bias"])


def test_every_trained_parameter_is_in_one_group_and_frozen_ones_in_none():
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Conv2d(1, 1, 3), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    adam = build(module, Optimiser())
    held = [id(p) for group in adam.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in module.parameters() if p.requires_grad)
    vectors = build(nn.LayerNorm(4), Optimiser())
    assert [len(group["params"]) for group in vectors.param_groups] == [2]


def rates(steps, **options):
    """All learning rates of a run."""
    return [rate(at, steps, Optimiser(learning_rate=2.0, **options)) for at in range(steps)]


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5, 0.99])
def test_a_run_of_one_step_learns_at_the_full_rate(warmup):
    assert rates(1, warmup=warmup) == [2.0]


def test_without_warm_up_the_first_step_is_already_the_largest():
    told = rates(50, warmup=0.0)
    assert told[0] == max(told) == 2.0
    assert told[1:] == sorted(told[1:], reverse=True)
    assert all(0 < x <= 2 for x in told)


def test_warm_up_as_long_as_the_run_only_rises():
    """A share that rounds to all steps: a straight line up to the full rate, and no division by
    the nothing that is left for the cosine."""
    assert rates(10, warmup=0.99) == pytest.approx([2 * (at + 1) / 10 for at in range(10)])
    # Asked beyond its end (a run that was cut short), it goes on from the top and downwards.
    beyond = [rate(at, 10, Optimiser(learning_rate=2.0, warmup=0.99)) for at in (10, 11)]
    assert beyond == pytest.approx([2.0, 0.0])


@pytest.mark.parametrize(("steps", "warmup"), [(2, 0.5), (7, 0.3), (50, 0.0), (101, 0.05)])
def test_the_cosine_in_closed_form(steps, warmup):
    """Up in equal parts, then 1 + cos of an angle that begins at 0 and ends before pi."""
    told, warm = rates(steps, warmup=warmup), max(1, round(warmup * steps))
    for at in range(warm):
        assert told[at] == pytest.approx(2.0 * (at + 1) / warm)
    for at in range(warm, steps):
        angle = math.pi * (at - warm) / (steps - warm)
        assert told[at] == pytest.approx(2 * math.cos(angle / 2) ** 2)  # half-angle identity
    assert max(told) == pytest.approx(2.0)
