"""Learning curves of a comparison: seeds thin, the mean of an arm bold, luck hatched, threshold.

Up to five arms share one chart, each in its colour and named at its line; more have a chart each.
"""

from __future__ import annotations

from sensorium.comparison import words
from sensorium.comparison.findings import Findings
from sensorium.report.charts import Curve
from sensorium.report.words import decimal, odds

TOGETHER = 5  # arms in one chart
Points = list[tuple[float, float]]


def curves(found: Findings) -> list[Curve]:
    """The charts; none where no run was looked at on its way."""
    plan = found.plan
    runs = {arm: [points for _, points in found.curves(arm) if points] for arm in plan.names}
    runs = {arm: points for arm, points in runs.items() if points}
    if not runs:
        return []
    names = list(runs)
    groups = [names] if len(names) <= TOGETHER else [[name] for name in names]
    last = max(samples for drawn in runs.values() for points in drawn for samples, _ in points)
    return [_chart(found, {arm: runs[arm] for arm in group}, round(last)) for group in groups]


def mean_of(runs: list[Points]) -> Points:
    """The mean of several runs at the looks that all of them have."""
    at_all = [dict(points) for points in runs]
    common = [samples for samples, _ in runs[0] if all(samples in one for one in at_all)]
    return [(samples, sum(one[samples] for one in at_all) / len(at_all)) for samples in common]


def _chart(found: Findings, runs: dict[str, list[Points]], last: int) -> Curve:
    plan = found.plan
    lower = plan.measure.better == "lower"
    lines: list[tuple[str, Points, bool | str]] = []
    told = []
    for arm, drawn in runs.items():
        kind = f"a{plan.names.index(arm) % TOGETHER + 1}"
        lines += [("", points, f"seed {kind}") for points in drawn]
    for arm, drawn in runs.items():
        kind = f"a{plan.names.index(arm) % TOGETHER + 1}"
        if middle := mean_of(drawn):
            lines.append((arm, middle, f"arm {kind}"))
            start, end = (words.level(x[1], plan.measure.unit) for x in (middle[0], middle[-1]))
            told.append(f"{arm} from {start} to {end}")
    luck = []
    if found.chance is not None and not lower:
        luck = [(found.chance, f"no skill: {odds(found.chance)}")]
    reach = []
    if plan.threshold is not None:
        shown = words.level(plan.threshold, plan.measure.unit)
        reach = [(plan.threshold, f"threshold {shown}")]
    name = words.outcome(plan.outcome)
    title = f"{name[:1].upper()}{name[1:]}"
    summary = f"{title} on validation: " + "; ".join(told) + "."
    if luck:
        summary += f" No skill is {decimal(luck[0][0], 3)}."
    return Curve(
        title, " on validation: each seed thin, the mean of an arm bold", summary, last, lines,
        luck, reach, lower=lower, unit="sample", hatched=True,
    )  # fmt: skip
