"""Where things stand: never overlapping, the relation plainly true."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensorium.world._drawing import extent
from sensorium.world._scene import Box


def place(
    things: Sequence[tuple[str, str]],
    canvas: int,
    rng: np.random.Generator,
    relation: str | None = None,
    cell: tuple[int, int] | None = None,
) -> tuple[Box, ...]:
    """A box for each thing, as large as its drawing.

    Args:
        things: (kind, size) of each, one or two.
        canvas: pixels along a side.
        rng: free choices.
        relation: what is true of the first thing to the second. They stand in two halves of the
            canvas and at nearly one height (left_of, right_of), or nearly above each other. None
            draws one that nobody is told.
        cell: (row, column) of a grid of three by three for one thing; None is anywhere.

    Returns:
        (x0, y0, x1, y1) of each thing in pixels, x1 and y1 exclusive.
    """
    extents = [extent(kind, size, canvas) for kind, size in things]
    if len(things) == 1:
        return (_alone(*extents[0], canvas, rng, cell),)
    if relation is None:
        relation = ("left_of", "right_of", "above", "below")[int(rng.integers(4))]
    half, beside = canvas // 2, relation in ("left_of", "right_of")
    band = int(rng.integers(half + 1))  # across the relation, both stand within half a canvas
    boxes = []
    for at, (width, height) in enumerate(extents):
        start = 0 if (at == 0) == (relation in ("left_of", "above")) else half
        left, top = (start, band) if beside else (band, start)
        x0 = left + int(rng.integers(half - width + 1))
        y0 = top + int(rng.integers(half - height + 1))
        boxes.append((x0, y0, x0 + width, y0 + height))
    return tuple(boxes)


def _alone(
    width: int, height: int, canvas: int, rng: np.random.Generator, cell: tuple[int, int] | None
) -> Box:
    """One thing: its upper left corner lies in the middle of the cell's ninth of all corners, so
    that neighbouring cells are a sixth of the free room apart."""
    corner = []
    for room, part in zip((canvas - height, canvas - width), cell or (None, None), strict=True):
        low, high = 0, room
        if part is not None:
            low, high = -(-(4 * part + 1) * room // 12), (4 * part + 3) * room // 12
        corner.append(int(rng.integers(low, high + 1)))
    y0, x0 = corner
    return x0, y0, x0 + width, y0 + height
