"""What a caption says of a scene: only the factors that the setting mentions."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from sensorium.draws import Key
from sensorium.world import _sampling
from sensorium.world._languages import language, say, way
from sensorium.world._meaning import mentioned
from sensorium.world._scene import Scene
from sensorium.world._setting import Setting

SUMMARY = "captions in English, Chinese, German, French and ciphers, and translation pairs"


def columns(setting: Setting) -> dict[str, pa.DataType]:
    """`caption`, `caption_LANGUAGE` for each of `also`, and the two texts of a translation pair."""
    names = ["caption", *(f"caption_{name}" for name in setting.also)]
    if setting.translations:
        names += ["translation_a", "translation_b"]
    return dict.fromkeys(names, pa.string())


def emit(scene: Scene, setting: Setting, key: tuple[Key, ...]) -> dict[str, Any]:
    """The texts of one record.

    `caption` is in a language drawn by the shares of `setting.languages`. A translation pair is
    about a scene of its own, the same one for every record that draws the same pair.
    """
    meaning, wording = mentioned(scene.facts, setting.mentions), way(setting, key)
    row = {"caption": say(language(setting, key), meaning, wording)}
    for name in setting.also:
        row[f"caption_{name}"] = say(name, meaning, wording)
    pair = _sampling.translation(setting, key)
    if pair is not None:
        facts, first, second = pair
        meaning = mentioned(facts, setting.mentions)
        row |= {"translation_a": say(first, meaning), "translation_b": say(second, meaning)}
    return row
