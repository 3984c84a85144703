"""A comparison in the terminal: the design before it runs, the table and the verdict after.

Heavy line and ● measured, ○ control, `:` luck, as in the score table of a run; a row of differences
has its own axis, `|` at 0 and `·` where differences count as equal. ASCII where a terminal has
no more.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.markup import escape

from sensorium.comparison import statistics, words
from sensorium.comparison.card import PNG
from sensorium.comparison.findings import CARD, REPORT, Findings
from sensorium.comparison.forest import Scale, tick_text
from sensorium.comparison.page import commands, control_name
from sensorium.comparison.plan import Plan
from sensorium.comparison.statistics import Spread
from sensorium.comparison.verdict import UNITS
from sensorium.report.charts import Axis
from sensorium.terminal import AXIS, RAIL, WIDTH, fit, plain, rail

NAME, FIGURE, BETWEEN = 26, 7, 19  # cells of a row's name, value and interval
# Spread over seeds that is assumed where nobody says: unit -> SD of a seed's difference.
ASSUMED = {"share": 0.02, "nats": 0.02, "log2 samples": 0.2}
_MARKS = {
    "utf": {"dot": "●", "line": "━", "hollow": "○", "zone": "·", "seed": "'", "dash": "–",
            "more": "…", "left": "├", "right": "┤", "thin": "─"},
    "ascii": {"dot": "*", "line": "=", "hollow": "o", "zone": ".", "seed": "'", "dash": "-",
              "more": "~", "left": "|", "right": "|", "thin": "-"},
}  # fmt: skip

_PLAIN = str.maketrans("−·≥≤≈", "-.><~")


# --- before ------------------------------------------------------------------------------------


def unit_of(plan: Plan) -> str:
    """The unit of the plan's differences, a key of `UNITS`."""
    return "log2 samples" if plan.at == "threshold" else plan.measure.unit


def design_lines(plan: Plan, assumed: Spread | None = None, whence: str = "") -> Iterator[str]:
    """What is about to run: hash, arms, budget, number of runs, what the design could see.

    Args:
        assumed: spread of an earlier comparison; None: a usual one, which is said.
        whence: where that spread is from.
    """
    yield rail("plan", f"{plan.hash[:4]} {plan.hash[4:8]}  {plan.question}", "bold")
    yield from _wrapped("arms", f"{words.axis(plan)}: {', '.join(plan.names)}")
    yield rail("data", f"{words.data(plan)}, {plan.size} size")
    yield rail("budget", f"{words.equal(plan)}, {len(plan.seeds)} paired seeds")
    yield from _wrapped("judged", words.judged(plan) + f"; equal within {_margin(plan)}")
    runs, swept, controls = counts(plan)
    told = f"{runs} of arms"
    told += f", {swept} to tune them alike" if swept else ", no rate is tuned"
    told += f", {controls} of controls" if controls else ", no controls"
    yield rail("runs", f"{runs + swept + controls}: {told}")
    unit = unit_of(plan)
    spread = assumed or Spread(len(plan.seeds), 1, ASSUMED[unit], 0.0)
    spread = replace(spread, seeds=len(plan.seeds))
    size = statistics.smallest_detectable(spread, plan.alpha)
    sd = words.amount(spread.seed_sd, unit)
    whence = whence or "assumed; --assume DIR takes an earlier comparison's"
    yield from _wrapped(
        "finds",
        f"differences of {words.amount(size, unit)} in 8 of 10 trials, where seeds differ by {sd} "
        f"(SD, {whence})",
    )


def counts(plan: Plan) -> tuple[int, int, int]:
    """Runs of arms, of the sweep, of controls."""
    sweep = plan.sweep.model_dump() if plan.sweep is not None else {}
    grid = 1 if any(sweep.values()) else 0
    for values in filter(None, sweep.values()):
        grid *= len(values)
    # As in `conduct.CONTROL_SEEDS`, which loads torch.
    controls = len(plan.controls) * min(2, len(plan.seeds))
    return len(plan.names) * len(plan.seeds), len(plan.names) * grid, controls


def _margin(plan: Plan) -> str:
    return words.amount(plan.margin, unit_of(plan))


def _wrapped(word: str, text: str) -> Iterator[str]:
    lines = textwrap.wrap(plain(text), WIDTH - RAIL, break_on_hyphens=False)
    for at, line in enumerate(lines):
        yield rail("" if at else word, line)


# --- after -------------------------------------------------------------------------------------


def lines(found: Findings, console: Console) -> Iterator[str]:
    """Table, verdict, costs, prediction, what the design could see, next command; as markup."""
    if (console.encoding or "utf-8").lower().startswith("utf"):
        yield from _told(found, _MARKS["utf"])
    else:
        yield from (line.translate(_PLAIN) for line in _told(found, _MARKS["ascii"]))


def _told(found: Findings, marks: dict[str, str]) -> Iterator[str]:
    plan = found.plan
    yield from _wrapped("judged", f"{words.judged(plan)}; {words.equal(plan)}")
    yield from _levels(found, marks)
    yield from _differences(found, marks)
    for line in textwrap.wrap(plain(words.title(found.verdicts)), WIDTH):
        yield f"[bold]{escape(line)}[/bold]"
    for verdict in found.verdicts:
        several = f"{verdict['name']}: " if len(found.verdicts) > 1 else ""
        yield from _wrapped("cost", words.cost(found, verdict["name"]))
        if (told := words.kept(verdict, plan)) is not None:
            yield from _wrapped("foretold", several + told)
        if (told := words.detectable(verdict)) is not None:
            yield from _wrapped("finds", several + told)
    for told in left_out(plan):
        yield rail("without", told, "yellow")
    yield rail("plan", f"{plan.hash[:4]} {plan.hash[4:8]}", "dim")
    yield rail("report", str(found.folder / REPORT))
    yield rail("card", str(found.folder / CARD))
    if not (found.folder / CARD).with_suffix(".png").is_file():
        yield rail("", PNG, "dim")
    yield rail("try", commands(found)[0][1])


def left_out(plan: Plan) -> list[str]:
    """What the result is without: tuning, controls."""
    told = []
    if plan.sweep is None:
        told.append("tuning: every arm ran with its recipe's rates")
    if not plan.controls:
        told.append("controls: nothing says what is learned without the partner or the training")
    return told


def _levels(found: Findings, marks: dict[str, str]) -> Iterator[str]:
    """Arms, controls and luck on one axis from 0."""
    plan, unit = found.plan, found.plan.measure.unit
    rows: list[tuple[str, float, Sequence[float] | None, str]] = [
        (arm, found.mean(arm), found.interval(arm), "bold") for arm in plan.names
    ]
    for told in found.result["controls"]:
        if plan.outcome in told["outcomes"]:
            rows.append(
                (control_name(told["control"]), told["outcomes"][plan.outcome], None, "dim")
            )
    if found.best is not None:
        rows.append(("best possible", found.best, None, "dim"))
    luck = found.chance if unit == "share" else None
    highest = max(max(value, interval[1] if interval else value) for _, value, interval, _ in rows)
    axis = Axis.over(highest, 1.0 if unit == "share" else None)

    def at(value: float) -> int:
        return _cell(value / axis.ticks[-1])

    heads = {at(tick): f"{tick:g}".removeprefix("0") or "0" for tick in axis.ticks}
    yield _head(words.outcome(plan.outcome), "value", plan.alpha, heads, marks)
    for name, value, interval, style in rows:
        line = [" "] * AXIS
        if luck is not None:
            line[at(luck)] = ":"
        if interval:
            for cell in range(at(interval[0]), at(interval[1]) + 1):
                line[cell] = marks["line"]
        line[at(value)] = marks["dot" if style == "bold" else "hollow"]
        between = marks["dash"].join(words.level(x, unit) for x in interval) if interval else ""
        yield _line(name, words.level(value, unit), between, line, style, marks)
    if luck is not None:
        line = [" "] * AXIS
        line[at(luck)] = ":"
        yield _line("no skill", words.level(luck, unit), "", line, "yellow", marks)


def _differences(found: Findings, marks: dict[str, str]) -> Iterator[str]:
    """Each pair's difference with its seeds and what was predicted, on one axis with 0."""
    plan = found.plan
    scale = Scale.over(found.verdicts, plan)

    def at(value: float) -> int:
        return _cell(scale.part(value))

    heads = {at(t / scale.factor): tick_text(t) for t in scale.ticks}
    unit = found.verdicts[0]["unit"]
    word = "log2" if unit == "log2 samples" else UNITS[unit][2]
    yield _head(f"difference, {UNITS[unit][2]}", word, plan.alpha, heads, marks)
    for verdict in found.verdicts:
        row = _ground(at, plan)
        low, high = (_cell(x) for x in scale.ends(verdict["interval"]))
        if any(x is not None for x in verdict["interval"]):
            row[low : high + 1] = marks["line"] * (high + 1 - low)
        if verdict["difference"] is not None:
            row[at(verdict["difference"])] = marks["dot"]
        pair = f"{verdict['name']} against {verdict['against']}"
        span = words.span(verdict["interval"], unit)
        yield _line(pair, words.signed(verdict), span, row, "bold", marks)
        row = _ground(at, plan)
        for first, second in verdict["each"]:
            if first is not None and first == second:
                row[at(first)] = marks["seed"]
        yield _line("each seed", "", "", row, "dim", marks)
        if plan.prediction is not None:
            row = _ground(at, plan)
            limits = (plan.prediction.low, plan.prediction.high)
            low, high = (at(x) for x in limits)
            row[low : high + 1] = marks["thin"] * (high + 1 - low)
            row[low], row[high] = marks["left"], marks["right"]
            yield _line("predicted", "", words.span(limits, unit), row, "dim", marks)


def _ground(at: Callable[[float], int], plan: Plan) -> list[str]:
    row = [" "] * AXIS
    low, high = at(-plan.margin), at(plan.margin)
    row[low : high + 1] = "·" * (high + 1 - low)
    row[at(0.0)] = "|"
    return row


def _cell(part: float) -> int:
    return min(AXIS - 1, max(0, int(part * (AXIS - 1) + 0.5)))


def _head(name: str, value: str, alpha: float, ticks: dict[int, str], marks: dict[str, str]) -> str:
    axis = [" "] * (AXIS + 6)
    for place, text in ticks.items():
        axis[place : place + len(text)] = text
    title = fit(name, NAME, marks["more"])
    level = f"{100 * (1 - alpha):.4g} %"
    text = f"{title:<{NAME}} {value:>{FIGURE}}  {level:<{BETWEEN}} {''.join(axis).rstrip()}"
    return f"[dim]{escape(text)}[/dim]"


def _line(
    name: str, value: str, between: str, cells: Sequence[str], style: str, marks: dict[str, str]
) -> str:
    from rich.cells import cell_len

    title = f"  {fit(name, NAME - 2, marks['more'])}"
    title += " " * (NAME - cell_len(title))
    picture = "".join(cells).rstrip()
    text = f"{title} {value:>{FIGURE}}  {between:<{BETWEEN}} {picture}"
    return f"[{style}]{escape(text)}[/{style}]"


def list_lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """One line a comparison, and its verdict."""
    for row in rows:
        yield f"[bold]{escape(fit(row['folder'], 40))}[/bold]  [dim]{row['plan'][:8]}[/dim]"
        for line in textwrap.wrap(plain(row["told"]), WIDTH - 2):
            yield f"  {escape(line)}"
