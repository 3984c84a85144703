"""English captions: "a red cat left of a blue house".

No capital, no full stop: one token a word, and words are parted by one blank.
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

_OPENINGS = ("", "there is ", "we see ", "here is ")


def article(word: str) -> str:
    """`a` or `an` before a word of the lexicon, all of which sound as they are spelt."""
    return "an" if word[0] in "aeiou" else "a"


@functools.lru_cache(maxsize=1 << 16)
def _phrase(thing: Told) -> str:
    words = [word for word in (thing.size, thing.colour, thing.kind or THING) if word]
    if thing.place:
        words.append(PLACES[thing.place][0])
    return " ".join([article(words[0]), *words])


@functools.lru_cache(maxsize=1 << 12)
def _tail(ground: str | None, stripes: str | None, word: str | None, named: str | None) -> str:
    tail = ""
    if ground:
        colour = GROUNDS[ground][0]
        tail += f" on {article(colour)} {colour} ground"
    elif stripes:
        tail += " on a ground"
    if stripes:
        tail += f" {STRIPES[stripes][0]}"
    if word:
        tail += f" in room {WORDS[word][0]}"
    if named:
        tail += f" with the word {named}"
    return tail


def sentence(meaning: Meaning, way: int = 0) -> str:
    """A meaning in English.

    Args:
        meaning: what is said.
        way: one of `WAYS` wordings of the same meaning.
    """
    things, relation = said(meaning), meaning.relation
    tail = _tail(*meaning[2:])
    if not things and tail == f" with the word {meaning.named_colour}":
        return _OPENINGS[way] + tail.removeprefix(" with ")
    phrases = [_phrase(thing) for thing in things] or ["something"]
    if relation is None:
        return _OPENINGS[way] + " and ".join(phrases) + tail
    first, second = phrases
    if way == 3:
        return f"{first} is {RELATIONS[relation][0]} {second}{tail}"
    return f"{_OPENINGS[way]}{first} {RELATIONS[relation][0]} {second}{tail}"


def _vocabulary() -> tuple[str, ...]:
    told = [*NOUNS, *COLOURS, *SIZES, *_OPENINGS, "a an and is something"]
    told += ["on ground in room with the word"]
    for table in (RELATIONS, PLACES, GROUNDS, STRIPES, WORDS):
        told += [entry[0] for entry in table.values()]
    return tuple(sorted({word for text in told for word in text.split()}))


VOCABULARY = _vocabulary()  # every word that `sentence` can write
