"""The graph: things and their relation, which the boxes bear out."""

import json

import pytest

from sensorium.world import _setting, boxes, graph
from sensorium.world._scene import RELATIONS

from .scenes import two


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_relation_told_is_true_of_the_boxes(relation):
    setting = _setting.load("binding")
    scene = two(relation=relation, seed=5, ground="mint", stripes="dots")
    told = json.loads(graph.emit(scene, setting, ("a",))["graph"])
    ((first, name, second),) = told["relations"]
    places = [one["box"] for one in json.loads(boxes.emit(scene, setting, ("a",))["boxes"])]
    low, high = (first, second) if name in ("left_of", "above") else (second, first)
    axis = 0 if name in ("left_of", "right_of") else 1
    assert places[low][axis + 2] <= places[high][axis]
    assert told["things"][0] == {"kind": "cat", "colour": "red", "size": "large"}
    assert (told["ground"], told["stripes"]) == ("mint", "dots")


def test_without_a_relation_none_is_told():
    scene = two(relation=None)
    assert (
        json.loads(graph.emit(scene, _setting.load("binding"), ("a",))["graph"])["relations"] == []
    )
