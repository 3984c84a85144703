"""Matching: the own partner, or a stranger's? Forced choice by the match logit.

Protocol, stamped on every score: each record is asked once a direction, its own partner against
one wrong one that shares no content with it; the wrong one is drawn by key, or is the nearest by
the run's own vectors (hard). A tie counts as lost, so a constant logit scores 0 and not 50 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.tasks._intervals import Key, exact, means

SUMMARY = "the own partner against a wrong one, by the match logit: forced choice"
TIES = "a tie counts as lost"
Choice = tuple[NDArray, NDArray]  # logits of the own and of the wrong pair, float [n] each


def won(choice: Choice) -> NDArray[np.bool_]:
    """Where the own pair is above the wrong one, bool [n]; NaN never is."""
    own, wrong = choice
    return own > wrong


def score(
    own: Choice,
    others: Mapping[str, Choice | str],
    direction: str,
    metric: str,
    protocol: Mapping[str, Any],
    key: Key,
) -> dict[str, Any]:
    """The share of choices that are right, beside its controls; chance is exactly one half.

    Args:
        own: of the run.
        others: control -> its logits for the same choices, or why there are none.
        direction: `text_to_image`: the text is given, pictures are to choose from.
        metric: what the choice is called: `forced choice`, or `forced choice, hard`.
        protocol: stamped on it, with what this task adds.
        key: of the draws.
    """
    n = len(own[0])
    beside = {name: x if isinstance(x, str) else won(x) for name, x in others.items()}
    told = means(won(own), beside, np.arange(n), (*key, direction, metric), shares=True)
    told["controls"]["chance"] = exact(0.5)
    return {
        "task": "matching",
        "direction": direction,
        "metric": metric,
        "better": "higher",
        "value": told["value"],
        "interval": told["interval"],
        "protocol": {
            **protocol,
            "records": n,
            "ties": TIES,
            "interval": f"Wilson, 95 %, over {n} records",
            "difference": f"run minus control, paired bootstrap over {n} records, 95 %",
        },
        "controls": told["controls"],
    }
