"""Which combinations of factors a split holds, and how likely each is: drawn one by one, or listed.

Both read the same rules, so what is counted over the list holds of what is drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.world._scene import HIDDEN
from sensorium.world._setting import Setting

TEST, VALIDATION = 0, 1  # remainders of a split's sum; all others are train
MOST = 4_000_000  # combinations that are listed
_THING = ("kind", "colour", "size")
_TRIES = 64  # combinations that are drawn at once


def options(setting: Setting, split: str) -> dict[str, tuple[str, ...]]:
    """Factor -> its values in a split: the split `unseen` has kinds of its own."""
    if split != "unseen":
        return setting.factors
    return {
        name: setting.unseen if name.startswith("kind_") else values
        for name, values in setting.factors.items()
    }


def belongs(setting: Setting, split: str, index: dict[str, NDArray]) -> NDArray[np.bool_]:
    """Which combinations a split holds, bool [n].

    Args:
        setting: of the world.
        split: one of `setting.splits`.
        index: factor -> index of its value, int [n]; a factor of one value may be missing.
    """
    held = np.ones(len(next(iter(index.values()))), bool)
    if setting.things == 2 and setting.distinct:
        for name in ("kind", "colour"):
            if f"{name}_1" in index and f"{name}_2" in index:
                held &= index[f"{name}_1"] != index[f"{name}_2"]
    if split == "unseen":
        return held
    total = sum(
        (index[name].astype(np.int64) for name in setting.split.over if name in index),
        np.zeros(len(held), np.int64),
    )
    remainder = total % setting.split.modulo
    if split == "train":
        return held & (remainder != TEST) & (remainder != VALIDATION)
    return held & (remainder == {"test": TEST, "validation": VALIDATION}[split])


def draw(setting: Setting, split: str, rng: np.random.Generator) -> dict[str, int]:
    """One combination: factor -> index of its value."""
    values = options(setting, split)
    highs = np.array([len(its) for its in values.values()])
    names = list(values)
    equal = setting.label.of if setting.label and setting.label.rule == "equality" else ()
    while True:
        drawn = rng.integers(highs, size=(_TRIES, len(highs)))
        if equal:  # half of them have the same index, the others another one
            first, second = (names.index(name) for name in equal)
            count = highs[first]
            step = rng.integers(1, count, size=_TRIES) * rng.integers(2, size=_TRIES)
            drawn[:, second] = (drawn[:, first] + step) % count
        held = np.flatnonzero(belongs(setting, split, dict(zip(names, drawn.T, strict=True))))
        if len(held):
            return dict(zip(names, drawn[held[0]].tolist(), strict=True))


def parts(setting: Setting, index: dict[str, NDArray]) -> list[tuple[NDArray, int]]:
    """The components of the label of each combination: (value int [n], number of values)."""
    rule = setting.label.rule if setting.label else None
    if rule == "equality":
        first, second = (index[name] for name in setting.label.of)  # type: ignore[union-attr]
        return [((first == second).astype(np.int64), 2)]
    if rule == "bits":
        return [
            (np.sum([index[name].astype(np.int64) for name in carriers], 0) % modulo, modulo)
            for carriers, modulo in setting.components.values()
        ]
    return []


def label(setting: Setting, split: str, index: dict[str, int]) -> str | None:
    """The label of one combination, as it is written; None where the setting has none."""
    if setting.label is None:
        return None
    if setting.label.rule == "factor":
        name = setting.label.of[0]
        return options(setting, split)[name][index[name]]
    values = [int(value[0]) for value, _ in parts(setting, _arrays(index))]
    if setting.label.rule == "equality":
        return ("no", "yes")[values[0]]
    return "-".join(map(str, values))


def _arrays(index: dict[str, int]) -> dict[str, NDArray]:
    return {name: np.array([value]) for name, value in index.items()}


def coded(columns: list[NDArray], count: int, plain: bool = False) -> NDArray[np.int64]:
    """Rows of columns of small whole numbers from -1, each [count], as numbers: int64 [count].

    Equal rows get the same number. They count from 0 without gaps, unless `plain`: then the number
    depends on the row alone, not on which others there are.
    """
    made = np.zeros(count, np.int64)
    for column in columns:
        shifted = column.astype(np.int64) + 1
        made = made * (128 if plain else int(shifted.max()) + 1) + shifted
    return made if plain else np.unique(made, return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class Support:
    """A split's combinations of those factors that matter, each with its probability.

    index: factor -> index of its value, int16 [cells]; what is hidden has the index -1.
    weight: float64 [cells], sums to 1.
    label: the label's number, int64 [cells]; None where the setting has none.
    labels: how many labels there are.
    ordered: whether the picture shows which of two things is the first.
    """

    index: dict[str, NDArray]
    weight: NDArray[np.float64]
    label: NDArray[np.int64] | None
    labels: int
    ordered: bool = False

    def code(self, names: list[str] | tuple[str, ...]) -> NDArray[np.int64]:
        """What somebody sees who sees these factors, as a number from 0: int64 [cells].

        Factors of one value, or that do not matter, add nothing.
        """
        return coded([self.index[name] for name in names if name in self.index], len(self.weight))

    def pictured(self, shown: tuple[str, ...]) -> NDArray[np.int64]:
        """What the picture shows, as a number from 0: int64 [cells].

        A picture does not say which of two things is the first: "a cat left of a dog" and "a dog
        right of a cat" look the same. So the things count as the nearer to the upper left and the
        other, or, where nothing is known of how they stand, without an order.
        """
        own = {name: self.index[name].astype(np.int64) for name in shown if name in self.index}
        if "kind_2" not in shown or self.ordered:
            return coded(list(own.values()), len(self.weight))
        empty = np.zeros(len(self.weight), np.int64)
        pair = [
            coded([own.get(f"{what}_{at}", empty) for what in _THING], len(self.weight), True)
            for at in (1, 2)
        ]
        relation = own.get("relation")
        turned = pair[0] > pair[1] if relation is None else relation % 2 == 1
        near, far = np.where(turned, pair[::-1], pair)
        rest = [column for name, column in own.items() if name[:-2] not in _THING]
        rest = [column // 2 if column is relation else column for column in rest]
        return coded([near, far, *rest], len(self.weight))


def support(setting: Setting, split: str, also: tuple[str, ...] = ()) -> Support:
    """All combinations of a split.

    Left out are factors that nobody asks for or is told and that no rule binds: independent and
    uniform, they change nothing.

    Args:
        setting: of the world.
        split: one of `setting.splits`.
        also: further factors to list.

    Raises:
        ValueError: more than `MOST` combinations.
    """
    values = options(setting, split)
    names = [name for name in values if name in _mattering(setting, also) and len(values[name]) > 1]
    sizes = [len(values[name]) for name in names]
    hiding = {name: share for name, share in setting.hiding.items() if name in names}
    if math.prod(sizes) * 2 ** len(hiding) > MOST:
        raise ValueError(f"{math.prod(sizes)} combinations of {names}")
    grid = np.unravel_index(np.arange(math.prod(sizes)), sizes) if sizes else ()
    index = {name: column.astype(np.int16) for name, column in zip(names, grid, strict=True)}
    if not index:
        return Support({}, np.ones(1), None, 0)
    held = belongs(setting, split, index)
    index = {name: column[held] for name, column in index.items()}
    weight = _weights(setting, index)
    told, count = _labels(setting, split, index)
    for name, share in hiding.items():
        index = {key: np.concatenate([column, column]) for key, column in index.items()}
        index[name][len(weight) :] = -1
        weight = np.concatenate([weight * (1 - share), weight * share])
        told = None if told is None else np.concatenate([told, told])
    return Support(index, weight, told, count, setting.relations == 1)


def _mattering(setting: Setting, also: tuple[str, ...]) -> set[str]:
    found = {*setting.mentions, *setting.split.over, *also}
    found |= {column.of for column in setting.table.values()}
    found |= set(setting.label.of) if setting.label else set()
    found |= {name for carriers, _ in setting.components.values() for name in carriers}
    if setting.things == 2 and setting.distinct:
        for name in ("kind", "colour"):
            if found & {f"{name}_1", f"{name}_2"}:
                found |= {f"{name}_1", f"{name}_2"}
    return found


def _weights(setting: Setting, index: dict[str, NDArray]) -> NDArray[np.float64]:
    """The probability of each listed combination, float64 [cells]."""
    weight = np.ones(len(next(iter(index.values()))))
    if setting.label and setting.label.rule == "equality":
        first, second = setting.label.of
        # Of n values one is equal and n - 1 are not, and each case is drawn half of the time.
        weight[index[first] == index[second]] = len(setting.factors[first]) - 1
    return weight / weight.sum()


def _labels(
    setting: Setting, split: str, index: dict[str, NDArray]
) -> tuple[NDArray[np.int64] | None, int]:
    if setting.label is None:
        return None, 0
    if setting.label.rule == "factor":
        name = setting.label.of[0]
        count = len(options(setting, split)[name])
        if name not in index:
            return np.zeros(len(next(iter(index.values()))), np.int64), 1
        return index[name].astype(np.int64), count
    made, count = np.zeros(1, np.int64), 1
    for value, modulo in parts(setting, index):
        made, count = made * modulo + value, count * modulo
    return made, count


def hidden(setting: Setting, rng: np.random.Generator, facts: dict[str, str]) -> None:
    """Takes away, in place, what a record's draws hide."""
    for name, share in setting.hiding.items():
        if rng.random() < share:
            facts[name] = HIDDEN
