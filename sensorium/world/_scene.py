"""A scene: which things, where, on what; and the factors that it was drawn from.

A scene is all that its emissions may look at, so picture, boxes, caption and table agree.
"""

from __future__ import annotations

from dataclasses import dataclass

RELATIONS = ("left_of", "right_of", "above", "below")
SIZES = ("small", "large")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "brown")
SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross", "ring", "heart")
GROUNDS = ("grey", "sand", "sky", "mint", "rose", "lilac", "slate", "cream")
PLACES = (  # a grid of three by three, row after row
    *("top_left", "top", "top_right", "left", "middle", "right"),
    *("bottom_left", "bottom", "bottom_right"),
)
HIDDEN = "hidden"  # the value of a factor that is visibly taken away
STRIPES = ("none", "across", "down", "rising", "falling", "grid", "lattice", "dots")

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Thing:
    """One thing of a scene: `kind` and `colour` are lexicon words, `size` one of `SIZES`.

    `box` is (x0, y0, x1, y1) in pixels, x to the right, y downwards, x1 and y1 exclusive: tight
    around what is drawn. The colour `hidden` is a visible erasure: drawn in grey.
    """

    kind: str
    colour: str
    size: str
    box: Box


@dataclass(frozen=True)
class Scene:
    """One scene.

    Attributes:
        key: the record's key, unique in its data set.
        canvas: width and height in pixels.
        things: first, second, ...; their boxes never overlap.
        relation: one of `RELATIONS`, true of things[0] to things[1], or None.
        ground: colour of the background, one of `GROUNDS`, or `hidden`: black.
        stripes: kind of the faint pattern, one of `STRIPES`.
        word: the value of a factor that only texts carry, or None.
        facts: factor -> value, complete: all that the scene was drawn from.
    """

    key: str
    canvas: int
    things: tuple[Thing, ...]
    relation: str | None
    ground: str
    stripes: str
    word: str | None
    facts: dict[str, str]
