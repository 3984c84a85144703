"""Captions that are nearly true: what a forced choice sets beside the true one.

A twin is told in the language and the wording of the true caption, and is false: where it would be
true of the scene as well, e.g. with both things red, it is null.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from sensorium.draws import Key
from sensorium.world import _sampling
from sensorium.world._languages import language, say, way
from sensorium.world._meaning import colours_swapped, holds, mentioned, roles_swapped
from sensorium.world._scene import Scene
from sensorium.world._setting import Setting

SUMMARY = "false captions: colours swapped, roles swapped, another scene's"
TRIES = 8  # scenes drawn until a caption is false of this one


def columns(setting: Setting) -> dict[str, pa.DataType]:
    """`caption_colours`, `caption_roles` (with two things), `caption_random`."""
    names = ["caption_colours", "caption_roles"] if setting.things > 1 else []
    return dict.fromkeys([*names, "caption_random"], pa.string())


def emit(scene: Scene, setting: Setting, key: tuple[Key, ...]) -> dict[str, Any]:
    """The twins of the true caption of `scene`.

    `caption_colours`: the two things with each other's colour. `caption_roles`: the two things in
    each other's role in the relation, or at each other's place. `caption_random`: what is true of
    another scene of the same split.
    """
    truth = mentioned(scene.facts, setting.mentions)
    told, wording = language(setting, key), way(setting, key)
    row: dict[str, Any] = {}
    if setting.things > 1:
        for name, swapped in (
            ("caption_colours", colours_swapped(truth)),
            ("caption_roles", roles_swapped(truth)),
        ):
            row[name] = None if holds(swapped, scene.facts) else say(told, swapped, wording)
    row["caption_random"] = None
    for at in range(TRIES):
        facts = _sampling.another_facts(setting, key, f"twin {at}")
        other = mentioned(facts, setting.mentions)
        if not holds(other, scene.facts):
            row["caption_random"] = say(told, other, wording)
            break
    return row
