"""French captions: "un chat rouge à gauche d'une maison bleue".

Colours follow their noun and agree with it, sizes stand before it; "de" is elided before "un".
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

_OPENINGS = ("", "il y a ", "nous voyons ", "voici ")


@functools.lru_cache(maxsize=1 << 16)
def _phrase(thing: Told) -> str:
    noun = NOUNS[thing.kind or THING]
    feminine = noun.french_gender == "f"
    words = ["une" if feminine else "un"]
    if thing.size:
        words.append(SIZES[thing.size][1 + feminine])
    words.append(noun.french)
    if thing.colour:
        words.append(COLOURS[thing.colour][1 + feminine])
    if thing.place:
        words.append(PLACES[thing.place][2])
    return " ".join(words)


@functools.lru_cache(maxsize=1 << 12)
def _tail(ground: str | None, stripes: str | None, word: str | None, named: str | None) -> str:
    tail = ""
    if ground:
        tail += f" sur fond {GROUNDS[ground][2]}"
    elif stripes:
        tail += " sur un fond"
    if stripes:
        tail += f" {STRIPES[stripes][2]}"
    if word:
        tail += f" dans la salle {WORDS[word][2]}"
    if named:
        tail += f" avec le mot {COLOURS[named][1]}"
    return tail


def sentence(meaning: Meaning, way: int = 0) -> str:
    """A meaning in French.

    Args:
        meaning: what is said.
        way: one of `WAYS` wordings of the same meaning.
    """
    things, relation = said(meaning), meaning.relation
    tail = _tail(*meaning[2:])
    named = meaning.named_colour
    if not things and named and tail == f" avec le mot {COLOURS[named][1]}":
        return _OPENINGS[way] + tail.removeprefix(" avec ")
    phrases = [_phrase(thing) for thing in things] or ["quelque chose"]
    if relation is None:
        return _OPENINGS[way] + " et ".join(phrases) + tail
    first, second = phrases
    # "de" and "un" or "une" make "d'un" and "d'une".
    other = f"{RELATIONS[relation][2].removesuffix('de')}d'{second}{tail}"
    if way == 3:
        return f"{first} est {other}"
    return f"{_OPENINGS[way]}{first} {other}"
