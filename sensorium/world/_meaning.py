"""What a caption says, before any language: the mentioned facts, and nothing else of the scene.

Twins are made here, on meanings, so that a twin is told in the same words and the same way as the
truth, and so that two captions can be compared by what they claim rather than by their letters.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sensorium.world._scene import HIDDEN, Scene

WAYS = 4  # wordings of one meaning that every language knows; 0 is the plain one


class Told(NamedTuple):
    """What is said of one thing; None where nothing is."""

    kind: str | None = None
    colour: str | None = None
    size: str | None = None
    place: str | None = None


NOTHING = Told()


class Meaning(NamedTuple):
    """What one caption claims.

    `relation` is between things[0] and things[1]. A fact that is not mentioned, or that a visible
    erasure took away, is None.
    """

    things: tuple[Told, ...]
    relation: str | None = None
    ground: str | None = None
    stripes: str | None = None
    word: str | None = None
    named_colour: str | None = None


def mentioned(scene: Scene, mentions: Collection[str]) -> Meaning:
    """The facts of a scene that a caption tells.

    Args:
        scene: one or two things.
        mentions: names of factors: kind_1, colour_1, size_1, place_1, kind_2 ..., relation, ground,
            stripes, word, named_colour.
    """
    facts = scene.facts
    told: dict[str, str | None] = {
        name: value
        for name in mentions
        if (value := facts.get(name)) is not None and value != HIDDEN
    }
    get = told.get
    things = tuple(
        Told(get(f"kind_{at}"), get(f"colour_{at}"), get(f"size_{at}"), get(f"place_{at}"))
        for at in range(1, len(scene.things) + 1)
    )
    return Meaning(
        things, get("relation"), get("ground"), get("stripes"), get("word"), get("named_colour")
    )


def said(meaning: Meaning) -> tuple[Told, ...]:
    """The things that a sentence names: all that something is said of."""
    if meaning.relation is not None:
        return meaning.things
    return tuple(thing for thing in meaning.things if thing != NOTHING)


def colours_swapped(meaning: Meaning) -> Meaning:
    """The first two things with each other's colour; all else stays."""
    first, second, *rest = meaning.things
    first, second = (
        first._replace(colour=second.colour),
        second._replace(colour=first.colour),
    )
    return meaning._replace(things=(first, second, *rest))


def roles_swapped(meaning: Meaning) -> Meaning:
    """The first two things in each other's role: relation and places stay, the things change."""
    first, second, *rest = meaning.things
    first, second = second._replace(place=first.place), first._replace(place=second.place)
    return meaning._replace(things=(first, second, *rest))


def same(a: Meaning, b: Meaning) -> bool:
    """Whether two captions claim the same: "a above b" is "b below a", "a and b" is "b and a"."""
    return a == b or _canonical(a) == _canonical(b)


_CONVERSE = {"right_of": "left_of", "below": "above"}


def _canonical(meaning: Meaning) -> tuple:
    things, relation = said(meaning), meaning.relation
    if relation is None:
        things = tuple(sorted(things, key=lambda thing: [part or "" for part in thing]))
    elif relation in _CONVERSE:
        first, second, *rest = things
        things, relation = (second, first, *rest), _CONVERSE[relation]
    return (things, relation, *meaning[2:])
