"""Loss: what an objective costs on a split, beside what no skill costs. For every other objective.

Protocol, stamped on every score: the split in batches of one size, in a keyed order, what is drawn
keyed by record; the mean is over what the objective counts, the interval over batches (a contrast
is a property of a batch, not of a record).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.tasks._intervals import Key, exact, resampled

SUMMARY = "an objective's loss on the split, beside no skill and untrained weights"
FEWEST = 5  # batches, below which an interval over them would say nothing
Sums = NDArray[np.float64]  # [batches, 2]: of the loss, and how many it is the sum of


def score(
    own: Sums,
    others: Mapping[str, Sums | str],
    chance: float,
    objective: str,
    protocol: Mapping[str, Any],
    key: Key,
) -> dict[str, Any]:
    """The mean loss, beside its controls and the mean without skill.

    Args:
        own: of the run.
        others: control -> its sums over the same batches, or why there are none.
        chance: the mean with no skill.
        objective: its name.
        protocol: stamped on it, with what this task adds.
        key: of the draws.
    """
    batches = len(own)
    few = batches < FEWEST
    beside: dict[str, Any] = {}
    for name, sums in others.items():
        if isinstance(sums, str):
            beside[name] = {"value": None, "reason": sums}
            continue
        both = np.concatenate([own, sums], axis=1)
        beside[name] = {
            "value": _mean(sums),
            "interval": _interval(sums, (*key, "value", name), few),
            "difference": _mean(own) - _mean(sums),
            "difference_interval": None if few else resampled(both, _difference, (*key, name)),
        }
    beside["chance"] = exact(chance)
    told = (
        f"none: fewer than {FEWEST} batches" if few else f"bootstrap over {batches} batches, 95 %"
    )
    return {
        "task": "loss",
        "direction": objective,
        "metric": "loss",
        "better": "lower",
        "value": _mean(own),
        "interval": _interval(own, (*key, "value"), few),
        "protocol": {
            **protocol,
            "batches": batches,
            "counted": int(own[:, 1].sum()),
            "ties": "none: a loss has no ranks",
            "interval": told,
            "difference": f"run minus control, paired {told}",
        },
        "controls": beside,
    }


def _mean(sums: Sums) -> float:
    total, count = sums.sum(axis=0)
    return float(total / max(count, 1))


def _interval(sums: Sums, key: Key, few: bool) -> list[float] | None:
    return None if few else resampled(sums, _ratio, key)


def _ratio(sums: NDArray) -> NDArray:
    return sums[:, 0] / np.maximum(sums[:, 1], 1)


def _difference(sums: NDArray) -> NDArray:
    return _ratio(sums[:, :2]) - _ratio(sums[:, 2:])
