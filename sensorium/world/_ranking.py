"""Floors and ceilings of retrieval: how often the right one is among the first k of a gallery.

Right is the own record, and any with the very same text. A picture can also fit a text that is not
the same: "a cat left of a dog" and "a dog right of a cat" describe one picture, and so do two
languages or wordings. Nothing in a picture tells these apart, so the best player ranks all that fit
in any order, first. With R right ones and W others that fit among n,

    best = E[1 - C(W, k) / C(R + W, k)],    chance = E[1 - C(n - R, k) / C(n, k)],

where R - 1 and W count the n - 1 other records, drawn alike: exact sums over both binomials.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sensorium.world._setting import Setting
from sensorium.world._support import support

_TAIL = 1e-13


def retrieval(
    setting: Setting, split: str, way: str, k: int, gallery: int, mixed: bool = True
) -> dict[str, float] | None:
    """Floors of one direction.

    Args:
        setting: of the world.
        split: one of `setting.splits`.
        way: `text_to_image` or `image_to_text`; by symmetry both have the same floors.
        k: how many of the first count.
        gallery: records, the asking one among them.
        mixed: whether the texts are the column `caption`, with its mix of languages; else they are
            all in one language.

    Returns:
        {chance, best_image_only, best_text_only, best_sum, best_possible}, or None where a text
        tells of what its picture does not show, and that depends on what it shows. Who sees one
        side alone has nothing to compare, and a sum of two scores ranks alike for every query.
    """
    hidden_side = [name for name in setting.mentions if name not in setting.shown]
    tied = set(setting.label.of) if setting.label and setting.label.rule == "equality" else set()
    tied |= set(setting.split.over)
    if tied & set(hidden_side) or setting.hiding or not 0 < k <= gallery:
        return None
    listed = support(setting, split)
    text = listed.code(setting.mentions)
    seen = listed.pictured(tuple(x for x in setting.mentions if x in setting.shown))
    share = np.bincount(text, listed.weight)
    fits = np.bincount(seen, listed.weight)
    forms = list(setting.languages.values()) if mixed else [1.0]
    pairs, same = np.unique(
        np.stack([share[text], fits[seen]]).round(15), axis=1, return_inverse=True
    )
    chance = best = 0.0
    for (own, alike), weight in zip(
        pairs.T.tolist(), np.bincount(same.ravel(), listed.weight).tolist(), strict=True
    ):
        for form in forms:
            luck, found = _expected(own * form / setting.wordings, alike, gallery, k)
            chance += weight * form * luck
            best += weight * form * found
    if split == "train":  # a wrong text is about none of the pictures
        best = (1 - setting.wrong_pairs) * best + setting.wrong_pairs * chance
    return {
        "chance": chance,
        "best_image_only": chance,
        "best_text_only": chance,
        "best_sum": chance,
        "best_possible": best,
    }


@lru_cache(maxsize=4096)
def _expected(own: float, alike: float, gallery: int, k: int) -> tuple[float, float]:
    """(chance, best) of a query whose text each other record has with probability `own`, and whose
    meaning each has with probability `alike`."""
    others = gallery - 1
    counts, weights = _binomial(others, own)
    chance = float(weights @ (1 - _none(others - counts, gallery, k)))
    rest = min(max((alike - own) / (1 - own), 0.0), 1.0) if own < 1 else 0.0
    best = 0.0
    for more, weight in zip(counts.tolist(), weights.tolist(), strict=True):
        wrong, chances = _binomial(others - more, rest)
        best += weight * float(chances @ (1 - _none(wrong, wrong + 1 + more, k)))
    return chance, best


def _none(wrong: NDArray, total: NDArray | int, k: int) -> NDArray[np.float64]:
    """The probability that the first k of a random order of `total` are all among the wrong."""
    found = np.ones(len(wrong))
    for at in range(k):
        found *= np.clip(wrong - at, 0, None) / np.maximum(total - at, 1)
    return found


def _binomial(n: int, p: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Counts and their probabilities, but for tails of less than `_TAIL` in all."""
    if p <= 0 or p >= 1 or n == 0:
        return np.array([n if p >= 1 else 0]), np.ones(1)
    counts = np.arange(n + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    found = np.exp(logs[n] - logs - logs[::-1] + counts * np.log(p) + (n - counts) * np.log1p(-p))
    keep = found > _TAIL / (n + 1)
    return counts[keep], found[keep] / found[keep].sum()
