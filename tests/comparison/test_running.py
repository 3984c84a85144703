"""One run: killed and gone on with, it is the same to the bit; it is a run like any other."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import commands
import pytest
import small
import torch
from pyarrow import parquet

from sensorium import checkpoint
from sensorium.comparison import conduct, running
from sensorium.comparison.running import Task, carry_out
from sensorium.errors import RunError, Stopped
from sensorium.pretraining import Silent, resume
from sensorium.run import Run

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def decided(small_world, own_cache, tmp_path_factory):
    """(plan, two folders) of one plan, its arms decided and nothing run."""
    plan = small.plan(small_world, budget="8-steps", looks=4)
    folders = [tmp_path_factory.mktemp("decided") / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
        conduct.begin(folder, plan)
        conduct.decide(folder, plan, Silent())
    return plan, folders


def weights(task):
    found = checkpoint.load(task.place / "checkpoints")
    assert set(found.state) == {"model", "progress"}  # no optimiser is left
    return found.state["model"]


def test_killed_at_several_instants_it_is_the_same_to_the_bit(decided, own_cache):
    plan, (whole, killed) = decided
    task, other = (Task(str(x), "run", "cold", plan.seeds[0]) for x in (whole, killed))
    expected = carry_out(task)
    root = Path(running.__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "SENSORIUM_CACHE": str(own_cache)}
    script = Path(__file__).with_name("killed_run.py")
    told = subprocess.run(
        [sys.executable, str(script), str(killed), str(plan.seeds[0])],
        env=environment, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert int(told.stdout) >= 3
    found = running.done(other)
    assert len(found["curve"]) == 4
    for key in expected.keys() - {"training_seconds", "seconds"}:
        assert found[key] == expected[key], key
    assert (other.place / "items.parquet").read_bytes() == (
        task.place / "items.parquet"
    ).read_bytes()
    mine, theirs = weights(task), weights(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_what_is_done_is_not_done_again(decided, monkeypatch):
    plan, (whole, _) = decided
    task = Task(str(whole), "run", "cold", plan.seeds[0])
    first = carry_out(task)
    monkeypatch.setattr(running, "train", None)
    monkeypatch.setattr(running, "outcome", None)
    assert carry_out(task) == first


def test_trained_and_killed_before_it_was_measured_it_is_only_measured(decided, monkeypatch):
    plan, (whole, _) = decided
    task = Task(str(whole), "run", "warm", plan.seeds[0])
    first = carry_out(task)
    (task.place / "result.json").unlink()
    monkeypatch.setattr(running, "train", None)
    again = carry_out(task)
    assert again["outcomes"] == first["outcomes"]
    assert again["curve"] == first["curve"]


def test_asked_to_stop_it_saves_and_goes_on(decided, monkeypatch):
    plan, (whole, killed) = decided
    task = Task(str(whole), "run", "warm", plan.seeds[1])
    train = running.train

    def interrupted(*given, stopping, **more):
        calls = iter(range(10**6))
        return train(*given, stopping=lambda: next(calls) == 3, **more)

    monkeypatch.setattr(running, "train", interrupted)
    with pytest.raises(Stopped):
        carry_out(task)
    assert checkpoint.load(task.place / "checkpoints").step == 3
    # Nobody goes on with it in another way: validation would choose among its steps.
    with pytest.raises(RunError, match="of a comparison"):
        resume(task.place)
    monkeypatch.setattr(running, "train", train)
    expected = carry_out(Task(str(killed), "run", "warm", plan.seeds[1]))
    assert carry_out(task)["outcomes"] == expected["outcomes"]
    assert json.loads((task.place / "result.json").read_text())["curve"] == expected["curve"]


def test_only_what_is_needed_is_left(finished):
    _, folder, _ = finished
    for place in (folder / "runs").iterdir():
        (kept,) = (place / "checkpoints").iterdir()
        assert {x.name for x in kept.iterdir()} == {"model.safetensors", "manifest.json"}
        splits = place / "splits.json"
        assert splits.stat().st_nlink == 1 + len(list((folder / "runs").iterdir()))


def test_a_run_is_a_run_like_any_other(finished, tmp_path):
    plan, folder, _ = finished
    task = Task(str(folder), "run", "cold", plan.seeds[0])
    place = tmp_path / "run"
    shutil.copytree(task.place, place)
    run = Run.open(place)
    record = next(run.records()[at] for at in run.records().positions("test"))
    assert run.best_step == 6
    for words in (
        ["evaluate", place],
        ["report", place],
        ["index", place],
        ["search", place, record.fields["caption"]],
    ):
        told = commands.sensorium(*words)
        assert told.code == 0, told.words
    assert (place / "report.html").stat().st_size > 1000


def test_items_are_the_same_for_all_seeds_and_arms(finished):
    plan, folder, _ = finished
    told = [
        parquet.read_table(folder / "runs" / f"run-{arm}-seed{seed}" / "items.parquet")
        for arm in plan.names
        for seed in plan.seeds
    ]
    asked = [(table.column("outcome").to_pylist(), table.column("key").to_pylist())
             for table in told]  # fmt: skip
    assert all(one == asked[0] for one in asked)
    assert len(asked[0][1]) == 3 * 14


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Task("x", "run", "a/b", 1), Task("x", "run", "a_b", 1)),
        (Task("x", "run", "..", 1), Task("x", "run", "__", 1)),
        (Task("x", "run", "a" * 200, 1), Task("x", "run", "a" * 201, 1)),
        (Task("x", "sweep", "a", 1, {"learning_rate": 1e-3}),
         Task("x", "sweep", "a", 1, {"learning_rate": 1.0000001e-3})),
        (Task("x", "run", "shuffled", 1), Task("x", "control", "b", 1, {}, "shuffled")),
    ],
)  # fmt: skip
def test_no_two_tasks_share_a_folder(one, other):
    assert one.name != other.name
    for task in (one, other):
        assert task.place.parent == Path("x/runs")
        assert len(task.name) < 120
