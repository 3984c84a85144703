"""The stated floors against players that are counted by a slow loop, on scenes as they are made."""

from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest

from sensorium.world import _sampling, caption, table, twins
from sensorium.world._floors import choice, floors, told
from sensorium.world._meaning import holds, mentioned
from sensorium.world._setting import load, names

SCENES = 20_000
SIGMAS = 4.5


def near(hits, stated):
    """Whether a share of right answers is as stated, within binomial error."""
    error = SIGMAS * np.sqrt(max(stated * (1 - stated), 1e-12) / len(hits))
    return abs(np.mean(hits) - stated) <= error + 1e-9


def combinations(setting, split):
    """(facts, label, probability) of each combination, by a plain loop over all values."""
    values = setting.factors
    sums = {"test": {0}, "validation": {1}, "train": set(range(2, setting.split.modulo))}[split]
    found = []
    for chosen in product(*(range(len(its)) for its in values.values())):
        at = dict(zip(values, chosen, strict=True))
        if sum(at[name] for name in setting.split.over) % setting.split.modulo not in sums:
            continue
        facts = {name: values[name][i] for name, i in at.items()}
        weight, label = 1.0, None
        if setting.label.rule == "factor":
            label = facts[setting.label.of[0]]
        elif setting.label.rule == "equality":
            one, other = setting.label.of
            label = "yes" if facts[one] == facts[other] else "no"
            weight = 1 / 2 / (1 if label == "yes" else len(values[one]) - 1)
        else:
            parts = [at["colour_1"], at["ground"], at["word"], at["colour_2"] + at["named_colour"]]
            bits = [setting.bits.redundancy, setting.bits.unique_image, setting.bits.unique_text,
                    setting.bits.synergy]  # fmt: skip
            pairs = [(p, b) for p, b in zip(parts, bits, strict=True) if b]
            label = "-".join(str(part % 2 ** int(b)) for part, b in pairs)
        found.append((facts, label, weight))
    total = sum(weight for _, _, weight in found)
    return [(facts, label, weight / total) for facts, label, weight in found]


def player(cases, seen):
    """What to answer to what is seen: the likeliest label."""
    counts = defaultdict(Counter)
    for facts, label, weight in cases:
        counts[seen(facts)][label] += weight
    return {view: count.most_common(1)[0][0] for view, count in counts.items()}


SMALL = [
    ("synergy", ["kinds=8", "unseen_kinds=0"]),
    ("plain", ["colours=4"]),
    ("dropout", ["grounds=1", "split.over=[kind_1, colour_1]"]),
    ("bits", [ "colours=2", "grounds=2", "words=2", "named_colours=2",
              "split={over: [kind_1, kind_2, colour_1], modulo: 4}", "kinds=4"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes"), SMALL, ids=[x[0] for x in SMALL])
def test_players_score_what_is_stated_on_scenes_as_they_are_made(name, changes):
    setting = load(name, changes)
    stated = told(setting, "test")
    cases = combinations(setting, "test")

    def picture(facts):
        return tuple(facts[x] for x in facts if x not in ("word", "named_colour", "label"))

    def text(facts):
        return tuple(facts[x] for x in setting.mentions)

    views = {
        "best_image_only": picture,
        "best_text_only": text,
        "best_possible": lambda facts: (picture(facts), text(facts)),
    }
    answers = {floor: player(cases, seen) for floor, seen in views.items()}
    made = [_sampling.scene(setting, 11, "test", at).facts for at in range(SCENES)]
    for floor, seen in views.items():
        right = [answers[floor][seen(facts)] == facts["label"] for facts in made]
        assert near(right, stated[floor]), (floor, np.mean(right), stated[floor])
    assert stated["best_possible"] == 1
    assert near([facts["label"] == made[0]["label"] for facts in made], stated["majority"])


def test_a_table_alone_is_right_as_often_as_it_is_reliable():
    setting = load("dropout", ["table.kind.reliability=0.8"])
    stated = told(setting, "test")
    right = []
    for at in range(SCENES):
        scene = _sampling.scene(setting, 2, "test", at)
        row = table.emit(scene, setting, _sampling.key(setting, 2, "test", at))
        right.append(row["kind"] == scene.facts["label"])
    assert stated["best_table_only"] == pytest.approx(0.8)
    assert near(right, 0.8)


def test_who_reads_what_is_emitted_is_always_right():
    """The word that the caption says, and the colour of what stands in the picture."""
    setting = load("synergy")
    for at in range(500):
        scene = _sampling.scene(setting, 4, "test", at)
        said = caption.emit(scene, setting, _sampling.key(setting, 4, "test", at))["caption"]
        answer = "yes" if scene.things[0].colour in said.split() else "no"
        assert answer == scene.facts["label"]


def test_equality_is_a_coin_for_either_side_and_settled_by_both():
    found = floors(load("synergy"))
    for split in found.values():
        assert split["label"] == {
            "chance": 0.5, "majority": 0.5, "best_image_only": 0.5, "best_text_only": 0.5,
            "best_sum": 0.75, "best_sum_fitted": 0.5, "best_possible": 1.0,
        }  # fmt: skip


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_wrong_pairs_cost_half_their_share_where_the_answer_is_yes_or_no(share):
    setting = load("synergy", [f"wrong_pairs={share}"])
    assert told(setting, "train")["best_possible"] == pytest.approx(1 - share / 2)
    assert told(setting, "test")["best_possible"] == 1
    right = []
    for at in range(SCENES):
        scene = _sampling.scene(setting, 9, "train", at)
        heard = _sampling.told(setting, scene, _sampling.key(setting, 9, "train", at)).facts
        same = scene.facts["colour_1"] == heard["named_colour"]
        right.append(("yes" if same else "no") == scene.facts["label"])
    assert near(right, 1 - share / 2)


def test_missing_modalities_enter_as_the_mean_over_what_is_there():
    setting = load("synergy", ["missing={image: 0.2, text: 0.3}"])
    found = told(setting, "test")
    both = 0.8 * 0.7
    assert found["best_possible"] == pytest.approx(both + (1 - both) / 2)
    assert found["best_sum"] == pytest.approx(both * 0.75 + (1 - both) / 2)
    plain = told(load("plain", ["missing={image: 0.2, text: 0.3}"]), "test")
    assert plain["best_image_only"] == pytest.approx(0.8 + 0.2 / 16)
    assert plain["best_possible"] == pytest.approx(1 - 0.06 + 0.06 / 16)


def test_the_floors_of_whole_bits_are_powers_of_two():
    setting = load("bits", ["bits={redundancy: 1, unique_image: 2, unique_text: 1, synergy: 2}"])
    found = told(setting, "test")
    assert found["chance"] == pytest.approx(2**-6)
    assert found["best_image_only"] == pytest.approx(2**-3)
    assert found["best_text_only"] == pytest.approx(2**-4)
    assert found["best_sum_fitted"] == pytest.approx(2**-2)
    assert found["best_sum"] == pytest.approx(0.75)


def test_what_is_hidden_is_guessed():
    found = told(load("bits", ["bits={redundancy: 0.5, unique_image: 1}"]), "test")
    assert found["best_possible"] == pytest.approx(0.5 + 0.5 / 2)
    assert found["best_text_only"] == pytest.approx(0.75 / 2)


@pytest.mark.parametrize("name", ["binding", "spatial"])
def test_texts_alone_do_not_tell_the_own_from_the_twin(name):
    """A player who counted 15,000 emitted texts is no better than a coin on 5,000 others."""
    setting = load(name)
    counted = {twin: Counter() for twin in ("colours", "roles", "random")}
    right = {twin: [] for twin in counted}
    for at in range(SCENES):
        scene = _sampling.scene(setting, 8, "test", at)
        place = _sampling.key(setting, 8, "test", at)
        truth = caption.emit(scene, setting, place)["caption"]
        row = twins.emit(scene, setting, place)
        for twin, count in counted.items():
            false = row[f"caption_{twin}"]
            assert false is not None
            assert false != truth
            if at < 15_000:
                count[truth] += 1
                count[false] -= 1
            else:
                apart = count[truth] - count[false]
                right[twin].append(0.5 if apart == 0 else float(apart > 0))
    for twin, shares in right.items():
        stated = choice(setting, "test", twin)
        assert (stated["best_text_only"], stated["best_possible"]) == (0.5, 1)
        assert abs(np.mean(shares) - 0.5) < SIGMAS * 0.5 / np.sqrt(len(shares)), twin


def test_a_twin_is_false_and_the_own_text_true_by_the_facts():
    setting = load("binding")
    for at in range(300):
        facts = _sampling.scene(setting, 1, "test", at).facts
        assert holds(mentioned(facts, setting.mentions), facts)
        swapped = dict(facts, colour_1=facts["colour_2"], colour_2=facts["colour_1"])
        assert not holds(mentioned(swapped, setting.mentions), facts)


def test_a_random_twin_about_what_no_picture_shows_stays_a_coin():
    setting = load("dropout", ["emit=[image, caption, table, twins]"])
    assert choice(setting, "test", "random")["best_possible"] == pytest.approx(0.5)
    # Half of the words name the colour, so of two words the colour's own is the likelier one.
    setting = load("synergy", ["emit=[image, caption, twins]"])
    stated = choice(setting, "test", "random")["best_possible"]
    right = []
    for at in range(SCENES):
        scene = _sampling.scene(setting, 6, "test", at)
        place = _sampling.key(setting, 6, "test", at)
        colour, truth = scene.facts["colour_1"], scene.facts["named_colour"]
        false = twins.emit(scene, setting, place)["caption_random"]
        named = [word for word in setting.factors["named_colour"] if word in false.split()]
        assert named != [truth]
        right.append(1.0 if truth == colour else 0.0 if named == [colour] else 0.5)
    assert abs(np.mean(right) - stated) < SIGMAS * 0.5 / np.sqrt(len(right))


def test_no_twin_no_floor():
    assert choice(load("plain"), "test", "colours") is None
    assert choice(load("plain"), "test", "roles") is None
    assert not [q for q in floors(load("languages"))["test"] if q.startswith("choice")]


@pytest.mark.parametrize("name", names())
def test_floors_lie_in_their_order(name):
    setting = load(name)
    found = floors(setting, dict.fromkeys(setting.splits, 200))
    assert set(found) == set(setting.splits)
    for questions in found.values():
        assert any(q.startswith("retrieval") for q in questions) or name == "synergy"
        for scores in questions.values():
            best = scores["best_possible"]
            assert 0 < scores["chance"] <= best + 1e-9 <= 1 + 2e-9
            for floor, value in scores.items():
                assert value <= best + 1e-9, (floor, value)
            singles = [scores[x] for x in ("best_image_only", "best_text_only")]
            assert max(singles) <= scores.get("best_sum", best) + 1e-9
            assert scores.get("best_sum_fitted", 0) <= scores.get("best_sum", best) + 1e-9


def test_who_looks_at_two_things_does_not_know_which_is_the_first():
    """But one stands nearer to the corner, so of four relations only two are left."""
    found = floors(load("binding"))["test"]
    assert found["probe:relation"]["best_image_only"] == pytest.approx(0.5)
    assert found["probe:kind_1"]["best_image_only"] == pytest.approx(0.5)
    assert floors(load("bits"))["test"]["probe:kind_1"]["best_image_only"] == 1
