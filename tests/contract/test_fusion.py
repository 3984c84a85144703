"""What every fusion keeps, beside its own tests."""

import pytest
import torch

from sensorium import shelf
from sensorium.model import State


@pytest.fixture(params=shelf.names("fusion"))
def fusion(request):
    module = shelf.load("fusion", request.param)
    return module.Fusion(module.Spec(), {"image": 8, "text": 8}).eval()


def states(junk=0.0):
    rng = torch.Generator().manual_seed(0)
    made = []
    for t in (5, 3):
        real = torch.rand(2, t, generator=rng) < 0.7
        real[:, 0] = True
        tokens = torch.randn(2, t, 8, generator=rng)
        tokens = torch.where(real[..., None], tokens, junk)
        zero = torch.zeros(2, t, dtype=torch.int64)
        made.append(State(tokens, real, zero, torch.arange(t)[None, :, None]))
    return made


def test_one_state_a_part_of_the_same_shape(fusion):
    given = states()
    out = fusion(given)
    assert [x.tokens.shape for x in out] == [x.tokens.shape for x in given]


def test_padding_has_no_influence(fusion):
    for a, b in zip(fusion(states()), fusion(states(junk=99.0)), strict=True):
        assert torch.equal(a.tokens[a.real], b.tokens[b.real])
