"""`pretrain`: read, prepare, build, calibrate, train, evaluate. `resume`: go on from there."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from sensorium import (
    controls,
    devices,
    draws,
    files,
    integrity,
    optimiser,
    reading,
    taking,
    towers,
    towers_imported,
)
from sensorium.budgeting import EVALUATIONS, calibrate, within
from sensorium.building import augmented, build
from sensorium.errors import DataError, RecipeError, RunError, Stopped, UserError, command
from sensorium.finetuning import forgetting, inheriting, splitting
from sensorium.finetuning.tuning import UNUSED
from sensorium.integrity import read_json
from sensorium.loading import Batches
from sensorium.prepare import Column, column
from sensorium.recipe import Recipe, load, member, members
from sensorium.records import Records
from sensorium.run import Run, refuse_used
from sensorium.starting import start
from sensorium.step import Step, views
from sensorium.stopping import signals
from sensorium.tokens import Batch
from sensorium.training import Plan, Progress, forget_after, restore, train
from sensorium.validation import validation

UNTRAINED = -1e29  # score of a head as drawn: less than any other, more than none


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
    tower: str | Sequence[str] = (),
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
        size: `micro`, `tiny`, `small` or `published`.
        budget: e.g. `2min`, `20k-samples`, `5-epochs`; the recipe's own by default.
        seed: of every draw.
        fields: field -> modality where the inferred ones are wrong.
        overrides: `optimiser.batch=128`.
        tower: `image=SOURCE`, `text=SOURCE`, or a SOURCE for all that it has: a folder of
            transformers' or `hf:NAME`, whose tower takes the place of the recipe's frozen one.
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
    asked = taking.wishes(recipe, [tower] if isinstance(tower, str) else tower)
    began = time.monotonic()
    out = Path(out) if out is not None else fresh(recipe.name)
    refuse_used(out)
    needed = (*recipe.modalities, *recipe.targets)
    records = data if isinstance(data, Records) else reading.read(data, fields, train=needed)
    reading.refuse_missing(recipe, records)
    recipe = taking.taken(recipe, asked, lambda line: watcher.say("import", line))
    for kind, path, options in members(recipe):
        member(kind, path, options)  # a wrong value is told before towers and data are read
    _fetch_towers(recipe, watcher)
    return carry_out(out, recipe, records, watcher, began, workers, device)


def carry_out(
    out: Path,
    recipe: Recipe,
    records: Records,
    watcher: Watcher,
    began: float,
    workers: int = 0,
    device: str = "cpu",
    facts: dict[str, Any] | None = None,
) -> Run:
    """Makes a run of a checked recipe over data that was read: trains, scores, indexes.

    Args:
        facts: what else its run.json holds from the beginning.

    Raises:
        UserError, Stopped: as `pretrain`.
    """
    with files.claim(out):
        watcher.say("data", _data_line(records))
        run = Run.create(
            out,
            recipe,
            {
                "data": splitting.place_of(records.name),
                "fields": records.fields,
                "notes": list(records.notes),
                "workers": workers,
                "environment": environment(device),
                **(facts or {}),
            },
        )
        run.device = device
        with signals() as stopping:
            try:
                _train(run, records, watcher, began, stopping)
            except (DataError, RecipeError, RunError):
                if not (run.folder / "log.jsonl").exists():  # before any step: nothing to resume
                    run.withdraw()
                raise
            return _scored(run, stopping)


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
    with files.claim(run.folder), signals() as stopping:
        if (best := run.info.get("best_step")) is None and "comparison" in run.info:
            raise RunError(file=run.folder, expected="a run of its own",
                           found="one of a comparison that has not ended; compare goes on with it",
                           )  # fmt: skip
        if best is not None:
            watcher.say("finished", f"{run.folder} is trained already; its best step is {best:,}")
        else:
            if (run.folder / "splits.json").exists():
                records = run.records()
                _refuse_gone(run)
            else:
                needed = (*run.recipe.modalities, *run.recipe.targets)
                records = reading.read(run.info["data"], run.info["fields"], train=needed)
                if run.recipe.tune is not None:
                    inheriting.adopt(run)
                    records = splitting.as_before(inheriting.source_of(run), records)
            _train(run, records, watcher, time.monotonic(), stopping)
        return _scored(run, stopping)


def _refuse_gone(run: Run) -> None:
    if run.missing:
        raise DataError(
            file=run.info["data"], record=run.missing[0],
            expected="the records that the run began with",
            found=f"{len(run.missing):,} of them gone",
            see="put them back, or begin anew with sensorium pretrain",
        )  # fmt: skip


def _stop_here(run: Run, stopping: Callable[[], bool], what: str) -> None:
    if stopping():
        raise Stopped(f"stopped {what}; saved", see=command("resume", run.folder))


def _scored(run: Run, stopping: Callable[[], bool]) -> Run:
    """Scores and indexes the finished run; what is there already is kept."""
    for split in ("validation", "test"):
        _stop_here(run, stopping, "after training, before the scores")
        if not (run.folder / "evaluation" / f"{split}.json").exists():
            run.evaluate(split)
    if run.recipe.tune is not None:
        _stop_here(run, stopping, "after the scores, before those of the source")
        forgetting.compare(run)
    if not run.compares:
        return run
    _stop_here(run, stopping, "after the scores, before the index")
    # A time budget that left records out does not buy their indexing: `sensorium index` does.
    taken = {record.key for record in run.records()} if "subset" in run.info else None
    run.index(only=taken)
    return run


def _train(
    run: Run, records: Records, watcher: Watcher, began: float, stopping: Callable[[], bool]
) -> None:
    """Decides what takes part, prepares, trains run and controls; what is done is not redone."""
    if run.recipe.tune is not None:  # first, for a reader is opened once, with what it has then
        inheriting.adopt(run)
    if not (run.folder / "splits.json").exists():
        records = within(run, records, watcher.say)
        run.remember(records)
    if "fitted" not in run.info:
        run.fit_readers(records)
        told = [about.told() for about in run.modalities.values() if hasattr(about, "told")]
        for line in told:  # what a table's columns were taken as
            watcher.say("note", line)
        run.note(
            fitted=True,
            notes=[*run.info.get("notes", []), *told],
            sha256=integrity.hashes(run.folder, "modalities", "source"),
        )
    columns = _columns(run, records, watcher, stopping)
    own = _fit(run, records, columns, "", began, watcher, stopping)
    if run.recipe.tune is not None:
        inheriting.keep(run, own.best_step)
        if own.best_step == 0:
            watcher.say("note", UNUSED)
            if UNUSED not in run.info["notes"]:
                run.note(notes=[*run.info["notes"], UNUSED])
    kept = {}
    for name in controls.names(run.recipe):
        progress = _fit(run, records, columns, name, began, watcher, stopping)
        recipe = controls.recipe_of(name, run.recipe)
        kept[name] = {"best_step": progress.best_step, "recipe": recipe.model_dump(mode="json")}
    size = min(run.recipe.optimiser.batch, len(records.positions("train")))
    run.note(
        controls=kept,
        compares=run.compares,
        samples=own.step * size,  # fewer than planned where patience ended it
        best_step=own.best_step,
        best_score=own.best_score,
        order=own.order,
        training_seconds=round(own.seconds, 2),
    )


def _fit(
    run: Run,
    records: Records,
    columns: dict[str, Column],
    control: str,
    began: float,
    watcher: Watcher,
    stopping: Callable[[], bool],
) -> Progress:
    """Trains the run ("") or one of its controls, from its newest checkpoint or the beginning."""
    recipe, folder, train_split = run.recipe, run.folder, records.positions("train")
    modalities = run.modalities
    step = run.build()
    if control:
        recipe, folder = controls.recipe_of(control, recipe), controls.folder(run, control)
        folder.mkdir(parents=True, exist_ok=True)
        step = build(recipe, modalities).to(run.device)
    seen = controls.columns_of(control, columns, records, recipe.seed)
    resumed = any((folder / "checkpoints").glob("step-*"))
    untrained = False
    if recipe.tune is not None:
        untrained = inheriting.begin(run, step, watcher.say).untrained
    elif not resumed:
        start(step, recipe, seen, train_split)
    adam = optimiser.build(step, recipe.optimiser)
    size, seed = recipe.optimiser.batch, recipe.seed
    batches = Batches(
        records.records,
        seen,
        modalities,
        train_split,
        size,
        seed,
        augmented(recipe),
        views(step.objectives),
        recipe.modality_dropout,
    )
    validate = validation(run, records, columns, recipe, step)
    if not control and "plan" not in run.info:
        plan, why = calibrate(run, step, batches, validate, began)
        run.note(plan=vars(plan), calibration=why, samples=plan.steps * batches.size)
    plan = Plan(**run.info["plan"])
    if control:
        steps = controls.steps_of(control, recipe, plan.steps, len(train_split))
        plan = Plan(steps, max(1, steps // EVALUATIONS))
    progress = Progress()
    if resumed:
        progress = restore(step, adam, recipe, folder, watcher.say)
    if (log := folder / "log.jsonl").exists():
        forget_after(log, progress.step)
    if progress.step and not control:
        watcher.say("resume", f"from step {progress.step:,} of {plan.steps:,}")

    def looked(step: Step) -> dict[str, float]:
        line = validate(step)
        # A head as drawn knows nothing, so it is never the best, even where tuning made it worse.
        return line | {"score": UNTRAINED} if untrained and not progress.step else line

    def watch(now: Progress, line: dict[str, Any]) -> None:
        if line["split"] == "train":
            name = next(iter(step.objectives))
            note = f"loss {line[name]:.2f} (no skill {line[f'{name}/no_skill']:.2f})"
            if control:
                note = control.replace("_", " ")
            watcher.progress("control" if control else "train", now.step, plan.steps, note)

    def coming(first: int, last: int) -> Iterator[Batch]:
        return batches.from_step(first, last, run.info["workers"])

    return train(
        step, adam, coming, looked, recipe, plan, folder, progress, watch, stopping, run.device
    )


def _columns(
    run: Run, records: Records, watcher: Watcher, stopping: Callable[[], bool]
) -> dict[str, Column]:
    """Every modality prepared; the same contents as when the run began."""
    columns = {}
    for name, (kind, field) in run.columns.items():

        def tell(done: int, total: int, name: str = name) -> None:
            watcher.progress(name, done, total)
            _stop_here(run, stopping, "while reading; what was read is kept, the rest is not")

        made, bad = column(run.reader(kind), records.records, field, tell)
        if len(bad) > 0.1 * len(records):
            raise DataError(
                file=records.name,
                expected="at most 10 % of records that cannot be read",
                found=f"{len(bad)} of {len(records)}; first: {bad[0]}",
                see=command("doctor", records.name),
            )
        if bad:
            watcher.say(
                "aside", f"{len(bad):,} of {len(records):,} cannot be read; first: {bad[0]}"
            )
        known = {str(x) for x in records.rejected}
        records.rejected += [x for x in bad if str(x) not in known]
        columns[name] = made
    run.remember(records)
    _same_contents(run, records, columns)
    return columns


def _same_contents(run: Run, records: Records, columns: dict[str, Column]) -> None:
    """Stores what each record holds; where that is stored already, refuses another content.

    Raises:
        DataError: a record changed since the run began; names the first.
    """
    now = contents_of(records, columns)
    file = run.folder / "contents.json"
    if not file.exists():
        files.write_json(file, now)
        return
    before = read_json(file, "record keys with the hash of their contents")
    for record in records:
        if before.get(record.key) != now[record.key]:
            raise DataError(
                file=record.source.file,
                row=record.source.row,
                record=record.key,
                expected="the contents that the run began with",
                found="others",
                see="put them back, or begin anew with sensorium pretrain",
            )


def contents_of(records: Records, columns: dict[str, Column]) -> dict[str, str]:
    """Record key -> hash of what the record holds, as some columns read it; hexadecimal."""
    told = {}
    for at, record in enumerate(records):
        items = [column.identity[column.index[at]].tolist() for column in columns.values()]
        told[record.key] = f"{draws.integer(json.dumps(items)):016x}"
    return told


def _fetch_towers(recipe: Recipe, watcher: Watcher) -> None:
    """Puts the recipe's frozen towers into the cache where they are not; each step is told.

    Raises:
        UserError: one cannot be had; says both ways out.
    """
    for part in recipe.prepare.values():
        if part["use"] == towers_imported.USE:
            towers_imported.weight_hash(part)
            continue
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


def _data_line(records: Records) -> str:
    fields = ", ".join(f"{name}={kind}" for name, kind in records.fields.items())
    aside = f"   {len(records.rejected)} set aside" if records.rejected else ""
    return f"{len(records):,} records  {fields}{aside}"


def fresh(name: str) -> Path:
    """runs/NAME-1, or the first of these that is not there yet."""
    number = 1
    while (place := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return place


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
