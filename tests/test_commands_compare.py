"""`sensorium compare`: what it answers before torch loads, what it prints, how it is looked at."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import sensorium

sys.path.insert(0, str(Path(__file__).parent / "comparison"))

from drawn import drawn, plan_of

from sensorium import commands_compare
from sensorium.comparison import plan as plans
from sensorium.comparison import statistics, terminal, usual
from sensorium.comparison.statistics import Spread

GOOD = ["emoji", "--vary", "objectives.0.temperature=0.05,0.5", "--out", "new"]
PLAN = """
question: Does it matter?
data: emoji
recipe: clip
axis: objectives.0.temperature
arms: {cold: 0.05, warm: 0.5}
seeds: 3
budget: 20-steps
outcome: retrieval:text_to_image@1
"""
# what is typed after `compare` -> words of the answer
MISTAKES = [
    (["emoji", "--out", "new"], "--vary expected AXIS=ONE,OTHER"),
    (["emoji", "--vary", "fusion", "--out", "new"], "field vary"),
    (["emoji", "--vary", "objectives.0.temperature=0.05", "--out", "new"], "at least two arms"),
    (["emoji", "--vary", "fusoin=none,additive", "--out", "new"], "nearest fusion"),
    (GOOD[:-2], "--out expected a folder"),
    ([*GOOD, "--recipe", "clop"], "nearest clip"),
    ([*GOOD, "--size", "mirco"], "micro"),
    ([*GOOD, "--seeds", "1"], "at least two seeds"),
    ([*GOOD, "--seeds", "many"], "--seeds expected how many, or which"),
    ([*GOOD, "--seeds", "1,1"], "1 twice"),
    ([*GOOD, "--budget", "soon"], "30k-samples"),
    ([*GOOD, "--budget", "3-samples"], "before a look"),
    ([*GOOD, "--outcome", "acuracy"], "nearest accuracy"),
    ([*GOOD, "--outcome", "probe:nothing"], "field of emoji"),
    ([*GOOD, "--also", "probe:nothing"], "field also"),
    ([*GOOD, "--threshold", "1.5"], "never reached"),
    ([*GOOD, "--threshold", "0.000001"], "above chance"),
    ([*GOOD, "--margin", "0"], "positive difference"),
    ([*GOOD, "--margin", "2"], "0.02 is two points"),
    ([*GOOD, "--predict", "0.1"], "--predict expected LOW,HIGH"),
    ([*GOOD, "--predict", "0.2,0.1"], "low at most high"),
    ([*GOOD, "--sweep", "lr"], "--sweep expected lr=3e-4,1e-3"),
    ([*GOOD, "--sweep", "rate=1"], "--sweep expected lr=3e-4,1e-3"),
    ([*GOOD, "--sweep", "lr=1e-3,1e-3"], "each value once"),
    ([*GOOD, "--sweep", "lr=1e-3", "--no-sweep"], "found both"),
    ([*GOOD, "--controls", "shufled"], "nearest shuffled"),
    ([*GOOD, "--controls", "shuffled", "--no-controls"], "found both"),
    ([*GOOD, "--on", "process"], "nearest processes"),
    ([*GOOD, "optimiser.bach=3"], "nearest batch"),
    ([*GOOD, "batch"], "KEY.PATH=VALUE after the data"),
    ([*GOOD, "--field", "photo"], "FIELD=MODALITY"),
    ([*GOOD, "--assume", "nowhere"], "folder of a comparison"),
    ([*GOOD, "--sql", "SELECT 1"], "compare show DIR --sql"),
    (["nowhere.csv", *GOOD[1:]], "nowhere.csv"),
    (["emoji", "--vary", "objectives.0.temperature=0.05,0.5", "--out", "full"], "something in it"),
    (["plan.yaml"], "--out expected a folder"),
    (["none.yaml", "--out", "new"], "none.yaml"),
    (["plan.yaml", "--out", "new", "--recipe", "clip"], "found one that is not"),
    (["plan.yaml", "--out", "new", "optimiser.batch=3"], "a change beside it"),
    (["show"], "DIR, the folder of a comparison"),
    (["show", "nowhere"], "folder of a comparison"),
    (["show", "full", "--recipe", "clip"], "--recipe"),
    (["list", "nowhere"], "folder of comparisons"),
    (["list", "--sql", "SELECT 1"], "--sql"),
]
RUN = """
import contextlib, io, json, sys
from sensorium import cli
told = []
for arguments in json.loads(sys.stdin.read()):
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        try:
            cli.main(["compare", *arguments])
            code = 0
        except SystemExit as end:
            code = end.code or 0
    told.append([code, err.getvalue(), "torch" in sys.modules])
print(json.dumps(told))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a plan and a folder that is full."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    (tmp_path / "plan.yaml").write_text(PLAN)
    return tmp_path


def test_mistakes_are_answered_before_torch_loads(place):
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps([typed for typed, _ in MISTAKES]),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert len(answers) == len(MISTAKES) >= 12
    for (typed, words), (code, err, torch) in zip(MISTAKES, answers, strict=True):
        assert code == 2, (typed, err)
        assert not torch, typed
        assert err.startswith("error    "), (typed, err)
        assert words in " ".join(err.split()), (typed, err)
        assert "Traceback" not in err, typed
    assert not (place / "new").exists()
    assert [x.name for x in (place / "full").iterdir()] == ["letter.txt"]


def test_the_executors_are_those_of_the_pool():
    from sensorium.comparison import pool

    assert commands_compare.WHERE == pool.WHERE


def test_a_library_that_is_not_there_is_named(place, monkeypatch):
    find = commands_compare.importlib.util.find_spec
    for absent, extra, typed in (
        ("scipy", "sensorium[compare]", ["list"]),
        ("ray", "sensorium[cluster]", [*GOOD, "--on", "ray"]),
        ("submitit", "sensorium[cluster]", [*GOOD, "--on", "submitit"]),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(
                commands_compare.importlib.util, "find_spec",
                lambda name, *rest, absent=absent: None if name == absent else find(name, *rest),
            )  # fmt: skip
            told = sensorium("compare", *typed)
        assert told.code == 2
        assert f"the library {absent}" in told.words
        assert extra in told.words


# --- what is usual -----------------------------------------------------------------------------


def test_the_usual_sweep_is_around_the_recipe():
    plan = plan_of(recipe="clip", axis="objectives.0.temperature", arms={"a": 0.05, "b": 0.5},
                   outcome="retrieval:text_to_image@1")  # fmt: skip
    from sensorium import recipe

    options = recipe.load("clip", "micro").optimiser
    rate, decay = options.learning_rate, options.weight_decay
    told = usual.sweep(plan)
    assert told["learning_rate"] == pytest.approx([rate / 3, rate, 3 * rate], rel=0.005)
    assert told["weight_decay"] == pytest.approx([decay / 10, decay])
    assert list(usual.sweep(plan.model_copy(update={"set": {"optimiser.weight_decay": 0}}))) == [
        "learning_rate"
    ]


def test_what_is_the_axis_is_not_swept():
    plan = plan_of(recipe="clip", axis="optimiser.learning_rate", arms={"a": 0.001, "b": 0.01},
                   outcome="retrieval:text_to_image@1")  # fmt: skip
    assert list(usual.sweep(plan)) == ["weight_decay"]


def test_usual_controls_are_those_that_say_something():
    assert usual.controls(plan_of()) == [
        "shuffled", "untrained", "only:image", "only:text", "additive",
    ]  # fmt: skip
    arms = {"add": "additive", "co": "co_attention"}
    assert "additive" not in usual.controls(plan_of(arms=arms))
    clip = plan_of(recipe="clip", axis="objectives.0.temperature", arms={"a": 0.05, "b": 0.5},
                   outcome="retrieval:text_to_image@1")  # fmt: skip
    assert usual.controls(clip) == ["shuffled", "untrained"]


# --- before ------------------------------------------------------------------------------------


def test_the_design_is_told_before_it_runs():
    plan = plan_of(sweep=plans.Sweep(learning_rate=(1e-3, 3e-3), weight_decay=(0.0, 0.1, 0.2)))
    told = "\n".join(terminal.design_lines(plan))
    assert f"{plan.hash[:4]} {plan.hash[4:8]}" in told
    assert "merge, co" in told
    assert "30,000 samples each, 5 paired seeds" in told
    assert "runs     30: 10 of arms, 12 to tune them alike, 8 of controls" in told
    size = statistics.smallest_detectable(Spread(5, 1, 0.02, 0.0))
    assert f"differences of {100 * size:.1f} points in 8 of 10 trials" in told
    assert "assumed" in told
    spread = Spread(99, 400, 0.001, 0.1)
    said = " ".join("\n".join(terminal.design_lines(plan, spread, "of old")).split())
    smaller = statistics.smallest_detectable(Spread(5, 400, 0.001, 0.1))
    assert f"differences of {100 * smaller:.1f} points" in said
    assert "SD, of old)" in said


def test_an_earlier_comparison_tells_its_spread(tmp_path):
    import numpy as np

    from sensorium.comparison import findings

    found = findings.read(drawn(tmp_path / "old", "unknown"))
    spread = findings.spread(found)
    each = [low for low, _ in found.verdicts[0]["each"]]
    assert (spread.seeds, spread.items) == (5, 400)
    assert spread.seed_sd == pytest.approx(np.std(each, ddof=1), rel=1e-6)


# --- after -------------------------------------------------------------------------------------


def test_show_prints_table_verdict_and_costs(tmp_path):
    folder = drawn(tmp_path / "x")
    told = sensorium("compare", "show", folder)
    assert (told.code, told.err) == (0, "")
    lines = told.out.splitlines()
    assert all(len(line) <= 100 for line in lines[:-1]), [x for x in lines if len(x) > 100]
    row = {line[:26].strip(): line[26:] for line in lines}
    assert row["merge"].split()[0] == ".549"
    assert "●" in row["merge"]
    assert "○" in row["partner shuffled"]
    assert ":" in row["no skill"]
    assert row["co against merge"].split()[:4] == ["+19.6", "+18.2", "to", "+21.0"]
    assert "├" in row["predicted"]
    assert "co is better than merge, by 19.6 points." in lines
    assert "co takes 1.05 times the tokens, 1.30 the FLOPs, 2.00 the parameters" in told.words
    assert "Predicted −1.0 to +25.0: kept." in told.words
    assert "This design finds 1.9 points in 8 of 10 trials." in told.words
    assert "without tuning: every arm ran with its recipe's rates" in told.words
    assert lines[-1].startswith("try      sensorium compare show")


def test_what_was_left_out_is_said(tmp_path):
    told = sensorium("compare", "show", drawn(tmp_path / "x", controls=()))
    assert "without controls" in told.words
    sweep = plans.Sweep(learning_rate=(1e-3, 3e-3))
    told = sensorium("compare", "show", drawn(tmp_path / "y", sweep=sweep))
    assert "without" not in told.out


@pytest.mark.parametrize("kind", ["better", "worse", "equal", "unknown", "nothing"])
def test_differences_stand_where_they_are(tmp_path, kind):
    """The dot's cell, counted from the zero's by the cells between two printed ticks."""
    told = sensorium("compare", "show", drawn(tmp_path / "x", kind, prediction=None))
    lines = told.out.splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("difference, points"))
    start = 26 + 1 + 7 + 2 + 19 + 1
    axis, row, seeds = (line[start:] for line in lines[at : at + 3])
    zero = axis.index(" 0") + 1 if " 0" in axis else 0
    assert seeds[zero] in "|'"
    value = json.loads((tmp_path / "x" / "result.json").read_text())["verdicts"][0]["difference"]
    dot = row.index("●")
    if abs(dot - zero) > 1:  # nearer, the sign is rounded away
        assert (dot > zero) == (value > 0)
    else:
        assert abs(value) < 0.05


def test_show_as_json(tmp_path):
    folder = drawn(tmp_path / "x")
    told = json.loads(sensorium("compare", "show", folder, "--json").out)
    assert told["hash"] == json.loads((folder / "plan.json").read_text())["hash"]
    assert told["verdicts"][0]["kind"] == "better"
    assert told["costs"]["co"]["seconds"] == pytest.approx(73.8)
    assert told["plan"]["axis"] == "fusion"


def test_show_answers_sql(tmp_path):
    pytest.importorskip("duckdb")
    folder = drawn(tmp_path / "x")
    query = "SELECT arm, count(*) AS n FROM runs WHERE stage = 'run' GROUP BY arm ORDER BY arm"
    told = sensorium("compare", "show", folder, "--sql", query)
    assert [line.split() for line in told.out.splitlines()] == [
        ["arm", "n"], ["co", "5"], ["merge", "5"],
    ]  # fmt: skip
    rows = json.loads(sensorium("compare", "show", folder, "--sql", query, "--json").out)
    assert rows == [{"arm": "co", "n": 5}, {"arm": "merge", "n": 5}]
    wrong = sensorium("compare", "show", folder, "--sql", "SELECT nothing FROM runs")
    assert wrong.code == 2
    assert "SQL over the tables" in wrong.words


def test_an_unfinished_comparison_says_so(tmp_path):
    folder = drawn(tmp_path / "x")
    (folder / "result.json").unlink()
    shutil.rmtree(next((folder / "runs").glob("run-co*seed101")))
    told = sensorium("compare", "show", folder)
    assert told.code == 2
    assert "one that is not: 17 runs are done" in told.words
    listed = sensorium("compare", "list", tmp_path)
    assert "not finished: 17 of 18 runs are done" in listed.words


def test_list_names_every_comparison(tmp_path):
    drawn(tmp_path / "a")
    drawn(tmp_path / "b", "equal")
    (tmp_path / "notes").mkdir()
    told = sensorium("compare", "list", tmp_path)
    assert told.code == 0
    assert "co is better than merge, by 19.6 points." in told.words
    assert "co against merge: no difference larger than 2.0 points." in told.words
    rows = json.loads(sensorium("compare", "list", tmp_path, "--json").out)
    assert [(Path(x["folder"]).name, x["finished"], x["kinds"]) for x in rows] == [
        ("a", True, ["better"]), ("b", True, ["equal"]),
    ]  # fmt: skip
    empty = sensorium("compare", "list", tmp_path / "notes")
    assert (empty.code, empty.out.split()[0]) == (0, "none")


# --- carrying out ------------------------------------------------------------------------------


def test_what_is_typed_is_what_is_conducted(place, monkeypatch):
    """The plan that reaches the engine, and that its result is printed."""
    from sensorium.comparison import conduct

    given = {}

    def stand_in(plan, out, on, workers, watcher):
        given.update(plan=plan, on=on, workers=workers)
        shutil.copytree(drawn(place / "made"), out)

    monkeypatch.setattr(conduct, "compare", stand_in)
    told = sensorium(
        "compare", *GOOD, "--seeds", "101,102", "--predict", "-0.1,0.2", "--workers", "2",
        "--threshold", "0.5", "--sweep", "lr=1e-3,3e-3;wd=0", "--controls", "untrained",
        "optimiser.batch=64",
    )  # fmt: skip
    assert told.code == 0, told.err
    plan = given["plan"]
    assert (plan.seeds, plan.at, plan.threshold) == ((101, 102), "threshold", 0.5)
    assert (plan.prediction.low, plan.prediction.high) == (-0.1, 0.2)
    assert plan.sweep.learning_rate == (1e-3, 3e-3)
    assert plan.sweep.weight_decay == (0.0,)
    assert plan.controls == ("untrained",)
    assert plan.set == {"optimiser.batch": 64}
    assert (given["on"], given["workers"]) == ("processes", 2)
    assert "runs     10: 4 of arms, 4 to tune them alike, 2 of controls" in told.err
    assert "co is better than merge" in told.out
    shutil.rmtree(place / "new")
    shutil.rmtree(place / "made")
    assert sensorium("compare", *GOOD, "--no-sweep", "--no-controls", "--json").code == 0
    assert (given["plan"].sweep, given["plan"].controls) == (None, ())
    shutil.rmtree(place / "new")
    shutil.rmtree(place / "made")
    assert sensorium("compare", "plan.yaml", "--out", "new").code == 0
    assert given["plan"].hash == plans.load("plan.yaml").hash


def test_by_default_rates_are_tuned_and_controls_run(place, monkeypatch):
    from sensorium.comparison import conduct

    given = []
    monkeypatch.setattr(conduct, "compare", lambda plan, out, *rest: (
        given.append(plan), shutil.copytree(drawn(place / "made"), out)))  # fmt: skip
    assert sensorium("compare", *GOOD).code == 0
    assert len(given[0].sweep.learning_rate) == 3
    assert len(given[0].sweep.weight_decay) == 2
    assert given[0].controls == ("shuffled", "untrained")


def test_interrupted_it_says_that_the_same_command_goes_on(place, monkeypatch):
    from sensorium.comparison import conduct

    def stop(*anything):
        raise KeyboardInterrupt

    monkeypatch.setattr(conduct, "compare", stop)
    told = sensorium("compare", *GOOD)
    assert told.code == 75
    assert told.err.splitlines()[-1].endswith("the same command goes on")
    assert "Traceback" not in told.err
