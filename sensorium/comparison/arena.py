"""The data of a comparison, ready for all of its runs: read once a process, prepared once.

Every arm sees the same records in the same splits; what a run folder would hold of them (splits,
what reading learned) is written once under `data/` and linked into each run.
"""

from __future__ import annotations

import functools
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from sensorium import cache, draws, files, reading
from sensorium.comparison.plan import Plan, World
from sensorium.errors import DataError
from sensorium.finetuning.splitting import place_of
from sensorium.prepare import Column, Reader, column, fields_read, fitted_on
from sensorium.recipe import Recipe
from sensorium.records import Blob, Field, Record, Records
from sensorium.run import Run

LOOK = "look"  # the part of validation that a run is measured on while it trains
MOST = {LOOK: 500, "validation": 1000, "test": 4000}  # items that an outcome is measured on
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
        try:
            _making.make(setting, total, plan.data.seed, folder, workers=os.cpu_count() or 1)
        except DataError:
            if not folder.exists():  # else another process has just made the same
                raise
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
    _readers: dict[Path, Reader] = field(default_factory=dict)
    _columns: dict[tuple[str, Field, str], Column] = field(default_factory=dict)
    _same: set[Path] = field(default_factory=set)

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

    def reader(self, recipe: Recipe, modality: str) -> Reader:
        """Who reads a modality as a recipe says, fitted on the training split; fitted once."""
        made = Reader(recipe, modality)
        kept = self._learned(made, recipe)
        if kept not in self._readers:
            if kept.exists():
                made.modality.load(kept)
            else:
                train = [self.records[at] for at in self.records.positions("train")]
                made.modality.fit(train, fitted_on(recipe, self.records.fields, modality))
                for name, data in made.modality.state().items():
                    kept.mkdir(parents=True, exist_ok=True)
                    files.write_bytes(kept / name, data)
            self._readers[kept] = made
        return self._readers[kept]

    def _learned(self, reader: Reader, recipe: Recipe) -> Path:
        """The folder of what a reader learned; of one that learns nothing it is not there."""
        where = fitted_on(recipe, self.records.fields, reader.name)
        told = [reader.key, where, *recipe.modalities, *recipe.targets]
        return self._shared / f"{reader.name}-{draws.integer(json.dumps(told)):016x}"

    @property
    def _shared(self) -> Path:
        return self.folder / "data"

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

    def columns(self, recipe: Recipe, split: str = "") -> dict[str, Column]:
        """All that a recipe reads, as `Run.columns` names it.

        Raises:
            DataError: as `column`, or a record is not what it was when the comparison began.
        """
        made = {
            name: self.column(self.reader(recipe, kind), where, split)
            for name, (kind, where) in fields_read(recipe, self.records.fields).items()
        }
        if not split:
            self._refuse_changed(made)
        return made

    @functools.cache  # noqa: B019 - an arena lives as long as its process
    def asked(self, split: str) -> list[Record]:
        """The records of a split that an outcome is measured on: all, or a sample by key."""
        held = "validation" if split == LOOK else split
        whole = [self.records[at] for at in self.records.positions(held)]
        most = MOST[split]
        chosen = draws.sample([x.key for x in whole], most, "comparison", held)
        return [whole[at] for at in chosen]

    def equip(self, run: Run) -> None:
        """Gives a new run what it must hold of the data; equal files are one file on disk."""
        names = [*run.recipe.modalities, *run.recipe.targets]
        kept = self._shared / f"splits-{'-'.join(names)}.json"
        if not kept.exists():
            self._shared.mkdir(parents=True, exist_ok=True)
            files.write_json(kept, {record.key: record.split for record in self.records})
        _link(kept, run.folder / "splits.json")
        run.remember(self.records)
        for name in names:
            learned = self._learned(self.reader(run.recipe, name), run.recipe)
            for file in learned.iterdir() if learned.exists() else ():
                _link(file, run.folder / "modalities" / name / file.name)

    def _refuse_changed(self, columns: dict[str, Column]) -> None:
        """Stores what each record holds; refuses other contents than those the runs before saw.

        Raises:
            DataError: names the first record that changed.
        """
        file = self._shared / f"contents-{'-'.join(columns).replace('#', '_')}.json"
        if file in self._same:
            return
        now = self._contents(columns)
        if file.exists():
            before = json.loads(file.read_text("utf-8"))
            for key in [*now, *before]:
                if before.get(key) != now.get(key):
                    raise DataError(
                        file=self.data, record=key, found="others",
                        expected="the contents that the comparison began with",
                        see="put them back, or begin anew in another folder",
                    )  # fmt: skip
        else:
            self._shared.mkdir(parents=True, exist_ok=True)
            files.write_json(file, now)
        self._same.add(file)

    def _contents(self, columns: dict[str, Column]) -> dict[str, str]:
        """Record key -> hash of its split, of what columns read, and of all its plain fields, for
        twins and probed fields are in no column; hexadecimal."""
        told = {}
        for at, record in enumerate(self.records):
            items = [made.identity[made.index[at]].tolist() for made in columns.values()]
            plain = {name: x for name, x in record.fields.items() if not isinstance(x, Blob)}
            content = json.dumps([record.split, items, plain], sort_keys=True, default=str)
            told[record.key] = f"{draws.integer(content):016x}"
        return told


def _link(source: Path, target: Path) -> None:
    """The same file under another name; what is there is left."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        files.write_bytes(target, source.read_bytes())
