"""The verdict card: one pair of arms as a picture of 1200 x 630 to send, SVG and PNG.

Verdict, design, what it could have seen, interval, a tick for every seed, prediction, what counts
as equal, cost, what it does not say, hash of the plan. Texts are measured before they are set and
clipped where they would run over.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sensorium import files
from sensorium.comparison import words
from sensorium.comparison.findings import CARD, Findings
from sensorium.comparison.forest import Limits, Scale, tick_text
from sensorium.comparison.lettering import clipped, lines, paired, width
from sensorium.comparison.verdict import UNITS
from sensorium.report.charts import Markup, tag

WIDTH, HEIGHT = 1200, 630
LEFT, RIGHT = 80, 1120
PLOT = 812  # the plot's right end; beyond it stand the figures of its rows
TOP, BOTTOM = 232, 424  # of the plot
PNG = "its PNG needs vl-convert-python: pip install 'sensorium[compare]'"

# The tokens of the light look; a picture to send cannot ask for a style sheet.
_PAPER, _INK, _SECOND, _THIRD, _RULE, _ZONE = (
    "#FCFCFA", "#1A1D21", "#4B5159", "#686E76", "#D8D8D0", "#EEEEEB",
)  # fmt: skip
_FONTS = {
    "sans": "Helvetica Neue, Arial, Liberation Sans, Noto Sans, PingFang SC, Microsoft YaHei, "
    "Noto Sans CJK SC, sans-serif",
    "serif": "Charter, Bitstream Charter, Sitka Text, Cambria, Noto Serif, Liberation Serif, "
    "Songti SC, SimSun, Noto Serif CJK SC, serif",
    "mono": "SF Mono, Menlo, Consolas, Liberation Mono, DejaVu Sans Mono, monospace",
}


def write(found: Findings) -> list[Path]:
    """Writes `verdict.svg` and, where it can be drawn, `verdict.png`.

    Of more than two arms each pair after the first has its own: `verdict-2.svg`, ...
    """
    made = []
    for at, verdict in enumerate(found.verdicts, 1):
        name = CARD if at == 1 else CARD.replace(".", f"-{at}.")
        picture = svg(found, verdict)
        files.write_bytes(found.folder / name, picture.encode())
        made.append(found.folder / name)
        if (drawn := png(picture)) is not None:
            made.append((found.folder / name).with_suffix(".png"))
            files.write_bytes(made[-1], drawn)
    return made


def png(picture: str) -> bytes | None:
    """An SVG as a PNG; None without vl-convert-python, see `PNG`."""
    try:
        import vl_convert
    except ImportError:
        return None
    drawn: bytes = vl_convert.svg_to_png(picture, scale=1, ppi=72)
    return drawn


def svg(found: Findings, verdict: dict[str, Any]) -> str:
    """The card of one pair."""
    plan = found.plan
    parts = [
        tag("rect", width=WIDTH, height=HEIGHT, fill=_PAPER),
        tag("rect", width=WIDTH, height=8, fill=_INK),
        *_head(found, verdict),
        *_plot(found, verdict),
        tag("line", x1=LEFT, x2=RIGHT, y1=520, y2=520, stroke=_RULE, stroke_width=2),
        *_foot(found, verdict),
    ]
    told = f"{verdict['sentence']} Plan {plan.hash[:8]}."
    return str(
        tag("svg", tag("title", told), *parts, xmlns="http://www.w3.org/2000/svg", width=WIDTH,
            height=HEIGHT, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", lang="en")
    )  # fmt: skip


def _text(
    x: float, y: float, *content: object, size: float = 18, face: str = "sans",
    fill: str = _SECOND, anchor: str | None = None, bold: bool = False,
) -> Markup:  # fmt: skip
    return tag(
        "text", *content, x=x, y=y, fill=fill, font_size=size, font_family=_FONTS[face],
        text_anchor=anchor, font_weight=600 if bold else None,
    )  # fmt: skip


def _head(found: Findings, verdict: dict[str, Any]) -> list[Markup]:
    plan = found.plan
    about = clipped(f"{words.data(plan)}, {plan.size} size", 420, 18)
    room = RIGHT - LEFT - width(about, 18) - 40 - width(" against ", 18)
    pair = " against ".join(paired(verdict["name"], verdict["against"], room, 18))
    parts = [_text(LEFT, 66, pair), _text(RIGHT, 66, about, anchor="end")]
    told = words.headline(verdict)
    # One line as large as may be; what is longer takes two, smaller ones.
    size = next((s for s in (50, 46, 42, 38, 34, 31) if width(told, s, "serif") <= RIGHT - LEFT), 0)
    if size:
        parts.append(_text(LEFT, 132, told, size=size, face="serif", fill=_INK))
    else:
        for at, line in enumerate(lines(told, RIGHT - LEFT, 32, 2, "serif")):
            parts.append(_text(LEFT, 106 + 40 * at, line, size=32, face="serif", fill=_INK))
    design = f"Varied: {words.axis(plan)}. {words.seeds(plan, verdict)}, {words.equal(plan)}. "
    design += words.detectable(verdict) or ""
    size = next((s for s in (18, 16, 14) if width(design, s) <= RIGHT - LEFT), 14)
    parts.append(_text(LEFT, 178, clipped(design, RIGHT - LEFT, size), size=size))
    return parts


def _plot(found: Findings, verdict: dict[str, Any]) -> list[Markup]:
    plan, unit = found.plan, verdict["unit"]
    scale = Scale.over([verdict], plan)

    def at(part: float) -> float:
        return round(LEFT + (PLOT - LEFT) * part, 1)

    def place(value: float) -> float:
        return at(scale.part(value))

    low, high = (at(x) for x in scale.ends((-plan.margin, plan.margin)))
    parts = [tag("rect", x=low, y=TOP, width=round(high - low, 1), height=BOTTOM - TOP, fill=_ZONE)]
    for tick in scale.ticks:
        x = place(tick / scale.factor)
        parts.append(
            tag("line", x1=x, x2=x, y1=TOP + 30, y2=BOTTOM, stroke=_THIRD if tick == 0 else _RULE,
                stroke_width=1.5)
        )  # fmt: skip
        parts.append(_text(x, 450, tick_text(tick), anchor="middle"))
    for x in (low, high):
        parts.append(
            tag("line", x1=x, x2=x, y1=TOP, y2=BOTTOM, stroke=_THIRD, stroke_width=1.5,
                stroke_dasharray="6 5")
        )  # fmt: skip
    room = PLOT - LEFT - 24 - width("← better better →", 18)
    low_name, high_name = paired(*words.ends(verdict, plan), room, 18)
    parts.append(_text(LEFT, 218, f"← {low_name} better"))
    parts.append(_text(PLOT, 218, f"{high_name} better →", anchor="end"))
    level = 100 * (1 - plan.alpha)
    parts += _interval(verdict, scale, at)
    told = words.span(verdict["interval"], unit)
    parts += _figure(290, f"{words.difference(verdict)}", f"{level:.4g} % interval {told}")
    ticks = [_tick(limits, scale, at) for limits in verdict["each"]]
    parts += [x for x in ticks if x is not None]
    unseen = sum(x is None for x in ticks)
    beside = f"{unseen} of {len(ticks)} not seen" if unseen else f"each of the {len(ticks)} seeds"
    parts += _figure(340, "", beside)
    if plan.prediction is not None:
        limits = (plan.prediction.low, plan.prediction.high)
        parts += _bracket(*(at(x) for x in scale.ends(limits)))
        parts += _figure(390, "", f"predicted {words.span(limits, unit)}")
    equal = f"counts as equal: within {words.number(plan.margin, unit)}"
    parts += _figure(422, "", equal, fill=_THIRD)
    of = f"difference in {words.judged(plan)}, {UNITS[unit][2]}"
    if unit == "log2 samples":
        of = words.judged(plan)
    parts.append(_text(LEFT, 486, clipped(of, RIGHT - LEFT, 18)))
    return parts


def _figure(y: float, bold: str, rest: str, fill: str = _SECOND) -> list[Markup]:
    """A row's figures beside the plot; where they are long, in smaller type on two lines."""
    room, x = RIGHT - PLOT - 28, PLOT + 28
    parts = []
    if bold:
        parts.append(_text(x, y - 4, clipped(bold, room, 22, bold=True), size=22, bold=True,
                           fill=_INK))  # fmt: skip
        y += 18
    size = next((s for s in (18, 16, 14) if width(rest, s) <= room), 14)
    return [
        *parts,
        _text(x, y + (0 if bold else 6), clipped(rest, room, size), size=size, fill=fill),
    ]


def _interval(verdict: dict[str, Any], scale: Scale, at: Any) -> list[Markup]:
    low, high = (at(x) for x in scale.ends(verdict["interval"]))
    y, parts = 290, []
    if any(x is not None for x in verdict["interval"]):
        parts.append(tag("line", x1=low, x2=high, y1=y, y2=y, stroke=_INK, stroke_width=5))
    if verdict["difference"] is not None:
        x = at(scale.part(verdict["difference"]))
        parts.append(tag("circle", cx=x, cy=y, r=11, fill=_INK))
    return parts


def _tick(limits: Limits, scale: Scale, at: Any) -> Markup | None:
    """A seed: a tick; where a run did not reach the threshold, a line to the side where it is."""
    if limits[0] is None and limits[1] is None:
        return None
    low, high = (at(x) for x in scale.ends(limits))
    if low == high:
        return tag("line", x1=low, x2=low, y1=330, y2=350, stroke=_THIRD, stroke_width=2)
    return tag("line", x1=low, x2=high, y1=340, y2=340, stroke=_THIRD, stroke_width=2,
               stroke_opacity=0.6)  # fmt: skip


def _bracket(low: float, high: float) -> list[Markup]:
    lines_ = [(low, high, 390, 390), (low, low, 380, 400), (high, high, 380, 400)]
    return [
        tag("line", x1=a, x2=b, y1=c, y2=d, stroke=_THIRD, stroke_width=2) for a, b, c, d in lines_
    ]


def _foot(found: Findings, verdict: dict[str, Any]) -> list[Markup]:
    plan = found.plan
    spent = words.cost(found, verdict["name"], lambda name: clipped(name, 200, 18))
    other = f"other sizes than {plan.size}, other data than {words.data(plan)}, any paper"
    parts = []
    for y, bold, rest, right, face in (
        (556, "Cost", spent, f"plan {plan.hash[:4]} {plan.hash[4:8]}", "mono"),
        (590, "Says nothing about", other, "Sensorium", "sans"),
    ):
        head = LEFT + width(bold, 18, bold=True) + 12
        end = width(right, 18, face, bold=face == "sans") + 30
        parts += [
            _text(LEFT, y, bold, bold=True, fill=_INK),
            _text(round(head, 1), y, clipped(rest, RIGHT - end - head, 18)),
            _text(RIGHT, y, right, anchor="end", face=face, bold=face == "sans",
                  fill=_INK if face == "sans" else _SECOND),
        ]  # fmt: skip
    return parts
