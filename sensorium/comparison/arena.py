"""The data of a comparison, ready for all of its runs: read once a process, prepared once.

Every arm sees the same records in the same splits; what a run folder would hold of them (splits,
contents) is written once under `data/` and linked into each run.
"""

from __future__ import annotations

import functools
import json
import math
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sensorium import cache, draws, files, reading
from sensorium.comparison.plan import Plan, World
from sensorium.errors import DataError
from sensorium.finetuning.splitting import place_of
from sensorium.prepare import Column, Reader, column
from sensorium.recipe import Recipe
from sensorium.records import Field, Record, Records
from sensorium.run import Run

MOST = {"validation": 1000, "test": 4000}  # items that an outcome is measured on
SHARED = ("splits.json", "contents.json")
_KEPT: dict[tuple[str, str], Arena] = {}


def place(plan: Plan) -> str:
    """Where the plan's data is: its name, an absolute path, or the folder of the made world.

    A world is made when it is first asked for, into the cache, by the hash of all that it is.

    Raises:
        DataError, RecipeError: the data or the setting is not as expected.
    """
    if not isinstance(plan.data, World):
        return place_of(plan.data)
    from sensorium.world import _making, _setting

    changes = [f"{key}={json.dumps(value)}" for key, value in plan.data.set.items()]
    setting = _setting.load(plan.data.world, changes)
    # `scenes` of a plan are those of training; validation and test come on top.
    total = math.ceil(plan.data.scenes / (1 - 2 * _making.SHARE))
    folder = cache.folder("worlds") / f"{setting.name}-{setting.hash[:16]}-{total}-{plan.data.seed}"
    if not folder.exists():
        _making.make(setting, total, plan.data.seed, folder, workers=os.cpu_count() or 1)
    return str(folder)


@dataclass(eq=False)
class Arena:
    """Records with splits, and their columns as different recipes read them.

    Attributes:
        folder: of the comparison.
        data: where the records were read.
        records: of all splits that take part.
    """

    folder: Path
    data: str
    records: Records
    _readers: dict[tuple[str, Field], Reader] = field(default_factory=dict)
    _columns: dict[tuple[str, Field, str], Column] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, folder: Path, recipe: Recipe) -> Arena:
        """The arena for a recipe; read once a process for all recipes that need the same.

        Raises:
            DataError: the data cannot be read.
        """
        needed = (*recipe.modalities, *recipe.targets)
        key = (str(folder), json.dumps([plan.hash, *needed]))
        if key not in _KEPT:
            data = place(plan)
            records = reading.read(data, plan.fields, train=needed)
            _KEPT[key] = cls(folder, data, records)
        return _KEPT[key]

    def reader(self, recipe: Recipe, modality: str, where: Field) -> Reader:
        """Who reads a modality as a recipe says, fitted on the training split's field `where`."""
        made = Reader(recipe, modality)
        key = (made.key, where)
        if key not in self._readers:
            train = [self.records[at] for at in self.records.positions("train")]
            made.modality.fit(train, where)
            self._readers[key] = made
        return self._readers[key]

    def column(self, reader: Reader, where: Field, split: str = "") -> Column:
        """A field of all records, or of those of a split that an outcome is measured on.

        Raises:
            DataError: more than a tenth of the records cannot be read.
        """
        key = (reader.key, where, split)
        if key not in self._columns:
            asked = self.asked(split) if split else self.records.records
            made, bad = column(reader, asked, where)
            if len(bad) > 0.1 * len(asked):
                raise DataError(
                    file=self.data, field=str(where), expected="at most 10 % that cannot be read",
                    found=f"{len(bad)} of {len(asked)}; first: {bad[0]}",
                )  # fmt: skip
            self._columns[key] = made
        return self._columns[key]

    @functools.cache  # noqa: B019 - an arena lives as long as its process
    def asked(self, split: str) -> list[Record]:
        """The records of a split that an outcome is measured on: all, or a sample by key."""
        whole = [self.records[at] for at in self.records.positions(split)]
        most = MOST[split]
        chosen = draws.sample([x.key for x in whole], most, "comparison", split)
        return [whole[at] for at in chosen]

    def equip(self, run: Run) -> None:
        """Gives a run its records and fitted readers, and its folder what it must hold of them."""
        run._records = self.records
        for name in (*run.recipe.modalities, *run.recipe.targets):
            run._readers[name] = self.reader(run.recipe, name, run.field(name))

    def share(self, run: Run, columns: dict[str, Column]) -> None:
        """Writes what the run's folder holds of the data; equal files are one file on disk."""
        from sensorium.pretraining import contents_of

        shared = self.folder / "data"
        shared.mkdir(parents=True, exist_ok=True)
        told: dict[str, Any] = {
            "splits.json": lambda: {record.key: record.split for record in self.records},
            "contents.json": lambda: contents_of(self.records, columns),
        }
        for name, make in told.items():
            if (run.folder / name).exists():
                continue
            kind = "" if name == "splits.json" else "-" + "-".join(columns).replace("#", "_")
            kept = shared / name.replace(".json", f"{kind}.json")
            if not kept.exists():
                files.write_json(kept, make())
            try:
                os.link(kept, run.folder / name)
            except OSError:  # another file system, or one without links
                shutil.copyfile(kept, run.folder / name)
