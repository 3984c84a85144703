"""From an English caption back to facts: written by hand, without the grammar that it checks."""

from __future__ import annotations

import re

from sensorium.world._kinds import KINDS

COLOURS = ["red", "green", "blue", "yellow", "purple", "orange", "white", "brown"]
PLACES = {
    "in the top left corner": "top_left",
    "at the top": "top",
    "in the top right corner": "top_right",
    "on the left": "left",
    "in the middle": "middle",
    "on the right": "right",
    "in the bottom left corner": "bottom_left",
    "at the bottom": "bottom",
    "in the bottom right corner": "bottom_right",
}
RELATIONS = {"left of": "left_of", "right of": "right_of", "above": "above", "below": "below"}
GROUNDS = {
    "grey": "grey", "sandy": "sand", "azure": "sky", "mint": "mint",
    "pink": "rose", "lilac": "lilac", "slate": "slate", "cream": "cream",
}  # fmt: skip
STRIPES = {
    "without a pattern": "none",
    "with horizontal stripes": "across",
    "with vertical stripes": "down",
    "with rising stripes": "rising",
    "with falling stripes": "falling",
    "with a grid": "grid",
    "with a lattice": "lattice",
    "with dots": "dots",
}
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]


def _any(words) -> str:
    return "(?:" + "|".join(map(re.escape, sorted(words, key=len, reverse=True))) + ")"


def _thing(at: int) -> str:
    return (
        f"(?:a|an)(?: (?P<size_{at}>small|large))?(?: (?P<colour_{at}>{_any(COLOURS)}))?"
        f" (?P<kind_{at}>{_any([*KINDS, 'thing'])})(?: (?P<place_{at}>{_any(PLACES)}))?"
    )


_SENTENCE = re.compile(
    r"(?:there is |we see |here is )?"
    rf"(?:the word (?P<only>{_any(COLOURS)})|something|{_thing(1)}"
    rf"(?:(?: and| (?:is )?(?P<relation>{_any(RELATIONS)})) {_thing(2)})?)"
    rf"(?: on (?:a|an)(?: (?P<ground>{_any(GROUNDS)}))? ground(?: (?P<stripes>{_any(STRIPES)}))?)?"
    rf"(?: in room (?P<word>{_any(NUMBERS)}))?"
    rf"(?: with the word (?P<named_colour>{_any(COLOURS)}))?"
)


def parse(sentence: str) -> dict[str, str]:
    """Factor -> value, of all that a sentence says.

    Raises:
        ValueError: it is no sentence of ours.
    """
    found = _SENTENCE.fullmatch(sentence)
    if found is None:
        raise ValueError(sentence)
    facts = {name: value for name, value in found.groupdict().items() if value}
    if "only" in facts:
        facts["named_colour"] = facts.pop("only")
    for table, names in (
        (PLACES, ("place_1", "place_2")),
        (RELATIONS, ("relation",)),
        (GROUNDS, ("ground",)),
        (STRIPES, ("stripes",)),
    ):
        facts |= {name: table[facts[name]] for name in names if name in facts}
    return {name: value for name, value in facts.items() if value != "thing"}


def true_of(claims: dict[str, str], facts: dict[str, str]) -> bool:
    """Whether what a caption says holds in a scene, tried by naming the scene both ways round.

    Naming the other thing first turns the relation round.
    """
    if "kind_2" not in facts:
        return all(facts.get(name) == value for name, value in claims.items())
    turned = dict(facts)
    for name in ("kind", "colour", "size", "place"):
        for here, there in (("1", "2"), ("2", "1")):
            turned.pop(f"{name}_{here}", None)
            if f"{name}_{there}" in facts:
                turned[f"{name}_{here}"] = facts[f"{name}_{there}"]
    if "relation" in facts:
        turned["relation"] = {
            "left_of": "right_of", "right_of": "left_of", "above": "below", "below": "above",
        }[facts["relation"]]  # fmt: skip
    return any(
        all(named.get(name) == value for name, value in claims.items()) for named in (facts, turned)
    )
