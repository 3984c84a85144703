"""What each modality shows of a split's combinations, and how often: the ground of all counting.

A table is read through its channel, and in training a share w of the records has another's text and
table:

    p(label, picture, told) = (1 - w) p0(label, picture, told) + w p0(label, picture) p0(told)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.world._setting import Setting, TableColumn
from sensorium.world._support import MOST, Support, coded, options, support


@dataclass(frozen=True)
class Views:
    """Cases with their probability, and what is to be seen in each, as numbers from 0.

    target, image, text, table: int64 [cells]; one that shows nothing is 0 throughout.
    weight: float64 [cells], sums to 1.
    values: how many values the target can have; those that a split never has among them.
    """

    target: NDArray[np.int64]
    image: NDArray[np.int64]
    text: NDArray[np.int64]
    table: NDArray[np.int64]
    weight: NDArray[np.float64]
    values: int


def views(setting: Setting, split: str, of: str = "label") -> Views:
    """What is seen beside the label, or beside one factor.

    Args:
        setting: of the world.
        split: one of `setting.splits`.
        of: `label`, or the name of a factor.

    Raises:
        ValueError: more than `MOST` cases.
    """
    partner = {"1": "2", "2": "1"}.get(of[-1], "")
    also = () if of == "label" else (of, of[:-1] + partner)
    listed = support(setting, split, also)
    if of == "label":
        assert listed.label is not None, "the setting has a label"
        target, values = listed.label, listed.labels
    else:
        target = listed.index.get(of, np.zeros(len(listed.weight))).astype(np.int64)
        values = max(len(options(setting, split)[of]), 1)
        target = np.where(target < 0, values, target)  # hidden: a value of its own
        values += of in setting.hiding
    columns = [target, listed.pictured(setting.shown), listed.code(setting.mentions)]
    columns += [_true(listed, column.of) for column in setting.table.values()]
    columns, weight = grouped(columns, listed.weight)
    for at, column in enumerate(setting.table.values(), 3):
        columns, weight = _read(columns, weight, at, column, setting, split)
    target, image, text, *fields = columns
    told = coded(fields, len(weight)) if fields else np.zeros(len(weight), np.int64)
    if split == "train" and setting.wrong_pairs:
        target, image, text, told, weight = _wrong(
            target, image, text, told, weight, setting.wrong_pairs
        )
    return Views(target, image, text, told, weight, values)


def right(seen: Views, *columns: NDArray) -> float:
    """How often who sees these columns, and nothing else, can be right about the target."""
    view = coded(list(columns), len(seen.weight))
    cell, same = np.unique(view * seen.values + seen.target, return_inverse=True)
    weight = np.bincount(same, seen.weight)
    best = np.zeros(int(view.max()) + 1)
    np.maximum.at(best, cell // seen.values, weight)
    return float(best.sum())


def grouped(
    columns: list[NDArray], weight: NDArray[np.float64]
) -> tuple[list[NDArray], NDArray[np.float64]]:
    """Equal rows of whole-numbered columns as one, their weights added."""
    _, first, same = np.unique(coded(columns, len(weight)), return_index=True, return_inverse=True)
    return [column[first] for column in columns], np.bincount(same, weight).astype(np.float64)


def _true(listed: Support, name: str) -> NDArray[np.int64]:
    return listed.index.get(name, np.zeros(len(listed.weight), np.int16)).astype(np.int64)


def _read(
    columns: list[NDArray],
    weight: NDArray[np.float64],
    at: int,
    column: TableColumn,
    setting: Setting,
    split: str,
) -> tuple[list[NDArray], NDArray[np.float64]]:
    """The cases with what a table's field reads in the place of what is true."""
    through = channel(column, len(options(setting, split)[column.of]))
    if len(weight) * through.shape[1] > MOST:
        raise ValueError(f"{len(weight)} cases of {through.shape[1]} readings")
    case, reading = np.nonzero(through[columns[at]])
    read = [whole[case] for whole in columns]
    read[at] = reading
    return grouped(read, weight[case] * through[columns[at][case], reading])


def channel(column: TableColumn, count: int) -> NDArray[np.float64]:
    """p(reading | truth) of a table's field, float64 [values + 1, readings].

    The last reading is an empty cell, the last truth (also -1) a hidden value, which is empty.
    """
    wrong = (1 - column.reliability) / max(count - 1, 1)
    made = np.zeros((count + 1, count + 1))
    made[:count, :count] = wrong
    np.fill_diagonal(made, column.reliability if count > 1 else 1.0)
    made *= 1 - column.blank
    made[:, count] = column.blank
    made[count] = np.eye(count + 1)[count]
    return made


def _wrong(
    target: NDArray,
    image: NDArray,
    text: NDArray,
    table: NDArray,
    weight: NDArray[np.float64],
    share: float,
) -> tuple[NDArray, NDArray, NDArray, NDArray, NDArray[np.float64]]:
    """The cases where a share of the records has what was told of another."""
    (own_target, own_image), own = grouped([target, image], weight)
    (other_text, other_table), other = grouped([text, table], weight)
    if len(own) * len(other) > MOST:
        raise ValueError(f"{len(own)} pictures beside {len(other)} texts")
    rows, columns = np.divmod(np.arange(len(own) * len(other)), len(other))
    joined = [
        np.concatenate(pair)
        for pair in (
            (target, own_target[rows]),
            (image, own_image[rows]),
            (text, other_text[columns]),
            (table, other_table[columns]),
        )
    ]
    both = np.concatenate([weight * (1 - share), own[rows] * other[columns] * share])
    (target, image, text, table), both = grouped(joined, both)
    return target, image, text, table, both
