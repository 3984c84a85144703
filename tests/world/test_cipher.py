"""Ciphers: one to one, no word shared, the English order."""

import itertools

import numpy as np
import pytest

from sensorium.errors import UserError
from sensorium.world import _chinese, _cipher, _english, _french, _german
from sensorium.world._meaning import WAYS, mentioned

from .random_facts import some

NAMES = [*(f"c{at}" for at in range(1, 13)), "c999"]


def test_each_cipher_is_one_to_one_over_the_whole_vocabulary():
    for name in NAMES:
        words = _cipher.dictionary(name)
        assert set(words) == set(_english.VOCABULARY)
        assert len(set(words.values())) == len(words)
        assert all(word.isalpha() and word.islower() for word in words.values())


def test_no_two_ciphers_share_a_word_and_none_is_a_word_of_a_real_language():
    told = {name: set(_cipher.dictionary(name).values()) for name in NAMES}
    for a, b in itertools.combinations(NAMES, 2):
        assert not told[a] & told[b]
    rng = np.random.default_rng(4)
    real = set(_english.VOCABULARY)
    for _ in range(3000):
        meaning = mentioned(*some(rng))
        for grammar in (_german, _french, _chinese):
            for text in (grammar.sentence(meaning, way) for way in range(WAYS)):
                real |= set(text.lower().replace("'", " ").replace("-", " ").split())
    assert "banane" in real  # which has the shape of a cipher's word
    assert not real & set.union(*told.values())
    assert "banane" not in _cipher._words()


def test_a_cipher_keeps_the_order_and_number_of_words():
    rng = np.random.default_rng(5)
    back = {word: english for english, word in _cipher.dictionary("c2").items()}
    for _ in range(300):
        meaning = mentioned(*some(rng))
        for way in range(WAYS):
            told = _cipher.sentence(meaning, way, "c2").split(" ")
            assert " ".join(back[word] for word in told) == _english.sentence(meaning, way)


def test_a_word_says_nothing_of_the_same_word_in_another_cipher():
    """Neither their alphabetical order nor their letters go together."""
    a, b = (_cipher.dictionary(name) for name in ("c1", "c2"))
    ranks = [np.argsort(np.argsort([d[word] for word in _english.VOCABULARY])) for d in (a, b)]
    assert abs(np.corrcoef(*ranks)[0, 1]) < 0.25  # three standard errors of 150 words
    equal = sum(a[word][:2] == b[word][:2] for word in _english.VOCABULARY)
    assert equal < 12  # 80 syllables: two expected


@pytest.mark.parametrize("name", ["c0", "c1000", "en", "d1", "c01", "c١"])
def test_another_name_is_refused(name):
    with pytest.raises(UserError, match="c1 to c999"):
        _cipher.dictionary(name)
