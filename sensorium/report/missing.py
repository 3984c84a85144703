"""Scores where a modality is missing, as HTML: a curve for each modality, then the figures.

Solid and dotted: the model with its own stand-in. Thin: what else one could do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sensorium.report.charts import Curve, Markup, tag
from sensorium.report.parts import fold, head_cell, table_of
from sensorium.report.words import direction_words, in_hundred, label, odds, share

Scores = Sequence[Mapping[str, Any]]
# Controls that change with the rate, and how their lines are drawn.
_DRAWN = {"impute": "other", "drop_as_wrong": "other dotted"}
_NAMES = {"image": "picture", "text": "words"}


def missing(scores: Scores) -> list[Markup]:
    """The section: what was asked, the curves, the figures behind them."""
    groups = grouped(scores)
    protocol = scores[0]["protocol"]
    lead = (
        f"Of {protocol['records']:,} whole records of the {protocol['split']} split "
        "a share loses one modality, drawn by record. Bold, with 95 % intervals: "
        f"{protocol['this_run']}. Thin: what else one could do. Dashed: what luck gives."
    )
    drawn = [curve(group) for group in groups.values() if group[-1]["rate"] > 0]
    figures = [
        tag("figure", tag("figcaption", tag("b", one.title), one.rest), one.draw()) for one in drawn
    ]
    made = [tag("p", lead, class_="prose")]
    if figures:
        made.append(tag("div", *figures, class_="curves"))
    note = f"{len(scores)} scores"
    return [*made, fold("The figures behind the curves", note, *_tables(groups), class_="numbers")]


def grouped(scores: Scores) -> dict[str, list[Mapping[str, Any]]]:
    """modality -> its scores, by rate."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for score in scores:
        groups.setdefault(score["modality"], []).append(score)
    return {name: sorted(group, key=lambda score: score["rate"]) for name, group in groups.items()}


def curve(group: Sequence[Mapping[str, Any]]) -> Curve:
    """The score over the rate at which one modality is missing."""
    first, last = group[0], group[-1]
    name = _NAMES.get(first["modality"], first["modality"])
    own = [(score["rate"], score["value"]) for score in group]
    lines: list[tuple[str, list[tuple[float, float]], bool | str]] = [("this run", own, True)]
    for control, kind in _DRAWN.items():
        points = [(score["rate"], score["controls"][control]["value"]) for score in group]
        lines.append((label(control), points, kind))
    luck = last["controls"]["chance"]["value"]
    references = [
        (given["value"], f"{label(key)} {share(given['value'])}")
        for key, given in last["controls"].items()
        if key.endswith("_alone") or key.startswith("without_")
        if given["value"] is not None
    ]
    summary = (
        f"{last['metric'].capitalize()}: {share(own[0][1])} where {in_hundred(own[0][0])} in 100 "
        f"records lack the {name}, {share(own[-1][1])} where {in_hundred(own[-1][0])} do; "
        f"luck gives {share(luck)}."
    )
    return Curve(
        f"No {name}",
        f": {last['metric']}, {_asked(last)}, by the share that lacks it",
        summary,
        last["rate"],
        lines,
        [(luck, f"no skill: {odds(luck)}")],
        references,
        ticks=[(score["rate"], _rate(score["rate"])) for score in group],
        measured=[(score["rate"], score["value"], *score["interval"]) for score in group],
    )


def _asked(score: Mapping[str, Any]) -> str:
    rest = {name: x for name, x in score["protocol"].items() if name != "missing"}
    return direction_words(score["direction"], rest)


def _rate(rate: float) -> str:
    return f"{100 * rate:.4g} %"


def _tables(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Markup]:
    made = []
    for name, group in groups.items():
        controls = [x for x in group[0]["controls"] if x != "complete"]
        heads = ["lack it", "records", "this run", "95 %", *map(label, controls)]
        rows = []
        for score in group:
            low, high = score["interval"]
            cells = [_rate(score["rate"]), f"{score['missing']:,}", share(score["value"])]
            cells += [f"{share(low)}–{share(high)}"]
            cells += [_cell(score["controls"][control]) for control in controls]
            rows.append(tag("tr", *(tag("td", cell) for cell in cells)))
        made.append(tag("h3", f"No {_NAMES.get(name, name)}", class_="under"))
        made.append(table_of(map(head_cell, heads), rows))
        told = group[0]["protocol"]
        words = f"Filled in: {told['impute']}. Left out: {told['drop']}; as wrong: "
        made.append(tag("p", f"{words}{told['drop_as_wrong']}.", class_="note"))
    return made


def _cell(given: Mapping[str, Any]) -> str:
    if given["value"] is None:
        return "–"
    some = f" of {100 * given['coverage']:.0f} %" if given.get("coverage", 1) < 1 else ""
    return share(given["value"]) + some
