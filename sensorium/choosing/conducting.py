"""Carries a choice out: measure, decide, run the recipes, then the best on parts of the records.

    choice.json   all that was decided before the first run, and its hash
    measuring/    each recipe as it is drawn, run once to see what a run takes
    plan.json, arms.json, runs/, runs.parquet, timings.parquet   as of a comparison
    recipes/      recipes that are on no shelf
    result.json   the answers; report.html shows them

The same command goes on where it was stopped: nothing is computed that is there already.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sensorium import files, towers
from sensorium.building import build
from sensorium.choosing import deciding, page, questions
from sensorium.choosing.candidates import Candidate, Subject
from sensorium.choosing.deciding import Pace, Request
from sensorium.comparison import costs, pool, running, table
from sensorium.comparison.arena import Arena
from sensorium.comparison.findings import ARMS, PLAN
from sensorium.comparison.plan import Budget, Plan
from sensorium.comparison.running import Task
from sensorium.errors import NonFinite, UserError
from sensorium.finetuning.splitting import place_of
from sensorium.prepare import Reader, column, fields_read
from sensorium.pretraining import Silent, Watcher
from sensorium.recipe import check, to_yaml
from sensorium.records import Field, Record

MEASURING, RESULT, REPORT = "measuring", "result.json", "report.html"
SHUFFLED = "shuffled"
FEATURES = 0.3  # of the budget that computing features of frozen towers may take
TRIED = 16  # records that the time of features is measured on


def choose(
    request: Request,
    subject: Subject,
    candidates: Sequence[Candidate],
    out: str | Path,
    notes: Sequence[str] = (),
    workers: int | None = None,
    watcher: Watcher | None = None,
) -> dict[str, Any]:
    """Conducts a choice, or goes on with it; what `result.json` holds.

    Args:
        request, subject, candidates: what was asked, of which data, among what.
        out: a new folder, or one in which this very choice was begun.
        notes: why others are no candidates.
        workers: runs at a time; by default one a core.

    Raises:
        RunError: the folder is of another choice.
        UserError: the budget is too small; names the least.
        NonFinite: every recipe diverged.
        Stopped: by a signal; the same command goes on.
    """
    began = time.monotonic()
    folder, watcher = Path(out).absolute(), watcher or Silent()
    workers = workers or max(1, os.cpu_count() or 1)
    with files.claim(folder):
        content = deciding.known(folder, request)
        if content is None:
            content = _decide(folder, request, subject, candidates, notes, workers, watcher, began)
        plan = _begin(folder, content)
        watcher.say("plan", f"{content['hash'][:8]}  {len(content['candidates'])} recipes, "
                    f"{content['seconds_each']:.0f} s of training a run")  # fmt: skip
        results = pool.run_all(_first(folder, content), "processes", workers, _told(watcher, "run"))
        scores = validated(results, content)
        best = max(scores, key=lambda name: scores[name])
        watcher.say("best", f"{best} on validation")
        tasks = _second(folder, content, best)
        results += pool.run_all(tasks, "processes", workers, _told(watcher, "best"))
        arms = json.loads((folder / ARMS).read_text("utf-8"))
        table.write(folder, results, {name: arm["run"] for name, arm in arms.items()})
        result = questions.answered(
            content, best, scores, _outcomes(folder, content, results), arms
        )
        result["plan"] = plan.hash
        files.write_json(folder / RESULT, result)
        files.write_bytes(folder / REPORT, page.page(result, folder).encode("utf-8", "replace"))
        return result


# --- before the first run ----------------------------------------------------------------------


def _decide(
    folder: Path, request: Request, subject: Subject, candidates: Sequence[Candidate],
    notes: Sequence[str], workers: int, watcher: Watcher, began: float,
) -> dict[str, Any]:  # fmt: skip
    """Measures what recipes take, divides the budget, and writes the decision.

    Raises:
        UserError: the budget is too small.
    """
    told = list(notes)
    place = folder / MEASURING
    seeds = tuple(range(max(2, request.seeds)))
    plan = _plan(subject, candidates, seeds, request.budget)
    place.mkdir(parents=True, exist_ok=True)
    files.write_json(place / PLAN, {"hash": plan.hash, "plan": plan.model_dump(mode="json")})
    steps: dict[str, float] = {}
    arms: dict[str, Any] = {}
    for one in candidates:
        if why := _unready(place, plan, one, request.budget):
            told.append(f"{one.name} was left out: {why}")
            watcher.say("without", told[-1])
            continue
        cost = _cost(place, plan, one)
        steps[one.name] = float(cost.seconds or 0.0)
        arms[one.name] = {"recipe": one.recipe.model_dump(mode="json"), "steps": 1,
                          "cost": asdict(cost)}  # fmt: skip
        watcher.say("measured", f"{one.name}  {1000 * steps[one.name]:.0f} ms a step")
    left = [one for one in candidates if one.name in arms]
    if len(left) < 2:
        raise UserError("candidates", expected="two recipes that can be compared",
                        found="; ".join(told) or "fewer")  # fmt: skip
    files.write_json(place / ARMS, arms)
    # As drawn, twice: what a run takes beside its steps, and more in a process that begins.
    tasks = [Task(str(place), f"measure-{at}", one.name, again, {}, "untrained")
             for again in range(2) for at, one in enumerate(left)]  # fmt: skip
    idle = pool.run_all(tasks, "processes", workers, _told(watcher, "measure"))
    paces = {}
    for one in left:
        taken = [x["seconds"] for x in idle if x["arm"] == one.name]
        most = deciding.steps_on(one.recipe, subject.train, 1.0)
        paces[one.name] = Pace(steps[one.name], min(taken), most, max(taken) - min(taken))
    known = list(paces.values())
    spent = time.monotonic() - began
    room = deciding.SPARE * request.budget - spent
    each = deciding.seconds_each(room, known, len(seeds), workers)
    if each is None:
        least = deciding.wall(deciding.least_each(known), known, len(seeds), workers) + spent
        raise deciding.too_small(request.budget, least / deciding.SPARE, len(left), len(seeds))
    content = deciding.decided(request, subject, left, paces, each, told)
    content_cost = {name: arm["cost"] for name, arm in arms.items()}
    files.write_json(folder / MEASURING / "costs.json", content_cost)
    deciding.write(folder, content)
    return content


def _plan(
    subject: Subject, candidates: Sequence[Candidate], seeds: tuple[int, ...], seconds: float
) -> Plan:
    """What the engine must know of the runs; the arms stand in arms.json."""
    return Plan.model_validate({
        "question": "Which recipe?", "data": place_of(subject.data), "fields": subject.fields,
        "recipe": candidates[0].name, "axis": "recipe",
        "arms": {one.name: one.name for one in candidates},
        "seeds": seeds, "budget": Budget(amount=seconds, unit="seconds"), "looks": 1,
        "outcome": subject.outcome, "margin": deciding.MARGIN, "alpha": deciding.ALPHA,
    })  # fmt: skip


def _unready(place: Path, plan: Plan, one: Candidate, budget: float) -> str:
    """Why a recipe cannot take part: towers that cannot be had, features that take too long."""
    for options in one.recipe.prepare.values():
        if not towers.available(options["use"]):
            try:
                towers.fetch(options["use"])
            except UserError as error:
                return error.what
    if not one.recipe.prepare:
        return ""
    arena = Arena.of(plan, place, one.recipe)
    whole, total = arena.records.records, 0.0
    for name, (kind, where) in fields_read(one.recipe, arena.records.fields).items():
        if name in one.recipe.prepare:
            reader = arena.reader(one.recipe, kind)
            column(reader, whole[:1], where)  # loads the tower
            taken = [_timed(reader, part, where) for part in (whole[:1], whole[1 : 2 + TRIED])]
            total += max(0.0, taken[1] - taken[0]) / TRIED * len(whole)
    if total > FEATURES * budget:
        return (f"its towers would take about {total:,.0f} s for {len(whole):,} records, more than "
                f"{FEATURES:.0%} of the budget")  # fmt: skip
    return ""


def _timed(reader: Reader, records: list[Record], where: Field) -> float:
    start = time.monotonic()
    column(reader, records, where)
    return time.monotonic() - start


def _cost(place: Path, plan: Plan, one: Candidate) -> costs.Cost:
    """What a step of a recipe costs: on two real batches, one thread as its runs have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        recipe = one.recipe
        arena = Arena.of(plan, place, recipe)
        names = (*recipe.modalities, *recipe.targets)
        modalities = {name: arena.reader(recipe, name).modality for name in names}
        columns, step = arena.columns(recipe), build(recipe, modalities)
        batches = running.batches_of(arena, recipe, modalities, columns, step)
        return costs.measure(step, [batches[0], batches[1]], recipe.optimiser)
    finally:
        torch.set_num_threads(threads)


def _begin(folder: Path, content: dict[str, Any]) -> Plan:
    """Writes what the engine reads, from the decision alone."""
    subject = Subject.known(content["subject"])
    candidates = [
        Candidate(name, check(dict(content["arms"][name]["recipe"])), False)
        for name in content["candidates"]
    ]
    plan = _plan(subject, candidates, tuple(content["seeds"]), content["seconds_each"])
    files.write_json(folder / PLAN, {"hash": plan.hash, "choice": content["hash"],
                                     "plan": plan.model_dump(mode="json")})  # fmt: skip
    measured = json.loads((folder / MEASURING / "costs.json").read_text("utf-8"))
    arms = {}
    for name, arm in content["arms"].items():
        cost = costs.Cost(**measured[name.partition(" on 1/")[0]])
        arms[name] = {**arm, "cost": asdict(cost), "run": cost.run(arm["steps"])}
    files.write_json(folder / ARMS, arms)
    for one in candidates:
        if subject.label is not None:
            path = folder / "recipes" / f"{one.recipe.name}.yaml"
            path.parent.mkdir(exist_ok=True)
            files.write_bytes(path, to_yaml(one.recipe).encode())
    return plan


# --- runs --------------------------------------------------------------------------------------


def _first(folder: Path, content: dict[str, Any]) -> list[Task]:
    """Seed by seed, so that whoever stops early has whole pairs."""
    return [Task(str(folder), "run", name, seed)
            for seed in content["seeds"] for name in content["candidates"]]  # fmt: skip


def _second(folder: Path, content: dict[str, Any], best: str) -> list[Task]:
    """The best recipe on shuffled partners and on parts of the records."""
    made = []
    for seed in content["seeds"]:
        if "text" in content["arms"][best]["recipe"]["modalities"]:
            made.append(Task(str(folder), "control", best, seed, {}, SHUFFLED))
        for share in content["shares"]:
            made.append(Task(str(folder), "run", deciding.share_name(best, share), seed))
    return made


def validated(results: Sequence[dict[str, Any]], content: dict[str, Any]) -> dict[str, float]:
    """Recipe -> its mean over seeds on validation; one of which a run diverged is left out.

    Raises:
        NonFinite: every recipe diverged.
    """
    scores = {}
    for name in content["candidates"]:
        own = [x for x in results if x["arm"] == name]
        if own and not any(x["failed"] for x in own):
            scores[name] = float(np.mean([x["curve"][-1]["outcome"] for x in own]))
    if not scores:
        raise NonFinite("every recipe diverged", expected="one that trains",
                        found="; ".join(f"{x['arm']} {x['failed']}" for x in results))  # fmt: skip
    return scores


def _outcomes(
    folder: Path, content: dict[str, Any], results: Sequence[dict[str, Any]]
) -> dict[str, dict[int, dict[str, float]]]:
    """Arm, or `shuffled` -> seed -> record -> value on test; arms with a run that diverged are
    left out."""
    made: dict[str, dict[int, dict[str, float]]] = {}
    lost = {x["control"] or x["arm"] for x in results if x["failed"]}
    for x in results:
        name = x["control"] or x["arm"]
        if name not in lost:
            task = Task(str(folder), x["stage"], x["arm"], x["seed"], x["rates"], x["control"])
            made.setdefault(name, {})[x["seed"]] = running.items(task)[content["outcome"]]
    return made


def _told(watcher: Watcher, what: str) -> pool.Each:
    count = 0

    def each(result: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        watcher.say(what, f"{count}  {result['name']}  {result['seconds']:.0f} s")

    return each
