"""A recipe with a table trains, is scored, reopened, resumed, asked and searched."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from commands import sensorium
from miniature import pictures

from sensorium import reading
from sensorium.asking import Asked
from sensorium.embedding import embed
from sensorium.errors import DataError, UserError
from sensorium.finetuning.tuning import finetune
from sensorium.prepare import column
from sensorium.pretraining import pretrain, resume
from sensorium.recipe import load
from sensorium.run import Run

RECIPE = """
name: shop
summary: a picture beside a table
source: the project's own tests
modalities:
  image: {use: image, size: 16, patch: 8}
  text: {use: text, length: 8, vocabulary: 300}
  table: {use: table}
encoders:
  image: {use: vision_transformer, width: 32, depth: 1, heads: 2}
  text: {use: transformer, width: 32, depth: 1, heads: 2}
  table: {use: tabular, width: 32, depth: 1, heads: 2}
targets: {label: {use: label}}
space: 32
objectives: [{use: classification}]
optimiser: {batch: 20, learning_rate: 0.003}
budget: 15-epochs
choose: loss
"""
FUSIONS = {
    "merge_attention": "fusion={use: merge_attention, depth: 1, heads: 2, lead: table}",
    "additive": "fusion={use: additive}",
    "concatenate": "fusion={use: concatenate}",
}
FIELDS = {"photo": "image", "words": "text", "kind": "label"}
COUNT = 120
SIZES = ("small", "large")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A table whose class is in its number alone; a sixth of the rows have no cell at all."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    with open(folder / "shop.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["key", "photo", "words", "weight", "made", "boxed", "kind", "split"])
        for at, name in enumerate(pictures(folder, COUNT)):
            kind = int(rng.integers(2))
            weight = f"{rng.normal(20 + 20 * kind, 2):.2f}"
            cells = [weight, ("oak", "ash", "elm")[at % 3], str(at % 2 == 0).lower()]
            split = ("validation", "test")[at % 2] if at % 4 == 0 else "train"
            split = "train" if at % 6 == 5 else split
            cells = ["", " ", ""] if at % 6 == 5 else cells
            writer.writerow([f"k{at}", name, f"piece {at}", *cells, SIZES[kind], split])
    (folder / "shop.yaml").write_text(RECIPE)
    return folder / "shop.csv"


def recipe(shop, *overrides):
    return load(shop.with_suffix(".yaml"), overrides=list(overrides))


@pytest.fixture(scope="module")
def trained(shop, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return pretrain(shop, recipe(shop, FUSIONS["merge_attention"]), out=out, fields=FIELDS)


def accuracy(run, split="test"):
    found = next(x for x in run.scores(split) if x["metric"] == "accuracy")
    alone = {name: x["value"] for name, x in found["controls"].items()}
    return found["value"], alone


def test_a_table_tells_what_only_it_knows(trained):
    value, controls = accuracy(trained)
    assert value == 1.0
    assert controls["table_alone"] == 1.0
    assert controls["image_alone"] < 0.9


@pytest.mark.parametrize("fusion", ["additive", "concatenate"])
def test_other_fusions_learn_it_too(shop, fusion, tmp_path):
    run = pretrain(shop, recipe(shop, FUSIONS[fusion]), out=tmp_path / "run", fields=FIELDS)
    assert accuracy(run)[0] > 0.9


def test_what_was_inferred_is_stated(trained):
    cells = {"weight": "table", "made": "table", "boxed": "table"}
    assert trained.info["fields"] == {**FIELDS, **cells}
    assert trained.field("table") == ("weight", "made", "boxed")
    (line,) = [note for note in trained.info["notes"] if note.startswith("table: ")]
    assert "boxed (boolean, 2)" in line
    assert "made (category, 3)" in line
    assert "weight (number, " in line
    told = json.loads((trained.folder / "modalities" / "table" / "columns.json").read_text())
    records = trained.records()
    weights = [
        float(records[at].fields["weight"])
        for at in records.positions("train")
        if records[at].fields["weight"] is not None
    ]
    assert told[2]["mean"] == pytest.approx(np.mean(weights))  # of training alone


def test_a_record_without_cells_lacks_the_table(trained):
    train = trained.records().positions("train")
    records = [trained.records()[at] for at in train]
    made, bad = column(trained.reader("table"), records, trained.field("table"))
    assert not bad
    lacking = [int(record.key[1:]) % 6 == 5 for record in records]
    assert [not items for items in made.index] == lacking
    assert any(lacking)
    assert made.items.shape[1:] == (3, 2)
    assert made.items.dtype == np.float32


def test_equal_tables_are_one_thing(trained):
    records = trained.records()
    whole = [x for x in records if x.fields["weight"] is not None][:2]
    other = {**whole[1].fields, "weight": float(whole[0].fields["weight"])}
    other |= {name: whole[0].fields[name] for name in ("made", "boxed")}
    pair = [whole[0], dataclasses.replace(whole[1], fields=other), whole[1]]
    made, _ = column(trained.reader("table"), pair, trained.field("table"))
    assert made.identity[0] == made.identity[1] != made.identity[2]


def test_the_content_of_an_absent_table_has_no_influence(trained):
    names = ["image", "text", "table", "label"]
    asked = Asked.over(trained, "test", names)
    objective = trained.step.objectives["classification"]
    (read,) = objective.needs().values()

    def states(junk: float):
        ((_, batch),) = asked.batches([], len(asked), {"table": None})
        batch.tokens["table", 0].values[..., 1:] = junk
        return trained.step.read(read, batch)

    assert not asked.columns["table"].features
    assert torch.equal(states(0.0), states(1.0))


def test_a_run_reopens_and_scores_the_same(trained):
    before = trained.scores()
    assert Run.open(trained.folder).evaluate("test") == before


def test_a_killed_run_goes_on_to_the_same_bits(shop, trained, tmp_path):
    class Impatient:
        def say(self, what, text):
            pass

        def progress(self, what, done, total, note=""):
            if what == "train" and done >= total // 2:
                raise RuntimeError("killed")

    made = recipe(shop, FUSIONS["merge_attention"])
    with pytest.raises(RuntimeError, match="killed"):
        pretrain(shop, made, out=tmp_path / "run", fields=FIELDS, watcher=Impatient())
    again = resume(tmp_path / "run")
    for name, value in trained.step.state_dict().items():
        assert torch.equal(value, again.step.state_dict()[name]), name


def test_a_changed_cell_is_another_content(shop, tmp_path):
    for file in shop.parent.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    copy, out = tmp_path / "shop.csv", tmp_path / "run"
    made = recipe(copy, FUSIONS["additive"], "budget=1-epochs")
    run = pretrain(copy, made, out=out, fields=FIELDS)
    run.note(best_step=None)
    copy.write_text(copy.read_text().replace(",ash,", ",elm,", 1))
    with pytest.raises(DataError, match="the contents that the run began with"):
        resume(out)


def test_the_class_of_new_cells(trained, shop):
    photo = str(shop.parent / "000.png")
    for kind, weight in zip(SIZES, (20, "41"), strict=True):
        (told,) = trained.predict([photo], "piece", cells={"weight": weight, "made": "oak"})
        assert told["class"] == kind
        assert told["file"] == photo
        assert told["words"] == "piece"
    both = trained.predict([photo] * 2, "piece", cells=[{"weight": 20}, {"weight": 40}])
    assert [x["class"] for x in both] == list(SIZES)
    told = sensorium("predict", trained.folder, photo, "--words", "x", "--cells", '{"weight": 20}')
    assert told.code == 0
    assert "small" in told.out


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (None, "a table for each item"),
        ({"wieght": 3}, "nearest  weight"),
        ({}, "cells by the names of columns"),
        ("weight: 3", "cells by the names of columns"),
        ([{"weight": 3}] * 2, "one for all, or 1"),
        ({"weight": "heavy"}, "column weight\nexpected a number"),
        ({"weight": ""}, "a cell that is not empty"),
    ],
)
def test_cells_that_cannot_be_asked_are_told(trained, shop, cells, says):
    with pytest.raises(UserError, match=says):
        trained.predict([shop.parent / "000.png"], "piece", cells=cells)


def test_tables_alone(shop, tmp_path):
    made = recipe(shop, "fusion={use: none}").model_dump(mode="json")
    for part in ("modalities", "encoders"):
        made[part] = {"table": made[part]["table"]}
    path = tmp_path / "alone.yaml"
    path.write_text(json.dumps(made))  # JSON is YAML
    run = pretrain(shop, path, out=tmp_path / "run", size="published", fields=FIELDS)
    assert accuracy(run)[0] == 1.0
    told = run.predict([{"weight": 20.0}, '{"weight": 40}'])
    assert [x["class"] for x in told] == list(SIZES)
    with pytest.raises(UserError, match="none: the run reads one thing, table"):
        run.predict([{"weight": 20.0}], words="piece")
    assert run.report().stat().st_size > 0


def test_pictures_are_compared_with_tables(shop, tmp_path):
    contrast = "objectives=[{use: contrastive, between: [image, table]}]"
    made = recipe(shop, contrast, "targets={}", "budget=2-epochs")
    run = pretrain(shop, made, out=tmp_path / "run", fields=FIELDS)
    (score,) = run.scores()
    assert score["task"] == "loss"
    records = [x for x in run.records() if x.fields["weight"] is not None][:5]
    columns = {name: run.column(name, records) for name in ("image", "table")}
    vectors = embed(run.step, run.recipe, run.reader("table"), columns["table"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors.shape == (5, 32)


def test_search_goes_on_beside_a_table(shop, tmp_path):
    """Pictures and texts are searched; the cells are no contents, and filter as before."""
    both = "objectives=[{use: contrastive}, {use: classification}]"
    made = recipe(shop, both, FUSIONS["additive"], "choose=rank", "budget=1-epochs")
    run = pretrain(shop, made, out=tmp_path / "run", fields=FIELDS)
    found = run.search("piece 3", where={"made": "ash"}, k=5)
    assert len(found) == 5
    assert {reading.read(shop)[int(x["key"][1:])].fields["made"] for x in found} == {"ash"}
    assert run.report().stat().st_size > 0


def test_fine_tuning_reads_the_columns_that_are_left(shop, trained, tmp_path):
    """A class that was a column is none of the table's any more, so nothing gives it away."""
    filled = tmp_path / "shop.csv"
    filled.write_text(shop.read_text().replace(", ,", ",elm,"))
    for photo in shop.parent.glob("*.png"):
        shutil.copy(photo, tmp_path)
    tuned = finetune(trained, filled, "classification", label="made", out=tmp_path / "tuned")
    assert tuned.info["fields"]["made"] == "label"
    assert tuned.field("table") == ("weight", "boxed")  # `kind` is new to the model
    asked = Asked.over(tuned, "test", ["table"])
    names = [x.name for x in tuned.reader("table").modality.columns]
    assert names == ["boxed", "made", "weight"]
    assert not asked.columns["table"].items[:, names.index("made")].any()
    assert asked.columns["table"].items[:, names.index("weight"), 0].all()
    assert not (tuned.folder / "rejected.jsonl").read_text()  # no cell left: the table is absent


def test_a_column_that_the_model_does_not_know_is_refused(shop, trained, tmp_path):
    told = sensorium("finetune", trained.folder, shop, "--label", "made", "--field", "kind=table",
                     "--out", tmp_path / "tuned")  # fmt: skip
    assert told.code == 2
    assert "a column of the model's table: weight, made, boxed" in told.words
