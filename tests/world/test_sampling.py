from collections import Counter

import numpy as np
import pytest
from scipy import stats

from sensorium.world import _sampling, _support
from sensorium.world._sampling import another, key, present, scene, told, translation
from sensorium.world._setting import load, names


def drawn(setting, split, count, seed=5):
    return [scene(setting, seed, split, at).facts for at in range(count)]


def combination(setting, facts):
    """What a split is about: the values of the factors that decide it."""
    return tuple(facts[name] for name in setting.split.over)


@pytest.mark.parametrize("name", names())
def test_splits_share_no_combination(name):
    setting = load(name)
    seen = {
        split: {combination(setting, facts) for facts in drawn(setting, split, 400)}
        for split in setting.splits
    }
    for one in seen:
        for other in seen:
            assert one == other or not seen[one] & seen[other]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("plain", []),
        ("synergy", []),
        ("ignored_factor", []),
        ("bits", ["kinds=8", "bits={redundancy: 0.5, synergy: 1}"]),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_scenes_are_drawn_as_the_support_lists_them(name, changes, split):
    """Pearson's test of 6,000 scenes against the listed probabilities of what texts say."""
    setting = load(name, changes)
    listed = _support.support(setting, split)
    of = (*setting.mentions, *(setting.label.of if setting.label else ()))
    of = [x for x in dict.fromkeys(of) if x in listed.index]
    values = _support.options(setting, split)
    expected = Counter()
    for at, weight in enumerate(listed.weight):
        places = [int(listed.index[x][at]) for x in of]
        told_ = tuple("hidden" if i < 0 else values[x][i] for x, i in zip(of, places, strict=True))
        expected[told_] += weight
    n = 6000
    found = Counter(tuple(facts[x] for x in of) for facts in drawn(setting, split, n))
    assert set(found) <= set(expected)
    assert sum(expected.values()) == pytest.approx(1)
    square = sum((found[x] - n * p) ** 2 / (n * p) for x, p in expected.items())
    assert stats.chi2.sf(square, len(expected) - 1) > 1e-4


def test_half_of_the_answers_are_yes_in_every_split():
    setting = load("synergy")
    for split in setting.splits:
        listed = _support.support(setting, split)
        assert listed.weight @ (listed.label == 1) == pytest.approx(0.5, abs=1e-12)
    facts = drawn(setting, "test", 500)
    for one in facts:
        assert (one["label"] == "yes") == (one["colour_1"] == one["named_colour"])


def test_the_label_of_bits_is_what_its_factors_say():
    setting = load("bits")
    values = setting.factors
    for facts in drawn(setting, "train", 200):
        at = {name: values[name].index(facts[name]) for name in values}
        parts = [at["colour_1"], at["ground"], at["word"], at["colour_2"] + at["named_colour"]]
        assert facts["label"] == "-".join(str(part % 2) for part in parts)


def test_what_is_hidden_is_hidden_in_the_stated_share_and_the_label_does_not_tell():
    setting = load("bits", ["bits={redundancy: 1.5, unique_text: 0.25}"])
    assert setting.hiding == {"colour_1": 0.25, "word": 0.75}
    scenes = [scene(setting, 1, "test", at) for at in range(3000)]
    gone = [one for one in scenes if one.facts["colour_1"] == "hidden"]
    assert all(one.things[0].colour == "hidden" for one in gone)
    assert len(gone) / 3000 == pytest.approx(0.25, abs=0.035)
    assert sum(one.word is None for one in scenes) / 3000 == pytest.approx(0.75, abs=0.035)
    parts = Counter(one.facts["label"].split("-")[0] for one in gone)
    assert len(parts) == 4
    assert max(parts.values()) < 0.35 * len(gone)


def test_a_scene_depends_on_its_key_alone():
    setting = load("binding")
    forward = [scene(setting, 3, "train", at) for at in range(20)]
    backward = [scene(setting, 3, "train", at) for at in reversed(range(20))]
    assert forward == backward[::-1]
    assert forward != [scene(setting, 4, "train", at) for at in range(20)]
    assert len({one.key for one in forward}) == 20


def test_other_knobs_leave_the_scenes_as_they_are():
    plain, turned = load("noise"), load("noise", ["wrong_pairs=0.1", "missing.text=0.5"])
    assert plain.hash != turned.hash
    for at in range(10):
        assert scene(plain, 0, "train", at) == scene(turned, 0, "train", at)


def test_only_the_split_unseen_shows_unseen_kinds():
    setting = load("binding")
    for split in setting.splits:
        kinds = {f[x] for f in drawn(setting, split, 300) for x in ("kind_1", "kind_2")}
        assert kinds <= set(setting.unseen if split == "unseen" else setting.factors["kind_1"])
        assert len(kinds) == 16


def test_two_things_differ_where_they_must():
    for facts in drawn(load("binding"), "train", 500):
        assert facts["kind_1"] != facts["kind_2"]
        assert facts["colour_1"] != facts["colour_2"]


def test_wrong_pairs_only_in_training_and_in_the_stated_share():
    setting = load("noise")
    n, wrong = 3000, {}
    for split in ("train", "test"):
        pairs = [(scene(setting, 0, split, at), key(setting, 0, split, at)) for at in range(n)]
        wrong[split] = sum(told(setting, one, place) != one for one, place in pairs)
    assert wrong["test"] == 0
    assert wrong["train"] / n == pytest.approx(0.4, abs=4.5 * np.sqrt(0.24 / n))


def test_a_stranger_is_of_the_same_split_and_another_scene():
    setting = load("plain")
    held = {combination(setting, facts) for facts in drawn(setting, "test", 1000)}
    for at in range(50):
        place = key(setting, 0, "test", at)
        one, other = another(setting, place, "a"), another(setting, place, "b")
        assert one == another(setting, place, "a")
        assert one.facts == _sampling.another_facts(setting, place, "a")
        assert combination(setting, one.facts) in held
        assert one.key != other.key


def test_modalities_are_missing_in_their_own_share():
    setting = load("dropout", ["missing={image: 0.2, table: 0.5}"])
    n = 4000
    found = [present(setting, key(setting, 0, "train", at)) for at in range(n)]
    both = sum(not one["image"] and not one["table"] for one in found)
    for name, share in (("image", 0.2), ("table", 0.5), ("text", 0.0)):
        gone = sum(not one[name] for one in found) / n
        assert gone == pytest.approx(share, abs=4.5 * np.sqrt(share * (1 - share) / n) + 1e-12)
    assert both / n == pytest.approx(0.1, abs=4.5 * np.sqrt(0.09 / n))  # one by one


@pytest.mark.parametrize("pairs", [20, 60])
def test_translation_pairs_are_rationed(pairs):
    setting = load("languages", [f"translations.pairs={pairs}"])
    found = [
        translation(setting, key(setting, 0, split, at))
        for split in ("train", "test")
        for at in range(1000)
    ]
    distinct = {(str(one), a, b) for one, a, b in found}
    assert len(distinct) == pairs
    assert all(a != b for _, a, b in found)
    assert {a for _, a, _ in found} == {"c1", "c2", "c3", "c4"}
    listed = _support.options(setting, "train")
    for one, _, _ in found:  # texts of the train split, whichever split they stand beside
        total = sum(listed[x].index(one[x]) for x in setting.split.over)
        assert total % setting.split.modulo not in (_support.TEST, _support.VALIDATION)


def test_without_a_number_every_record_has_its_own_translation_pair():
    setting = load("languages", ["translations.pairs=null"])
    found = [translation(setting, key(setting, 0, "train", at)) for at in range(300)]
    assert len({str(one) + a + b for one, a, b in found}) > 290
    assert translation(load("plain"), key(load("plain"), 0, "train", 0)) is None
