"""The baseline is what its name says: one linear map a side, nothing else that trains."""

import math

import pytest
import torch
from torch.nn import functional as F

from sensorium.building import build, parameters
from sensorium.nodes import Encode, Read
from sensorium.recipe import load
from sensorium.records import Source
from sensorium.tokens import Batch, Tokens
from sensorium.views import View

N, WIDTHS = 64, {"image": 1280, "text": 384}


def batch():
    rng = torch.Generator().manual_seed(0)
    tokens = {
        (name, 0): Tokens(
            name,
            real=torch.ones(N, 1, dtype=torch.bool),
            position=torch.zeros(1, 1, 1, dtype=torch.int64),
            values=torch.randn(N, 1, width, generator=rng),
        )
        for name, width in WIDTHS.items()
    }
    present = {name: torch.ones(N, dtype=torch.bool) for name in WIDTHS}
    return Batch(tuple(map(str, range(N))), (Source("m"),) * N, tokens, present)


def test_vectors_are_one_matrix_and_a_norm():
    step, given = build(load("plain_projections")).eval(), batch()
    for name in WIDTHS:
        weight = step.model.projections[name].weight
        expected = F.normalize(given.tokens[name, 0].values[:, 0] @ weight.T, dim=1)
        found = step.vectors(Read(Encode(View(name))), given)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_it_trains_two_matrices_and_a_temperature():
    counts = parameters(build(load("plain_projections")))
    assert counts["all"] == 256 * (1280 + 384) + 1


def test_it_begins_without_skill():
    losses = build(load("plain_projections")).eval()(batch()).losses
    assert losses["contrastive"].mean.item() == pytest.approx(math.log(N), abs=0.6)
