"""The answers, from outcomes that were made to have a known truth."""

import numpy as np
import pytest
from choosing_truth import LABELLED, PICTURES, answer, content, labelled, outcomes, told

from sensorium.choosing import questions, wording
from sensorium.choosing.candidates import ADDITIVE, JOINT
from sensorium.choosing.deciding import SHARES, share_name


@pytest.mark.parametrize(
    ("shares", "kind"),
    [
        ((0.25, 0.25, 0.25, 0.75), "synergistic"),  # only both together
        ((0.5, 0.5, 0.6, 0.79), "synergistic"),
        ((0.5, 0.5, 0.75, 0.75), "unique"),  # each its own, adding up is enough
        ((0.7, 0.25, 0.7, 0.7), "unique"),  # texts tell nothing
        ((0.25, 0.25, 0.25, 0.25), "unknown"),  # nothing was learned
    ],
)
def test_information_is_called_what_it_is(shares, kind):
    result = labelled(*shares, items=8000)
    assert told(result, "information")["kind"] == kind
    assert "Hessel and Lee" in told(result, "information")["sentence"]


def test_the_same_answers_from_each_half_are_redundant():
    """All four get the very same records right: neither adds to the other."""
    one = outcomes({PICTURES: 0.7}, items=3000)[PICTURES]
    names = [*LABELLED, "shuffled", *(share_name(PICTURES, x) for x in SHARES)]
    held = dict.fromkeys(names, one)
    run = {"seconds": 1.0, "steps": 1, "samples": 1.0, "parameters": 1}
    arms = {name: {"recipe": {"name": "tells"}, "run": run} for name in LABELLED}
    result = questions.answered(
        content(LABELLED), PICTURES, dict.fromkeys(LABELLED, 0.7), held, arms
    )
    assert told(result, "information")["kind"] == "redundant"
    assert told(result, "which")["kind"] == "equal"
    assert told(result, "earns")["modalities"] == {"image": "equal", "text": "equal"}


def test_a_fusion_that_only_learns_faster_is_not_called_synergy():
    """The interacting recipe beats the additive one, but texts alone do as well."""
    assert told(labelled(0.3, 0.75, 0.6, 0.75, items=6000), "information")["kind"] != "synergistic"


def test_halves_at_luck_are_never_redundant():
    assert told(labelled(0.25, 0.25, 0.25, 0.26, items=8000), "information")["kind"] == "unknown"


def test_what_a_modality_adds_is_what_both_have_over_the_other():
    result = labelled(0.7, 0.4, 0.7, 0.72, items=6000)
    assert told(result, "earns")["modalities"]["image"] == "better"
    assert "Pictures earn their keep" in told(result, "earns")["sentence"]


def test_without_a_label_what_cannot_be_asked_is_said_and_how_to_ask_it():
    result = answer({"lit": 0.4, "clip": 0.2, "shuffled": 0.01}, label=None)
    assert "--label shape" in told(result, "information")["sentence"]
    assert told(result, "information")["kind"] == "unknown"
    assert "cannot be asked without a label" in told(result, "earns")["sentence"]
    assert "Use lit. It finds the right picture first" in result["title"]
    assert told(result, "which")["kind"] == "better"


def test_numbers_in_the_title_are_the_means_of_the_outcomes():
    result = answer({"lit": 0.4, "clip": 0.2, "shuffled": 0.01}, label=None)
    held = outcomes({"lit": 0.4})["lit"]
    mean = np.mean([list(held[seed].values()) for seed in held])
    assert wording.mean(result, "lit") == pytest.approx(mean)
    assert f"{100 * mean:.0f} times in 100" in result["title"]


def test_p_values_of_all_questions_are_one_family():
    result = labelled(0.5, 0.4, 0.6, 0.7)
    pairs = {frozenset((x["name"], x["against"])) for x in result["verdicts"]}
    assert len(pairs) == len(result["verdicts"])
    assert {x["family"] for x in result["verdicts"]} == {len(pairs)}
    assert frozenset((JOINT, ADDITIVE)) in pairs
    assert all(x["p_holm"] >= x["p"] for x in result["verdicts"])


def test_a_pair_seen_from_the_other_side_is_its_mirror():
    result = labelled(0.5, 0.4, 0.7, 0.6, items=4000)
    both = questions.both_ways(result["verdicts"])
    own, seen = both[JOINT, ADDITIVE], both[ADDITIVE, JOINT]
    assert seen["difference"] == -own["difference"]
    assert seen["interval"] == [-own["interval"][1], -own["interval"][0]]
    assert (own["kind"], seen["kind"]) == ("worse", "better")


def test_a_recipe_that_diverged_is_left_out_and_named():
    names = ["lit", "clip", "albef"]
    truth = {"lit": 0.4, "clip": 0.2, "shuffled": 0.01}
    whole = outcomes(truth | {share_name("lit", share): 0.3 for share in SHARES})
    run = {"seconds": 1.0, "steps": 1, "samples": 1.0, "parameters": 1}
    arms = {name: {"recipe": {"name": name}, "run": run} for name in names}
    result = questions.answered(content(names, None), "lit", {"lit": 0.4, "clip": 0.2}, whole, arms)
    assert "albef was left out: it diverged" in result["notes"]
    assert "albef" not in {x["name"] for x in result["scores"]}
