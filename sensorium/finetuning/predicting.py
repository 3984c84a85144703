"""What a run that learned classes says of new pictures, texts and tables: the likeliest, with
probabilities. An answer is a class told from a picture and a question."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.errors import DataError, UserError, clip, nearest
from sensorium.finetuning.tuning import refuse_unasked
from sensorium.run import refuse_unreadable

if TYPE_CHECKING:
    from sensorium.prepare import Column
    from sensorium.recipe import Recipe
    from sensorium.run import Run

BATCH = 64
TOP = 5  # classes that are told of each
Cells = str | Mapping[str, Any]  # column -> cell, or the same as JSON


def predict(
    run: Run,
    items: Sequence[str | Path | Cells],
    words: str | Sequence[str] | None = None,
    top: int = TOP,
    cells: Cells | Sequence[Cells] | None = None,
) -> list[dict[str, Any]]:
    """The likeliest classes of each item.

    Args:
        items: files of pictures; texts, for a run that reads no pictures; cells, for a run that
            reads tables alone.
        words: for a run of pictures and texts: one text for all pictures, or one for each.
        top: classes that are told.
        cells: for a run that reads tables beside others: one table for all items, or one for each.
            A column that is left out is a missing cell.

    Returns:
        {file, text or cells, words, class, probability, runners_up: [{class, probability}]} of
        each item, in order; `words` where they were asked for.

    Raises:
        UserError: the run tells no classes, or words or cells are missing or too many.
        DataError: a file is missing or no picture, a text is empty, or cells are of no column.
    """
    refuse_unasked(run, "predict")
    given = _given(run, items, words, cells)
    table = probabilities(run, given)
    names = run.reader("label").modality.classes
    label = next(_LABEL[name] for name in _LABEL if name in given)
    rows = []
    for at, row in enumerate(table):
        order = (-row).argsort(kind="stable")[: max(1, top)]  # of equals the first class first
        told = [{"class": names[k], "probability": float(row[k])} for k in order]
        beside = {"words": given["text"][at]} if {"image", "text"} <= set(given) else {}
        rows.append({label: str(items[at]), **beside, **told[0], "runners_up": told[1:]})
    return rows


def answer(run: Run, file: str | Path, question: str, top: int = TOP) -> list[dict[str, Any]]:
    """The likeliest answers to a question about a picture: [{answer, probability}], best first.

    Raises:
        UserError: the run answers no questions.
        DataError: the file is missing or no picture, or the question is empty.
    """
    refuse_unasked(run, "answer")
    if not question.strip():
        raise DataError("answer", expected="a question", found="none")
    told = predict(run, [file], question, top)[0]
    return [
        {"answer": x["class"], "probability": x["probability"]} for x in (told, *told["runners_up"])
    ]


_LABEL = {"image": "file", "text": "text", "table": "cells"}  # what an item is, by what is read


def asked(recipe: Recipe) -> list[str]:
    """What stands after `sensorium predict RUN` for a recipe: `FILE --words WORDS`."""
    told = {"image": "FILE", "text": "WORDS", "table": "CELLS"}
    first, *beside = (name for name in _LABEL if name in recipe.modalities)
    options = {"text": "--words", "table": "--cells"}
    return [told[first], *(word for name in beside for word in (options[name], told[name]))]


def _given(
    run: Run,
    items: Sequence[str | Path | Cells],
    words: str | Sequence[str] | None,
    cells: Cells | Sequence[Cells] | None = None,
) -> dict[str, list[Any]]:
    """modality -> one value an item; what is wrong is told before torch loads."""
    if not items:
        raise UserError("nothing to predict", expected="files or texts", found="none")
    reads = [name for name in _LABEL if name in run.recipe.modalities]
    if "text" in reads[1:] and words is None:
        raise UserError(
            field="words", expected="a text for each picture: the run reads both", found="none"
        )
    none = f"none: the run reads {'one thing, ' if len(reads) == 1 else ''}{' and '.join(reads)}"
    if "text" not in reads[1:] and words is not None:
        raise UserError(field="words", expected=none, found="some")
    if "table" not in reads[1:] and cells is not None:
        raise UserError(field="cells", expected=none, found="some")
    if "table" in reads[1:] and cells is None:
        raise UserError(
            field="cells", expected="a table for each item: the run reads both", found="none"
        )
    given: dict[str, list[Any]] = {}
    if reads[0] == "image":
        for file in items:
            refuse_unreadable(str(file))
    given[reads[0]] = [_cells(run, x) if reads[0] == "table" else str(x) for x in items]
    if "text" in reads[1:]:
        given["text"] = _each("words", words, len(items))
    if "table" in reads[1:]:
        given["table"] = [_cells(run, x) for x in _each("cells", cells, len(items))]
    for text in given.get("text", []):
        if not text.strip():
            raise DataError("predict", expected="a text", found="an empty one")
    return given


def _each(name: str, value: Any, count: int) -> list[Any]:
    """One value an item: the only one repeated, or as many as there are items."""
    values = [value] * count if isinstance(value, str | Mapping) else list(value or ())
    if len(values) != count:
        raise UserError(
            field=name,
            expected=f"one for all, or {count:,}: one for each item",
            found=f"{len(values):,}",
        )
    return values


def _cells(run: Run, told: Any) -> Mapping[str, Any]:
    """The cells of one table, whose columns must be the run's."""
    if isinstance(told, str):
        with contextlib.suppress(ValueError):  # refused below, as it was written
            told = json.loads(told)
    if not isinstance(told, Mapping) or not told:
        expected = 'cells by the names of columns, e.g. {"price": 120}'
        raise DataError("cells", expected=expected, found=clip(told))
    columns = run.field("table")
    for name in told:
        if name not in columns:
            raise DataError(
                "cells", expected="a column of the run's table: " + ", ".join(columns),
                found=clip(name), nearest=nearest(str(name), columns),
            )  # fmt: skip
    return told


def probabilities(run: Run, given: dict[str, list[Any]]) -> Any:
    """The probability of each class, float64 [items, classes].

    Args:
        given: modality -> one value an item: files of pictures, texts, cells by columns.

    Raises:
        DataError: a value cannot be read as its modality.
    """
    import numpy as np
    import torch

    from sensorium.loading import gather
    from sensorium.records import Blob, Record, Source
    from sensorium.step import Forward

    objective = run.step.objectives["classification"]
    record = Record("", Source("memory"), {})
    found = []
    count = len(next(iter(given.values())))
    for start in range(0, count, BATCH):
        columns: dict[str, Column] = {}
        for name, values in given.items():
            part = values[start : start + BATCH]
            told = [Blob(v, Path(v)) if name == "image" else v for v in part]
            names = [name] * len(part) if name == "table" else part
            columns[name] = _column(run, name, told, names)
        rows: list[int | None] = list(range(len(part)))
        batch = gather([record] * len(rows), columns, run.modalities, dict.fromkeys(columns, rows))
        batch = batch.to(run.device)
        with torch.no_grad():
            got = Forward(run.step.model, batch)
            answers = {what: got(node) for what, node in objective.needs().items()}
            logits = objective.logits(answers, batch)
        found.append(logits.double().softmax(dim=1).cpu().numpy())
    return np.concatenate(found)


def pictures(run: Run, files: Sequence[str | Path]) -> Column:
    """Pictures of files as the run reads them, one item each.

    Raises:
        DataError: a file is missing or no picture.
    """
    from sensorium.records import Blob

    return _column(run, "image", [Blob(str(x), Path(x)) for x in files], [str(x) for x in files])


def _column(run: Run, modality: str, values: list[Any], names: list[str]) -> Column:
    """One column of several values, each read as a query would be."""
    import numpy as np

    from sensorium.prepare import Column, one

    reader = run.reader(modality)
    parts = [one(reader, value, name) for value, name in zip(values, names, strict=True)]
    items: Any = [x.items for x in parts]
    joined = (
        np.concatenate(items) if isinstance(items[0], np.ndarray) else [y for x in items for y in x]
    )
    zeros = np.zeros(len(parts), np.int64)
    return Column(modality, joined, [[at] for at in range(len(parts))], zeros, parts[0].features)
