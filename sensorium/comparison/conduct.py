"""Conducts a comparison: decide, tune, run, judge; each part is written before the next begins.

    plan.json      the plan and its hash, before anything else
    arms.json      arm -> complete recipe, steps that the budget buys, cost of a step in every unit
    tuned.json     arm -> rates that validation chose, and what was tried
    runs/          one folder a run; see `running.py`
    runs.parquet   all runs in one table; timings.parquet: the seconds that they took
    result.json    verdicts, beside the hash of the plan that they answer

The same command goes on where it was stopped: nothing is computed that is there already.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from sensorium import draws, files
from sensorium.comparison import arms as arms_
from sensorium.comparison import pool, refusals, running, table, words
from sensorium.comparison.arena import Arena, place
from sensorium.comparison.findings import ARMS, PLAN, RESULT, RUNS, refuse_other
from sensorium.comparison.page import publish
from sensorium.comparison.plan import ANALYSIS, Plan
from sensorium.comparison.running import Task
from sensorium.comparison.statistics import Values
from sensorium.comparison.threshold import Reached, reached
from sensorium.comparison.verdict import Evidence, Question, Verdict, judge, weigh, weigh_samples
from sensorium.errors import NonFinite, PlanError, RunError
from sensorium.pretraining import Silent, Watcher

TUNED = "tuned.json"
CONTROL_SEEDS = 2  # seeds that a control is run with: it says what is learned, not by how much


def compare(
    plan: Plan,
    out: str | Path,
    on: str = "processes",
    workers: int | None = None,
    watcher: Watcher | None = None,
) -> dict[str, Any]:
    """Conducts a plan, or goes on with it; what `result.json` holds.

    Args:
        plan: complete and checked.
        out: a new folder, or one in which this very plan was begun.
        on, workers: see `pool.run_all`.
        watcher: who is told how it goes.

    Raises:
        RunError: the folder is of another plan.
        PlanError, DataError: the plan, its data or an arm is not as expected.
        NonFinite: a run diverged, or all of an arm's sweep.
        Stopped, UserError: as `pool.run_all`.
    """
    folder, watcher = Path(out).absolute(), watcher or Silent()
    with files.claim(folder):
        begin(folder, plan)
        told = decide(folder, plan, watcher)
        watcher.say("time", forecast(folder, plan, told, workers))
        rates = tune(folder, plan, on, workers, watcher)
        results = _carried(tasks_of(folder, plan, rates), on, workers, watcher, "run")
        costs = {name: arm["run"] for name, arm in told.items()}
        swept = [known for x in sweep_of(folder, plan) if (known := running.done(x)) is not None]
        table.write(folder, [*swept, *results], costs)
        _refuse_diverged(folder, results)
        floor = floor_of(plan, results)
        family = [evidence(folder, plan, x, rates, floor.get("chance")) for x in plan.names[1:]]
        result = {
            "plan": plan.hash,
            "analysis": ANALYSIS,
            "question": plan.question,
            "verdicts": [verdict.to_json() for verdict in judge(family)],
            "also": [x for text in plan.also for x in beside(folder, plan, text, rates)],
            "controls": _controls(results),
            "tuned": rates,
            "floor": floor,
            # Seconds are the machine's, not the plan's: see arms.json and timings.parquet.
            "costs": {
                name: {unit: amount for unit, amount in run.items() if unit != "seconds"}
                for name, run in costs.items()
            },
            "how": results[-1]["outcomes"][plan.outcome]["how"],  # of the last arm's last run
        }
        files.write_json(folder / RESULT, result)
        publish(folder)
        return result


def _refuse_diverged(folder: Path, results: Sequence[dict[str, Any]]) -> None:
    """Seeds are paired, so a run that diverged leaves nothing to judge; the others are kept.

    Raises:
        NonFinite: names each such run, and the step.
    """
    lost = [x for x in results if x["failed"] and x["stage"] == "run"]
    if lost:
        raise NonFinite(
            f"{len(lost)} of {sum(x['stage'] == 'run' for x in results)} runs diverged",
            file=folder,
            expected="arms that train with every seed",
            found="; ".join(f"{x['arm']}, seed {x['seed']} {x['failed']}" for x in lost),
            see="a smaller learning rate, or a sweep of them, in a new folder; the other runs are "
            f"in {RUNS}",
        )


def begin(folder: Path, plan: Plan) -> None:
    """Writes the plan, once.

    Raises:
        RunError: another plan, or something else, is there.
    """
    refuse_other(folder, plan)
    if (folder / PLAN).exists():
        return
    content = {"hash": plan.hash, "analysis": ANALYSIS, "plan": plan.model_dump(mode="json")}
    files.write_json(folder / PLAN, content)


def decide(folder: Path, plan: Plan, watcher: Watcher) -> dict[str, Any]:
    """Arms with their steps and costs, measured once and stored.

    Raises:
        PlanError: the budget buys no step of an arm, or sizes cannot be made equal.
    """
    file = folder / ARMS
    if file.exists():
        return json.loads(file.read_text("utf-8"))
    watcher.say("data", place(plan))
    made = arms_.derive(plan)
    readers = {arm.name: _readers(folder, plan, arm) for arm in made}
    if plan.equal_parameters is not None:
        from sensorium.comparison.equal_parameters import equalise

        # One tokenizer for all: arms differ in the axis alone, so any arm's readers will do.
        made = equalise(made, plan.equal_parameters, readers[made[0].name])
    told = {}
    for arm in made:
        steps, cost = _measured(folder, plan, arm, readers[arm.name])
        told[arm.name] = {
            "recipe": arm.recipe.model_dump(mode="json"),
            "steps": steps,
            "cost": asdict(cost),
            "run": cost.run(steps),
        }
        watcher.say("arm", f"{arm.name}  {steps:,} steps, {cost.parameters:,} parameters")
    files.write_json(file, told)
    return told


def _readers(folder: Path, plan: Plan, arm: arms_.Arm) -> dict[str, Any]:
    arena = Arena.of(plan, folder, arm.recipe)
    names = (*arm.recipe.modalities, *arm.recipe.targets)
    return {name: arena.reader(arm.recipe, name).modality for name in names}


def _measured(
    folder: Path, plan: Plan, arm: arms_.Arm, modalities: dict[str, Any]
) -> tuple[int, Any]:
    """How many steps the budget buys an arm, and what one costs: on two real batches."""
    import torch

    from sensorium.building import build
    from sensorium.comparison import costs

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as its runs have
    try:
        arena, step = Arena.of(plan, folder, arm.recipe), build(arm.recipe, modalities)
        columns = arena.columns(arm.recipe)
        batches = running.batches_of(arena, arm.recipe, modalities, columns, step)
        cost = costs.measure(step, [batches[0], batches[1]], arm.recipe.optimiser)
    finally:
        torch.set_num_threads(threads)
    steps = costs.steps_for(plan.budget, cost, arm.name)
    if steps < plan.looks and plan.at == "threshold":
        raise PlanError(
            field="looks", expected=f"at most {steps:,}, the steps of {arm.name}",
            found=f"{plan.looks:,}",
        )  # fmt: skip
    return steps, cost


def forecast(folder: Path, plan: Plan, told: dict[str, Any], workers: int | None) -> str:
    """How long the runs that are not done will train, by what a step was seen to take."""
    tasks = [*sweep_of(folder, plan), *tasks_of(folder, plan, {x: {} for x in plan.names})]
    left = [x for x in tasks if x.control != "untrained" and running.done(x) is None]
    seconds = math.fsum(told[x.arm]["run"]["seconds"] for x in left)
    at_once = max(1, min(workers or os.cpu_count() or 1, len(left)))
    return words.estimate(seconds / at_once, at_once)


def floor_of(plan: Plan, results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """chance and best of the outcome on the test split; empty where nobody knows them."""
    known = refusals.bounds(plan, arms_.derive(plan))
    if known is None:
        return {}
    chance, best = known
    if plan.measure.kind == "retrieval":  # of the gallery that was asked, not of all that is there
        first = plan.measure.first or 1
        chance = min(1.0, first / results[-1]["outcomes"][plan.outcome]["items"])
    return {"chance": chance, "best": best}


# --- tuning ------------------------------------------------------------------------------------


def sweep_of(folder: Path, plan: Plan) -> list[Task]:
    """The runs of the sweep: every arm with every pair of rates, one seed that no run has."""
    if plan.sweep is None:
        return []
    tried = {key: values for key, values in plan.sweep.model_dump().items() if values}
    grid = [dict(zip(tried, values, strict=True)) for values in product(*tried.values())]
    seed = next(
        seed for at in range(len(plan.seeds) + 1)
        if (seed := draws.integer("sweep", plan.hash, at) % 2**31) not in plan.seeds
    )  # fmt: skip
    return [Task(str(folder), "sweep", name, seed, rates) for name in plan.names for rates in grid]


def tune(
    folder: Path, plan: Plan, on: str, workers: int | None, watcher: Watcher
) -> dict[str, dict[str, float]]:
    """arm -> its rates: those with the best outcome on validation, of equals the first.

    Raises:
        NonFinite: every run of an arm's sweep diverged.
    """
    tasks = sweep_of(folder, plan)
    chosen: dict[str, dict[str, float]] = {name: {} for name in plan.names}
    if not tasks:
        return chosen
    results = _carried(tasks, on, workers, watcher, "tune")
    sign = 1 if plan.measure.better == "higher" else -1
    for name in plan.names:
        own = [x for x in results if x["arm"] == name and not x["failed"]]
        if not own:
            tried = "; ".join(f"{x['name']} {x['failed']}" for x in results if x["arm"] == name)
            raise NonFinite(file=folder, field=f"arms.{name}",
                            expected="a rate of the sweep that trains",
                            found=f"none: all diverged, {tried}")  # fmt: skip
        best = max(own, key=lambda x: sign * x["outcomes"][plan.outcome]["mean"])
        chosen[name] = best["rates"]
        watcher.say(
            "tuned", f"{name}  " + ", ".join(f"{k} {v:g}" for k, v in best["rates"].items())
        )
    files.write_json(folder / TUNED, chosen)
    return chosen


# --- runs --------------------------------------------------------------------------------------


def tasks_of(folder: Path, plan: Plan, rates: dict[str, dict[str, float]]) -> list[Task]:
    """Seed by seed, so that whoever stops early has whole pairs; controls of the last arm first."""
    last = plan.names[-1]
    controls = [
        Task(str(folder), "control", last, seed, rates[last], name)
        for name in plan.controls
        for seed in plan.seeds[:CONTROL_SEEDS]
    ]
    runs = [
        Task(str(folder), "run", name, seed, rates[name])
        for seed in plan.seeds
        for name in plan.names
    ]
    return [*controls, *runs]


def _carried(
    tasks: Sequence[Task], on: str, workers: int | None, watcher: Watcher, what: str
) -> list[dict[str, Any]]:
    count = 0

    def each(result: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        watcher.progress(what, count, len(tasks), result["name"])

    return pool.run_all(tasks, on, workers, each)


# --- judging -----------------------------------------------------------------------------------


def values_of(
    folder: Path, plan: Plan, arm: str, text: str, rates: dict[str, dict[str, float]]
) -> tuple[Values, list[str]]:
    """Outcomes of an arm float64 [seeds, items], and the items' keys: those that all seeds have."""
    found = [
        running.items(Task(str(folder), "run", arm, seed, rates[arm])).get(text, {})
        for seed in plan.seeds
    ]
    keys = [key for key in found[0] if all(key in other for other in found)]
    return np.array([[one[key] for key in keys] for one in found], float), keys


def _paired(
    folder: Path, plan: Plan, name: str, text: str, rates: dict[str, dict[str, float]]
) -> tuple[Values, Values]:
    """Outcomes of an arm and of the first one, over the items that both have."""
    (one, mine), (other, theirs) = (
        values_of(folder, plan, arm, text, rates) for arm in (name, plan.names[0])
    )
    place = {key: at for at, key in enumerate(theirs)}
    both = [(at, place[key]) for at, key in enumerate(mine) if key in place]
    if not both:
        both_of = f"{name} and {plan.names[0]}"
        raise RunError(file=folder, field=text, expected=f"items that {both_of} have in common",
                       found="none")  # fmt: skip
    rows, columns = (np.array(x, int) for x in zip(*both, strict=True))
    return one[:, rows], other[:, columns]


def evidence(
    folder: Path, plan: Plan, name: str, rates: dict[str, dict[str, float]],
    floor: float | None = None,
) -> Evidence:  # fmt: skip
    """What was found about one arm against the first; `floor` is the outcome without skill."""
    told = plan.prediction
    question = Question(
        name=name,
        against=plan.names[0],
        outcome=plan.outcome,
        margin=plan.margin,
        unit="log2 samples" if plan.at == "threshold" else plan.measure.unit,
        higher=plan.at == "budget" and plan.measure.better == "higher",
        alpha=plan.alpha,
        floor=floor if plan.at == "budget" else None,
        prediction=None if told is None else (told.low, told.high),
    )
    if plan.at == "threshold":
        return weigh_samples(
            question, *(crossings(folder, plan, arm, rates) for arm in (name, plan.names[0]))
        )
    return weigh(
        question, *_paired(folder, plan, name, plan.outcome, rates), ("verdict", plan.hash)
    )


def crossings(
    folder: Path, plan: Plan, arm: str, rates: dict[str, dict[str, float]]
) -> list[Reached]:
    """When each run of an arm reached the threshold, on validation."""
    assert plan.threshold is not None
    found = []
    for seed in plan.seeds:
        result = running.done(Task(str(folder), "run", arm, seed, rates[arm]))
        assert result is not None, "judged before it was run"
        looks = [(x["samples"], x["outcome"]) for x in result["curve"] if x["samples"] > 0]
        samples, scores = zip(*looks, strict=True)
        higher = plan.measure.better == "higher"
        found.append(reached(samples, scores, plan.threshold, higher))
    return found


def beside(
    folder: Path, plan: Plan, text: str, rates: dict[str, dict[str, float]]
) -> list[dict[str, Any]]:
    """A further outcome of every arm against the first: told, not judged."""
    from sensorium.comparison import statistics

    made = []
    for name in plan.names[1:]:
        one, other = _paired(folder, plan, name, text, rates)
        found = statistics.difference(one, other)
        made.append(
            {
                "outcome": text,
                "name": name,
                "against": plan.names[0],
                "means": [float(one.mean()), float(other.mean())],
                "difference": found.mean,
                "interval": list(found.interval(1 - plan.alpha)),
            }
        )
    return made


def _controls(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """control -> outcomes, means over the seeds that did not diverge; none where it cannot be asked
    that."""
    made: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if result["stage"] == "control":
            made.setdefault(result["control"], []).append(result)
    told = []
    for name, own in made.items():
        ended = [x["outcomes"] for x in own if not x["failed"]]
        texts = ended[0] if ended else ()
        told.append(
            {
                "control": name,
                "arm": own[0]["arm"],
                "seeds": len(ended),
                "outcomes": {
                    text: math.fsum(x[text]["mean"] for x in ended) / len(ended) for text in texts
                },
            }
        )
    return told


__all__ = ["Verdict", "compare"]
