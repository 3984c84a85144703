"""Fine-tuning from a finished run: it learns, forgets visibly, needs its source no more, resumes
to the bit; and what people get wrong is told before torch loads."""

import json
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from commands import sensorium, tree
from conftest import COLOURS, SHAPES, TINY, shape
from miniature import csv_of

from sensorium import checkpoint, deriving, forgetting, inheriting
from sensorium.errors import DataError, RecipeError, RunError, Stopped, UserError
from sensorium.finetuning import finetune, prepared
from sensorium.predicting import answer
from sensorium.pretraining import pretrain, resume
from sensorium.run import Run

FAST = ["optimiser.learning_rate=0.005"]
KINDS = [(s, c, f) for s in ("small", "large") for c in ("red", "green", "blue") for f in SHAPES]


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """tiles.csv: 72 pictures of shapes with colour, question and answer; every picture differs."""
    folder = tmp_path_factory.mktemp("tiles")
    rows = []
    for turn in range(3):
        for number, (size, colour, form) in enumerate(KINDS):
            name, picture = f"{turn}{number:02d}.png", shape(size, colour, form)
            picture.putpixel((turn, number % 32), (0, 0, turn))
            picture.save(folder / name)
            asked = (("what colour is it?", colour), ("is it large?", str(size == "large")))
            question, told = asked[(turn + number) % 2]
            rows.append(
                {
                    "photo": name,
                    "title": f"a {size} {colour} {form} number {turn}",
                    "colour": colour,
                    "question": question,
                    "answer": told,
                    "same": "one",
                    "nothing": "",
                }
            )
    return csv_of(folder / "tiles.csv", rows)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def tuned(source, tiles, out, method="full", budget="60-steps", **more):
    options = dict(label="colour", fields={"photo": "image"}, overrides=FAST) | more
    return finetune(source, tiles, "classification", method, out=out, budget=budget, **options)


@pytest.fixture(scope="module")
def runs(tiny_run, tiles, tmp_path_factory):
    """One run of each method; LoRA's half interpolated. Read only."""
    place = tmp_path_factory.mktemp("tuned")
    return {
        method: tuned(
            tiny_run.folder,
            tiles,
            place / method,
            method,
            interpolate=0.5 if method == "lora" else None,
        )
        for method in deriving.METHODS
    }


def table_beside(tiles, name, **columns):
    """A further table of the same 72 pictures: column -> what it holds, by row."""
    rows = [
        {"photo": f"{at // 24}{at % 24:02d}.png", **{k: str(of(at)) for k, of in columns.items()}}
        for at in range(72)
    ]
    return csv_of(tiles.parent / f"{name}.csv", rows)


def weights(run):
    return {name: p.detach() for name, p in run.step.named_parameters()}


# --- it learns ------------------------------------------------------------------------------------


def test_it_tells_classes_apart(runs):
    score = next(x for x in runs["full"].scores() if x["metric"] == "accuracy")
    assert score["task"] == "classification"
    assert score["interval"][0] > score["controls"]["majority"]["value"]


def test_predictions_agree_with_the_score(runs, tiles):
    run = runs["full"]
    records = run.records()
    asked = [records[at] for at in records.positions("test")]
    files = [str(tiles.parent / record.fields["photo"].name) for record in asked]
    told = run.predict(files)
    right = [row["class"] == r.fields["colour"] for row, r in zip(told, asked, strict=True)]
    score = next(x for x in run.scores() if x["metric"] == "accuracy")
    assert sum(right) / len(right) == pytest.approx(score["value"])
    assert [row["file"] for row in told] == files
    for row in told:
        shares = [row["probability"], *(x["probability"] for x in row["runners_up"])]
        assert sum(shares) == pytest.approx(1)
        assert shares == sorted(shares, reverse=True)
    for one, row in zip(files[:3], told, strict=False):  # alone as in company
        assert run.predict([one])[0]["probability"] == pytest.approx(row["probability"], abs=1e-5)


@pytest.mark.parametrize("method", ["linear", "freeze", "lora"])
def test_the_backbone_keeps_its_bits(runs, tiny_run, method):
    run, source = runs[method], weights(tiny_run)
    best = checkpoint.load(run.folder / "checkpoints", run.best_step).state["model"]
    last = checkpoint.load(run.folder / "checkpoints").state["model"]
    for state in (best, last):
        shared = 0
        for name, value in state.items():
            plain = name.replace("parametrizations.weight.original", "weight")
            if plain.startswith("model.encoders.image"):
                if plain in source:
                    shared += 1
                    assert torch.equal(value, source[plain]), name
                else:
                    assert method == "lora", name
        assert shared == sum(n.startswith("model.encoders.image") for n in source)
    head = "objectives.classification.head.weight"
    assert not torch.equal(last[head], inheriting.beginning(run).state_dict()[head])


def test_full_changes_every_part(runs, tiny_run):
    source = weights(tiny_run)
    moved = {n for n, p in weights(runs["full"]).items() if n in source and (p != source[n]).any()}
    assert moved == {n for n in source if n.startswith("model.encoders.image")}


def test_training_begins_as_the_source(runs, tiny_run):
    for run in runs.values():
        step = inheriting.beginning(run)
        for name, p in step.named_parameters():
            if name.startswith("model."):
                assert torch.equal(p, weights(tiny_run)[name])


def test_words_alone(tiny_run, tiles, tmp_path):
    run = finetune(
        tiny_run, tiles, "classification", label="colour", fields={"title": "text"},
        out=tmp_path / "run", budget="3-steps",
    )  # fmt: skip
    assert list(run.recipe.modalities) == ["text"]
    row = run.predict(["a small red circle"])[0]
    assert row["text"] == "a small red circle"
    assert row["class"] in COLOURS
    same = tiny_run.folder / "modalities" / "text"
    assert [*tree(run.folder / "modalities" / "text").values()] == [*tree(same).values()]


def test_answers_from_a_closed_set(tiny_run, tiles, tmp_path):
    run = finetune(tiny_run, tiles, "answering", out=tmp_path / "run", budget="4-steps")
    assert run.recipe.fusion["use"] == "concatenate"
    assert "untrained" in run.recipe.departures[0]
    assert run.info["fields"] == {"answer": "label", "question": "text", "photo": "image"}
    told = answer(run, tiles.parent / "000.png", "what colour is it?", top=9)
    assert {row["answer"] for row in told} == {"red", "green", "blue", "True", "False"}
    assert sum(row["probability"] for row in told) == pytest.approx(1)
    fusion = {n for n, p in run.step.named_parameters() if n.startswith("model.fusion")}
    begun = inheriting.beginning(run).state_dict()
    last = checkpoint.load(run.folder / "checkpoints").state["model"]
    assert fusion
    assert all((last[n] != begun[n]).any() for n in fusion), "the fusion takes part in what is told"


def test_retrieval_goes_on_where_the_source_stopped(tiny_run, tiles, tmp_path):
    run = finetune(
        tiny_run, tiles, "retrieval", "lora", fields={"photo": "image", "title": "text"},
        out=tmp_path / "run", budget="4-steps",
    )  # fmt: skip
    assert run.compares
    assert run.search("a red circle", k=2)
    metrics = {(r["which"], r["metric"]) for r in run.info["before_and_after"]}
    assert {("new", "text to image, recall@1"), ("old", "text to image, recall@1")} <= metrics
    scale = "objectives.contrastive.log_scale"
    begun = inheriting.beginning(run).state_dict()[scale]
    assert torch.equal(begun, weights(tiny_run)[scale])


# --- before and after -----------------------------------------------------------------------------


def test_forgetting_is_told(runs, tiny_run):
    for run in runs.values():
        rows = run.info["before_and_after"]
        stored = json.loads((run.folder / "evaluation" / forgetting.FILE).read_text())
        assert rows == stored
        old = {row["metric"]: row for row in rows if row["which"] == "old"}
        own = {x["direction"]: x["value"] for x in tiny_run.scores() if x["metric"] == "recall@1"}
        assert old["text to image, recall@1"]["before"] == own["text_to_image"]
        assert old["image to text, recall@1"]["before"] == own["image_to_text"]
        for row in rows:
            assert row["difference"] == pytest.approx(row["after"] - row["before"])
            if row["difference_interval"]:
                low, high = row["difference_interval"]
                assert low <= row["difference"] + 1e-9
                assert high >= row["difference"] - 1e-9
        new = next(r for r in rows if r["which"] == "new" and r["metric"] == "accuracy")
        score = next(x for x in run.scores() if x["metric"] == "accuracy")
        assert new["after"] == score["value"]
    linear = [r for r in runs["linear"].info["before_and_after"] if r["which"] == "old"]
    assert all(row["difference"] == 0 for row in linear), "a frozen model forgets nothing"
    full = [r for r in runs["full"].info["before_and_after"] if r["which"] == "old"]
    assert any(row["difference"] != 0 for row in full)


def test_zero_shot_is_the_nearest_class_name(runs, tiny_run, tiles):
    run = runs["full"]
    told = next(r for r in run.info["before_and_after"] if r["metric"] == "accuracy")["zero_shot"]
    records = run.records()
    asked = [records[at] for at in records.positions("test")]
    names = run.reader("label").modality.classes
    right = []
    for record in asked:
        picture = tiny_run.vector("image", record.fields["photo"], "photo")
        likeness = []
        for name in names:
            one = tiny_run.vector("text", f"a photo of a {name}", "x")
            two = tiny_run.vector("text", name, "x")
            both = (one + two) / 2
            likeness.append(float(both @ picture) / float((both @ both) ** 0.5))
        right.append(names[likeness.index(max(likeness))] == record.fields["colour"])
    assert told["value"] == pytest.approx(sum(right) / len(right))


def test_old_data_that_is_gone_is_said(tiny_data, tiles, tmp_path):
    data = tmp_path / "shapes"
    shutil.copytree(tiny_data, data)
    source = pretrain(data, "clip", out=tmp_path / "source", budget="2-steps", overrides=[*TINY])
    shutil.rmtree(data)
    run = tuned(source.folder, tiles, tmp_path / "run", budget="2-steps")
    old = [row for row in run.info["before_and_after"] if row["which"] == "old"]
    assert len(old) == 1
    assert "no data at" in old[0]["reason"]


# --- WiSE-FT --------------------------------------------------------------------------------------


def test_interpolation_ends_at_source_and_tuned(runs, tiny_run):
    run, source = runs["full"], weights(tiny_run)
    whole = weights(run)
    for share in (0.0, 1.0, 0.25):
        step = inheriting.tuned(run, run.best_step)
        inheriting.mix(run, step, share)
        for name, p in step.named_parameters():
            if name not in source:
                assert torch.equal(p, whole[name]), "a new head stays as tuned"
            elif share in (0.0, 1.0):
                assert torch.equal(p, (source, whole)[int(share)][name])
            else:
                by_hand = 0.75 * source[name] + 0.25 * whole[name]
                torch.testing.assert_close(p, by_hand, atol=1e-6, rtol=1e-5)


def test_what_is_kept_is_the_mixture_and_both_are_scored(runs):
    run = runs["lora"]
    step = inheriting.tuned(run, run.best_step)
    inheriting.mix(run, step, 0.5)
    for name, p in step.named_parameters():
        assert torch.equal(p, weights(run)[name])
    assert "parametrizations" not in " ".join(run.step.state_dict())
    for row in run.info["before_and_after"]:
        assert {"before", "tuned", "after"} <= row.keys()


# --- a run like any other -------------------------------------------------------------------------


def test_it_needs_its_source_no_more(tiny_run, tiles, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(tiny_run.folder, source)
    run = tuned(source, tiles, tmp_path / "run", "lora", "4-steps")
    before = run.predict([tiles.parent / "000.png"])
    again = tuned(source, tiles, tmp_path / "again", budget="4-steps")
    shutil.rmtree(source)
    opened = Run.open(run.folder)
    assert opened.predict([tiles.parent / "000.png"]) == before
    (run.folder / "evaluation" / forgetting.FILE).unlink()
    assert resume(run.folder).info["before_and_after"] == run.info["before_and_after"]
    # And it can be a source itself: classes are other ones, so the head is new.
    second = finetune(
        again.folder, tiles, "classification", label="answer", fields={"photo": "image"},
        out=tmp_path / "second", budget="2-steps",
    )  # fmt: skip
    old = [row["metric"] for row in second.info["before_and_after"] if row["which"] == "old"]
    assert "accuracy" in old


def test_the_head_is_inherited_only_with_its_classes(runs, tiles, tmp_path):
    head, first = "objectives.classification.head.weight", runs["full"]
    assert first.best_step > 0, "else its head is as drawn, and a new one is drawn the same"
    same = tuned(first.folder, tiles, tmp_path / "same", budget="2-steps")
    assert torch.equal(inheriting.beginning(same).state_dict()[head], first.step.state_dict()[head])
    other = table_beside(tiles, "other", kind=lambda at: f"kind {at % 3}")
    fresh = tuned(first.folder, other, tmp_path / "fresh", budget="2-steps", label="kind")
    begun = inheriting.beginning(fresh).state_dict()[head]
    assert begun.shape == first.step.state_dict()[head].shape
    assert not torch.equal(begun, first.step.state_dict()[head])


def interrupted(source, tiles, out, monkeypatch, method, at=5):
    """A fine-tuning that was asked to stop before step `at` and saved."""
    from sensorium import pretraining

    real = pretraining.train

    def asked(*arguments):
        step = iter(range(1000))
        return real(*arguments[:9], lambda: next(step) >= at, *arguments[10:])

    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "train", asked)
        with pytest.raises(Stopped):
            tuned(source, tiles, out, method, "12-steps", interpolate=0.5)


def states(run):
    found = [checkpoint.load(run.folder / place).state for place in ("checkpoints", "kept")]
    return [{k: v for k, v in state.items() if k != "progress"} for state in found]


def equal(left, right):
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(equal, left, right))
    return left == right


@pytest.mark.parametrize("method", deriving.METHODS)
def test_bits_after_a_stop_with_the_source_gone(tiny_run, tiles, tmp_path, monkeypatch, method):
    source = tmp_path / "source"
    shutil.copytree(tiny_run.folder, source)
    whole = tuned(source, tiles, tmp_path / "whole", method, "12-steps", interpolate=0.5)
    interrupted(source, tiles, tmp_path / "stopped", monkeypatch, method)
    shutil.rmtree(source)
    again = resume(tmp_path / "stopped")
    assert equal(states(again), states(whole))
    assert again.info["order"] == whole.info["order"]
    assert again.info["before_and_after"] == whole.info["before_and_after"]
    assert again.scores() == whole.scores()


def test_bits_after_kills_of_fresh_processes(tiny_run, tiles, tmp_path):
    """The command as a user runs it, killed while it copies, reads, trains and scores."""
    from test_resume import wait_for_steps

    def command(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "sensorium", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def begin(out):
        return command(
            "finetune", tiny_run.folder, tiles, "--label", "colour", "--field", "photo=image",
            "--method", "lora", "--budget", "150-steps", "--interpolate", "0.5",
            "--out", out, *FAST,
        )  # fmt: skip

    first, out = begin(tmp_path / "whole"), tmp_path / "killed"
    assert first.wait(200) == 0, first.stderr.read()
    process = begin(out)
    for number in range(3):
        wait_for_steps(out, process, 2 + 40 * number)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = command("resume", out)
    told, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "old  text to image, recall@1" in told
    whole, killed = Run.open(tmp_path / "whole"), Run.open(out)
    assert equal(states(killed), states(whole))
    assert killed.info["before_and_after"] == whole.info["before_and_after"]


def test_it_stops_where_its_source_went_before_it_was_copied(tiny_run, tiles, tmp_path):
    recipe, records = prepared(
        tiny_run, tiles, deriving.Wish("classification", label="colour", fields={"photo": "image"})
    )
    gone = recipe.model_dump(mode="json") | {"tune": {"run": str(tmp_path / "gone")}}
    from sensorium import pretraining
    from sensorium import recipe as recipes

    with pytest.raises(RunError, match="gone"):
        pretraining.carry_out(
            tmp_path / "run", recipes.check(gone), records, pretraining.Silent(), 0.0
        )
    assert not tree(tmp_path / "run")


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
    from sensorium import recipe as recipes

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
from sensorium.finetuning import prepared, refuse_unasked
from sensorium.deriving import Wish
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
