"""German captions: "eine rote Katze links von einem blauen Haus".

Nouns have a gender, adjectives after "ein" their mixed endings; what stands after "links von",
"über" ... is in the dative, what we see in the accusative.
"""

from __future__ import annotations

import functools

from sensorium.world._lexicon import (
    COLOURS,
    GROUNDS,
    NOUNS,
    PLACES,
    RELATIONS,
    SIZES,
    STRIPES,
    THING,
    WORDS,
)
from sensorium.world._meaning import Meaning, Told, said

# (case, gender) -> article, ending of the adjectives after it.
_ENDINGS = {
    ("nominative", "m"): ("ein", "er"),
    ("nominative", "f"): ("eine", "e"),
    ("nominative", "n"): ("ein", "es"),
    ("accusative", "m"): ("einen", "en"),
    ("accusative", "f"): ("eine", "e"),
    ("accusative", "n"): ("ein", "es"),
    ("dative", "m"): ("einem", "en"),
    ("dative", "f"): ("einer", "en"),
    ("dative", "n"): ("einem", "en"),
}
_OPENINGS = (("", ""), ("da ist ", "da sind "), ("wir sehen ",) * 2, ("hier ist ", "hier sind "))
# A weak noun ends in -en after "einen" and "einem"; a neuter one (Herz) only in the dative.


@functools.lru_cache(maxsize=1 << 16)
def _phrase(thing: Told, case: str) -> str:
    noun = NOUNS[thing.kind or THING]
    gender = noun.german_gender
    article, ending = _ENDINGS[case, gender]
    words = [article]
    if thing.size:
        words.append(SIZES[thing.size][0] + ending)
    if thing.colour:
        words.append(COLOURS[thing.colour][0] + ending)
    oblique = case == "dative" or (case == "accusative" and gender == "m")
    words.append(noun.german_oblique if oblique else noun.german)
    if thing.place:
        words.append(PLACES[thing.place][1])
    return " ".join(words)


@functools.lru_cache(maxsize=1 << 12)
def _tail(ground: str | None, stripes: str | None, word: str | None, named: str | None) -> str:
    tail = ""
    if ground:
        tail += f" auf {GROUNDS[ground][1]} Grund"
    elif stripes:
        tail += " auf einem Grund"
    if stripes:
        tail += f" {STRIPES[stripes][1]}"
    if word:
        tail += f" in Zimmer {WORDS[word][1]}"
    if named:
        tail += f" mit dem Wort {COLOURS[named][0]}"
    return tail


def sentence(meaning: Meaning, way: int = 0) -> str:
    """A meaning in German.

    Args:
        meaning: what is said.
        way: one of `WAYS` wordings of the same meaning.
    """
    things, relation = said(meaning), meaning.relation
    tail = _tail(*meaning[2:])
    named = meaning.named_colour
    if not things and named and tail == f" mit dem Wort {COLOURS[named][0]}":
        return _OPENINGS[way][0] + tail.replace(" mit dem", "das")
    case = "accusative" if way == 2 else "nominative"
    if relation is None:
        phrases = [_phrase(thing, case) for thing in things] or ["etwas"]
        return _OPENINGS[way][len(phrases) > 1] + " und ".join(phrases) + tail
    first, second = things
    subject = _phrase(first, case)
    other = f"{RELATIONS[relation][1]} {_phrase(second, 'dative')}{tail}"
    if way == 3:
        return f"{subject} ist {other}"
    return f"{_OPENINGS[way][0]}{subject} {other}"
