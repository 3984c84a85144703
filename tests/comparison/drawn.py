"""Finished comparisons for tests, as the engine writes them but with outcomes that are drawn: the
verdict is the engine's own, on numbers of which the truth is known. Trains nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from sensorium.comparison import arms as arms_
from sensorium.comparison import plan as plans
from sensorium.comparison.plan import Plan
from sensorium.comparison.threshold import Reached
from sensorium.comparison.verdict import Question, judge, weigh, weigh_samples

LONG = "merge_attention with twelve heads, a very long name, and ünïcode 名字 " * 2
ITEMS = 400
# kind of verdict -> (true difference, its spread over seeds, mean of the first arm)
TRUE = {
    "better": (0.2, 0.01, 0.55),
    "worse": (-0.2, 0.01, 0.75),
    "equal": (0.0, 0.0005, 0.7),
    "unknown": (0.03, 0.06, 0.7),
    "nothing": (0.0, 0.01, 0.5),
}


def plan_of(**others: Any) -> Plan:
    """A plan over drawings, refused by nobody, its recipes pinned."""
    content: dict[str, Any] = {
        "question": "Merge or co-attention?",
        "data": "emoji",
        "recipe": "albef",
        "axis": "fusion",
        "arms": {"merge": "merge_attention", "co": "co_attention"},
        "seeds": tuple(range(101, 106)),
        "budget": plans.Budget(amount=30000, unit="samples"),
        "outcome": "choice:caption_colours",
        "prediction": plans.Prediction(low=-0.01, high=0.25, why="both let words meet patches"),
        "controls": ("shuffled", "untrained", "only:image", "additive"),
    } | others
    made = Plan(**content)
    pinned = {arm.name: arm.recipe.hash for arm in arms_.derive(made)}
    return made.model_copy(update={"pinned": pinned})


def drawn(folder: Path, kind: str = "better", seed: int = 0, **others: Any) -> Path:
    """Writes a comparison whose truth is `kind`, a key of `TRUE`; gives its folder."""
    plan = plan_of(**others)
    folder.mkdir(parents=True)
    content = {"hash": plan.hash, "analysis": plans.ANALYSIS, "plan": plan.model_dump(mode="json")}
    write(folder / "plan.json", content)
    derived = arms_.derive(plan)
    costs = {
        arm.name: {"samples": 30000.0, "tokens": 9e5 * (1 + 0.05 * at), "steps": 468,
                   "flops": 3.1e12 * (1 + 0.3 * at), "parameters": 900_000 * (1 + at),
                   "seconds": 61.5 * (1 + 0.2 * at)}
        for at, arm in enumerate(derived)
    }  # fmt: skip
    told = {
        arm.name: {"recipe": arm.recipe.model_dump(mode="json"), "steps": 468,
                   "run": costs[arm.name]}
        for arm in derived
    }  # fmt: skip
    write(folder / "arms.json", told)
    rng = np.random.default_rng(seed)
    values = _values(plan, kind, rng)
    rows = []
    for name, scores in values.items():
        for at, one in enumerate(plan.seeds):
            rows.append(_row(plan, costs[name], "run", name, one, scores[at].mean()))
    last = plan.names[-1]
    for control in plan.controls:
        rows += [
            _row(plan, costs[last], "control", last, one, 0.5, control) for one in plan.seeds[:2]
        ]
    parquet.write_table(pa.Table.from_pylist(rows), folder / "runs.parquet")
    timings = [{"run": row["run"], "training_seconds": 60.0, "seconds": 70.0} for row in rows]
    parquet.write_table(pa.Table.from_pylist(timings), folder / "timings.parquet")
    write(folder / "result.json", {
        "plan": plan.hash,
        "analysis": plans.ANALYSIS,
        "question": plan.question,
        "verdicts": [x.to_json() for x in judge(_family(plan, kind, values, rng))],
        "also": [
            {"outcome": text, "name": last, "against": plan.names[0], "means": [0.61, 0.58],
             "difference": 0.03, "interval": [0.012, 0.048]}
            for text in plan.also
        ],
        "controls": [
            {"control": name, "arm": last, "seeds": 2, "outcomes": {plan.outcome: 0.5}}
            for name in plan.controls
        ],
        "tuned": {name: {} for name in plan.names},
        "costs": costs,
        "floor": {"chance": 0.5, "best": 0.96} if plan.measure.unit == "share" else {},
        "how": "cosine of vectors",
    })  # fmt: skip
    for row in rows:
        place = folder / "runs" / row["run"]
        place.mkdir(parents=True)
        write(place / "result.json", {x: row[x] for x in ("stage", "arm", "seed")})
        scores = values[row["arm"]][plan.seeds.index(row["seed"])]
        items = [{"outcome": plan.outcome, "key": f"k{at}", "value": x}
                 for at, x in enumerate(scores.tolist())]  # fmt: skip
        parquet.write_table(pa.Table.from_pylist(items), place / "items.parquet")
    return folder


def write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content), "utf-8")


def _values(plan: Plan, kind: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """arm -> outcomes [seeds, items]; the later arms differ from the first as `kind` says."""
    true, spread, base = TRUE[kind]
    sign = -1 if plan.measure.better == "lower" else 1
    item = rng.normal(0, 0.02, ITEMS)
    made = {}
    for at, name in enumerate(plan.names):
        level = base + (sign * true if at else 0.0)
        own = level + (rng.normal(0, spread, len(plan.seeds)) if at else np.zeros(len(plan.seeds)))
        if kind == "nothing":
            own = level + rng.normal(0, spread, len(plan.seeds))
        made[name] = own[:, None] + item + rng.normal(0, 0.002, (len(plan.seeds), ITEMS))
    return made


def _family(plan: Plan, kind: str, values: dict[str, np.ndarray], rng: np.random.Generator) -> list:
    family = []
    told = plan.prediction
    first = plan.names[0]
    for name in plan.names[1:]:
        threshold = plan.at == "threshold"
        question = Question(
            name, first, plan.outcome, plan.margin,
            "log2 samples" if threshold else plan.measure.unit,
            not threshold and plan.measure.better == "higher", plan.alpha,
            plan.measure.chance if not threshold else None,
            None if told is None else (told.low, told.high),
        )  # fmt: skip
        if threshold:
            family.append(weigh_samples(question, *_reached(plan, kind, rng)))
        else:
            family.append(weigh(question, values[name], values[first]))
    return family


def _reached(plan: Plan, kind: str, rng: np.random.Generator) -> tuple[list, list]:
    """log2 samples: the first arm takes 2^13; of the other one run did not reach it."""
    count = len(plan.seeds)
    true = {"better": -1.5, "worse": 1.5, "equal": 0.0, "unknown": 0.2, "nothing": 0.0}[kind]
    spread = 0.01 if kind == "equal" else 0.3
    first = [Reached(x, x) for x in (13 + rng.normal(0, spread, count)).tolist()]
    other = [Reached(x, x) for x in (13 + true + rng.normal(0, spread, count)).tolist()]
    if kind == "nothing":
        return [Reached(14.8, float("inf"))] * count, [Reached(14.8, float("inf"))] * count
    if kind in ("worse", "unknown"):
        other[-1] = Reached(14.8, float("inf"))
    return other, first


def _row(
    plan: Plan, cost: dict[str, float], stage: str, arm: str, seed: int, value: float,
    control: str = "",
) -> dict[str, Any]:  # fmt: skip
    start = 0.5 if plan.measure.unit == "share" else 5.5
    curve = [
        {"samples": 30000 * at // 20, "outcome": start + (value - start) * (1 - 0.8**at)}
        for at in range(1, 21)
    ]
    own = (control or arm)[:20].replace(":", "_").replace(" ", "_").replace("/", "_")
    return {
        "run": f"{stage}-{own}-{plan.names.index(arm)}-seed{seed}", "stage": stage, "arm": arm,
        "control": control, "seed": seed, "learning_rate": None, "weight_decay": None,
        "outcome": plan.outcome, "value": float(value), "items": ITEMS, "how": "cosine of vectors",
        **{unit: float(x) for unit, x in cost.items() if unit != "seconds"}, "failed": "",
        "curve": json.dumps(curve if stage == "run" else []),
    }  # fmt: skip
