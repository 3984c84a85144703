"""Batches of a split: a control changes what is seen and nothing else; strangers share nothing."""

import numpy as np
import pytest
import torch

from sensorium import recipe as recipes
from sensorium.asking import Asked
from sensorium.errors import RunError
from sensorium.prepare import Column
from sensorium.views import View


def batch_of(asked, views=(), **more):
    ((places, batch),) = list(asked.batches(list(views), 100, **more))
    return places, batch


def test_records_that_have_all_and_a_sample_by_key(tiny_copy):
    asked = Asked.over(tiny_copy, "train", ["image", "text"])
    assert len(asked) == asked.of == 32
    assert asked.protocol["asked"] == "all 32 that have image and text"
    few = Asked.over(tiny_copy, "train", ["image", "text"], most=5)
    assert (len(few), few.of) == (5, 32)
    assert few.protocol["asked"] == "5 of 32, drawn by key"
    assert [r.key for r in few.records] == sorted(r.key for r in few.records)
    assert all(len(made.index) == 5 for made in few.columns.values())
    with pytest.raises(RunError, match="image and text"):
        Asked.over(tiny_copy, "test", ["image", "text"], least=1000)


def test_items_follow_their_records(tiny_copy):
    asked = Asked.over(tiny_copy, "test", ["image", "text"])
    places, batch = batch_of(asked)
    assert places.tolist() == [0, 1, 2, 3]
    assert batch.keys == tuple(record.key for record in asked.records)
    parts = [b for _, b in asked.batches([], 3)]
    assert [len(part) for part in parts] == [3, 1]
    ids = batch.tokens["text", 0].ids
    assert (parts[1].tokens["text", 0].ids[0][: ids.shape[1]] == ids[3][: len(ids[3])]).all()
    _, some = batch_of(asked, rows=[2, 0])
    assert some.keys == (batch.keys[2], batch.keys[0])


def test_a_change_reaches_the_picture_and_not_the_words(tiny_copy):
    asked = Asked.over(tiny_copy, "test", ["image", "text"])
    _, own = batch_of(asked)
    other = np.array([1, 2, 3, 0])
    _, swapped = batch_of(asked, change={"image": other})
    assert torch.equal(swapped.tokens["text", 0].ids, own.tokens["text", 0].ids)
    values = own.tokens["image", 0].values
    assert torch.equal(swapped.tokens["image", 0].values, values[torch.tensor(other)])
    _, absent = batch_of(asked, change={"image": None})
    assert not absent.present["image"].any()
    assert absent.present["text"].all()


def test_the_same_words_are_hidden_whatever_was_changed(tiny_copy):
    hide = recipes.member("edits", "", {"use": "hide", "rate": 0.5})[1]
    view = View("text", edits=(hide,))
    asked = Asked.over(tiny_copy, "train", ["image", "text"])
    _, own = batch_of(asked, [view])
    _, other = batch_of(asked, [view], change={"image": None})
    assert torch.equal(own.looks[view].tokens.ids, other.looks[view].tokens.ids)
    assert torch.equal(own.looks[view].places, other.looks[view].places)
    assert len(own.looks[view].places)
    # ... and whatever the company.
    _, few = batch_of(asked, [view], rows=[3, 1])
    length = few.looks[view].tokens.ids.shape[1]
    assert torch.equal(few.looks[view].tokens.ids[0], own.looks[view].tokens.ids[3, :length])


def hand(asked, image, text):
    """The same records with contents of our own."""
    n = len(asked)
    index = [[at] for at in range(n)]
    columns = {
        name: Column(name, np.zeros((n, 1, 1), np.float32), index, np.array(given), True)
        for name, given in (("image", image), ("text", text))
    }
    return Asked(asked.run, asked.split, asked.records, columns, n, ("image", "text"))


def test_strangers_share_nothing(tiny_copy):
    whole = Asked.over(tiny_copy, "train", ["image", "text"])
    image, text = [at // 2 for at in range(32)], [at % 3 for at in range(32)]
    asked = hand(whole, image, text)
    found = asked.strangers(["image", "text"])
    for at, other in enumerate(found.tolist()):
        assert image[at] != image[other]
        assert text[at] != text[other]
    # By one modality alone the other may be equal.
    alone = asked.strangers(["image"])
    assert all(image[at] != image[other] for at, other in enumerate(alone.tolist()))
    assert any(text[at] == text[other] for at, other in enumerate(alone.tolist()))
    assert (asked.strangers(["image"]) == alone).all()


def test_where_contents_differ_strangers_are_a_permutation(tiny_copy):
    asked = hand(Asked.over(tiny_copy, "train", ["image", "text"]), range(32), range(32))
    found = asked.strangers(["image", "text"])
    assert sorted(found) == list(range(32))
    assert (found != np.arange(32)).all()


def test_nobody_is_a_stranger_where_all_are_equal(tiny_copy):
    asked = hand(Asked.over(tiny_copy, "train", ["image", "text"]), [0] * 32, range(32))
    assert (asked.strangers(["image", "text"]) == -1).all()
