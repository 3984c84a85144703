"""What a budget buys: which records are read, how many steps. Decided once, then stored."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import torch

from sensorium import controls, draws, optimiser
from sensorium.loading import Batches
from sensorium.prepare import cost
from sensorium.recipe import parse_budget
from sensorium.records import SPLITS, Records
from sensorium.run import Run
from sensorium.step import Step
from sensorium.training import Plan, update

EVALUATIONS = 20  # looks at validation in one run
PREPARING = 0.6  # share of a time budget that reading and towers may take
LEAST = 100  # training records that are read whatever they cost
HELD = 1000  # at most so many of validation and of test, whatever the time
PROBE = 32  # records read to estimate how long the rest takes


def within(run: Run, records: Records, say: Callable[[str, str], None]) -> Records:
    """What takes part in the run: all records, or under a time budget what it can read.

    How many *training* records that is rests on a timing: a probe is read and encoded past the
    cache, after the towers are warm, so what was prepared before changes nothing, and a busier or
    slower machine reads fewer. Validation and test must not hang on that: under any time budget
    they keep at most `HELD` records each. Which records, of each split, depends on their keys
    and the recipe's seed alone.

    Args:
        run: whose recipe has the budget; its facts `reading` (the estimate) and `subset` ({split:
            {records, of}}, where anything is left out) are noted.
        records: with their splits; not changed.
        say: is told what is left out, and when validation and test alone are too many.

    Returns:
        New Records, so that what training sets aside later is not written to the caller's.
    """
    records = dataclasses.replace(
        records,
        records=list(records.records),
        rejected=list(records.rejected),
        notes=list(records.notes),
    )
    run.info.pop("subset", None)  # of an attempt that was killed before it was kept
    budget = parse_budget(run.recipe.budget)
    if budget.unit != "seconds" or len(records) < 2:
        return records
    seed, total = run.recipe.seed, len(records)
    keys = [record.key for record in records]
    probe = [records[at] for at in draws.sample(keys, PROBE + 1, seed, "probe")]
    each = sum(cost(run.reader(name), probe, run.field(name)) for name in run.recipe.modalities)
    run.note(reading={"seconds_a_record": each, "seconds_estimated": each * total})
    sizes = {split: len(records.positions(split)) for split in SPLITS}
    affordable = int(PREPARING * budget.amount / max(each, 1e-9))
    held = sum(min(HELD, sizes[split]) for split in SPLITS if split != "train")
    limits = dict.fromkeys(SPLITS, HELD) | {"train": max(affordable - held, LEAST)}
    kept = keyed_subset(records, limits, seed)
    counts = {split: len(kept.positions(split)) for split in SPLITS}
    if counts == sizes:
        return records
    run.note(subset={split: {"records": counts[split], "of": sizes[split]} for split in SPLITS})
    say("subset", _told(counts, sizes, run.recipe.budget, each))
    if affordable - held < min(LEAST, sizes["train"]):
        say(
            "subset",
            f"validation and test alone ({held:,} records) take about {_minutes(each * held)} to "
            f"read, more than {run.recipe.budget} leaves for it: the budget will be exceeded",
        )
    return kept


def _told(counts: dict[str, int], sizes: dict[str, int], budget: str, each: float) -> str:
    parts = [
        f"{counts[split]:,} of {sizes[split]:,} {'training' if split == 'train' else split} records"
        for split in SPLITS
        if counts[split] < sizes[split]
    ]
    line = f"{', '.join(parts)} take part"
    if counts["train"] == sizes["train"]:
        return f"{line}; a budget counted in epochs, samples or steps takes all"
    # What a larger time budget would read: all of train, and the others as they are.
    whole = each * (sum(counts.values()) - counts["train"] + sizes["train"])
    return (
        f"{line}, as {budget} allows; reading all for training would take about "
        f"{_minutes(whole)} (--budget {math.ceil(2 * whole / 60)}min)"
    )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def keyed_subset(records: Records, limits: dict[str, int], seed: int) -> Records:
    """At most so many records of each split, chosen by key and seed, in the data's order.

    A smaller limit keeps a part of what a larger one keeps.

    Args:
        records: with their splits; not changed.
        limits: split -> how many records at most; a split that is not named is left out.
        seed: of the choice.
    """
    kept: list[int] = []
    for split, limit in limits.items():
        places = records.positions(split)
        keys = [records[at].key for at in places]
        kept += [places[at] for at in draws.sample(keys, limit, seed, "subset", split)]
    return dataclasses.replace(records, records=[records[at] for at in sorted(kept)])


def calibrate(
    run: Run,
    step: Step,
    batches: Batches,
    validate: Callable[[Step], dict[str, float]],
    began: float,
) -> tuple[Plan, dict[str, Any]]:
    """Turns the budget into a number of steps, once; a time budget by timing a few on a copy.

    The controls that train share a time budget with the run, in equal parts.
    """
    recipe = run.recipe
    budget = parse_budget(recipe.budget)
    size, records = batches.size, len(batches.positions)
    why: dict[str, Any] = {"budget": recipe.budget}
    if budget.unit == "seconds":
        # The trial draws dropout: on a stream that is given back.
        with torch.random.fork_rng(devices=[]):
            each, look = _timed(run, step, batches, validate)
        arms = 1 + len(controls.names(recipe))
        left = (budget.amount - (time.monotonic() - began)) / arms - EVALUATIONS * look
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


def _timed(
    run: Run, step: Step, batches: Batches, validate: Callable[[Step], dict[str, float]]
) -> tuple[float, float]:
    """Seconds of a step and of a look at validation, on a copy."""
    trial = copy.deepcopy(step)
    options = run.recipe.optimiser
    adam = optimiser.build(trial, options)
    coming = batches.from_step(0, 1_000_000)
    for _ in range(2):  # the first steps allocate and compile
        update(trial, adam, next(coming).to(run.device), options.clip)
    start, done = time.monotonic(), 0
    while done < 3 or time.monotonic() - start < 1.0:
        update(trial, adam, next(coming).to(run.device), options.clip)
        done += 1
    each = (time.monotonic() - start) / done
    start = time.monotonic()
    validate(trial)
    return each, time.monotonic() - start
