"""`pretrain`: read, prepare, build, calibrate, train, evaluate. `resume`: go on from there."""

from __future__ import annotations

import functools
import json
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from sensorium import (
    controls,
    devices,
    files,
    optimiser,
    reading,
    shelf,
    towers,
)
from sensorium.budgeting import calibrate, within
from sensorium.errors import DataError, RecipeError, UserError
from sensorium.loading import Batches
from sensorium.prepare import Column, column
from sensorium.recipe import Recipe, load, member, members
from sensorium.records import Records
from sensorium.run import Run, refuse_used
from sensorium.starting import start
from sensorium.training import Plan, Progress, restore, train
from sensorium.validation import validation


class Watcher(Protocol):
    """Who is told how it goes; the command line draws it."""

    def say(self, what: str, text: str) -> None: ...
    def progress(self, what: str, done: int, total: int, note: str = "") -> None: ...


class Silent:
    """A watcher that shows nothing."""

    def say(self, what: str, text: str) -> None:
        """Shows nothing."""

    def progress(self, what: str, done: int, total: int, note: str = "") -> None:
        """Shows nothing."""


def pretrain(
    data: str | Path | Records,
    recipe: str | Path | Recipe = "lit",
    *,
    out: str | Path | None = None,
    size: str = "tiny",
    budget: str | None = None,
    seed: int | None = None,
    fields: dict[str, str] | None = None,
    overrides: list[str] | None = None,
    workers: int = 0,
    device: str = "cpu",
    watcher: Watcher | None = None,
) -> Run:
    """Trains a model on paired data and scores it beside its controls.

    Args:
        data: a data set's name, a folder, a CSV, Parquet, JSONL or COCO file, WebDataset tars,
            or what `reading.read` gave of one.
        recipe: its name, a YAML file, or a Recipe.
        out: the run's directory, new or empty; `runs/RECIPE-N` by default.
        size: `tiny`, `small` or `published`.
        budget: e.g. `2min`, `20k-samples`, `5-epochs`; the recipe's own by default.
        seed: of every draw.
        fields: field -> modality where the inferred ones are wrong.
        overrides: `optimiser.batch=128`.
        workers: processes that make batches ahead; changes no draw.
        device: `cpu`, `cuda`, `mps`.
        watcher: who is told how it goes.

    Frozen towers that the recipe names are fetched where they are not in the cache.

    Raises:
        UserError: the data, the recipe, the device or the run directory is not as expected, or a
            tower cannot be fetched. A run that could not begin leaves no files.
        Stopped: SIGTERM or SIGINT; everything is saved.
    """
    watcher = watcher or Silent()
    devices.check(device)
    if not isinstance(recipe, Recipe):
        recipe = load(recipe, size, overrides, budget=budget, seed=seed)
    began = time.monotonic()
    out = Path(out) if out is not None else _fresh(recipe.name)
    if (out / "run.json").exists():
        refuse_used(out)
    records = data if isinstance(data, Records) else reading.read(data, fields)
    _refuse_missing(recipe, records)
    for kind, path, options in members(recipe):
        member(kind, path, options)  # a wrong value is told before towers and data are read
    _fetch_towers(recipe, watcher)
    with files.claim(out):
        watcher.say("data", _data_line(records))
        run = Run.create(
            out,
            recipe,
            {
                "data": _place(records.name),
                "fields": records.fields,
                "notes": list(records.notes),
                "workers": workers,
                "environment": environment(device),
            },
        )
        run.device = device
        try:
            _train(run, records, watcher, began)
        except (DataError, RecipeError):
            if not (run.folder / "log.jsonl").exists():  # before the first step: nothing to resume
                run.withdraw()
            raise
    return _scored(run)


def resume(folder: str | Path, watcher: Watcher | None = None, device: str | None = None) -> Run:
    """Continues an interrupted run, bit for bit as if it had not stopped; a finished one is left.

    Raises:
        RunError: no run there, in use, or damaged.
        DataError: its data is not where it was.
        UserError: the device that it ran on is not here, and no other is given.
    """
    watcher = watcher or Silent()
    run = Run.open(folder)
    run.device = devices.check(device or run.info.get("environment", {}).get("device", "cpu"))
    with files.claim(run.folder):
        if (best := run.info.get("best_step")) is not None:
            watcher.say("finished", f"{run.folder} is trained already; its best step is {best:,}")
        else:
            begun = (run.folder / "splits.json").exists()
            records = run.records() if begun else reading.read(run.info["data"], run.info["fields"])
            _train(run, records, watcher, time.monotonic())
    return _scored(run)


def _scored(run: Run) -> Run:
    """Scores and indexes the finished run; what is there already is kept."""
    for split in ("validation", "test"):
        if not (run.folder / "evaluation" / f"{split}.json").exists():
            run.evaluate(split)
    run.index()
    return run


def _train(run: Run, records: Records, watcher: Watcher, began: float) -> None:
    """Decides what takes part, fits the readers, trains; each stage is skipped once it is done."""
    if not (run.folder / "splits.json").exists():
        records = within(run, records, watcher.say)
        run.remember(records)
    if "fitted" not in run.info:
        run.fit_readers(records)
        run.note(fitted=True)
    _continue(run, records, watcher, began)


def _continue(run: Run, records: Records, watcher: Watcher, began: float) -> None:
    """Prepares, then trains from the newest checkpoint or from the beginning."""
    recipe = run.recipe
    columns = _columns(run, records, watcher)
    step = run.build()
    start(step, recipe, columns, records.positions("train"))
    adam = optimiser.build(step, recipe.optimiser)
    modalities = {name: run.reader(name).modality for name in recipe.modalities}
    batches = Batches(
        records.records,
        columns,
        modalities,
        records.positions("train"),
        recipe.optimiser.batch,
        recipe.seed,
    )
    validate = validation(run, records, columns)
    if "plan" not in run.info:
        plan, why = calibrate(run, step, batches, validate, began)
        run.note(plan=vars(plan), calibration=why, samples=plan.steps * batches.size)
    plan = Plan(**run.info["plan"])
    progress = Progress()
    if any((run.folder / "checkpoints").glob("step-*")):
        progress = restore(step, adam, recipe, run.folder)
    if (log := run.folder / "log.jsonl").exists():
        _forget_after(log, progress.step)
    if progress.step:
        watcher.say("resume", f"from step {progress.step:,} of {plan.steps:,}")

    def watch(now: Progress, line: dict[str, Any]) -> None:
        if line["split"] == "train":
            name = next(iter(step.objectives))
            note = f"loss {line[name]:.2f} (no skill {line[f'{name}/no_skill']:.2f})"
            watcher.progress("train", now.step, plan.steps, note)

    with _signals() as stopping:
        progress = train(
            step,
            adam,
            lambda first, last: batches.from_step(first, last, run.info["workers"]),
            validate,
            recipe,
            plan,
            run.folder,
            progress,
            watch,
            stopping,
            run.device,
        )
    controls.train_controls(run, records, columns, plan.steps, watcher)
    run.note(
        best_step=progress.best_step,
        best_score=progress.best_score,
        order=progress.order,
        training_seconds=round(progress.seconds, 2),
    )


def _columns(run: Run, records: Records, watcher: Watcher) -> dict[str, Column]:
    columns = {}
    for name in run.recipe.modalities:
        tell = functools.partial(watcher.progress, name)
        made, bad = column(run.reader(name), records.records, run.fields[name], tell)
        if len(bad) > 0.1 * len(records):
            raise DataError(
                file=records.name,
                expected="at most 10 % of records that cannot be read",
                found=f"{len(bad)} of {len(records)}; first: {bad[0]}",
                see=f"sensorium doctor {records.name}",
            )
        if bad:
            watcher.say(
                "aside", f"{len(bad):,} of {len(records):,} cannot be read; first: {bad[0]}"
            )
        known = {str(x) for x in records.rejected}
        records.rejected += [x for x in bad if str(x) not in known]
        columns[name] = made
    run.remember(records)
    return columns


def _fetch_towers(recipe: Recipe, watcher: Watcher) -> None:
    """Puts the recipe's frozen towers into the cache where they are not; each step is told.

    Raises:
        UserError: one cannot be had; says both ways out.
    """
    for part in recipe.prepare.values():
        try:
            towers.fetch(part["use"], lambda line: watcher.say("fetch", line))
        except UserError as error:
            raise UserError(
                f"recipe {recipe.name} needs the tower {part['use']}: {error.what}",
                expected=error.expected,
                found=error.found,
                see=f"{error.see or 'sensorium cache fetch, where there is a network'}; "
                "or --recipe clip, which needs no tower",
            ) from None


def _refuse_missing(recipe: Recipe, records: Records) -> None:
    for name in recipe.modalities:
        records.field_of(name)


def _data_line(records: Records) -> str:
    fields = ", ".join(f"{name}={kind}" for name, kind in records.fields.items())
    aside = f"   {len(records.rejected)} set aside" if records.rejected else ""
    return f"{len(records):,} records  {fields}{aside}"


def _place(name: str) -> str:
    """Where to read the data again: a data set's name, or an absolute path."""
    return name if name in shelf.names("datasets") else str(Path(name).expanduser().resolve())


def _fresh(name: str) -> Path:
    number = 1
    while (place := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return place


def _forget_after(log: Path, step: int) -> None:
    """Drops log lines of what will be done again: later steps, and the evaluation of this one."""
    kept = [
        line
        for line in files.read_lines(log)
        if line["step"] < step or (line["step"] == step and line["split"] == "train")
    ]
    files.write_bytes(log, "".join(json.dumps(line) + "\n" for line in kept).encode())


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """SIGTERM and SIGINT ask to stop instead of killing; a second one kills as usual."""
    told: list[int] = []
    wanted: list[int] = [signal.SIGTERM, signal.SIGINT]
    before: dict[int, Any] = {}

    def tell(number: int, frame: Any) -> None:
        told.append(number)
        signal.signal(number, before[number])

    try:
        for number in wanted:
            before[number] = signal.signal(number, tell)
    except ValueError:  # not the main thread: signals belong to whoever runs it
        pass
    try:
        yield lambda: bool(told)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def environment(device: str) -> dict[str, Any]:
    """What may change a number: versions, machine, threads."""
    from importlib.metadata import version

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "versions": {name: version(name) for name in ("torch", "numpy", "pillow", "tokenizers")},
    }
