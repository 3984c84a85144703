"""The registered comparisons of `science/`: carried out, judged by family, collected for one page.

    python -m benchmarks.science                    all at micro size (make science): a night
    python -m benchmarks.science captioning_or_contrast self_supervision
    python -m benchmarks.science --size tiny captioning_or_contrast
    python -m benchmarks.science --page             only the page and its figure, from what is there

Each plan is hashed before its first run; what is done already is not done again, so the same
command goes on after a kill. A plan of another size is another plan, with the same prediction.
Results go to benchmarks/results/science.json, the figure to docs/science.svg, and the tables of
docs/science.md are written between their marks.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, machine
from sensorium.comparison import findings, plan
from sensorium.comparison.verdict import judge
from sensorium.options import consoles
from sensorium.terminal import Teller

ROOT = Path(__file__).parent.parent
PLANS, PLACE, FILE = ROOT / "science", ROOT / "comparisons" / "science", RESULTS / "science.json"


def plan_of(name: str, size: str) -> plan.Plan:
    """A registered plan, at a size; checked as a whole."""
    from sensorium.recipe_yaml import read_yaml

    file = PLANS / f"{name}.yaml"
    os.chdir(ROOT)  # plans name recipes from here, and a plan's hash knows no machine's folders
    return plan.checked(read_yaml(file, "plan") | {"size": size}, file)


def names() -> list[str]:
    """The registered plans, in the order of the page: effects, nulls, then the rest."""
    return sorted((x.stem for x in PLANS.glob("*.yaml")), key=lambda x: (ORDER.get(x, 99), x))


ORDER = {
    name: at
    for at, name in enumerate(
        (
            "captioning_or_contrast",
            "interacting_or_additive",
            "translations_60",
            "modality_dropout",
            "self_supervision",
            "merge_or_co_attention",
            "soft_targets",
        )
    )
}


def collect(size: str) -> list[dict[str, Any]]:
    """What every finished comparison of a size found; Holm's p values over each family."""
    from sensorium.comparison import conduct

    done: list[tuple[str, findings.Findings]] = []
    families: dict[str, list[Any]] = {}
    for name in names():
        place = PLACE / size / name
        if not (place / findings.RESULT).is_file():
            continue
        found = findings.read(place)
        done.append((name, found))
        told = found.result
        floor = told.get("floor", {}).get("chance")
        family = families.setdefault(found.plan.family or name, [])
        for other in found.plan.names[1:]:
            made = conduct.evidence(place, found.plan, other, told["tuned"], floor)
            question = replace(made.question, outcome=f"{name}: {made.question.outcome}")
            family.append((name, replace(made, question=question)))
    verdicts: dict[str, list[Any]] = {}
    for family in families.values():
        for (name, _), verdict in zip(family, judge([x for _, x in family]), strict=True):
            verdicts.setdefault(name, []).append(verdict.to_json())
    return [_facts(name, size, found, verdicts[name]) for name, found in done]


def _facts(
    name: str, size: str, found: findings.Findings, verdicts: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "name": name,
        "size": size,
        "plan": found.plan.hash,
        "question": found.plan.question,
        "family": found.plan.family,
        "prediction": found.plan.prediction and found.plan.prediction.model_dump(),
        "margin": found.plan.margin,
        "verdicts": verdicts,
        "also": found.result["also"],
        "controls": found.result["controls"],
        "floor": found.result["floor"],
        "tuned": found.result["tuned"],
        "how": found.ways(),
        "costs": found.costs,
        "runs": sum(1 for row in found.rows if row["outcome"] == found.plan.outcome),
        "reached": {arm: found.reached(arm) for arm in found.plan.names},
        "means": {arm: found.mean(arm) for arm in found.plan.names},
    }


def write(size: str) -> list[dict[str, Any]]:
    """Adds the finished comparisons of a size to the committed results; all of them."""
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    others = [x for x in known.get("comparisons", []) if x["size"] != size]
    made = others + collect(size)
    made.sort(key=lambda x: (x["size"], ORDER.get(x["name"], 99), x["name"]))
    content = {"machine": machine(), "command": "make science", "comparisons": made}
    FILE.write_text(json.dumps(content, indent=1) + "\n")
    return made


def main(arguments: list[str] | None = None) -> None:
    """Runs what is asked, one comparison after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.science")
    parser.add_argument("names", nargs="*", metavar="NAME", help="plans of science/; all")
    parser.add_argument("--size", default="micro", choices=("micro", "tiny"))
    parser.add_argument("--workers", type=int)
    parser.add_argument("--page", action="store_true", help="only the page, from what is there")
    told = parser.parse_args(arguments)
    for name in () if told.page else told.names or names():
        from sensorium.comparison import conduct

        teller = Teller(consoles()[1])
        try:
            asked = plan_of(name, told.size)
            print(f"{name}  {asked.hash[:8]}", flush=True)
            result = conduct.compare(
                asked, PLACE / told.size / name, workers=told.workers, watcher=teller
            )
        finally:
            teller.close()
        for verdict in result["verdicts"]:
            print(verdict["sentence"], flush=True)
        write(told.size)
    from benchmarks import science_page

    science_page.publish(json.loads(FILE.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
