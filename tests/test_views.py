"""The one rule of attention, against a slow loop."""

import torch
from test_tokens import texts

from sensorium.records import Source
from sensorium.tokens import Batch, collate
from sensorium.views import View, look, visible


def test_visible_is_the_rule():
    rng = torch.Generator().manual_seed(0)
    real = torch.rand(3, 6, generator=rng) < 0.7
    order = torch.randint(0, 4, (3, 6), generator=rng)
    table = visible(real, order)
    assert table.shape == (3, 1, 6, 6)
    for b in range(3):
        for row in range(6):
            for column in range(6):
                sees = bool(real[b, column]) and int(order[b, column]) <= int(order[b, row])
                assert bool(table[b, 0, row, column]) == sees


def test_looks_give_full_and_causal_order():
    batch = Batch(
        keys=("a", "b"),
        sources=(Source("x"),) * 2,
        tokens={("text", 0): collate(texts(2, 3))},
        present={"text": torch.tensor([True, False])},
    )
    assert look(View("text"), batch).order.tolist() == [[0, 0, 0]] * 2
    assert look(View("text", order="causal"), batch).order.tolist() == [[0, 1, 2]] * 2
    assert look(View("text"), batch).present.tolist() == [True, False]


def test_views_are_keys():
    assert {View("text"), View("text"), View("text", order="causal")} == {
        View("text"),
        View("text", order="causal"),
    }
