"""Twins: false of their scene, as a parser judges, and null exactly where they would be true."""

import itertools

import pytest

from sensorium.world import _english, _languages, _meaning, _sampling, _setting, caption, twins

from .english_parser import parse, true_of
from .scenes import two


def load(*changes, name="binding"):
    return _setting.load(name, list(changes))


def records(setting, count, split="train"):
    for at in range(count):
        yield _sampling.key(setting, 6, split, at), _sampling.scene(setting, 6, split, at)


def test_twins_by_hand():
    setting = load("mentions=[kind_1, colour_1, size_1, kind_2, colour_2, size_2, relation]",
                   "also=[zh]")  # fmt: skip
    key = _sampling.key(setting, 1, "test", 1)
    scene = two(("cat", "owl"), ("red", "blue"), ("small", "large"), "above")
    row = caption.emit(scene, setting, key) | twins.emit(scene, setting, key)
    assert row["caption"] == "a small red cat above a large blue owl"
    assert row["caption_colours"] == "a small blue cat above a large red owl"
    assert row["caption_roles"] == "a large blue owl above a small red cat"
    german = load("languages={de: 1.0}")
    told = twins.emit(scene, german, key)
    assert told["caption_colours"] == "eine blaue Katze über einer roten Eule"
    assert told["caption_roles"] == "eine blaue Eule über einer roten Katze"


@pytest.mark.parametrize("name", [*_setting.names(), "worded"])
def test_every_caption_is_true_and_no_twin_is(name):
    if name == "worded":
        setting = load("distinct=false", "wordings=4", "colours=2", "kinds=8")
    else:
        setting = load(name=name)
        if "en" not in setting.languages:
            setting = setting.model_copy(update={"languages": {"en": 1.0}})
    for split in setting.splits:
        for key, scene in records(setting, 200, split):
            truth = caption.emit(scene, setting, key)["caption"]
            facts = {name: value for name, value in scene.facts.items() if value != "hidden"}
            assert true_of(parse(truth), facts)
            for twin in twins.emit(scene, setting, key).values():
                assert twin is None or not true_of(parse(twin), facts), (truth, twin)


def every():
    """All facts of two things of two kinds, colours and sizes in any relation or in none."""
    sides = list(itertools.product(("cat", "dog"), ("red", "blue"), ("small", "large")))
    for first, second in itertools.product(sides, sides):
        for relation in (None, "left_of", "right_of", "above", "below"):
            facts = {}
            for at, side in (("1", first), ("2", second)):
                facts |= {f"kind_{at}": side[0], f"colour_{at}": side[1], f"size_{at}": side[2]}
            yield facts | ({"relation": relation} if relation else {})


@pytest.mark.parametrize(
    "mentions",
    [
        ("kind_1", "colour_1", "kind_2", "colour_2", "relation"),
        ("kind_1", "colour_1", "size_1", "kind_2", "colour_2", "size_2"),
        ("colour_1", "colour_2"),
        ("colour_1", "colour_2", "relation"),
        ("kind_1", "colour_1"),
        ("kind_1", "relation"),
    ],
)
@pytest.mark.parametrize("swap", [_meaning.colours_swapped, _meaning.roles_swapped])
def test_a_swap_holds_exactly_where_the_parser_says_so(mentions, swap):
    """All 320 scenes; the truth itself always holds."""
    held = 0
    for facts in every():
        truth = _meaning.mentioned(facts, mentions)
        assert _meaning.holds(truth, facts)
        swapped = swap(truth)
        claims = parse(_english.sentence(swapped))
        assert _meaning.holds(swapped, facts) == true_of(claims, facts), (facts, claims)
        held += _meaning.holds(swapped, facts)
    assert held > 0


def test_a_claim_about_what_is_hidden_is_no_twin():
    facts = {"kind_1": "cat", "colour_1": "hidden", "kind_2": "dog", "colour_2": "red"}
    truth = _meaning.mentioned(facts, ("kind_1", "colour_1", "kind_2", "colour_2"))
    assert _english.sentence(truth) == "a cat and a red dog"
    swapped = _meaning.colours_swapped(truth)
    assert _english.sentence(swapped) == "a red cat and a dog"
    assert _meaning.holds(swapped, facts)


def test_a_twin_is_null_where_there_is_nothing_false_to_say():
    key = _sampling.key(load(), 1, "test", 1)
    alike = two(("cat", "owl"), ("red", "red"))
    row = twins.emit(alike, load(), key)
    assert row["caption_colours"] is None
    assert row["caption_roles"] is not None
    same = two(("cat", "cat"), ("red", "red"))
    assert twins.emit(same, load(), key)["caption_roles"] is None
    silent = load("mentions=[ground]")
    grey = two(ground="grey")
    assert twins.emit(grey, silent, key) == dict.fromkeys(twins.columns(silent))


def test_the_random_twin_is_of_the_same_split():
    """Otherwise a model could tell twins by the combinations that it was trained on."""
    setting = load()
    order = {name: values.index for name, values in setting.factors.items()}
    for split, remainders in (("test", {0}), ("validation", {1}), ("train", set(range(2, 8)))):
        found = set()
        for key, scene in records(setting, 150, split):
            claims = parse(twins.emit(scene, setting, key)["caption_random"])
            found.add(sum(order[name](claims[name]) for name in setting.split.over) % 8)
        assert found == remainders


def test_twins_are_worded_like_the_truth():
    setting = load("wordings=4")
    for key, scene in records(setting, 60):
        way = _languages.way(setting, key)
        for text in (*twins.emit(scene, setting, key).values(),
                     caption.emit(scene, setting, key)["caption"]):  # fmt: skip
            start = {0: ("a ", "an "), 1: "there is ", 2: "we see ", 3: ("a ", "an ")}[way]
            assert text.startswith(start)
            assert (" is " in text.removeprefix("there is ")) == (way == 3)
