"""A whole comparison: the same whenever it is conducted, by one process at a time, or refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import small
from pyarrow import parquet

from sensorium import files, training
from sensorium.comparison import arena as arenas
from sensorium.comparison import conduct, pool, running
from sensorium.comparison.running import Task
from sensorium.errors import DataError, NonFinite, RunError

pytestmark = pytest.mark.usefixtures("own_cache")
TESTS = Path(__file__).parent
ROOT = Path(pool.__file__).parents[2]


@pytest.fixture
def in_turn(monkeypatch):
    """Runs one after the other, in this process."""
    monkeypatch.setattr(pool, "_processes", small.in_turn)


@pytest.fixture
def trained(monkeypatch):
    """The names of the runs that are trained from now on."""
    names = []
    own = running._train

    def counted(task, *given):
        names.append(task.name)
        return own(task, *given)

    monkeypatch.setattr(running, "_train", counted)
    return names


@pytest.fixture
def copy(finished, tmp_path):
    plan, folder, _ = finished
    place = tmp_path / "copy"
    shutil.copytree(folder, place)
    return plan, place


def test_a_finished_comparison_is_whole(finished):
    plan, folder, result = finished
    assert json.loads((folder / "result.json").read_text()) == result
    assert result["plan"] == plan.hash == json.loads((folder / "plan.json").read_text())["hash"]
    assert [x["name"] for x in result["verdicts"]] == ["warm"]
    rows = parquet.read_table(folder / "runs.parquet").to_pylist()
    count = {x: len({r["run"] for r in rows if r["stage"] == x}) for x in ("sweep", "run")}
    assert count == {"sweep": 4, "run": 4}
    assert "seconds" not in result["costs"]["cold"]
    # Verdict and table say the same: differences of the means of the rows.
    means = {
        arm: np.mean([r["value"] for r in rows if (r["stage"], r["arm"], r["outcome"]) ==
                      ("run", arm, plan.outcome)])
        for arm in plan.names
    }  # fmt: skip
    assert result["verdicts"][0]["difference"] == pytest.approx(means["warm"] - means["cold"])
    controls = {x["control"]: x for x in result["controls"]}
    assert set(controls) == {"shuffled", "untrained", "only:image"}
    assert controls["only:image"]["outcomes"] == {}  # vectors cannot be asked without the text
    shares = [r["value"] for r in rows if r["control"] == "shuffled" and r["outcome"] ==
              plan.outcome]  # fmt: skip
    assert controls["shuffled"]["outcomes"][plan.outcome] == pytest.approx(np.mean(shares))


def test_rates_are_those_with_the_best_outcome_on_validation(finished):
    plan, folder, result = finished
    for arm in plan.names:
        tried = [running.done(task) for task in conduct.sweep_of(folder, plan) if task.arm == arm]
        assert [x["rates"]["learning_rate"] for x in tried] == [1e-3, 3e-3]
        means = [x["outcomes"][plan.outcome]["mean"] for x in tried]
        assert result["tuned"][arm] == tried[int(np.argmax(means))]["rates"]
        assert tried[0]["seed"] not in plan.seeds


def test_again_nothing_is_computed_and_the_files_are_the_same(copy, trained):
    plan, folder = copy
    before = small.comparable(folder)
    (folder / "result.json").unlink()
    (folder / "runs.parquet").unlink()
    conduct.compare(plan, folder)
    assert trained == []
    assert small.comparable(folder) == before


def test_only_what_is_missing_is_run(copy, trained, in_turn):
    plan, folder = copy
    before = small.comparable(folder)
    shutil.rmtree(folder / "runs" / "run-warm-seed12")
    conduct.compare(plan, folder)
    assert trained == ["run-warm-seed12"]
    assert small.comparable(folder) == before


@pytest.mark.parametrize("seconds", [0.2, pytest.param(1.5, marks=pytest.mark.heavy)])
def test_killed_in_the_middle_the_tables_are_the_same(
    small_world, tmp_path, own_cache, seconds, in_turn
):
    """By SIGKILL of parent and worker, some time after a first run has begun."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    paths = os.pathsep.join([str(ROOT), str(TESTS), str(TESTS.parent)])
    parent = subprocess.Popen(
        [sys.executable, str(TESTS / "parent.py"), str(small_world), str(killed), "1"],
        env=os.environ | {"PYTHONPATH": paths},
    )
    latest = time.monotonic() + 120
    while not list(killed.glob("runs/*/log.jsonl")):
        assert time.monotonic() < latest
        assert parent.poll() is None
        time.sleep(0.01)
    time.sleep(seconds)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert not (killed / "result.json").exists()
    plan = small.plan(small_world, budget="40-steps")
    time.sleep(1)  # the worker ends a moment after its parent
    conduct.compare(plan, killed)
    conduct.compare(plan, whole)
    assert small.comparable(killed) == small.comparable(whole)


def test_another_plan_in_the_folder_is_refused(copy, small_world):
    _, folder = copy
    before = small.comparable(folder)
    with pytest.raises(RunError, match="the plan that was begun here"):
        conduct.compare(small.plan(small_world, seeds=[11, 13]), folder)
    assert small.comparable(folder) == before


def test_a_folder_of_something_else_is_refused(small_world, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="new or empty folder"):
        conduct.compare(small.plan(small_world), tmp_path)
    assert [x.name for x in tmp_path.iterdir() if not x.name.startswith(".")] == ["mine.txt"]


def test_a_second_process_is_refused(copy):
    plan, folder = copy
    with files.claim(folder), pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        conduct.compare(plan, folder)


def test_changed_data_is_refused_where_something_is_left_to_run(
    small_world, tmp_path, in_turn, monkeypatch
):
    data, out = shutil.copytree(small_world, tmp_path / "data"), tmp_path / "out"
    plan = small.plan(data)
    conduct.compare(plan, out)
    shutil.rmtree(out / "runs" / "run-cold-seed12")
    (file,) = data.glob("test-*.parquet")
    table = parquet.read_table(file)
    rows = table.to_pylist()
    rows[0]["caption"] = "another text"
    parquet.write_table(pa.Table.from_pylist(rows, table.schema), file)
    monkeypatch.setattr(arenas, "_KEPT", {})
    with pytest.raises(DataError, match=r"run run-cold-seed12: .*\n.*comparison began with"):
        conduct.compare(plan, out)


# --- runs that diverge ---------------------------------------------------------------------------


@pytest.fixture
def diverge(monkeypatch):
    """Makes the loss of chosen recipes infinite at step 3."""
    chosen = []
    take = training.take

    def taken(step, optimiser, batch, recipe, at, steps):
        if at == 2 and any(which(recipe) for which in chosen):
            raise NonFinite("objective contrastive", expected="a finite loss", found="nan")
        return take(step, optimiser, batch, recipe, at, steps)

    monkeypatch.setattr(training, "take", taken)
    return chosen.append


SWEEP = {"learning_rate": [1e-3, 3e-3]}


def test_a_rate_that_diverges_is_not_chosen(small_world, tmp_path, in_turn, diverge):
    diverge(lambda recipe: recipe.optimiser.learning_rate == 1e-3)
    plan = small.plan(small_world, sweep=SWEEP)
    result = conduct.compare(plan, tmp_path / "out")
    assert {x["learning_rate"] for x in result["tuned"].values()} == {3e-3}
    rows = parquet.read_table(tmp_path / "out" / "runs.parquet").to_pylist()
    lost = [row for row in rows if row["failed"]]
    assert [(x["stage"], x["learning_rate"], x["value"]) for x in lost] == [
        ("sweep", 1e-3, None)
    ] * 2


def test_where_all_rates_diverge_it_is_one_error(small_world, tmp_path, in_turn, diverge):
    diverge(lambda recipe: recipe.objectives[0]["temperature"] == 0.2)
    plan = small.plan(small_world, sweep=SWEEP)
    with pytest.raises(NonFinite, match=r"arms\.warm.*\n.*all diverged.*at step 3") as told:
        conduct.compare(plan, tmp_path / "out")
    assert told.value.exit_code == 3


def test_a_run_that_diverges_is_named_and_loses_no_other(
    small_world, tmp_path, in_turn, diverge, trained
):
    diverge(lambda recipe: recipe.seed == 11 and recipe.objectives[0]["temperature"] == 0.2)
    plan, out = small.plan(small_world, controls=["untrained"]), tmp_path / "out"
    told = []
    for _ in range(2):  # the second time nothing is trained again
        with pytest.raises(NonFinite) as error:
            conduct.compare(plan, out)
        told.append(str(error.value))
    assert told[0] == told[1]
    assert "1 of 4 runs diverged" in told[0]
    assert "warm, seed 11 at step 3: objective contrastive" in told[0]
    assert len(trained) == len(set(trained)) == 6
    rows = parquet.read_table(out / "runs.parquet").to_pylist()
    assert sum(row["value"] is not None for row in rows) == 3 + 2
    assert not (out / "result.json").exists()


def test_a_control_that_diverges_spoils_no_verdict(small_world, tmp_path, in_turn, monkeypatch):
    own = running._train

    def train(task, *given):
        return "at step 2: no finite loss" if task.control == "shuffled" else own(task, *given)

    monkeypatch.setattr(running, "_train", train)
    monkeypatch.setattr(running, "_slim", lambda run: None)
    plan = small.plan(small_world, controls=["shuffled"])
    result = conduct.compare(plan, tmp_path / "out")
    assert result["controls"] == [
        {"control": "shuffled", "arm": "warm", "seeds": 0, "outcomes": {}}
    ]
    assert len(result["verdicts"]) == 1


# --- judging -------------------------------------------------------------------------------------


def drop(folder, run, outcome, keys):
    file = folder / "runs" / run / "items.parquet"
    table = parquet.read_table(file)
    rows = [x for x in table.to_pylist() if x["outcome"] != outcome or x["key"] not in keys]
    parquet.write_table(pa.Table.from_pylist(rows, table.schema), file)


def test_items_that_a_seed_lacks_are_left_out_of_all(copy):
    """Values stay with their keys: the slow way is a dictionary for each seed."""
    plan, folder = copy
    rates = json.loads((folder / "tuned.json").read_text())
    text = "retrieval:text_to_image@5"
    whole, keys = conduct.values_of(folder, plan, "cold", text, rates)
    assert whole.shape == (2, len(keys)) == (2, 14)
    drop(folder, "run-cold-seed11", text, {keys[2]})
    drop(folder, "run-cold-seed12", text, {keys[5], keys[13]})
    drop(folder, "run-warm-seed11", text, {keys[0]})
    values, left = conduct.values_of(folder, plan, "cold", text, rates)
    assert left == [key for at, key in enumerate(keys) if at not in (2, 5, 13)]
    for row, seed in zip(values, plan.seeds, strict=True):
        task = Task(str(folder), "run", "cold", seed, rates["cold"])
        told = running.items(task)[text]
        assert row.tolist() == [told[key] for key in left]
    (one,) = conduct.beside(folder, plan, text, rates)
    both = [key for key in left if key != keys[0]]
    for arm, mean in zip(("warm", "cold"), one["means"], strict=True):
        held = [
            running.items(Task(str(folder), "run", arm, seed, rates[arm]))[text]
            for seed in plan.seeds
        ]
        assert mean == pytest.approx(np.mean([[told[key] for key in both] for told in held]))


def test_arms_without_an_item_in_common_are_refused(copy):
    plan, folder = copy
    rates = json.loads((folder / "tuned.json").read_text())
    _, keys = conduct.values_of(folder, plan, "cold", plan.outcome, rates)
    drop(folder, "run-cold-seed11", plan.outcome, set(keys[:7]))
    drop(folder, "run-warm-seed11", plan.outcome, set(keys[7:]))
    with pytest.raises(RunError, match="warm and cold have in common"):
        conduct.evidence(folder, plan, "warm", rates)
