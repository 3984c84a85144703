"""A question about a scene, and its one right answer.

Kinds of question: the colour of a thing, what stands in a relation to it, whether it has a colour,
how many things have a colour. Where the setting's label is whether a thing has the named colour,
that alone is asked.

Balance over scenes whose kinds and colours are uniform and independent (or only differ), which a
setting grants over all its splits together: for any one question string each possible answer is
equally frequent, so that whoever reads only the question is right once in as many answers (rule
B1). For colour and relation this follows from the factors; for yes or no from a coin that every
scene throws; for counts from asking rare counts always and frequent ones seldom. Where yes or no is
the setting's label (`equality` with the named colour), the balance is the label's; a single thing
is not named there, for within a split its kind tells of its colour.

That every scene gives each answer equally often (rule B2) holds exactly for yes or no. It cannot
hold for the others: a scene has no four colours for one thing. There the best answer without the
question is one in two where two things can be asked about, and certain where there is only one.

Within one split the colours and kinds of a question are as uniform as the setting's `split` leaves
them: exactly, if a factor that the question does not touch runs through whole cycles of `modulo`.
Where they are not, who reads only the question is above chance; `_asking` counts how far, and
`world.json` states it.
"""

from __future__ import annotations

import functools
from math import comb
from typing import Any

import numpy as np
import pyarrow as pa

from sensorium import draws
from sensorium.draws import Key
from sensorium.world._lexicon import RELATIONS, THING
from sensorium.world._meaning import CONVERSE
from sensorium.world._scene import HIDDEN, Scene
from sensorium.world._setting import Setting

SUMMARY = "a question and its answer: colour, relation, yes or no, count"
Asked = tuple[str, str]


def columns(setting: Setting) -> dict[str, pa.DataType]:
    """`question` and `answer`, in English; null where nothing can be asked."""
    return {"question": pa.string(), "answer": pa.string()}


def emit(scene: Scene, setting: Setting, key: tuple[Key, ...]) -> dict[str, Any]:
    """One question, of a kind that is drawn among those that the scene allows."""
    asking = [_equality] if label_factor(setting) else [_colour, _relation, _count, _equality]
    rng = draws.generator(*key, "question")
    for at in rng.permutation(len(asking)):
        asked = asking[at](scene, setting, rng)
        if asked is not None:
            return {"question": asked[0], "answer": asked[1]}
    return {"question": None, "answer": None}


def _nameable(scene: Scene) -> bool:
    """Whether "the cat" is one thing, and a plain one."""
    kinds = [thing.kind for thing in scene.things]
    return len(set(kinds)) == len(kinds) and HIDDEN not in kinds


def _colour(scene: Scene, setting: Setting, rng: np.random.Generator) -> Asked | None:
    thing = scene.things[rng.integers(len(scene.things))]
    if not _nameable(scene) or thing.colour == HIDDEN or setting.colours < 2:
        return None
    return f"what colour is the {thing.kind}?", thing.colour


def _relation(scene: Scene, setting: Setting, rng: np.random.Generator) -> Asked | None:
    """Asked from either side, so that the relation in the question says nothing of the scene's."""
    relation = scene.relation
    if relation is None or relation == HIDDEN or not _nameable(scene):
        return None
    first, second = scene.things[:2]
    if rng.random() < 0.5:
        first, second, relation = second, first, CONVERSE[relation]
    return f"what is {RELATIONS[relation][0]} the {second.kind}?", first.kind


def label_factor(setting: Setting) -> str | None:
    """The factor whose equality with the named colour is the setting's label, if that is so."""
    label = setting.label
    if label is None or label.rule != "equality" or "named_colour" not in label.of:
        return None
    return next(name for name in label.of if name != "named_colour")


def _equality(scene: Scene, setting: Setting, rng: np.random.Generator) -> Asked | None:
    """Yes or no, each in half of the cases, by the setting's label or by a coin."""
    factor = label_factor(setting) or f"colour_{1 + rng.integers(len(scene.things))}"
    thing, values = scene.things[int(factor[-1]) - 1], setting.factors[factor]
    if not _nameable(scene) or thing.colour == HIDDEN or len(values) < 2:
        return None
    name = thing.kind
    if label_factor(setting):
        name = THING if len(scene.things) == 1 else name
        named = scene.facts["named_colour"]
    elif rng.random() < 0.5:
        named = thing.colour
    else:
        others = [value for value in values if value != thing.colour]
        named = others[rng.integers(len(others))]
    return f"is the {name} {named}?", "yes" if named == thing.colour else "no"


def _count(scene: Scene, setting: Setting, rng: np.random.Generator) -> Asked | None:
    """How many things have a colour that is drawn whatever the scene shows.

    A count is asked with a probability inverse to its frequency, so that all are equally frequent.
    """
    values = setting.factors["colour_1"]
    named = values[rng.integers(len(values))]
    colours = [thing.colour for thing in scene.things]
    shares = counts(len(colours), len(values), setting.distinct)
    found = colours.count(named)
    if len(shares) < 2 or HIDDEN in colours or rng.random() >= min(shares.values()) / shares[found]:
        return None
    return f"how many things are {named}?", str(found)


@functools.cache
def counts(things: int, colours: int, distinct: bool) -> dict[int, float]:
    """Count -> the probability that so many of the things have one given colour; none that is 0."""
    share = 1 / colours
    if distinct:
        found = {0: 1 - things * share, 1: things * share}
    else:
        found = {
            many: comb(things, many) * share**many * (1 - share) ** (things - many)
            for many in range(things + 1)
        }
    return {many: chance for many, chance in found.items() if chance > 1e-12}
