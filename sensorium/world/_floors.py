"""Floors and ceilings of every question a world can ask, by counting over its combinations.

A **player** knows the world and answers as well as what he sees allows (Bayes). What he scores is
exact: no model does better with as much to see, and no sampling enters.

- `chance`: any answer, drawn. `majority`: always the most frequent one.
- `best_image_only`, `best_text_only`, `best_table_only`: a player who sees one modality.
- `best_sum`: the best sum of one score per modality; `best_sum_fitted`: the one that log loss finds
  (see `_additive`).
- `best_possible`: a player who sees everything.

In training a share w of the texts belongs to another scene: `_views` mixes them in, and a forced
choice is then luck, as the twin is as likely as the text, so the best is 1 - w / 2. Where a share
m of the records lacks a modality, one by one, a score is the mean over what is there, each set S of
modalities weighing prod(1 - m_i, i in S) prod(m_i, i not in S). Choices and retrieval are asked of
whole records.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.world import _asking
from sensorium.world._additive import additive
from sensorium.world._ranking import retrieval
from sensorium.world._setting import Setting
from sensorium.world._support import MOST, Support, coded, support
from sensorium.world._views import right, views

Scores = dict[str, float]
CUTS = (1, 5, 10)
_SWAPS = {"colours": ("colour",), "roles": ("kind", "colour", "size")}
_LEAST = 1e-12


def floors(setting: Setting, counts: dict[str, int] | None = None) -> dict[str, Any]:
    """All floors of a world.

    Args:
        setting: of the world.
        counts: records of each split, which is the gallery of retrieval; without them, none.

    Returns:
        {split: {question: {floor: share of right answers}}}; the questions are `label`,
        `choice:colours`, `choice:roles`, `choice:random`, `probe:FACTOR`, `question`,
        `question:FORM` (see `_asking`), and `retrieval:text_to_image@K`,
        `retrieval:image_to_text@K`. What cannot be asked, or has too many combinations to count,
        is not there.
    """
    return {split: _split(setting, split, (counts or {}).get(split)) for split in setting.splits}


def _split(setting: Setting, split: str, gallery: int | None) -> dict[str, Scores]:
    found: dict[str, Scores] = {}
    asked = {"label": "label"} if setting.label else {}
    asked |= {f"probe:{name}": name for name, values in setting.factors.items() if len(values) > 1}
    for question, of in asked.items():
        try:
            found[question] = told(setting, split, of)
        except ValueError:  # too many combinations to list
            continue
    with suppress(ValueError):
        found |= _asking.floors(setting, split) if "question" in setting.emit else {}
    try:
        for name in (*_SWAPS, "random") if "twins" in setting.emit else ():
            if (scores := choice(setting, split, name)) is not None:
                found[f"choice:{name}"] = scores
        for way, k in product(("text_to_image", "image_to_text"), CUTS):
            if gallery and (scores := retrieval(setting, split, way, k, gallery)) is not None:
                found[f"retrieval:{way}@{k}"] = scores
    except ValueError:
        pass
    return found


def told(setting: Setting, split: str, of: str = "label") -> Scores:
    """Floors of telling the label, or one factor (a probe), from what is there.

    Raises:
        ValueError: too many combinations to count.
    """
    seen = views(setting, split, of)
    own = {
        "image": seen.image,
        "text": seen.text,
        **({"table": seen.table} if setting.table else {}),
    }
    majority = float(np.bincount(seen.target, seen.weight).max())
    scores = {"chance": 1 / seen.values, "majority": majority}
    for name, column in own.items():
        share = dict(setting.missing)[name]
        scores[f"best_{name}_only"] = (1 - share) * right(seen, column) + share * majority
    best = sum_best = sum_fitted = 0.0
    exact, known = True, of == "label" and not (split == "train" and setting.wrong_pairs)
    for there, weight in _present(setting, tuple(own)):
        joint = right(seen, *(own[name] for name in there))
        best += weight * joint
        if known and {"image", "text"} <= set(there):
            single = max(right(seen, own[name]) for name in there)
            found = additive(setting, split, single, joint)
            if "table" in there and joint - single >= _LEAST:
                found = replace(found, best=joint, exact=False, fitted=None)
            exact &= found.exact
            sum_best += weight * found.best
            sum_fitted += weight * (np.nan if found.fitted is None else found.fitted)
        else:
            sum_best += weight * joint
            sum_fitted += weight * joint
    if known:
        scores["best_sum" if exact else "best_sum_at_most"] = sum_best
        if not np.isnan(sum_fitted):
            scores["best_sum_fitted"] = float(sum_fitted)
    return _rounded(scores | {"best_possible": best})


def _rounded(scores: Scores) -> Scores:
    """Without what adding up has left in the last digits: 1, not 0.9999999999999998."""
    return {name: round(value, 12) for name, value in scores.items()}


def _present(setting: Setting, names: tuple[str, ...]) -> list[tuple[tuple[str, ...], float]]:
    """Each set of modalities that a record can have, with its probability."""
    shares = dict(setting.missing)
    found = []
    for has in product((True, False), repeat=len(names)):
        pairs = list(zip(names, has, strict=True))
        weight = float(np.prod([1 - shares[x] if there else shares[x] for x, there in pairs]))
        if weight:
            found.append((tuple(x for x, there in pairs if there), weight))
    return found


def choice(setting: Setting, split: str, name: str) -> Scores | None:
    """Floors of choosing between the own text and a twin, one of `colours`, `roles`, `random`.

    None where there is no such twin. A picture says nothing without texts, and a sum of scores is
    the text's score: the picture's is the same for both.
    """
    share = 1 - setting.wrong_pairs if split == "train" else 1.0
    even = {"chance": 0.5, "majority": 0.5, "best_image_only": 0.5}
    listed = support(setting, split)
    if name == "random":
        # Own and strange texts are drawn alike: which is which, the texts do not say.
        if set(setting.hiding) & set(setting.mentions) or _one(setting, listed):
            return None
        best = 1.0 if set(setting.mentions) <= set(setting.shown) else _strange(setting, listed)
        return even | {
            "best_text_only": 0.5,
            "best_sum": 0.5,
            "best_possible": 0.5 + (best - 0.5) * share,
        }
    swapped = _swapped(setting, listed, name)
    if swapped is None:
        return None
    n = len(listed.weight)
    joined = {key: np.concatenate([column, swapped[key]]) for key, column in listed.index.items()}
    both = replace(
        listed,
        index=joined,
        weight=np.concatenate([listed.weight, listed.weight]),
        ordered=listed.ordered and "relation" in setting.mentions,
    )
    meaning = both.pictured(setting.mentions)
    text = both.code(setting.mentions)
    false = meaning[:n] != meaning[n:]
    if not false.any():
        return None
    own, twin, weight = text[:n][false], text[n:][false], listed.weight[false]
    pair = coded([np.minimum(own, twin), np.maximum(own, twin)], len(own))
    sides = [
        np.bincount(pair, weight * side, int(pair.max()) + 1) for side in (own < twin, own > twin)
    ]
    text_only = float(np.maximum(*sides).sum() / weight.sum())
    return even | {
        "best_text_only": text_only,
        "best_sum": text_only,
        "best_possible": 0.5 + 0.5 * share,
    }


def _strange(setting: Setting, listed: Support) -> float:
    """How often who sees the picture knows the own text from another scene's of another meaning,
    where texts tell of what pictures do not show: by which is the likelier beside the picture.

    Raises:
        ValueError: too many combinations to count.
    """
    image, text = listed.pictured(setting.shown), listed.code(setting.mentions)
    shape = int(image.max()) + 1, int(text.max()) + 1
    if shape[0] * shape[1] > MOST:
        raise ValueError(f"{shape[0]} pictures beside {shape[1]} texts")
    joint = np.bincount(image * shape[1] + text, listed.weight, shape[0] * shape[1]).reshape(shape)
    # Pictures that say the same of the text can be one.
    _, same = np.unique(
        (joint / joint.sum(1, keepdims=True)).round(12), axis=0, return_inverse=True
    )
    merged = np.zeros((int(same.max()) + 1, shape[1]))
    np.add.at(merged, same.ravel(), joint)
    if len(merged) * shape[1] ** 2 > MOST:
        raise ValueError(f"{shape[1]} texts beside as many")
    own = merged[:, :, None] * merged.sum(0)  # [picture, own text, strange text]
    found = np.maximum(own, own.transpose(0, 2, 1)) / 2
    off = 1 - np.eye(shape[1])
    return float((found * off).sum() / (own * off).sum())


def _one(setting: Setting, listed: Support) -> bool:
    """Whether all texts mean the same."""
    return bool(listed.code(setting.mentions).max() == 0)


def _swapped(setting: Setting, listed: Support, name: str) -> dict[str, NDArray] | None:
    """The index of each combination with the things' mentioned factors swapped, or None."""
    asked = {"colours": ("colour_1", "colour_2"), "roles": ("kind_1", "kind_2")}[name]
    if setting.things != 2 or setting.hiding or not set(asked) <= set(setting.mentions):
        return None
    made = dict(listed.index)
    for what in _SWAPS[name]:
        one, two = f"{what}_1", f"{what}_2"
        if {one, two} <= set(listed.index):
            made[one], made[two] = listed.index[two], listed.index[one]
    return made
