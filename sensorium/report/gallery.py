"""What a run finds, says and names, as HTML: by examples drawn by lot, and where it errs most."""

from __future__ import annotations

from sensorium.report.charts import Markup, tag
from sensorium.report.facts import Answer, Example, Examples, Gap, Shown
from sensorium.report.parts import head_cell, image_of, in_words, table_of, theirs
from sensorium.report.words import share


def gallery(shown: Shown | Gap) -> list[Markup] | Gap:
    """Queries drawn by lot, each with the pictures that it finds first."""
    if isinstance(shown, Gap):
        return shown
    n = len(shown.gallery)
    lead = (
        f"{in_words(n)} quer{'y' if n == 1 else 'ies'} drawn by lot (keyed by the recipe's seed) "
        f"from the {shown.queries:,} of the {shown.split} split, and the first "
        f"{in_words(min(5, shown.pool)).lower()} pictures of {shown.pool:,}. The frame is the "
        "right answer; where it is not among the first, it comes last, with its rank."
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
        items.append(tag("li", image_of(picture), rank, class_="hit" if picture.right else None))
    heading = theirs("h3", answer.query, answer.language, class_="clamp")
    return tag("li", heading, tag("ol", *items, class_="found"))


def failures(shown: Shown | Gap) -> list[Markup] | Gap:
    """The queries whose right answer comes latest."""
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
            tag("th", theirs("span", answer.query, answer.language, class_="clamp"), scope="row"),
            tag("td", image_of(answer.wanted, "thumb")),
            tag("td", f"{answer.rank:,}", class_="right"),
            tag("td", image_of(first, "thumb")),
            tag(
                "td", theirs("span", first.caption, first.language, class_="clamp"), class_="first"
            ),
        )
        for answer, first in ((answer, answer.found[0]) for answer in shown.worst)
    ]
    heads = [
        head_cell("query"),
        head_cell("right"),
        head_cell(f"rank of {shown.pool:,}", class_="right"),
    ]
    table = table_of([*heads, head_cell("ranked first", colspan=2)], rows, "fails")
    return [tag("p", lead + "The worst of them:", class_="prose"), table]


def examples(given: Examples) -> list[Markup]:
    """What a run answered to some records drawn by lot, right or not."""
    pictured = any(one.picture is not None for one in given.rows)
    rows = [_example(one, pictured, given.certain) for one in given.rows]
    heads = [head_cell(tag("span", "picture", class_="unseen"))] if pictured else []
    heads += [head_cell(name) for name in given.heads]
    if given.certain:
        heads.append(head_cell("certainty", class_="right"))
    right = sum(bool(one.right) for one in given.rows)
    lead = (
        f"{in_words(len(given.rows))} drawn by lot (keyed by the recipe's seed) from the "
        f"{given.of:,} of the {given.split} split. {given.lead}"
    )
    if given.rows and given.rows[0].right is not None:
        several = f"{in_words(right)} of them {'is' if right == 1 else 'are'} right."
        lead += f" {several if right else 'None of them is right.'}"
    return [tag("p", lead, class_="prose"), table_of(heads, rows, "fails said")]


def _example(one: Example, pictured: bool, certain: bool) -> Markup:
    cells = []
    if pictured:
        shown = image_of(one.picture, "thumb") if one.picture is not None else None
        cells.append(tag("td", shown))
    if one.before is not None:
        blank = tag("span", "\u00a0", class_="hole", role="img", aria_label="the word asked for")
        text = [one.before, blank, one.after] if one.hole else [one.before]
        said = tag("span", *text, class_="theirs clamp", lang=one.language, dir="auto")
        cells.append(tag("th", said, scope="row"))
    cells.append(tag("td", theirs("span", one.truth, one.language, class_="clamp")))
    cut = "clamp" if one.right is None else ""
    answer = theirs("b" if one.right else "span", one.answer, one.language, class_=cut)
    verdict = tag("span", " right", class_="note") if one.right else None
    cells.append(tag("td", answer, verdict))
    if one.beside is not None:
        cells.append(tag("td", theirs("span", one.beside, one.language, class_="clamp")))
    if certain:
        cells.append(tag("td", share(one.certainty or 0.0), class_="right"))
    return tag("tr", *cells)
