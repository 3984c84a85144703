"""Scenes made by hand, for tests of what draws and tells them."""

from __future__ import annotations

import numpy as np

from sensorium.world import _drawing, _placing
from sensorium.world._scene import Scene, Thing


def two(
    kinds=("cat", "square"),
    colours=("red", "blue"),
    sizes=("large", "small"),
    relation="left_of",
    canvas=32,
    ground="sand",
    stripes="none",
    seed=0,
) -> Scene:
    """Two things in a relation; the facts are what the arguments say."""
    pairs = list(zip(kinds, sizes, strict=True))
    boxes = _placing.place(pairs, canvas, np.random.default_rng(seed), relation)
    things = tuple(
        Thing(kind, colour, size, box)
        for kind, colour, size, box in zip(kinds, colours, sizes, boxes, strict=True)
    )
    facts = {"relation": relation, "ground": ground, "stripes": stripes}
    for at, thing in enumerate(things, 1):
        facts |= {f"kind_{at}": thing.kind, f"colour_{at}": thing.colour, f"size_{at}": thing.size}
    return Scene("a", canvas, things, relation, ground, stripes, None, facts)


def changed(scene: Scene) -> np.ndarray:
    """bool [canvas, canvas]: where a scene differs from its empty canvas."""
    empty = Scene("a", scene.canvas, (), None, scene.ground, scene.stripes, None, {})
    return (_drawing.draw(scene) != _drawing.draw(empty)).any(-1)
