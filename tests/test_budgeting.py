"""Budgets: exact where they count, calibrated once where they are time; large data by subset."""

import json
import time

import pytest
from conftest import TINY

from sensorium import budgeting, prepare, pretraining
from sensorium.pretraining import pretrain, resume
from sensorium.reading import read
from sensorium.recipe import load
from sensorium.records import Record, Records, Source
from sensorium.run import Run
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


def large(train, validation, test):
    sizes = {"train": train, "validation": validation, "test": test}
    made = [
        Record(
            f"{split}-{at}", Source("t.csv", at + 2), {"picture": None, "words": "x"}, split=split
        )
        for split, count in sizes.items()
        for at in range(count)
    ]
    return Records("t.csv", made, {"picture": "image", "words": "text"})


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """Runs `within` on records that cost so many seconds each."""

    def run(records, each, budget="1min", seed=0):
        monkeypatch.setattr(budgeting, "cost", lambda *_: each / 2)  # of two fields
        recipe = load("clip", "tiny", budget=budget, seed=seed)
        info = {"data": "t.csv", "fields": records.fields}
        made = Run.create(tmp_path / f"run-{len(list(tmp_path.iterdir()))}", recipe, info)
        told = Told()
        return budgeting.within(made, records, told.say), made, told

    return run


def keys(records, *splits):
    return {record.key for record in records if record.split in splits}


def test_large_data_train_on_a_keyed_subset_and_say_so(
    tiny_data, tmp_path, empty_cache, monkeypatch
):
    """Reading made slow: only some training records fit, and the estimate is told."""
    monkeypatch.setattr(budgeting, "cost", lambda *_: 0.01)
    monkeypatch.setattr(budgeting, "LEAST", 10)
    told = Told()
    run = tiny(tiny_data, tmp_path / "run", "0.6s", watcher=told)
    # 0.6 of 0.6 s at 0.02 s a record: 18, of which 8 are held out
    assert run.info["subset"] == {
        "train": {"records": 10, "of": 32},
        "validation": {"records": 4, "of": 4},
        "test": {"records": 4, "of": 4},
    }
    (line,) = [text for what, text in told.lines if what == "subset"]
    assert "10 of 32 training records" in line
    assert "--budget 1min" in line
    splits = json.loads((tmp_path / "run" / "splits.json").read_text())
    assert sorted(splits.values()) == ["test"] * 4 + ["train"] * 10 + ["validation"] * 4
    assert len(run.search("a small red circle", k=100)) == 18  # nor does it index what it left out
    for score in run.scores("test"):
        assert score["protocol"]["train_records"] == "10 of 32"
        assert score["protocol"]["split_records"] == "4 of 4"


def test_time_decides_neither_validation_nor_test(chosen):
    records = large(5000, 1200, 300)
    fast, slow = (chosen(records, each)[0] for each in (1e-6, 0.02))
    assert keys(fast, "validation", "test") == keys(slow, "validation", "test")
    assert len(keys(slow, "validation")) == budgeting.HELD
    assert len(keys(slow, "test")) == 300
    assert len(keys(fast, "train")) == 5000
    assert len(keys(slow, "train")) == 1800 - 1300
    slower = chosen(records, 0.021)[0]
    assert keys(slower, "train") < keys(slow, "train")


def test_what_cannot_fit_is_told(chosen):
    kept, _, told = chosen(large(5000, 1200, 300), 0.1)
    assert len(keys(kept, "train")) == budgeting.LEAST
    assert len(keys(kept, "validation", "test")) == 1300
    assert "validation and test alone (1,300 records) take about 2 min" in told.lines[1][1]


def test_only_held_out_records_are_left_out_where_train_fits(chosen):
    _, run, told = chosen(large(50, 1200, 30), 1e-6)
    assert run.info["subset"]["validation"] == {"records": 1000, "of": 1200}
    ((_, line),) = told.lines
    assert line.startswith("1,000 of 1,200 validation records take part")


def test_counted_budgets_take_all_and_time_nothing(chosen):
    records = large(50, 1200, 30)
    kept, run, told = chosen(records, 100.0, budget="2-epochs")
    assert (kept.records, told.lines) == (records.records, [])
    assert not {"reading", "subset"} & set(run.info)


def test_the_callers_records_are_left_alone(chosen):
    records = large(5000, 1200, 300)
    before = list(records.records)
    for budget in ("1min", "2-epochs"):
        kept, _, _ = chosen(records, 0.02, budget)
        kept.rejected.append("x")
        kept.notes.append("x")
        kept.records[0] = None
        assert (records.records, records.rejected, records.notes) == (before, [], [])


def test_the_subset_depends_on_keys_and_seed_alone(tiny_data):
    records = read(tiny_data)
    limits = {"train": 20, "validation": 2, "test": 2}
    first = keys(budgeting.keyed_subset(records, limits, 0), *limits)
    assert len(first) == 24
    records.records.reverse()
    assert keys(budgeting.keyed_subset(records, limits, 0), *limits) == first
    assert keys(budgeting.keyed_subset(records, limits, 1), *limits) != first
    smaller = keys(budgeting.keyed_subset(records, limits | {"train": 15}, 0), *limits)
    assert smaller < first
    assert len(smaller) == 19


def test_the_probe_goes_past_the_cache_and_warms_first(tiny_data, empty_cache, monkeypatch):
    """The cost is that of reading: the first record is not in it, nor does the cache change it."""
    records = read(tiny_data)
    reader = prepare.Reader(load("clip", "tiny", list(TINY)), "image")
    field = records.field_of("image")
    prepare.column(reader, records.records[:5], field)
    files = sorted(empty_cache.rglob("*"))
    asked, real = [], reader.modality.read

    def slow(value, name):
        time.sleep(0.05 if asked else 3)  # the first is that of a cold tower
        asked.append(value)
        return real(value, name)

    monkeypatch.setattr(reader.modality, "read", slow)
    monkeypatch.setattr(prepare.os, "cpu_count", lambda: 1)  # two threads
    each = prepare.cost(reader, records.records[:5], field)
    assert len(asked) == 5
    assert 0.02 < each < 0.6
    assert sorted(empty_cache.rglob("*")) == files


def test_looks_are_spread_over_the_run():
    for steps in (1, 5, 19, 20, 49, 1000):
        plan = Plan(steps, max(1, steps // budgeting.EVALUATIONS))
        looks = sum(at % plan.evaluate_every == 0 for at in range(steps + 1))
        assert looks <= 2 * budgeting.EVALUATIONS + 2
