"""Categories: a value of a field -> the name of a class -> its number. A target, never tokens.

The classes are the distinct values of the training split. Numbers and texts are the same as soon
as they are written the same: 3 in a JSON file, 3.0 in a table with gaps and "3" in a CSV file are
one class.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from sensorium.errors import DataError, RunError, clip
from sensorium.modalities.text import plain
from sensorium.records import Record
from sensorium.tokens import Tokens

SUMMARY = "categories, to be predicted: one class a record"
FILE = "classes.json"
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


class Spec(BaseModel):
    """A category has no options: its classes are in the data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["label"] = "label"


class Modality:
    """Reads categories and numbers them.

    Attributes:
        classes: their names, by number; empty before `fit` or `load`. Names that are numbers are
            in the order of numbers, others in that of texts.
        target: True: it is predicted and gives no tokens.
    """

    name = "label"
    suffixes: tuple[str, ...] = ()
    target = True

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.classes: list[str] = []
        self._index: dict[str, int] = {}

    def fit(self, records: Sequence[Record], field: str) -> None:
        """Learns the classes from one field of the training records; absent values are left out.

        Raises:
            DataError: fewer than two classes.
        """
        found = set()
        for record in records:
            try:
                found.add(self.read(record.fields.get(field), field))
            except DataError:
                continue  # absent or unreadable: reported where the record itself is read
        if len(found) < 2:
            only = f"only {clip(found.pop())}" if found else "none"
            raise DataError(
                field=field,
                expected="at least two classes",
                found=f"{only} in {len(records):,} training records",
            )
        numbers = all(_NUMBER.fullmatch(value) for value in found)
        self._use(sorted(found, key=lambda x: (float(x), x) if numbers else (0.0, x)))

    def _use(self, classes: list[str]) -> None:
        self.classes = classes
        self._index = {name: at for at, name in enumerate(classes)}

    def state(self) -> dict[str, bytes]:
        """Files that a run must keep to number the same way again: the classes."""
        return {FILE: json.dumps(self.classes, ensure_ascii=False, indent=1).encode()}

    def load(self, folder: Path) -> None:
        """Reads back what `state` gave.

        Raises:
            RunError: the file is missing or damaged.
        """
        file, expected = folder / FILE, "a list of at least two classes"
        try:
            classes = json.loads(file.read_bytes())
        except OSError as error:
            raise RunError(file=file, expected=expected, found=str(error.strerror)) from None
        except (ValueError, RecursionError) as error:
            raise RunError(file=file, expected=expected, found=clip(str(error))) from None
        whole = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
        if not whole or len(set(classes)) != len(classes) or len(classes) < 2:
            raise RunError(file=file, expected=expected, found=clip(classes))
        self._use(classes)

    def read(self, value: object, name: str) -> str:
        """One field's class.

        Args:
            value: a text, a number, true or false, or a `Blob` of UTF-8.
            name: what errors call it.

        Raises:
            DataError: nothing, an empty text, a list (a record has one class), or no finite number.
        """
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float):
            if not math.isfinite(value):
                raise DataError(name, expected="a class", found=clip(value))
            if value.is_integer():
                value = int(value)
        return unicodedata.normalize("NFC", plain(value, name, "class"))

    def index(self, value: str) -> int:
        """The number of a class as `read` gives it; -1 for one that training did not have.

        Splits go by group, so a rare class may be absent from training: that is a fact about the
        data and no reason to stop. Whoever scores counts them: none of them can be right.

        Raises:
            RuntimeError: neither `fit` nor `load` came before.
        """
        if not self.classes:
            raise RuntimeError("label: fit or load comes before index")
        return self._index.get(value, -1)

    def tokens(self, content: str, rng: np.random.Generator | None) -> Tokens:
        """Refuses.

        Raises:
            TypeError: always.
        """
        raise TypeError("a label is a target and has no tokens: ask for its index")
