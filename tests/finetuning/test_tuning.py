"""Fine-tuning from a finished run: it learns, forgets visibly, needs its source no more, resumes
to the bit."""

import json
import math
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from commands import tree
from conftest import COLOURS, TINY
from tuned import FAST, table_beside, tuned, weights

from sensorium import checkpoint
from sensorium.commands_task import table_lines
from sensorium.errors import RunError, Stopped
from sensorium.finetuning import deriving, forgetting, inheriting
from sensorium.finetuning.predicting import answer
from sensorium.finetuning.tuning import finetune, prepared
from sensorium.pretraining import pretrain, resume
from sensorium.run import Run

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


def test_a_time_budget_reads_texts_with_the_sources_tokenizer(tiny_run, tiles, tmp_path):
    """What a record costs to read is timed before anything else: the tokenizer must be there."""
    run = finetune(tiny_run, tiles, "answering", out=tmp_path / "run", budget="1s")
    assert run.info["calibration"]["budget"] == "1s"
    same = tiny_run.folder / "modalities" / "text"
    assert [*tree(run.folder / "modalities" / "text").values()] == [*tree(same).values()]


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


# --- which step is used ---------------------------------------------------------------------------

WILD = ["optimiser.learning_rate=0.5", "optimiser.warmup=0"]  # worse at every step


class Told:
    """A watcher that writes down."""

    def __init__(self):
        self.lines = []

    def say(self, what, text):
        self.lines.append(text)

    def progress(self, *_, **__):
        pass


def test_a_head_as_drawn_is_never_chosen(tiny_run, tiles, tmp_path):
    run = tuned(tiny_run, tiles, tmp_path / "run", budget="4-steps", overrides=WILD)
    lines = [json.loads(x) for x in (run.folder / "log.jsonl").read_text().splitlines()]
    losses = {x["step"]: x["classification"] for x in lines if x["split"] == "validation"}
    assert min(losses, key=losses.get) == 0, "else this asks nothing"
    assert run.best_step == min((at for at in losses if at), key=losses.get)


def test_that_nothing_of_the_tuning_is_used_is_said(tiny_run, tiles, tmp_path):
    """Every part has the source's weights, and each step makes them worse."""
    told = Told()
    run = finetune(
        tiny_run, tiles, "retrieval", fields={"photo": "image", "title": "text"},
        out=tmp_path / "run", budget="3-steps", overrides=[*WILD, "choose=loss"], watcher=told,
    )  # fmt: skip
    words = "validation chose step 0: nothing of the tuning is used"
    assert run.best_step == 0
    assert words in told.lines
    assert words in run.info["notes"]
    assert words in table_lines(run)
    assert sum(words in str(x) for x in resume(run.folder).info["notes"]) == 1


# --- what a row of before and after rests on ------------------------------------------------------


def test_an_additive_loss_is_resampled_by_record(runs):
    """The records asked alone give the loss of the whole; each is the cross-entropy of its own."""
    run = runs["full"]
    given = forgetting._asked(run)
    sums = forgetting._by_record(given, run.step, "classification")
    assert sums[:, 1].tolist() == [1.0] * len(given.records)
    names = run.reader("label").modality.classes
    files = [record.fields["photo"].file for record in given.records]
    for row, told, record in zip(
        sums, run.predict(files, top=len(names)), given.records, strict=True
    ):
        shares = {x["class"]: x["probability"] for x in (told, *told["runners_up"])}
        assert row[0] == pytest.approx(-math.log(shares[record.fields["colour"]]), abs=1e-4)
    row = next(r for r in run.info["before_and_after"] if r["metric"] == "classification loss")
    assert row["after"] == pytest.approx(sums[:, 0].mean())
    assert row["resampled"] == "record"
    low, high = row["difference_interval"]
    assert low < row["difference"] < high
    contrast = next(r for r in run.info["before_and_after"] if r["metric"] == "contrastive loss")
    assert contrast["resampled"] == "batch"


def test_a_mean_over_nothing_is_no_number(runs, monkeypatch):
    run = runs["full"]
    given = forgetting._asked(run)
    monkeypatch.setattr(forgetting, "truth_of", lambda *_: np.full(len(given.records), -1))
    monkeypatch.setattr(forgetting, "_by_record", lambda *_: np.zeros((len(given.records), 2)))
    rows = forgetting._rows(given, {"before": run.step, "after": run.step}, "new")
    assert rows == [
        {"which": "new", "reason": "accuracy: no test record counts"},
        {"which": "new", "reason": "classification loss: no test record counts"},
    ]
