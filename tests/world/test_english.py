"""English: read back by a parser of its own, for random facts and for scenes of every setting."""

import numpy as np
import pytest

from sensorium.world import _english, _sampling, _setting
from sensorium.world._kinds import KINDS
from sensorium.world._meaning import WAYS, mentioned
from sensorium.world._scene import COLOURS

from .english_parser import parse
from .random_facts import some


def expected(facts, mentions):
    """What must be read back: of two things without a relation, one unmentioned is not counted."""
    told = {name: facts[name] for name in mentions}
    first = any(name.endswith("_1") for name in told)
    if "relation" not in told and not first:
        told = {name.replace("_2", "_1"): value for name, value in told.items()}
    return told


def test_all_facts_of_two_thousand_random_scenes_are_read_back():
    rng = np.random.default_rng(8)
    for _ in range(2000):
        facts, mentions = some(rng)
        meaning = mentioned(facts, mentions)
        for way in range(WAYS):
            told = _english.sentence(meaning, way)
            assert parse(told) == expected(facts, mentions), told


@pytest.mark.parametrize("name", _setting.names())
def test_what_a_setting_mentions_is_read_back_and_nothing_else(name):
    setting = _setting.load(name)
    for at in range(100):
        facts = _sampling.scene(setting, 3, "train", at).facts
        told = _english.sentence(mentioned(facts, setting.mentions))
        seen = {key: facts[key] for key in setting.mentions if facts[key] != "hidden"}
        assert parse(told) == expected(seen, tuple(seen)), told


def test_the_ways_differ():
    rng = np.random.default_rng(9)
    for _ in range(200):
        meaning = mentioned(*some(rng))
        assert len({_english.sentence(meaning, way) for way in range(WAYS)}) == WAYS


def test_articles_are_those_of_the_words_after_them():
    with_an = {
        "elephant", "octopus", "owl", "apple", "umbrella", "airplane", "anchor", "orange", "azure",
    }  # fmt: skip
    words = [*KINDS, *COLOURS, "small", "large", "thing", "grey", "azure"]
    assert {word for word in words if _english.article(word) == "an"} == with_an


def test_the_vocabulary_is_what_is_written():
    """Every word of every sentence is in it, and every word in it is in some sentence."""
    rng = np.random.default_rng(10)
    written = set()
    for _ in range(4000):
        meaning = mentioned(*some(rng))
        for way in range(WAYS):
            written |= set(_english.sentence(meaning, way).split(" "))
    assert written == set(_english.VOCABULARY)


def test_hidden_facts_are_not_told():
    facts = {"kind_1": "cat", "colour_1": "hidden", "word": "hidden", "ground": "grey"}
    told = _english.sentence(mentioned(facts, ("kind_1", "colour_1", "word", "ground")))
    assert told == "a cat on a grey ground"
