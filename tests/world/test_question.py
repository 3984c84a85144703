"""Questions: true answers, and for each question equally many of each answer, by counting."""

import collections
import itertools
import math
import re

import pytest

from sensorium.world import _sampling, _setting, question
from sensorium.world._scene import Scene, Thing

RELATION = {"left of": "left_of", "right of": "right_of", "above": "above", "below": "below"}
CONVERSE = {"left_of": "right_of", "right_of": "left_of", "above": "below", "below": "above"}


def load(*changes, name="binding"):
    return _setting.load(name, list(changes))


def every(setting):
    """A scene of each combination of kinds, colours and relation: exactly uniform factors."""
    values = setting.factors
    names = [f"{part}_{at}" for at in range(1, setting.things + 1) for part in ("kind", "colour")]
    relations = values.get("relation", (None,))
    for *drawn, relation in itertools.product(*(values[name] for name in names), relations):
        parts = list(zip(drawn[::2], drawn[1::2], strict=True))
        if setting.distinct and len(parts) == 2:
            (kind_1, colour_1), (kind_2, colour_2) = parts
            if kind_1 == kind_2 or colour_1 == colour_2:
                continue
        things = tuple(Thing(kind, colour, "large", (0, 0, 1, 1)) for kind, colour in parts)
        yield Scene("a", 32, things, relation, "grey", "none", None, {})


def counted(setting, times):
    """Question string -> answer -> how often, over every combination, each so many times."""
    found = collections.defaultdict(collections.Counter)
    for number, scene in enumerate(every(setting)):
        for again in range(times):
            row = question.emit(scene, setting, ("count", number, again))
            if row["question"] is not None:
                found[row["question"]][row["answer"]] += 1
    return found


def legal(setting, asked):
    """All answers that a question can have in a setting."""
    if asked.startswith("what colour"):
        return set(setting.factors["colour_1"])
    if asked.startswith("what is"):
        kind = asked.removesuffix("?").split()[-1]
        return set(setting.factors["kind_1"]) - {kind}
    if asked.startswith("is the"):
        return {"yes", "no"}
    return {str(count) for count in range(1 + (1 if setting.distinct else setting.things))}


SMALL = ("kinds=4", "colours=4", "unseen_kinds=0", "split.modulo=4")


@pytest.mark.parametrize(
    ("setting", "times"),
    [
        (load(*SMALL), 60),
        (load(*SMALL, "relations=2", "distinct=false"), 40),
        (load(*SMALL, "colours=3", "kinds=4", name="plain"), 2000),
    ],
    ids=["two different things", "two things", "one thing"],
)
def test_each_answer_is_equally_frequent_for_each_question(setting, times):
    found = counted(setting, times)
    kinds = {asked.split()[0] + asked.split()[1] for asked in found}
    assert kinds >= {"whatcolour", "isthe", "howmany"}
    assert ("whatis" in kinds) == (setting.things == 2)
    for asked, answers in found.items():
        assert set(answers) == legal(setting, asked), asked
        count, share = sum(answers.values()), 1 / len(answers)
        error = math.sqrt(count * share * (1 - share))
        for answer, often in answers.items():
            assert abs(often - count * share) < 4.5 * error, (asked, answer, answers)


def test_every_answer_is_right():
    setting = load("distinct=false", *SMALL)
    for number, scene in enumerate(every(setting)):
        row = question.emit(scene, setting, ("right", number))
        asked, answer = row["question"], row["answer"]
        colours = {thing.kind: thing.colour for thing in scene.things}
        kinds = [thing.kind for thing in scene.things]
        if asked is None:
            assert len(set(kinds)) == 1  # two of a kind: only counts can be asked, and not always
            continue
        if found := re.fullmatch(r"what colour is the (\w+)\?", asked):
            assert answer == colours[found[1]]
        elif found := re.fullmatch(r"is the (\w+) (\w+)\?", asked):
            assert answer == ("yes" if colours[found[1]] == found[2] else "no")
        elif found := re.fullmatch(r"how many things are (\w+)\?", asked):
            assert answer == str(sum(thing.colour == found[1] for thing in scene.things))
        else:
            found = re.fullmatch(r"what is (left of|right of|above|below) the (\w+)\?", asked)
            relation = RELATION[found[1]]
            pair = kinds if relation == scene.relation else kinds[::-1]
            assert relation in (scene.relation, CONVERSE[scene.relation])
            assert [answer, found[2]] == pair
        # "the cat" is one thing.
        assert len(set(kinds)) == 2 or asked.startswith("how many")


def test_a_relation_is_asked_from_either_side_equally_often():
    """So that "left of" in a question does not tell a scene of left_of from one of right_of."""
    setting = load(*SMALL)
    sides = collections.defaultdict(list)
    for number, scene in enumerate(every(setting)):
        for again in range(10):
            asked = question.emit(scene, setting, ("side", number, again))["question"]
            if asked.startswith("what is"):
                relation = RELATION[" ".join(asked.split()[2:-2])]
                sides[scene.relation].append(relation == scene.relation)
    for told in sides.values():
        assert abs(sum(told) - len(told) / 2) < 4.5 * math.sqrt(len(told) / 4)


def test_yes_and_no_are_equally_frequent_in_each_scene():
    """Rule B2 for yes or no: whoever sees only the scene is at one half."""
    setting = load(*SMALL)
    for number, scene in enumerate(itertools.islice(every(setting), 0, None, 41)):
        answers = collections.Counter()
        for again in range(800):
            row = question.emit(scene, setting, ("yes", number, again))
            if row["question"].startswith("is the"):
                answers[row["answer"]] += 1
        count = sum(answers.values())
        assert count > 100
        assert abs(answers["yes"] - count / 2) < 4.5 * math.sqrt(count / 4)


@pytest.mark.parametrize(("things", "colours"), [(1, 2), (1, 5), (2, 2), (2, 3), (2, 8)])
@pytest.mark.parametrize("distinct", [True, False])
def test_the_frequency_of_counts_is_that_of_all_colourings(things, colours, distinct):
    drawn = [
        chosen
        for chosen in itertools.product(range(colours), repeat=things)
        if not distinct or len(set(chosen)) == things
    ]
    found = collections.Counter(chosen.count(0) for chosen in drawn)
    told = question.counts(things, colours, distinct)
    assert told == pytest.approx({many: often / len(drawn) for many, often in found.items()})


def test_the_label_is_the_only_question_where_it_is_one():
    setting = load(name="synergy")
    answers = collections.Counter()
    for at in range(600):
        scene = _sampling.scene(setting, 2, "test", at)
        row = question.emit(scene, setting, _sampling.key(setting, 2, "test", at))
        facts = scene.facts
        assert row["question"] == f"is the thing {facts['named_colour']}?"
        assert row["answer"] == facts["label"]
        answers[row["answer"]] += 1
    assert abs(answers["yes"] - 300) < 4.5 * math.sqrt(150)


def test_nothing_is_asked_about_what_is_hidden_or_has_two_bearers():
    setting = load("distinct=false", *SMALL)
    hidden = tuple(Thing(kind, "hidden", "large", (0, 0, 1, 1)) for kind in ("cat", "cat"))
    scene = Scene("a", 32, hidden, "above", "grey", "none", None, {})
    assert question.emit(scene, setting, ("a",)) == {"question": None, "answer": None}
