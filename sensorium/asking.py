"""A split as a model is asked about it: batches of its records, as they are or changed on purpose.

A control changes what the model sees and nothing else: a picture becomes another record's, or is
absent. What is drawn (hidden words) is keyed by record, so the same words are hidden whatever was
changed, and differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium import __version__, draws
from sensorium.building import augmented
from sensorium.errors import RunError
from sensorium.loading import gather
from sensorium.prepare import Column, column
from sensorium.records import Record
from sensorium.step import Step
from sensorium.tokens import Batch
from sensorium.views import View

if TYPE_CHECKING:
    from sensorium.run import Run

MOST = 2000  # records that are asked about
_HOPS = 1000  # others that are looked at for one that shares nothing
Partners = NDArray[np.int64]


@dataclass
class Asked:
    """Records of one split that have all that is needed, each with its first item.

    records: in the order of the split. columns: as `Run.columns` names them, over these records.
    of: how many of the split had all that is needed, before a sample was drawn.
    """

    run: Run
    split: str
    records: list[Record]
    columns: dict[str, Column]
    of: int
    names: tuple[str, ...] = field(default=())

    @classmethod
    def over(
        cls, run: Run, split: str, needed: Sequence[str], most: int | None = MOST, least: int = 2
    ) -> Asked:
        """The records of a split that have some columns; of many a sample by key.

        Args:
            needed: names of `Run.columns`.
            most: how many at most; None: all.
            least: how many at least.

        Raises:
            RunError: fewer than `least`.
        """
        records = run.records()
        asked = [records[at] for at in records.positions(split)]
        columns = {
            name: column(run.reader(kind), asked, where)[0]
            for name, (kind, where) in run.columns.items()
            if name in needed
        }
        whole = [at for at in range(len(asked)) if all(x.index[at] for x in columns.values())]
        of = len(whole)
        if of < least:
            raise RunError(
                file=run.folder,
                field=f"split {split}",
                expected=f"at least {least} records with {' and '.join(needed)}",
                found=str(of),
            )
        if most is not None:
            keys = [asked[at].key for at in whole]
            whole = [whole[at] for at in draws.sample(keys, most, run.recipe.seed, "asked", split)]
        if len(whole) < len(asked):
            columns = {name: made.part(whole) for name, made in columns.items()}
        return cls(run, split, [asked[at] for at in whole], columns, of, tuple(needed))

    def __len__(self) -> int:
        return len(self.records)

    @property
    def protocol(self) -> dict[str, Any]:
        """What every score of these records is stamped with."""
        run, subset = self.run, self.run.info.get("subset", {})
        records = run.records()
        told = {"split": self.split, "asked": f"{len(self):,} of {self.of:,}, drawn by key"}
        if len(self) == self.of:
            told["asked"] = f"all {self.of:,} that have {' and '.join(self.names)}"
        for name, key in (("train_records", "train"), ("split_records", self.split)):
            count = len(records.positions(key))
            told[name] = f"{count} of {subset.get(key, {}).get('of', count)}"
        if run.missing:
            told["missing_records"] = f"{len(run.missing)} that the run began with, all splits"
        told["items"] = "the first text and picture of each record"
        told["implementation"] = f"sensorium {__version__}"
        told["chosen_on"] = f"validation, by {run.recipe.choose}"
        return told | {"step": run.info["best_step"]}

    def batches(
        self,
        views: Sequence[View],
        size: int,
        change: Mapping[str, Partners | None] | None = None,
        rows: Sequence[int] | None = None,
    ) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        """Batches on the run's device, each with the places of its records.

        Args:
            views: those with draws are looked at.
            size: records a batch.
            change: name of a column -> per record whose item it shows; None: it is absent.
            rows: places of the records, in order; all by default.
        """
        change = change or {}
        places = np.arange(len(self)) if rows is None else np.asarray(rows, np.int64)
        seed = self.run.recipe.seed
        for start in range(0, len(places), size):
            some = places[start : start + size]
            items: dict[str, list[int | None]] = {}
            for name, made in self.columns.items():
                whose = change.get(name, np.arange(len(self)))
                items[name] = [
                    None if whose is None else made.index[whose[at]][0] for at in some.tolist()
                ]
            records = [self.records[at] for at in some]
            rngs = [(seed, "evaluation", self.split, record.key) for record in records]
            batch = gather(
                records,
                self.columns,
                self.run.modalities,
                items,
                rngs,
                augmented(self.run.recipe),
                views,
            )
            yield some, batch.to(self.run.device)

    def strangers(self, modalities: Sequence[str]) -> Partners:
        """For each record another one, by key, that shares no content of these modalities with it.

        As good as a permutation where contents differ: nobody is everybody's partner. -1 where all
        that were looked at share something.
        """
        n = len(self)
        held = [
            {(m, int(self.columns[m].identity[item])) for m in modalities
             for item in self.columns[m].index[at]}
            for at in range(n)
        ]  # fmt: skip
        order = draws.order(n, self.run.recipe.seed, "stranger", self.split)
        place = np.empty(n, np.int64)
        place[order] = np.arange(n)
        found = np.full(n, -1)
        for at in range(n):
            for hop in range(1, min(n, _HOPS)):
                other = int(order[(place[at] + hop) % n])
                if held[at].isdisjoint(held[other]):
                    found[at] = other
                    break
        return found


def stand_in(step: Step, modality: str) -> bool:
    """Whether the model has something to stand where a record lacks a modality."""
    return modality in step.model.absent
