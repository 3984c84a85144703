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
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sensorium import checkpoint, draws, files, optimiser
from sensorium import recipe as recipes
from sensorium.building import augmented
from sensorium.comparison import measure
from sensorium.comparison import plan as plans
from sensorium.comparison.arena import LOOK, Arena
from sensorium.comparison.findings import ARMS, PLAN, RESULT
from sensorium.comparison.measure import Measure
from sensorium.comparison.outcomes import Outcome, askable, outcome
from sensorium.comparison.plan import Plan
from sensorium.controls import SHUFFLED, columns_of
from sensorium.errors import NonFinite
from sensorium.loading import Batches
from sensorium.prepare import Column
from sensorium.pretraining import environment
from sensorium.recipe import Recipe, to_yaml
from sensorium.run import Run
from sensorium.starting import start
from sensorium.step import Step, views
from sensorium.stopping import signals
from sensorium.training import Plan as Length
from sensorium.training import Progress, forget_after, restore, train

ITEMS, LOG = "items.parquet", "log.jsonl"


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
        """Of its folder: no two tasks share one, whatever arms are called."""
        own = self.control.replace(":", "_") or self.arm
        plain = re.sub(r"[^\w.+-]", "_", own)[:80]
        if plain != own:
            plain += f"-{draws.integer(own) % 16**6:06x}"
        parts = [self.stage, plain, f"seed{self.seed}"]
        if self.stage == "sweep":
            parts += [f"{key[0]}{value!r}" for key, value in sorted(self.rates.items())]
        return "-".join(parts)

    @property
    def place(self) -> Path:
        """Its run directory."""
        return Path(self.folder) / "runs" / self.name


def done(task: Task) -> dict[str, Any] | None:
    """The result of a run that is done, or None."""
    try:
        return json.loads((task.place / RESULT).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def carry_out(task: Task) -> dict[str, Any]:
    """Trains and measures one run, or goes on with it; its result.

    A run that diverges is done too: its result says at which step, and has no outcomes.

    Raises:
        UserError: the data or the recipe is not as the plan says.
        Stopped: SIGTERM or SIGINT; what was trained is saved.
    """
    if (known := done(task)) is not None:
        return known
    began = time.monotonic()
    plan, arms = _decided(task.folder)
    recipe = recipe_of(task, plan, arms)
    arena = Arena.of(plan, Path(task.folder), recipe)
    with files.claim(task.place), signals() as stopping:
        run = _opened(task, plan, recipe, arena)
        failed = ""
        if "best_step" not in run.info:
            failed = _train(task, plan, run, arena, arms[task.arm], stopping)
        found = {} if failed else _measured(task, plan, run, arena)
        _slim(run)
        return _write(task, run, found, began, failed)


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


def _opened(task: Task, plan: Plan, recipe: Recipe, arena: Arena) -> Run:
    """The run's folder, made or opened, with its data."""
    if (task.place / "run.json").exists():
        run = Run.open(task.place)
        if not (task.place / "recipe.yaml").exists():  # killed between the two
            files.write_bytes(task.place / "recipe.yaml", to_yaml(recipe).encode())
    else:
        facts = {
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
        run = Run.create(task.place, recipe, facts)
    arena.equip(run)
    return run


def _train(
    task: Task, plan: Plan, run: Run, arena: Arena, arm: dict[str, Any],
    stopping: Callable[[], bool],
) -> str:  # fmt: skip
    """Trains to the end of the budget, from the newest checkpoint or the beginning.

    The run's step is the one that is trained. An arm may have a `share` of the training records to
    learn from. Returns why it failed; empty where it did not.

    Raises:
        Stopped: it was asked to; saved.
    """
    recipe, columns, steps = run.recipe, arena.columns(run.recipe), arm["steps"]
    positions = part_of(arena, arm.get("share", 1.0), task.seed)
    if task.control == "shuffled":
        columns = columns_of(SHUFFLED, columns, arena.records, recipe.seed)
    if task.control == "untrained":
        steps = 0
    run.step = step = run.build()
    batches = batches_of(arena, recipe, run.modalities, columns, step, positions)
    resumed = any((run.folder / "checkpoints").glob("step-*"))
    if not resumed:
        start(step, recipe, columns, positions)
    adam = optimiser.build(step, recipe.optimiser)
    progress = restore(step, adam, recipe, run.folder) if resumed else Progress()
    if (log := run.folder / LOG).exists():
        forget_after(log, progress.step)
    # Only a run of the main stage has a curve: nobody asks how a tried rate came to its end.
    looks = plan.looks if task.stage == "run" else 1
    length = Length(steps, max(1, steps // looks))
    asked = _asked(task, plan.outcome, recipe)

    def looked(step: Step) -> dict[str, float]:
        # Nothing is chosen by validation: the end of the budget is what is measured and kept.
        line = {"score": float(progress.step == steps)}
        if task.stage == "run" and progress.step:
            line["samples"] = progress.step * batches.size
            line["outcome"] = outcome(run, arena, asked, LOOK).mean
        return line

    try:
        train(
            step, adam, batches.from_step, looked, recipe, length, run.folder, progress,
            stopping=stopping,
        )  # fmt: skip
    except NonFinite as error:
        return f"at step {progress.step + 1:,}: {'; '.join(error.lines)}"
    step.eval()
    run.note(
        plan=vars(length), controls={}, compares=run.compares, samples=steps * batches.size,
        best_step=progress.best_step, best_score=progress.best_score, order=progress.order,
        training_seconds=round(progress.seconds, 2),
    )  # fmt: skip
    return ""


def part_of(arena: Arena, share: float, seed: int) -> list[int]:
    """Positions of a share of the training records, at least two; a smaller share lies within a
    larger one. Each seed draws its own, so that luck of the draw is in the spread of seeds."""
    positions = arena.records.positions("train")
    keys = [arena.records[at].key for at in positions]
    count = max(2, round(share * len(keys)))
    return [positions[at] for at in draws.sample(keys, count, "share", seed)]


def batches_of(
    arena: Arena, recipe: Recipe, modalities: dict[str, Any], columns: dict[str, Column],
    step: Step, positions: list[int] | None = None,
) -> Batches:  # fmt: skip
    """The batches that an arm trains on: of the training split, or of some positions of it."""
    if positions is None:
        positions = arena.records.positions("train")
    return Batches(
        arena.records.records, columns, modalities, positions,
        recipe.optimiser.batch, recipe.seed, augmented(recipe), views(step.objectives),
        recipe.modality_dropout,
    )  # fmt: skip


def _measured(task: Task, plan: Plan, run: Run, arena: Arena) -> dict[str, Outcome]:
    """Every outcome of the plan, at the end: a sweep's on validation, all others on test.

    A control that takes a modality away is asked only what can be asked without it.
    """
    split = "validation" if task.stage == "sweep" else "test"
    asked = (plan.outcome,) if task.stage == "sweep" else (plan.outcome, *plan.also)
    found = {text: _asked(task, text, run.recipe) for text in asked}
    return {
        text: outcome(run, arena, one, split)
        for text, one in found.items()
        if not task.control.startswith("only:") or askable(run.step, one)
    }


def _asked(task: Task, text: str, recipe: Recipe) -> Measure:
    """An outcome as this run is asked it: without what its control takes away."""
    asked = measure.read(text)
    gone = _gone(task.control, recipe.model_dump())
    return replace(asked, absent=tuple({*asked.absent, *gone})) if gone else asked


def _slim(run: Run) -> None:
    """Leaves one checkpoint with the model alone: the run is over, and a comparison has many."""
    place = run.folder / "checkpoints"
    newest = checkpoint.load(place)
    if "optimiser" in newest.state or len(checkpoint.steps(place)) > 1:
        kept = {name: newest.state[name] for name in ("model", "progress")}
        checkpoint.save(place, newest.step, kept, run.recipe.hash, keep=1)


def _write(
    task: Task, run: Run, found: dict[str, Outcome], began: float, failed: str
) -> dict[str, Any]:
    told = [(x, key, value) for x, made in found.items()
            for key, value in zip(made.keys, made.values.tolist(), strict=True)]  # fmt: skip
    names, keys, values = zip(*told, strict=True) if told else ((), (), ())
    table = pa.table(
        {
            "outcome": pa.array(names, pa.string()),
            "key": pa.array(keys, pa.string()),
            "value": pa.array(values, pa.float64()),
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
        "curve": _curve(run),
        "training_seconds": run.info.get("training_seconds", 0.0),
        "seconds": round(time.monotonic() - began, 2),
        "failed": failed,
    }
    files.write_json(task.place / RESULT, result)
    return result


def _curve(run: Run) -> list[dict[str, float]]:
    """The looks at validation: samples seen, outcome."""
    return [
        {"samples": line["samples"], "outcome": line["outcome"]}
        for line in files.read_lines(run.folder / LOG)
        if "outcome" in line
    ]


def items(task: Task) -> dict[str, dict[str, float]]:
    """outcome -> record key -> value, of a run that is done."""
    told: dict[str, dict[str, float]] = {}
    table = parquet.read_table(task.place / ITEMS)
    for row in zip(*(table.column(x).to_pylist() for x in table.column_names), strict=True):
        told.setdefault(row[0], {})[row[1]] = row[2]
    return told
