"""What a budget buys: which records are read, how many steps. Decided once, then stored."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

from sensorium import draws, optimiser
from sensorium.loading import Batches
from sensorium.prepare import column
from sensorium.recipe import parse_budget
from sensorium.records import Records
from sensorium.run import Run
from sensorium.step import Step
from sensorium.training import Plan, update

EVALUATIONS = 20  # looks at validation in one run
PREPARING = 0.6  # share of a time budget that reading and towers may take
LEAST = 100  # records that are read whatever they cost
PROBE = 32  # records read to estimate how long the rest takes


def within(run: Run, records: Records, say: Callable[[str, str], None]) -> Records:
    """A keyed subset of large data where a time budget cannot read all of it; says the estimate."""
    budget = parse_budget(run.recipe.budget)
    if budget.unit != "seconds":
        return records
    probe = [records[at] for at in draws.order(len(records), run.recipe.seed, "probe")[:PROBE]]
    start = time.monotonic()
    for name in run.recipe.modalities:
        column(run.reader(name), probe, run.fields[name])
    each = (time.monotonic() - start) / len(probe)
    affordable = int(PREPARING * budget.amount / each)
    estimate = each * len(records)
    run.note(reading={"seconds_a_record": each, "seconds_estimated": estimate})
    if affordable >= len(records):
        return records
    kept = set(keyed_subset(records, max(affordable, LEAST)))
    say(
        "subset",
        f"{len(kept):,} of {len(records):,} records fit {run.recipe.budget}; reading all would "
        f"take about {estimate / 60:.0f} min (--budget {2 * estimate / 60:.0f}min)",
    )
    run.note(subset={"records": len(kept), "of": len(records)})
    records.records = [record for record in records.records if record.key in kept]
    return records


def keyed_subset(records: Records, count: int) -> list[str]:
    """Keys of about `count` records, the same share of each split, whole groups where small."""
    share = count / len(records)
    kept = []
    for split in ("train", "validation", "test"):
        keys = sorted(
            (records[at].key for at in records.positions(split)),
            key=lambda key: draws.uniform("subset", key),
        )
        kept += keys[: max(10, round(share * len(keys)))]
    return kept


def calibrate(
    run: Run,
    step: Step,
    batches: Batches,
    validate: Callable[[Step], dict[str, float]],
    began: float,
) -> tuple[Plan, dict[str, Any]]:
    """Turns the budget into a number of steps, once; a time budget by timing a few on a copy."""
    recipe = run.recipe
    budget = parse_budget(recipe.budget)
    size, records = batches.size, len(batches.positions)
    why: dict[str, Any] = {"budget": recipe.budget}
    if budget.unit == "seconds":
        trial = copy.deepcopy(step)
        adam = optimiser.build(trial, recipe.optimiser)
        coming = batches.from_step(0, 1_000_000)
        for _ in range(2):  # the first steps allocate and compile
            update(trial, adam, next(coming).to(run.device), recipe.optimiser.clip)
        start, done = time.monotonic(), 0
        while done < 3 or time.monotonic() - start < 1.0:
            update(trial, adam, next(coming).to(run.device), recipe.optimiser.clip)
            done += 1
        each = (time.monotonic() - start) / done
        start = time.monotonic()
        validate(trial)
        look = time.monotonic() - start
        left = budget.amount - (time.monotonic() - began) - EVALUATIONS * look
        steps = max(EVALUATIONS, int(left / (each * 1.1)))
        why |= {"seconds_a_step": each, "seconds_left": left}
    else:
        amount = {
            "samples": budget.amount / size,
            "epochs": budget.amount * records / size,
            "steps": budget.amount,
        }[budget.unit]
        steps = max(1, round(amount))
    if recipe.most_epochs is not None and budget.unit == "seconds":
        most = max(EVALUATIONS, round(recipe.most_epochs * records / size))
        if steps > most:
            why["cut"] = f"{recipe.most_epochs} epochs; more passes only memorise"
            steps = most
    return Plan(steps, max(1, steps // EVALUATIONS)), why
