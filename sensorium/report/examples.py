"""Examples of a report: what a run said about records drawn by lot, right or not.

Words that were hidden or follow, classes that were named, captions that were written. What a run
finds is `answers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from sensorium.errors import UserError
from sensorium.report.answers import clipped, thumbnail, values_of
from sensorium.report.facts import Example, Examples, Gap, Picture
from sensorium.report.words import language

if TYPE_CHECKING:
    from sensorium.asking import Asked
    from sensorium.run import Run

DRAWN = 8  # records of each kind that are shown
_END = "(end)"


def examples(run: Run, scores: list[dict[str, Any]], split: str) -> list[Examples | Gap]:
    """A section for each kind of question that the scores tell of.

    Where data or weights are not to be had, one gap says why.
    """
    makers = {"prediction": _words, "classification": _classes, "captioning": _captions}
    asked = dict.fromkeys(
        (score["task"], score["protocol"].get("objective", ""))
        for score in scores
        if score["task"] in makers
    )
    try:
        return [makers[task](run, name, split) for task, name in asked]
    except UserError as error:
        why = "; ".join(error.lines[: -1 if error.see else None])
        return [Gap("No examples", why, error.see)]


def _drawn(asked: Asked) -> list[int]:
    from sensorium import draws

    seed = asked.run.recipe.seed
    return draws.order(len(asked), seed, "report gallery", asked.split)[:DRAWN].tolist()


def _pictures(asked: Asked, rows: list[int]) -> list[Picture | None]:
    """The first picture of some records, small; None where the model sees none."""
    if "image" not in asked.columns:
        return [None] * len(rows)
    run, made = asked.run, asked.columns["image"].part(rows)
    records = [asked.records[at] for at in rows]
    values = values_of(run.reader("image"), made, records, run.fields["image"])
    return [
        Picture(record.key, None, thumbnail(values[items[0]]), False, 0)
        for record, items in zip(records, made.index, strict=True)
    ]


# --- words -------------------------------------------------------------------------------------


def _words(run: Run, name: str, split: str) -> Examples:
    from sensorium.asking import Asked
    from sensorium.nodes import Fuse
    from sensorium.scoring import predicts

    read = predicts(run, name)
    modality = read.view.modality
    needed = list(run.recipe.modalities) if isinstance(read.of, Fuse) else [modality]
    asked = Asked.over(run, split, needed)
    rows = _drawn(asked)
    said = dict(_guessed(asked, read, rows))
    hidden = bool(read.view.edits)
    shown = zip(rows, _pictures(asked, rows), strict=True)
    what = "hidden" if hidden else "next"
    return Examples(
        key=f"words-{name.replace('_', '-')}",
        name="Hidden words" if hidden else "Next words",
        title="What it guesses" if hidden else "How it goes on",
        lead="The hole is the word that is asked for, … another that is hidden."
        if hidden
        else "The hole is the word that is asked for; what follows is not seen.",
        heads=("words", what, "first guess"),
        split=split,
        of=len(asked),
        rows=[said[at](picture) for at, picture in shown if at in said],
        certain=True,
    )


def _guessed(
    asked: Asked, read: Any, rows: list[int]
) -> Iterator[tuple[int, Callable[[Picture | None], Example]]]:
    """For some records one place each, drawn by key, with the model's first guess."""
    from sensorium import draws
    from sensorium.views import look

    run, text = asked.run, asked.run.modalities[read.view.modality]
    hidden = bool(read.view.edits)
    for places, batch in asked.batches([read.view], DRAWN, rows=rows):
        seen = look(read.view, batch)
        assert seen.tokens.ids is not None
        assert seen.places is not None
        assert seen.truth is not None
        shares = run.step.read(read, batch).float().softmax(dim=1)
        length = seen.tokens.real.shape[1]
        owners = seen.owner.tolist()
        for row, at in enumerate(places.tolist()):
            own = [k for k, owner in enumerate(owners) if owner == row]
            if not own:
                continue
            ids = seen.tokens.ids[row][seen.tokens.real[row]].tolist()
            # Of hidden words rather one that shows as hidden than one that was swapped or kept.
            blank = [k for k in own if hidden and ids[int(seen.places[k]) % length] == text.hide_id]
            worded = [k for k in own if int(seen.truth[k]) not in text.special]
            among = blank or worded or own
            key = (run.recipe.seed, "report word", asked.split, asked.records[at].key)
            k = among[int(draws.uniform(*key) * len(among))]
            place, truth = int(seen.places[k]) % length, int(seen.truth[k])
            guess = int(shares[k].argmax())
            before = _said(text, ids[:place] if hidden else ids[: place + 1])
            after = _said(text, ids[place + 1 :]) if hidden else ""

            def example(
                picture: Picture | None,
                before: str = before,
                after: str = after,
                truth: int = truth,
                guess: int = guess,
                share: float = float(shares[k].max()),
            ) -> Example:
                return Example(
                    picture=picture,
                    before=clipped(before) + " " if before else "",
                    after=" " + clipped(after) if after else "",
                    hole=True,
                    truth=_entry(text, truth),
                    answer=_entry(text, guess),
                    right=truth == guess,
                    certainty=share,
                    language=language(before + after, run.fields[read.view.modality]),
                )

            yield at, example


def _entry(text: Any, entry: int) -> str:
    """One entry of a vocabulary as people read it."""
    if entry in text.special:
        return _END if entry == text.last else "(nothing)"
    return text.decode([entry]) or "(a blank)"


def _said(text: Any, ids: list[int]) -> str:
    """Ids as text; … stands for what is hidden."""
    parts: list[str] = []
    held: list[int] = []

    def flush() -> None:
        words = text.decode(held)
        if words:
            first = next(at for at in held if at not in text.special)
            parts.append((" " if text.starts[first] else "") + words)
        held.clear()

    for at in ids:
        if at == text.hide_id:
            flush()
            parts.append(" …")
        else:
            held.append(at)
    flush()
    return "".join(parts).strip()


# --- classes -----------------------------------------------------------------------------------


def _classes(run: Run, name: str, split: str) -> Examples:
    import numpy as np

    from sensorium.asking import Asked
    from sensorium.scoring import class_logits, needed_of

    objective = run.step.objectives[name]
    target = objective.spec.target
    asked = Asked.over(run, split, needed_of(run, name))
    rows = _drawn(asked)
    logits = class_logits(run, asked, name, rows=rows)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    classes, worded = run.modalities[target].classes, "text" in asked.columns
    made = []
    for row, picture, share in zip(rows, _pictures(asked, rows), shares, strict=True):
        truth = str(asked.columns[target].items[asked.columns[target].index[row][0]])
        answer, words = classes[int(share.argmax())], None
        if worded:
            words = clipped(str(asked.columns["text"].items[asked.columns["text"].index[row][0]]))
        made.append(
            Example(picture, words, "", False, truth, answer, truth == answer, float(share.max()),
                    language(words, run.fields["text"]) if words else None)
        )  # fmt: skip
    return Examples(
        key=f"classes-{name.replace('_', '-')}",
        name="Classes",
        title="What it names",
        lead="",
        heads=(*(("words",) if worded else ()), run.fields[target].replace("_", " "), "named"),
        split=split,
        of=len(asked),
        rows=made,
        certain=True,
    )


# --- captions ----------------------------------------------------------------------------------


def _captions(run: Run, name: str, split: str) -> Examples:
    from sensorium import writing
    from sensorium.asking import Asked
    from sensorium.scoring import recalled, writer

    read = writer(run)
    assert read is not None, "captions were scored, so the run writes"
    asked = Asked.over(run, split, ["image", "text"])
    rows = _drawn(asked)
    pictures, texts = (asked.columns[name] for name in ("image", "text"))
    written = writing.write(run, read, [pictures.items[pictures.index[at][0]] for at in rows])
    found, how = recalled(run, asked, rows)
    made = []
    for row, picture, told, near in zip(rows, _pictures(asked, rows), written, found, strict=True):
        theirs = clipped(str(texts.items[texts.index[row][0]]))
        spoken = language(theirs, run.fields["text"])
        answer = clipped(told["caption"]) or "(nothing)"
        made.append(
            Example(picture, None, "", False, theirs, answer, None, None, spoken, clipped(near))
        )
    return Examples(
        key="captions",
        name="Captions",
        title="What it writes",
        lead=f"Found: {how}.",
        heads=("what people wrote", "what it writes", "found"),
        split=split,
        of=len(asked),
        rows=made,
        certain=False,
    )
