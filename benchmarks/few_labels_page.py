"""Tables and picture of docs/claim-few-labels.md, from the result file of `few_labels` alone.

The page's blocks `<!-- made: NAME -->` to `<!-- end -->` are written; the rest is left as it is.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.few_labels_statistics import FLOOR, LONGER, SCRATCH
from benchmarks.machine import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "claim-few-labels.md"
PICTURE = PAGE.with_name("few-labels.svg")
METRIC = "mean class accuracy"
NAMES = {"emoji": "Emoji", "tuxpaint": "Tux Paint", "fashion_mnist": "Fashion-MNIST"}
BLOCK = re.compile(r"<!-- made: ([a-z ]+?)(?:, ([a-z_]+))? -->\n.*?<!-- end -->", re.S)
SAID = {
    "scratch": "from scratch",
    "scratch, longer": "from scratch, longer",
    "pictures": "pictures alone",
    "captions": "captions",
    "both": "both",
    "emoji pictures": "pictures alone, of the emoji",
    "emoji captions": "captions, of the emoji",
    "untrained": "not trained",
    "towers": "EfficientNet-Lite0, frozen",
}

Result = dict[str, Any]


def write() -> None:
    """Writes page and picture anew."""
    result = json.loads((RESULTS / "few_labels.json").read_text(encoding="utf-8"))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), result), encoding="utf-8")
    PICTURE.write_text(picture(result), encoding="utf-8")


def filled(text: str, result: Result) -> str:
    """The page with its made blocks written from a result."""

    def block(found: re.Match[str]) -> str:
        head = found[0].partition("\n")[0]
        content = MADE[found[1]](result, found[2]) if found[2] else MADE[found[1]](result)
        return f"{head}\n{content}\n<!-- end -->"

    return BLOCK.sub(block, text)


# --- how figures are written --------------------------------------------------------------------


def share(value: float) -> str:
    """.384"""
    return f"{value:.3f}".removeprefix("0") if value < 0.9995 else "1"


def signed(value: float) -> str:
    """+.041, −.012, .000"""
    text = share(abs(value))
    return text if text == ".000" else ("+" if value > 0 else "−") + text


def span(score: Result, write_one: Callable[[float], str] = share) -> str:
    """.384 (.335 to .437)"""
    low, high = score["interval"]
    return f"{write_one(score['mean'])} ({write_one(low)} to {write_one(high)})"


def difference(score: Result) -> str:
    """+.041 (+.010 to +.072), better"""
    told = span(score, signed)
    return told if score["verdict"] == "cannot tell" else f"{told}, {score['verdict']}"


def arm(name: str) -> str:
    """An arm as the page says it: `pictures, full` is `pictures alone, all trained on`."""
    if name in SAID:
        return SAID[name]
    source, _, method = name.rpartition(", ")
    if source == "scratch":
        return SAID[source]
    return f"{SAID[source]}, {'all trained on' if method == 'full' else 'linear layer'}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def budgets(result: Result, name: str) -> list[str]:
    """The conditions that are dealt evenly and are budgets, by size."""
    told = result[name]["conditions"]
    biased = next(x for x in told if x.endswith("biased"))
    even, wanted = biased.partition(",")[0], result["settings"]["budgets"]
    kept = [x for x in told if x.isdigit() and (x != even or int(x) in wanted)]
    return sorted(kept, key=int)


def corpora(result: Result) -> list[str]:
    """Those that are measured, in the page's order."""
    return [name for name in NAMES if name in result]


# --- the blocks ---------------------------------------------------------------------------------


def _verdict(result: Result) -> str:
    lines = []
    for name in corpora(result):
        of = result[name]["minus"][SCRATCH]
        told: dict[str, Counter[str]] = {"all trained on": Counter(), "linear layer": Counter()}
        for condition in budgets(result, name):
            for a, score in of[condition].items():
                if not a.startswith(("untrained", "towers", "scratch")):
                    way = "all trained on" if a.endswith("full") else "linear layer"
                    told[way][score[METRIC]["verdict"]] += 1
        parts = [
            f"{way}: better in {n['better']}, worse in {n['worse']}, "
            f"cannot tell in {n['cannot tell']} of {n.total()}"
            for way, n in told.items()
        ]
        lines.append(f"- **{NAMES[name]}**, pre-trained against scratch; {'; '.join(parts)}.")
    count = sum(
        1
        for name in corpora(result)
        for x in result[name]["minus"][SCRATCH].values()
        for _ in x
    )  # fmt: skip
    lines.append(
        f"\nIn all {count} differences from scratch were looked at; were there no difference "
        f"anywhere, about {round(count / 20)} of their intervals would lie beside zero by luck."
    )
    return "\n".join(lines)


def _sizes(result: Result) -> str:
    rows = []
    for name in corpora(result):
        of = result[name]
        by_class = of["test pictures by class"].values()
        rows.append(
            [
                NAMES[name],
                f"{of['training pictures']:,}",
                f"{of['of them with a class']:,}",
                str(len(of["classes"])),
                f"{of['test pictures']:,} ({min(by_class)} to {max(by_class)} a class)",
                share(of["luck"]["mean class accuracy, either"]),
                share(of["luck"]["accuracy, the most frequent class in training"]),
                of["captions that say the class"] if name != "fashion_mnist" else "no captions",
            ]
        )
    head = ["", "training pictures", "with a class", "classes", "test pictures",
            "luck, mean class accuracy", "accuracy of the majority class",
            "captions with a word of the class"]  # fmt: skip
    return table(head, rows)


def _scores(result: Result, name: str) -> str:
    of = result[name]["conditions"]
    columns = budgets(result, name)
    arms = dict.fromkeys(a for x in columns for a in of[x])
    rows = [
        [arm(a), *(span(of[x][a][METRIC]) if a in of[x] else "" for x in columns)] for a in arms
    ]
    luck = share(result[name]["luck"]["mean class accuracy, either"])
    rows.append(["*luck*, or one class always", *(luck for _ in columns)])
    return table(["", *(f"{int(x):,} labels" for x in columns)], rows)


def _differences(result: Result, name: str) -> str:
    of = result[name]["minus"][SCRATCH]
    columns = budgets(result, name)
    arms = dict.fromkeys(a for x in columns for a in of[x])
    rows = [
        [arm(a), *(difference(of[x][a][METRIC]) if a in of[x] else "" for x in columns)]
        for a in arms
    ]
    return table(["minus scratch", *(f"{int(x):,} labels" for x in columns)], rows)


def _longer(result: Result) -> str:
    """With 100 labels, what was pre-trained against scratch with as many more steps."""
    rows = []
    for name in corpora(result):
        ((condition, of),) = result[name]["minus"][LONGER].items()
        against = result[name]["minus"][SCRATCH][condition][LONGER]
        rows.append([f"{NAMES[name]}, from scratch, longer", difference(against[METRIC]), ""])
        for a in (a for a in of if a.endswith("full") and a != SCRATCH):
            against = result[name]["minus"][SCRATCH][condition][a]
            told = [difference(x[METRIC]) for x in (against, of[a])]
            rows.append([f"{NAMES[name]}, {arm(a)}", *told])
    return table(["100 labels", "minus scratch", "minus scratch, longer"], rows)


def _floor(result: Result) -> str:
    """Linear layers on what was pre-trained, against one on initial weights."""
    rows = []
    for name in corpora(result):
        of, columns = result[name]["minus"][FLOOR], budgets(result, name)
        for a in (a for a in of[columns[0]] if a.endswith("linear") and "towers" not in a):
            cells = [difference(of[x][a][METRIC]) for x in columns]
            rows.append([f"{NAMES[name]}, {arm(a)}", *cells])
    return table(["minus not trained", "10 labels", "100 labels", "1,000, or all"], rows)


def _captions(result: Result) -> str:
    rows = []
    for name in corpora(result):
        of = result[name]["captions minus pictures"]
        for method in ("full", "linear"):
            own = next(a for a in of[budgets(result, name)[0]] if a.endswith(method))
            way = "all trained on" if method == "full" else "linear layer"
            cells = [difference(of[x][own][METRIC]) for x in budgets(result, name)]
            rows.append([f"{NAMES[name]}, {way}", *cells])
    return table(
        ["captions minus pictures alone", "10 labels", "100 labels", "1,000, or all"], rows
    )


def _bias(result: Result, name: str) -> str:
    of = result[name]
    biased = next(x for x in of["conditions"] if x.endswith("biased"))
    rows = []
    for a, told in of["bias"].items():
        scratch = a == "scratch, full"
        rows.append(
            [
                arm(a),
                span(of["conditions"][biased.partition(",")[0]][a][METRIC]),
                span(of["conditions"][biased][a][METRIC]),
                difference(told["biased minus even"][METRIC]),
                "" if scratch else difference(told["that minus scratch's"][METRIC]),
                share(told["accuracy where labels were"]),
                share(told["accuracy where none were"]),
                "" if scratch else difference(told["where none were, minus scratch"]),
            ]
        )
    count = biased.partition(",")[0]
    head = [f"{count} labels", "even", "biased", "biased minus even", "that minus scratch's",
            "accuracy, the half with labels", "accuracy, the half without",
            "the half without, minus scratch"]  # fmt: skip
    return table(head, rows)


def _costs(result: Result) -> str:
    names = corpora(result)
    rows = list(dict.fromkeys(x for name in names for x in result[name]["seconds"]))
    cells = [
        [what, *(_seconds(result[name]["seconds"].get(what)) for name in names)] for what in rows
    ]
    return table(["CPU seconds, mean", *(NAMES[name] for name in names)], cells)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 1 else f"{value:.0f}"


def _settings(result: Result) -> str:
    of, encoder = result["settings"], result["encoder of pictures"]
    return (
        f"Encoder of pictures: {encoder['parameters']:,} parameters. "
        f"Pre-training: {of['pretraining']} steps of 128 pictures. "
        f"Fits: batches of at most {of['batch']}, {of['passes']} passes and at least "
        f"{of['fewest_steps']} steps, learning rate {of['rate']:g} from scratch and "
        f"{of['tuning_rate']:g} after pre-training. "
        f"Fashion-MNIST: {of['pool']:,} of its training and {of['asked']:,} of its test pictures, "
        "drawn by key. "
        f"Measured {result['machine']['date'][:10]} on {result['machine']['processor']}, CPU."
    )


MADE: dict[str, Callable[..., str]] = {
    "verdict": _verdict,
    "sizes": _sizes,
    "settings": _settings,
    "scores": _scores,
    "differences": _differences,
    "longer": _longer,
    "floor": _floor,
    "captions": _captions,
    "bias": _bias,
    "costs": _costs,
}

# --- the picture --------------------------------------------------------------------------------

WIDE, HIGH, LEFT, TOP, TALL, PLOT, GAP = 1152, 372, 56, 56, 248, 168, 192
DRAWN = {  # arm -> (colour, filled, word)
    "scratch, full": ("ink-3", False, "scratch"),
    "scratch, longer": ("ink-3", False, "scratch, longer"),
    "pictures, full": ("single", True, "pictures alone"),
    "captions, full": ("two", True, "captions"),
    "both, full": ("dual", True, "both"),
    "emoji pictures, full": ("decoder", True, "emoji pictures"),
    "emoji captions, full": ("two", True, "emoji captions"),
    "towers, linear": ("ink-3", False, "frozen tower"),
}
_STYLE = """
svg{--paper:#FCFCFA;--rule:#D8D8D0;--ink:#1A1D21;--ink-2:#4B5159;--ink-3:#686E76;--single:#1E7DD4;
--two:#C04A1C;--dual:#005A45;--decoder:#7A2A86;--chance:#83620C}
@media(prefers-color-scheme:dark){svg{--paper:#14171A;--rule:#383E45;--ink:#ECEDEA;--ink-2:#B6BCC2;
--ink-3:#90979F;--single:#4E9BFA;--two:#E08A54;--dual:#5FE3BC;--decoder:#E3BCF4;--chance:#D4AC4E}}
text{font:12px "Helvetica Neue",Arial,"Liberation Sans","Noto Sans",sans-serif;fill:var(--ink-2);
font-variant-numeric:tabular-nums lining-nums}
.head{font-size:15px;font-weight:600;fill:var(--ink)}
"""


def picture(result: Result) -> str:
    """Score against labels, one panel a corpus, as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" lang="en" viewBox="0 0 {WIDE} {HIGH}" '
        'role="img">',
        "<title>Mean class accuracy by number of labels, three corpora</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{WIDE}" height="{HIGH}" fill="var(--paper)"/>',
    ]
    for number, name in enumerate(corpora(result)):
        parts += _panel(result, name, LEFT + number * (PLOT + GAP + 8))
    low = "labels, log scale; lines are 95 % intervals over seeds and pictures"
    parts.append(f'<text x="{LEFT}" y="{HIGH - 12}">{low}</text></svg>\n')
    return "\n".join(parts)


def _panel(result: Result, name: str, left: float) -> list[str]:
    of, columns = result[name]["conditions"], budgets(result, name)
    base = TOP + TALL

    def x(labels: float) -> float:
        return left + 12 + (PLOT - 24) * (math.log10(labels) - 1) / 2

    def y(value: float) -> float:
        return base - TALL * value

    parts = [f'<text class="head" x="{left - 28}" y="24">{NAMES[name]}</text>']
    for tick in (0, 0.25, 0.5, 0.75, 1):
        word = "0" if tick == 0 else share(tick).rstrip("0")
        parts.append(_line(left, y(tick), left + PLOT, y(tick), "rule", 1))
        parts.append(f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{word}</text>')
    luck = result[name]["luck"]["mean class accuracy, either"]
    parts.append(f'<text x="{left - 28}" y="42">mean class accuracy</text>')
    parts.append(
        _line(left, y(luck), left + PLOT, y(luck), "chance", 1.5, ' stroke-dasharray="4 3"')
    )
    for label in columns:
        parts.append(
            f'<text x="{x(int(label)):.1f}" y="{base + 18}" text-anchor="middle">'
            f"{int(label):,}</text>"
        )
    shown = [a for a in DRAWN if any(a in of[c] for c in columns)]
    ends: list[tuple[float, str]] = []
    for at, a in enumerate(shown):
        colour, full, _ = DRAWN[a]
        aside = 4.0 * (at - (len(shown) - 1) / 2)
        points = [(x(int(c)) + aside, of[c][a][METRIC]) for c in columns if a in of[c]]
        path = " ".join(f"{px:.1f},{y(score['mean']):.1f}" for px, score in points)
        width = 1.5 if full else 1
        parts.append(f'<polyline points="{path}" fill="none" stroke="var(--{colour})" '
                     f'stroke-width="{width}" stroke-opacity=".55"/>')  # fmt: skip
        for px, score in points:
            low, high = score["interval"]
            parts.append(_line(px, y(low), px, y(high), colour, 2.2 if full else 1.5))
            parts.append(_dot(px, y(score["mean"]), a))
        ends.append((y(points[-1][1]["mean"]), a))
    last = x(int(columns[-1])) + 2.0 * len(shown)
    ends.append((y(luck), "luck"))
    for place, (own, a) in _apart(ends):
        begin = last + 4 if a in DRAWN else left + PLOT
        if a != LONGER:  # which has no point at the right
            parts.append(_line(begin, own, left + PLOT + 14, place, "rule", 1))
        word = DRAWN[a][2] if a in DRAWN else "luck"
        if a in DRAWN:
            parts.append(_dot(left + PLOT + 22, place, a))
        else:
            parts.append(_line(left + PLOT + 16, place, left + PLOT + 28, place, "chance", 1.5,
                               ' stroke-dasharray="4 3"'))  # fmt: skip
        parts.append(f'<text x="{left + PLOT + 34}" y="{place + 4:.1f}">{escape(word)}</text>')
    return parts


def _apart(ends: list[tuple[float, str]]) -> list[tuple[float, tuple[float, str]]]:
    """Heights at least 17 apart, in the order of the marks."""
    told: list[tuple[float, tuple[float, str]]] = []
    for own in sorted(ends):
        told.append((max(own[0], told[-1][0] + 17 if told else 0.0), own))
    over = max(0.0, told[-1][0] - (TOP + TALL))  # all move up where the last went below the axis
    return [(place - over, own) for place, own in told]


def _line(a: float, b: float, c: float, d: float, colour: str, width: float, more: str = "") -> str:
    return (
        f'<line x1="{a:.1f}" y1="{b:.1f}" x2="{c:.1f}" y2="{d:.1f}" stroke="var(--{colour})" '
        f'stroke-width="{width}"{more}/>'
    )


def _dot(x: float, y: float, a: str) -> str:
    """Filled is pre-trained here, hollow is a control: a circle scratch, a diamond scratch with
    more steps, a square the frozen tower."""
    colour, full, _ = DRAWN[a]
    fill = f"var(--{colour})" if full else "var(--paper)"
    drawn = f'fill="{fill}" stroke="var(--{colour})" stroke-width="1.5"'
    if a == LONGER:
        return f'<path d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z" {drawn}/>'
    if a.startswith("towers"):
        return f'<rect x="{x - 3.6:.1f}" y="{y - 3.6:.1f}" width="7.2" height="7.2" {drawn}/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{4.6 if full else 4.2}" {drawn}/>'
