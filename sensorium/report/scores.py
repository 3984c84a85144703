"""The scores as HTML: per task a table of dots and whiskers, then its other metrics as figures."""

from __future__ import annotations

from typing import Any

from sensorium.report.charts import Axis, Markup, tag
from sensorium.report.facts import Block, Facts, Gap, Row
from sensorium.report.parts import BLANK, head_cell
from sensorium.report.words import (
    AMOUNTS,
    TASKS,
    decimal,
    direction_words,
    figure,
    label,
    luck_of,
)

_PLURAL = {"image": "pictures", "text": "texts"}


def scores(facts: Facts) -> list[Markup] | Gap:
    """The section of scores: what each task asked, and how everybody did."""
    if isinstance(facts.blocks, Gap):
        return facts.blocks
    key = "Filled: measured here. Hollow: controls. Dashed: what luck gives. "
    groups: dict[tuple[str, str], list[Block]] = {}
    for block in facts.blocks:
        groups.setdefault((block.task, block.metrics[0]), []).append(block)
    several = len(groups) > 1
    made = [tag("p", key, class_="prose")] if several else []
    for (task, _), blocks in groups.items():
        if several:
            made.append(tag("h3", TASKS.get(task, task), class_="under"))
        told = _protocol(blocks[0])
        made.append(tag("p", told if several else key + told, class_="prose"))
        made += [_primary(blocks), *_rest(blocks)]
    made += [
        tag("p", f"Not asked: {told}.", class_="note")
        for told in facts.blocks[0].protocol.get("not_asked", [])
    ]
    return made


def _protocol(block: Block) -> str:
    """The protocol in words."""
    p = block.protocol
    if block.task == "retrieval":
        asked = _pool(block)
    else:
        ranked = not p["ties"].startswith("none")
        asked = f"{_asked(block)}; {p['ties']}" if ranked else _asked(block)
    sure = f"Intervals: {p['interval']}"
    if p["interval"].startswith("none: "):
        sure = f"No intervals: {p['interval'].removeprefix('none: ')}"
    return f"{asked}. {sure}. The step was chosen on {p['chosen_on']}."


def _pool(block: Block) -> str:
    p = block.protocol
    pool = _PLURAL.get(block.direction.partition("_to_")[2], "items")
    right = p["right_answers_per_query"]
    answers = "one right answer" if right == 1 else f"{decimal(right, 1)} right answers on average"
    return (
        f"{p['queries']:,} queries, each over a pool of {p['pool']:,} {pool} from all "
        f"{p['records']:,} records of the {p['split']} split, with {answers}; {p['ties']}"
    )


def _asked(block: Block) -> str:
    """What a task asked of whom."""
    p = block.protocol
    records = f"{p['records']:,} records of the {p['split']} split"
    match block.task:
        case "prediction":
            return (
                f"{p['tokens']:,} tokens of {records}, each one of {p['vocabulary']:,} entries; of "
                "nats (surprise at the truth) less is better"
            )
        case "matching":
            return f"{records}, each with its own partner and one wrong one: {p['wrong_partner']}"
        case "classification":
            lacked = p["of_classes_unknown_to_training"]
            more = f", {lacked:,} of classes that training lacked" if lacked else ""
            return f"{records}, {p['classes']:,} classes{more}"
        case "captioning":
            return (
                f"{records}, captions by {p['written']}, {p['distinct']}; words {p['words']}, "
                "so no published figure stands beside these"
            )
    batches = f"{p['batches']:,} batch{'es' if p['batches'] != 1 else ''}"
    return f"{records} in {batches} of {p['batch']:,}; less is better"


def _primary(blocks: list[Block]) -> Markup:
    """The first metric of each block on one axis: dots and whiskers."""
    metric = blocks[0].metrics[0]
    highest = max(_highest(row.scores.get(metric, {})) for b in blocks for row in b.rows)
    axis = Axis.over(highest, None if metric in AMOUNTS else 1.0)
    head = [("name", metric), ("value", "value"), ("interval", "95 % interval")]
    heads = [tag("th", text, class_=cls, scope="col", role="columnheader") for cls, text in head]
    heads.append(
        tag("th", tag("span", "plot", class_="unseen"), axis.head(), class_="plot", scope="col",
            role="columnheader")
    )  # fmt: skip
    bodies = []
    for block in blocks:
        name = direction_words(block.direction, block.protocol)
        rows = [_group(name, 4)]
        luck = next(
            (r.scores.get(metric, {}).get("value") for r in block.rows if r.kind == "luck"), None
        )
        rows += [_row(row, metric, axis, luck) for row in block.rows]
        bodies.append(tag("tbody", *rows, role="rowgroup"))
    caption = tag("caption", f"{metric} with its controls", class_="unseen")
    headed = tag("thead", tag("tr", *heads, role="row"), role="rowgroup")
    return tag("table", caption, headed, *bodies, class_="scores", role="table")


def _group(name: str, columns: int) -> Markup:
    cell = tag("th", name, scope="rowgroup", colspan=columns, role="rowheader")
    return tag("tr", cell, class_="group", role="row")


def _highest(score: dict[str, Any]) -> float:
    interval = score.get("interval")
    return max([score.get("value") or 0.0, *(interval if isinstance(interval, list) else [])])


def _row(row: Row, metric: str, axis: Axis, luck: float | None) -> Markup:
    score = row.scores.get(metric) or {"value": None, "reason": "not among the scores"}
    long = " long" if len(row.label) > 16 else ""
    name = tag("th", row.label, class_=f"name{long}", scope="row", role="rowheader")
    kind = row.kind + (" wide" if long else "")
    value = score.get("value")
    if value is None:
        reason = f"not measured: {score.get('reason', 'no reason given')}"
        cells = [tag("td", BLANK, class_="value", role="cell"),
                 tag("td", reason, class_="reason theirs", colspan=2, role="cell")]  # fmt: skip
        return tag("tr", name, *cells, class_=f"{kind} unmeasured", role="row")
    interval = score.get("interval")
    whisker = interval if isinstance(interval, list | tuple) else None
    dot = value if row.kind != "luck" else None
    note = luck_of(metric, value) if row.kind == "luck" else None
    cells = [
        tag("td", figure(metric, value), class_="value", role="cell"),
        tag("td", _interval(metric, interval), class_="interval", role="cell"),
        tag(
            "td", axis.row(dot, whisker, luck, note, row.kind == "run"), class_="plot", role="cell"
        ),
    ]
    return tag("tr", name, *cells, class_=kind, role="row")


def _interval(metric: str, interval: Any) -> str:
    if isinstance(interval, list | tuple):
        return f"{figure(metric, interval[0])} – {figure(metric, interval[1])}"
    return str(interval) if interval else "–"


def _rest(blocks: list[Block]) -> list[Markup]:
    """The other metrics, as figures."""
    metrics = list(dict.fromkeys(m for block in blocks for m in block.metrics[1:]))
    if not metrics:
        return []
    bodies = []
    for block in blocks:
        rows = [_group(direction_words(block.direction, block.protocol), 1 + len(metrics))]
        for row in block.rows:
            cells = [_figure(metric, row.scores.get(metric)) for metric in metrics]
            reasons = {s.get("reason") for m in metrics if (s := row.scores.get(m))}
            if len(reasons) == 1 and None not in reasons:
                why = f"not measured: {reasons.pop()}"
                cells = [tag("td", why, class_="reason theirs", colspan=len(metrics))]
            rows.append(tag("tr", tag("th", row.label, scope="row"), *cells, class_=row.kind))
        bodies.append(tag("tbody", *rows))
    heads = [head_cell(tag("span", "competitor", class_="unseen")), *map(head_cell, metrics)]
    return [tag("table", tag("thead", tag("tr", *heads)), *bodies, class_="more")]


def _figure(metric: str, score: dict[str, Any] | None) -> Markup:
    if score is None or score.get("value") is None:
        return tag("td", BLANK)
    value = tag("span", figure(metric, score["value"]), class_="v")
    return tag("td", value, " ", tag("span", _interval(metric, score.get("interval")), class_="i"))


# --- a tuned run -------------------------------------------------------------------------------


def before_after(rows: list[dict[str, Any]]) -> list[Markup]:
    """What tuning gave on the new task and took from the old one; rows are of `forgetting`."""
    mixed = any("tuned" in row for row in rows)
    heads = [head_cell("metric"), head_cell("before", class_="right")]
    heads += [head_cell("as tuned", class_="right")] if mixed else []
    heads += [head_cell(name, class_="right") for name in ("after", "difference", "95 % interval")]
    bodies = []
    for which, title in (("new", "The new task"), ("old", "The old task")):
        lines = [line for row in rows if row["which"] == which for line in _changed(row, mixed)]
        if lines:
            bodies.append(tag("tbody", _group(title, len(heads)), *lines))
    lead = (
        "The test split of either data, before and after. Before: the source, and where its task "
        "is new, a head as it was drawn. Of losses less is better. "
        "Differences are after minus before, paired."
    )
    table = tag(
        "table", tag("thead", tag("tr", *heads)), *bodies, class_="more tuned" + " mixed" * mixed
    )
    return [tag("p", lead, class_="prose"), table]


def _changed(row: dict[str, Any], mixed: bool) -> list[Markup]:
    """A metric's row, and those of what it stands beside: controls of captions, the source's
    zero-shot answer where there was one to give."""
    columns = 5 + mixed
    if "reason" in row:
        return [tag("tr", tag("td", row["reason"], colspan=columns, class_="reason theirs"))]
    kind = "loss" if row["better"] == "lower" else row["metric"].rpartition(", ")[2]

    def said(value: float) -> str:
        return figure(kind, value)

    cells = [tag("td", said(row["before"]), class_="v")]
    cells += [tag("td", said(row["tuned"]), class_="v")] if mixed else []
    cells.append(tag("td", tag("b", said(row["after"]))))
    cells.append(tag("td", decimal(row["difference"], 3), class_="v"))
    bounds = row.get("difference_interval")
    told = "too few" if bounds is None else " to ".join(decimal(bound, 3) for bound in bounds)
    cells.append(tag("td", told, class_="v"))
    name = row["metric"].replace("_", " ")
    made = [tag("tr", tag("th", name, scope="row"), *cells)]
    if beside := row.get("controls"):
        told = ", ".join(f"{label(control)} {said(value)}" for control, value in beside.items())
        of = tag("th", "beside it", scope="row")
        made.append(tag("tr", of, tag("td", told, colspan=columns - 1, class_="reason theirs")))
    if shot := row.get("zero_shot"):
        told = f"not measured: {shot.get('reason', 'no reason given')}"
        if shot.get("value") is not None:
            told = f"{figure('', shot['value'])} ({_interval('', shot.get('interval'))})"
        said_of = tag("th", "zero-shot, by class names", scope="row")
        made.append(
            tag("tr", said_of, tag("td", told, colspan=columns - 1, class_="reason theirs"))
        )
    return made
