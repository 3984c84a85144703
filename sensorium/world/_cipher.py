"""Languages that nobody has seen: every English word has one other word, a language its own.

The words of all these languages are one shuffled list of three syllables each (`bakide`), cut into
blocks: a language is a block, so that no two share a word, and none is a word of a real language
of the world. The order of the words is the English one.
"""

from __future__ import annotations

import functools
import re

from sensorium import draws
from sensorium.errors import UserError
from sensorium.world import _english
from sensorium.world._lexicon import (
    COLOURS,
    GROUNDS,
    NOUNS,
    PLACES,
    RELATIONS,
    SIZES,
    STRIPES,
    WORDS,
)
from sensorium.world._meaning import Meaning

_NAME = re.compile(r"c([1-9][0-9]{0,2})")
_SYLLABLES = [c + v for c in "bdfghklmnprstvwz" for v in "aeiou"]
_BLOCK = 500  # words that one language may use
assert len(_english.VOCABULARY) <= _BLOCK


@functools.cache
def _words() -> list[str]:
    """All words of all ciphers, shuffled; 80 ** 3 less those that mean something."""
    real = {word.lower() for text in _texts() for word in re.split(r"[\s'-]+", text)}
    count = len(_SYLLABLES)
    drawn = []
    for at in draws.order(count**3, "world", "cipher").tolist():
        rest, third = divmod(at, count)
        first, second = divmod(rest, count)
        word = _SYLLABLES[first] + _SYLLABLES[second] + _SYLLABLES[third]
        if word not in real:
            drawn.append(word)
    return drawn


def _texts() -> list[str]:
    texts = list(_english.VOCABULARY)
    for noun in NOUNS.values():
        texts += [noun.german, noun.german_oblique, noun.french]
    for table in (COLOURS, SIZES, RELATIONS, PLACES, GROUNDS, STRIPES, WORDS):
        texts += [text for entry in table.values() for text in entry]
    return texts


@functools.cache
def dictionary(language: str) -> dict[str, str]:
    """English word -> word of one cipher, one to one.

    Args:
        language: `c1` to `c999`.

    Raises:
        UserError: not such a name.
    """
    found = _NAME.fullmatch(language)
    if found is None:
        raise UserError("no such cipher", expected="c1 to c999", found=repr(language), nearest="c1")
    start = (int(found[1]) - 1) * _BLOCK
    block = _words()[start : start + _BLOCK]
    # Which word of the block stands for which English one is the language's own draw as well.
    order = draws.order(_BLOCK, "world", "cipher", language).tolist()
    return {word: block[at] for word, at in zip(_english.VOCABULARY, order, strict=False)}


def sentence(meaning: Meaning, way: int, language: str) -> str:
    """A meaning in a cipher: the English sentence, word by word.

    Args:
        meaning: what is said.
        way: one of `WAYS` wordings of the same meaning.
        language: `c1` to `c999`.
    """
    words = dictionary(language)
    return " ".join([words[word] for word in _english.sentence(meaning, way).split(" ")])
