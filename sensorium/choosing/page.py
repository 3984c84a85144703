"""The page of a choice, for somebody who has to decide and knows no machine learning: what to use,
then four questions, each with a picture and a few sentences, costs, what it does not say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sensorium.choosing import questions, wording
from sensorium.choosing.candidates import ADDITIVE, JOINT, single_of
from sensorium.choosing.wording import SHUFFLED, called, points
from sensorium.comparison import page as comparison
from sensorium.comparison.forest import tick_text
from sensorium.report.charts import Axis, Curve, Markup, steps_of, tag
from sensorium.report.page import document
from sensorium.report.parts import code_block, head_cell, listed, section_of, table_of, theirs
from sensorium.report.words import duration, in_hundred

STYLE = Path(__file__).with_name("page.css")
_SHORT = {"which": "Recipe", "earns": "Parts", "information": "Kind", "more": "More data"}
_KINDS = {"image": "pictures", "text": "texts", "table": "table"}


def page(result: Mapping[str, Any], folder: object) -> str:
    """The whole document."""
    pictures = {"which": _which, "earns": _earns, "information": _information, "more": _more}
    links, body = [], []
    for answer in result["answers"]:
        key = answer["key"]
        links.append((key, _SHORT[key]))
        content = [tag("p", answer["sentence"], class_="answer theirs"), *pictures[key](result)]
        body.append(section_of(key, answer["question"], content))
    body.append(section_of("cost", "What each recipe cost", _costs(result)))
    body.append(section_of("silence", "What this does not say", [listed(unsaid(result))]))
    links += [("cost", "Cost"), ("silence", "Limits")]
    body.append(section_of("next", "To go on", [
        tag("p", "Trains the recommended recipe for as long as one likes." if result["learned"]
            else "Asks the same with more time.", class_="prose"),
        code_block(wording.next_command(result, folder), "The next command"),
    ]))  # fmt: skip
    style = comparison.STYLE.read_text("utf-8") + STYLE.read_text("utf-8")
    return document(result["title"], links, [*_top(result), *body], style)


def _top(result: Mapping[str, Any]) -> list[Markup]:
    subject, request = result["subject"], result["request"]
    kinds = [_KINDS[x] for x in dict.fromkeys(subject["fields"].values()) if x in _KINDS]
    shown: dict[str, object] = {
        "data": subject["name"],
        "it reads": " and ".join(kinds),
        **({"it tells": f"{subject['label']}, {subject['classes']} classes"}
           if subject["label"] else {}),
        "training records": f"{subject['train']:,}",
        "test records": f"{result['items']:,}",
        "budget": duration(request["budget"]),
        "training a run": f"up to {duration(result['seconds_each'])}",
        "runs of each": str(result["seeds"]),
        "decided before": tag("span", result["choice"][:8], class_="mono"),
    }  # fmt: skip
    given = [tag("div", tag("dt", k), tag("dd", v, class_="theirs")) for k, v in shown.items()]
    return [
        theirs("p", subject["name"], class_="where mono"),
        theirs("h1", result["title"], class_="verdict"),
        tag("dl", *given, class_="facts"),
    ]


# --- scores ------------------------------------------------------------------------------------


def _which(result: Mapping[str, Any]) -> list[Markup]:
    names = sorted((x["name"] for x in result["scores"] if x["name"] != SHUFFLED),
                   key=lambda name: -wording.mean(result, name))  # fmt: skip
    names.sort(key=lambda name: name != result["best"])
    return _scores(result, [*names, SHUFFLED], [result["best"]], _lead(result))


def _earns(result: Mapping[str, Any]) -> list[Markup]:
    together = result["answers"][1]["together"]
    if together is None:
        return _scores(result, [result["best"], SHUFFLED], [result["best"]], "")
    singles = [single_of(x) for x in wording.modalities_of(result["subject"])]
    return _scores(result, [together, *singles], [together], "")


def _lead(result: Mapping[str, Any]) -> str:
    return (f"How many times in 100 each {wording.does(result)}. Line: 95 % interval. Filled: "
            "recommended. Hollow: what it must beat. Dashed: luck.")  # fmt: skip


def _scores(
    result: Mapping[str, Any], names: Sequence[str], filled: Sequence[str], lead: str
) -> list[Markup]:
    """Rows of scores on one axis, luck last."""
    known = {x["name"]: x for x in result["scores"]}
    rows = [known[name] for name in names if name in known]
    axis = Axis.over(100 * max(x["interval"][1] for x in rows), 100.0)
    luck = result["luck"]
    body = [
        _row(axis, called(x["name"]), x["mean"], x["interval"], luck, x["name"] in filled)
        for x in rows
    ]
    body.append(_row(axis, "luck", luck, None, luck, False, "luck"))
    heads = [
        head_cell("recipe", class_="name"),
        head_cell("in 100", class_="value"),
        head_cell("95 % interval", class_="interval"),
        tag("th", tag("span", "plot", class_="unseen"), axis.head(), class_="plot", scope="col"),
    ]
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body), class_="scores")
    return [*([tag("p", lead, class_="note theirs")] if lead else []), table]


def _row(
    axis: Axis, name: str, value: float, interval: Sequence[float] | None, luck: float, own: bool,
    kind: str = "",
) -> Markup:  # fmt: skip
    told = "" if interval is None else " to ".join(in_hundred(max(0.0, x)) for x in interval)
    kept = None if interval is None else [100 * max(0.0, x) for x in interval]
    return tag(
        "tr",
        theirs("th", name, class_="name", scope="row"),
        tag("td", in_hundred(value), class_="value"),
        tag("td", told, class_="interval"),
        tag(
            "td",
            axis.row(None if kind else 100 * value, kept, 100 * luck, filled=own),
            class_="plot",
        ),
        class_="run" if own else kind or None,
    )


# --- differences -------------------------------------------------------------------------------


def _information(result: Mapping[str, Any]) -> list[Markup]:
    together = result["answers"][1]["together"]
    if together is None:
        return []
    wanted = [(JOINT, ADDITIVE), *(
        (together, single_of(x)) for x in wording.modalities_of(result["subject"])
    )]  # fmt: skip
    found = questions.both_ways(result["verdicts"])
    rows = [found[pair] for pair in wanted if pair in found]
    if not rows:
        return []
    margin = 100 * result["margin"]
    ends = [100 * x for row in rows for x in row["interval"]]
    ticks = steps_of(min(*ends, -margin), max(*ends, margin), 6)
    low, wide = ticks[0], ticks[-1] - ticks[0]

    def at(value: float) -> str:
        return f"{100 * min(max((value - low) / wide, 0), 1):.2f}%"

    def picture(row: Mapping[str, Any]) -> Markup:
        first, last = (100 * x for x in row["interval"])
        zone = 100 * 2 * margin / wide
        parts = [
            tag("rect", x=at(-margin), y=0, width=f"{zone:.2f}%", height="100%", class_="zone"),
            *(tag("line", x1=at(t), x2=at(t), y1=0, y2="100%", class_="zero" if t == 0 else "grid")
              for t in ticks),
            tag("line", x1=at(first), x2=at(last), y1="50%", y2="50%", class_="whisker"),
            tag("circle", cx=at(100 * row["difference"]), cy="50%", r=5.5, class_="dot"),
        ]  # fmt: skip
        return tag("svg", *parts, aria_hidden="true")

    marks = [tag("text", tick_text(t), x=at(t), y=15, text_anchor="middle", class_="strong")
             for t in ticks]  # fmt: skip
    heads = [
        head_cell("difference", class_="name"),
        head_cell("points", class_="value"),
        head_cell("95 % interval", class_="interval"),
        tag("th", tag("span", "plot", class_="unseen"), tag("svg", *marks, aria_hidden="true"),
            class_="plot", scope="col"),
    ]  # fmt: skip
    body = [
        tag(
            "tr",
            theirs("th", f"{row['name']} over {row['against']}", class_="name", scope="row"),
            tag("td", points(row["difference"]), class_="value"),
            tag("td", " to ".join(map(points, row["interval"])), class_="interval"),
            tag("td", picture(row), class_="plot"),
            class_="run",
        )
        for row in rows
    ]
    lead = f"Right of 0: the first is better. Grey: too small to matter, within {margin:g} points."
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body),
                class_="scores apart")  # fmt: skip
    return [tag("p", lead, class_="note"), table]


# --- more records ------------------------------------------------------------------------------


def _more(result: Mapping[str, Any]) -> list[Markup]:
    told = result["curve"]
    if told is None:
        return []
    first, end = told["records"][0], told["at"]
    pad = 0.25  # of a doubling, so that dots do not lie on the axis

    def at(n: float) -> float:
        return (math.log2(n / first) + pad) / (math.log2(end / first) + 2 * pad)

    last = told["records"][-1]
    line = [(at(n), y) for n, y in told["line"]]
    known = [point for point, (n, _) in zip(line, told["line"], strict=True) if n <= last * 1.01]
    beyond = [point for point in line if point not in known[:-1]]
    low, high = told["score_interval"]
    curve = Curve(
        "Score against training records",
        ", each step twice as many. Dots: measured, with 95 % intervals. Hollow: expected.",
        result["answers"][3]["sentence"],
        1.0,
        [("", known, True), ("expected", beyond, "other dotted")],
        luck=[(result["luck"], f"luck {in_hundred(result['luck'])} in 100")],
        ticks=[(at(n), f"{n:,}") for n in (*told["records"], end)],
        measured=[
            *((at(n), y, max(0.0, lo), min(1.0, hi)) for n, y, (lo, hi) in
              zip(told["records"], told["means"], told["intervals"], strict=True)),
            (at(end), told["score"], low, high),
        ],
    )  # fmt: skip
    caption = tag("figcaption", tag("b", curve.title), curve.rest)
    return [tag("div", tag("figure", caption, curve.draw()), class_="curves learning")]


# --- the rest ----------------------------------------------------------------------------------


def _costs(result: Mapping[str, Any]) -> list[Markup]:
    rows = [
        tag(
            "tr",
            theirs("th", name, scope="row"),
            *(
                tag("td", told, data_unit=unit)
                for unit, told in (
                    ("training", duration(run["seconds"])),
                    ("steps", f"{run['steps']:,}"),
                    ("records seen", f"{run['samples']:,.0f}"),
                    ("numbers trained", f"{run['parameters']:,}"),
                )
            ),
        )
        for name, run in result["costs"].items()
    ]
    heads = [head_cell(x) for x in ("recipe", "training", "steps", "records seen",
                                    "numbers trained")]  # fmt: skip
    lead = "One run, at the speed measured before the first one. A recipe that says when it is " \
           "done may take less than its time."  # fmt: skip
    return [tag("p", lead, class_="prose"), table_of(heads, rows, "costs")]


def unsaid(result: Mapping[str, Any]) -> list[str]:
    """What a choice does not say, each a sentence."""
    told = [
        "Which recipe is best with more time: all had the same, "
        f"{duration(result['seconds_each'])} a run, on this machine.",
        "How recipes do when each is tuned: they ran with the rates that they come with.",
        "Anything about larger models: what is trained from scratch here is small (micro).",
        "Anything about records that are not like these: test records are drawn from the same "
        "data.",
        f"More than {result['seeds']} seeds tell of other draws of the start.",
    ]
    if result["subject"]["label"] is not None:
        told.append("Whether frozen models of others tell it better: all of these learn from your "
                    "records alone.")  # fmt: skip
        told.append("Which rule the records follow: redundant, unique and synergistic are said of "
                    "what these recipes got at.")  # fmt: skip
    if result["curve"] is not None:
        told.append("What ten times the records give: the curve is taken to go on for one "
                    "doubling.")  # fmt: skip
    return [*told, *result["notes"]]
