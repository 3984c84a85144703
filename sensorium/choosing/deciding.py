"""The budget is divided, and all that will be run and judged is written down before the first run.

One budget pays for reading, measuring, every run and what is around it. Every recipe gets the same
seconds a run; one that is done earlier (`most_epochs`) leaves what is left to the others. What a
step takes, and what a run takes beside its steps, is measured on this machine first. Loads no
torch.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sensorium import files
from sensorium.choosing.candidates import Candidate, Subject
from sensorium.errors import RunError, UserError
from sensorium.report.words import duration

CHOICE = "choice.json"
VERSION = 1  # of how a choice is made and judged
SHARES = (0.125, 0.25, 0.5)  # of the training records; all of them are run anyway
MARGIN, ALPHA = 0.02, 0.05
LEAST = 20  # steps that a run must have
SPARE = 0.85  # of the budget that is planned with; machines are shared
STARTS = 4.0  # seconds until processes have begun
QUICK = (1.0, 0.5)  # seconds around a run and of training, where nothing was measured: the least
STAGES = 2  # the recipes; then the best one on parts of the records and on shuffled partners
RULES = (
    "The best recipe is the one with the highest mean over seeds on validation; all that is judged "
    "is measured on test.",
    "It is compared with every other recipe, with luck and with itself trained on shuffled "
    "partners; seeds and records are paired; p values of all pairs of all questions are one family "
    "(Holm).",
    "Synergistic: the joint recipe that can interact is better than the additive one and than "
    "every modality alone.",
    "Redundant: both joint recipes are no different from some modality alone, and all modalities "
    "alone are beyond luck.",
    "Would more records help: a power law of the error with a floor, fitted at 1/8, 1/4, 1/2 and "
    "all of the training records; the interval is of the gain from twice as many.",
)


@dataclass(frozen=True)
class Pace:
    """What a recipe takes on this machine.

    step: seconds of a step. around: seconds of a run beside its steps. most: steps after which its
    recipe says that it is done, or None. first: seconds more that a run takes around its steps in a
    process that has just begun.
    """

    step: float
    around: float
    most: int | None = None
    first: float = 0.0

    def trains(self, seconds: float) -> float:
        """Seconds that a run trains when it may take so many."""
        return seconds if self.most is None else min(seconds, self.most * self.step)

    def steps(self, seconds: float) -> int:
        """Steps that so many seconds buy, at least one."""
        bought = max(1, math.floor(seconds / self.step))
        return bought if self.most is None else min(bought, self.most)


def wall(seconds: float, paces: Sequence[Pace], seeds: int, workers: int) -> float:
    """Seconds of wall clock that all runs take at most, when each may train so many seconds.

    Which recipe will be the best is not known: the longest is supposed. Runs are handed out one by
    one, so a stage takes at most its work over the workers, and the rest of its last run.
    """
    each = [pace.around + pace.trains(seconds) for pace in paces]
    longest, starts = max(each), STARTS + max(pace.first for pace in paces)
    work = seeds * (sum(each) + (len(SHARES) + 1) * longest)
    return work / workers + STAGES * (starts + longest * (1 - 1 / workers))


def seconds_each(left: float, paces: Sequence[Pace], seeds: int, workers: int) -> float | None:
    """The most seconds a run may train so that all fit in `left` seconds; None where nothing does.

    Every run must have `LEAST` steps, or be done before.
    """
    low, high = least_each(paces), max(left, 0.0)
    if wall(low, paces, seeds, workers) > left:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if wall(middle, paces, seeds, workers) <= left else (low, middle)
    return low


def least_each(paces: Sequence[Pace]) -> float:
    """Seconds with which every recipe takes `LEAST` steps, or all that it wants."""
    return max(pace.step * min(LEAST, pace.most or LEAST) for pace in paces)


def runs_of(recipes: int, seeds: int) -> int:
    """How many runs a choice among so many recipes takes."""
    return seeds * (recipes + len(SHARES) + 1)


def refuse_small(budget: float, recipes: int, seeds: int, workers: int) -> None:
    """Refuses, before anything is loaded, a budget that no machine can do with.

    Raises:
        UserError: names the least.
    """
    around, trains = QUICK
    paces = [Pace(trains / LEAST, around)] * recipes
    least = wall(trains, paces, seeds, workers) / SPARE
    if budget < least:
        raise too_small(budget, least, recipes, seeds)


def too_small(budget: float, least: float, recipes: int, seeds: int) -> UserError:
    """The error of a budget that is too small."""
    return UserError(
        "--budget",
        expected=f"at least about {duration(math.ceil(least / 10) * 10)} for "
        f"{runs_of(recipes, seeds)} runs: {recipes} recipes, the best also on parts of the data, "
        f"{seeds} seeds each",
        found=duration(budget),
    )


@dataclass(frozen=True)
class Request:
    """What was asked for, as it must be again to go on in the same folder."""

    data: str
    fields: dict[str, str] | None
    label: str | None
    budget: float
    seeds: int


def share_name(name: str, share: float) -> str:
    """The arm that is a recipe on a share of the training records."""
    return f"{name} on 1/{round(1 / share)}"


def steps_on(recipe: Any, records: int, share: float) -> int | None:
    """Steps after which a recipe is done with a share of the records, or None."""
    if recipe.most_epochs is None:
        return None
    held = max(2, round(share * records))
    return max(1, round(recipe.most_epochs * held / min(recipe.optimiser.batch, held)))


def decided(
    request: Request, subject: Subject, candidates: Sequence[Candidate], paces: Mapping[str, Pace],
    each: float, notes: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """All that is decided before the first run, as plain data; `hash` is of the rest.

    `arms` holds every recipe on all records, then each on every share of them; of the latter only
    those of the best are run.
    """
    arms: dict[str, Any] = {}
    for one in candidates:
        for share in (1.0, *SHARES):
            pace = Pace(paces[one.name].step, 0, steps_on(one.recipe, subject.train, share))
            name = one.name if share == 1 else share_name(one.name, share)
            arms[name] = {"recipe": one.recipe.model_dump(mode="json"), "share": share,
                          "steps": pace.steps(each)}  # fmt: skip
    content: dict[str, Any] = {
        "version": VERSION,
        "request": asdict(request),
        "subject": asdict(subject),
        "outcome": subject.outcome,
        "candidates": [one.name for one in candidates],
        "seeds": list(range(request.seeds)),
        "seconds_each": each,
        "paces": {name: asdict(pace) for name, pace in paces.items()},
        "shares": list(SHARES),
        "margin": MARGIN,
        "alpha": ALPHA,
        "rules": list(RULES),
        "notes": list(notes),
        "arms": arms,
    }
    text = json.dumps(content, sort_keys=True)
    return {"hash": hashlib.sha256(text.encode()).hexdigest(), **content}


def known(folder: Path, request: Request) -> dict[str, Any] | None:
    """The decision that is in a folder, or None where the folder is new.

    Raises:
        RunError: something else is there, it is another request's, or it was changed.
    """
    file = folder / CHOICE
    if not file.exists():
        strange = [x.name for x in folder.iterdir()] if folder.is_dir() else []
        strange = [x for x in strange if not x.startswith(".") and x != "measuring"]
        if strange:
            raise RunError(file=folder, expected="a new or empty folder", found=strange[0])
        return None
    try:
        content = json.loads(file.read_text("utf-8"))
        body = {key: value for key, value in content.items() if key != "hash"}
        text = json.dumps(body, sort_keys=True)
        intact = hashlib.sha256(text.encode()).hexdigest() == content.get("hash")
    except (ValueError, AttributeError):
        intact, body = False, {}
    if not intact:
        raise RunError(file=file, expected="the choice as it was decided",
                       found="another content", see="--out with a new folder")  # fmt: skip
    now = json.loads(json.dumps(asdict(request)))
    for key, value in body["request"].items():
        if now[key] != value:
            raise RunError(file=file, field=key, expected=f"what was begun here, {value}",
                           found=str(now[key]), see="--out with a new folder")  # fmt: skip
    return content


def write(folder: Path, content: dict[str, Any]) -> None:
    """Writes the decision."""
    files.write_json(folder / CHOICE, content)
