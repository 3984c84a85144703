"""`sensorium show RUN`: what is printed is what the run's files say, and its commands work."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest
from commands import sensorium
from rich.cells import cell_len

from sensorium.errors import EXIT_MISTAKE
from sensorium.report.words import figure
from sensorium.run import Run


@pytest.fixture
def run(tiny_run, tmp_path, monkeypatch):
    """runs/mine in the working directory, without an index."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    shutil.copytree(tiny_run.folder, "runs/mine", ignore=shutil.ignore_patterns("index"))
    return Run.open("runs/mine")


def shown(*more):
    told = sensorium("show", "runs/mine", *more)
    assert told.code == 0, told.err
    return told.out


def parsed():
    return json.loads(shown("--json"))


def test_it_says_what_the_run_was(run):
    out, info = " ".join(shown().split()), run.info
    counts = [list(json.loads((run.folder / "splits.json").read_text()).values()).count(split)
              for split in ("train", "validation", "test")]  # fmt: skip
    for words in (
        f"recipe clip {run.recipe.hash[:12]} size tiny seed 0",
        f"data {info['data']}",
        f"40 records: {counts[0]} train, {counts[1]} validation, {counts[2]} test",
        f"begun {info['created']}",
        "budget 20-steps 20 steps planned",
        f"best step {info['best_step']}, {info['best_score']:.3f} on validation",
    ):
        assert words in out


def test_each_first_score_stands_beside_what_no_skill_gives(run):
    stored = run.scores()
    told = parsed()["scores"]
    assert [(x["task"], x["direction"]) for x in told] == list(
        dict.fromkeys((x["task"], x["direction"]) for x in stored)
    )
    out = " ".join(shown().split())
    for score in told:
        full = next(x for x in stored if x["direction"] == score["direction"])
        assert score["value"] == full["value"]
        assert score["luck"] == {"name": "chance", "value": full["controls"]["chance"]["value"]}
        metric, (low, high) = (
            score["metric"],
            (figure(score["metric"], x) for x in full["interval"]),
        )
        line = f"{figure(metric, full['value'])} (95 % {low} to {high}), no skill"
        assert f"{line} {figure(metric, full['controls']['chance']['value'])}" in out


def test_the_rail_has_nine_columns_and_lines_an_end(run):
    lines = shown().splitlines()
    for line in lines:
        word = line[:9].strip()
        assert word == word.lower()
        assert " " not in word
        assert line[8] == " " != line[9]
        assert cell_len(line) <= 100 or str(run.info["data"]) in line
    assert [line[:9].strip() for line in lines if line[:9].strip()] == [
        "run", "recipe", "data", "begun", "budget", "best", "scores", "try",
    ]  # fmt: skip


def test_its_commands_work(run):
    lines = [line for one in parsed()["commands"] for line in one["command"].splitlines()]
    assert any(line.startswith("sensorium search") for line in lines)
    for line in lines:  # in their order: index, then search
        assert line in shown()
        if "DATA" not in line:
            program, *words = shlex.split(line)
            assert program == "sensorium"
            assert sensorium(*words).code == 0


def test_an_unfinished_run_says_how_to_go_on(run):
    shutil.rmtree(run.folder / "evaluation")
    del run.info["best_step"]
    run.note()
    out = " ".join(shown().split())
    assert "best not finished scores none yet" in out
    assert shown().splitlines()[-1].strip() == "sensorium resume runs/mine"
    told = parsed()
    assert (told["best_step"], told["scores"], told["split"]) == (None, [], None)


def test_a_finished_run_without_scores_says_how_to_get_them(run):
    shutil.rmtree(run.folder / "evaluation")
    assert "sensorium evaluate runs/mine" in shown()


def test_its_parameters_are_counted(run):
    """With the tokenizer that it trained, which is smaller than the recipe's."""
    count = sum(p.numel() for p in run.step.parameters())
    assert json.loads(shown("--json", "--parameters"))["parameters"]["all"] == count
    assert f"{count:,}" in shown("--parameters")


def test_a_runs_size_and_options_are_what_they_were(run):
    for more in (["--size", "tiny"], ["seed=3"]):
        told = sensorium("show", "runs/mine", *more)
        assert told.code == EXIT_MISTAKE
        assert f"found {' '.join(more)}" in told.words


def test_a_name_of_the_shelf_is_a_recipe_and_a_folder_beside_it_a_run(run):
    shutil.copytree("runs/mine", "clip")
    assert sensorium("show", "clip").out.startswith("name: clip")
    assert sensorium("show", "./clip").out.startswith("run ")
    assert "nearest clip" in sensorium("show", "clipp").words
    assert "nearest runs/mine" in sensorium("show", "runs/mien").words
    os.mkdir("empty")
    assert "expected a run directory" in sensorium("show", "empty").words


def test_it_needs_no_torch(run):
    code = "import sys; from sensorium import cli\ntry: cli.main(['show', 'runs/mine'])\n"
    code += "except SystemExit: pass\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
