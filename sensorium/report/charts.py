"""Charts of the report as inline SVG.

X is given in percent and type in pixels: a chart stretches with the page while circles stay round
and labels keep their size. Nothing refers outside itself, not even to an id.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from sensorium.report.words import decimal, direction_words, label, logarithm, odds, share

# --- markup ------------------------------------------------------------------------------------


class Markup(str):
    """Text that is HTML already. Any other string is escaped when it becomes part of a page."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """One element; children and attribute values are escaped unless they are Markup.

    Args:
        name: of the element; one without children closes itself inside SVG and void elements.
        children: text or Markup; None is left out.
        attributes: `class_` is class, `_` becomes `-`; None and False are left out, True is bare.
    """
    given = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        given += f" {key}" if value is True else f' {key}="{escape(str(value))}"'
    if not children and name in _VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{join(*children)}</{name}>")


def join(*parts: object) -> Markup:
    """Parts one after another; what is not Markup is escaped."""
    return Markup(
        "".join(x if isinstance(x, Markup) else escape(str(x)) for x in parts if x is not None)
    )


_VOID = {"img", "meta", "link", "br", "col"}

# --- scales ------------------------------------------------------------------------------------


def steps_of(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most` round ticks that enclose low and high."""
    span = max(high - low, 0.1 * abs(high), 1e-9)  # a flat line still needs an axis
    power = 10 ** math.floor(math.log10(span / (most - 1)))
    for factor in (1, 2, 2.5, 5, 10, 20, 25, 50):
        step = factor * power
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        last = max(last, first + 1)
        if last - first + 1 <= most:
            return [round(at * step, 12) for at in range(first, last + 1)]
    raise AssertionError("a factor of 50 always encloses the range")


# --- the axis of the score table ---------------------------------------------------------------


@dataclass(frozen=True)
class Axis:
    """A scale from zero, printed once on top of the table."""

    ticks: list[float]

    @classmethod
    def over(cls, highest: float, most: float | None = 1.0) -> Axis:
        """From 0 to a round number above the highest, at most `most` if there is one."""
        if most is None:
            return cls(steps_of(0, max(highest, 0.01)))
        top = min(max(highest, 0.01), most)
        return cls([tick for tick in steps_of(0, top) if tick <= most])

    def at(self, value: float) -> str:
        """The place of a value, in percent."""
        return f"{100 * min(max(value / self.ticks[-1], 0), 1):.2f}%"

    def head(self) -> Markup:
        """The printed ticks."""
        marks = [
            tag("text", _tick(t), x=self.at(t), y=15, text_anchor="middle", class_="strong")
            for t in self.ticks
        ]
        return tag("svg", *marks, aria_hidden="true")

    def row(
        self,
        value: float | None,
        interval: Sequence[float] | None,
        luck: float | None,
        label: str | None = None,
        filled: bool = False,
    ) -> Markup:
        """One competitor: dot and whisker over the grid and the luck line.

        Args:
            value: None draws the grid alone.
            interval: of the value, or None.
            luck: where the dashed line runs, if there is one.
            label: written beside the luck line.
            filled: the run's own result; a control is hollow.
        """
        parts = [
            tag("line", x1=self.at(t), x2=self.at(t), y1=0, y2="100%", class_="grid")
            for t in self.ticks
        ]
        if luck is not None:
            x = self.at(luck)
            parts.append(tag("line", x1=x, x2=x, y1=0, y2="100%", class_="chance"))
            if label:
                left = luck > 0.7 * self.ticks[-1]
                given = dict(dx=-8, text_anchor="end") if left else dict(dx=8)
                parts.append(tag("text", label, x=x, y="50%", dy=4, class_="luck", **given))
        if value is not None:
            x = self.at(value)
            if interval is not None:
                low, high = (self.at(v) for v in interval)
                parts.append(tag("line", x1=low, x2=high, y1="50%", y2="50%", class_="whisker"))
            parts.append(tag("circle", cx=x, cy="50%", r=5.5 if filled else 4.2, class_="dot"))
        return tag("svg", *parts, aria_hidden="true")


def _tick(value: float) -> str:
    text = f"{value:.10f}".rstrip("0").rstrip(".")
    return text[1:] if text.startswith("0.") else text


# --- curves ------------------------------------------------------------------------------------

_TOP, _HIGH, _NARROW = 12, 208, 290.0  # plot from the top, its height; width labels must fit
_WIDTH = 6.3  # pixels of an average character of 12 px type, rounded up


@dataclass
class Curve:
    """What one chart of the learning section shows.

    lines: (name, points (step, value), whether it is the main one, or its class).
    unit: of what runs from left to right.
    luck: (value, label): dashed; the side of the first without skill is hatched: above it if
        `lower`, below it where less is worse and `hatched` says so.
    references: (value, label), solid.
    chosen: (step, value, label), or None.
    last: where the axis ends, in `unit`s unless `ticks` says what it counts.
    ticks: (place, label) along the axis, in place of steps.
    measured: (place, value, low, high): a dot with its interval.
    """

    title: str
    rest: str
    summary: str
    last: float
    lines: Sequence[tuple[str, list[tuple[float, float]], bool | str]]
    luck: list[tuple[float, str]] = field(default_factory=list)
    references: list[tuple[float, str]] = field(default_factory=list)
    chosen: tuple[float, float, str] | None = None
    lower: bool = False
    unit: str = "step"
    hatched: bool = False
    ticks: list[tuple[float, str]] = field(default_factory=list)
    measured: list[tuple[float, float, float, float]] = field(default_factory=list)

    def draw(self) -> Markup:
        """The SVG."""
        values = [v for _, points, _ in self.lines for _, v in points]
        values += [v for v, _ in (*self.luck, *self.references)]
        values += [high for *_, high in self.measured]
        low, high = min(values), max(values)
        if self.hatched and not self.lower:
            low = max(0.0, low - (high - low) / 12)  # so that some of the hatched side is seen
        elif not self.lower:
            low = 0.0
        self._ticks = steps_of(low, high, 6)
        self._placed: list[tuple[float, float, float, float]] = []
        # Where the lines run, sampled once: what labels keep clear of.
        self._runs = [
            (_NARROW * at / 60, self._y(self._value(points, at / 60)))
            for _, points, _ in self.lines
            for at in range(61)
        ]
        parts = [*self._grid(), *self._hatch(), *self._flat(), self._lines(), *self._dots()]
        if self.chosen is not None:
            step, value, _ = self.chosen
            parts.append(tag("circle", cx=self._x(step), cy=self._y(value), r=5.5, class_="chosen"))
        parts += self._labels()
        return tag("svg", *parts, class_="curve", role="img", aria_label=self.summary)

    def _x(self, step: float) -> str:
        return f"{100 * step / self.last:.2f}%"

    def _y(self, value: float) -> float:
        low, high = self._ticks[0], self._ticks[-1]
        return round(_TOP + _HIGH * (1 - (value - low) / (high - low)), 1)

    def _grid(self) -> list[Markup]:
        parts = []
        for tick in self._ticks:
            y = self._y(tick)
            parts.append(tag("line", x1=0, x2="100%", y1=y, y2=y, class_="grid"))
            parts.append(tag("text", _tick(tick), x=-10, y=y + 4, text_anchor="end"))
        if self.ticks:
            for at, told in self.ticks:
                anchor = "start" if at == 0 else "end" if at == self.last else "middle"
                place = dict(x=self._x(at), y=_TOP + _HIGH + 20, text_anchor=anchor)
                parts.append(tag("text", told, **place))
            return parts
        end = f"{self.last:,} {self.unit}" + ("s" if self.last != 1 else "")
        parts.append(tag("text", end, x="100%", y=_TOP + _HIGH + 20, text_anchor="end"))
        room = 1 - (len(end) + 3) * _WIDTH / _NARROW
        for tick in steps_of(0, self.last, 6):
            if tick == round(tick) and tick <= room * self.last:
                anchor = "start" if tick == 0 else "middle"
                text = f"{round(tick):,}"
                place = dict(x=self._x(tick), y=_TOP + _HIGH + 20)
                parts.append(tag("text", text, text_anchor=anchor, **place))
        return parts

    def _hatch(self) -> list[Markup]:
        """The side of the first luck line where there is no skill, in diagonals that nest clips."""
        if not self.luck or not (self.lower or self.hatched):
            return []
        line = self._y(self.luck[0][0])
        top, bottom = (_TOP, line) if self.lower else (line, _TOP + _HIGH)
        high = round(bottom - top, 1)
        if high < 3:
            return []
        path = "".join(f"M{x} {high}l{high} {-high}" for x in range(-int(high) - 1, 1400, 7))
        lines = tag("path", d=path, class_="hatch")
        return [tag("svg", lines, x=0, y=top, width="100%", height=high, class_="lines")]

    def _flat(self) -> list[Markup]:
        return [
            tag("line", x1=0, x2="100%", y1=self._y(value), y2=self._y(value), class_=kind)
            for kind, given in (("chance", self.luck), ("reference", self.references))
            for value, _ in given
        ]

    def _lines(self) -> Markup:
        drawn = []
        for _, points, main in sorted(self.lines, key=lambda line: line[2] is True):
            places = ((1000 * step / self.last, self._y(value) - _TOP) for step, value in points)
            text = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            kind = main if isinstance(main, str) else None if main else "other"
            drawn.append(tag("polyline", points=text, class_=kind))
        return tag(
            "svg", *drawn, x=0, y=_TOP, width="100%", height=_HIGH, class_="lines",
            viewBox=f"0 0 1000 {_HIGH}", preserveAspectRatio="none", style="overflow:visible",
        )  # fmt: skip

    def _dots(self) -> list[Markup]:
        parts = []
        for at, value, low, high in self.measured:
            x = self._x(at)
            ends = dict(y1=self._y(low), y2=self._y(high))
            parts.append(tag("line", x1=x, x2=x, class_="whisker", **ends))
            parts.append(tag("circle", cx=x, cy=self._y(value), r=4.2, class_="dot"))
            middle = _NARROW * at / self.last
            self._placed.append((middle - 6, self._y(high), middle + 6, self._y(low)))
        return parts

    def _labels(self) -> list[Markup]:
        parts = []
        if self.chosen is not None:
            step, value, text = self.chosen
            parts.append(self._label(text, [step / self.last], value, "strong on", 9))
            x, y = _NARROW * step / self.last, self._y(value)
            self._placed.append((x - 7, y - 7, x + 7, y + 7))
        for value, text in self.luck:
            parts.append(self._label(text, [1.0, 0.0], value, "strong luck on", 4))
        for value, text in self.references:
            parts.append(self._label(text, [1.0, 0.0], value, "on", 4))
        for name, points, main in self.lines:
            if name:
                beside = not main or (isinstance(main, str) and main.startswith("other"))
                parts.append(self._along(name, points, "on" if beside else "strong on"))
        return parts

    def _along(self, text: str, points: list[tuple[float, float]], kind: str) -> Markup:
        """A label at the freest place beside its line."""
        tried = [
            place
            for at in (1.0, 0.8, 0.6, 0.45, 0.3, 0.15)
            for place in self._places(text, at, self._value(points, at), 7)
        ]
        return self._put(text, kind, tried)

    def _label(self, text: str, ats: list[float], value: float, kind: str, gap: float) -> Markup:
        tried = [place for at in ats for place in self._places(text, at, value, gap)]
        return self._put(text, kind, tried)

    def _put(self, text: str, kind: str, tried: list[tuple]) -> Markup:
        _, at, anchor, y, box = min(tried, key=lambda place: place[0])
        self._placed.append(box)
        return tag(
            "text", text, x=f"{100 * at:.2f}%", y=round(y, 1), text_anchor=anchor, class_=kind
        )

    def _places(self, text: str, at: float, value: float, gap: float) -> list[tuple]:
        """(cost, at, anchor, baseline, box) around a point, as if the chart were narrow."""
        width, found = len(text) * _WIDTH, []
        for away in (0, 10, 20):  # further off only where it is crowded: the first best wins
            for y in (self._y(value) - gap - away, self._y(value) + gap + 9 + away):
                for anchor, left in (("middle", 0.5), ("end", 1.0), ("start", 0.0)):
                    x = at * _NARROW - left * width
                    box = (x, y - 11, x + width, y + 3)
                    found.append((self._cost(box) + 1.5 * away, at, anchor, y, box))
        return found

    def _cost(self, box: tuple[float, float, float, float]) -> float:
        """How much a label would cover, and how far it would stick out."""
        left, top, right, bottom = box
        out = max(0.0, -left) + max(0.0, right - _NARROW)
        out += 4 * (max(0.0, 2 - top) + max(0.0, bottom - _TOP - _HIGH + 1))
        cost = 50 * out
        for l2, t2, r2, b2 in self._placed:
            cost += 40 * max(0.0, min(right, r2) - max(left, l2)) * (min(bottom, b2) > max(top, t2))
        for x, y in self._runs:
            cost += 20 * (left - 2 <= x <= right + 2 and top - 1 <= y <= bottom + 3)
        for value, _ in (*self.luck, *self.references):
            cost += 60 * (top + 1 < self._y(value) < bottom - 1)
        return cost

    def _value(self, points: list[tuple[float, float]], at: float) -> float:
        """A line's value at a share of the steps, between its points."""
        step = at * self.last
        before = points[0]
        for point in points:
            if point[0] >= step:
                if point[0] == before[0]:
                    return point[1]
                part = (step - before[0]) / (point[0] - before[0])
                return before[1] + part * (point[1] - before[1])
            before = point
        return before[1]


def thinned(points: list[tuple[float, float]], most: int = 200) -> tuple[list, int]:
    """Means over equal stretches where points outnumber pixels, and a stretch's length."""
    size = -(-len(points) // most)
    if size <= 1:
        return points, 1
    parts = [points[at : at + size] for at in range(0, len(points), size)]
    return [
        (sum(s for s, _ in part) / len(part), sum(v for _, v in part) / len(part)) for part in parts
    ], size


# --- learning ----------------------------------------------------------------------------------


def curves(
    log: list[dict[str, Any]], info: Mapping[str, Any], scores: list[dict[str, Any]]
) -> list[Curve]:
    """A chart per objective, then recall@1 on validation; none where nothing was logged.

    Args:
        log: lines of log.jsonl.
        info: of the run: the planned steps and the chosen one.
        scores: of the validation split, for the references in the second chart.
    """
    looks = [line for line in log if line["split"] == "validation"]
    steps = [line for line in log if line["split"] == "train"]
    if not looks:
        return []
    last = max(info.get("plan", {}).get("steps", 0), *(line["step"] for line in log), 1)
    best = info.get("best_step")
    at_best = next((line for line in looks if line["step"] == best), None)
    names = [name for name in looks[0] if f"{name}/no_skill" in looks[0]]
    made = [_loss(name, looks, steps, last, at_best) for name in names]
    measured = [name for name in looks[0] if name.endswith("/recall@1")]
    if measured:
        made.append(_recall(measured, looks, last, at_best, scores))
    return made


def _loss(
    name: str,
    looks: list[dict[str, Any]],
    steps: list[dict[str, Any]],
    last: int,
    best: dict[str, Any] | None,
) -> Curve:
    points = [(float(line["step"]), line[name]) for line in looks]
    train, stretch = thinned([(float(x["step"]), x[name]) for x in steps if name in x])
    luck = looks[-1][f"{name}/no_skill"]
    lucks = [(luck, f"no skill: {logarithm(luck)}")]
    rest = " on validation (bold) and on the batches it trains on"
    if stretch > 1:
        rest += f", mean of {stretch} steps"
    lines = [("validation", points, True)]
    if train:
        lines.append(("training batches", train, False))
        other = [x[f"{name}/no_skill"] for x in steps if f"{name}/no_skill" in x]
        other_luck = sorted(other)[len(other) // 2]
        # A smaller pool makes the same loss easier: each line is read against its own luck.
        if abs(other_luck - luck) > 0.01 * luck:
            lucks.append((other_luck, f"no skill, training: {logarithm(other_luck)}"))
    chosen = None
    if best:
        told = f"{decimal(best[name])} at step {best['step']:,}, chosen"
        chosen = (best["step"], best[name], told)
    end = best[name] if best else points[-1][1]
    summary = (
        f"{name} loss on validation: {decimal(points[0][1])} at the start, {decimal(end)} "
        f"{'at the chosen step' if best else 'at the end'}; no skill is {logarithm(luck)}."
    )
    return Curve(f"{name.replace('_', ' ').capitalize()} loss", rest, summary, last, lines, lucks,
                 chosen=chosen, lower=True)  # fmt: skip


def _recall(
    names: list[str],
    looks: list[dict[str, Any]],
    last: int,
    best: dict[str, Any] | None,
    scores: list[dict[str, Any]],
) -> Curve:
    names = sorted(names, key=lambda name: name != "text_to_image/recall@1")
    lines = []
    for at, name in enumerate(names):
        points = [(float(line["step"]), line[name]) for line in looks if name in line]
        lines.append((direction_words(name.partition("/")[0]), points, at == 0))
    first = names[0]
    lucks, references = [], []
    for score in scores:
        if f"{score['direction']}/{score['metric']}" == first:
            for key, given in score["controls"].items():
                value = given.get("value")
                if value is None or key.startswith("partner_shuffled"):
                    continue
                if key == "chance":
                    lucks.append((value, f"no skill: {odds(value)}"))
                else:
                    references.append((value, f"{label(key).partition(',')[0]} {share(value)}"))
    chosen = (best["step"], best[first], f"{share(best[first])}, chosen") if best else None
    end = best[first] if best else lines[0][1][-1][1]
    summary = (
        f"Recall@1 on validation, {lines[0][0]}: {share(lines[0][1][0][1])} at the start, "
        f"{share(end)} {'at the chosen step' if best else 'at the end'}."
    )
    return Curve("Recall@1", " on validation", summary, last, lines, lucks, references, chosen)
