"""One meaning in any of the languages, and which language and wording a record has."""

from __future__ import annotations

from sensorium import draws
from sensorium.draws import Key
from sensorium.world import _chinese, _cipher, _english, _french, _german
from sensorium.world._meaning import Meaning
from sensorium.world._setting import Setting

_GRAMMARS = {
    "en": _english.sentence,
    "zh": _chinese.sentence,
    "de": _german.sentence,
    "fr": _french.sentence,
}


def say(language: str, meaning: Meaning, way: int = 0) -> str:
    """A meaning as a sentence.

    Args:
        language: en, zh, de, fr, or a cipher: c1, c2 ...
        meaning: what is said.
        way: one of `WAYS` wordings, 0 the plain one.
    """
    grammar = _GRAMMARS.get(language)
    return grammar(meaning, way) if grammar else _cipher.sentence(meaning, way, language)


def language(setting: Setting, key: tuple[Key, ...]) -> str:
    """The language of a record's `caption`, drawn with the setting's shares."""
    names = list(setting.languages)
    if len(names) > 1:
        left = draws.uniform(*key, "language")
        for name in names[:-1]:
            left -= setting.languages[name]
            if left < 0:
                return name
    return names[-1]


def way(setting: Setting, key: tuple[Key, ...]) -> int:
    """The wording of all texts of a record, twins among them: one of `setting.wordings`."""
    return draws.integer(*key, "wording") % setting.wordings if setting.wordings > 1 else 0
