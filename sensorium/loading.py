"""Which records a step sees, and the batch made of them: a function of the step's number alone.

Epochs are keyed permutations laid end to end and cut into batches of equal size, so each record
comes exactly once an epoch, no batch is short, and any step can be made without the ones before:
worker count and resume cannot change a draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from sensorium import draws
from sensorium.prepare import Column
from sensorium.records import Record
from sensorium.tokens import Batch, Tokens, collate
from sensorium.views import View, attach


class Batches(Dataset):
    """Step number -> Batch.

    Args:
        records: the data set.
        columns: modality, variant with a field of its own (`text#1`) or target -> its prepared
            column over `records`.
        modalities: modality or target -> the object that makes tokens (unused for features).
        positions: the records that take part, e.g. those of the training split.
        size: records a batch.
        seed: key of all draws.
        augmented: modality -> numbers of its variants that are drawn augmentations.
        views: what the step looks at; those with draws are made here.
        modality_dropout: modality -> share of the records of an epoch that lack it, drawn by
            record; of one that would lose all that it has, the modality drawn last stays.
    """

    def __init__(
        self,
        records: list[Record],
        columns: dict[str, Column],
        modalities: dict,
        positions: list[int],
        size: int,
        seed: int,
        augmented: dict[str, list[int]] | None = None,
        views: Sequence[View] = (),
        modality_dropout: Mapping[str, float] | None = None,
    ) -> None:
        self.records, self.columns, self.modalities = records, columns, modalities
        self.modality_dropout = dict(modality_dropout or {})
        self.positions = np.asarray(positions, dtype=np.int64)
        self.size = min(size, len(positions))
        self.seed = seed
        self.augmented, self.views = augmented or {}, tuple(views)
        self._order: tuple[int, np.ndarray] | None = None

    def order(self, epoch: int) -> np.ndarray:
        """The positions in the order of one epoch, int64 [records]."""
        if self._order is None or self._order[0] != epoch:
            shuffled = draws.order(len(self.positions), self.seed, "order", epoch)
            self._order = (epoch, self.positions[shuffled])
        return self._order[1]

    def seen(self, step: int) -> list[tuple[int, int]]:
        """(epoch, position) of each record of a step."""
        n = len(self.positions)
        places = range(step * self.size, (step + 1) * self.size)
        return [(at // n, int(self.order(at // n)[at % n])) for at in places]

    def __getitem__(self, step: int) -> Batch:
        seen = self.seen(step)
        taken = [self._taken(epoch, position) for epoch, position in seen]
        chosen: dict[str, list[int | None]] = {}
        for name, column in self.columns.items():
            # By modality: where texts and their translations are lists, the same place of both.
            modality = name.partition("#")[0]
            chosen[name] = [
                None if modality in gone else self._choose(column, position, modality, epoch)
                for gone, (epoch, position) in zip(taken, seen, strict=True)
            ]
        keys = [self.records[position].key for _, position in seen]
        rngs = [(self.seed, "look", epoch, key) for (epoch, _), key in zip(seen, keys, strict=True)]
        return gather(
            [self.records[position] for _, position in seen],
            self.columns,
            self.modalities,
            chosen,
            rngs,
            self.augmented,
            self.views,
        )

    def _taken(self, epoch: int, position: int) -> set[str]:
        """The modalities that a record does without in one epoch."""
        shares = {name: share for name, share in self.modality_dropout.items() if share}
        if not shares:
            return set()
        key = (self.seed, "modality dropout", epoch, self.records[position].key)
        drawn = {name: draws.uniform(*key, name) for name in shares}
        gone = {name for name, share in shares.items() if drawn[name] < share}
        held = {
            name for name, column in self.columns.items()
            if column.index[position] and "#" not in name and not self._targets(name)
        }  # fmt: skip
        if held and held <= gone:
            gone.discard(max(held, key=lambda name: (drawn[name], name)))
        return gone

    def _targets(self, name: str) -> bool:
        return bool(getattr(self.modalities.get(name), "target", False))

    def _choose(self, column: Column, position: int, modality: str, epoch: int) -> int | None:
        """Which of a record's items this epoch sees, e.g. which of five captions."""
        items = column.index[position]
        if len(items) < 2:
            return items[0] if items else None
        key = (self.seed, "item", epoch, self.records[position].key, modality)
        return items[int(draws.uniform(*key) * len(items))]

    def from_step(self, first: int, last: int, workers: int = 0) -> Iterator[Batch]:
        """The batches of steps first, first + 1, ..., last - 1, made ahead by `workers`."""
        return iter(
            DataLoader(
                self,
                batch_size=None,
                sampler=range(first, last),
                num_workers=workers,
                # Its own: the loader would draw a seed that nothing uses from the caller's stream.
                generator=torch.Generator(),
                prefetch_factor=4 if workers else None,
                multiprocessing_context="fork" if workers else None,
            )
        )


def gather(
    records: list[Record],
    columns: dict[str, Column],
    modalities: dict,
    chosen: dict[str, list[int | None]],
    rngs: list[tuple] | None = None,
    augmented: dict[str, list[int]] | None = None,
    views: Sequence[View] = (),
) -> Batch:
    """A Batch of chosen items.

    Args:
        records: one per row.
        columns: modality, variant or target -> its column.
        modalities: modality or target -> the object that makes tokens.
        chosen: name of a column -> per row the item, or None where the record lacks it.
        rngs: per row the key of its draws; None where nothing may be drawn.
        augmented: modality -> numbers of its variants that are drawn augmentations.
        views: those with draws are looked at here.
    """
    tokens: dict[tuple[str, int], Tokens] = {}
    present: dict[str, torch.Tensor] = {}
    identity: dict[str, torch.Tensor] = {}
    targets: dict[str, torch.Tensor] = {}
    for name, items in chosen.items():
        column, (modality, _, variant) = columns[name], name.partition("#")
        about: Any = modalities.get(modality)
        if getattr(about, "target", False):
            index = [-1 if item is None else about.index(column.items[item]) for item in items]
            targets[name] = torch.tensor(index, dtype=torch.int64)
            continue
        there = [item is not None for item in items]
        # An absent row borrows item 0 as stand-in; `present` keeps its content without influence.
        at = np.array([item or 0 for item in items])
        held = column.items if len(column.items) else _blank(column)
        present[name] = torch.tensor(there)
        # Rows without content must never look equal to each other: they get their own negatives.
        own = -1 - np.arange(len(items))
        known = column.identity[at] if any(there) else own
        identity[name] = torch.from_numpy(np.where(there, known, own))
        if column.features:
            assert isinstance(held, np.ndarray)
            values = torch.from_numpy(held[at])
            tokens[modality, int(variant or 0)] = Tokens(
                modality=modality,
                values=values,
                real=torch.ones(values.shape[:2], dtype=torch.bool),
                position=torch.arange(values.shape[1])[None, :, None],
            )
            continue
        numbers = [int(variant or 0), *(augmented or {}).get(name, [])]
        for number in numbers:
            parts = []
            for row, item in enumerate(at):
                content = held[item]
                rng = draws.generator(*rngs[row], f"{modality}#{number}") if rngs else None
                if number != numbers[0] and rng is not None:
                    content = about.augment(content, rng)
                parts.append(about.tokens(content, rng))
            tokens[modality, number] = collate(parts)
    batch = Batch(
        keys=tuple(record.key for record in records),
        sources=tuple(record.source for record in records),
        tokens=tokens,
        present=present,
        identity=identity,
        targets=targets,
        draw=None if rngs is None else torch.tensor([draws.integer(*rng) for rng in rngs]),
    )
    return attach(batch, views, modalities)


def _blank(column: Column) -> np.ndarray | list[str]:
    """One item of nothing, for a column of which no record has any."""
    if isinstance(column.items, np.ndarray):
        return np.zeros((1, *column.items.shape[1:]), column.items.dtype)
    return [""]
