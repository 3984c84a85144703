"""Budgets: exact where they count, calibrated once where they are time; large data by subset."""

import json
import time

import pytest
from conftest import TINY

from sensorium import budgeting, pretraining
from sensorium.pretraining import pretrain, resume
from sensorium.reading import read
from sensorium.training import Plan


class Told:
    """A watcher that keeps what it is told."""

    def __init__(self):
        self.lines = []

    def say(self, what, text):
        self.lines.append((what, text))

    def progress(self, what, done, total, note=""):
        pass


def tiny(data, out, budget, **more):
    return pretrain(data, "clip", out=out, size="tiny", budget=budget, overrides=list(TINY), **more)


@pytest.mark.parametrize(
    ("budget", "steps"), [("7-steps", 7), ("64-samples", 4), ("2-epochs", 4), ("5-samples", 1)]
)
def test_counted_budgets_are_exact(tiny_data, tmp_path, empty_cache, budget, steps):
    """32 training records in batches of 16."""
    run = tiny(tiny_data, tmp_path / "run", budget)
    assert len(run.records().positions("train")) == 32
    assert run.info["plan"]["steps"] == steps


def test_a_time_budget_is_calibrated_once_and_resumed_by_steps(
    tiny_data, tmp_path, empty_cache, monkeypatch
):
    out = tmp_path / "run"

    def killed(*arguments, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            tiny(tiny_data, out, "3s")
    plan = json.loads((out / "run.json").read_text())["plan"]
    assert plan["steps"] >= budgeting.EVALUATIONS
    # A resume must not time anything again.
    monkeypatch.setattr(pretraining, "calibrate", killed)
    assert resume(out).info["plan"] == plan


def test_more_passes_than_the_recipe_allows_are_cut(tiny_data, tmp_path, empty_cache):
    run = pretrain(
        tiny_data, "clip", out=tmp_path / "run", size="tiny", budget="1h",
        overrides=[*TINY, "most_epochs=12"],
    )  # fmt: skip
    assert run.info["plan"]["steps"] == 24
    assert "12 epochs" in run.info["calibration"]["cut"]


def test_large_data_train_on_a_keyed_subset_and_say_so(
    tiny_data, tmp_path, empty_cache, monkeypatch
):
    """Reading made slow: only some records fit, and the estimate is told."""
    real = budgeting.column

    def slow(reader, records, field, *more):
        time.sleep(0.01 * len(records))
        return real(reader, records, field, *more)

    monkeypatch.setattr(budgeting, "column", slow)
    monkeypatch.setattr(budgeting, "LEAST", 10)
    told = Told()
    run = tiny(tiny_data, tmp_path / "run", "0.5s", watcher=told)
    kept = run.info["subset"]["records"]
    assert 10 <= kept < 40
    assert run.info["subset"]["of"] == 40
    (line,) = [text for what, text in told.lines if what == "subset"]
    assert f"{kept} of 40 records" in line
    assert "--budget" in line
    splits = json.loads((tmp_path / "run" / "splits.json").read_text())
    assert len(splits) == kept
    assert {"train", "validation", "test"} == set(splits.values())


def test_the_subset_depends_on_keys_alone(tiny_data):
    records = read(tiny_data)
    first = set(budgeting.keyed_subset(records, 20))
    records.records.reverse()
    assert set(budgeting.keyed_subset(records, 20)) == first
    smaller = set(budgeting.keyed_subset(records, 15))
    train = {records[at].key for at in records.positions("train")}
    assert smaller & train < first & train


def test_looks_are_spread_over_the_run():
    for steps in (1, 5, 19, 20, 49, 1000):
        plan = Plan(steps, max(1, steps // budgeting.EVALUATIONS))
        looks = sum(at % plan.evaluate_every == 0 for at in range(steps + 1))
        assert looks <= 2 * budgeting.EVALUATIONS + 2
