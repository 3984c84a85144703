"""What a caption says, before any language: the mentioned facts, and nothing else of the scene.

Twins are made here, on meanings, so that a twin is told in the same words and the same way as the
truth, and is known to be false by what it claims rather than by its letters.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sensorium.world._scene import HIDDEN

CONVERSE = {"left_of": "right_of", "right_of": "left_of", "above": "below", "below": "above"}
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


def mentioned(facts: Mapping[str, str], mentions: Collection[str]) -> Meaning:
    """The facts that a caption tells.

    Args:
        facts: of a scene, `Scene.facts`: factor -> value; two things if there is a kind_2.
        mentions: names of factors: kind_1, colour_1, size_1, place_1, kind_2 ..., relation, ground,
            stripes, word, named_colour.
    """
    told: dict[str, str | None] = {
        name: value
        for name in mentions
        if (value := facts.get(name)) is not None and value != HIDDEN
    }
    get = told.get
    things = tuple(
        Told(get(f"kind_{at}"), get(f"colour_{at}"), get(f"size_{at}"), get(f"place_{at}"))
        for at in (("1", "2") if "kind_2" in facts else ("1",))
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


def holds(meaning: Meaning, facts: Mapping[str, str]) -> bool:
    """Whether a caption may be true of a scene, whichever of its things is meant by which words.

    So "a cat and a dog" holds where the dog comes first, "a above b" where b is below a, and "a red
    cat" where the second thing is one. What is hidden contradicts nothing.
    """
    for factor in ("ground", "stripes", "word", "named_colour"):
        if _contradicts(getattr(meaning, factor), facts.get(factor)):
            return False
    things, relation = said(meaning), facts.get("relation")
    if _fit(things, ("1", "2"), facts) and meaning.relation in (None, relation):
        return True
    converse = CONVERSE.get(relation) if relation else None
    return _fit(things, ("2", "1"), facts) and meaning.relation in (None, converse)


def _fit(things: tuple[Told, ...], order: tuple[str, str], facts: Mapping[str, str]) -> bool:
    """Whether nothing said of some things contradicts the scene's things in an order."""
    return not any(
        _contradicts(claim, facts.get(f"{name}_{at}"))
        for thing, at in zip(things, order, strict=False)
        for name, claim in zip(Told._fields, thing, strict=True)
    )


def _contradicts(claim: str | None, fact: str | None) -> bool:
    return claim is not None and claim != fact and fact != HIDDEN
