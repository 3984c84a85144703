"""The report of a comparison as one page: verdict, differences, scores beside controls, curves,
costs, what differs, the plan, what it does not say. Asks for nothing, reads without script, prints.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from sensorium import files
from sensorium.comparison import card, words
from sensorium.comparison.arms import FACTS, complete, leaves
from sensorium.comparison.curves import curves
from sensorium.comparison.findings import CARD, REPORT, RUNS, Findings, read
from sensorium.comparison.forest import forest
from sensorium.comparison.plan import ANALYSIS, Plan
from sensorium.comparison.verdict import UNITS
from sensorium.errors import command
from sensorium.recipe import check
from sensorium.report.charts import Axis, Markup, join, tag
from sensorium.report.facts import Gap
from sensorium.report.page import document
from sensorium.report.parts import code_block, head_cell, listed, section_of, table_of, theirs

STYLE = Path(__file__).with_name("page.css")
ASIDE = ("seed", "budget", "optimiser.learning_rate", "optimiser.weight_decay")  # not of the axis
CONTROLS = {
    "shuffled": "partner shuffled",
    "untrained": "untrained weights",
    "additive": "scores only add",
}


def publish(folder: Path) -> list[Path]:
    """Writes the report and the cards of a finished comparison; gives their places.

    Raises:
        RunError: it is not finished, or damaged.
    """
    found = read(folder)
    cards = card.write(found)
    files.write_bytes(folder / REPORT, page(found).encode("utf-8", "replace"))
    return [folder / REPORT, *cards]


def page(found: Findings) -> str:
    """The whole document."""
    sections = [
        ("difference", "Difference", "Difference, seed by seed", _difference(found)),
        ("scores", "Scores", "Scores, beside what they must beat", _scores(found)),
        ("learning", "Learning", "Learning", _learning(found)),
        ("cost", "Cost", "What each arm costs", _costs(found)),
        ("arms", "Arms", "What the arms differ in", _arms(found)),
        ("plan", "Plan", "The plan, written before the first run", _plan(found)),
        ("silence", "Limits", "What it does not say", [listed(words.unsaid(found))]),
    ]
    body = [section_of(key, title, content) for key, _, title, content in sections]
    body.append(section_of("next", "To try next", _next(found)))
    links = [(key, name) for key, name, _, _ in sections]
    title = words.title(found.verdicts)
    style = STYLE.read_text(encoding="utf-8")
    return document(f"{title} {found.folder}", links, [*_top(found), *body], style)


def control_name(name: str) -> str:
    """What people call a control."""
    kept = name.partition("only:")[2]
    return f"{kept} alone" if kept else CONTROLS.get(name, name)


def _top(found: Findings) -> list[Markup]:
    plan = found.plan
    parts = [
        theirs("p", str(found.folder), class_="where mono"),
        theirs("h1", words.title(found.verdicts), class_="verdict"),
    ]
    told = [f"{plan.question}"]
    for verdict in found.verdicts:
        several = f"{verdict['name']}: " if len(found.verdicts) > 1 else ""
        figure = words.difference(verdict)
        if figure != "–":
            told.append(
                f"{several}difference {figure} {UNITS[verdict['unit']][2]}, "
                f"{100 * verdict['level']:.4g} % interval "
                f"{words.span(verdict['interval'], verdict['unit'])}."
            )
        told += filter(None, [words.detectable(verdict), words.kept(verdict, plan)])
    parts.append(theirs("p", " ".join(told), class_="prose"))
    shown = {
        "varied": words.axis(plan),
        "data": words.data(plan),
        "size": plan.size,
        "budget": str(plan.budget),
        "seeds": str(len(plan.seeds)),
        "judged": words.judged(plan),
        "margin": words.amount(plan.margin, found.verdicts[0]["unit"]),
        "plan": tag("span", f"{plan.hash[:4]} {plan.hash[4:8]}", class_="mono"),
    }
    given = [tag("div", tag("dt", k), tag("dd", v, class_="theirs")) for k, v in shown.items()]
    return [*parts, tag("dl", *given, class_="facts")]


def _difference(found: Findings) -> list[Markup]:
    plan = found.plan
    equal = words.amount(plan.margin, found.verdicts[0]["unit"])
    lead = f"Dot: a seed, then the mean with its interval. Grey: counts as equal, within {equal}. "
    if plan.prediction is not None:
        lead += "Bracket: predicted before the first run. "
    if plan.at == "threshold":
        lead += "A line to one side: a run did not reach the threshold, and that is what is known. "
    return [
        tag("p", lead, class_="prose"),
        forest(found),
        *(tag("p", verdict["sentence"], class_="note theirs") for verdict in found.verdicts),
    ]


# --- scores ------------------------------------------------------------------------------------


def _scores(found: Findings) -> list[Markup]:
    plan, unit = found.plan, found.plan.measure.unit
    ways = found.ways()
    lead = "Filled: arms. Hollow: controls. Dashed: what luck gives. "
    told = (f"{', '.join(arms)}: {how}" if len(ways) > 1 else how for how, arms in ways.items())
    lead += f"Asked: {'; '.join(told)}"
    items = next((row["items"] for arm in plan.names for row in found.runs(arm)), 0)
    rows = [tag("p", f"{lead}. {items:,} items of the test split.", class_="prose theirs")]
    values = [(arm, found.mean(arm), found.interval(arm), True) for arm in plan.names]
    controls = found.result["controls"]
    for one in controls:
        if plan.outcome in one["outcomes"]:
            value = one["outcomes"][plan.outcome]
            values.append((control_name(one["control"]), value, None, False))
    if found.best is not None:
        values.append(("best possible", found.best, None, False))
    highest = max(
        max(value, interval[1] if interval else value) for _, value, interval, _ in values
    )
    axis = Axis.over(highest, 1.0 if unit == "share" else None)
    luck = found.chance if unit == "share" else None
    asked = tag("th", words.outcome(plan.outcome), colspan=4, scope="rowgroup")
    body = [tag("tr", asked, class_="group theirs")]
    body += [_row(axis, *each, luck, unit) for each in values]
    if luck is not None:
        body.append(_row(axis, "no skill", luck, None, False, luck, unit, "luck"))
    heads = [
        head_cell("arms and controls", class_="name"),
        head_cell("value", class_="value"),
        head_cell(f"{100 * (1 - plan.alpha):.4g} % interval", class_="interval"),
        tag("th", tag("span", "plot", class_="unseen"), axis.head(), class_="plot", scope="col"),
    ]
    rows.append(tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body),
                    class_="scores", id="levels"))  # fmt: skip
    if controls:
        rows.append(
            tag("p", f"Controls are of {controls[0]['arm']}, the mean of {controls[0]['seeds']} "
                "seeds each.", class_="note theirs")
        )  # fmt: skip
    else:
        rows.append(tag("p", "No control was run.", class_="note"))
    if found.reached(plan.names[0]) is not None:
        counts = ", ".join(f"{arm} {found.reached(arm)}" for arm in plan.names)
        said = f"Runs of {len(plan.seeds)} that reached the threshold: {counts}."
        rows.append(tag("p", said, class_="note theirs"))
    return [*rows, *_also(found)]


def _row(
    axis: Axis, name: str, value: float, interval: tuple[float, float] | None, own: bool,
    luck: float | None, unit: str, kind: str = "",
) -> Markup:  # fmt: skip
    told = " – ".join(words.level(x, unit) for x in interval) if interval else ""
    picture = axis.row(None if kind == "luck" else value, interval, luck, filled=own)
    long = " long" if len(name) > 16 else ""
    return tag(
        "tr",
        theirs("th", name, class_=f"name{long}", scope="row"),
        tag("td", words.level(value, unit), class_="value"),
        tag("td", told, class_="interval"),
        tag("td", picture, class_="plot"),
        class_=" ".join(filter(None, ["run" if own else kind, "wide" if long else ""])) or None,
    )


def _also(found: Findings) -> list[Markup]:
    """What is told beside the judged outcome."""
    rows = []
    for one in found.result["also"]:
        kind = "nats" if one["outcome"].startswith("loss:") else "share"
        first, second = (words.level(x, kind) for x in one["means"])
        rows.append(
            tag(
                "tr",
                theirs("th", words.outcome(one["outcome"]), scope="row"),
                theirs("td", f"{one['name']} {first}, {one['against']} {second}"),
                tag("td", f"{words.number(one['difference'], kind, True)} "
                    f"({words.span(one['interval'], kind)})"),
            )
        )  # fmt: skip
    if not rows:
        return []
    heads = [head_cell("told beside, not judged"), head_cell("means"), head_cell("difference")]
    return [table_of(heads, rows, "also")]


# --- learning, cost, arms ----------------------------------------------------------------------


def _learning(found: Findings) -> list[Markup] | Gap:
    charts = curves(found)
    if not charts:
        return Gap("Curves", "no run was looked at on its way")
    figures = [
        tag("figure", tag("figcaption", tag("b", c.title), c.rest, class_="theirs"), c.draw())
        for c in charts
    ]
    return [tag("div", *figures, class_="curves" if len(charts) > 1 else "curves wide")]


def _costs(found: Findings) -> list[Markup]:
    costs, times = found.costs, words.ratios(found)
    first = found.plan.names[0]
    lead = f"One run, beside {first}. Seconds were measured on one thread; all else is counted."
    rows = []
    for arm in found.plan.names:
        cells = [theirs("th", arm, scope="row")]
        for unit in words.COSTS:
            ratio = times[arm][unit]
            amount = words.short(costs[arm][unit]) if unit in costs[arm] else "–"
            ratio_told = "–" if ratio is None else f"{ratio:.2f} ×"
            cells.append(
                tag("td", ratio_told, tag("small", amount), data_unit=words.unit_named(unit))
            )
        rows.append(tag("tr", *cells))
    heads = [head_cell("arm"), *(head_cell(words.unit_named(unit)) for unit in words.COSTS)]
    told = ". ".join(words.cost(found, arm) for arm in found.plan.names[1:])
    return [
        theirs("p", lead, class_="prose"),
        table_of(heads, rows, "costs"),
        theirs("p", f"{told}.", class_="note"),
    ]


def _arms(found: Findings) -> list[Markup]:
    plan = found.plan
    known = {arm: leaves(complete(check(dict(told["recipe"])))) for arm, told in found.arms.items()}
    paths = dict.fromkeys(path for told in known.values() for path in told)
    absent = object()
    blocks = []
    for path in paths:
        values = {arm: told.get(path, absent) for arm, told in known.items()}
        aside = path.split(".")[0] in FACTS or path in ASIDE
        if aside or all(value == next(iter(values.values())) for value in values.values()):
            continue
        pairs = [
            tag("dt", arm) + tag("dd", "–" if value is absent else _value(value), class_="mono")
            for arm, value in values.items()
        ]
        blocks.append(
            tag("div", theirs("p", path, class_="mono"), tag("dl", *map(Markup, pairs),
                class_="pairs theirs"))
        )  # fmt: skip
    lead = f"Arms are complete recipes, compared path by path; they differ under {plan.axis} alone."
    parts = [theirs("p", lead, class_="prose"), tag("div", *blocks, class_="axis")]
    for arm, rates in found.result["tuned"].items():
        if rates:
            chosen = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in rates.items())
            parts.append(theirs("p", f"Tuned on validation, {arm}: {chosen}.", class_="note"))
    if plan.sweep is None:
        parts.append(
            tag("p", "No rate was tuned: all arms ran with their recipe's.", class_="note")
        )
    return parts


def _value(value: Any) -> str:
    return (
        "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def plan_text(plan: Plan) -> str:
    """A plan as the YAML file that says the same."""
    from ruamel.yaml import YAML

    stream, writer = io.StringIO(), YAML()
    writer.default_flow_style = False
    writer.width = 100
    writer.dump(plan.model_dump(mode="json"), stream)
    return stream.getvalue().rstrip("\n")


def _plan(found: Findings) -> list[Markup]:
    plan = found.plan
    why = plan.prediction.why if plan.prediction is not None else ""
    lead = join("SHA-256 of plan, recipes and analysis ", str(ANALYSIS), ": ",
                tag("code", plan.hash, class_="theirs"), ".")  # fmt: skip
    parts = [tag("p", lead, class_="prose theirs")]
    if why:
        parts.append(theirs("p", f"Why this was predicted: {why}.", class_="prose"))
    return [*parts, tag("div", code_block(plan_text(plan), "Plan"), class_="fold")]


def _next(found: Findings) -> list[Markup]:
    items = [tag("div", tag("p", why), code_block(line, why)) for why, line in commands(found)]
    beside = f"Beside this page: {CARD}, to send; {RUNS}, one row a run and outcome."
    return [tag("div", *items, class_="commands"), tag("p", beside, class_="note")]


def commands(found: Findings) -> list[tuple[str, str]]:
    """(why, command) of what may come next, the most useful first."""
    query = "SELECT stage, arm, avg(value) FROM runs GROUP BY ALL"
    first = found.runs(found.plan.names[-1])
    made = [("Ask the table of runs", command("compare", "show", found.folder, "--sql", query))]
    if first and "run" in first[0]:
        place = found.folder / "runs" / first[0]["run"]
        made.append(("Look at one run as any other", command("report", place)))
    return made
