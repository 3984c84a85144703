"""Information in bits, by counting over a finite joint distribution.

What two sources tell of a target splits into what both tell (redundancy), what one tells alone
(unique, of each), and what only both together tell (synergy). Two definitions of that split:

`broja`: Bertschinger, Rauh, Olbrich, Jost and Ay (2014), "Quantifying unique information". What is
unique or redundant depends on the two pairs (target, source) alone, so synergy is what is left over
the least informative joint distribution with these pairs.
`i_min`: Williams and Beer (2010), "Nonnegative decomposition of multivariate information".
Redundancy is the expected least of what either source says about each value of the target. It calls
equal amounts redundant even when they are about different things: of two independent bits that are
copied it says one bit of redundancy, where `broja` says none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.world._setting import Setting
from sensorium.world._views import views

_STEPS = 20_000
_FINE = 1e-7  # bits by which the value may exceed the least
_FLOOR = 1e-300


@dataclass(frozen=True)
class Decomposition:
    """What two sources tell of a target, in bits; the four add up to the mutual information.

    gap: by how many bits the stated synergy may be too small, and each unique part too large.
    """

    redundancy: float
    unique_first: float
    unique_second: float
    synergy: float
    gap: float = 0.0


def entropy(p: NDArray) -> float:
    """Bits of a distribution of any shape."""
    p = np.asarray(p, np.float64).ravel()
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


def mutual(p: NDArray) -> float:
    """Bits that one variable tells of the other, of a joint distribution [n, m]."""
    return entropy(p.sum(1)) + entropy(p.sum(0)) - entropy(p)


def count(*columns: NDArray, weight: NDArray) -> NDArray[np.float64]:
    """The joint distribution of whole-numbered columns from 0, each [cells].

    Returns:
        Probabilities [n, m, ...], one axis per column.
    """
    shape = tuple(int(column.max()) + 1 for column in columns)
    flat = np.ravel_multi_index(columns, shape)
    return np.bincount(flat, weight, int(np.prod(shape))).astype(np.float64).reshape(shape)


def broja(p: NDArray) -> Decomposition:
    """The decomposition of Bertschinger et al. (2014).

    The least informative distribution is the minimum of sum_y p(y) KL(q(a, b | y), r(a, b)) over q
    with the pairs' margins and over any r; both steps of the alternation are exact (Csiszar and
    Tusnady 1984), and the potentials of the inner step bound the least from below.

    Args:
        p: of target, first source, second source: [y, a, b], sums to 1.
    """
    return _broja(*_pairs(p))


def i_min(p: NDArray) -> Decomposition:
    """The decomposition of Williams and Beer (2010).

    Args:
        p: of target, first source, second source: [y, a, b], sums to 1.
    """
    return _i_min(*_pairs(p))


def decomposed(
    target: NDArray, first: NDArray, second: NDArray, weight: NDArray
) -> dict[str, Decomposition]:
    """Both decompositions of listed cases, by name; for sources too large for a table of both.

    Args:
        target: number from 0 of each case, int [cells].
        first, second: what either source shows, numbers from 0, int [cells].
        weight: probability of each case, float [cells].
    """
    both = np.unique(first * (second.max() + 1) + second, return_inverse=True)[1]
    found = (
        count(target, first, weight=weight),
        count(target, second, weight=weight),
        mutual(count(target, both, weight=weight)),
    )
    return {"broja": _broja(*found), "i_min": _i_min(*found)}


def bits(setting: Setting) -> dict[str, Any]:
    """What the modalities of a world tell of its label, in bits, counted over each split.

    Returns:
        {split: {label, image, text, table, "image and text", ...}}: the entropy of the label, what
        each modality tells, and of each two both decompositions by name. Nothing without a label,
        and nothing of a split with too many combinations to list.
    """
    found: dict[str, Any] = {}
    for split in setting.splits if setting.label else ():
        try:
            seen = views(setting, split)
        except ValueError:
            continue
        found[split] = {"label": entropy(np.bincount(seen.target, seen.weight))}
        told = {"image": seen.image, "text": seen.text}
        told |= {"table": seen.table} if setting.table else {}
        for name, column in told.items():
            found[split][name] = mutual(count(seen.target, column, weight=seen.weight))
        for one, other in combinations(told, 2):
            both = decomposed(seen.target, told[one], told[other], seen.weight)
            found[split][f"{one} and {other}"] = {name: asdict(it) for name, it in both.items()}
    return found


def _pairs(p: NDArray) -> tuple[NDArray, NDArray, float]:
    p = np.asarray(p, np.float64)
    return p.sum(2), p.sum(1), mutual(p.reshape(len(p), -1))


def _broja(first: NDArray, second: NDArray, joint: float) -> Decomposition:
    least, gap = _least(first, second)
    one, two = mutual(first), mutual(second)
    least = min(max(least, one, two), joint)
    return Decomposition(one + two - least, least - two, least - one, joint - least, max(gap, 0.0))


def _i_min(first: NDArray, second: NDArray, joint: float) -> Decomposition:
    own = first.sum(1)
    said = []
    for pair in (first, second):  # what it says of each value of the target, in bits
        ratio = np.where(pair > 0, pair / np.maximum(own[:, None] * pair.sum(0), _FLOOR), 1.0)
        said.append((pair * np.log2(ratio)).sum(1))  # times the value's probability
    redundancy = float(np.minimum(*said).sum())
    one, two = mutual(first), mutual(second)
    return Decomposition(
        redundancy, one - redundancy, two - redundancy, joint - one - two + redundancy
    )


def _least(first: NDArray, second: NDArray) -> tuple[float, float]:
    """(bits, gap) of the least informative distribution with these pairs [y, a] and [y, b]."""
    own = first.sum(1)
    real = own > 0
    own = own[real]
    rows, columns = (_small(pair[real]) / own[:, None] for pair in (first, second))
    q = rows[:, :, None] * columns[:, None, :]
    best, value = -np.inf, np.inf
    across = np.ones_like(columns)
    for step in range(_STEPS):
        r = np.tensordot(own, q, 1)
        for _ in range(200):  # both margins of r * up * across
            up = rows / np.maximum(np.einsum("ab,yb->ya", r, across), _FLOOR)
            sums = np.einsum("ab,ya->yb", r, up)
            off = np.abs(sums * across - columns).max()
            across = columns / np.maximum(sums, _FLOOR)
            if off < 1e-13:
                break
        q = r * up[:, :, None] * across[:, None, :]
        if step % 20 == 0:
            value = _bits(q, own)
            best = max(best, _below(rows, columns, up, across, own))
            if value - best < _FINE:
                break
    return value, value - best


def _small(joint: NDArray) -> NDArray:
    """The pair (target, source) [y, n] with fewer values of the source.

    Values that say the same of the target can be one: neither the pairs nor the least informative
    distribution change by it.
    """
    joint = joint[:, joint.sum(0) > 0]
    _, same = np.unique(np.round(joint / joint.sum(0), 12), axis=1, return_inverse=True)
    merged = np.zeros((int(same.max()) + 1, len(joint)))
    np.add.at(merged, same.ravel(), joint.T)
    return merged.T


def _bits(q: NDArray, own: NDArray) -> float:
    """Mutual information of the target and both sources under q(a, b | y) [y, a, b]."""
    joint = q * own[:, None, None]
    return mutual((joint / joint.sum()).reshape(len(own), -1))


def _below(rows: NDArray, columns: NDArray, up: NDArray, across: NDArray, own: NDArray) -> float:
    """A lower bound in bits, of any positive potentials.

    By duality: sum_y p(y) [E log up + E log across] - log max over (a, b) of
    sum_y p(y) up(y, a) across(y, b).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.where(rows > 0, rows * np.log(np.maximum(up, _FLOOR)), 0).sum(1)
        total = total + np.where(columns > 0, columns * np.log(np.maximum(across, _FLOOR)), 0).sum(
            1
        )
    highest = np.einsum("y,ya,yb->ab", own, up, across).max()
    return float((own @ total - np.log(highest)) / np.log(2))
