"""A scale for differences, and the forest plot: each seed, the mean, what counts as equal, what was
predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sensorium.comparison import words
from sensorium.comparison.findings import Findings
from sensorium.comparison.plan import Plan
from sensorium.comparison.verdict import UNITS
from sensorium.report.charts import Markup, join, steps_of, tag
from sensorium.report.parts import head_cell

Limits = Sequence[float | None]


@dataclass(frozen=True)
class Scale:
    """An axis of differences with 0 on it, in the unit that is printed (points, not shares).

    ticks: ascending, round. factor: from the outcome's unit to the printed one.
    """

    ticks: tuple[float, ...]
    factor: float

    @classmethod
    def over(cls, verdicts: Sequence[dict[str, Any]], plan: Plan) -> Scale:
        """Wide enough for every seed, interval, margin and prediction."""
        factor = UNITS[verdicts[0]["unit"]][0]
        told: list[float | None] = [0.0, plan.margin, -plan.margin]
        if plan.prediction is not None:
            told += [plan.prediction.low, plan.prediction.high]
        for verdict in verdicts:
            told += [*verdict["interval"], *(x for each in verdict["each"] for x in each)]
        values = [factor * x for x in told if x is not None and math.isfinite(x)]
        return cls(tuple(steps_of(min(values), max(values), 6)), factor)

    def part(self, value: float) -> float:
        """Where a value in the outcome's unit lies, 0 to 1; beyond the ends, at them."""
        low, high = self.ticks[0], self.ticks[-1]
        return min(max((self.factor * value - low) / (high - low), 0.0), 1.0)

    def at(self, value: float) -> str:
        """The place of a value in the outcome's unit, in percent."""
        return f"{100 * self.part(value):.2f}%"

    def ends(self, limits: Limits) -> tuple[float, float]:
        """The places of an interval; an open end is that of the axis."""
        low, high = limits
        return (0.0 if low is None else self.part(low)), (1.0 if high is None else self.part(high))


def tick_text(value: float) -> str:
    """A tick with its sign: `−4`, `0`, `+2.5`."""
    text = f"{abs(value):.10f}".rstrip("0").rstrip(".") or "0"
    return text if value == 0 else f"{'+' if value > 0 else '−'}{text}"


def forest(found: Findings) -> Markup:
    """The plot as a table of rows on one axis: pairs of arms, their seeds, means, predictions."""
    plan, verdicts = found.plan, found.verdicts
    scale = Scale.over(verdicts, plan)
    unit = UNITS[verdicts[0]["unit"]][2]
    heads = [
        head_cell("difference", class_="name"),
        head_cell(unit.partition(" ")[0], class_="value"),
        head_cell(f"{100 * (1 - plan.alpha):.4g} % interval", class_="interval"),
        tag("th", tag("span", "plot", class_="unseen"), _head(scale), class_="plot", scope="col"),
    ]
    bodies = [_pair(verdict, plan, scale) for verdict in verdicts]
    caption = tag("caption", f"Differences in {unit}, seed by seed", class_="unseen")
    return tag("table", caption, tag("thead", tag("tr", *heads)), *bodies, class_="scores forest")


def _pair(verdict: dict[str, Any], plan: Plan, scale: Scale) -> Markup:
    pair = f"{verdict['name']} against {verdict['against']}"
    rows = [tag("tr", tag("th", pair, colspan=4, scope="rowgroup"), class_="group theirs")]
    low, high = words.ends(verdict, plan)
    named = tag(
        "div", tag("span", f"← {low} better"), tag("span", f"{high} better →"), class_="ends theirs"
    )
    rows.append(tag("tr", tag("td", named, colspan=4), class_="named"))
    zone = (-plan.margin, plan.margin)
    for seed, limits in zip(plan.seeds, verdict["each"], strict=False):
        value = words.bounded(limits, verdict["unit"])
        rows.append(_row("seed", f"seed {seed}", value, "", scale, zone, _seed(limits, scale)))
    rows.append(
        _row("run", f"mean of {verdict['seeds']} seeds", words.signed(verdict),
             words.span(verdict["interval"], verdict["unit"]), scale, zone, _mean(verdict, scale))
    )  # fmt: skip
    if plan.prediction is not None:
        limits = (plan.prediction.low, plan.prediction.high)
        rows.append(
            _row("predicted", "predicted", "", words.span(limits, verdict["unit"]), scale, zone,
                 _bracket(limits, scale))
        )  # fmt: skip
    equal = f"within {words.number(plan.margin, verdict['unit'])}"
    rows.append(
        _row("equal", "counts as equal", "", equal, scale, zone, Markup("")),
    )
    return tag("tbody", *rows)


def _row(
    kind: str, name: str, value: str, interval: str, scale: Scale, zone: Limits, marks: Markup
) -> Markup:
    left, right = scale.ends(zone)
    band = tag("rect", x=f"{100 * left:.2f}%", width=f"{100 * (right - left):.2f}%", y=0,
               height="100%", class_="zone")  # fmt: skip
    picture = tag("svg", band, *_grid(scale), marks, aria_hidden="true")
    return tag(
        "tr",
        tag("th", name, class_="name", scope="row"),
        tag("td", value, class_="value"),
        tag("td", interval, class_="interval"),
        tag("td", picture, class_="plot"),
        class_=kind,
    )


def _head(scale: Scale) -> Markup:
    marks = [
        tag("text", tick_text(t), x=scale.at(t / scale.factor), y=15, text_anchor="middle",
            class_="strong")
        for t in scale.ticks
    ]  # fmt: skip
    return tag("svg", *marks, aria_hidden="true")


def _grid(scale: Scale) -> list[Markup]:
    return [
        tag("line", x1=x, x2=x, y1=0, y2="100%", class_="zero" if tick == 0 else "grid")
        for tick in scale.ticks
        for x in [scale.at(tick / scale.factor)]
    ]


def _seed(limits: Limits, scale: Scale) -> Markup:
    """A dot; of a run that did not reach the threshold the side on which it is."""
    low, high = (f"{100 * x:.2f}%" for x in scale.ends(limits))
    if limits[0] is not None and limits[0] == limits[1]:
        return tag("circle", cx=low, cy="50%", r=3, class_="each")
    if limits[0] is None and limits[1] is None:
        return Markup("")
    return tag("line", x1=low, x2=high, y1="50%", y2="50%", class_="open")


def _mean(verdict: dict[str, Any], scale: Scale) -> Markup:
    low, high = (f"{100 * x:.2f}%" for x in scale.ends(verdict["interval"]))
    known = any(x is not None for x in verdict["interval"])
    line = tag("line", x1=low, x2=high, y1="50%", y2="50%", class_="whisker") if known else None
    if verdict["difference"] is None:
        return join(line)
    return join(line, tag("circle", cx=scale.at(verdict["difference"]), cy="50%", r=5.5,
                          class_="dot"))  # fmt: skip


def _bracket(limits: Limits, scale: Scale) -> Markup:
    """Caps mark a prediction. The line is a nested picture, so that caps are in pixels."""
    low, high = (f"{100 * x:.2f}%" for x in scale.ends(limits))
    cap = [
        tag("svg", tag("line", x1=0, x2=0, y1=-5, y2=5, class_="bracket"), x=x, y="50%",
            width=1, height=1, class_="cap")
        for x in (low, high)
    ]  # fmt: skip
    return join(tag("line", x1=low, x2=high, y1="50%", y2="50%", class_="bracket"), *cap)
