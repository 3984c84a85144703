"""Caption metrics on an example that the official scorer was run on, and on its known corners.

The expected numbers are what pycocoevalcap 1.2 printed for these sentences (its tokenizer cuts
them as ours does); each is also derived by hand in the comments.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.tasks.captioning import (
    _common,
    bleu,
    bleu_facts,
    cider,
    constant,
    rouge,
    scores,
    words,
)

REFERENCES = [
    ["A red circle left of a blue square.", "A red circle is near a blue square."],
    ["Two green stars move up!"],
]
CAPTIONS = ["A red circle left of a blue square.", "A green star moves up."]
THEIRS = [[words(text) for text in own] for own in REFERENCES]
OURS = [words(text) for text in CAPTIONS]


def summed(captions, references):
    parts = [bleu_facts(x, y) for x, y in zip(captions, references, strict=True)]
    return np.sum(parts, axis=0, keepdims=True)


def test_bleu_of_the_example():
    """Matches 10 of 13, 7 of 11, 6 of 9, 5 of 7; the lengths are equal, so no penalty."""
    facts = summed(OURS, THEIRS)
    assert facts[0].tolist() == [10, 7, 6, 5, 13, 11, 9, 7, 13, 13]
    found = [float(bleu(facts, order)[0]) for order in (1, 2, 3, 4)]
    assert found == pytest.approx([0.7692, 0.6997, 0.6885, 0.6948], abs=5e-5)


def test_bleu_of_short_perfect_captions_is_what_the_official_scorer_says():
    facts = summed([["red", "circle"]], [[["red", "circle"]]])
    assert bleu(facts)[0] == pytest.approx(0.001, rel=1e-6)


def test_bleu_of_an_empty_caption():
    assert bleu(summed([[], OURS[1]], THEIRS), 1)[0] == pytest.approx(0.0808, abs=5e-5)


def test_bleu_clips_at_the_most_of_one_reference_and_takes_the_shorter_of_two_as_near():
    facts = bleu_facts(["a"] * 4, [["a", "b", "a"], ["a", "c", "c", "c", "c"]])
    assert facts[0] == 2
    assert facts[-1] == 3


def test_rouge_of_the_example():
    assert [rouge(x, y) for x, y in zip(OURS, THEIRS, strict=True)] == pytest.approx([1, 0.4])


def test_rouge_takes_precision_and_recall_of_different_references():
    assert rouge(["a", "b"], [["a", "b", "c", "d", "e", "f"], ["a"]]) == 1
    assert rouge([], [[]]) == 1
    assert rouge([], [["a"]]) == 0
    assert rouge(["b"], [["a"]]) == 0


@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
def test_common_subsequence_equals_recursion(left, right):
    def slow(i, j):
        if i == len(left) or j == len(right):
            return 0
        if left[i] == right[j]:
            return 1 + slow(i + 1, j + 1)
        return max(slow(i + 1, j), slow(i, j + 1))

    assert _common(left, right) == slow(0, 0)


def test_cider_of_the_example():
    """All idf = ln 2 cancels: image 1 has cosines .8, 4/7, 1/3, 0 with its second reference."""
    first = 10 * (1.8 + 1 + 4 / 7 + 1 + 1 / 3 + 1) / 4 / 2
    assert cider(OURS, THEIRS) == pytest.approx([first, 1.0])
    assert cider(OURS, THEIRS).mean() == pytest.approx(4.0655, abs=5e-5)
    assert cider([[], OURS[1]], THEIRS).mean() == pytest.approx(0.5)


def test_cider_of_one_record_is_zero_and_of_three_words_seven_and_a_half():
    assert cider([["a", "red", "car"]], [[["a", "red", "car"]]]) == pytest.approx([0])
    both = [["a", "red", "car"], ["one", "blue", "boat", "far", "out"]]
    assert cider(both, [[x] for x in both]) == pytest.approx([7.5, 10])


def test_cider_costs_another_length():
    references = [[["a", "b", "c", "d", "e"]], [["x"]]]
    # Bigrams 9 and 4: five apart. Every run weighs ln 2, whether one reference holds it or none.
    long = [["a", "b", "c", "d", "e", "p", "q", "r", "s", "t"], ["x"]]
    alike = [
        5 / math.sqrt(5 * 10),
        4 / math.sqrt(4 * 9),
        3 / math.sqrt(3 * 8),
        2 / math.sqrt(2 * 7),
    ]
    expected = 10 * sum(alike) / 4 * math.exp(-25 / 72)
    assert cider(long, references)[0] == pytest.approx(expected)


def test_words():
    assert words("Don't stop: a do-it 50% [x]!") == ["don't", "stop", "a", "do-it", "50", "%", "x"]
    assert words("一只红色的船") == list("一只红色的船")


def test_the_constant_caption_is_the_most_frequent():
    assert constant(["A cat.", "a dog", "a cat", "A DOG!", "a bird", "a cat"]) == "a cat"
    assert constant(["b", "a"]) == "a"


def test_scores_stand_beside_their_controls():
    same = {"constant": ["a red circle"] * 2, "retrieved": "nothing is compared"}
    made = {x["metric"]: x for x in scores(CAPTIONS, REFERENCES, same, {"split": "test"}, ("k",))}
    assert made["CIDEr-D"]["value"] == pytest.approx(4.0655, abs=5e-5)
    assert made["BLEU-4"]["value"] == pytest.approx(0.6948, abs=5e-5)
    assert made["ROUGE-L"]["value"] == pytest.approx(0.7)
    for score in made.values():
        assert list(score["controls"]) == ["constant", "retrieved"]
        beside = score["controls"]["constant"]
        assert beside["difference"] == pytest.approx(score["value"] - beside["value"])
        low, high = beside["difference_interval"]
        assert low <= beside["difference"] <= high
        assert score["controls"]["retrieved"]["reason"] == "nothing is compared"
        assert score["protocol"]["split"] == "test"
        assert score["protocol"]["references_per_record"] == 1.5
        assert score["protocol"]["distinct"] == "2 captions of 2 differ"


def test_bleu_is_resampled_by_records():
    """Half of the captions perfect, half of them wrong: the interval holds the corpus's value."""
    texts = [f"w{at} x{at} y{at} z{at} v{at}" for at in range(40)]
    written = [text if at % 2 else "nothing of it is right" for at, text in enumerate(texts)]
    made = scores(written, [[x] for x in texts], {}, {}, ("k",))
    found = next(x for x in made if x["metric"] == "BLEU-4")
    assert found["value"] == pytest.approx(0.5, abs=1e-6)
    low, high = found["interval"]
    assert 0.3 < low < 0.45 < 0.55 < high < 0.7
