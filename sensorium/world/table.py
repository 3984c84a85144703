"""The table row beside a scene: copies of factors, each right with a stated probability."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from sensorium import draws
from sensorium.draws import Key
from sensorium.world._scene import HIDDEN, Scene
from sensorium.world._setting import Setting

SUMMARY = "table fields that copy factors: categories, numbers, truth values, texts, empty cells"
_TYPES = {
    "category": pa.string(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "text": pa.string(),
}


def columns(setting: Setting) -> dict[str, pa.DataType]:
    """One column for each of `setting.table`, of the type of its form."""
    return {name: _TYPES[column.form] for name, column in setting.table.items()}


def emit(scene: Scene, setting: Setting, key: tuple[Key, ...]) -> dict[str, Any]:
    """The cells of one record.

    A category is the factor's value; a number its place among the values, from 1; a truth value
    whether it is the second of two; a text a short note with the value in it. Empty where the
    setting's `blank` draws it, and where the factor is hidden.
    """
    row: dict[str, Any] = {}
    for name, column in setting.table.items():
        truth = scene.facts[column.of]
        values = setting.factors[column.of]
        if truth not in values and truth != HIDDEN:  # the split with kinds of its own
            values = setting.unseen
        if truth == HIDDEN or (
            column.blank and draws.uniform(*key, "table", name, "blank") < column.blank
        ):
            row[name] = None
        else:
            row[name] = _cell(column.form, _copy(truth, values, column.reliability, key, name),
                              values)  # fmt: skip
    return row


def _copy(
    truth: str, values: tuple[str, ...], reliability: float, key: tuple[Key, ...], name: str
) -> str:
    """The truth with probability `reliability`, else any other value."""
    if len(values) < 2 or draws.uniform(*key, "table", name, "right") < reliability:
        return truth
    others = [value for value in values if value != truth]
    return others[int(draws.uniform(*key, "table", name, "wrong") * len(others))]


def _cell(form: str, value: str, values: tuple[str, ...]) -> str | float | bool:
    if form == "number":
        return float(values.index(value) + 1)
    if form == "boolean":
        return values.index(value) == 1
    if form == "text":
        return f"somebody noted {value.replace('_', ' ')}"
    return value
