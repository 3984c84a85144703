"""Records that lack a modality on purpose: how many, which, and that nothing else changes."""

import math

import numpy as np
import pytest
import torch
from test_resume import assert_bits, killed_runs

from sensorium import recipe as recipes
from sensorium.errors import RecipeError
from sensorium.loading import Batches
from sensorium.prepare import Column
from sensorium.records import Record, Source

N, EPOCHS = 300, 20
NAMES = ("image", "text", "text#1", "label")


class Label:
    """A target: it gives no tokens and is never dropped."""

    target = True

    def index(self, item):
        return int(item)


def made(shares, size=50, seed=0, lacking=None, n=N):
    """Records of features that name their record; `lacking`: column -> positions without it."""
    records = [Record(f"r{at}", Source("memory", at), {}) for at in range(n)]
    columns = {}
    for name in NAMES:
        gone = (lacking or {}).get(name, ())
        index = [[] if at in gone else [at] for at in range(n)]
        items = np.arange(n, dtype=np.float32).reshape(n, 1, 1)
        features = name != "label"
        told = items if features else [str(at % 3) for at in range(n)]
        columns[name] = Column(name, told, index, np.arange(n), features)
    about = {"label": Label()}
    return Batches(records, columns, about, list(range(n)), size, seed, modality_dropout=shares)


def gone(batches, name, epochs=EPOCHS):
    """(epoch, record) -> whether it lacks a modality, bool [epochs, n]."""
    found = np.zeros((epochs, len(batches.positions)), bool)
    for step in range(epochs * len(batches.positions) // batches.size):
        present = batches[step].present[name].numpy()
        for (epoch, position), there in zip(batches.seen(step), present, strict=True):
            found[epoch, position] = not there
    return found


def equal_batches(left, right):
    """Every tensor of two batches equal to the bit."""
    assert left.keys == right.keys
    assert left.tokens.keys() == right.tokens.keys()
    for at, tokens in left.tokens.items():
        assert torch.equal(tokens.values, right.tokens[at].values)
        assert torch.equal(tokens.real, right.tokens[at].real)
    for group in ("present", "identity", "targets"):
        mine, theirs = getattr(left, group), getattr(right, group)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert torch.equal(left.draw, right.draw)


def near(rate, expected, draws):
    """Within four standard errors of a binomial share."""
    return abs(rate - expected) < 4 * math.sqrt(expected * (1 - expected) / draws)


def test_the_share_of_one_modality_is_met_over_records_and_epochs():
    found = gone(made({"image": 0.3}), "image")
    assert near(found.mean(), 0.3, found.size)
    for epoch in found:  # each epoch draws anew, over all records
        assert near(epoch.mean(), 0.3, len(epoch))
    assert near((found[0] & found[1]).mean(), 0.09, N)
    # No record is hit more than another: the variance over records is that of luck.
    assert found.mean(0).var() == pytest.approx(0.3 * 0.7 / EPOCHS, rel=0.4)


def test_of_two_the_shares_are_those_of_the_rule_that_one_stays():
    """With shares p < q, both are drawn with p q; then the larger draw stays: that of q's modality
    with 1 - p / (2 q), in closed form."""
    p, q = 0.2, 0.3
    batches = made({"text": p, "image": q})
    text, image = gone(batches, "text"), gone(batches, "image")
    assert not (text & image).any()
    assert near(text.mean(), p - p * q * p / (2 * q), text.size)
    assert near(image.mean(), q - p * q * (1 - p / (2 * q)), image.size)


@pytest.mark.parametrize("share", [0.9, 1.0])
def test_never_all_that_a_record_has(share):
    lacking = {"image": (0, 1, 2), "text": (3, 4)}
    batches = made(dict.fromkeys(("image", "text"), share), lacking=lacking)
    image, text = gone(batches, "image", 4), gone(batches, "text", 4)
    assert not (image & text).any()
    assert not text[:, :3].any()  # the text is all that these have
    assert not image[:, 3:5].any()
    assert (image | text).mean() > 0.8


def test_variants_go_with_their_modality_and_targets_never():
    batches = made({"text": 0.4})
    for step in range(6):
        batch = batches[step]
        assert torch.equal(batch.present["text"], batch.present["text#1"])
        assert batch.present["image"].all()
        assert (batch.targets["label"] >= 0).all()
        assert not batch.present["text"].all()
        # What is gone is equal to nothing, not even to what else is gone.
        absent = batch.identity["text"][~batch.present["text"]]
        assert (absent < 0).all()
        assert len(absent.unique()) == len(absent)


def test_the_draw_belongs_to_record_epoch_and_seed_alone():
    shares = {"image": 0.3, "text": 0.3}
    want = {name: gone(made(shares), name, 3) for name in shares}
    for name in shares:
        assert np.array_equal(gone(made(shares, size=30), name, 3), want[name])
        assert not np.array_equal(gone(made(shares, seed=1), name, 3), want[name])
    assert not np.array_equal(want["image"], want["text"])
    # Fewer records beside it: the same draw.
    assert np.array_equal(gone(made(shares, n=100, size=10), "image", 3), want["image"][:, :100])


def test_what_lacks_at_a_share_lacks_at_a_higher_one():
    less, more = (gone(made({"image": share}), "image", 3) for share in (0.2, 0.5))
    assert (more[less]).all()
    assert more.sum() > less.sum()


def test_workers_and_a_late_start_change_nothing():
    shares = {"image": 0.3, "text": 0.3}
    whole = list(made(shares).from_step(0, 9))
    for workers in (0, 2):
        for want, got in zip(whole[4:], made(shares).from_step(4, 9, workers), strict=True):
            equal_batches(want, got)


def test_a_share_of_nothing_changes_no_bit():
    for step in range(3):
        equal_batches(made(None)[step], made({"image": 0.0, "text": 0.0})[step])


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan")])
def test_a_wrong_share_is_refused(share):
    with pytest.raises(RecipeError) as told:
        recipes.load("albef", "tiny", modality_dropout={"image": share})
    assert told.value.field == "modality_dropout.image"
    assert "from 0 to 1" in str(told.value)


@pytest.mark.parametrize("share", ["much", [0.1], None])
def test_a_share_that_is_no_number_is_refused(share):
    with pytest.raises(RecipeError, match=r"modality_dropout\.image"):
        recipes.load("albef", "tiny", modality_dropout={"image": share})


@pytest.mark.parametrize(("wrong", "near_to"), [("txet", "text"), ("images", "image")])
def test_an_unknown_modality_is_refused_with_the_nearest(wrong, near_to):
    with pytest.raises(RecipeError) as told:
        recipes.load("albef", "tiny", [f"modality_dropout.{wrong}=0.1"])
    assert told.value.nearest == near_to
    assert f"modality_dropout.{wrong}" in str(told.value)


def test_a_target_cannot_be_named():
    with pytest.raises(RecipeError, match="a modality of the recipe"):
        recipes.check(
            recipes.load("visualbert", "tiny").model_dump(mode="json")
            | {"targets": {"label": {"use": "label"}}, "modality_dropout": {"label": 0.5}}
        )


def test_a_run_that_is_killed_resumes_to_equal_bits(tiny_data, tmp_path):
    """All that recipes do, a third of the pictures and of the texts gone."""
    options = ("recipe=combined", "budget=4-steps")
    shares = [f"modality_dropout.{name}=0.33" for name in ("image", "text")]
    finished = killed_runs(tiny_data, tmp_path, 2, 0, *options, *shares)
    assert sum(run["kills"] for run in finished) == 2
    assert_bits(finished)
