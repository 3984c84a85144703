"""Prediction of words: hidden ones, or the next. How surprised is the model, how often right?

Protocol, stamped on every score: all predicted tokens of a split's records; nats are natural, the
mean is over tokens, the interval over records; the top guess must be above every other entry, so
that equal logits are never right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium.tasks._intervals import Key, exact, means

SUMMARY = "hidden or next words are guessed: surprise in nats, and how often the top guess is right"
TIES = "a tie of the model with another entry counts as wrong"


@dataclass(frozen=True)
class Guesses:
    """What was guessed at k places.

    nats: float64 [k], minus the log-probability of the truth. right: bool [k], whether the truth is
    above all other entries. owner: int64 [k], the record of each place. truth, top: int64 [k], the
    true entry and the first guess (the lowest of equals).
    """

    nats: NDArray[np.float64]
    right: NDArray[np.bool_]
    owner: NDArray[np.int64]
    truth: NDArray[np.int64]
    top: NDArray[np.int64]


def guesses(logits: torch.Tensor, truth: torch.Tensor, owner: torch.Tensor) -> Guesses:
    """From logits float [k, V], the true entries int64 [k] and the records int64 [k]."""
    wide = logits.double()
    own = wide.gather(1, truth[:, None])
    nats = wide.logsumexp(dim=1) - own[:, 0]
    # NaN is at least as high as anything: a broken model is never right.
    right = (~(wide < own)).sum(dim=1) == 1
    given = (nats, right & ~own[:, 0].isnan(), owner, truth, wide.argmax(dim=1))
    return Guesses(*(x.cpu().numpy() for x in given))


def joined(parts: list[Guesses]) -> Guesses:
    """The guesses of several batches as one."""
    names = ("nats", "right", "owner", "truth", "top")
    return Guesses(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def unigram(counts: NDArray[np.int64], asked: Guesses) -> Guesses:
    """What one guesses who knows only how often each entry was predicted in training.

    Of equally frequent entries it names the first: it must guess, and equals cost it nothing.

    Args:
        counts: int64 [V], of the training split; one is added to each (Laplace).
        asked: whose places are guessed.
    """
    share = (counts + 1) / (counts + 1).sum()
    top = np.full(len(asked.truth), int(counts.argmax()))
    return Guesses(-np.log(share[asked.truth]), asked.truth == top, asked.owner, asked.truth, top)


def scores(
    own: Guesses,
    others: Mapping[str, Guesses | str],
    vocabulary: int,
    direction: str,
    protocol: Mapping[str, Any],
    key: Key,
) -> list[dict[str, Any]]:
    """Top guess and nats per token, each beside its controls.

    Args:
        own: of the run.
        others: control -> its guesses at the same places, or why there are none.
        vocabulary: entries, V: chance is ln V.
        direction: what is predicted.
        protocol: stamped on both, with what this task adds.
        key: of the draws.
    """
    records = len(np.unique(own.owner))
    told = {
        **protocol,
        "tokens": len(own.nats),
        "records": records,
        "vocabulary": vocabulary,
        "ties": TIES,
        "interval": f"bootstrap over {records} records, 95 %",
        "difference": f"run minus control, paired bootstrap over {records} records, 95 %",
    }
    made = []
    luck = {"top guess": 1 / vocabulary, "nats per token": math.log(vocabulary)}
    for metric, field in (("top guess", "right"), ("nats per token", "nats")):
        beside = {
            name: given if isinstance(given, str) else getattr(given, field)
            for name, given in others.items()
        }
        score = means(getattr(own, field), beside, own.owner, (*key, metric))
        score["controls"]["chance"] = exact(luck[metric])
        made.append(
            {
                "task": "prediction",
                "direction": direction,
                "metric": metric,
                "better": "higher" if field == "right" else "lower",
                "value": score["value"],
                "interval": score["interval"],
                "protocol": told,
                "controls": score["controls"],
            }
        )
    return made
