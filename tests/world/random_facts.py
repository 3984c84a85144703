"""Random facts of one or two things, for tests of what tells them."""

from __future__ import annotations

from sensorium.world._kinds import KINDS
from sensorium.world._scene import COLOURS, GROUNDS, PLACES, RELATIONS, SIZES, STRIPES

from .english_parser import NUMBERS

VALUES = {
    "ground": GROUNDS, "stripes": STRIPES, "word": NUMBERS, "named_colour": COLOURS,
}  # fmt: skip
PARTS = {"kind": KINDS, "colour": COLOURS, "size": SIZES, "place": PLACES}


def some(rng):
    """(facts, which of them are mentioned): one or two things, any factors."""
    values = dict(VALUES)
    things = int(rng.integers(1, 3))
    for at in range(1, things + 1):
        values |= {f"{part}_{at}": options for part, options in PARTS.items()}
    if things == 2:
        values["relation"] = RELATIONS
    facts = {name: options[rng.integers(len(options))] for name, options in values.items()}
    return facts, tuple(name for name in facts if rng.random() < rng.random())
