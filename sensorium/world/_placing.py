"""Where things stand: in cells of the canvas, never overlapping, the relation plainly true."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensorium.world._drawing import cells, extent
from sensorium.world._scene import Box

PLACES = ("top_left", "top_right", "bottom_left", "bottom_right")


def place(
    things: Sequence[tuple[str, str]],
    canvas: int,
    rng: np.random.Generator,
    relation: str | None = None,
    places: Sequence[str] = (),
) -> tuple[Box, ...]:
    """A box for each thing, as large as its drawing.

    Args:
        things: (kind, size) of each, one to nine.
        canvas: pixels along a side.
        rng: free choices: which cell, and where in it.
        relation: what is true of the first thing to the second: they share a row of cells
            (left_of, right_of) or a column (above, below).
        places: one of `PLACES` for each thing, up to four things; instead of a relation.

    Returns:
        (x0, y0, x1, y1) of each thing in pixels, x1 and y1 exclusive.
    """
    count, across = len(things), cells(len(things))
    if places:
        spots = [divmod(PLACES.index(name), 2) for name in places]
    elif relation and count == 2:
        return _pair(things, canvas, rng, relation)
    else:
        spots = _spots(count, across, rng, relation)
    edge = canvas // across
    boxes = []
    for (kind, size), (row, column) in zip(things, spots, strict=True):
        width, height = extent(kind, size, canvas, count)
        x0 = column * edge + int(rng.integers(edge - width + 1))
        y0 = row * edge + int(rng.integers(edge - height + 1))
        boxes.append((x0, y0, x0 + width, y0 + height))
    return tuple(boxes)


def _spots(
    count: int, across: int, rng: np.random.Generator, relation: str | None
) -> list[tuple[int, int]]:
    """A (row, column) for each thing, all different."""
    chosen: list[tuple[int, int]] = []
    if relation and count >= 2:
        line = int(rng.integers(across))
        low, high = sorted(int(at) for at in rng.permutation(across)[:2])
        pair = [(line, low), (line, high)]
        if relation in ("above", "below"):
            pair = [(column, row) for row, column in pair]
        chosen = pair if relation in ("left_of", "above") else pair[::-1]
    free = [divmod(int(at), across) for at in rng.permutation(across * across)]
    chosen += [spot for spot in free if spot not in chosen][: count - len(chosen)]
    return chosen


def _pair(
    things: Sequence[tuple[str, str]], canvas: int, rng: np.random.Generator, relation: str
) -> tuple[Box, ...]:
    """Two things in two halves, at nearly one height (or one distance from the left)."""
    half = canvas // 2
    band = int(rng.integers(half + 1))  # both stand within half a canvas from here
    boxes = []
    for first, (kind, size) in zip((True, False), things, strict=True):
        width, height = extent(kind, size, canvas, 2)
        near = first == (relation in ("left_of", "above"))
        start = 0 if near else half
        if relation in ("left_of", "right_of"):
            x0 = start + int(rng.integers(half - width + 1))
            y0 = band + int(rng.integers(half - height + 1))
        else:
            x0 = band + int(rng.integers(half - width + 1))
            y0 = start + int(rng.integers(half - height + 1))
        boxes.append((x0, y0, x0 + width, y0 + height))
    return tuple(boxes)
