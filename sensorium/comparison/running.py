"""One run of a comparison: an arm, a seed, its rates; trained, looked at, measured, kept.

A run is a run directory like any other (`sensorium report`, `search`, `predict` work on it), and
beside it stand what the comparison reads:

    runs/NAME/result.json     what was run, the outcomes, the curve, the cost
    runs/NAME/items.parquet   outcome, key, value: one row an item

`result.json` is written last: a run that has one is done and is never computed again; one without
goes on from its newest checkpoint. Nothing is chosen on the way: what is measured is the end.
"""

from __future__ import annotations

import functools
import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sensorium import files, optimiser
from sensorium import recipe as recipes
from sensorium.building import augmented
from sensorium.comparison import measure
from sensorium.comparison import plan as plans
from sensorium.comparison.arena import Arena
from sensorium.comparison.measure import Measure
from sensorium.comparison.outcomes import Outcome, outcome
from sensorium.comparison.plan import Plan
from sensorium.controls import SHUFFLED, columns_of
from sensorium.loading import Batches
from sensorium.prepare import fitted_on
from sensorium.recipe import Recipe
from sensorium.run import Run
from sensorium.starting import start
from sensorium.step import Step, views
from sensorium.training import Plan as Length
from sensorium.training import Progress, restore, train

RESULT, ITEMS, PLAN, ARMS = "result.json", "items.parquet", "plan.json", "arms.json"


@dataclass(frozen=True)
class Task:
    """One run, as it is sent to a process or a machine: plain data.

    stage: `sweep` (measured on validation alone), `run`, or `control`. control: which; see
    `refusals.CONTROLS`. rates: learning_rate, weight_decay where they are not the recipe's.
    """

    folder: str
    stage: str
    arm: str
    seed: int
    rates: dict[str, float] = field(default_factory=dict)
    control: str = ""

    @property
    def name(self) -> str:
        """Of its folder."""
        parts = [self.control or self.arm, f"seed{self.seed}"]
        if self.stage == "sweep":
            parts += [f"{key[0]}{value:g}" for key, value in sorted(self.rates.items())]
        return "-".join([self.stage, *parts]).replace(":", "_").replace("/", "_")

    @property
    def place(self) -> Path:
        """Its run directory."""
        return Path(self.folder) / "runs" / self.name


def done(task: Task) -> dict[str, Any] | None:
    """The result of a run that is done, or None."""
    file = task.place / RESULT
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def carry_out(task: Task) -> dict[str, Any]:
    """Trains and measures one run, or goes on with it; its result.

    Raises:
        UserError: the data or the recipe is not as the plan says.
        NonFinite: it diverged (a sweep's run counts as failed instead).
    """
    if (known := done(task)) is not None:
        return known
    from sensorium.errors import NonFinite

    folder = Path(task.folder)
    plan, arms = _decided(str(folder))
    began = time.monotonic()
    recipe = recipe_of(task, plan, arms)
    with files.claim(task.place):
        run = _run(task, plan, recipe)
        try:
            curve, seconds = _train(task, plan, run, arms[task.arm]["steps"])
        except NonFinite as error:
            if task.stage != "sweep":
                raise
            return _write(task, {}, [], 0.0, began, str(error))
        return _write(task, _measured(task, plan, run), curve, seconds, began)


@functools.lru_cache(maxsize=4)
def _decided(folder: str) -> tuple[Plan, dict[str, Any]]:
    """The plan and its arms, as they were written before the first run."""
    content = json.loads((Path(folder) / PLAN).read_text("utf-8"))
    arms = json.loads((Path(folder) / ARMS).read_text("utf-8"))
    return plans.Plan(**content["plan"]), arms


def recipe_of(task: Task, plan: Plan, arms: dict[str, Any]) -> Recipe:
    """The complete recipe of one run."""
    content = json.loads(json.dumps(arms[task.arm]["recipe"]))
    content["seed"] = task.seed
    content["budget"] = f"{arms[task.arm]['steps']}-steps"
    content["optimiser"] |= task.rates
    if task.control == "additive":
        content["fusion"] = {"use": "additive"}
    elif task.control.startswith("only:"):
        content["modality_dropout"] = dict.fromkeys(_gone(task.control, content), 1.0)
    return recipes.check(content)


def _gone(control: str, recipe: dict[str, Any]) -> tuple[str, ...]:
    """The modalities that a control takes away: all but one, of `only:text`."""
    kept = control.partition("only:")[2]
    return tuple(name for name in recipe["modalities"] if kept and name != kept)


def _run(task: Task, plan: Plan, recipe: Recipe) -> Run:
    """The run's folder, made or opened, with its data."""
    arena = Arena.of(plan, Path(task.folder), recipe)
    if (task.place / "run.json").exists():
        run = Run.open(task.place)
    else:
        run = Run.create(task.place, recipe, _facts(task, plan, arena))
    arena.equip(run)
    columns = _columns(run, arena)
    arena.share(run, columns)
    if "fitted" not in run.info:
        run.keep_readers([*recipe.modalities, *recipe.targets])
        run.note(fitted=True)
    return run


def _facts(task: Task, plan: Plan, arena: Arena) -> dict[str, Any]:
    from sensorium.pretraining import environment

    return {
        "data": arena.data,
        "fields": arena.records.fields,
        "notes": list(arena.records.notes),
        "workers": 0,
        "environment": environment("cpu"),
        "comparison": {
            "plan": plan.hash,
            **{k: v for k, v in asdict(task).items() if k != "folder"},
        },
    }


def _columns(run: Run, arena: Arena) -> dict[str, Any]:
    return {
        name: arena.column(run._readers[kind], where) for name, (kind, where) in run.columns.items()
    }


def _train(task: Task, plan: Plan, run: Run, steps: int) -> tuple[list[dict[str, float]], float]:
    """Trains to the end of the budget; the curve of looks, and the seconds."""
    recipe, arena = run.recipe, Arena.of(plan, Path(task.folder), run.recipe)
    columns = _columns(run, arena)
    seen = columns
    if task.control == "shuffled":
        seen = columns_of(SHUFFLED, columns, arena.records, recipe.seed)
    step = run.build()
    run._step = step
    train_split = arena.records.positions("train")
    resumed = any((run.folder / "checkpoints").glob("step-*"))
    if not resumed:
        start(step, recipe, seen, train_split)
    adam = optimiser.build(step, recipe.optimiser)
    batches = _batches(arena, recipe, run.modalities, seen, step)
    if task.control == "untrained":
        steps = 0
    progress = restore(step, adam, recipe, run.folder) if resumed else Progress()
    asked = _asked(task, plan.outcome, recipe)

    def looked(step: Step) -> dict[str, float]:
        # The last look is the best: a comparison measures the end of the budget.
        return {
            "outcome": outcome(run, arena, asked, "validation").mean,
            "score": float(progress.step),
        }

    progress = train(
        step, adam, lambda a, b: batches.from_step(a, b, 0), looked, recipe,
        Length(steps, max(1, steps // plan.looks)), run.folder, progress,
    )  # fmt: skip
    run.note(
        plan=dict(steps=steps, evaluate_every=max(1, steps // plan.looks)), controls={},
        compares=run.compares, samples=steps * batches.size, best_step=progress.best_step,
        best_score=progress.best_score, order=progress.order,
        training_seconds=round(progress.seconds, 2),
    )  # fmt: skip
    step.eval()
    lines = [json.loads(x) for x in (run.folder / "log.jsonl").read_text("utf-8").splitlines()]
    curve = {
        line["step"]: {"samples": line["step"] * batches.size, "outcome": line["outcome"]}
        for line in lines if line["split"] == "validation"
    }  # fmt: skip
    return list(curve.values()), progress.seconds


def _batches(
    arena: Arena, recipe: Recipe, modalities: dict[str, Any], columns: dict[str, Any], step: Step
) -> Batches:
    return Batches(
        arena.records.records, columns, modalities, arena.records.positions("train"),
        recipe.optimiser.batch, recipe.seed, augmented(recipe), views(step.objectives),
        recipe.modality_dropout,
    )  # fmt: skip


def batches_of(arena: Arena, recipe: Recipe, modalities: dict[str, Any]) -> Batches:
    """The batches that an arm trains on, to measure what they cost."""
    from sensorium.building import build
    from sensorium.records import field_of

    fields = {name: (name, field_of(arena.records.fields, name)) for name in modalities}
    for modality, variants in recipe.variants.items():
        for at, variant in enumerate(variants, 1):
            if variant.field is not None:
                fields[f"{modality}#{at}"] = (modality, variant.field)
    learned = {name: fitted_on(recipe, arena.records.fields, name) for name in modalities}
    columns = {
        name: arena.column(arena.reader(recipe, kind, learned[kind]), where)
        for name, (kind, where) in fields.items()
    }
    return _batches(arena, recipe, modalities, columns, build(recipe, modalities))


def _measured(task: Task, plan: Plan, run: Run) -> dict[str, Outcome]:
    """Every outcome of the plan, at the end: a sweep's on validation, all others on test."""
    arena = Arena.of(plan, Path(task.folder), run.recipe)
    split = "validation" if task.stage == "sweep" else "test"
    asked = (plan.outcome,) if task.stage == "sweep" else (plan.outcome, *plan.also)
    return {
        text: outcome(run, arena, _asked(task, text, run.recipe), split)
        for text in asked
        if not task.control.startswith("only:") or measure.read(text).kind in measure.ABSENCE
    }


def _asked(task: Task, text: str, recipe: Recipe) -> Measure:
    """An outcome as this run is asked it: without what its control takes away."""
    asked = measure.read(text)
    gone = _gone(task.control, recipe.model_dump())
    return replace(asked, absent=tuple({*asked.absent, *gone})) if gone else asked


def _write(
    task: Task, found: dict[str, Outcome], curve: list[dict[str, float]], seconds: float,
    began: float, failed: str = "",
) -> dict[str, Any]:  # fmt: skip
    table = pa.table(
        {
            "outcome": pa.array([x for x, made in found.items() for _ in made.keys], pa.string()),
            "key": pa.array([key for made in found.values() for key in made.keys], pa.string()),
            "value": pa.array(
                [float(x) for made in found.values() for x in made.values], pa.float64()
            ),
        }
    )
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    files.write_bytes(task.place / ITEMS, sink.getvalue().to_pybytes())
    result = {
        **{key: value for key, value in asdict(task).items() if key != "folder"},
        "name": task.name,
        "outcomes": {
            text: {"mean": made.mean, "items": len(made.values), "how": made.how}
            for text, made in found.items()
        },
        "curve": curve,
        "training_seconds": round(seconds, 2),
        "seconds": round(time.monotonic() - began, 2),
        "failed": failed,
    }
    files.write_json(task.place / RESULT, result)
    return result


def items(task: Task) -> dict[str, dict[str, float]]:
    """outcome -> record key -> value, of a run that is done."""
    told: dict[str, dict[str, float]] = {}
    table = parquet.read_table(task.place / ITEMS)
    for row in zip(*(table.column(x).to_pylist() for x in table.column_names), strict=True):
        told.setdefault(row[0], {})[row[1]] = row[2]
    return told
