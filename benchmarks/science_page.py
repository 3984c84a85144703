"""docs/science.svg and the made parts of docs/science.md, from benchmarks/results/science.json."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sensorium.comparison.lettering import clipped
from sensorium.comparison.verdict import UNITS
from sensorium.report.charts import Markup, tag

DOCS = Path(__file__).parent.parent / "docs"
PAGE, FIGURE = DOCS / "science.md", DOCS / "science.svg"
_MARK = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.S)
ROW, HEAD, WIDTH, LEFT, RIGHT = 48, 56, 1120, 400, 860
_INK, _SECOND, _THIRD, _RULE, _ZONE = "#1A1D21", "#4B5159", "#686E76", "#D8D8D0", "#EDEDE8"
_SANS = "Helvetica Neue, Arial, Liberation Sans, Noto Sans, sans-serif"
_SERIF = "Charter, Bitstream Charter, Cambria, Noto Serif, Liberation Serif, serif"


def publish(content: dict[str, Any]) -> None:
    """Writes the figure, and the tables between their marks."""
    FIGURE.write_text(figure(content["comparisons"]) + "\n", "utf-8")
    made = {
        "results": results(content["comparisons"]),
        "beside": beside(content["comparisons"]),
        "controls": controls(content["comparisons"]),
        "sizes": sizes(content["comparisons"]),
    }
    text = PAGE.read_text("utf-8")
    PAGE.write_text(_MARK.sub(lambda x: f"{x[1]}{made[x[2]]}\n{x[3]}", text), "utf-8")


def printed(value: float | None, unit: str, signed: bool = True) -> str:
    """A number as the page prints it: `+46.1`, or a dash where it is open."""
    if value is None:
        return "–"
    factor, decimals, _ = UNITS[unit]
    text = f"{abs(value * factor):.{decimals}f}"
    sign = "" if not float(text) else "−" if value < 0 else "+" if signed else ""
    return sign + text


def _span(limits: Any, unit: str) -> str:
    low, high = (printed(x, unit) for x in limits)
    return f"{low} to {high}"


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    return "\n".join([_cells(*heads), _cells(*["---"] * len(heads)), *(_cells(*x) for x in rows)])


def results(told: list[dict[str, Any]]) -> str:
    """What was expected, what came out, and the verdict: a row a pair."""
    rows = []
    for one in told:
        for verdict in one["verdicts"]:
            unit, expected = verdict["unit"], one["prediction"]
            guess = _span((expected["low"], expected["high"]), unit) if expected else "–"
            rows.append([
                f"`{one['name']}`, {one['size']}",
                f"{verdict['name']} against {verdict['against']}", guess,
                printed(verdict["difference"], unit), _span(verdict["interval"], unit),
                str(verdict["seeds"]), f"*{verdict['words']}*", verdict["prediction"] or "–",
            ])  # fmt: skip
    heads = ["plan, size", "arms", "expected", "found", "95 %", "seeds", "verdict", "prediction"]
    return _table(heads, rows)


def beside(told: list[dict[str, Any]]) -> str:
    """Further outcomes, told and not judged."""
    rows = [
        [f"`{one['name']}`, {one['size']}", x["outcome"],
         f"{x['name']} {printed(x['means'][0], 'share', False)}, "
         f"{x['against']} {printed(x['means'][1], 'share', False)}",
         printed(x["difference"], "share"), _span(x["interval"], "share")]
        for one in told for x in one["also"]
    ]  # fmt: skip
    return _table(["plan, size", "outcome", "means", "difference", "95 %"], rows)


def controls(told: list[dict[str, Any]]) -> str:
    """Means of the arms beside luck and the controls, of the outcome that was judged."""
    rows = []
    for one in told:
        share = one["verdicts"][0]["unit"] != "nats"
        arms = ", ".join(f"{x} {printed(y, 'share', False)}" for x, y in one["means"].items())
        asked = one["verdicts"][0]["outcome"].partition(": ")[2]
        beside = ", ".join(
            f"{x['control']} {printed(x['outcomes'].get(asked), 'share', False)}"
            for x in one["controls"] if asked in x["outcomes"]
        )  # fmt: skip
        luck = printed(one["floor"].get("chance"), "share", False) if share else "–"
        rows.append([f"`{one['name']}`, {one['size']}", asked, arms, luck, beside or "–"])
    return _table(["plan, size", "outcome", "arms", "luck", "controls"], rows)


def sizes(told: list[dict[str, Any]]) -> str:
    """The same question at two sizes, where both were run."""
    by_name: dict[str, dict[str, Any]] = {}
    for one in told:
        by_name.setdefault(one["name"], {})[one["size"]] = one["verdicts"][0]
    rows = [
        [f"`{name}`", *(f"{printed(x[size]['difference'], x[size]['unit'])} "
                        f"({_span(x[size]['interval'], x[size]['unit'])})"
                        for size in ("micro", "tiny"))]
        for name, x in by_name.items() if {"micro", "tiny"} <= set(x)
    ]  # fmt: skip
    return _table(["plan", "micro", "tiny"], rows) if rows else "Not run at two sizes yet."


def _text(x: float, y: float, content: str, size: int = 14, **more: Any) -> Markup:
    more = {"fill": _SECOND, "font_family": _SANS, **more}
    return tag("text", content, x=x, y=y, font_size=size, **more)


def figure(told: list[dict[str, Any]]) -> str:
    """Measured against predicted, differences of shares: a row a pair."""
    rows = [(one, v) for one in told for v in one["verdicts"] if v["unit"] == "share"]
    height = HEAD + ROW * len(rows) + 16
    limits = [100 * x for one, v in rows for x in (*v["interval"], *_guess(one)) if x is not None]
    low, high = min([-5.0, *limits]), max([5.0, *limits])

    def place(value: float) -> float:
        return LEFT + (RIGHT - LEFT) * (100 * value - low) / (high - low)

    parts: list[Markup] = [tag("rect", width=WIDTH, height=height, fill="#FCFCFA")]
    parts.append(_text(16, 32, "comparison, size", 13, font_weight=600))
    parts.append(_text(RIGHT + 24, 32, "points, verdict", 13, font_weight=600))
    for tick in range(int(low // 10) * 10, int(high) + 1, 10):
        if low <= tick <= high:
            x = place(tick / 100)
            parts.append(tag("line", x1=x, x2=x, y1=HEAD - 14, y2=height - 16, stroke=_RULE))
            sign = "+" if tick > 0 else "−" if tick < 0 else ""
            parts.append(_text(x, 32, f"{sign}{abs(tick)}", 12, text_anchor="middle"))
    zero = place(0)
    parts.append(tag("line", x1=zero, x2=zero, y1=HEAD - 14, y2=height - 16, stroke=_INK))
    for at, (one, verdict) in enumerate(rows):
        y = HEAD + ROW * at
        parts += _row(one, verdict, y, place)
    return str(
        tag("svg", tag("title", "Measured against predicted differences"), *parts,
            xmlns="http://www.w3.org/2000/svg", width=WIDTH, height=height, role="img",
            viewBox=f"0 0 {WIDTH} {height}", lang="en")
    )  # fmt: skip


def _guess(one: dict[str, Any]) -> tuple[float | None, float | None]:
    expected = one["prediction"]
    return (expected["low"], expected["high"]) if expected else (None, None)


def _row(one: dict[str, Any], verdict: dict[str, Any], y: float, place: Any) -> list[Markup]:
    margin, (low, high) = one["margin"], verdict["interval"]
    zone = dict(x=place(-margin), y=y, width=place(margin) - place(-margin), height=ROW - 6)
    pair = f"{verdict['name']} against {verdict['against']}"
    parts = [
        tag("rect", **zone, fill=_ZONE),
        _text(16, y + 18, clipped(pair, 370, 14), fill=_INK, font_weight=600),
        _text(16, y + 36, clipped(f"{one['name']}, {one['size']}, {verdict['seeds']} seeds", 370,
                                  12), 12),
        tag("line", x1=place(low), x2=place(high), y1=y + 14, y2=y + 14, stroke=_INK,
            stroke_width=2.6),
        tag("circle", cx=place(verdict["difference"]), cy=y + 14, r=5.5, fill=_INK),
        _text(RIGHT + 24, y + 18, printed(verdict["difference"], "share"), fill=_INK,
              font_weight=600),
        _text(RIGHT + 24, y + 36, clipped(verdict["words"], 230, 13, "serif"), 13, fill=_INK,
              font_family=_SERIF),
    ]  # fmt: skip
    first, last = _guess(one)
    if first is not None and last is not None:
        a, b = place(first), place(last)
        parts += [
            tag("line", x1=x, x2=x2, y1=y1, y2=y2, stroke=_THIRD, stroke_width=1.5)
            for x, x2, y1, y2 in ((a, b, y + 32, y + 32), (a, a, y + 28, y + 36),
                                  (b, b, y + 28, y + 36))
        ]  # fmt: skip
    return parts
