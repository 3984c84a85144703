"""Parts of a page that recur: sections, folds, tables, what a user wrote, small pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from sensorium.report.charts import Markup, tag
from sensorium.report.facts import Gap, Picture

BLANK = Markup('<span class="blank">–</span>')


def section_of(key: str, title: str, content: list[Markup] | Gap) -> Markup:
    """A section with its heading; a gap says what is missing and why."""
    if isinstance(content, Gap):
        content = [gap_line(content)]
    heading = tag("h2", title, id=f"{key}-title")
    return tag("section", heading, *content, id=key, aria_labelledby=f"{key}-title")


def theirs(name: str, text: str, lang: str | None = None, **attributes: Any) -> Markup:
    """An element with what the user wrote, marked with its language where that can be told."""
    cls = f"theirs {attributes.pop('class_', '')}".strip()
    return tag(name, text, class_=cls, lang=lang, dir="auto", **attributes)


def code_block(text: str, label: str) -> Markup:
    """What can be pasted. Focusable, so that the keyboard scrolls it."""
    return tag("pre", tag("code", text), tabindex=0, role="region", aria_label=label)


def gap_line(gap: Gap) -> Markup:
    """What is absent, why, and the command that fills it."""
    command = [" ", tag("code", gap.see)] if gap.see else []
    return tag("p", tag("b", f"{gap.what}:"), f" {gap.why}.", *command, class_="empty theirs")


def fold(title: str, note: str, *content: Markup, class_: str | None = None) -> Markup:
    """Something that opens when it is asked for."""
    summary = tag("summary", title, tag("span", note, class_="note") if note else None)
    return tag("details", summary, tag("div", *content), class_=class_)


def pairs_of(rows: Iterable[tuple[str, object]]) -> Markup:
    """Names with their values."""
    parts = [tag("dt", k) + tag("dd", written(v), class_="theirs") for k, v in rows]
    return tag("dl", *map(Markup, parts), class_="pairs")


def written(value: object) -> str:
    """A value as people write it."""
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def spaced(facts: dict[str, Any], before: str = "") -> list[tuple[str, object]]:
    """Facts with blanks in their names."""
    return [(before + name.replace("_", " "), value) for name, value in facts.items()]


def table_of(heads: Iterable[Markup], rows: Iterable[Markup], class_: str | None = None) -> Markup:
    """A table of ready rows."""
    return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_=class_)


def head_cell(text: str, **attributes: Any) -> Markup:
    """A column's head."""
    return tag("th", text, scope="col", **attributes)


def listed(items: Iterable[object], class_: str = "dots") -> Markup:
    """A list."""
    return tag("ul", *(tag("li", item, class_="theirs") for item in items), class_=class_)


def image_of(picture: Picture, class_: str | None = None) -> Markup:
    """A small picture, or that it could not be read."""
    if picture.webp is None:
        return tag("span", "unreadable", class_="lost")
    data = base64.b64encode(picture.webp).decode()
    return tag("img", src=f"data:image/webp;base64,{data}", alt=picture.caption,
               lang=picture.language, class_=class_,
               width=96, height=96, decoding="async")  # fmt: skip


def in_words(n: int) -> str:
    """A small number in words."""
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
    return words[n] if n < len(words) else f"{n:,}"
