"""Tables of docs/statistics.md, from the result file of `statistics` alone.

The page's blocks `<!-- made: NAME -->` to `<!-- end -->` are written; the rest is left as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.few_labels_page import BLOCK
from benchmarks.machine import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "statistics.md"
METHODS = {
    "used": "each part with its own t quantile (used)",
    "random effects, Satterthwaite": "the same variance, one t quantile (Satterthwaite)",
    "bootstrap corrected, Satterthwaite": "crossed bootstrap with S/(S − 1), one t quantile",
    "bootstrap, normal quantile": "crossed bootstrap as it is",
    "t of seed means": "t of the seeds' means, items forgotten",
}

Result = dict[str, Any]


def write() -> None:
    """Writes the page anew."""
    result = json.loads((RESULTS / "statistics.json").read_text(encoding="utf-8"))
    PAGE.write_text(filled(PAGE.read_text("utf-8"), result), encoding="utf-8")


def filled(text: str, result: Result) -> str:
    """The page with its made blocks written from a result."""

    def block(found: re.Match[str]) -> str:
        return f"<!-- made: {found[1]} -->\n{MADE[found[1]](result)}\n<!-- end -->"

    return BLOCK.sub(block, text)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def extremes(result: Result, method: str, level: str) -> str:
    """Least and most of all settings: 92.0 to 97.5 %."""
    values = [100 * row[method][level] for row in result["coverage"]]
    return f"{min(values):.1f} to {max(values):.1f} %"


def coverage(result: Result) -> str:
    """Coverage of every method."""
    rows = [
        (said, extremes(result, name, "95 %"), extremes(result, name, "90 %"))
        for name, said in METHODS.items()
    ]
    said = f"{result['simulations of a setting']:,} simulations of each of "
    said += f"{len(result['coverage'])} settings; least and most of the settings:"
    return said + "\n\n" + table(["interval", "95 % covers", "90 % covers"], rows)


def plateaus(result: Result) -> str:
    """Coverage where outcomes jump."""
    rows = result["coverage on plateaus"]
    heads = list(dict.fromkeys(tuple(row["chance to learn"]) for row in rows))
    told = {(row["seeds"], tuple(row["chance to learn"])): row["used"]["95 %"] for row in rows}
    seeds = sorted({row["seeds"] for row in rows})
    return table(
        ["seeds", *(f"{100 * a:.0f} % and {100 * b:.0f} % of seeds learn" for a, b in heads)],
        [[count, *(f"{100 * told[count, head]:.1f} %" for head in heads)] for count in seeds],
    )


def wrong(result: Result) -> str:
    """How often an arm was said to differ from itself."""
    rows = result["same arms, margin 2 points"]
    shares = [100 * (row["better"] + row["worse"]) for row in rows]
    return (
        f"*Better* or *worse* was said in {sum(shares) / len(shares):.1f} % of "
        f"{sum(row['simulations'] for row in rows):,} comparisons of an arm with itself, "
        f"and in {max(shares):.1f} % of the {rows[0]['simulations']:,} of the worst of "
        f"{len(rows)} settings."
    )


def planted(result: Result) -> str:
    """Power, stated and found."""
    rows = [
        (
            row["seeds"],
            f"{row['true difference in points']:.0f} points",
            f"{100 * row['power stated']:.1f} %",
            f"{100 * row['found']:.1f} %",
        )
        for row in result["planted difference"]
    ]
    return table(["seeds", "true difference", "power stated", "found better"], rows)


MADE = {"coverage": coverage, "plateaus": plateaus, "wrong": wrong, "planted": planted}
