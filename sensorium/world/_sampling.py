"""Scenes drawn one by one: which factors, where things stand, and what the texts tell.

A scene depends on its record's key alone, so any worker may draw any scene. A split is a set of
combinations: factors are drawn until they belong to it, which leaves every combination of the split
equally likely. `_support` lists the very same distribution for exact counting.
"""

from __future__ import annotations

import numpy as np

from sensorium import draws
from sensorium.world import _support
from sensorium.world._placing import place
from sensorium.world._scene import HIDDEN, PLACES, Scene, Thing
from sensorium.world._setting import Setting

Key = tuple[draws.Key, ...]


def key(setting: Setting, seed: int, split: str, at: int) -> Key:
    """What all draws of one record begin with."""
    return (seed, "world", setting.scenes_hash, split, at)


def scene(setting: Setting, seed: int, split: str, at: int) -> Scene:
    """The scene of one record.

    Args:
        setting: of the world.
        seed: of the world; another seed gives other scenes.
        split: one of `setting.splits`.
        at: the record's number within the split, from 0.
    """
    return _drawn(setting, split, key(setting, seed, split, at), f"{split}-{at:07d}")


def another(setting: Setting, key: Key, purpose: str) -> Scene:
    """A further scene of a record's split, for one purpose, e.g. the text of a stranger."""
    split = str(key[3])
    return _drawn(setting, split, (*key, "another", purpose), f"{split}-{key[4]}-{purpose}")


def another_facts(setting: Setting, key: Key, purpose: str) -> dict[str, str]:
    """The facts of that scene alone, for what tells and does not show: no box is placed."""
    rng = draws.generator(*key, "another", purpose, "factors")
    return _facts(setting, str(key[3]), rng)


def told(setting: Setting, scene: Scene, key: Key) -> Scene:
    """The scene that the texts and the table are about: the record's own, or a stranger's.

    In the train split another's with probability `setting.wrong_pairs`; elsewhere always its own.
    """
    if key[3] == "train" and draws.uniform(*key, "wrong pair") < setting.wrong_pairs:
        return another(setting, key, "wrong pair")
    return scene


def present(setting: Setting, key: Key) -> dict[str, bool]:
    """Which modalities a record has: each is missing with its own share, one by one."""
    shares = dict(setting.missing)
    return {
        name: draws.uniform(*key, "missing", name) >= share if share else True
        for name, share in shares.items()
    }


def translation(setting: Setting, key: Key) -> tuple[dict[str, str], str, str] | None:
    """The translation pair beside a record: a scene's facts, and two languages to tell them in.

    Of `translations.pairs` distinct ones every record draws one; without a number each record has
    its own. They are scenes of the train split, whichever split the record belongs to.
    """
    given = setting.translations
    if given is None:
        return None
    if given.pairs is None:
        pair: Key = (*key, "translation")
    else:
        number = int(draws.uniform(*key, "which translation") * given.pairs)
        pair = (key[0], "world", setting.scenes_hash, "train", "translation", number)
    first, second = draws.generator(*pair, "languages").permutation(len(given.languages))[:2]
    facts = _facts(setting, "train", draws.generator(*pair, "scene", "factors"))
    return facts, given.languages[first], given.languages[second]


def _facts(setting: Setting, split: str, rng: np.random.Generator) -> dict[str, str]:
    index = _support.draw(setting, split, rng)
    values = _support.options(setting, split)
    facts = {factor: values[factor][at] for factor, at in index.items()}
    told = _support.label(setting, split, index)
    if told is not None:
        facts["label"] = told
    _support.hidden(setting, rng, facts)
    return facts


def _drawn(setting: Setting, split: str, key: Key, name: str) -> Scene:
    rng = draws.generator(*key, "factors")
    facts = _facts(setting, split, rng)
    things = range(1, setting.things + 1)
    boxes = place(
        [(facts[f"kind_{at}"], facts[f"size_{at}"]) for at in things],
        setting.canvas,
        rng,
        facts.get("relation"),
        divmod(PLACES.index(facts["place_1"]), 3) if "place_1" in facts else None,
    )
    return Scene(
        key=name,
        canvas=setting.canvas,
        things=tuple(
            Thing(facts[f"kind_{at}"], facts[f"colour_{at}"], facts[f"size_{at}"], box)
            for at, box in zip(things, boxes, strict=True)
        ),
        relation=facts.get("relation"),
        ground=facts["ground"],
        stripes=facts["stripes"],
        word=None if facts.get("word") == HIDDEN else facts.get("word"),
        facts=facts,
    )
