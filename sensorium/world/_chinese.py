"""Chinese captions: 一只红色的猫在一座蓝色的房子的左边.

Every noun has its measure word; 的 joins what describes to what is described; no blanks.
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

_OPENINGS = ("", "有", "我们看见", "这里有")


@functools.lru_cache(maxsize=1 << 16)
def _phrase(thing: Told) -> str:
    noun = NOUNS[thing.kind or THING]
    size = f"{SIZES[thing.size][3]}的" if thing.size else ""
    colour = f"{COLOURS[thing.colour][3]}的" if thing.colour else ""
    return f"一{noun.measure}{size}{colour}{noun.chinese}"


@functools.lru_cache(maxsize=1 << 12)
def _tail(ground: str | None, stripes: str | None, named: str | None) -> str:
    tail = ""
    if ground and stripes:
        tail += f"，{GROUNDS[ground][3]}的背景上{STRIPES[stripes][3]}"
    elif ground:
        tail += f"，背景是{GROUNDS[ground][3]}的"
    elif stripes:
        tail += f"，背景上{STRIPES[stripes][3]}"
    if named:
        tail += f"，写着{COLOURS[named][3]}这个词"
    return tail


def _somewhere(thing: Told, way: int) -> str:
    """One thing, and where in the picture it is."""
    if not thing.place:
        return _OPENINGS[way] + _phrase(thing)
    place = PLACES[thing.place][3]
    if way == 3:
        return f"{place}有{_phrase(thing)}"
    return f"{_OPENINGS[way]}{_phrase(thing)}在{place}"


def sentence(meaning: Meaning, way: int = 0) -> str:
    """A meaning in Chinese.

    Args:
        meaning: what is said.
        way: one of `WAYS` wordings of the same meaning.
    """
    things, relation = said(meaning), meaning.relation
    _, _, ground, stripes, word, named = meaning
    tail = _tail(ground, stripes, named)
    room = f"{WORDS[word][3]}号房间里，" if word else ""
    if not things and named and not (ground or stripes or word):
        return _OPENINGS[way] + tail.removeprefix("，写着")
    if relation is None:
        if not things:
            core = _OPENINGS[way] + "某个东西"
        elif any(thing.place for thing in things):
            core = "，".join(_somewhere(thing, way) for thing in things)
        else:
            core = _OPENINGS[way] + "和".join(map(_phrase, things))
        return room + core + tail
    first, second = (
        f"{PLACES[thing.place][3]}的{_phrase(thing)}" if thing.place else _phrase(thing)
        for thing in things
    )
    where = f"在{second}的{RELATIONS[relation][3]}"
    if way == 3:
        return f"{room}{where}有{first}{tail}"
    return f"{room}{_OPENINGS[way]}{first}{where}{tail}"
