"""report.html: one page that holds all of a run, so that no number stands alone.

This file collects what is shown, as plain data; `report_words` says it, `report_charts` draws it,
`report_page` writes it as HTML. Whatever is missing (scores, data that moved, a tower that is not
in the cache) becomes a sentence on the page with the command that fills it, never a blank.
"""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium import files, shelf, towers
from sensorium.errors import RunError, UserError
from sensorium.recipe import load, to_yaml
from sensorium.records import SPLITS, Blob, Record
from sensorium.report_charts import Curve, curves
from sensorium.report_words import Verdict, label, language, verdict
from sensorium.terminal import search_command

if TYPE_CHECKING:
    import numpy as np

    from sensorium.prepare import Column, Reader
    from sensorium.run import Run

SHOWN, DRAWN, WORST = 5, 6, 5  # pictures per query, queries in the gallery, failures
SIDE = 96  # pixels of an embedded picture
_LIMIT = 300  # characters of a caption that are shown
_COLLAPSED = 0.99  # mean cosine of all pairs of vectors, above which they are one point


# --- what the page is made of ------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One competitor and its scores.

    kind: `run`, `control` or `luck`.
    scores: metric -> {value, interval} or {value: None, reason}.
    """

    label: str
    kind: str
    scores: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Block:
    """One task and direction: a row per competitor, the run first, luck last."""

    direction: str
    metrics: list[str]
    rows: list[Row]
    protocol: dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """One picture of an answer: its caption, and a WebP, or None where it cannot be read."""

    caption: str
    language: str | None
    webp: bytes | None
    right: bool
    rank: int


@dataclass(frozen=True)
class Answer:
    """A query, the pictures it finds first, the right one, and the right one's rank."""

    query: str
    language: str | None
    found: list[Picture]
    wanted: Picture
    rank: int


@dataclass(frozen=True)
class Gap:
    """Something that is not there: what, why, and the command that fills it."""

    what: str
    why: str
    see: str | None = None


@dataclass
class Shown:
    """Answers of the model on one split."""

    split: str
    pool: int
    queries: int
    median: int
    gallery: list[Answer]
    worst: list[Answer]
    collapsed: float | None


@dataclass
class Facts:
    """All that the page shows."""

    place: str
    info: dict[str, Any]
    verdict: Verdict
    split: str | None
    blocks: list[Block] | Gap
    curves: list[Curve] | Gap
    log: list[dict[str, Any]]
    shown: Shown | Gap
    counts: dict[str, int]
    about: list[str]
    licence: str | None
    unused: list[str]
    rejected: list[dict[str, Any]]
    recipe: str
    name: str
    size: str
    seed: int
    source: str
    departures: list[str]
    weights: list[tuple[towers.Tower, str]]
    doubts: list[str]
    commands: list[tuple[str, str]] = field(default_factory=list)


def write(run: Run) -> Path:
    """Writes RUN/report.html, atomically, and returns its path.

    The page needs nothing else: it opens from the file, without network and without script.

    Raises:
        RunError: a file of the run is damaged, or the disk is full.
    """
    from sensorium.report_page import page

    path = run.folder / "report.html"
    # A file name may hold bytes that are no UTF-8; they show as `?` instead of stopping the page.
    files.write_bytes(path, page(collect(run)).encode("utf-8", "replace"))
    return path


def collect(run: Run) -> Facts:
    """Everything that a run's report shows."""
    info, recipe = run.info, run.recipe
    scores, split = _scores(run)
    log = files.read_lines(run.folder / "log.jsonl")
    looks = _evaluation(run, "validation")
    shown = _shown(run, split or "test")
    counts = _counts(run)
    records = run._records
    facts = Facts(
        place=_place(run.folder),
        info=info,
        verdict=verdict(scores) if scores else _unscored(info, log),
        split=split,
        blocks=blocks(scores) if scores else _no_scores(run),
        curves=curves(log, info, looks) or Gap("No curve", "nothing was logged yet"),
        log=[line for line in log if line["split"] == "validation"],
        shown=shown,
        counts=counts,
        about=_about(str(info["data"])),
        licence=records.licence if records else None,
        unused=sorted({f for r in records for f in r.fields} - set(info["fields"]))
        if records
        else [],
        rejected=files.read_lines(run.folder / "rejected.jsonl"),
        recipe=to_yaml(recipe),
        name=recipe.name,
        size=recipe.size,
        seed=recipe.seed,
        source=recipe.source,
        departures=recipe.departures,
        weights=_weights(run, scores),
        doubts=[],
    )
    facts.doubts = _doubts(facts)
    facts.commands = _commands(run, facts)
    return facts


def _place(folder: Path) -> str:
    """The run's path as one types it here."""
    try:
        return str(folder.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return str(folder)


# --- scores ------------------------------------------------------------------------------------


def _scores(run: Run) -> tuple[list[dict[str, Any]], str | None]:
    """The test split's scores, else validation's, and which of them it is."""
    for split in ("test", "validation"):
        if scores := _evaluation(run, split):
            return scores, split
    return [], None


def _evaluation(run: Run, split: str) -> list[dict[str, Any]]:
    file = run.folder / "evaluation" / f"{split}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else []


def blocks(scores: list[dict[str, Any]]) -> list[Block]:
    """Scores by task and direction; every key of their `controls` is a row, luck the last."""
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for score in scores:
        grouped.setdefault((score["task"], score["direction"]), []).append(score)
    made = []
    for (_, direction), group in grouped.items():
        metrics = [score["metric"] for score in group]
        names = list(dict.fromkeys(name for score in group for name in score["controls"]))
        names.sort(key=lambda name: name == "chance")
        rows = [Row("this run", "run", {score["metric"]: score for score in group})]
        for name in names:
            given = {s["metric"]: s["controls"][name] for s in group if name in s["controls"]}
            kind = "luck" if name == "chance" else "control"
            rows.append(Row(label(name), kind, given))
        made.append(Block(direction, metrics, rows, group[0]["protocol"]))
    return made


def _unscored(info: Mapping[str, Any], log: list[dict[str, Any]]) -> Verdict:
    if "best_step" in info:
        return Verdict("Trained, not scored yet.", [], False)
    done = max((line["step"] for line in log), default=0)
    steps = info.get("plan", {}).get("steps")
    of = f"{done:,} of {steps:,} steps" if steps else "it stopped before its first step"
    return Verdict(f"Training has not finished: {of}.", [], False)


def _no_scores(run: Run) -> Gap:
    if "best_step" in run.info:
        return Gap("No scores", "no split was evaluated yet", f"sensorium evaluate {_typed(run)}")
    return Gap("No scores", "the run has not finished", f"sensorium resume {_typed(run)}")


# --- answers -----------------------------------------------------------------------------------


def _shown(run: Run, split: str) -> Shown | Gap:
    """What the model finds on a split; the reason where its data or weights are not to be had."""
    if "best_step" not in run.info:
        return Gap("No pictures yet", "the run has not finished", f"sensorium resume {_typed(run)}")
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
        name: _values(run.reader(name), column, asked, run.fields[name])
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


def _values(reader: Reader, column: Column, records: list[Record], name: str) -> list[Any]:
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


# --- data and surroundings ---------------------------------------------------------------------


def _counts(run: Run) -> dict[str, int]:
    file = run.folder / "splits.json"
    given = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    found = list(given.values())
    return {split: found.count(split) for split in SPLITS}


def _about(data: str) -> list[str]:
    """What a data set of the shelf says of itself: its first line, and the paragraph after it."""
    if data not in shelf.names("datasets"):
        return []
    whole = (shelf.load("datasets", data).__doc__ or "").strip().split("\n\n")
    return [" ".join(part.split()) for part in whole[:2]]


def _weights(run: Run, scores: list[dict[str, Any]]) -> list[tuple[towers.Tower, str]]:
    """The towers whose weights took part, each with what it was used for."""
    used = {
        member["use"]: f"reads the {kind}, frozen"
        for kind, member in run.recipe.prepare.items()
        if member["use"] in towers.TOWERS
    }
    if any(score["controls"].get("conse", {}).get("value") is not None for score in scores):
        from sensorium import conse

        for name in conse.TOWERS:
            used.setdefault(name, "in the control ConSE only")
    return [(towers.TOWERS[name], use) for name, use in used.items()]


def _doubts(facts: Facts) -> list[str]:
    """What this page does not say: size, pool, seed, data."""
    said = [
        f"One run, seed {facts.seed}. The intervals cover which records were asked, not another "
        "training: a second seed may differ."
    ]
    if isinstance(facts.blocks, list):
        pool = facts.blocks[0].protocol["pool"]
        said.append(
            f"Recall depends on the pool: {pool:,} here. In a larger one it is lower, so it does "
            "not stand beside published figures over 1,000 or 5,000."
        )
    trained = facts.counts.get("train", 0)
    said.append(
        f"Size {facts.size}, {trained:,} records to train on: nothing here ranks a paper, or says "
        "how the method does at the scale of its source."
    )
    if len(facts.about) > 1:
        said.append(f"The data set says of itself: {facts.about[1]}")
    said += [tower.card for tower, _ in facts.weights]
    return said


def _typed(run: Run) -> str:
    return shlex.quote(_place(run.folder))


def _commands(run: Run, facts: Facts) -> list[tuple[str, str]]:
    """(what for, command) to try next."""
    place, data = _typed(run), shlex.quote(str(run.info["data"]))
    if "best_step" not in run.info:
        return [("Go on from the newest checkpoint", f"sensorium resume {place}")]
    again = f"sensorium pretrain {data} --recipe {_same_recipe(run)} --size {facts.size}"
    if not facts.verdict.skill:
        longer = f"{again} --budget 10min"
        return [
            ("Look for what is wrong with the data", f"sensorium doctor {data}"),
            ("Train longer", longer),
        ]
    words = "a red boat"
    if isinstance(facts.shown, Shown):
        asked = [answer.query for answer in sorted(facts.shown.gallery, key=lambda a: a.rank)]
        words = next((text for text in asked if len(text) <= 40 and text.isprintable()), words)
    find = search_command(_place(run.folder), words)
    if not (run.folder / "index").is_dir():
        find = f"sensorium index {place}\n{find}"
    return [
        ("Find pictures by words", find),
        ("See whether another seed agrees", f"{again} --seed {facts.seed + 1}"),
    ]


def _same_recipe(run: Run) -> str:
    """What to type for this run's recipe: its name, or its file where options were changed."""
    recipe = run.recipe
    try:
        plain = load(recipe.name, recipe.size, budget=recipe.budget, seed=recipe.seed)
        if plain.hash == recipe.hash:
            return shlex.quote(recipe.name)
    except UserError:
        pass  # a recipe of the user's own is on no shelf
    return shlex.quote(_place(run.folder / "recipe.yaml"))
