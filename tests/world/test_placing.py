"""Places: inside the canvas, never overlapping, the relation true, every cell apart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.world import _drawing
from sensorium.world._kinds import KINDS
from sensorium.world._placing import place
from sensorium.world._scene import RELATIONS, SIZES

thing = st.tuples(st.sampled_from(KINDS), st.sampled_from(SIZES))


@settings(max_examples=150, deadline=None)
@given(
    things=st.tuples(thing, thing),
    canvas=st.integers(32, 96),
    seed=st.integers(0, 2**32),
    relation=st.sampled_from([None, *RELATIONS]),
)
def test_two_things_lie_inside_apart_and_in_the_relation(things, canvas, seed, relation):
    boxes = place(things, canvas, np.random.default_rng(seed), relation)
    for (kind, size), (x0, y0, x1, y1) in zip(things, boxes, strict=True):
        assert 0 <= x0 < x1 <= canvas
        assert 0 <= y0 < y1 <= canvas
        assert (x1 - x0, y1 - y0) == _drawing.extent(kind, size, canvas)
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = boxes
    true = {
        "left_of": ax1 <= bx0,
        "right_of": bx1 <= ax0,
        "above": ay1 <= by0,
        "below": by1 <= ay0,
    }
    assert any(true.values())  # they do not overlap
    if relation is not None:
        assert true[relation]
        # Across the relation the two stand within half a canvas: nothing is plainly above what
        # it is left of.
        across = (
            (ay0, ay1, by0, by1) if relation in ("left_of", "right_of") else (ax0, ax1, bx0, bx1)
        )
        assert max(across) - min(across) <= canvas // 2


@pytest.mark.parametrize("canvas", [32, 33, 64, 224])
def test_one_thing_stands_in_the_cell_that_was_asked_for(canvas):
    rng = np.random.default_rng(0)
    for row in range(3):
        for column in range(3):
            for kind in KINDS[::5]:
                ((x0, y0, x1, y1),) = place([(kind, "large")], canvas, rng, cell=(row, column))
                # The corner's place among all corners there are names the cell.
                assert x0 * 3 // (canvas - (x1 - x0)) == column
                assert y0 * 3 // (canvas - (y1 - y0)) == row


def test_one_thing_may_stand_anywhere_and_reaches_all_sides():
    rng = np.random.default_rng(0)
    boxes = np.array([place([("square", "large")], 32, rng)[0] for _ in range(3000)])
    assert boxes.min() == 0
    assert boxes.max() == 32
    corners = {(x0, y0) for x0, y0, _, _ in boxes}
    width, height = _drawing.extent("square", "large", 32)
    assert len(corners) == (33 - width) * (33 - height)
