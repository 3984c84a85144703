"""The one rule of attention, against a slow loop."""

from dataclasses import dataclass, replace

import pytest
import torch
from test_tokens import texts

from sensorium.records import Source
from sensorium.tokens import Batch, Tokens, collate
from sensorium.views import RANK, Edited, View, attach, look, visible


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


@dataclass(frozen=True)
class HideLast:
    """Hides the last real token of each record: id 99."""

    use: str = "hide_last"

    def apply(self, tokens, about, rngs):
        places = torch.arange(tokens.real.shape[1])
        last = torch.where(tokens.real, places, -1).amax(1)
        hidden = places[None] == last[:, None]
        ids = torch.where(hidden, 99, tokens.ids)
        return Edited(replace(tokens, ids=ids), hidden)


def words(*lengths, present=None, draw=True):
    """A batch of texts 10 .. of some lengths, padded."""
    n, t = len(lengths), max(lengths)
    real = torch.arange(t)[None] < torch.tensor(lengths)[:, None]
    tokens = Tokens(
        "text",
        real,
        torch.arange(t)[None, :, None],
        ids=torch.where(real, 10 * torch.arange(1, n + 1)[:, None] + torch.arange(t), 0),
    )
    return Batch(
        keys=tuple(map(str, range(n))),
        sources=(Source("x"),) * n,
        tokens={("text", 0): tokens},
        present={"text": torch.ones(n, dtype=torch.bool) if present is None else present},
        draw=torch.arange(n) if draw else None,
    )


def test_a_causal_view_predicts_each_next_real_token():
    seen = look(View("text", order="causal"), words(3, 2))
    assert seen.places.tolist() == [0, 1, 3]
    assert seen.truth.tolist() == [11, 12, 21]
    assert seen.owner.tolist() == [0, 0, 1]


def test_a_full_view_predicts_nothing_and_a_hiding_one_what_it_hides():
    assert look(View("text"), words(3, 2)).places is None
    seen = look(View("text", edits=(HideLast(),)), words(3, 2))
    assert seen.tokens.ids.tolist() == [[10, 11, 99], [20, 99, 0]]
    assert seen.places.tolist() == [2, 4]
    assert seen.truth.tolist() == [12, 21]
    # Hidden words in a causal order (sequence to sequence): the hidden ones, not the next ones.
    seen = look(View("text", edits=(HideLast(),), order="causal", rank=1), words(3, 2))
    assert seen.truth.tolist() == [12, 21]
    assert seen.order.tolist() == [[RANK, RANK + 1, RANK + 2]] * 2


def test_who_is_absent_predicts_nothing():
    there = torch.tensor([True, False])
    assert look(View("text", order="causal"), words(3, 2, present=there)).places.tolist() == [0, 1]


def test_a_prefix_is_shown_and_the_rest_is_asked():
    lengths, shown = [6] * 400, []
    seen = look(View("text", order="prefix"), words(*lengths))
    for row in range(400):
        order = seen.order[row]
        prefix = int((order == 0).sum())
        shown.append(prefix)
        assert order.tolist() == [0] * prefix + list(range(1, 7 - prefix))
        asked = seen.places[seen.owner == row] - 6 * row
        assert asked.tolist() == list(range(prefix - 1, 5))  # position p predicts p + 1
    assert set(shown) == {1, 2, 3, 4, 5}


def test_draws_depend_on_the_record_alone():
    view, whole = View("text", order="prefix"), words(6, 9, 7, 8)
    alone = words(9)
    alone = replace(alone, draw=whole.draw[1:2])
    assert look(view, whole).order[1].tolist() == look(view, alone).order[0].tolist()


def test_a_view_with_draws_needs_a_batch_with_draws():
    with pytest.raises(TypeError, match="expected a batch with draws"):
        look(View("text", order="prefix"), words(3, draw=False))


def test_looks_are_made_once_with_the_batch():
    view = View("text", edits=(HideLast(),))
    batch = attach(words(3, 2), [view, View("text")], {})
    assert list(batch.looks) == [view]
    assert look(view, batch) is batch.looks[view]
    assert batch.to("cpu").looks[view].truth.tolist() == [12, 21]


def test_a_variant_is_there_where_its_modality_is_unless_it_says_otherwise():
    batch = words(3, 2, present=torch.tensor([True, False]))
    other = View("text", 1)
    assert batch.there(other).tolist() == [True, False]
    batch = replace(batch, present=batch.present | {"text#1": torch.tensor([False, True])})
    assert batch.there(other).tolist() == [False, True]
    assert batch.there(View("text")).tolist() == [True, False]
