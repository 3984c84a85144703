"""A run in a few lines: what was asked, on which data, how long, what came of it, what is next.

Reads the run's JSON alone: neither torch nor the data is needed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium import integrity, shelf
from sensorium.errors import UserError, command
from sensorium.records import SPLITS
from sensorium.report.collecting import uses
from sensorium.report.words import direction_words, duration, figure, idle, label
from sensorium.terminal import RAIL, WIDTH, plain, rail, search_command

if TYPE_CHECKING:
    from sensorium.run import Run

DIGITS = 12  # of a hash, for people


def opened(name: str, size: str | None, overrides: list[str] | None) -> Run | None:
    """The run that a name means, or None where it means a recipe: one of the shelf, or YAML.

    Raises:
        UserError: no run there; a size or changes, which a run has had already.
    """
    if name in shelf.names("recipes") or name.endswith((".yaml", ".yml")):
        return None
    if not Path(name).exists() and len(Path(name).parts) == 1:
        return None  # a misspelt recipe, rather
    from sensorium.run import Run

    run = Run.open(name)
    if size is not None or overrides:
        raise UserError(
            f"{name} is a run",
            expected="its folder alone: size and options are those that it was trained with",
            found=overrides[0] if overrides else f"--size {size}",
            see=command("show", name),
        )
    return run


def summary(run: Run) -> dict[str, Any]:
    """What is known of a run, as plain data.

    Returns:
        {run, recipe, hash, size, seed, tuned (None, or {run, method}), data, fields, records
        (split -> count), created, sensorium, budget, steps (planned, None before), samples,
        training_seconds, best_step (None: unfinished), best_score, split (of the scores), scores,
        commands}. `scores` holds the first metric of each task and direction: {task, direction,
        metric, better, value, interval, asked, luck: {name, value} or None}; `commands` are
        {what, command}.

    Raises:
        RunError: a file of the run is damaged.
    """
    info, recipe = run.info, run.recipe
    split, scores = _scores(run)
    tune = recipe.tune
    return {
        "run": str(run.folder),
        "recipe": recipe.name,
        "hash": recipe.hash,
        "size": recipe.size,
        "seed": recipe.seed,
        "tuned": None if tune is None else {"run": tune.run, "method": tune.method},
        "data": None if "without_data" in info else info["data"],
        "fields": info["fields"],
        "records": _records(run),
        "created": info.get("created"),
        "sensorium": info.get("sensorium"),
        "budget": recipe.budget,
        "steps": info.get("plan", {}).get("steps"),
        "samples": info.get("samples"),
        "training_seconds": info.get("training_seconds"),
        "best_step": info.get("best_step"),
        "best_score": info.get("best_score"),
        "split": split,
        "scores": [_headline(score) for score in scores],
        "commands": _commands(run, scores),
    }


def summary_lines(told: dict[str, Any]) -> Iterator[str]:
    """The same for people: a rail of words, at most 100 columns, commands unbroken."""
    yield rail("run", told["run"], "bold")
    named = f"{told['recipe']}  {told['hash'][:DIGITS]}  size {told['size']}  seed {told['seed']}"
    yield rail("recipe", named)
    if tuned := told["tuned"]:
        yield rail("tuned", f"{tuned['method']}, from {tuned['run']}")
    yield rail("data", told["data"] or "none: the model was imported")
    if counts := told["records"]:
        parts = ", ".join(f"{count:,} {split}" for split, count in counts.items())
        yield rail("", f"{sum(counts.values()):,} records: {parts}")
    if told["data"]:
        yield rail("", ", ".join(f"{name}={kind}" for name, kind in told["fields"].items()))
    yield rail("begun", f"{told['created']}, sensorium {told['sensorium']}")
    yield rail("budget", _spent(told))
    yield rail("best", _best(told))
    for at, score in enumerate(told["scores"]):
        yield from _score_lines("" if at else "scores", score, told["split"])
    if not told["scores"]:
        yield rail("scores", "none yet")
    for at, one in enumerate(told["commands"]):
        yield rail("" if at else "try", one["what"], "dim")
        yield from (rail("", line) for line in one["command"].splitlines())


def _records(run: Run) -> dict[str, int]:
    """Split -> how many records; nothing where none were drawn yet."""
    file = run.folder / "splits.json"
    if not file.exists() and "best_step" not in run.info:
        return {}
    found = list(integrity.read_json(file, "record keys with their splits").values())
    return {split: found.count(split) for split in SPLITS} if found else {}


def _scores(run: Run) -> tuple[str | None, list[dict[str, Any]]]:
    """The first metric of each task and direction, of the test split, else of validation."""
    for split in ("test", "validation"):
        if (run.folder / "evaluation" / f"{split}.json").exists():
            first: dict[tuple[str, str], dict[str, Any]] = {}
            for score in run.scores(split):
                first.setdefault((score["task"], score["direction"]), score)
            return split, list(first.values())
    return None, []


def _headline(score: dict[str, Any]) -> dict[str, Any]:
    """A score and the strongest control that knows nothing of the single record."""
    taken = ("task", "direction", "metric", "better", "value", "interval")
    name = idle(score)
    luck = None if name is None else {"name": name, "value": score["controls"][name]["value"]}
    asked = direction_words(score["direction"], score["protocol"])
    return {key: score.get(key) for key in taken} | {"asked": asked, "luck": luck}


def _commands(run: Run, scores: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What can be done with the run now: what for, and the command."""
    if "best_step" not in run.info:
        what = "Go on from the newest checkpoint"
        return [{"what": what, "command": command("resume", run.folder)}]
    told = []
    if not scores and "without_data" not in run.info:
        told.append(("Score it", command("evaluate", run.folder)))
    find = None
    if run.info.get("compares"):
        find = search_command(run.folder, "a red boat")
        if not (run.folder / "index").is_dir():
            find = f"{command('index', run.folder)}\n{find}"
    told += uses(run, {score["task"] for score in scores}, find)
    if "without_data" not in run.info:
        told.append(("Read its report", command("report", run.folder)))
    return [{"what": what, "command": line} for what, line in told]


def _spent(told: dict[str, Any]) -> str:
    parts = [told["budget"]]
    if told["steps"] is not None:
        parts.append(f"{told['steps']:,} steps planned")
    if told["samples"] is not None:
        parts.append(f"{told['samples']:,} records seen")
    if told["training_seconds"] is not None:
        parts.append(f"trained in {duration(told['training_seconds'])}")
    return "  ".join(parts)


def _best(told: dict[str, Any]) -> str:
    if told["best_step"] is None:
        return "not finished"
    score = told["best_score"]
    chosen = "" if score is None else f", {score:.3f} on validation"
    return f"step {told['best_step']:,}{chosen}"


def _score_lines(word: str, score: dict[str, Any], split: str) -> Iterator[str]:
    """A headline: what was asked, the value and its interval, and what no skill gives."""
    metric = score["metric"]
    text = figure(metric, score["value"])
    if isinstance(score["interval"], list):
        low, high = (figure(metric, value) for value in score["interval"])
        text += f" (95 % {low} to {high})"
    if luck := score["luck"]:
        text += f", {label(luck['name'])} {figure(metric, luck['value'])}"
    if score["better"] == "lower":
        text += "; less is better"
    lines = textwrap.wrap(plain(f"{split}: {metric}, {score['asked']} {text}"), WIDTH - RAIL)
    yield from (rail("" if at else word, line, "bold") for at, line in enumerate(lines))
