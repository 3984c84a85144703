"""The additive bound: how often the best sum of one score per modality is right.

A player who gives every answer y the score f_y(picture) + g_y(text) and takes the highest lets the
two modalities not interact (the projection of EMAP, Hessel and Lee 2020). Two numbers are stated.

`best`: over all such sums, chosen with the truth in hand. For "are they equal", of two uniform
values of n that are equal in half of the cases, it is 3/4, whatever n: sorted by their scores, the
cells that are called equal form a staircase, and one that holds k of the n equal cells holds at
least k (k - 1) / 2 of the n (n - 1) others, so it is right in at most
1/2 + k / (2 n) - k (k - 1) / (4 n (n - 1)) of the cases, which grows up to k = n.
For a sum modulo m (exclusive or is m = 2), m even, it is at most 3/4: the square of m x m cells
falls into squares of 2 x 2 that are each an exclusive or, where a sum of scores is right in at most
three cells of four. For m = 2 and m = 4 some sum reaches it.

`fitted`: the sum that log loss finds. Where both modalities alone say nothing, the constant has the
same margins as the truth, and as the loss is convex no sum is better: it is right by luck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.world._setting import Setting
from sensorium.world._support import Support, coded, support

BEST = 0.75  # of equality in half of the cases, and of a sum modulo 2 or 4
_SAME = 1e-9


@dataclass(frozen=True)
class Additive:
    """Shares of right answers.

    best: of the best sum; `exact` says whether some sum reaches it, else it is an upper bound.
    fitted: of the sum that log loss finds, or None where it is not known.
    """

    best: float
    exact: bool
    fitted: float | None


def additive(setting: Setting, split: str, single: float, joint: float) -> Additive:
    """The additive bound for the label, where picture and text are both there and belong together.

    Args:
        setting: of the world, with a label.
        split: one of `setting.splits`.
        single: share that the better one of picture and text tells alone.
        joint: share that both tell together.
    """
    if joint - single < _SAME:  # one of them says all there is to say
        return Additive(joint, True, joint if joint > 1 - _SAME else None)
    assert setting.label is not None
    listed = support(setting, split)
    if setting.label.rule == "equality" and _even(setting, listed, *setting.label.of):
        return Additive(BEST, True, 0.5)
    if setting.label.rule == "bits" and "synergy" in setting.components:
        first, second = setting.components["synergy"][0]
        if _even(setting, listed, first, second):
            return _of_bits(setting, joint)
    return Additive(joint, False, None)


def _of_bits(setting: Setting, joint: float) -> Additive:
    """Given all other components, which some modality tells, what is left is a sum modulo m.

    What a hidden component's answer should be is luck. But then answers that differ in it alone are
    so many more scores for the same sum, and may represent it: only an upper bound is stated.
    """
    modulo = setting.components["synergy"][1]
    share = setting.hiding.get("named_colour", 0.0)
    told = (1 - share) + share / modulo  # of the synergy, where all else is known
    others = joint / told
    if set(setting.hiding) - {"named_colour"}:
        return Additive(joint, False, others / modulo)
    return Additive(others * ((1 - share) * BEST + share / modulo), True, others / modulo)


def _even(setting: Setting, listed: Support, first: str, second: str) -> bool:
    """Whether all that is left to add up is one factor of the picture and one of the text.

    It is, where the picture alone has the first and the text alone the second; where these are as
    uniform as they should be whatever else the label depends on and whatever both show; and where,
    with that given, the rest of the picture says nothing of the text nor the rest of the text of
    the picture, so that no score gains by looking at it.
    """
    if first not in setting.shown:
        first, second = second, first
    if first not in setting.shown or first in setting.mentions:
        return False
    if second in setting.shown or second not in setting.mentions:
        return False
    if not {first, second} <= set(listed.index):
        return False
    if setting.things == 2 and setting.relations != 1:
        return False  # a picture does not say which thing is the first
    weight, n = listed.weight, len(listed.weight)
    carriers = {name for names, _ in setting.components.values() for name in names}
    shared = set(setting.shown) & set(setting.mentions)
    rest = listed.code(sorted((shared | carriers) - {first, second}))
    one, other = (listed.index[name].astype(np.int64) for name in (first, second))

    def total(*columns: NDArray) -> NDArray[np.float64]:
        """The weight of all cases that share a case's values of some columns."""
        same = coded(list(columns), n)
        return np.bincount(same, weight).astype(np.float64)[same]

    image, text = listed.code(setting.shown), listed.code(setting.mentions)
    both, expected = total(rest, one, other), total(rest) * _expected(setting, one, other)
    apart = total(rest, one, image) / total(rest, one) * total(rest, other, text)
    apart *= both / total(rest, other)
    return bool(
        np.allclose(both, expected, rtol=1e-9, atol=0)
        and np.allclose(total(image, text, rest, one, other), apart, rtol=1e-9, atol=0)
    )


def _expected(setting: Setting, one: NDArray, other: NDArray) -> NDArray[np.float64]:
    """The probability that each case's pair of values should have, float64 [cells]."""
    n, m = (int(column.max()) + 1 for column in (one, other))
    if setting.label is not None and setting.label.rule == "equality":
        return np.where(one == other, 0.5 / n, 0.5 / (n * (n - 1)))
    gone = setting.hiding.get("named_colour", 0.0)
    return np.where(other >= 0, (1 - gone) / (n * m), gone / n)
