"""Classification: one class of several for each record.

Protocol, stamped on every score: all records of a split that have a class; a truth must be above
every other class to be right, so equal logits are never right; a class that training did not have
can never be right, and counts. Nats leave such records out, and say how many.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.tasks._intervals import Key, exact, means, stratified

SUMMARY = "one class of several: accuracy, mean class accuracy, top 5, surprise in nats"
TIES = "a tie of the model with another class counts as wrong"
TOP = 5
MANY = 10  # classes, above which the first five count too


@dataclass(frozen=True)
class Answers:
    """What was answered for n records.

    nats: float64 [n], minus the log-probability of the truth; NaN where training lacked the class.
    rank: int64 [n], of the truth, counted from 1, after all that are as high. truth: int64 [n], -1
    where training lacked the class. top: int64 [n], the first guess.
    """

    nats: NDArray[np.float64]
    rank: NDArray[np.int64]
    truth: NDArray[np.int64]
    top: NDArray[np.int64]


def answers(logits: NDArray, truth: NDArray[np.int64]) -> Answers:
    """From logits float [n, K] and the true classes int64 [n]; -1 for one that training lacked."""
    wide = np.nan_to_num(np.asarray(logits, np.float64), nan=-1e30, neginf=-1e30)
    known = truth >= 0
    own = np.take_along_axis(wide, np.maximum(truth, 0)[:, None], axis=1)
    highest = wide.max(axis=1, keepdims=True)
    surprise = np.log(np.exp(wide - highest).sum(axis=1)) - (own - highest)[:, 0]
    nats = np.where(known, surprise, np.nan)
    rank = np.where(known, (wide >= own).sum(axis=1), wide.shape[1] + 1)
    return Answers(nats, rank, np.asarray(truth, np.int64), wide.argmax(axis=1))


def frequent(counts: NDArray[np.int64], truth: NDArray[np.int64]) -> Answers:
    """What one answers who knows only how often each class is among the training records.

    Nats with one added to each count; of equally frequent classes it names the first: it must
    answer, and equals cost it nothing.
    """
    share = (counts + 1) / (counts + 1).sum()
    order = np.argsort(-counts, kind="stable")
    place = np.empty(len(counts), np.int64)
    place[order] = np.arange(1, len(counts) + 1)
    told = answers(np.log(np.tile(share, (len(truth), 1))), truth)
    return replace(told, rank=np.where(truth >= 0, place[truth], len(counts) + 1))


def scores(
    own: Answers,
    others: Mapping[str, Answers | str],
    classes: int,
    direction: str,
    protocol: Mapping[str, Any],
    key: Key,
) -> list[dict[str, Any]]:
    """All metrics, each beside its controls.

    Args:
        own: of the run.
        others: control -> its answers for the same records, or why there are none.
        classes: K.
        direction: the target's name.
        protocol: stamped on all, with what this task adds.
        key: of the draws.
    """
    n = len(own.truth)
    known = own.truth >= 0
    told = {
        **protocol,
        "records": n,
        "classes": classes,
        "classes_asked": len(np.unique(own.truth[known])),
        "of_classes_unknown_to_training": int((~known).sum()),
        "ties": TIES,
        "difference": f"run minus control, paired bootstrap over {n} records, 95 %",
    }
    made = []

    def add(metric: str, better: str, score: dict[str, Any], luck: float, interval: str) -> None:
        score["controls"]["chance"] = exact(luck)
        made.append(
            {
                "task": "classification",
                "direction": direction,
                "metric": metric,
                "better": better,
                "value": score["value"],
                "interval": score["interval"],
                "protocol": {**told, "interval": interval},
                "controls": score["controls"],
            }
        )

    def each(of) -> dict[str, NDArray | str]:
        return {name: x if isinstance(x, str) else of(x) for name, x in others.items()}

    def within(k: int) -> dict[str, Any]:
        beside = each(lambda x: x.rank <= k)
        return means(own.rank <= k, beside, np.arange(n), (*key, "top", k), shares=True)

    wilson = f"Wilson, 95 %, over {n} records"
    add("accuracy", "higher", within(1), 1 / classes, wilson)
    if known.any():
        hits = each(lambda x: x.rank <= 1)
        macro = _macro(own.rank <= 1, hits, own.truth, known, (*key, "macro"))
        by_class = "bootstrap within classes, 95 %"
        add("mean class accuracy", "higher", macro, 1 / classes, by_class)
    if classes > MANY:
        add(f"top {TOP}", "higher", within(TOP), TOP / classes, wilson)
    if known.any():
        rows = np.arange(int(known.sum()))
        nats = means(own.nats[known], each(lambda x: x.nats[known]), rows, (*key, "nats"))
        over = f"bootstrap over {len(rows)} records, 95 %"
        add("nats per record", "lower", nats, math.log(classes), over)
    return made


def mean_class_accuracy(right: NDArray[np.bool_], truth: NDArray[np.int64]) -> float:
    """The mean over classes of the share that is right of each (macro recall)."""
    return float(np.mean([right[truth == name].mean() for name in np.unique(truth)]))


def _macro(
    own: NDArray[np.bool_],
    others: Mapping[str, NDArray | str],
    truth: NDArray[np.int64],
    known: NDArray[np.bool_],
    key: Key,
) -> dict[str, Any]:
    """Over the classes that training had."""
    own, truth = own[known], truth[known]
    beside: dict[str, Any] = {}
    for name, right in others.items():
        if isinstance(right, str):
            beside[name] = {"value": None, "reason": right}
            continue
        right = right[known]
        difference = own.astype(int) - right.astype(int)
        value = mean_class_accuracy(right, truth)
        beside[name] = {
            "value": value,
            "interval": stratified(right.astype(int), truth, (*key, "value", name)),
            "difference": mean_class_accuracy(own, truth) - value,
            "difference_interval": stratified(difference, truth, (*key, name)),
        }
    return {
        "value": mean_class_accuracy(own, truth),
        "interval": stratified(own.astype(int), truth, (*key, "value")),
        "controls": beside,
    }
