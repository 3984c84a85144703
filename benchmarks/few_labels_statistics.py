"""Samplers, the linear fit and the intervals of `few_labels`: what can be checked by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium import draws

TIMES = 4000
RIDGE = 1 / 0.316  # of the sum of losses: CLIP's linear probes take C = 0.316
Fitted = Callable[[NDArray[np.float32]], NDArray[np.int64]]


# --- samplers -----------------------------------------------------------------------------------


def dealt(classes: Sequence[int], names: Sequence[str], count: int, *key: int | str) -> list[int]:
    """Places of `count` records, one class after the other in turn; keyed by name.

    A class that has no more is passed over. A smaller count is the beginning of a larger one.

    Args:
        classes: of each record.
        names: of each record, different.
        count: how many; all where there are fewer.
        key: of the draw.
    """
    kinds = sorted({int(x) for x in classes})
    turn = [kinds[at] for at in draws.order(len(kinds), *key, "classes")]
    shuffled = sorted(range(len(names)), key=lambda at: (draws.uniform(*key, names[at]), names[at]))
    rows = {kind: [at for at in shuffled if classes[at] == kind] for kind in turn}
    longest = max(map(len, rows.values()), default=0)
    order = [rows[kind][at] for at in range(longest) for kind in turn if at < len(rows[kind])]
    return order[:count]


def sided(
    brightness: NDArray[np.float64], classes: NDArray[np.int64], pool: Sequence[int]
) -> NDArray[np.bool_]:
    """Which records are brighter than the median of their class, bool [records].

    Args:
        brightness: of all records.
        classes: of all records; those below 0 are on no side (False).
        pool: the records whose medians count, e.g. of training.
    """
    bright = np.zeros(len(brightness), bool)
    inside = np.zeros(len(brightness), bool)
    inside[list(pool)] = True
    for kind in np.unique(classes[classes >= 0]):
        of = classes == kind
        if (of & inside).any():
            bright[of] = brightness[of] > np.median(brightness[of & inside])
    return bright


# --- the linear layer ---------------------------------------------------------------------------


def linear(features: NDArray[np.float32], classes: NDArray[np.int64], count: int) -> Fitted:
    """Multinomial logistic regression on features, each scaled to variance 1; a convex problem.

    Minimises the sum of cross-entropies plus `RIDGE` / 2 times the squared weights (not the bias),
    by L-BFGS in float64.

    Args:
        features: float32 [n, d].
        classes: int64 [n], below `count`; classes that are not among them are never answered.

    Returns:
        features [m, d] -> the likeliest classes, int64 [m].
    """
    known, numbers = np.unique(classes, return_inverse=True)
    middle, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-6 * (1 + np.abs(middle)), spread, np.inf)  # constant: left out

    def scaled(x: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(((x - middle) / spread).astype(np.float64))

    weights, bias = solved(scaled(features), torch.from_numpy(numbers), len(known))
    assert known.max() < count, "a class beyond those that there are"
    return lambda x: known[(scaled(x) @ weights + bias).argmax(1).numpy()]


def solved(
    x: torch.Tensor, numbers: torch.Tensor, count: int, ridge: float = RIDGE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights float64 [d, count] and bias [count] at the optimum; see `linear`."""
    weights = torch.zeros(x.shape[1], count, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS(
        [weights, bias], max_iter=500, tolerance_grad=1e-6, tolerance_change=1e-12,
        history_size=20, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> torch.Tensor:
        search.zero_grad()
        told = torch.nn.functional.cross_entropy(x @ weights + bias, numbers, reduction="sum")
        told = told + ridge / 2 * weights.square().sum()
        told.backward()
        return told

    search.step(loss)
    return weights.detach(), bias.detach()


# --- intervals ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resamples:
    """How often each seed and each item was drawn, as shares: [times, seeds] and [times, items].

    `plain`: the share of each item where all are there once, [items].
    """

    seeds: NDArray[np.float64]
    items: NDArray[np.float64]
    plain: NDArray[np.float64]

    def mean(self, values: NDArray[Any]) -> float:
        """Of values [seeds, items]."""
        return float((values @ self.plain).mean())

    def interval(self, values: NDArray[Any], of: NDArray[np.bool_] | None = None) -> list[float]:
        """95 % of the mean, seeds and items both drawn with replacement.

        Args:
            of: bool [seeds, items], the values whose mean it is; all by default.
        """
        means = self._means(values if of is None else values * of)
        if of is not None:
            count = self._means(of)  # of a draw without any of them there is no mean
            means = means[count > 0] / count[count > 0]
        return [float(x) for x in np.quantile(means, [0.025, 0.975])]

    def _means(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Of each draw, [times]."""
        return np.einsum("ts,ts->t", self.seeds, self.items @ np.asarray(values, float).T)


def resamples(
    truth: NDArray[np.int64], seeds: int, by_class: bool, times: int = TIMES
) -> Resamples:
    """Draws of seeds crossed with draws of items.

    Args:
        truth: the class of each item.
        seeds: how many there are.
        by_class: the mean of the classes' means, items drawn within classes; else plain means.
    """
    rng = draws.generator("few labels", seeds, len(truth), int(by_class))

    def shares(count: int) -> NDArray[np.float64]:
        return rng.multinomial(count, np.full(count, 1 / count), size=times) / count

    over_seeds = shares(seeds)
    if not by_class:
        items, plain = shares(len(truth)), np.full(len(truth), 1 / len(truth))
        return Resamples(over_seeds, items, plain)
    kinds = np.unique(truth)
    items, plain = np.zeros((times, len(truth))), np.zeros(len(truth))
    for kind in kinds:
        at = np.flatnonzero(truth == kind)
        items[:, at] = shares(len(at)) / len(kinds)
        plain[at] = 1 / (len(at) * len(kinds))
    return Resamples(over_seeds, items, plain)


def verdict(interval: Sequence[float]) -> str:
    """`better`, `worse` or `cannot tell`, of an interval of a difference."""
    return "better" if interval[0] > 0 else "worse" if interval[1] < 0 else "cannot tell"


# --- what the jobs gave, compared ---------------------------------------------------------------

SCRATCH = "scratch, full"
LONGER, FLOOR = "scratch, longer", "untrained, linear"
BASES = (SCRATCH, LONGER, FLOOR)  # what every arm is compared with


def seconds(jobs: list[dict[str, Any]]) -> dict[str, float]:
    """Mean CPU seconds of one pre-training, one fit."""
    names = dict.fromkeys(name for job in jobs for name in job["seconds"])
    return {
        name: round(float(np.mean([x for job in jobs for x in job["seconds"].get(name, [])])), 2)
        for name in names
    }


def compared(
    jobs: list[dict[str, Any]], truth: NDArray[np.int64], light: NDArray[np.bool_]
) -> dict[str, Any]:
    """Scores of every arm under every condition, differences from controls, what bias costs.

    Args:
        jobs: of one corpus, by seed.
        truth: int64 [items]. light: bool [items], brighter than the median of their class.
    """
    ways = {
        "accuracy": resamples(truth, len(jobs), by_class=False),
        "mean class accuracy": resamples(truth, len(jobs), by_class=True),
    }
    names = list(jobs[0]["answers"])
    hits = {
        (condition, arm): np.stack([np.array(x["answers"][condition][arm]) == truth for x in jobs])
        for condition in names
        for arm in jobs[0]["answers"][condition]
    }

    def told(values: NDArray[Any]) -> dict[str, Any]:
        return {
            metric: {
                "mean": way.mean(values),
                "interval": way.interval(values),
                "seeds": [way.mean(row[None]) for row in values],
            }
            for metric, way in ways.items()
        }

    def difference(first: NDArray[Any], second: NDArray[Any]) -> dict[str, Any]:
        made = told(first.astype(float) - second)
        for score in made.values():
            score["verdict"] = verdict(score["interval"])
        return made

    def within(first: NDArray[Any], second: NDArray[Any], of: NDArray[np.bool_]) -> dict[str, Any]:
        apart = first.astype(float) - second
        interval = ways["accuracy"].interval(apart, of)
        return {
            "mean": float(apart[of].mean()),
            "interval": interval,
            "verdict": verdict(interval),
        }

    result: dict[str, Any] = {
        "seeds": [x["seed"] for x in jobs],
        "labels by class, first seed": jobs[0]["labels"],
        "conditions": {
            condition: {a: told(x) for (c, a), x in hits.items() if c == condition}
            for condition in names
        },
        "minus": {
            base: {
                condition: {
                    a: difference(x, hits[condition, base])
                    for (c, a), x in hits.items()
                    if c == condition and a != base
                }
                for condition in names
                if (condition, base) in hits
            }
            for base in BASES
        },
        "captions minus pictures": {},
        "bias": {},
    }
    for condition in names:
        arms = [a for c, a in hits if c == condition]
        for arm in (a for a in arms if "captions" in a):
            partner = arm.replace("captions", "pictures")
            result["captions minus pictures"].setdefault(condition, {})[arm] = difference(
                hits[condition, arm], hits[condition, partner]
            )
    biased = next((x for x in names if x.endswith("biased")), None)
    if biased is None:
        return result
    even = biased.partition(",")[0]
    # Where a class's labels were: the brighter half where class + seed is even.
    shown = np.stack([light == ((truth + x["seed"]) % 2 == 0) for x in jobs])
    for arm in (a for c, a in hits if c == biased):
        x, y = hits[biased, arm], hits[even, arm]
        cost = x.astype(float) - y
        base = hits[biased, SCRATCH].astype(float) - hits[even, SCRATCH]
        result["bias"][arm] = {
            "biased minus even": difference(x, y),
            "that minus scratch's": difference(cost, base),
            "accuracy where labels were": float(x[shown].mean()),
            "accuracy where none were": float(x[~shown].mean()),
            "where none were, minus scratch": within(x, hits[biased, SCRATCH], ~shown),
        }
    return result
