"""What the data of a plan hold, told before anything runs: fields, modalities, floor and ceiling.

A made world need not be made for it: its setting says which columns it will have, and what is best
possible is counted. Other data are read as training would read them. No torch is loaded.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from sensorium import reading
from sensorium.comparison.measure import Measure
from sensorium.errors import DataError, nearest
from sensorium.records import Records

# What a world emits -> the modality that is read of it.
_EMITTED = {"image": "image", "caption": "text", "table": "table"}
Bounds = tuple[float, float]


@dataclass(frozen=True)
class Contents:
    """The data of a plan.

    name: of the data set or setting. fields: all that a record has. train: records of that split.
    bounds: outcome -> (what no skill gives, the best possible) on the test split; where nobody
    knows, (0, 1).
    """

    name: str
    fields: tuple[str, ...]
    train: int
    bounds: Callable[[Measure], Bounds]


def of_data(data: str, fields: dict[str, str] | None, needed: tuple[str, ...]) -> Contents:
    """The contents of a data set, by its name or path.

    Args:
        data: its name or path.
        fields: field -> modality, as of `reading.read`.
        needed: the modalities and targets that recipes read.

    Raises:
        DataError: it cannot be read, or lacks what is needed.
    """
    records = reading.read(data, fields, train=needed)
    held = tuple(dict.fromkeys(name for record in records for name in record.fields))
    for name in needed:
        records.field_of(name)
    return Contents(
        records.name, held, len(records.positions("train")), lambda asked: _counted(records, asked)
    )


def of_world(
    name: str,
    scenes: int,
    changes: dict[str, object],
    fields: dict[str, str] | None,
    needed: tuple[str, ...],
) -> Contents:
    """The contents of a world that is not made yet.

    Args:
        name: of its setting.
        scenes: of the training split.
        changes: what differs from the setting.
        fields, needed: as of `of_data`.

    Raises:
        RecipeError: no such setting, or one changed into what cannot be.
        DataError: it lacks what is needed.
    """
    from sensorium.world import _making, _setting

    setting = _setting.load(name, [f"{key}={json.dumps(value)}" for key, value in changes.items()])
    facts = _making.facts(setting)
    held = tuple(_making.schema(setting.model_dump_json()).names)
    given = {_EMITTED[member] for member in setting.emit if member in _EMITTED}
    given |= {"label"} if setting.label else set()
    for field in fields or {}:
        if field not in held:
            raise DataError(file=f"world {name}", field=field, found="no such field",
                            expected="one of " + ", ".join(held),
                            nearest=nearest(field, held))  # fmt: skip
    given |= set((fields or {}).values())
    for modality in needed:
        if modality not in given:
            raise DataError(
                f"world {name}",
                expected=f"{modality}, which the recipe reads",
                found=", ".join(sorted(given)),
            )
    tested = math.ceil(scenes / (1 - 2 * _making.SHARE) * _making.SHARE)

    def bounds(asked: Measure) -> Bounds:
        from sensorium.world import _floors

        try:
            if asked.kind == "choice":
                twin = str(asked.name).removeprefix("caption_")
                scores = _floors.choice(setting, "test", twin) if "twins" in setting.emit else None
            elif asked.kind == "accuracy":
                scores = _floors.told(setting, "test") if asked.name == "label" else None
            elif asked.kind == "probe" and asked.name in facts:
                scores = _floors.told(setting, "test", facts[str(asked.name)])
            else:
                scores = None
        except ValueError:  # too many combinations to count
            scores = None
        if asked.kind == "retrieval":
            return min(1.0, (asked.first or 1) / tested), 1.0
        if scores is None:
            return asked.chance or 0.0, 1.0
        return max(scores["chance"], scores["majority"]), min(1.0, scores["best_possible"])

    return Contents(f"world {name}", held, scenes, bounds)


def _counted(records: Records, asked: Measure) -> Bounds:
    """Of the test split: the commonest class's share, or the share of the gallery that is found."""
    tested = [records[at] for at in records.positions("test")]
    if asked.kind == "retrieval" and tested:
        return min(1.0, (asked.first or 1) / len(tested)), 1.0
    if asked.kind not in ("accuracy", "probe"):
        return asked.chance or 0.0, 1.0
    field = str(asked.name)
    if asked.kind == "accuracy":
        field = next((x for x, kind in records.fields.items() if kind == field), field)
    values = [str(x) for record in tested if (x := record.fields.get(field)) not in (None, "", [])]
    return (Counter(values).most_common(1)[0][1] / len(values) if values else 0.0), 1.0
