"""Weights sharded over two processes (FSDP2) give what one process gives, and go back into one.

Level: close. Only `Step` is entered; its blocks are units of their own, all else is the root's.
"""

import copy

import pytest
import torch
from test_two_processes import (
    CONTRAST,
    GIVEN,
    SOFT,
    TAUGHT,
    N,
    batch,
    close,
    looked,
    mine,
    total,
    trained,
)
from test_two_processes import step as tiny
from two_processes import together

from sensorium import building, ranks
from sensorium.layers import Block, CrossBlock
from sensorium.recipe import load

ALBEF = (
    "modalities.image.size=16",
    "modalities.image.patch=8",
    "modalities.text.length=8",
    "modalities.text.vocabulary=300",
    *(f"encoders.{m}.{x}" for m in ("image", "text") for x in ("width=16", "depth=1", "heads=2")),
    "encoders.text.dropout=0",
    "fusion.dropout=0",
    "fusion.depth=1",
    "fusion.heads=2",
    "space=8",
    "objectives.0.queue=11",
    "objectives.0.ramp=0",
    "objectives.2.ramp=0",
)


def build(what):
    """`albef` at tiny size and less, or a tiny model with some objectives."""
    if what == "albef":
        return building.build(load("albef", "tiny", list(ALBEF)))
    return tiny(*what, teacher=any("soft" in x for x in what))


def wrap(made):
    """FSDP2 as it is documented: every block, then the root."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (ranks.size(),))
    for module in list(made.modules()):
        if isinstance(module, Block | CrossBlock):
            fully_shard(module, mesh=mesh)
    return fully_shard(made, mesh=mesh)


def take(made, optimiser, at):
    """One step on the records of this process; the losses of all."""
    whole = looked(made, mine(batch(first=at * N)))
    made.follow()
    outcome = made(whole)
    loss, losses = total(made, outcome)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    made.commit(outcome, whole)
    return {name: x.mean.item() for name, x in losses.items()}


def adam(made):
    # A large epsilon: where a gradient is nearly zero, Adam makes a step out of its rounding.
    return torch.optim.AdamW([p for p in made.parameters() if p.requires_grad], 1e-2, eps=1e-3)


def sharded(what, before, after):
    """Some steps, the whole state as one process would keep it, some more steps."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    made = wrap(build(what).train())
    optimiser = adam(made)
    local = sum(p.to_local().numel() for p in made.parameters())
    log = [take(made, optimiser, at) for at in range(before)]
    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights, moments = copy.deepcopy(get_state_dict(made, optimiser, options=whole))
    log += [take(made, optimiser, before + at) for at in range(after)]
    return log, weights, moments, local


def resumed(what, weights, moments):
    """One process that goes on from what two have kept."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    made = build(what).train()
    optimiser = adam(made)
    set_state_dict(
        made,
        optimiser,
        model_state_dict=weights,
        optim_state_dict=moments,
        options=StateDictOptions(full_state_dict=True),
    )
    return made, optimiser


@pytest.mark.parametrize(
    "what", [[CONTRAST], [TAUGHT, GIVEN, SOFT]], ids=lambda x: "+".join(o["use"] for o in x)
)
def test_sharded_equals_whole_and_resumes_in_one_process(what):
    made = build(what).train()
    optimiser = adam(made)
    wanted = [take(made, optimiser, at) for at in range(4)]
    told = together(sharded, what, 2, 2)
    for log, *_, local in told:
        for one, two in zip(wanted, log, strict=True):
            assert two == pytest.approx(one, rel=1e-4)
        assert local < 0.6 * sum(p.numel() for p in made.parameters())
    log, weights, moments, _ = told[0]  # the first rank has the whole
    again, optimiser = resumed(what, weights, moments)
    assert set(weights) == set(again.state_dict())
    for at in (2, 3):
        assert take(again, optimiser, at) == pytest.approx(log[at], rel=1e-4)


def test_albef_trains_sharded_and_resumes_in_one_process():
    """Its matching draws within a process, so only the other two objectives are comparable."""
    log, weights, moments, _ = together(sharded, "albef", 2, 1)[0]
    again, optimiser = resumed("albef", weights, moments)
    assert again.objectives["contrastive"].filled.sum() > 0
    told = take(again, optimiser, 2)
    assert all(torch.isfinite(x).all() for x in again.state_dict().values())
    for name in ("contrastive", "masked_tokens"):
        assert told[name] == pytest.approx(log[2][name], rel=1e-4)


def test_gradients_are_those_of_data_parallel():
    """DDP and FSDP2 average alike; one rule serves both."""
    _, wanted, _ = trained([CONTRAST], False, 1)
    for grads in together(first_gradients, [CONTRAST]):
        close(grads, wanted)


def first_gradients(what):
    made = wrap(build(what).train())
    loss, _ = total(made, made(looked(made, mine(batch()))))
    loss.backward()
    named = made.named_parameters()
    return {name: x.grad.full_tensor() for name, x in named if x.grad is not None}
