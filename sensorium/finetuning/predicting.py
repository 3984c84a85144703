"""What a run that learned classes says of new pictures and texts: the likeliest, with
probabilities. An answer is a class told from a picture and a question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.errors import DataError, UserError
from sensorium.finetuning.tuning import refuse_unasked
from sensorium.run import refuse_unreadable

if TYPE_CHECKING:
    from sensorium.prepare import Column
    from sensorium.run import Run

BATCH = 64
TOP = 5  # classes that are told of each


def predict(
    run: Run,
    items: Sequence[str | Path],
    words: str | Sequence[str] | None = None,
    top: int = TOP,
) -> list[dict[str, Any]]:
    """The likeliest classes of each item.

    Args:
        items: files of pictures; texts, for a run that reads texts alone.
        words: for a run that reads both: one text for all pictures, or one for each.
        top: classes that are told.

    Returns:
        {file or text, words, class, probability, runners_up: [{class, probability}]} of each item,
        in order; `words` where they were asked for.

    Raises:
        UserError: the run tells no classes, or words are missing or too many.
        DataError: a file is missing or no picture, or a text is empty.
    """
    refuse_unasked(run, "predict")
    given = _given(run, items, words)
    table = probabilities(run, given)
    names = run.reader("label").modality.classes
    label = "file" if "image" in given else "text"
    rows = []
    for at, row in enumerate(table):
        order = (-row).argsort(kind="stable")[: max(1, top)]  # of equals the first class first
        told = [{"class": names[k], "probability": float(row[k])} for k in order]
        beside = {"words": given["text"][at]} if len(given) > 1 else {}
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


def _given(
    run: Run, items: Sequence[str | Path], words: str | Sequence[str] | None
) -> dict[str, list[Any]]:
    """modality -> one value an item; what is wrong is told before torch loads."""
    if not items:
        raise UserError("nothing to predict", expected="files or texts", found="none")
    both = len(run.recipe.modalities) > 1
    if both and words is None:
        raise UserError(
            field="words", expected="a text for each picture: the run reads both", found="none"
        )
    if not both and words is not None:
        raise UserError(
            field="words",
            expected="none: the run reads one thing, " + next(iter(run.recipe.modalities)),
            found="some",
        )
    given: dict[str, list[Any]] = {}
    if "image" in run.recipe.modalities:
        for file in items:
            refuse_unreadable(file)
        given["image"] = [str(file) for file in items]
    else:
        given["text"] = [str(text) for text in items]
    if both:
        texts = [words] * len(items) if isinstance(words, str) else list(words or ())
        if len(texts) != len(items):
            raise UserError(
                field="words",
                expected=f"one text, or {len(items):,}: one for each picture",
                found=f"{len(texts):,}",
            )
        given["text"] = texts
    for text in given.get("text", []):
        if not text.strip():
            raise DataError("predict", expected="a text", found="an empty one")
    return given


def probabilities(run: Run, given: dict[str, list[Any]]) -> Any:
    """The probability of each class, float64 [items, classes].

    Args:
        given: modality -> one value an item: files of pictures, texts.

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
            columns[name] = _column(run, name, told, part)
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
