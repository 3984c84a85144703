"""A small world and small recipes over it, and runs of them with their initial weights."""

from __future__ import annotations

from pathlib import Path

from sensorium import recipe as recipes
from sensorium.comparison import pool
from sensorium.comparison.arena import Arena
from sensorium.comparison.plan import Plan, checked
from sensorium.recipe import Recipe
from sensorium.run import Run

# Dropout and a teacher would only make it slower; the fields are those of the world.
SMALL = {
    "encoders.image.width": 16, "encoders.image.depth": 1, "encoders.image.heads": 1,
    "encoders.text.width": 16, "encoders.text.depth": 1, "encoders.text.heads": 1,
    "space": 16, "optimiser.batch": 16,
}  # fmt: skip
FUSED = {"fusion.depth": 1, "fusion.heads": 1}
LABELLED = {
    "targets": {"label": {"use": "label"}},
    "objectives": [{"use": "matching"}, {"use": "classification"}],
}
# A recipe of the shelf -> what makes it small.
SETS = {
    "clip": SMALL,
    "gpt": {key: value for key, value in SMALL.items() if "text" in key or "batch" in key},
    "albef": {**SMALL, **FUSED, "teacher": None, "objectives": ["contrastive", "matching"]},
    "simvlm": {**SMALL, **FUSED, "encoders.image.depth": 0, "encoders.text.depth": 0},
    "visualbert": {**SMALL, **FUSED, "encoders.image.depth": 0, "encoders.text.depth": 0},
}


def plan(data: object, **others) -> Plan:
    """Two arms that differ in the temperature of a small CLIP; six steps; small enough for a test.

    Args:
        others: fields of the plan instead of those.
    """
    content = {
        "question": "does the temperature matter?",
        "data": data if isinstance(data, dict) else str(data),
        "recipe": "clip",
        "set": SETS["clip"],
        "axis": "objectives.0.temperature",
        "arms": {"cold": 0.05, "warm": 0.2},
        "seeds": [11, 12],
        "budget": "6-steps",
        "looks": 3,
        "outcome": "choice:caption_colours",
    }
    return checked(content | others)


def recipe(name: str, **more) -> Recipe:
    """A small recipe of the shelf."""
    content = recipes.load(name, "micro").model_dump(mode="json", exclude_defaults=True)
    content["size"] = "micro"
    for path, value in SETS[name].items():
        *owners, last = path.split(".")
        place = content
        for key in owners:
            place = place[key]
        place[last] = [{"use": x} for x in value] if path == "objectives" else value
    return recipes.check(content | more)


def bare(plan: Plan, recipe: Recipe, folder: Path, seed: int = 0) -> tuple[Run, Arena]:
    """A run with the weights that its seed draws, and the arena that it is asked in."""
    recipe = recipe.model_copy(update={"seed": seed})
    arena = Arena.of(plan, folder, recipe)
    facts = {"data": arena.data, "fields": arena.records.fields, "notes": []}
    run = Run.create(folder / "runs" / f"{recipe.name}-{seed}", recipe, facts)
    arena.equip(run)
    run.step = run.build().eval()
    return run, arena


def in_turn(tasks, workers, stopping):
    """An executor: one run after the other, in this process."""
    for task in tasks:
        yield task, pool.told(task)


def comparable(folder: Path) -> dict[str, bytes]:
    """The files that must be the same to the byte whenever a plan is conducted."""
    names = ["runs.parquet", "result.json"]
    names += sorted(x.relative_to(folder).as_posix() for x in folder.glob("runs/*/items.parquet"))
    return {name: (folder / name).read_bytes() for name in names}


__all__ = ["LABELLED", "SETS", "bare", "comparable", "in_turn", "plan", "recipe"]
