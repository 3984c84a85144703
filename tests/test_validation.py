"""Validation: which step is best, against slow loops on features made by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from sensorium import validation as module
from sensorium.encoders import projection
from sensorium.errors import DataError
from sensorium.fusion import none
from sensorium.model import Model
from sensorium.nodes import Given
from sensorium.objectives import contrastive
from sensorium.prepare import Column
from sensorium.recipe import load
from sensorium.records import Record, Records, Source
from sensorium.step import Step
from sensorium.validation import validation
from sensorium.views import View

WIDTH = 12


def made(modality, rows, index=None):
    """A column of features, one item a record unless `index` says otherwise."""
    items = np.asarray(rows, np.float32)[:, None]
    index = [[at] for at in range(len(items))] if index is None else index
    return Column(modality, items, index, np.arange(len(items)), True)


def records(splits):
    """Records in the given splits."""
    return Records(
        "made", [Record(f"k{at}", Source("x"), {}, split=s) for at, s in enumerate(splits)]
    )


def run(choose, batch=4):
    """What validation reads of a run."""
    recipe = load("plain_projections", overrides=[f"choose={choose}", f"optimiser.batch={batch}"])
    reader = lambda name: SimpleNamespace(name=name, modality=None)  # noqa: E731
    return SimpleNamespace(recipe=recipe, reader=reader, device="cpu", modalities={})


def step(scale=10.0, weights=(1.0,), dropout=0.0, width=WIDTH):
    """A Step whose vectors are the features at unit length; its temperature is 1 / scale."""
    spec = projection.Spec(dropout=dropout)
    source = SimpleNamespace(channels=width)
    encoders = {name: projection.Encoder(spec, source) for name in ("image", "text")}
    model = Model(encoders, none.Fusion(none.Spec(), {}), width, project=False)
    given = Given({name: View(name) for name in ("image", "text")})
    objectives = {
        f"contrast{at}": contrastive.Objective(
            contrastive.Spec(temperature=(at + 1) / scale, weight=weight), given
        )
        for at, weight in enumerate(weights)
    }
    return Step(model, objectives).eval()


def slow_loss(texts, images, scale, batch):
    """Symmetric InfoNCE in batches, by the definition, and its value without skill."""
    total = luck = 0.0
    for begin in range(0, len(texts), batch):
        a, b = texts[begin : begin + batch], images[begin : begin + batch]
        n = len(a)
        for i in range(n):
            for left, right in ((a, b), (b, a)):
                parts = [math.exp(scale * float(left[i] @ right[j])) for j in range(n)]
                total -= math.log(parts[i] / sum(parts)) / 2
        luck += n * math.log(n)
    return total / len(texts), luck / len(texts)


def slow_reciprocal(texts, images):
    """Mean of 1 / rank over both directions."""
    table = texts @ images.T
    found = []
    for rows in (table, table.T):
        for i, row in enumerate(rows):
            found.append(1 / (1 + sum(row[j] >= row[i] for j in range(len(row)) if j != i)))
    return sum(found) / len(found)


def unit(rows):
    """Rows of unit length, float64."""
    rows = np.asarray(rows, float)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def noisy(noise, seed=0, count=10):
    """Texts on their own axes and pictures near them."""
    rng = np.random.default_rng(seed)
    texts = np.eye(WIDTH)[:count]
    return unit(texts), unit(texts + noise * rng.standard_normal((count, WIDTH)))


def look(run, records, columns):
    """Validation by the run's own recipe."""
    return validation(run, records, columns, run.recipe, step())


def scores(choose, texts, images, given, batch=4):
    """One look at records that are all of the validation split."""
    columns = {"image": made("image", images), "text": made("text", texts)}
    return look(run(choose, batch), records(["validation"] * len(texts)), columns)(given)


def test_mean_reciprocal_rank_by_hand():
    """Ranks 1, 2, 1 from words to pictures and 1, 2, 2 back."""
    texts = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    images = [[1, 0, 0], [0.8, 0.6, 0], [0, 0.8, 0.6]]
    line = scores("rank", texts, images, step(width=3))
    there, back = (1 + 1 / 2 + 1) / 3, (1 + 1 / 2 + 1 / 2) / 3
    assert line["mean_reciprocal_rank"] == pytest.approx((there + back) / 2)
    assert line["text_to_image/recall@1"] == pytest.approx(2 / 3)
    assert line["image_to_text/recall@1"] == pytest.approx(1 / 3)
    assert line["score"] == line["mean_reciprocal_rank"]


@pytest.mark.parametrize("seed", range(3))
def test_numbers_equal_the_slow_loops(seed):
    texts, images = noisy(0.5, seed)
    line = scores("loss", texts, images, step(scale=7.0))
    loss, luck = slow_loss(texts, images, 7.0, 4)
    assert line["contrast0"] == pytest.approx(loss, rel=1e-4)
    assert line["contrast0/no_skill"] == pytest.approx(luck, rel=1e-5)
    assert line["mean_reciprocal_rank"] == pytest.approx(slow_reciprocal(texts, images))
    assert line["score"] == pytest.approx(-loss, rel=1e-4)


@pytest.mark.parametrize(("count", "batch"), [(10, 4), (8, 8), (7, 100), (6, 2)])
def test_without_skill_the_loss_is_the_logarithm_of_each_batch(count, batch):
    """All vectors alike: the loss is its own no-skill value, ln n of the batches that were used."""
    rows = np.ones((count, WIDTH))
    line = scores("loss", rows, rows, step(), batch)
    sizes = [min(batch, count - begin) for begin in range(0, count, batch)]
    wanted = sum(n * math.log(n) for n in sizes) / count
    assert line["contrast0/no_skill"] == pytest.approx(wanted, rel=1e-5)
    assert line["contrast0"] == pytest.approx(wanted, rel=1e-5)


def contest():
    """(texts, pictures, scale) of steps whose order by loss is not their order by rank."""
    return [
        (*noisy(0.3), 0.01),  # ranks well, but hardly moves the loss from ln n
        (*noisy(0.6, 1), 12.0),  # some are missed, the loss is low
        (*noisy(3.0, 2), 30.0),  # poor, and sure of it
        (*noisy(1.0, 3), 5.0),
    ]


@pytest.mark.parametrize("choose", ["loss", "rank"])
def test_the_best_step_has_the_highest_score(choose):
    told = [scores(choose, t, i, step(scale=s))["score"] for t, i, s in contest()]
    losses = [slow_loss(t, i, s, 4)[0] for t, i, s in contest()]
    ranks = [slow_reciprocal(t, i) for t, i, _ in contest()]
    by_loss, by_rank = np.argsort(losses), np.argsort(ranks)[::-1]
    assert by_loss[0] != by_rank[0]  # the two ways disagree here,
    assert by_loss[-1] != by_rank[0]  # also if one of them were turned around
    wanted = by_loss if choose == "loss" else by_rank
    assert np.argsort(told)[::-1].tolist() == wanted.tolist()


def test_the_chosen_loss_is_weighted_as_the_objectives_are():
    texts, images = noisy(0.6)
    line = scores("loss", texts, images, step(8.0, weights=(0.25, 3.0)))
    first, second = slow_loss(texts, images, 8.0, 4)[0], slow_loss(texts, images, 4.0, 4)[0]
    assert line["contrast0"] == pytest.approx(first, rel=1e-4)
    assert line["contrast1"] == pytest.approx(second, rel=1e-4)
    assert line["score"] == pytest.approx(-(0.25 * first + 3 * second), rel=1e-4)


def test_only_whole_records_of_the_validation_split_are_asked():
    """Others, and what lacks a side, change nothing, whatever they hold."""
    texts, images = noisy(0.7, count=8)
    splits = ["train", "validation", "test", "validation", "validation", None, "validation", "test"]
    asked = [1, 4, 6]  # record 3 has no picture
    index = [[at] if at < 3 else [] if at == 3 else [at - 1] for at in range(8)]
    columns = {
        "image": made("image", images[[0, 1, 2, 4, 5, 6, 7]], index),
        "text": made("text", texts),
    }
    line = look(run("loss"), records(splits), columns)(step())
    wanted = scores("loss", texts[asked], images[asked], step())
    assert line == pytest.approx(wanted, rel=1e-5)


def test_at_most_so_many_records_are_asked(monkeypatch):
    """One batch of them all: its no-skill value is the logarithm of their number."""
    monkeypatch.setattr(module, "MOST", 5)
    texts, images = noisy(0.7)
    line = scores("rank", texts, images, step(), batch=100)
    assert line["contrast0/no_skill"] == pytest.approx(math.log(5))
    assert scores("rank", texts, images, step(), batch=100) == line  # the same ones at each look


def test_a_recipe_of_its_own_decides_batch_and_choice():
    """A control is chosen as its own recipe says, whatever the run's is."""
    texts, images = noisy(0.7)
    columns = {"image": made("image", images), "text": made("text", texts)}
    own = run("loss", batch=5).recipe
    line = validation(run("rank", 4), records(["validation"] * 10), columns, own, step())(step())
    assert line["contrast0/no_skill"] == pytest.approx(math.log(5), rel=1e-5)
    assert line["score"] == pytest.approx(-slow_loss(texts, images, 10.0, 5)[0], rel=1e-4)


def test_the_first_caption_of_several_is_scored():
    texts, images = noisy(0.7, count=4)
    rows = np.concatenate([texts, unit(np.ones((4, WIDTH)))])
    columns = {
        "image": made("image", images),
        "text": made("text", rows, [[at, at + 4] for at in range(4)]),
    }
    line = look(run("loss"), records(["validation"] * 4), columns)(step())
    assert line["contrast0"] == pytest.approx(slow_loss(texts, images, 10.0, 4)[0], rel=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_rests_and_nothing_is_learned(training):
    texts, images = noisy(0.7)
    given = step(dropout=0.5).train(training)
    wanted = scores("loss", texts, images, step())
    assert scores("loss", texts, images, given) == pytest.approx(wanted)
    assert all(p.grad is None for p in given.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_the_step_is_left_in_the_mode_it_was(training):
    given = step(dropout=0.5).train(training)
    scores("loss", *noisy(0.7), given)
    assert given.training == training
    assert all(part.training == training for part in given.modules())


@pytest.mark.parametrize(
    "splits", [["train"] * 6, ["validation", *["train"] * 5], [*["train"] * 4, *["validation"] * 2]]
)
def test_too_few_records_are_a_mistake_in_the_data(splits):
    """The last of them has no text, so two records of the split are one whole one."""
    texts, images = noisy(0.1, count=6)
    columns = {
        "image": made("image", images),
        "text": made("text", texts[:5], [[0], [1], [2], [3], [4], []]),
    }
    with pytest.raises(DataError) as caught:
        look(run("rank"), records(splits), columns)
    assert caught.value.file == "made"
    assert caught.value.found == str(min(1, splits.count("validation")))


def test_draws_of_validation_are_its_own_and_the_same_at_each_look(monkeypatch):
    drawn, real = [], module.gather

    def spied(records, columns, modalities, items, rngs, *rest):
        drawn.append(rngs)
        return real(records, columns, modalities, items, rngs, *rest)

    monkeypatch.setattr(module, "gather", spied)
    texts, images = noisy(0.5)
    columns = {"image": made("image", images), "text": made("text", texts)}
    validate, given = look(run("loss"), records(["validation"] * 10), columns), step()
    validate(given)
    once = list(drawn)
    validate(given)
    assert drawn == 2 * once
    keys = [key for rngs in once for key in rngs]
    assert [key[2:] for key in keys] == [(f"k{at}",) for at in range(10)]
    assert all(key[1] == "validation" for key in keys)  # training draws under "look"


def test_what_lacks_a_variant_is_still_asked():
    texts, images = noisy(0.5)
    columns = {"image": made("image", images), "text": made("text", texts)}
    whole = look(run("loss"), records(["validation"] * 10), columns)(step())
    second = made("text", texts, [[at] if at == 0 else [] for at in range(10)])
    line = look(run("loss"), records(["validation"] * 10), columns | {"text#1": second})(step())
    assert line == whole
