"""No fusion: every State leaves as it came."""

import torch

from sensorium.fusion.none import Fusion, Spec
from sensorium.model import State


def state(seed, requires_grad=False):
    rng = torch.Generator().manual_seed(seed)
    return State(
        tokens=torch.randn(2, 3, 4, generator=rng).requires_grad_(requires_grad),
        real=torch.ones(2, 3, dtype=torch.bool),
        order=torch.zeros(2, 3, dtype=torch.int64),
        position=torch.arange(3)[None, :, None],
    )


def test_states_pass_untouched_and_do_not_meet():
    a, b = state(0, True), state(1, True)
    fusion = Fusion(Spec(), {"image": 4, "text": 4})
    left, right = fusion([a, b])
    assert left is a
    assert right is b
    left.tokens.sum().backward()
    assert b.tokens.grad is None
    assert not list(fusion.parameters())


def test_rows_are_gathered_and_there_is_no_joint_vector():
    fusion = Fusion(Spec(), {"image": 4, "text": 4})
    out = fusion([state(0), state(1)], [torch.tensor([1, 1, 0]), torch.tensor([0, 1, 1])])
    assert torch.equal(out[0].tokens, state(0).tokens[[1, 1, 0]])
    assert torch.equal(out[1].tokens, state(1).tokens[[0, 1, 1]])
    assert fusion.joint(out).shape == (3, fusion.joint_width) == (3, 0)
