"""Floors of the questions against slow loops, and against the questions that are really drawn."""

import collections
import itertools
import math

import pytest

from sensorium.world import _asking, _floors, _making, _setting, question
from sensorium.world._scene import RELATIONS, Scene, Thing

SMALL = ("kinds=4", "colours=4", "unseen_kinds=0", "split.modulo=4", "emit=[caption, question]")
WORDS = {"what colour": "colour", "how many": "count", "is the": "yes_no"}


def load(name="binding", *changes):
    return _setting.load(name, list(changes))


def combinations(setting, remainders):
    """(kind_1, colour_1, kind_2, colour_2) as numbers, of a split, by its definition."""
    kinds, colours = range(setting.kinds), range(setting.colours)
    for k1, c1, k2, c2 in itertools.product(kinds, colours, kinds, colours):
        if k1 != k2 and c1 != c2 and (k1 + c1 + k2 + c2) % setting.split.modulo in remainders:
            yield k1, c1, k2, c2


def best(pairs):
    """How often who reads the first of weighted pairs is right about the second."""
    found = collections.defaultdict(collections.Counter)
    for read, answer, weight in pairs:
        found[read][answer] += weight
    total = sum(sum(its.values()) for its in found.values())
    return sum(max(its.values()) for its in found.values()) / total


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("name", ["binding", "spatial"])
def test_who_reads_the_question_alone_by_a_slow_loop(name, split):
    setting = load(name)
    remainders = {"train": set(range(2, 8)), "validation": {1}, "test": {0}}[split]
    cells = list(combinations(setting, remainders))
    told = _asking.floors(setting, split)
    relation = best(
        pair for k1, _, k2, _ in cells for pair in ((("at", k2), k1, 1), (("at", k1), k2, 1))
    )
    assert told["question:relation"]["best_text_only"] == pytest.approx(relation, abs=1e-12)
    colour = best(pair for k1, c1, k2, c2 in cells for pair in ((k1, c1, 1), (k2, c2, 1)))
    assert told["question:colour"]["best_text_only"] == pytest.approx(colour, abs=1e-12)
    others = setting.colours - 1
    yes_no = best(
        ((kind, named), named == colour, 1 if named == colour else 1 / others)
        for k1, c1, k2, c2 in cells
        for kind, colour in ((k1, c1), (k2, c2))
        for named in range(setting.colours)
    )
    assert told["question:yes_no"]["best_text_only"] == pytest.approx(yes_no, abs=1e-12)


def test_kinds_that_no_split_binds_leave_chance():
    """`unseen` holds every combination, so a question says nothing; the numbers are by hand."""
    told = _asking.floors(load(), "unseen")
    for form, chance in (("colour", 1 / 4), ("relation", 1 / 15), ("count", 1 / 2)):
        scores = told[f"question:{form}"]
        assert scores["chance"] == pytest.approx(chance)
        assert scores["best_text_only"] == pytest.approx(chance)
        assert scores["best_possible"] == 1
    # One of two things is asked about, and the picture shows both.
    assert told["question:colour"]["best_image_only"] == pytest.approx(1 / 2)


def test_a_label_that_is_asked_for_is_not_told_by_the_question():
    """In the test split of `synergy` each kind has one colour, so the kind must not be named."""
    setting = load("synergy")
    for split in setting.splits:
        told = _asking.floors(setting, split)
        assert set(told) == {"question", "question:yes_no"}
        assert told["question"]["best_text_only"] == told["question"]["best_image_only"] == 0.5
        assert told["question"]["best_possible"] == 1
    row = _making.record(setting, 0, "test", 0)
    assert row["question"] == f"is the thing {row['fact.named_colour']}?"
    assert row["answer"] == row["label"]


def scene_of(setting, cell, relation):
    kinds, colours = setting.factors["kind_1"], setting.factors["colour_1"]
    k1, c1, k2, c2 = cell
    things = (
        Thing(kinds[k1], colours[c1], "large", (0, 0, 1, 1)),
        Thing(kinds[k2], colours[c2], "large", (0, 0, 1, 1)),
    )
    return Scene("a", 32, things, relation, "grey", "none", None, {})


def form_of(asked):
    return next((form for begin, form in WORDS.items() if asked.startswith(begin)), "relation")


def test_each_form_is_asked_as_often_as_it_is_drawn():
    setting = load("binding", *SMALL)
    listed = _asking.asked(setting, "test")
    shares = {form: listed.weight[listed.form == at].sum() for at, form in enumerate(_asking.FORMS)}
    assert sum(shares.values()) == pytest.approx(1)
    drawn, count = collections.Counter(), 0
    for at, cell in enumerate(combinations(setting, {0})):
        for relation, again in itertools.product(RELATIONS, range(25)):
            row = question.emit(scene_of(setting, cell, relation), setting, (at, relation, again))
            drawn[form_of(row["question"])] += 1
            count += 1
    assert count > 2000
    for form, share in shares.items():
        assert abs(drawn[form] / count - share) < 4.5 * math.sqrt(share * (1 - share) / count)


@pytest.mark.parametrize("changes", [(), ("bits.synergy=0.5", "bits.redundancy=0.6")])
def test_a_player_who_counts_made_records_scores_the_floor(changes):
    """`bits` as it is made: kinds may be equal, colours may be hidden, so forms may fail."""
    setting = load("bits", "kinds=8", *changes)
    told = _asking.floors(setting, "test")
    rows = [_making.record(setting, 5, "test", at) for at in range(3000)]
    asked = [row for row in rows if row["question"]]
    whole = _asking.asked(setting, "test").weight.sum()
    assert abs(len(asked) / 3000 - whole) < 4.5 * math.sqrt(whole * (1 - whole) / 3000) + 1e-9
    split = {"fit": asked[: len(asked) // 2], "ask": asked[len(asked) // 2 :]}
    fitted = collections.defaultdict(collections.Counter)
    for row in split["fit"]:
        fitted[row["question"]][row["answer"]] += 1
    right = collections.defaultdict(list)
    for row in split["ask"]:
        guess = fitted[row["question"]].most_common(1)
        right[form_of(row["question"])].append(bool(guess) and guess[0][0] == row["answer"])
    for form, hits in right.items():
        floor = told[f"question:{form}"]["best_text_only"]
        wide = 4.5 * math.sqrt(0.25 / len(hits))
        assert abs(sum(hits) / len(hits) - floor) < wide
    assert told["question:relation"]["best_text_only"] == 1  # kinds add up to 0 modulo 8


def test_a_relation_is_asked_from_both_sides():
    """In `bits` one stands left of the other: what is left, and what is right, of eight kinds."""
    listed = _asking.asked(load("bits"), "train")
    rows = listed.form == _asking.FORMS.index("relation")
    assert len(set(listed.question[rows])) == 2 * 8


def test_wrong_pairs_by_a_slow_loop():
    setting = load("plain", "wrong_pairs=0.4", "kinds=8", "colours=4", "grounds=2")
    clean = _asking.asked(load("plain", "kinds=8", "colours=4", "grounds=2"), "train")
    own, pictures, texts = {}, collections.Counter(), collections.Counter()
    for form, asking, answer, image, weight in zip(
        clean.form, clean.question, clean.answer, clean.image, clean.weight, strict=True
    ):
        own[form, asking, answer, image] = weight
        pictures[image] += weight
        texts[form, asking, answer] += weight
    both = best(
        ((image, form, asking), answer, 0.6 * own.get((form, asking, answer, image), 0)
         + 0.4 * pictures[image] * share)
        for image in pictures for (form, asking, answer), share in texts.items()
    )  # fmt: skip
    told = _asking.floors(setting, "train")["question"]
    assert told["best_possible"] == pytest.approx(both, abs=1e-9)
    assert 0.5 < told["best_possible"] < 0.95
    assert _asking.floors(setting, "test")["question"]["best_possible"] == 1


def test_a_missing_picture_leaves_the_question():
    setting = load("plain", "missing.image=0.25")
    told, whole = (_asking.floors(s, "test")["question"] for s in (setting, load("plain")))
    for name, less in (("best_possible", "best_text_only"), ("best_image_only", "majority")):
        assert told[name] == pytest.approx(0.75 * whole[name] + 0.25 * whole[less])


def test_they_stand_among_the_floors_where_questions_are_emitted():
    assert "question:relation" in _floors.floors(load())["test"]
    assert "question" not in _floors.floors(load("dropout"))["test"]
    with pytest.raises(ValueError, match="combinations"):
        _asking.asked(load("binding", "kinds=48", "unseen_kinds=0", "colours=8"), "train")
