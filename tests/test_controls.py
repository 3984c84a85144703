"""The controls that train: what they train on, for how long, and what is loaded afterwards.

Made features stand in for the towers; the first value of each text's features is its own number.
"""

import json

import numpy as np
import pytest
import torch

from sensorium import controls, pretraining, towers, training
from sensorium.controls import PLAIN, SHUFFLED, columns_of, recipe_of, shuffled, steps_of
from sensorium.errors import RunError
from sensorium.prepare import Column
from sensorium.recipe import Tune, load
from sensorium.records import Record, Records, Source
from sensorium.run import Run

WIDTHS = {"image": 1280, "text": 384}
SPLITS = ["train"] * 6 + ["validation"] + ["train"] * 2 + ["test"]
COUNT, TRAIN = 60, 48
EPOCHS, BATCH = 5, 16  # of the plain control here: 48 * 5 / 16 = 15 steps
OWN = 4  # steps of the run
LIT = (
    "encoders.image.prior=none",
    "encoders.text.prior=none",
    "encoders.image.components=8",
    "encoders.text.components=8",
    "optimiser.batch=12",
    "space=8",
)


def records():
    """Sixty records in three splits."""
    made = [
        Record(f"k{at}", Source("made"), {"t": f"text {at}", "p": "x"}, split=SPLITS[at % 10])
        for at in range(COUNT)
    ]
    return Records("made", made, {"p": "image", "t": "text"})


def columns():
    """Random features; a text's first value is its position."""
    rng = np.random.default_rng(0)
    made = {}
    for name, width in WIDTHS.items():
        items = rng.random((COUNT, 1, width), np.float32)
        items[:, 0, 0] = np.arange(COUNT)
        index = [[at] for at in range(COUNT)]
        made[name] = Column(name, items, index, np.arange(COUNT), True)
    return made


class Seen:
    """Counts the updates of each Step, and keeps which text and picture stood at which record."""

    def __init__(self, update):
        self.update, self.steps, self.rows, self.rates = update, [], [], []
        self.starts = []  # (positions, texts) of each start in closed form

    def __call__(self, step, optimiser, batch, clip):
        if not self.steps or self.steps[-1] is not step:
            self.steps.append(step)
            self.rows.append([])
            self.rates.append([])
        text, image = (batch.tokens[name, 0].values[:, 0, 0].int() for name in ("text", "image"))
        self.rows[-1].append(list(zip(batch.keys, text.tolist(), image.tolist(), strict=True)))
        self.rates[-1].append(optimiser.param_groups[0]["lr"])
        return self.update(step, optimiser, batch, clip)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(run, what was seen) of `lit` with its two controls, trained on the made features."""
    with pytest.MonkeyPatch.context() as patch:
        seen = Seen(training.update)
        begin = pretraining.start

        def start(step, recipe, given, positions):
            seen.starts.append((list(positions), [given["text"].index[at] for at in positions]))
            begin(step, recipe, given, positions)

        patch.setattr(training, "update", seen)
        patch.setattr(pretraining, "start", start)
        patch.setattr(towers, "weight_hash", lambda name: "made")
        patch.setattr(pretraining, "_columns", lambda *_: columns())
        changes = [f"optimiser.batch={BATCH}", f"most_epochs={EPOCHS}", "space=8"]
        patch.setattr(controls, "load", lambda name, **more: load(name, overrides=changes, **more))
        recipe = load("lit", overrides=list(LIT), budget=f"{OWN}-steps")
        made = records()
        info = {"data": "made", "fields": made.fields, "workers": 0, "fitted": True}
        run = Run.create(tmp_path_factory.mktemp("controls") / "run", recipe, info)
        pretraining._train(run, made, pretraining.Silent(), 0.0, lambda: False)
    return run, seen


def test_names_of_the_controls():
    """Both where towers prepare everything; plain projections are no control of themselves."""
    lit, plain = load("lit"), load(PLAIN)
    assert controls.names(lit) == [PLAIN, SHUFFLED]
    assert controls.names(plain) == [SHUFFLED]
    assert controls.names(load("clip")) == []
    half = lit.model_copy(update={"prepare": {"image": lit.prepare["image"]}})
    assert controls.names(half) == []
    # Nothing is compared, one modality alone, or a run goes on from another: no controls to train.
    classes = lit.model_copy(update={"objectives": [{"use": "classification"}]})
    alone = lit.model_copy(
        update={name: {"image": getattr(lit, name)["image"]} for name in ("modalities", "prepare")}
    )
    tuned = lit.model_copy(update={"tune": Tune(run="runs/lit-1")})
    assert [controls.names(one) for one in (classes, alone, tuned)] == [[], [], []]


def test_what_each_control_trains():
    lit = load("lit", overrides=["modalities.text.length=64"], seed=7)
    assert recipe_of(SHUFFLED, lit) is lit
    plain, wanted = recipe_of(PLAIN, lit), load(PLAIN, seed=7)
    # the head, the objective and the optimiser are those of the baseline,
    for part in ("name", "encoders", "objectives", "optimiser", "most_epochs", "start", "prior"):
        assert getattr(plain, part) == getattr(wanted, part)
        assert part in ("most_epochs",) or getattr(plain, part) == getattr(load(PLAIN), part)
    # what it reads and its seed are the run's
    for part in ("modalities", "prepare", "size", "seed"):
        assert getattr(plain, part) == getattr(lit, part)
    assert plain.modalities["text"]["length"] == 64 != wanted.modalities["text"]["length"]


def test_the_shuffled_control_differs_only_in_partners_of_the_training_split():
    made, given = records(), columns()
    dealt = columns_of(SHUFFLED, given, made, seed=3)
    assert dealt["image"] is given["image"]
    for split in ("validation", "test"):
        for at in made.positions(split):
            assert dealt["text"].index[at] == given["text"].index[at]
    train = made.positions("train")
    assert sorted(dealt["text"].index[at][0] for at in train) == train  # all, each once
    stay = sum(dealt["text"].index[at] == given["text"].index[at] for at in train)
    assert stay < 8  # one of a random order stays on average
    assert given["text"].index == columns()["text"].index  # the run's own is left alone
    assert columns_of(PLAIN, given, made, seed=3) is given


def test_captions_of_a_record_move_together():
    column = Column("text", np.zeros((6, 1, 1)), [[0, 1], [2], [3, 4, 5], []], np.arange(6), True)
    dealt = shuffled(column, [0, 1, 2, 3], seed=1)
    assert sorted(map(tuple, dealt.index)) == sorted(map(tuple, column.index))


@pytest.mark.parametrize(
    ("records", "batch", "epochs", "steps"),
    [(1000, 250, 80, 320), (1000, 300, 3, 10), (40, 256, 80, 80), (3, 2, 1, 2), (100, 256, 0, 1)],
)
def test_plain_projections_see_each_record_as_often_as_their_recipe_says(
    records, batch, epochs, steps
):
    """Epochs x records / batch, by hand; a batch is never larger than the split."""
    recipe = load(PLAIN, overrides=[f"optimiser.batch={batch}", f"most_epochs={epochs}"])
    assert steps_of(PLAIN, recipe, 1000, records) == steps
    # never more than eight for each of the run's, so that large data do not wait for a control
    assert steps_of(PLAIN, recipe, 2, records) == min(steps, 16)
    assert steps_of(SHUFFLED, recipe, 7, records) == 7


def test_each_takes_its_number_of_steps(trained):
    run, seen = trained
    assert len(seen.rows) == 3  # the run, plain projections, shuffled partners
    assert [len(rows) for rows in seen.rows] == [OWN, TRAIN * EPOCHS // BATCH, OWN]
    assert [len(rows[0]) for rows in seen.rows] == [12, BATCH, 12]
    # every record of the training split once an epoch
    keys = [key for rows in seen.rows[1] for key, _, _ in rows]
    assert {keys.count(key) for key in keys} == {EPOCHS}
    assert len(set(keys)) == TRAIN
    assert run.info["plan"]["steps"] == OWN


def test_each_falls_to_a_small_rate_of_its_own(trained):
    """The schedule spans the control's own steps: it ends near zero, not half way."""
    _, seen = trained
    plain = load(PLAIN).optimiser.learning_rate
    for rates, most in zip(seen.rates, (4e-3, plain, 4e-3), strict=True):
        assert max(rates) == pytest.approx(most)
        assert rates[-1] < 0.3 * most


def test_no_training_touches_items_of_validation_or_test(trained):
    _, seen = trained
    made = records()
    train = set(made.positions("train"))
    for rows in seen.rows:
        for step in rows:
            for key, text, image in step:
                assert {int(key[1:]), text, image} <= train
                assert image == int(key[1:])
    # nor does what is found in closed form; and that is found on the partners of the training
    assert [positions for positions, _ in seen.starts] == [sorted(train)] * 3
    own = [[at] for at in sorted(train)]
    assert [texts == own for _, texts in seen.starts] == [True, True, False]


def test_only_the_shuffled_control_has_other_partners(trained):
    _, seen = trained
    for rows in seen.rows[:2]:
        assert all(text == image for step in rows for _, text, image in step)
    pairs = {image: text for step in seen.rows[2] for _, text, image in step}
    # Dealt once, not anew at each step: one partner for the whole training.
    assert {(i, t) for step in seen.rows[2] for _, t, i in step} == set(pairs.items())
    assert len(set(pairs.values())) == len(pairs)
    assert sum(text != image for image, text in pairs.items()) > 0.8 * len(pairs)
    # and the batches are those of the run
    assert [[key for key, _, _ in step] for step in seen.rows[2]] == [
        [key for key, _, _ in step] for step in seen.rows[0]
    ]


def test_what_is_loaded_is_the_step_that_validation_chose(trained):
    run, _ = trained
    for name in (PLAIN, SHUFFLED):
        step = controls.trained(run, name)
        assert not step.training
        log = (controls.folder(run, name) / "log.jsonl").read_text().splitlines()
        looks = [line for line in map(json.loads, log) if line["split"] == "validation"]
        best = max(looks, key=lambda line: line["score"])
        # Asked again, the loaded step scores what the log says of the best one.
        recipe = run.recipe
        if name == PLAIN:
            recipe = load(PLAIN, overrides=[f"optimiser.batch={BATCH}"])
        again = pretraining.validation(run, records(), columns(), recipe, step)(step)
        assert run.info["controls"][name]["best_step"] == best["step"]
        assert again["mean_reciprocal_rank"] == pytest.approx(best["mean_reciprocal_rank"])
        assert again["contrastive"] == pytest.approx(best["contrastive"], rel=1e-4)


def test_the_controls_are_of_the_kind_that_they_say(trained):
    run, _ = trained
    plain, dealt = (controls.trained(run, name) for name in (PLAIN, SHUFFLED))
    assert [x.spec.use for x in plain.model.encoders.values()] == ["projection"] * 2
    assert [x.spec.use for x in dealt.model.encoders.values()] == ["nystroem"] * 2
    assert controls.folder(run, PLAIN) != controls.folder(run, SHUFFLED)


def test_a_control_that_was_not_trained_is_none(trained):
    run, _ = trained
    assert controls.trained(run, "another") is None
    assert controls.trained(Run(run.folder, run.recipe, {}), PLAIN) is None


def test_a_damaged_control_is_told(trained, tmp_path):
    run, _ = trained
    other = Run(tmp_path, run.recipe, run.info)
    with pytest.raises(RunError) as caught:
        controls.trained(other, PLAIN)
    assert "only this control is lost" in caught.value.see


def test_conse_needs_its_towers(trained, empty_cache):
    run, _ = trained
    told = controls.conse_vectors(run, list(records()), {"text": COUNT, "image": COUNT})
    assert told == "tower efficientnet_lite is not in the cache"


def test_conse_gives_one_unit_vector_an_item(trained, monkeypatch):
    """Made towers: pictures are the ten likeliest classes' names, texts their own features."""
    run, _ = trained
    given = columns()
    names = torch.nn.functional.normalize(torch.from_numpy(given["text"].items[:12, 0]), dim=1)

    class Reader:
        def __init__(self, recipe, name, device):
            self.name, self.tower = name, self

        def classes(self, pooled):
            return pooled[:, 1:13] * 5

    monkeypatch.setattr(towers, "available", lambda name: True)
    monkeypatch.setattr(controls, "Reader", Reader)
    monkeypatch.setattr(controls, "column", lambda reader, *_: (given[reader.name], []))
    monkeypatch.setattr(controls.conse, "tables", lambda: (None, names))
    sizes = {"text": COUNT, "image": COUNT}
    found = controls.conse_vectors(run, list(records()), sizes)
    assert np.array_equal(found["text"], given["text"].items[:, 0])
    for at in (0, 17, 59):
        p = np.exp(5 * given["image"].items[at, 0, 1:13].astype(float))
        best = np.argsort(-p)[:10]
        whole = (p[best, None] * names.numpy()[best]).sum(axis=0)
        assert found["image"][at] == pytest.approx(whole / np.linalg.norm(whole), abs=1e-4)
    told = controls.conse_vectors(run, list(records()), sizes | {"image": 3})
    assert told == "the towers cannot read all of these records"


@pytest.mark.parametrize("told", [[], 5, {"plain_projections": 5}, {"plain_projections": {}}])
def test_a_damaged_note_of_a_control_is_told(tiny_copy, told):
    """What run.json says of its controls may be anything; a mistake there is no traceback."""
    tiny_copy.info["controls"] = told
    with pytest.raises(RunError, match=r"controls\.plain_projections"):
        controls.trained(tiny_copy, "plain_projections")
