"""Each record once an epoch, in an order that depends on keys alone."""

from collections import Counter

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.loading import Batches, gather
from sensorium.prepare import Column
from sensorium.records import Record, Source

TEXT = object()  # features need no modality object


def world(n, captions=1):
    """n records with one picture feature and some caption features that name their record."""
    records = [Record(f"r{at}", Source("memory", at), {}) for at in range(n)]
    image = Column(
        "image",
        np.arange(n, dtype=np.float32).reshape(n, 1, 1),
        [[at] for at in range(n)],
        np.arange(n),
        True,
    )
    items = n * captions
    text = Column(
        "text",
        np.arange(items, dtype=np.float32).reshape(items, 1, 1),
        [list(range(at * captions, (at + 1) * captions)) for at in range(n)],
        np.arange(items),
        True,
    )
    return records, {"image": image, "text": text}


def batches(n, size, seed=0, captions=1, positions=None):
    records, columns = world(n, captions)
    return Batches(records, columns, {}, positions or list(range(n)), size, seed)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 30), st.integers(2, 12), st.integers(0, 3))
def test_each_record_once_an_epoch(n, size, seed):
    made = batches(n, size, seed)
    size = made.size
    epochs = size  # then n * size records: a whole number of batches
    seen = [place for step in range(n * epochs // size) for place in made.seen(step)]
    for epoch in range(epochs):
        assert Counter(p for e, p in seen if e == epoch) == Counter(range(n))


def test_a_step_can_be_made_without_the_ones_before():
    forward = [batches(10, 4)[step].keys for step in range(7)]
    backward = [batches(10, 4)[step].keys for step in reversed(range(7))]
    assert forward == backward[::-1]
    assert forward[2] == next(batches(10, 4).from_step(2, 7)).keys


def test_workers_change_nothing():
    told = [
        [
            (b.keys, b.tokens["text", 0].values)
            for b in batches(20, 6, captions=3).from_step(1, 9, w)
        ]
        for w in (0, 2)
    ]
    for (a_keys, a), (b_keys, b) in zip(*told, strict=True):
        assert a_keys == b_keys
        assert torch.equal(a, b)


def test_pictures_keep_their_captions_and_all_are_used():
    made = batches(5, 5, captions=4)
    chosen = Counter()
    for step in range(60):
        batch = made[step]
        picture = batch.tokens["image", 0].values.flatten().long()
        caption = batch.tokens["text", 0].values.flatten().long()
        assert torch.equal(caption // 4, picture)
        chosen.update(caption.tolist())
    assert set(chosen) == set(range(20))
    # 60 draws of 4 captions: each expects 15; 3 and 30 are 4 standard deviations away
    assert all(3 <= count <= 30 for count in chosen.values())


def test_records_of_other_splits_never_appear():
    made = batches(12, 3, positions=[1, 4, 6, 9])
    keys = {key for step in range(20) for key in made[step].keys}
    assert keys == {"r1", "r4", "r6", "r9"}


def test_absent_items_say_so_and_equal_nobody():
    records, columns = world(4)
    columns["text"].index[2] = []
    columns["text"].index[3] = []
    batch = gather(records, columns, {}, {"image": [0, 1, 2, 3], "text": [0, 1, None, None]})
    assert batch.present["text"].tolist() == [True, True, False, False]
    assert len(set(batch.identity["text"].tolist())) == 4


def test_a_column_of_which_no_record_has_any_is_blank_and_absent():
    """As of a split where nobody has a translation, or of a modality that all lack."""
    records, columns = world(3)
    empty = columns["image"].part([])
    assert empty.items.shape == (0, 1, 1)
    columns["image"] = Column("image", empty.items, [[], [], []], empty.identity, True)
    batch = gather(records, columns, {}, {"image": [None] * 3, "text": [0, 1, 2]})
    assert not batch.present["image"].any()
    assert batch.tokens["image", 0].values.tolist() == [[[0.0]]] * 3
    assert len(set(batch.identity["image"].tolist())) == 3


def test_seed_and_epoch_change_the_order():
    orders = [tuple(batches(50, 10, seed).order(epoch)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4


def test_draws_are_of_the_record_and_the_epoch_and_nothing_else():
    """A record draws its own whatever its place, batch and company; each epoch anew."""
    small, large = batches(12, 3), batches(12, 6)

    def drawn(made, steps):
        return {
            (epoch, made.records[at].key): int(draw)
            for step in steps
            for (epoch, at), draw in zip(made.seen(step), made[step].draw, strict=True)
        }

    one, other = drawn(small, range(8)), drawn(large, reversed(range(4)))
    assert one == other
    assert len(set(one.values())) == 24  # two epochs of twelve records, no two alike


def test_a_variant_of_features_stands_beside_the_plain_ones():
    records, columns = world(4)
    other = Column("text", 100 + columns["text"].items, [[0], [], [2], [3]], np.arange(4), True)
    made = Batches(records, columns | {"text#1": other}, {}, list(range(4)), 4, 0)[0]
    rows = [int(key[1:]) for key in made.keys]
    assert made.tokens["text", 0].values.flatten().tolist() == rows
    assert made.present["text"].all()
    assert made.present["text#1"].tolist() == [row != 1 for row in rows]
    told = made.tokens["text", 1].values.flatten().tolist()
    assert [x for x, row in zip(told, rows, strict=True) if row != 1] == [
        100 + row for row in rows if row != 1
    ]


def test_texts_and_their_translations_keep_step():
    """Where both are lists, the same place of both is seen."""
    records, columns = world(6, captions=5)
    translated = Column("text", columns["text"].items, columns["text"].index, np.arange(30), True)
    made = Batches(records, columns | {"text#1": translated}, {}, list(range(6)), 6, 0)
    for step in range(20):
        batch = made[step]
        assert torch.equal(batch.tokens["text", 0].values, batch.tokens["text", 1].values)
