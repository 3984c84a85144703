"""What a run finds: a gallery drawn by lot, and where it is most wrong; and pictures made small."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from sensorium.errors import RunError, UserError
from sensorium.records import Blob, Record
from sensorium.report.facts import Answer, Gap, Picture, Shown
from sensorium.report.words import language

if TYPE_CHECKING:
    import numpy as np

    from sensorium.prepare import Column, Reader
    from sensorium.run import Run

SHOWN, DRAWN, WORST = 5, 6, 5  # pictures per query, queries in the gallery, failures
SIDE = 96  # pixels of an embedded picture
_LIMIT = 300  # characters of a caption that are shown
_COLLAPSED = 0.99  # mean cosine of all pairs of vectors, above which they are one point


def shown(run: Run, split: str) -> Shown | Gap:
    """What the model finds on a split; the reason where its data or weights are not to be had."""
    try:
        return _answers(run, split)
    except UserError as error:
        why = "; ".join(error.lines[: -1 if error.see else None])
        return Gap("No pictures", why, error.see)


def _answers(run: Run, split: str) -> Shown:
    """Words to pictures over a whole split: the same pool and the same ranks as its scores.

    Raises:
        UserError: the data or a tower is not to be had, or fewer than two records are whole.
    """
    import numpy as np

    from sensorium import draws
    from sensorium.evaluation import pairs
    from sensorium.tasks import retrieval

    records = run.records()
    asked = [records[at] for at in records.positions(split)]
    columns = {name: run.column(name, asked) for name in ("text", "image")}
    whole = [at for at in range(len(asked)) if all(c.index[at] for c in columns.values())]
    if len(whole) < 2:
        raise RunError(
            file=run.folder, field=f"split {split}",
            expected="at least 2 whole records", found=str(len(whole)),
        )  # fmt: skip
    if len(whole) < len(asked):
        asked = [asked[at] for at in whole]
        columns = {name: run.column(name, asked) for name in columns}
    vectors = {name: run.embed(name, column) for name, column in columns.items()}
    problem = pairs(columns["text"], columns["image"])
    ranks = problem.rank(vectors["text"], vectors["image"]).ranks
    values = {
        name: values_of(run.reader(name), column, asked, run.fields[name])
        for name, column in columns.items()
    }
    captions = _captions(columns, values, problem.right_owner)
    thumbnails: dict[int, bytes | None] = {}

    def picture(item: int, right: bool, place: int) -> Picture:
        if item not in thumbnails:
            thumbnails[item] = thumbnail(values["image"][item])
        text = captions[item]
        return Picture(text, language(text, run.fields["text"]), thumbnails[item], right, place)

    def answer(query: int, count: int) -> Answer:
        row = retrieval.similarity(vectors["text"][query, None], vectors["image"])[0]
        right = problem.right(range(query, query + 1))[0]
        order = np.lexsort((right, -row))  # a tie with a wrong answer counts as lost
        found = [picture(int(i), bool(right[i]), at) for at, i in enumerate(order[:count], 1)]
        best = next(int(i) for i in order if right[i])
        text = clipped(str(values["text"][query]))
        return Answer(
            text,
            language(text, run.fields["text"]),
            found,
            picture(best, True, int(ranks[query])),
            int(ranks[query]),
        )

    shuffled = draws.order(len(ranks), run.recipe.seed, "report gallery", split)
    drawn = _different(shuffled, values["text"])
    worst = _different(np.argsort(-ranks, kind="stable"), values["text"])
    mean = max(_mean_cosine(v) for v in vectors.values())
    return Shown(
        split=split,
        pool=len(vectors["image"]),
        queries=len(ranks),
        median=int(np.median(ranks)),
        gallery=[answer(query, SHOWN) for query in drawn[:DRAWN]],
        worst=[answer(query, 1) for query in worst[:WORST] if ranks[query] > 1],
        collapsed=mean if mean > _COLLAPSED else None,
    )


def _different(order: np.ndarray, texts: list[Any]) -> list[int]:
    """The order's first queries, each text once."""
    seen: dict[str, int] = {}
    for query in order:
        seen.setdefault(str(texts[query]), int(query))
        if len(seen) == max(DRAWN, WORST):
            break
    return list(seen.values())


def values_of(reader: Reader, column: Column, records: list[Record], name: str) -> list[Any]:
    """What the user wrote for each item of a column."""
    values: list[Any] = [None] * len(column.items)
    for record, items in zip(records, column.index, strict=True):
        value = record.fields.get(name)
        given = [x for x in (value if isinstance(value, list) else [value]) if x not in (None, "")]
        if len(given) != len(items):
            # Some of the record's items were set aside: those that stayed are known by content.
            known = {_identity(reader, x): x for x in given}
            given = [known[int(column.identity[item])] for item in items]
        for item, one in zip(items, given, strict=True):
            values[item] = one
    return values


def _identity(reader: Reader, value: Any) -> int | None:
    try:
        return reader.identity(value, "")
    except UserError:
        return None


def _captions(columns: dict[str, Column], values: dict[str, list], owners: np.ndarray) -> list[str]:
    """The first text of each picture's record."""
    texts = columns["text"].index
    return [clipped(str(values["text"][texts[owner][0]])) for owner in owners]


def clipped(text: str) -> str:
    """A caption on one line, of bearable length."""
    text = " ".join(text.split())
    return text if len(text) <= _LIMIT else text[: _LIMIT - 1].rstrip() + "…"


def thumbnail(value: Blob, side: int = SIDE) -> bytes | None:
    """A picture's centre square (what the model reads of it) as WebP; None if it cannot be read."""
    from PIL import Image, ImageOps

    from sensorium.pictures import decode

    try:
        picture = decode(value.read(), value.name, side)
    except UserError:
        return None
    out = io.BytesIO()
    small = ImageOps.fit(picture, (side, side), Image.Resampling.LANCZOS)
    small.save(out, "WEBP", quality=80, method=4)
    return out.getvalue()


def _mean_cosine(vectors: np.ndarray) -> float:
    """Mean cosine of all pairs of unit vectors: near 1 where an embedding has collapsed."""
    n = len(vectors)
    total = float((vectors.sum(axis=0, dtype="float64") ** 2).sum())
    return (total - n) / (n * (n - 1)) if n > 1 else 0.0
