"""Preparing: what counts as one thing, what is kept under which key, what is set aside."""

import threading

import numpy as np
import pytest
import torch
from miniature import picture

from sensorium import prepare, towers
from sensorium.evaluation import pairs
from sensorium.loading import gather
from sensorium.prepare import Kept, Reader, column, one
from sensorium.recipe import load
from sensorium.records import Blob, Record, Source

HALF = "\ud83d"  # of a surrogate pair
SPELLINGS = ["a cat", "a cat ", "A  Cat"]


@pytest.fixture
def reader(empty_cache):
    """Makes readers of the tiny `clip`; the cache is the test's own."""
    recipe = load("clip", "tiny", ["modalities.image.size=16", "modalities.image.patch=8"])
    return lambda name: Reader(recipe, name)


def blob(number, name="a.png"):
    return Blob(name, data=picture(number))


def records(field, *values):
    return [Record(f"r{at}", Source("t.csv", at + 2), {field: x}) for at, x in enumerate(values)]


# identity


def test_spellings_of_a_text_are_one_identity(reader):
    texts = [*SPELLINGS, "\ufb01n", "fin", "a dog", Blob("a.txt", data="\ufeffA cat\n".encode())]
    made, _ = column(reader("text"), records("text", *texts), "text")
    assert made.items[:3] == ["a cat", "a cat", "A  Cat"], "what is read stays as written"
    assert len(set(made.identity[[0, 1, 2, 6]].tolist())) == 1
    assert made.identity[3] == made.identity[4]
    assert len(set(made.identity.tolist())) == 3
    assert made.identity.dtype == np.int64
    assert (made.identity >= 0).all(), "negative ones are for what is absent"


def test_pictures_are_one_by_their_bytes(reader):
    made, _ = column(
        reader("image"), records("image", blob(1), blob(2), blob(1, "other.png")), "image"
    )
    assert made.identity[0] == made.identity[2] != made.identity[1]


def test_a_perfect_model_finds_any_spelling(reader):
    """It cannot tell spellings apart: equal vectors, so its twins must be right answers."""
    texts, _ = column(reader("text"), records("text", *SPELLINGS, "a dog"), "text")
    images, _ = column(reader("image"), records("image", *map(blob, range(4))), "image")
    meaning = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    assert pairs(texts, images).rank(meaning, meaning).recall(1) == 1.0
    assert pairs(images, texts).rank(meaning, meaning).recall(1) == 1.0


def test_contrast_takes_spellings_as_positives(reader):
    from sensorium.nodes import Given
    from sensorium.objectives.contrastive import Objective, Spec
    from sensorium.views import View

    told = records("text", *SPELLINGS, "a dog")
    read = reader("text")
    read.modality.fit(told, "text")
    texts, _ = column(read, told, "text")
    batch = gather(told, {"text": texts}, {"text": read.modality}, {"text": [0, 1, 2, 3]})
    batch.present["image"] = torch.ones(4, dtype=torch.bool)
    objective = Objective(Spec(), Given({"image": View("image"), "text": View("text")}))
    meaning = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    loss = objective.score({"left": meaning, "right": meaning}, batch)
    # Three that look alike share one target: the least there is, ln 3 for each of the three.
    assert loss.sum.item() == pytest.approx(3 * np.log(3), abs=1e-3)


# the key of the cache


def test_blanks_make_no_other_entry_and_case_does(reader):
    read = reader("text")
    assert read.digest("a cat", "") == read.digest(" a cat\n", "")
    assert read.digest("a cat", "") != read.digest("A cat", "")


@pytest.fixture
def weights(monkeypatch):
    """Sets the hash that towers answer with: no tower is needed."""
    return lambda value: monkeypatch.setattr(towers, "weight_hash", lambda name: value)


@pytest.mark.parametrize("name", ["image", "text"])
def test_the_towers_weights_are_part_of_the_key(weights, name):
    recipe = load("lit", "tiny")
    weights("one")
    first, again = Reader(recipe, name).key, Reader(recipe, name).key
    weights("another")
    assert first == again != Reader(recipe, name).key


def test_options_are_part_of_the_key(weights):
    weights("one")
    keys = {
        Reader(load("lit", "tiny", [f"modalities.image.{option}"]), "image").key
        for option in ("crop=1.0", "crop=0.9", "resample=bilinear")
    }
    assert len(keys) == 3


# kept


def digests(*numbers):
    return [number.to_bytes(16, "little") for number in numbers]


def test_kept_gives_what_was_added_in_any_order_and_from_any_shard(tmp_path):
    kept = Kept(tmp_path / "kept")
    kept.add(digests(1, 2, 3), np.array([[1.0], [2.0], [3.0]], np.float32))
    kept.add(digests(4), np.array([[4.0]], np.float32))
    for held in (kept, Kept(tmp_path / "kept")):
        assert held.get(digests(4, 2, 1, 2))[:, 0].tolist() == [4, 2, 1, 2]
        assert held.get(digests(3)).dtype == np.float32
        assert digests(3)[0] in held
        assert digests(5)[0] not in held
    assert len(list((tmp_path / "kept").iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other"])
def test_a_damaged_shard_is_absent_and_deleted(tmp_path, damage):
    kept = Kept(tmp_path)
    kept.add(digests(1, 2), np.ones((2, 3), np.float32))
    (bad,) = tmp_path.iterdir()
    kept.add(digests(3), np.ones((1, 3), np.float32))
    data = bad.read_bytes()
    from safetensors.numpy import save

    bad.write_bytes({"cut": data[:-5], "empty": b"", "text": b"x" * 99,
                     "other": save({"x": np.ones(2)})}[damage])  # fmt: skip
    again = Kept(tmp_path)
    assert not bad.exists()
    assert digests(1)[0] not in again
    assert digests(3)[0] in again
    again.add(digests(1), np.zeros((1, 3), np.float32))
    assert Kept(tmp_path).get(digests(1, 3))[:, 0].tolist() == [0, 1]


def test_several_may_add_at_once(tmp_path):
    def fill(first):
        kept = Kept(tmp_path)
        for number in range(first, first + 10):  # the halves overlap: 5 to 9 are added twice
            kept.add(digests(number), np.full((1, 2), number, np.float32))

    threads = [threading.Thread(target=fill, args=(first,)) for first in (0, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Kept(tmp_path).get(digests(*range(15)))[:, 1].tolist() == list(range(15))
    assert not [x for x in tmp_path.iterdir() if x.suffix != ".safetensors"], "nothing half written"


def test_what_is_kept_is_neither_decoded_nor_computed_again(reader, monkeypatch):
    told = records("image", *map(blob, range(5)))
    first, _ = column(reader("image"), told, "image")
    cold = reader("image")
    monkeypatch.setattr(cold, "read", None)
    monkeypatch.setattr(cold, "encode", None)
    again, _ = column(cold, told[::-1], "image")
    assert (again.items == first.items[::-1]).all()


def test_shards_are_written_as_reading_goes(reader, monkeypatch, empty_cache):
    """A kill loses one shard's worth at most."""
    monkeypatch.setattr(prepare, "_SHARD", 4)
    made, _ = column(reader("image"), records("image", *map(blob, range(10))), "image")
    assert len(list(empty_cache.rglob("*.safetensors"))) == 3
    alone = [one(reader("image"), blob(number), "x").items[0] for number in range(10)]
    assert (made.items == np.stack(alone)).all()


# column


def test_several_captions_and_none(reader):
    told = records("text", ["one", "two"], None, "three", "", [], ["four", None, "five", ""], 6)
    made, rejected = column(reader("text"), told, "text")
    assert made.items == ["one", "two", "three", "four", "five", "6"]
    assert made.index == [[0, 1], [], [2], [], [], [3, 4], [5]]
    assert rejected == []
    part = made.part([5, 1, 0])
    assert part.items == ["four", "five", "one", "two"]
    assert part.index == [[0, 1], [], [2, 3]]
    assert part.identity.tolist() == made.identity[[3, 4, 0, 1]].tolist()


def test_what_cannot_be_read_is_set_aside_with_its_reason(reader):
    told = records("text", "one", ["two", HALF], " ", "three")
    made, rejected = column(reader("text"), told, "text")
    assert made.items == ["one", "two", "three"]
    assert made.index == [[0], [1], [], [2]], "the record keeps its other items"
    assert [(x.key, x.field, x.source.row) for x in rejected] == [
        ("r1", "text", 3),
        ("r2", "text", 4),
    ]
    assert "expected valid Unicode" in rejected[0].reason
    assert "t.csv row 4, field text" in rejected[1].reason
    assert "expected a text, found an empty one" in rejected[1].reason


def test_a_bad_picture_is_set_aside_whatever_is_kept(reader, tmp_path):
    cut, gone = Blob("cut.png", data=picture(2)[:40]), Blob("gone.png", tmp_path / "gone")
    told = records("image", blob(1), cut, gone, blob(3))
    for _ in range(2):
        made, rejected = column(reader("image"), told, "image")
        assert made.index == [[0], [], [], [1]]
        assert made.items.shape == (2, 16, 16, 3)
        assert [x.key for x in rejected] == ["r1", "r2"]
        assert "cut.png" in rejected[0].reason
        assert "gone.png" in rejected[1].reason


def test_a_column_of_nothing(reader):
    made, rejected = column(reader("image"), records("image", None), "image")
    assert (len(made.items), made.index, len(made.identity), rejected) == (0, [[]], 0, [])


def test_items_stay_in_the_order_of_the_records(reader):
    told = records("image", *(blob(number) for number in (7, 3, 7, 200, 3)))
    column(reader("image"), told[3:4], "image")  # one of them is kept already
    seen = []
    made, _ = column(reader("image"), told, "image", lambda *done: seen.append(done))
    assert made.index == [[0], [1], [2], [3], [4]]
    alone = [one(reader("image"), record.fields["image"], "x").items[0] for record in told]
    assert (made.items == np.stack(alone)).all()
    assert seen == [(at, 5) for at in range(1, 6)]
