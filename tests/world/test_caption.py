"""Captions of records: which languages, which wording, and translation pairs."""

import collections
import math

import pytest

from sensorium.world import _cipher, _sampling, _setting, caption, question, table, twins

from .english_parser import parse


def load(*changes, name="binding"):
    return _setting.load(name, list(changes))


def records(setting, count, split="train"):
    for at in range(count):
        key = _sampling.key(setting, 5, split, at)
        scene = _sampling.scene(setting, 5, split, at)
        yield key, scene, caption.emit(scene, setting, key)


def english(told, cipher):
    """A text of a cipher in English."""
    back = {word: plain for plain, word in _cipher.dictionary(cipher).items()}
    return " ".join(back[word] for word in told.split(" "))


@pytest.mark.parametrize("name", _setting.names())
@pytest.mark.parametrize("member", [caption, question, table, twins])
def test_what_is_emitted_are_the_columns(name, member):
    setting = load(name=name)
    types = {"string": str, "double": float, "bool": bool}
    for split in setting.splits:
        for key, scene, _ in records(setting, 5, split):
            row, columns = member.emit(scene, setting, key), member.columns(setting)
            assert list(row) == list(columns)
            for column, kind in columns.items():
                assert row[column] is None or type(row[column]) is types[str(kind)]
            assert member.emit(scene, setting, key) == row  # nothing but the key decides


def test_the_other_columns_say_the_same_in_other_languages():
    setting = load("also=[c1, c2, de]")
    for _, scene, row in records(setting, 50):
        assert parse(row["caption"]) == {name: scene.facts[name] for name in setting.mentions}
        assert english(row["caption_c1"], "c1") == row["caption"]
        assert english(row["caption_c2"], "c2") == row["caption"]
        assert row["caption_de"].startswith("ein")


def test_each_language_has_its_share():
    setting = load("languages={en: 0.5, de: 0.3, c1: 0.2}", "wordings=1")
    count, found = 4000, collections.Counter()
    ciphered = set(_cipher.dictionary("c1").values())
    for _, _, row in records(setting, count):
        first = row["caption"].split(" ")[0]
        found["c1" if first in ciphered else "en" if first in ("a", "an") else "de"] += 1
    for name, share in setting.languages.items():
        error = math.sqrt(count * share * (1 - share))
        assert abs(found[name] - count * share) < 4 * error, found


def test_wordings_are_all_used_and_one_is_always_the_same():
    def shapes(setting):
        found = set()
        for _, _, row in records(setting, 200):
            words = row["caption"].split(" ")
            found.add("is" if "is" in words[2:] else words[0])
        return found

    assert shapes(load()) <= {"a", "an"}
    assert shapes(load("wordings=2")) - {"a", "an"} == {"there"}
    assert shapes(load("wordings=4")) - {"a", "an"} == {"there", "we", "is"}


def test_the_wording_changes_nothing_that_is_said():
    plain, worded = load(), load("wordings=4")
    for (_, _, a), (_, _, b) in zip(records(plain, 100), records(worded, 100), strict=True):
        assert parse(a["caption"]) == parse(b["caption"])


def test_a_translation_pair_is_one_meaning_in_two_languages():
    setting = load(name="languages")
    pairs = collections.defaultdict(set)
    for _, _, row in records(setting, 400):
        a, b = row["translation_a"], row["translation_b"]
        found = [
            (first, second)
            for first in setting.translations.languages
            for second in setting.translations.languages
            if set(a.split()) <= set(_cipher.dictionary(first).values())
            and set(b.split()) <= set(_cipher.dictionary(second).values())
        ]
        ((first, second),) = found
        assert first != second
        assert english(a, first) == english(b, second)
        pairs[english(a, first)].add((a, b))
    assert 40 < len(pairs) <= 60  # of 60; 400 draws leave out hardly one
    assert all(len(told) == 1 for told in pairs.values())
