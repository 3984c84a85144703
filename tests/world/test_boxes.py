"""Boxes as JSON: in the order of the things, and around what is seen."""

import json

import numpy as np

from sensorium.world import _setting, boxes

from .scenes import changed, two


def test_boxes_are_told_in_order_and_hold_all_that_is_seen():
    scene = two(("snail", "key"), ("green", "white"), ("small", "large"), "below", canvas=64)
    told = json.loads(boxes.emit(scene, _setting.load("binding"), ("a",))["boxes"])
    assert [(t["kind"], t["colour"], t["size"]) for t in told] == [
        ("snail", "green", "small"), ("key", "white", "large"),
    ]  # fmt: skip
    seen = changed(scene)
    assert told[1]["box"][3] <= told[0]["box"][1]  # the key ends where the snail may begin
    for one in told:
        x0, y0, x1, y1 = one["box"]
        rows, columns = np.nonzero(seen[y0:y1, x0:x1])
        assert (rows.min(), rows.max()) == (0, y1 - y0 - 1)
        assert (columns.min(), columns.max()) == (0, x1 - x0 - 1)
        seen[y0:y1, x0:x1] = False
    assert not seen.any()
