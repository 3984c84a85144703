"""A comparison as it lies in its folder: plan, arms, runs, verdicts. Reading one loads no torch.

What is told of a comparison (terminal, page, card) is told from here, so all tell the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import ArrowException, parquet
from pydantic import ValidationError

from sensorium.comparison import statistics
from sensorium.comparison.plan import ANALYSIS, Plan
from sensorium.comparison.statistics import Spread
from sensorium.errors import RunError, command

PLAN, ARMS, RESULT, RUNS = "plan.json", "arms.json", "result.json", "runs.parquet"
REPORT, CARD = "report.html", "verdict.svg"


@dataclass(frozen=True)
class Findings:
    """A finished comparison.

    arms: name -> complete recipe, steps, cost. result: what was found; see `conduct`.
    rows: one a run and outcome; see `table.rows`.
    """

    folder: Path
    plan: Plan
    arms: dict[str, Any]
    result: dict[str, Any]
    rows: tuple[dict[str, Any], ...]

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """One a pair: every later arm against the first, in the plan's order."""
        return list(self.result["verdicts"])

    @property
    def chance(self) -> float | None:
        """The outcome without skill, or None where nobody knows it."""
        return self.result.get("floor", {}).get("chance", self.plan.measure.chance)

    @property
    def best(self) -> float | None:
        """The best possible outcome where it is less than all, else None."""
        best = self.result.get("floor", {}).get("best")
        return best if best is not None and best < 1 else None

    @property
    def costs(self) -> dict[str, dict[str, float]]:
        """arm -> unit -> what one run costs; seconds as they were measured before the first one."""
        return {arm: self.arms[arm]["run"] for arm in self.plan.names}

    def runs(self, arm: str, outcome: str | None = None) -> list[dict[str, Any]]:
        """Rows of an arm's runs, seed by seed; of the judged outcome unless another is named."""
        wanted = outcome or self.plan.outcome
        by_seed = {
            row["seed"]: row
            for row in self.rows
            if (row["stage"], row["arm"], row["outcome"]) == ("run", arm, wanted)
        }
        return [by_seed[seed] for seed in self.plan.seeds if seed in by_seed]

    def mean(self, arm: str, outcome: str | None = None) -> float:
        """The outcome of an arm at the end of its budget, mean over seeds."""
        return float(np.mean([row["value"] for row in self.runs(arm, outcome)]))

    def interval(self, arm: str) -> tuple[float, float] | None:
        """Of an arm by itself, over seeds and items; None where samples are judged."""
        for verdict in self.verdicts:
            for told in verdict["arms"]:
                if told["name"] == arm and None not in told["interval"]:
                    low, high = told["interval"]
                    return low, high
        return None

    def reached(self, arm: str) -> int | None:
        """Runs of an arm that reached the threshold; None where none is judged."""
        told = [x for verdict in self.verdicts for x in verdict["arms"] if x["name"] == arm]
        return told[0]["reached"] if told else None

    def curves(self, arm: str) -> list[tuple[int, list[tuple[float, float]]]]:
        """(seed, [(samples, outcome on validation)]) of each run of an arm."""
        return [
            (row["seed"], [(x["samples"], x["outcome"]) for x in json.loads(row["curve"])])
            for row in self.runs(arm)
        ]

    def ways(self) -> dict[str, list[str]]:
        """How the outcome was asked -> the arms that were asked so."""
        made: dict[str, list[str]] = {}
        for arm in self.plan.names:
            for how in dict.fromkeys(row["how"] for row in self.runs(arm)):
                made.setdefault(how, []).append(arm)
        return made


def read(folder: str | Path) -> Findings:
    """A finished comparison.

    Raises:
        RunError: no comparison is there, it is not finished, or a part of it is damaged.
    """
    place = Path(folder)
    plan, known = begun(place)
    if not (place / RESULT).is_file():
        raise RunError(
            file=place,
            expected="a finished comparison",
            found=f"one that is not: {carried(place)} runs are done",
            see="the command that began it: it goes on",
        )
    result, arms = _json(place / RESULT), _json(place / ARMS)
    if result.get("plan") != known or result.get("analysis") != ANALYSIS:
        raise RunError(
            file=place / RESULT,
            expected=f"the answer to plan {known[:8]} by analysis {ANALYSIS}",
            found=f"of plan {str(result.get('plan'))[:8]} by {result.get('analysis')}",
            see="the command that began it: it judges again",
        )
    try:
        rows = parquet.read_table(place / RUNS).to_pylist()
    except (OSError, ArrowException):
        raise RunError(file=place / RUNS, expected="a table of runs", found="none") from None
    return Findings(place, plan, arms, result, tuple(rows))


def begun(folder: Path) -> tuple[Plan, str]:
    """The plan that a folder was begun with, and its hash.

    Raises:
        RunError: there is none, or it is not what was hashed.
    """
    file = folder / PLAN
    if not folder.is_dir() or not file.is_file():
        raise RunError(
            file=folder, expected="the folder of a comparison", found="none there",
            see=command("compare", "list"),
        )  # fmt: skip
    content = _json(file)
    try:
        plan = Plan(**content["plan"])
    except (KeyError, TypeError, ValidationError):
        raise RunError(file=file, expected="a plan", found="something else") from None
    known = str(content.get("hash"))
    if content.get("analysis") == ANALYSIS and plan.hash != known:
        raise RunError(
            file=file, expected=f"the plan that was hashed, {known[:8]}",
            found=f"another, {plan.hash[:8]}",
        )  # fmt: skip
    return plan, known


def refuse_other(folder: Path, plan: Plan) -> None:
    """Refuses a folder in which a plan cannot be carried out: another's, or anybody's.

    Raises:
        RunError: another plan, or something else, is there.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunError(file=folder, expected="a new or empty folder", found="a file")
    file = folder / PLAN
    if file.exists():
        known = str(_json(file).get("hash"))
        if known != plan.hash:
            raise RunError(
                file=file,
                expected=f"the plan that was begun here ({known[:8]})",
                found=f"another ({plan.hash[:8]})",
                see="--out with a new folder",
            )
    elif any(not x.name.startswith(".") for x in folder.iterdir()):
        raise RunError(file=folder, expected="a new or empty folder", found="something in it")


def carried(folder: Path) -> int:
    """How many runs of a comparison are done, those of the sweep and of controls included."""
    return sum(1 for _ in (folder / "runs").glob(f"*/{RESULT}"))


def below(folder: Path) -> list[Path]:
    """The folders of comparisons in a folder, itself included.

    Raises:
        RunError: no such folder.
    """
    if not folder.is_dir():
        raise RunError(file=folder, expected="a folder of comparisons", found="none there")
    return [x for x in (folder, *sorted(folder.iterdir())) if (x / PLAN).is_file()]


def spread(found: Findings) -> Spread:
    """How much the differences of an earlier comparison varied: of its pairs, the widest.

    Raises:
        RunError: it is too small to tell.
    """
    verdicts = found.verdicts
    made: list[Spread] = []
    for verdict in verdicts:
        if verdict["unit"] == "log2 samples":
            each = [low for low, high in verdict["each"] if low is not None and low == high]
            if len(each) > 1:
                made.append(Spread(len(each), 1, float(np.std(each, ddof=1)), 0.0))
            continue
        one, other = (_items(found, verdict[key]) for key in ("name", "against"))
        keys = [x for x in one[0] if all(x in run for run in (*one, *other))]
        first, second = (
            np.array([[run[x] for x in keys] for run in runs]) for runs in (one, other)
        )
        made.append(statistics.difference(first, second).spread)
    if not made:
        raise RunError(file=found.folder, expected="differences of at least two seeds",
                       found="none: no two runs reached the threshold")  # fmt: skip
    return max(made, key=lambda x: x.seed_sd)


def _items(found: Findings, arm: str) -> list[dict[str, float]]:
    """record key -> value of each run of an arm, seed by seed."""
    by_seed: dict[int, dict[str, float]] = {}
    for file in sorted((found.folder / "runs").glob(f"*/{RESULT}")):
        told = _json(file)
        if (told["stage"], told["arm"]) == ("run", arm):
            table = parquet.read_table(file.with_name("items.parquet")).to_pylist()
            by_seed[told["seed"]] = {
                row["key"]: row["value"] for row in table if row["outcome"] == found.plan.outcome
            }
    missing = [seed for seed in found.plan.seeds if seed not in by_seed]
    if missing:
        raise RunError(file=found.folder, field=f"arms.{arm}", found="none",
                       expected=f"a run of seed {missing[0]}")  # fmt: skip
    return [by_seed[seed] for seed in found.plan.seeds]


def _json(file: Path) -> dict[str, Any]:
    """What a file of a comparison says.

    Raises:
        RunError: it is not there, or no JSON.
    """
    try:
        content = json.loads(file.read_text("utf-8"))
    except OSError:
        raise RunError(file=file, expected="a file of the comparison", found="none") from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise RunError(file=file, expected="JSON as it was written", found="something else")
    return content
