"""The tables of docs/recipes.md: counted, not typed.

    python tests/recipe_tables.py

writes them anew; tests/recipes/test_tables.py fails where the page says anything else.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from passes import passes
from small_recipe import small

from sensorium import shelf
from sensorium.building import build, compared, parameters, published
from sensorium.recipe import Recipe, load

PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"
BATCH = 8  # of the step that is counted
NONE = "–"


def tables() -> dict[str, str]:
    """Name of a table -> its Markdown."""
    names = shelf.names("recipes")
    return {"recipes": _recipes(names), "sizes": _sizes(names), "passes": _passes(names)}


def filled(text: str) -> str:
    """The page with its tables written anew."""
    for name, table in tables().items():
        place = re.compile(rf"(<!-- table: {name} -->\n).*?(\n<!-- end -->)", re.S)
        assert place.search(text), f"the page has no place for the table {name}"
        text = place.sub(lambda found, table=table: found[1] + table + found[2], text)
    return text


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _recipes(names: list[str]) -> str:
    rows = []
    for name in names:
        recipe = load(name)
        with torch.device("meta"):
            step = build(recipe)
        searched = {"image", "text"} <= set(compared(step))
        rows.append(
            [
                f"`{name}`",
                recipe.summary,
                ", ".join(recipe.modalities),
                recipe.fusion["use"].replace("_", " "),
                "yes" if searched else "no",
            ]
        )
    return _table(["recipe", "what it does", "reads", "fusion", "search by words"], rows)


def _sizes(names: list[str]) -> str:
    rows = []
    for name in names:
        recipe = load(name)
        with torch.device("meta"):
            step = build(recipe)
        rows.append([f"`{name}`", _million(parameters(step)["all"]), *_told(step, recipe)])
        if other := recipe.published.get("survey_parameters"):
            rows.append(["", "", NONE, _million(other["value"]), f"{other['counts']}: unexplained"])
    head = ["recipe", "all that trains", "the same part here", "published", "what that counts"]
    return _table(head, rows)


def _told(step, recipe: Recipe) -> list[str]:
    found = published(step, recipe)
    if found is None:
        return [NONE, NONE, recipe.published.get("note", "no number is printed")]
    here, there = found
    share = f"{100 * (here / there - 1):+.1f} %"
    counts = recipe.published["parameters"]["counts"]
    return [f"{_million(here)} ({share})", _million(there), counts]


def _million(count: float) -> str:
    return f"{count / 1e6:,.1f} M"


def _passes(names: list[str]) -> str:
    rows = []
    for name in names:
        counted = passes(small(name, batch=BATCH))
        cells = [
            _cell(counted, kind, teacher)
            for teacher in (False, True)
            for kind in ("encoder", "fusion", "head")
        ]
        rows.append([f"`{name}`", *cells])
    head = ["recipe", "encodes", "fuses", "says words of"]
    head += [f"teacher {what}" for what in head[1:]]
    return _table(head, rows)


def _cell(counted: dict[str, list[int]], kind: str, teacher: bool) -> str:
    """`image, text, hidden text`, or `image + text: B, 2 B`."""
    parts = []
    for what, rows in counted.items():
        module, _, given = what.removesuffix(", teacher").partition(": ")
        if what.endswith(", teacher") != teacher or kind not in module:
            continue
        if kind == "head":
            parts.append(module.removesuffix(" head"))
        elif kind == "encoder":
            assert rows == [BATCH], "a view is encoded once, for all records"
            parts.append(given.replace("#", "\\#"))
        else:
            sizes = ", ".join(_batches(count) for count in rows)
            parts.append(f"{given.replace(', ', ' + ')}: {sizes}")
    return ("; " if kind == "fusion" else ", ").join(parts) or NONE


def _batches(count: int) -> str:
    assert count % BATCH == 0
    return "B" if count == BATCH else f"{count // BATCH} B"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
