"""The report as HTML: one file that asks for nothing, reads without script, and prints."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sensorium.report import Answer, Block, Facts, Gap, Picture, Row, Shown
from sensorium.report_charts import Axis, Markup, join, tag
from sensorium.report_words import decimal, direction_words, duration, odds, share

STYLE = Path(__file__).with_name("report_style.css")
SCRIPT = Path(__file__).with_name("report_script.js")
LISTED = 10  # records set aside that are named one by one
_BLANK = Markup('<span class="blank">–</span>')
_LOGO = Markup(
    '<svg viewBox="0 0 26 17" aria-hidden="true"><path class="threads" d="M5 2.5h1.5C11 2.5 13 8.3 '
    '18 8.3M5 8.3h13M5 14h1.5C11 14 13 8.3 18 8.3"/><path d="M0 0h5v5H0zM0 6.2h5v1H0zM0 7.8h5v1H0z'
    'M0 9.4h5v1H0zM0 11.4l5.4 2.7L0 16.8z"/><circle class="dot" cx="21" cy="8.3" r="4"/></svg>'
)
_PLURAL = {"image": "pictures", "text": "texts"}


def page(facts: Facts) -> str:
    """The whole document."""
    style, script = STYLE.read_text(encoding="utf-8"), SCRIPT.read_text(encoding="utf-8")
    # Only this script runs and only embedded pictures load, whatever a caption may hold.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    sections = (
        ("scores", "Scores", "Scores, beside what they must beat", _scores(facts)),
        ("learning", "Learning", "Learning", _learning(facts)),
        ("gallery", "Gallery", "What it finds", _gallery(facts.shown)),
        ("failures", "Failures", "Where it is most wrong", _failures(facts.shown)),
        ("data", "Data", "Data", _data(facts)),
        ("recipe", "Recipe", "Recipe and surroundings", _recipe(facts)),
    )
    links = [tag("li", tag("a", name, href=f"#{key}")) for key, name, _, _ in sections]
    header = tag(
        "header",
        tag("div", _LOGO, "Sensorium", class_="logo"),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag("button", "light / dark", type="button", id="theme", hidden=True),
        class_="top",
    )
    body = [_section(key, title, content) for key, _, title, content in sections]
    body.append(_section("next", "To try next", _next(facts)))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{facts.verdict.title} {facts.place}"),
        tag("link", rel="icon", href="data:,"),
        tag("style", Markup(style)),
        tag("script", Markup(script)),
    )
    main = tag("main", *_top(facts), *body, id="content")
    skip = tag("a", "Skip to the report", href="#content", class_="skip")
    whole = tag("body", skip, tag("div", header, main, class_="page"))
    return f"<!doctype html>\n{tag('html', head, whole, lang='en')}\n"


# --- parts that recur --------------------------------------------------------------------------


def _section(key: str, title: str, content: list[Markup] | Gap) -> Markup:
    if isinstance(content, Gap):
        content = [_gap(content)]
    heading = tag("h2", title, id=f"{key}-title")
    return tag("section", heading, *content, id=key, aria_labelledby=f"{key}-title")


def _theirs(name: str, text: str, lang: str | None = None, **attributes: Any) -> Markup:
    """An element with what the user wrote, marked with its language where that can be told."""
    cls = f"theirs {attributes.pop('class_', '')}".strip()
    return tag(name, text, class_=cls, lang=lang, dir="auto", **attributes)


def _code(text: str, label: str) -> Markup:
    """What can be pasted. Focusable, so that the keyboard scrolls it."""
    return tag("pre", tag("code", text), tabindex=0, role="region", aria_label=label)


def _gap(gap: Gap) -> Markup:
    """What is absent, why, and the command that fills it."""
    command = [" ", tag("code", gap.see)] if gap.see else []
    return tag("p", tag("b", f"{gap.what}:"), f" {gap.why}.", *command, class_="empty theirs")


def _fold(title: str, note: str, *content: Markup, class_: str | None = None) -> Markup:
    summary = tag("summary", title, tag("span", note, class_="note") if note else None)
    return tag("details", summary, tag("div", *content), class_=class_)


def _pairs(rows: Iterable[tuple[str, object]]) -> Markup:
    parts = [tag("dt", k) + tag("dd", _plain(v), class_="theirs") for k, v in rows]
    return tag("dl", *map(Markup, parts), class_="pairs")


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _spaced(facts: dict[str, Any], before: str = "") -> list[tuple[str, object]]:
    return [(before + name.replace("_", " "), value) for name, value in facts.items()]


def _table(heads: Iterable[Markup], rows: Iterable[Markup], class_: str | None = None) -> Markup:
    return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_=class_)


def _head(text: str, **attributes: Any) -> Markup:
    return tag("th", text, scope="col", **attributes)


def _listed(items: Iterable[object], class_: str = "dots") -> Markup:
    return tag("ul", *(tag("li", item, class_="theirs") for item in items), class_=class_)


# --- verdict and facts -------------------------------------------------------------------------


def _top(facts: Facts) -> list[Markup]:
    verdict, info = facts.verdict, facts.info
    parts = [
        _theirs("p", facts.place, class_="where mono"),
        tag("h1", verdict.title, class_="verdict"),
    ]
    if verdict.lines:
        parts.append(tag("p", " ".join(verdict.lines), class_="prose"))
    if isinstance(facts.shown, Shown) and facts.shown.collapsed is not None:
        said = (
            f" The mean cosine of all pairs of vectors is {share(facts.shown.collapsed)}: "
            "the model says nearly the same of everything."
        )
        parts.append(tag("p", tag("b", "The embedding has collapsed."), said, class_="bar"))
    digest, where = str(info["recipe_hash"])[:8], info.get("environment", {})
    device, threads = where.get("device", "cpu"), where.get("threads")
    if device == "cpu" and threads:
        device = f"{threads} thread" + ("s" if threads != 1 else "")
    trained, samples, chosen = "–", "–", "–"
    if "samples" in info:
        samples = f"{info['samples']:,}"
    if "best_step" in info:
        trained = f"{duration(info['training_seconds'])}, {device}"
        chosen = f"{info['best_step']:,} of {info['plan']['steps']:,}"
    shown = {
        "recipe": f"{facts.name}, {facts.size}",
        "data": Path(str(info["data"])).name,
        "trained": trained,
        "samples": samples,
        "seed": str(facts.seed),
        "chosen step": chosen,
        "recipe hash": tag("span", f"{digest[:4]} {digest[4:]}", class_="mono"),
    }
    given = [tag("div", tag("dt", k), tag("dd", v, class_="theirs")) for k, v in shown.items()]
    return [*parts, tag("dl", *given, class_="facts")]


# --- scores ------------------------------------------------------------------------------------


def _scores(facts: Facts) -> list[Markup] | Gap:
    if isinstance(facts.blocks, Gap):
        return facts.blocks
    key = "Filled: measured here. Hollow: controls. Dashed: what luck gives. "
    lead = tag("p", key, _protocol(facts.blocks[0]), class_="prose")
    return [lead, _primary(facts.blocks), *_rest(facts.blocks)]


def _protocol(block: Block) -> str:
    """The protocol in words."""
    p = block.protocol
    pool = _PLURAL.get(block.direction.partition("_to_")[2], "items")
    right = p["right_answers_per_query"]
    answers = "one right answer" if right == 1 else f"{decimal(right, 1)} right answers on average"
    return (
        f"{p['queries']:,} queries, each over a pool of {p['pool']:,} {pool} from all "
        f"{p['records']:,} records of the {p['split']} split, with {answers}; {p['ties']}. "
        f"Intervals: {p['interval']}. The step was chosen on {p['chosen_on']}."
    )


def _primary(blocks: list[Block]) -> Markup:
    """The first metric of each block on one axis: dots and whiskers."""
    metric = blocks[0].metrics[0]
    axis = Axis.over(max(_highest(row.scores.get(metric, {})) for b in blocks for row in b.rows))
    head = [("name", metric), ("value", "value"), ("interval", "95 % interval")]
    heads = [tag("th", text, class_=cls, scope="col", role="columnheader") for cls, text in head]
    heads.append(
        tag("th", tag("span", "plot", class_="unseen"), axis.head(), class_="plot", scope="col",
            role="columnheader")
    )  # fmt: skip
    bodies = []
    for block in blocks:
        name = direction_words(block.direction)
        rows = [_group(name, 4)]
        luck = next(
            (r.scores.get(metric, {}).get("value") for r in block.rows if r.kind == "luck"), None
        )
        rows += [_row(row, row.scores.get(metric), axis, luck) for row in block.rows]
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


def _row(row: Row, score: dict[str, Any] | None, axis: Axis, luck: float | None) -> Markup:
    score = score or {"value": None, "reason": "not among the scores"}
    long = " long" if len(row.label) > 16 else ""
    name = tag("th", row.label, class_=f"name{long}", scope="row", role="rowheader")
    kind = row.kind + (" wide" if long else "")
    value = score.get("value")
    if value is None:
        reason = f"not measured: {score.get('reason', 'no reason given')}"
        cells = [tag("td", _BLANK, class_="value", role="cell"),
                 tag("td", reason, class_="reason theirs", colspan=2, role="cell")]  # fmt: skip
        return tag("tr", name, *cells, class_=f"{kind} unmeasured", role="row")
    interval = score.get("interval")
    whisker = interval if isinstance(interval, list | tuple) else None
    dot = value if row.kind != "luck" else None
    note = odds(value) if row.kind == "luck" else None
    cells = [
        tag("td", share(value), class_="value", role="cell"),
        tag("td", _interval(interval), class_="interval", role="cell"),
        tag(
            "td", axis.row(dot, whisker, luck, note, row.kind == "run"), class_="plot", role="cell"
        ),
    ]
    return tag("tr", name, *cells, class_=kind, role="row")


def _interval(interval: Any) -> str:
    if isinstance(interval, list | tuple):
        return f"{share(interval[0])} – {share(interval[1])}"
    return str(interval) if interval else "–"


def _rest(blocks: list[Block]) -> list[Markup]:
    """The other metrics, as figures."""
    metrics = list(dict.fromkeys(m for block in blocks for m in block.metrics[1:]))
    if not metrics:
        return []
    bodies = []
    for block in blocks:
        rows = [_group(direction_words(block.direction), 1 + len(metrics))]
        for row in block.rows:
            cells = [_figure(row.scores.get(metric)) for metric in metrics]
            reasons = {s.get("reason") for m in metrics if (s := row.scores.get(m))}
            if len(reasons) == 1 and None not in reasons:
                why = f"not measured: {reasons.pop()}"
                cells = [tag("td", why, class_="reason theirs", colspan=len(metrics))]
            rows.append(tag("tr", tag("th", row.label, scope="row"), *cells, class_=row.kind))
        bodies.append(tag("tbody", *rows))
    heads = [_head(tag("span", "competitor", class_="unseen")), *map(_head, metrics)]
    return [tag("table", tag("thead", tag("tr", *heads)), *bodies, class_="more")]


def _figure(score: dict[str, Any] | None) -> Markup:
    if score is None or score.get("value") is None:
        return tag("td", _BLANK)
    value = tag("span", share(score["value"]), class_="v")
    return tag("td", value, " ", tag("span", _interval(score.get("interval")), class_="i"))


# --- learning ----------------------------------------------------------------------------------


def _learning(facts: Facts) -> list[Markup] | Gap:
    if isinstance(facts.curves, Gap):
        return facts.curves
    figures = [
        tag("figure", tag("figcaption", tag("b", c.title), c.rest), c.draw()) for c in facts.curves
    ]
    return [tag("div", *figures, class_="curves"), _numbers(facts)]


def _numbers(facts: Facts) -> Markup:
    """The curves as a table, for who cannot see them or wants the figures."""
    aside = ("step", "split", "score")
    keys = [k for k in facts.log[0] if k not in aside and not k.endswith("/no_skill")]
    names = [direction_words(k.partition("/")[0]) + " recall@1" if "/" in k else k for k in keys]
    names = [name.replace("_", " ") for name in names]
    best, rows = facts.info.get("best_step"), []
    for line in facts.log:
        chosen = line["step"] == best
        cells = [tag("td", f"{line['step']:,}" + (", chosen" if chosen else ""))]
        cells += [tag("td", _logged(key, line.get(key))) for key in keys]
        rows.append(tag("tr", *cells, class_="chosen" if chosen else None))
    table = _table(map(_head, ("step", *names)), rows)
    return _fold("The figures behind the curves", "validation", table, class_="numbers")


def _logged(key: str, value: Any) -> str:
    if not isinstance(value, int | float):
        return "–"
    return share(value) if "recall" in key or "rank" in key else decimal(value)


# --- answers -----------------------------------------------------------------------------------


def _image(picture: Picture, class_: str | None = None) -> Markup:
    if picture.webp is None:
        return tag("span", "unreadable", class_="lost")
    data = base64.b64encode(picture.webp).decode()
    return tag("img", src=f"data:image/webp;base64,{data}", alt=picture.caption,
               lang=picture.language, class_=class_,
               width=96, height=96, decoding="async")  # fmt: skip


def _gallery(shown: Shown | Gap) -> list[Markup] | Gap:
    if isinstance(shown, Gap):
        return shown
    n = len(shown.gallery)
    lead = (
        f"{_count(n)} quer{'y' if n == 1 else 'ies'} drawn by lot (keyed by the recipe's seed) "
        f"from the {shown.queries:,} of the {shown.split} split, and the first "
        f"{_count(min(5, shown.pool)).lower()} pictures of {shown.pool:,}. The frame is the right "
        "answer; where it is not among the first, it comes last, with its rank."
    )
    answers = tag("ul", *map(_answer, shown.gallery), class_="gallery")
    return [tag("p", lead, class_="prose"), answers]


def _answer(answer: Answer) -> Markup:
    pictures = list(answer.found)
    if not any(picture.right for picture in pictures):
        pictures.append(answer.wanted)
    items = []
    for picture in pictures:
        rank = tag("span", f"{picture.rank:,}{' right' * picture.right}", class_="rank")
        items.append(tag("li", _image(picture), rank, class_="hit" if picture.right else None))
    heading = _theirs("h3", answer.query, answer.language, class_="clamp")
    return tag("li", heading, tag("ol", *items, class_="found"))


def _failures(shown: Shown | Gap) -> list[Markup] | Gap:
    if isinstance(shown, Gap):
        return shown
    lead = (
        f"Median rank of the right picture: {shown.median:,} of {shown.pool:,}, over "
        f"{shown.queries:,} queries. "
    )
    if not shown.worst:
        return [tag("p", lead + "No query fails.", class_="prose")]
    rows = [
        tag(
            "tr",
            tag("th", _theirs("span", answer.query, answer.language, class_="clamp"), scope="row"),
            tag("td", _image(answer.wanted, "thumb")),
            tag("td", f"{answer.rank:,}", class_="right"),
            tag("td", _image(first, "thumb")),
            tag(
                "td", _theirs("span", first.caption, first.language, class_="clamp"), class_="first"
            ),
        )
        for answer, first in ((answer, answer.found[0]) for answer in shown.worst)
    ]
    heads = [_head("query"), _head("right"), _head(f"rank of {shown.pool:,}", class_="right")]
    table = _table([*heads, _head("ranked first", colspan=2)], rows, "fails")
    return [tag("p", lead + "The worst of them:", class_="prose"), table]


def _count(n: int) -> str:
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
    return words[n] if n < len(words) else f"{n:,}"


# --- data --------------------------------------------------------------------------------------


def _data(facts: Facts) -> list[Markup]:
    info, total = facts.info, sum(facts.counts.values())
    about = f": {facts.about[0]} " if facts.about else ". "
    lead = join(f"{total:,} records of ", tag("code", str(info["data"]), class_="theirs"), about)
    for split, told in info.get("subset", {}).items():
        if told["records"] < told["of"]:
            lead = join(lead, f"{split}: {told['records']:,} of {told['of']:,}, chosen by key. ")
    parts = [tag("p", lead, class_="prose")]
    uses = {"train": "fitted on", "validation": "chosen on", "test": "reported on"}
    keys, bars = [], []
    for split, count in facts.counts.items():
        keys.append(tag("li", tag("i", class_=split), f"{split} {count:,}, {uses[split]}"))
        if count:
            width = f"width:{100 * count / total:.2f}%"
            bars.append(tag("span", class_=split, style=width))
    if total:
        bar = tag("div", *bars, class_="splits", aria_hidden="true")
        parts += [tag("ul", *keys, class_="keys"), bar]
    rows = [
        tag("tr", _theirs("th", name, class_="mono", scope="row"), tag("td", kind))
        for name, kind in info["fields"].items()
    ]
    parts.append(_table([_head("field"), _head("read as")], rows, "plain"))
    if facts.unused:
        names = ", ".join(facts.unused[:8])
        more = f" and {len(facts.unused) - 8} more" if len(facts.unused) > 8 else ""
        told = f"Fields that take no part: {names}{more}."
        parts.append(tag("p", told, class_="note theirs"))
    if info.get("notes"):
        parts += [tag("p", "Decided while reading:", class_="note"), _listed(info["notes"])]
    parts.append(_aside(facts))
    licence = facts.licence or "Not stated by the data. This page holds pictures: ask first."
    parts.append(tag("p", tag("b", "Licence of the data."), f" {licence}", class_="note theirs"))
    return parts


def _aside(facts: Facts) -> Markup:
    bad, n = facts.rejected, len(facts.rejected)
    if not bad:
        return tag("p", "No record was set aside.", class_="note")
    items = []
    for one in bad[:LISTED]:
        row = f" row {one['row']}" if one.get("row") is not None else ""
        field = f", field {one['field']}" if one.get("field") else ""
        where = tag("code", str(one.get("file")), class_="theirs")
        items.append(tag("li", where, f"{row}{field}: {one.get('reason')}", class_="theirs"))
    if n > LISTED:
        left = f"and {n - LISTED:,} more, in rejected.jsonl beside this page"
        items.append(tag("li", left))
    said = tag("b", f"{n:,} record{'s' if n != 1 else ''} set aside.")
    lead = tag("p", said, " The run went on; nothing was replaced by a blank.")
    return tag("div", lead, tag("ul", *items), class_="bar")


# --- recipe and surroundings -------------------------------------------------------------------


def _recipe(facts: Facts) -> list[Markup]:
    info = facts.info
    lines = facts.recipe.count("\n")
    source = tag("p", facts.source, class_="prose")
    env, calibration = dict(info.get("environment", {})), info.get("calibration", {})
    versions = env.pop("versions", {})
    short = f"Python {env.get('python', '–')}, torch {versions.get('torch', '–')}"
    whole = {**env, **versions, **{k: info[k] for k in ("sensorium", "created") if k in info}}
    told = _spaced(calibration) + _spaced(info.get("plan", {}))
    told += _spaced(info.get("reading", {}), "reading: ")
    names = ", ".join(dict.fromkeys(tower.licence for tower, _ in facts.weights)) or "none taken"
    folds = [
        _fold("Recipe", f"{lines} lines", _code(facts.recipe.rstrip("\n"), "Recipe")),
        _fold(
            "Source and departures",
            f"{len(facts.departures)} departures",
            source,
            _listed(facts.departures),
        ),
        _fold("Environment", short, _pairs(_spaced(whole))),
        _fold("Calibration", str(calibration.get("budget", "")), _pairs(told)),
        _fold("Weights and their licences", names, *_weights(facts)),
    ]
    if isinstance(facts.blocks, list):
        every = [
            tag("div", tag("p", tag("b", direction_words(b.direction))),
                _pairs(_spaced(b.protocol)), class_="weights")
            for b in facts.blocks
        ]  # fmt: skip
        folds.append(_fold("Protocol", facts.blocks[0].protocol["interval"], *every))
    return [
        tag("div", *folds, class_="fold"),
        tag("h3", "What this does not say", class_="under"),
        _listed(facts.doubts),
    ]


def _weights(facts: Facts) -> list[Markup]:
    parts = []
    for tower, use in facts.weights:
        rows = [("package", f"{tower.package} {tower.version}")]
        rows += [("licence established by", tower.evidence), ("about", tower.card)]
        first = tag("p", tag("b", tower.name), f", {use}. {tower.licence}.")
        parts.append(tag("div", first, _pairs(rows), class_="weights"))
    none = "All weights were trained in this run; nothing was taken from elsewhere."
    return parts or [tag("p", none)]


def _next(facts: Facts) -> list[Markup]:
    items = [tag("div", tag("p", why), _code(command, why)) for why, command in facts.commands]
    return [tag("div", *items, class_="commands")]
