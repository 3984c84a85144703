"""Additive: a linear score of the joint vector is a sum of one score a modality."""

from dataclasses import replace

import pytest
import torch

from sensorium.errors import RecipeError
from sensorium.fusion.additive import Fusion, Spec
from sensorium.layers import Stack, mean_pool
from sensorium.model import State

WIDTHS = {"image": 8, "text": 12}


def states(n: int = 4) -> list[State]:
    draws = torch.Generator().manual_seed(0)
    made = []
    for (_, d), t in zip(WIDTHS.items(), (5, 3), strict=True):
        real = torch.arange(t) < torch.linspace(1, t, n).long()[:, None]
        zero = torch.zeros(n, t, dtype=torch.int64)
        tokens = torch.randn(n, t, d, generator=draws) * real[..., None]
        pooled = torch.randn(n, d, generator=draws)
        made.append(State(tokens, real, zero, torch.arange(t)[None, :, None], pooled))
    return made


@pytest.mark.parametrize("depth", [0, 2])
def test_a_linear_score_is_the_sum_of_two(depth):
    torch.manual_seed(0)
    fusion = Fusion(Spec(depth=depth, heads=2), WIDTHS).double()
    image, text = (replace(x, tokens=x.tokens.double(), pooled=x.pooled.double()) for x in states())
    pairs = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    head = torch.randn(20, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        scores = (fusion.joint(fusion([image, text], list(pairs.T))) @ head).view(4, 4)
        alone = [x.pooled for x in fusion([image, text])]
    want = (alone[0] @ head[:8])[:, None] + (alone[1] @ head[8:])[None, :]
    torch.testing.assert_close(scores, want, atol=1e-12, rtol=0)
    # The cross-difference of every four scores is zero.
    cross = scores[:, None, :, None] - scores[None, :, :, None]
    cross = cross - scores[:, None, None, :] + scores[None, :, None, :]
    assert cross.abs().max() < 1e-12
    assert scores.std() > 0.1


def test_without_blocks_states_leave_as_they_came():
    given = states()
    fusion = Fusion(Spec(), WIDTHS)
    assert all(a is b for a, b in zip(fusion(given), given, strict=True))
    assert not list(fusion.parameters())


def test_with_blocks_each_modality_has_its_own_stack():
    torch.manual_seed(0)
    fusion = Fusion(Spec(depth=2, heads=2), WIDTHS)
    given = states()
    for name, state, out in zip(WIDTHS, given, fusion(given), strict=True):
        stack = Stack(2, WIDTHS[name], 2)
        stack.load_state_dict(fusion.stacks[name].state_dict())
        want = torch.nn.functional.layer_norm(
            stack(state.tokens, state.real, state.order), (WIDTHS[name],)
        )
        torch.testing.assert_close(out.tokens[state.real], want[state.real])
        torch.testing.assert_close(out.pooled, mean_pool(want, state.real))


def test_heads_must_divide_each_width():
    with pytest.raises(RecipeError, match="a divisor of the width 12, found 8"):
        Fusion(Spec(depth=1, heads=8), WIDTHS)
    Fusion(Spec(depth=0, heads=8), WIDTHS)  # no blocks, no heads
