"""The report as HTML: one file that asks for nothing, reads without script, and prints."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sensorium.report.charts import Markup, join, tag
from sensorium.report.facts import Facts, Gap, Shown
from sensorium.report.gallery import examples, failures, gallery
from sensorium.report.missing import missing
from sensorium.report.parts import (
    code_block,
    fold,
    head_cell,
    listed,
    pairs_of,
    section_of,
    spaced,
    table_of,
    theirs,
)
from sensorium.report.scores import before_after, scores
from sensorium.report.words import decimal, direction_words, duration, share

STYLE = Path(__file__).with_name("style.css")
SCRIPT = Path(__file__).with_name("script.js")
LISTED = 10  # records set aside that are named one by one
_LOGO = Markup(
    '<svg viewBox="0 0 26 17" aria-hidden="true"><path class="threads" d="M5 2.5h1.5C11 2.5 13 8.3 '
    '18 8.3M5 8.3h13M5 14h1.5C11 14 13 8.3 18 8.3"/><path d="M0 0h5v5H0zM0 6.2h5v1H0zM0 7.8h5v1H0z'
    'M0 9.4h5v1H0zM0 11.4l5.4 2.7L0 16.8z"/><circle class="dot" cx="21" cy="8.3" r="4"/></svg>'
)
_PLURAL = {"image": "pictures", "text": "texts"}


def page(facts: Facts) -> str:
    """The whole document."""
    sections = [
        ("scores", "Scores", "Scores, beside what they must beat", scores(facts)),
        *_missing(facts),
        *_tuned(facts),
        ("learning", "Learning", "Learning", _learning(facts)),
        *_answers(facts),
        ("data", "Data", "Data", _data(facts)),
        ("recipe", "Recipe", "Recipe and surroundings", _recipe(facts)),
    ]
    body = [section_of(key, title, content) for key, _, title, content in sections]
    body.append(section_of("next", "To try next", _next(facts)))
    links = [(key, name) for key, name, _, _ in sections]
    return document(f"{facts.verdict.title} {facts.place}", links, [*_top(facts), *body])


def document(
    title: str, links: Sequence[tuple[str, str]], content: Sequence[Markup], more: str = ""
) -> str:
    """A page of ours around its content: look, header, what a browser may load.

    Args:
        title: of the window.
        links: (id, name) of the sections that the header leads to.
        content: of the main part.
        more: style beside `style.css`.
    """
    style, script = STYLE.read_text(encoding="utf-8") + more, SCRIPT.read_text(encoding="utf-8")
    # Only this script runs and only embedded pictures load, whatever a caption may hold.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    listed_ = [tag("li", tag("a", name, href=f"#{key}")) for key, name in links]
    header = tag(
        "header",
        tag("div", _LOGO, "Sensorium", class_="logo"),
        tag("nav", tag("ul", *listed_), aria_label="Sections"),
        tag("button", "light / dark", type="button", id="theme", hidden=True),
        class_="top",
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Markup(style)),
        tag("script", Markup(script)),
    )
    main = tag("main", *content, id="content")
    skip = tag("a", "Skip to the report", href="#content", class_="skip")
    whole = tag("body", skip, tag("div", header, main, class_="page"))
    return f"<!doctype html>\n{tag('html', head, whole, lang='en')}\n"


def _missing(facts: Facts) -> list[tuple[str, str, str, list[Markup] | Gap]]:
    """The section of what was asked where records lack a modality."""
    rows = facts.missing
    return [("missing", "Missing", "Where something is missing", missing(rows))] if rows else []


def _tuned(facts: Facts) -> list[tuple[str, str, str, list[Markup] | Gap]]:
    """The section of a run that was begun from another one."""
    rows = facts.info.get("before_and_after")
    return [("tuned", "Tuning", "Before and after tuning", before_after(rows))] if rows else []


def _answers(facts: Facts) -> list[tuple[str, str, str, list[Markup] | Gap]]:
    """The sections of what the model finds and says; only those that it can."""
    made: list[tuple[str, str, str, list[Markup] | Gap]] = []
    if facts.shown is not None:
        made.append(("gallery", "Gallery", "What it finds", gallery(facts.shown)))
        made.append(("failures", "Failures", "Where it is most wrong", failures(facts.shown)))
    for one in facts.examples:
        if isinstance(one, Gap):
            made.append(("examples", "Examples", "Examples", one))
        else:
            made.append((one.key, one.name, one.title, examples(one)))
    return made


# --- verdict and facts -------------------------------------------------------------------------


def _top(facts: Facts) -> list[Markup]:
    verdict, info = facts.verdict, facts.info
    parts = [
        theirs("p", facts.place, class_="where mono"),
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
    table = table_of(map(head_cell, ("step", *names)), rows)
    return fold("The figures behind the curves", "validation", table, class_="numbers")


def _logged(key: str, value: Any) -> str:
    if not isinstance(value, int | float):
        return "–"
    return share(value) if "recall" in key or "rank" in key else decimal(value)


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
        tag("tr", theirs("th", name, class_="mono", scope="row"), tag("td", kind))
        for name, kind in info["fields"].items()
    ]
    parts.append(table_of([head_cell("field"), head_cell("read as")], rows, "plain"))
    if facts.unused:
        names = ", ".join(facts.unused[:8])
        more = f" and {len(facts.unused) - 8} more" if len(facts.unused) > 8 else ""
        told = f"Fields that take no part: {names}{more}."
        parts.append(tag("p", told, class_="note theirs"))
    if info.get("notes"):
        parts += [tag("p", "Decided while reading:", class_="note"), listed(info["notes"])]
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
    told = spaced(calibration) + spaced(info.get("plan", {}))
    told += spaced(info.get("reading", {}), "reading: ")
    names = ", ".join(dict.fromkeys(weights.licence for weights in facts.weights)) or "none taken"
    folds = [
        fold("Recipe", f"{lines} lines", code_block(facts.recipe.rstrip("\n"), "Recipe")),
        fold(
            "Source and departures",
            f"{len(facts.departures)} departures",
            source,
            listed(facts.departures),
        ),
        fold("Environment", short, pairs_of(spaced(whole))),
        fold("Calibration", str(calibration.get("budget", "")), pairs_of(told)),
        fold("Weights and their licences", names, *_weights(facts)),
    ]
    if isinstance(facts.blocks, list):
        every = [
            tag("div", tag("p", tag("b", direction_words(b.direction))),
                pairs_of(spaced(b.protocol)), class_="weights")
            for b in facts.blocks
        ]  # fmt: skip
        folds.append(fold("Protocol", facts.blocks[0].protocol["interval"], *every))
    return [
        tag("div", *folds, class_="fold"),
        tag("h3", "What this does not say", class_="under"),
        listed(facts.doubts),
    ]


def _weights(facts: Facts) -> list[Markup]:
    parts = []
    for weights in facts.weights:
        rows = [("from", weights.source)]
        rows += [("licence established by", weights.evidence), ("about", weights.card)]
        first = tag("p", tag("b", weights.name), f", {weights.use}. {weights.licence}.")
        parts.append(tag("div", first, pairs_of(rows), class_="weights"))
    none = "All weights were trained in this run; nothing was taken from elsewhere."
    return parts or [tag("p", none)]


def _next(facts: Facts) -> list[Markup]:
    items = [tag("div", tag("p", why), code_block(command, why)) for why, command in facts.commands]
    return [tag("div", *items, class_="commands")]
