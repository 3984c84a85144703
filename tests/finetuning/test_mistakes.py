"""The derived recipe, and what people get wrong: told in a few lines, before torch loads."""

import json
import shutil
import subprocess
import sys

import pytest
from commands import sensorium, tree
from miniature import csv_of
from tuned import table_beside, tuned

from sensorium import recipe as recipes
from sensorium.errors import DataError, RecipeError, RunError, UserError
from sensorium.finetuning import deriving
from sensorium.finetuning.tuning import finetune, prepared, refuse_unasked
from sensorium.report.verdict import verdict
from sensorium.report.words import label
from sensorium.run import Run

# --- the recipe -----------------------------------------------------------------------------------


def test_the_recipe_keeps_the_source_and_asks_something_else(runs, tiny_run):
    old, new = tiny_run.recipe, runs["linear"].recipe
    assert new.modalities == {"image": old.modalities["image"]}
    assert new.encoders == {"image": old.encoders["image"]}
    assert new.objectives == [{"use": "classification"}]
    assert new.tune.method == "linear"
    assert new.choose == "loss"
    assert new.seed == old.seed


@pytest.mark.parametrize("method", deriving.METHODS)
def test_learning_rates_are_shares_of_the_sources(tiny_run, method):
    wish = deriving.Wish("classification", method)
    recipe = deriving.derive(tiny_run, wish, {"photo": "image", "colour": "label"})
    share = {"full": 1 / 5, "freeze": 1 / 2, "lora": 1, "linear": 2}[method]
    assert recipe.optimiser.learning_rate == pytest.approx(
        share * tiny_run.recipe.optimiser.learning_rate
    )


def test_a_label_is_found_by_name_or_by_repetition(tiny_run, tiles, tmp_path):
    _, records = prepared(tiny_run, tiles, deriving.Wish("classification"))
    assert records.fields["answer"] == "label"
    table = table_beside(tiles, "one", kind=lambda at: at % 2)
    _, records = prepared(tiny_run, table, deriving.Wish("classification"))
    assert records.fields == {"kind": "label", "photo": "image"}


def test_a_chain_of_tunings_keeps_the_first_rate(runs, tiny_run, tmp_path):
    base = tiny_run.recipe.optimiser.learning_rate
    assert runs["linear"].recipe.optimiser.learning_rate == 0.005, "which the user set"
    wish, taken = deriving.Wish("classification", "linear"), {"a": "image", "b": "label"}
    recipe = deriving.derive(runs["linear"], wish, taken)
    assert recipe.optimiser.learning_rate == pytest.approx(2 * base)


# --- what people get wrong ------------------------------------------------------------------------

WRONG = {
    "task": (["--task", "clasification"], ["no task called", "nearest classification"]),
    "method": (["--method", "lore"], ["no method called", "nearest lora"]),
    "share": (["--interpolate", "1.5"], ["field interpolate", "from 0 to 1, found 1.5"]),
    "rank": (["--rank", "0"], ["field rank", "expected 1 or more"]),
    "budget": (["--budget", "soon"], ["field budget", "such as 2min"]),
    "label": (["--label", "color"], ["field color", "expected one of photo", "nearest colour"]),
    "field": (["--field", "foto=image"], ["field foto", "nearest photo"]),
    "one class": (["--label", "same"], ["field same", "at least two classes", "only 'one'"]),
    "empty": (["--label", "nothing"], ["field nothing", "expected classes, found empty cells"]),
    "few pairs": (["--label", "title"], ["field title", "72 of 72 records with a value that no"]),
    "picture": (["--label", "photo"], ["field photo", "words or numbers", "found pictures"]),
    "twice": (
        ["--task", "answering", "--label", "question"],
        ["field question", "another for the question", "question for both", "--label says"],
    ),
    "also text": (
        ["--label", "title", "--field", "title=text"],
        ["field title", "another for the text", "title for both"],
    ),
    "high rank": (
        ["--label", "colour", "--method", "lora", "--rank", "33"],
        ["field rank", "32 or less", "found 33"],
    ),
    "caption": (["--task", "captioning"], ["recipe clip cannot learn captioning", "coca"]),
    "override": (["optimizer.batch=2"], ["nearest optimiser"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_told_in_a_few_lines(tiny_run, tiles, tmp_path, name):
    given, says = WRONG[name]
    place = tmp_path / "out"
    told = sensorium("finetune", tiny_run.folder, tiles, "--out", place, *given)
    assert told.code == 2
    for words in says:
        assert words in told.words
    assert "Traceback" not in told.words
    assert len(told.err.splitlines()) <= 7
    assert not place.exists()


def test_several_candidates_are_named(tiny_run, tiles, tmp_path):
    table = table_beside(tiles, "two", kind=lambda at: at % 2, make=lambda at: f"m{at % 3}")
    with pytest.raises(DataError, match=r"kind \(2 different\), make \(3 different\)"):
        finetune(tiny_run, table, "classification", out=tmp_path / "run")


def test_why_a_field_is_the_class_is_told(tiny_run, tiles, tmp_path):
    table = table_beside(tiles, "named", category=lambda at: "one")
    with pytest.raises(DataError, match="category was taken as the class for its name"):
        finetune(tiny_run, table, "classification", out=tmp_path / "run")


def test_a_text_that_was_taken_as_the_answer_is_named(tiny_run, tiles, tmp_path):
    table = table_beside(tiles, "only", caption=lambda at: f"a thing {at % 2}")
    with pytest.raises(DataError, match="caption was taken as the class as the only one whose"):
        finetune(tiny_run, table, "answering", out=tmp_path / "run")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_without_a_class_of_training_is_refused(tiny_run, tiles, tmp_path, split):
    stated = ("train", "train", "train", "validation", "test")
    table = table_beside(
        tiles,
        f"strange_{split}",
        split=lambda at: stated[at % 5],
        kind=lambda at: "new" if stated[at % 5] == split else at // 5 % 2,
    )
    with pytest.raises(DataError, match=f"expected {split} records of a class that training has"):
        finetune(tiny_run, table, "classification", label="kind", out=tmp_path / "run")


def test_a_head_without_parameters_is_refused_before_data_is_read():
    source = recipes.load("simvlm", "tiny").model_copy(
        update={"head": recipes.Head(transform=False)}
    )
    deriving.refuse(source, deriving.Wish("captioning", "freeze"))
    with pytest.raises(RecipeError, match="method linear trains nothing"):
        deriving.refuse(source, deriving.Wish("captioning", "linear"))


def test_only_a_task_that_a_run_can_learn_is_proposed(tiny_run, runs):
    with pytest.raises(UserError) as told:
        refuse_unasked(tiny_run, "caption")
    assert "finetune" not in told.value.see
    assert "coca" in told.value.see
    with pytest.raises(UserError) as told:
        refuse_unasked(tiny_run, "answer")
    assert told.value.see == f"sensorium finetune {tiny_run.folder} DATA --task answering"
    assert deriving.accepts(tiny_run.recipe, "answering")
    assert not deriving.accepts(runs["full"].recipe, "answering")


def test_pictures_are_needed_by_a_model_of_pictures(runs, tmp_path):
    rows = [{"words": f"a thing {at}", "kind": str(at % 2)} for at in range(24)]
    table = csv_of(tmp_path / "words.csv", rows)
    with pytest.raises(DataError, match="a field for image, which recipe clip_classification"):
        finetune(runs["full"], table, "classification", out=tmp_path / "run")


def test_an_unfinished_source_is_refused(tiny_copy, tiles, tmp_path):
    file = tiny_copy.folder / "run.json"
    info = json.loads(file.read_text())
    del info["best_step"]
    file.write_text(json.dumps(info))
    with pytest.raises(RunError, match="not finished training"):
        tuned(tiny_copy.folder, tiles, tmp_path / "out")


def test_a_used_folder_is_refused(tiny_run, tiles, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(RunError, match="nothing was overwritten"):
        tuned(tiny_run, tiles, tmp_path / "out")
    assert tree(tmp_path / "out").keys() == {str(tmp_path / "out" / "mine.txt")}


def test_a_single_stream_needs_both(tiny_run, tiles):
    content = recipes.load("simvlm", "tiny").model_dump(mode="json")
    run = Run(tiny_run.folder, recipes.check(content), tiny_run.info)
    with pytest.raises(RecipeError, match="an encoder of image without blocks"):
        deriving.derive(run, deriving.Wish("classification"), {"a": "image", "b": "label"})


def test_classes_that_training_lacks_are_said(tiny_run, tmp_path, tiles):
    splits = ("train", "train", "train", "validation", "test")
    table = table_beside(
        tiles,
        "rare",
        kind=lambda at: "rare" if at == 4 else at // 5 % 2,
        split=lambda at: splits[at % 5],
    )
    lines = []

    class Told:
        def say(self, what, text):
            lines.append((what, text))

        def progress(self, *_, **__):
            pass

    run = tuned(
        tiny_run.folder, table, tmp_path / "run", budget="2-steps", label="kind", watcher=Told()
    )  # fmt: skip
    said = [text for what, text in lines if what == "classes"]
    assert len(said) == 1
    assert "1 of the test split are not in training (rare)" in said[0]
    score = next(x for x in run.scores() if x["metric"] == "accuracy")
    assert score["protocol"]["of_classes_unknown_to_training"] == 1


@pytest.mark.parametrize("what", ["predict", "answer", "caption"])
def test_a_run_that_cannot_is_told_by_run_json(tiny_run, tiles, what, tmp_path):
    """No weights are read: there are none."""
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copyfile(tiny_run.folder / "run.json", bare / "run.json")
    more = ["what?"] if what == "answer" else []
    told = sensorium(what, bare, tiles.parent / "000.png", *more)
    assert told.code == 2
    assert f"cannot {what}" in told.words
    assert "which learned contrastive" in told.words


def test_what_is_asked_must_be_readable(runs, tiles, tmp_path):
    run = runs["full"]
    with pytest.raises(DataError, match=r"000\.png"):
        run.predict([tiles.parent / "0000.png"])
    (tmp_path / "no.png").write_text("no picture")
    with pytest.raises(DataError, match=r"no\.png"):
        run.predict([tmp_path / "no.png"])
    with pytest.raises(UserError, match="expected files or texts"):
        run.predict([])
    with pytest.raises(UserError, match="reads one thing, image"):
        run.predict([tiles.parent / "000.png"], "words")


def test_mistakes_need_no_torch(tiny_run, tiles):
    code = f"""
import sys
from sensorium.errors import UserError
from sensorium.finetuning.tuning import prepared, refuse_unasked
from sensorium.finetuning.deriving import Wish
from sensorium.run import Run
try:
    prepared({str(tiny_run.folder)!r}, {str(tiles)!r}, Wish("classification", label="same"))
except UserError as error:
    print(error.found)
try:
    refuse_unasked(Run.open({str(tiny_run.folder)!r}), "predict")
except UserError as error:
    print(error.what)
print("torch" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second, third = told.stdout.splitlines()
    assert first == "only 'one'"
    assert second.endswith("cannot predict")
    assert third == "False"


def test_commands_print_what_was_found(runs, tiles):
    run, file = runs["full"].folder, tiles.parent / "000.png"
    told = sensorium("predict", run, file)
    assert told.code == 0
    assert "000.png" in told.out
    rows = json.loads(sensorium("predict", run, file, "--json").out)
    assert rows[0]["class"] in told.out


def test_scores_with_controls_and_the_verdict_come_before_the_table(tiny_run, tiles, tmp_path):
    told = sensorium(
        "finetune", tiny_run.folder, tiles, "--task", "answering", "--budget", "3-steps",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert told.code == 0
    scores, table, after = told.out.partition("difference, 95 %")
    assert table
    stored = Run.open(tmp_path / "run").scores()
    beside = ("majority", "partner_shuffled", "image_alone", "text_alone")
    assert set(beside) <= stored[0]["controls"].keys()
    for control in beside:
        assert label(control)[:20] in scores
    title = verdict(stored).title
    assert title in " ".join(scores.split())
    assert "sensorium answer" in after
