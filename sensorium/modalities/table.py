"""Tables: several fields of a record are the cells of one row, and each column gives one token.

What a column is, is learned from the training split: a number (then its mean and deviation), true
or false, a category (then its values, and one entry for those that training did not have), or
words. Any cell may be missing; a table is missing when all its cells are.

A column is known by its name: the order of the columns in a file decides nothing, and they are kept
sorted. Words are a bag, hashed with the column's name as a key (feature hashing, Weinberger et al.
2009, arXiv 0902.2206), so the order of words is not seen and no vocabulary is kept.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sensorium import draws
from sensorium.errors import DataError, RecipeError, RunError, clip, nearest
from sensorium.records import Field as Fields
from sensorium.records import Record, missing
from sensorium.tokens import Tokens

SUMMARY = "fields of a record as the cells of one row: numbers, categories, words"
FILE = "columns.json"
Kind = Literal["number", "boolean", "category", "words"]
FARTHEST = 1e4  # deviations from the mean; a number beyond is taken as this far
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\Z")
_TRUTH = ("false", "true")


class Spec(BaseModel):
    """How cells are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["table"] = "table"
    kinds: dict[str, Kind] = Field(
        default_factory=dict, description="column -> number, boolean, category or words, overruled"
    )
    categories: int = Field(
        256, ge=2, description="most values of a column of texts that is taken as categories"
    )
    words: int = Field(16, ge=1, le=512, description="most words of a cell; the first ones count")
    buckets: int = Field(
        1024, ge=2, le=2**20, description="entries that the words of all columns are hashed to"
    )


class Column(BaseModel):
    """What is known of one column.

    mean, deviation: of a number, over the training split (population deviation; 1 where it is 0).
    categories: values of a boolean or a category by number from 1; 0 is any that is not known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Kind
    mean: float = 0.0
    deviation: float = 1.0
    categories: tuple[str, ...] = ()


_COLUMNS = TypeAdapter(tuple[Column, ...])


class Modality:
    """Reads rows of cells.

    Attributes:
        columns: by name, sorted; none before `fit` or `load`.
        buckets: entries that words are hashed to, numbered from 1; 0 is no word.
    """

    name = "table"
    target = False
    suffixes: tuple[str, ...] = ()

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.buckets = spec.buckets
        self.columns: tuple[Column, ...] = ()
        self._numbers: list[dict[str, int]] = []

    @property
    def tokens_per_item(self) -> int:
        """One token a column."""
        return len(self.columns)

    @property
    def channels(self) -> int:
        """Values of a token: whether the cell is there, then its content; see `read`."""
        worded = any(column.kind == "words" for column in self.columns)
        return 1 + (self.spec.words if worded else 1)

    def fit(self, records: Sequence[Record], field: Fields) -> None:
        """Learns what each column is from the training records; what is missing is left out.

        Args:
            field: the names of the columns, or the only one's.

        Raises:
            DataError: a column holds nothing that can be read, or only one value.
            RecipeError: `kinds` names another column than these.
        """
        names = sorted({field} if isinstance(field, str) else set(field))
        for name in self.spec.kinds:
            if name not in names:
                raise RecipeError(
                    field=f"modalities.table.kinds.{name}",
                    expected="a column of the table: " + ", ".join(names),
                    found=clip(name),
                    nearest=nearest(name, names),
                )
        learned = []
        for name in names:
            cells = [record.fields.get(name) for record in records]
            learned.append(self._learn(name, [cell for cell in cells if not missing(cell)], cells))
        self._use(tuple(learned))

    def _learn(self, name: str, there: list[Any], cells: list[Any]) -> Column:
        kind = self.spec.kinds.get(name) or _inferred(there, self.spec.categories)
        read = _READ[kind]
        values = []
        refused: DataError | None = None
        for cell in there:
            try:
                values.append(read(cell, f"column {name}"))
            except DataError as error:  # where the record itself is read, it is told and counted
                refused = refused or error
        different = set(values)
        if len(different) + (len(there) < len(cells)) < 2 or not different:
            found = f"only {clip(different.pop())}" if different else "empty cells only"
            if refused is not None and not values:
                found = str(refused.found)
            raise DataError(
                field=name,
                expected="a column of a table with at least two different cells that can be read "
                f"as {kind}",
                found=f"{found} in {len(cells):,} training records",
                see="name the columns that take part, e.g. --field price=table",
            )
        if kind == "number":
            mean, deviation = _moments(np.array(values, np.float64))
            return Column(name=name, kind=kind, mean=mean, deviation=deviation)
        if kind == "words":
            return Column(name=name, kind=kind)
        return Column(name=name, kind=kind, categories=tuple(sorted(different)))

    def _use(self, columns: tuple[Column, ...]) -> None:
        self.columns = columns
        self._numbers = [
            {value: at for at, value in enumerate(column.categories, 1)} for column in columns
        ]

    def told(self) -> str:
        """What each column was taken as, in one line for people."""
        return "table: " + "; ".join(f"{column.name} {_said(column)}" for column in self.columns)

    def state(self) -> dict[str, bytes]:
        """Files that a run must keep to read the same way again: what is known of the columns."""
        plain = [column.model_dump(exclude_defaults=True) for column in self.columns]
        return {FILE: json.dumps(plain, ensure_ascii=False, indent=1).encode()}

    def load(self, folder: Path) -> None:
        """Reads back what `state` gave.

        Raises:
            RunError: the file is missing or damaged.
        """
        file, expected = folder / FILE, "columns of a table, each with its kind"
        try:
            columns = _COLUMNS.validate_json(file.read_bytes())
        except OSError as error:
            raise RunError(file=file, expected=expected, found=str(error.strerror)) from None
        except ValidationError as error:
            raise RunError(file=file, expected=expected, found=clip(str(error))) from None
        names = [column.name for column in columns]
        sound = all(column.deviation > 0 for column in columns)
        if not names or names != sorted(set(names)) or not sound:
            raise RunError(
                file=file, expected=expected, found=clip(names) if sound else "a deviation of 0"
            )
        self._use(columns)

    def read(self, value: object, name: str) -> np.ndarray:
        """One row, float32 [columns, channels], zero where a cell is missing.

        Of each column first 1 (the cell is there), then: of a number its distance from the mean in
        deviations, at most `FARTHEST`; of a category its number, 0 where it is not known; of words
        their entries, ascending, as many as there are and zeros after.

        Args:
            value: column -> cell; what is no column of this table is not looked at.
            name: what errors call it.

        Raises:
            DataError: no cells, all missing, or one that is not of its column's kind.
        """
        if not isinstance(value, Mapping):
            found = "nothing" if value is None else clip(value)
            raise DataError(name, expected="cells by the names of columns", found=found)
        if not self.columns:
            raise RuntimeError("table: fit or load comes before read")
        row = np.zeros((len(self.columns), self.channels), np.float32)
        for at, column in enumerate(self.columns):
            cell = value.get(column.name)
            if missing(cell):
                continue
            content = _READ[column.kind](cell, f"{name}, column {column.name}")
            row[at, 0] = 1
            if isinstance(content, float):
                away = content / column.deviation - column.mean / column.deviation
                row[at, 1] = min(max(away, -FARTHEST), FARTHEST) + 0.0  # no zero of its own sign
            elif column.kind == "words":
                entries = [self._entry(column.name, word) for word in content.split()]
                kept = sorted(entries[: self.spec.words])
                row[at, 1 : 1 + len(kept)] = kept
            else:
                row[at, 1] = self._numbers[at].get(content, 0)
        if not row[:, 0].any():
            raise DataError(name, expected="a table with a cell that is not empty", found="none")
        return row

    def _entry(self, column: str, word: str) -> int:
        return 1 + draws.integer("table word", column, word) % self.buckets

    def tokens(self, content: np.ndarray, rng: np.random.Generator | None) -> Tokens:
        """One token a column: values float32 [1, columns, channels]; all real, missing or not.

        Args:
            content: as `read` gives it.
            rng: unused; tables are not augmented.
        """
        values = torch.from_numpy(content)[None]
        return Tokens(
            modality="table",
            values=values,
            real=torch.ones(values.shape[:2], dtype=torch.bool),
            position=torch.arange(values.shape[1])[None, :, None],
        )


def _inferred(cells: list[Any], most: int) -> Kind:
    """What a column is, by the cells that training has of it."""
    if cells and all(_is_truth(cell) for cell in cells):
        return "boolean"
    if cells and all(_is_number(cell) for cell in cells):
        return "number"
    different = {str(cell).strip() for cell in cells}
    # Values that are said again are categories; a sentence is seldom said twice.
    return "category" if len(different) <= most and 2 * len(different) <= len(cells) else "words"


def _is_truth(cell: object) -> bool:
    return isinstance(cell, bool) or (isinstance(cell, str) and cell.strip().lower() in _TRUTH)


def _is_number(cell: object) -> bool:
    if isinstance(cell, str):
        return _NUMBER.match(cell.strip()) is not None
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _number(cell: object, name: str) -> float:
    if not _is_number(cell):
        raise DataError(name, expected="a number such as 12 or 0.5", found=_what(cell))
    assert isinstance(cell, str | int | float)
    try:
        value = float(cell)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise DataError(name, expected="a finite number", found=clip(cell))
    return value


def _truth(cell: object, name: str) -> str:
    if not _is_truth(cell):
        raise DataError(name, expected="true or false", found=_what(cell))
    return str(cell).strip().lower()


def _category(cell: object, name: str) -> str:
    """3, 3.0 and "3" are one category, as they are one class."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if not isinstance(cell, str | int | float):
        raise DataError(name, expected="one number, word or truth value", found=_what(cell))
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return _valid(unicodedata.normalize("NFC", str(cell).strip()), name)


def _words(cell: object, name: str) -> str:
    """The words of a cell with one blank between: compatibility forms and case made equal."""
    text = unicodedata.normalize("NFKC", _category(cell, name)).casefold()
    return " ".join(re.findall(r"\w+", text))


def _valid(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, e.g. from JSON "\ud83d"
        raise DataError(name, expected="valid Unicode", found=clip(text)) from None
    return text


def _what(cell: object) -> str:
    return f"a list of {len(cell)}" if isinstance(cell, list) else clip(cell)


_READ: dict[Kind, Callable[[object, str], Any]] = {
    "number": _number,
    "boolean": _truth,
    "category": _category,
    "words": _words,
}
assert set(_READ) == set(get_args(Kind))


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and population deviation, float64; 1 for a deviation of 0."""
    largest = float(np.abs(values).max()) or 1.0
    scaled = values / largest  # squares of large numbers would overflow
    deviation = float(scaled.std()) * largest
    # One value, summed and divided, may differ from itself by its last bit.
    if values.min() == values.max() or deviation == 0:
        deviation = 1.0
    return float(scaled.mean()) * largest, deviation


def _said(column: Column) -> str:
    if column.kind == "number":
        return f"(number, {column.mean:.4g} ± {column.deviation:.4g})"
    return f"({column.kind}, {len(column.categories):,})" if column.categories else "(words)"
