"""Concatenate: the joint vector is its formula; tokens never meet."""

import torch

from sensorium.fusion.concatenate import Fusion, Spec
from sensorium.model import State


def test_the_joint_vector_is_an_mlp_of_both_pooled_states():
    torch.manual_seed(0)
    fusion = Fusion(Spec(mlp=1.5), {"image": 4, "text": 6})
    given = [
        State(
            torch.randn(3, 2, d),
            torch.ones(3, 2, dtype=torch.bool),
            torch.zeros(3, 2, dtype=torch.int64),
            torch.arange(2)[None, :, None],
            torch.randn(3, d),
        )
        for d in (4, 6)
    ]
    out = fusion(given)
    assert all(a is b for a, b in zip(out, given, strict=True))
    up, down = fusion.mlp.up, fusion.mlp.down
    assert up.weight.shape == (15, 10)
    both = torch.cat([given[0].pooled, given[1].pooled], 1)
    want = torch.nn.functional.gelu(both @ up.weight.T + up.bias) @ down.weight.T + down.bias
    torch.testing.assert_close(fusion.joint(out), want)
    assert fusion.joint_width == 10
