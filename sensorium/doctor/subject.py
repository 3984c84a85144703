"""What is examined: the records of a data set, the recipe, and what several checks need of both."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from sensorium import draws, splits
from sensorium.doctor import forecast, inspection
from sensorium.doctor.inspection import Sight
from sensorium.errors import DataError
from sensorium.recipe import Recipe
from sensorium.records import Blob, Records

LIMIT = 0.1  # share of records or pictures that may be unusable, as in `reading`
TIMED = 16  # pictures decoded one after another, to time it
MOST_TEXTS = 10_000  # tokenised, and asked for their language; of larger data a keyed sample

Progress = Callable[[str, int, int], None]


@dataclass
class Subject:
    """The data set, and what several checks need of it; facts are added by each check."""

    records: Records
    recipe: Recipe
    most: int | None
    progress: Progress | None
    facts: dict[str, Any]
    image: str = field(init=False)
    text: str = field(init=False)

    def __post_init__(self) -> None:
        self.image = self.records.field_of("image")
        self.text = self.records.field_of("text")

    @cached_property
    def pictures(self) -> dict[int, Blob]:
        """record -> its picture, unread."""
        return {
            at: value
            for at, record in enumerate(self.records)
            if isinstance(value := record.fields.get(self.image), Blob)
        }

    @cached_property
    def words(self) -> list[list[str]]:
        """Per record its texts; empty ones of a list included."""
        values = [record.fields.get(self.text) for record in self.records]
        return [
            [text for item in (value if isinstance(value, list) else [value])
             if (text := _text(item)) is not None]
            for value in values
        ]  # fmt: skip

    @cached_property
    def texts(self) -> list[tuple[int, str]]:
        """(record, text) of every text that is not empty."""
        return [(at, text) for at, own in enumerate(self.words) for text in own if text.strip()]

    @cached_property
    def some_texts(self) -> list[tuple[int, str]]:
        """`texts`, or a keyed sample of many."""
        if len(self.texts) <= MOST_TEXTS:
            return self.texts
        return keyed(self.texts, MOST_TEXTS, lambda x: f"{self.records[x[0]].key} {x[1]}")

    @cached_property
    def normalised(self) -> list[tuple[int, str]]:
        """(record, text) as splits compare them."""
        return [(at, splits.normalised(text)) for at, text in self.texts]

    @cached_property
    def classes(self) -> bool:
        """Whether texts are class names: on average each comes more than twice, as in `splits`."""
        return len({text for _, text in self.normalised}) * 2 < len(self.normalised)

    @cached_property
    def sights(self) -> dict[int, Sight]:
        """record -> its picture, decoded: all, or a keyed sample."""
        blobs = self.pictures
        chosen = keyed(list(blobs), self.most, lambda at: self.records[at].key)
        # Those timed are the first of the keyed order, the rest come as they lie on disk.
        chosen[TIMED:] = sorted(chosen[TIMED:])
        see = partial(inspection.see, near=forecast.side(self.recipe))
        found: dict[int, Sight] = {}
        with (
            warnings.catch_warnings(),  # of all threads, so here and not where they arise
            ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1)) as pool,
        ):
            warnings.simplefilter("ignore")  # on Pillow's own pixel limit, and on what it mends
            first = map(see, (blobs[at] for at in chosen[:TIMED]))
            rest = pool.map(see, [blobs[at] for at in chosen[TIMED:]])
            for sights in (first, rest):
                for sight in sights:
                    found[chosen[len(found)]] = sight
                    if self.progress:
                        self.progress("pictures", len(found), len(chosen))
        return found

    def place(self, at: int) -> str:
        """Where a record is: its file and row, and its key where that says more."""
        record = self.records[at]
        source = str(record.source)
        return source if record.key in source else f"{source}, {record.key}"

    def both(self, at: Iterable[int]) -> str:
        """One record of each split that some records are in."""
        first: dict[str | None, int] = {}
        for position in at:
            first.setdefault(self.records[position].split, position)
        return " = ".join(self.short(position, True) for position in first.values())

    def short(self, at: int, split: bool = False) -> str:
        """A record by its key, for pairs."""
        record = self.records[at]
        return f"{record.key} ({record.split})" if split else record.key


def keyed(items: list[Any], most: int | None, key: Callable[[Any], str]) -> list[Any]:
    """At most `most` items (None: all) in an order that depends on their keys alone."""
    return sorted(items, key=lambda item: draws.uniform("doctor", _valid(key(item))))[:most]


def _text(value: object) -> str | None:
    """A text as it is, or from a file; None where there is none."""
    if isinstance(value, Blob):
        try:
            return value.read().decode("utf-8", "replace")
        except DataError:
            return None
    return value if isinstance(value, str) else None


def _valid(text: str) -> str:
    """Without lone surrogates, which cannot be hashed."""
    return text.encode("utf-8", "replace").decode()


def plural(items: Sized, word: str) -> str:
    """`picture` for one, `pictures` else."""
    return word if len(items) == 1 else word + "s"


def span(values: list[int]) -> list[int]:
    """[least, most]; zeros where there are none."""
    return [min(values), max(values)] if values else [0, 0]
