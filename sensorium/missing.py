"""How well a run does where records lack a modality: its main score at several rates of absence.

The records of a split that have everything are asked, and of a share of them one modality is taken
away. Which ones is drawn by record: what is missing at a quarter is missing at a half. Beside what
the model does with its own learned stand-in is what else one could do: fill in, leave such records
out, or never use the modality at all. No torch is loaded before the mistakes are told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium import draws, files
from sensorium.errors import RunError, UserError, clip, command, unknown
from sensorium.records import SPLITS

if TYPE_CHECKING:
    from sensorium.asking import Asked
    from sensorium.prepare import Column
    from sensorium.run import Run

Hits = NDArray[np.bool_]
# Which objectives have a score of right and wrong records, the one that is asked first.
_SCORED = ("classification", "matching", "contrastive")
_FILLED = {
    "image": "the mean picture of training",
    "text": "the most frequent text of training",
    "table": "the mean or most frequent cell of training, column by column",
}
_PROTOCOL = {
    "this_run": "the model's own learned stand-in takes the place of what is missing",
    "drop": "of the records that lack nothing, no others asked",
    "drop_as_wrong": "what is left out counts as wrong",
    "complete": "the same records, nothing missing",
    "drawn": "by record: what is missing at one rate is missing at every higher one",
}


def rates_of(text: str) -> tuple[float, ...]:
    """`0,0.25,0.5` -> (0.0, 0.25, 0.5).

    Raises:
        UserError: a rate that is no number from 0 to 1, or not above the one before.
    """
    expected = "shares from 0 to 1, each above the one before, e.g. 0,0.25,0.5"
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UserError("--missing", expected=expected, found=clip(text)) from None
    inside = all(math.isfinite(rate) and 0 <= rate <= 1 for rate in rates)
    if not inside or any(b <= a for a, b in pairwise(rates)):
        raise UserError("--missing", expected=expected, found=clip(text))
    return rates


def asked_of(run: Run) -> tuple[str, str]:
    """(task, name of the objective) that is asked where something is missing.

    A class that is told comes first, then a pair that is matched, then retrieval.

    Raises:
        RunError: the run has one modality, or nothing that is right or wrong for a record.
    """
    kinds = list(run.recipe.modalities)
    if len(kinds) < 2:
        raise RunError(
            file=run.folder,
            field="modalities",
            expected="at least two: where the only one is missing, nothing is left",
            found=", ".join(kinds),
        )
    known: dict[str, str] = {}
    names: list[str] = []
    for at, content in enumerate(run.recipe.objectives):
        use = str(content["use"])
        name = use if use not in names else f"{use}_{at}"  # as building calls them
        names.append(name)
        if use == "classification" and len(content.get("of") or kinds) < 2:
            continue
        if use == "contrastive" and not {"image", "text"} <= set(kinds):
            continue
        known.setdefault(use, name)
    for use in _SCORED:
        if use in known:
            return ("retrieval" if use == "contrastive" else use), known[use]
    raise RunError(
        file=run.folder,
        field="objectives",
        expected="a classification from several modalities, matching, or contrast",
        found=", ".join(names),
    )


def evaluate(run: Run, split: str, rates: Sequence[float]) -> list[dict[str, Any]]:
    """The scores of one split at each rate, modality by modality.

    Stored as evaluation/missing-SPLIT.json. Each is a score as `Run.evaluate` gives them, with
    `modality`, `rate` and `missing` (how many records) beside; its controls are `impute`, `drop`
    (with `coverage`), `drop_as_wrong`, what is left alone, `complete` and `chance`.

    Args:
        rates: shares of the records, ascending.

    Raises:
        RunError: no such split, the run has not finished, has one modality or nothing that can be
            asked, or too few records have everything.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, RunError)
    _ = run.best_step
    task, name = asked_of(run)
    _ = run.step  # from here on torch is loaded
    was = run.step.training
    run.step.eval()
    try:
        question = {"classification": _classes, "matching": _pairs, "retrieval": _search}[task]
        found = [
            score
            for one in question(run, split, name)
            for score in (_score(run, split, one, rate) for rate in rates)
        ]
    finally:
        run.step.train(was)
    (run.folder / "evaluation").mkdir(exist_ok=True)
    files.write_json(run.folder / "evaluation" / f"missing-{split}.json", found)
    return found


def shown(scores: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the terminal shows them: where nothing is missing, what cannot differ is left out."""
    equal = ("impute", "drop", "drop_as_wrong", "complete")
    return [
        score if score["missing"] else
        score | {"controls": {k: x for k, x in score["controls"].items() if k not in equal}}
        for score in scores
    ]  # fmt: skip


def sentences(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a stranger should repeat: a sentence for each modality, at the highest rate."""
    from sensorium.report.words import in_hundred

    last = {score["modality"]: score for score in scores}
    return [
        f"Where {in_hundred(score['rate'])} in 100 lack the {score['modality']}, "
        f"{in_hundred(score['value'])} in 100 are right; with everything "
        f"{in_hundred(score['controls']['complete']['value'])}, "
        f"by luck {in_hundred(score['controls']['chance']['value'])}."
        for score in last.values()
    ]


# --- one modality ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """Which records are right with everything, and without one modality.

    keys: of the n records. whole, absent, filled: bool [n], right with everything, with the
    stand-in, with something filled in; `absent` is None where a missing one is lost. alone: what
    is left is called, and why it cannot be asked, if it cannot. chance: share right by luck.
    """

    task: str
    direction: str
    metric: str
    modality: str
    keys: list[str]
    whole: Hits
    absent: Hits | None
    filled: Hits
    alone: tuple[str, str | None]
    chance: float
    protocol: dict[str, Any]


def missing_at(run: Run, split: str, modality: str, keys: Sequence[str], rate: float) -> Hits:
    """Which records lack a modality at a rate, bool [n]; each by a draw of its own."""
    seed = run.recipe.seed
    drawn = [draws.uniform(seed, "missing", split, modality, key) for key in keys]
    return np.array(drawn) < rate


def _score(run: Run, split: str, asked: Question, rate: float) -> dict[str, Any]:
    from sensorium.report.words import share
    from sensorium.tasks._intervals import exact, means, wilson

    n = len(asked.keys)
    gone = missing_at(run, split, asked.modality, asked.keys, rate)
    lost = np.zeros(n, bool)
    absent = lost if asked.absent is None else asked.absent
    name, reason = asked.alone
    beside: dict[str, Any] = {
        "impute": np.where(gone, asked.filled, asked.whole),
        "drop_as_wrong": asked.whole & ~gone,
        name: reason or absent,
        "complete": asked.whole,
    }
    own = np.where(gone, absent, asked.whole)
    key = (run.recipe.seed, "bootstrap", split, "missing", asked.modality, str(rate))
    told = means(own, beside, np.arange(n), key, shares=True)
    controls, kept = told["controls"], int((~gone).sum())
    drop: dict[str, Any] = {"value": None, "reason": "no record has everything", "coverage": 0.0}
    if kept:
        value = float(asked.whole[~gone].mean())
        drop = {"value": value, "interval": list(wilson(value, kept)), "coverage": kept / n}
    where = f"{asked.modality} missing in {int(gone.sum()):,} of {n:,}"
    return {
        "task": asked.task,
        "direction": asked.direction,
        "metric": asked.metric,
        "better": "higher",
        "modality": asked.modality,
        "rate": rate,
        "missing": int(gone.sum()),
        "value": told["value"],
        "interval": told["interval"],
        "protocol": {
            **_PROTOCOL,
            **asked.protocol,
            "records": n,
            "missing": where,
            "rate": share(rate),
            "interval": f"Wilson, 95 %, over {n} records",
            "difference": f"run minus control, paired bootstrap over {n} records, 95 %",
        },
        "controls": {
            "impute": controls["impute"],
            "drop": drop,
            "drop_as_wrong": controls["drop_as_wrong"],
            name: controls[name],
            "complete": controls["complete"],
            "chance": exact(asked.chance),
        },
    }


def _left(run: Run, modality: str, of: Sequence[str]) -> str:
    """What is left is called: `image_alone`, or of more than two `without_text`."""
    others = [name for name in of if name != modality]
    return f"{others[0]}_alone" if len(others) == 1 else f"without_{modality}"


# --- what is filled in -------------------------------------------------------------------------


def _filled(run: Run, asked: Asked, modality: str) -> tuple[Asked, str]:
    """The same records, all with the content of one modality that training makes likeliest."""
    from sensorium.asking import Asked
    from sensorium.prepare import Column

    trained = Asked.over(run, "train", [modality])
    column = trained.columns[modality]
    content = likeliest(column, getattr(run.modalities[modality], "columns", ()))
    # A number that is nobody's: what is filled in is equal to no record's own.
    own = np.array([-1], np.int64)
    made = Column(modality, content, [[0]] * len(asked), own, column.features)
    how = "the mean features of training" if column.features else _FILLED.get(modality, "its mean")
    told = f"{how}, over {len(trained):,} records"
    return replace(asked, columns=asked.columns | {modality: made}), told


def likeliest(column: Column, cells: Sequence[Any] = ()) -> NDArray | list[str]:
    """One item: of texts the most frequent (the first of equals), of anything else the mean.

    Of a table, cell by cell: the mean of a number, else the most frequent content; a cell is
    missing there only if it is missing in all.

    Args:
        column: of the training records.
        cells: of a table its columns, each with a `kind`.
    """
    first = [items[0] for items in column.index if items]
    if isinstance(column.items, list):
        different, at, count = np.unique(
            column.identity[first], return_index=True, return_counts=True
        )
        best = min(range(len(different)), key=lambda one: (-count[one], at[one]))
        return [column.items[first[at[best]]]]
    items = np.asarray(column.items)[first]
    if not cells:
        mean = items.mean(axis=0, dtype=np.float64)[None]
        whole = np.issubdtype(items.dtype, np.integer)
        return (np.rint(mean) if whole else mean).astype(items.dtype)
    made = np.zeros((1, *items.shape[1:]), items.dtype)
    for place, cell in enumerate(cells):
        there = items[items[:, place, 0] > 0, place]
        if not len(there):
            continue
        if cell.kind == "number":
            made[0, place] = there.mean(axis=0, dtype=np.float64)
        else:
            told, count = np.unique(there, axis=0, return_counts=True)
            made[0, place] = told[count.argmax()]
    return made


# --- the questions -----------------------------------------------------------------------------


def _questions(
    run: Run,
    asked: Asked,
    of: Sequence[str],
    right: Callable[[Asked, dict[str, Any], str], Hits],
    about: Callable[[str], dict[str, Any]],
) -> list[Question]:
    """One question for each modality.

    Args:
        right: (records, what is changed, the modality that may be missing) -> which are right.
        about: the modality -> task, direction, metric, chance and protocol; `rows`: places of the
            records that are asked, by default all.
    """
    made = []
    for modality in of:
        filled, how = _filled(run, asked, modality)
        told = about(modality)
        rows = told.pop("rows", np.arange(len(asked)))
        made.append(
            Question(
                modality=modality,
                keys=[asked.records[at].key for at in rows],
                whole=right(asked, {}, modality),
                absent=right(asked, {modality: None}, modality),
                filled=right(filled, {}, modality),
                alone=(_left(run, modality, of), None),
                **told | {"protocol": asked.protocol | told["protocol"] | {"impute": how}},
            )
        )
    return made


def _classes(run: Run, split: str, name: str) -> list[Question]:
    """Accuracy of a classification."""
    from sensorium import scoring
    from sensorium.asking import Asked
    from sensorium.tasks import classification

    objective = run.step.objectives[name]
    target = objective.spec.target
    asked = Asked.over(run, split, scoring.needed_of(run, name))
    truth = scoring.truth_of(run, asked, target)

    def right(records: Asked, change: dict[str, Any], modality: str) -> Hits:
        logits = scoring.class_logits(run, records, name, change)
        return classification.answers(logits, truth).rank <= 1

    def about(modality: str) -> dict[str, Any]:
        protocol = {"objective": name, "field": run.fields[target], "ties": classification.TIES}
        chance = 1 / len(run.modalities[target].classes)
        return dict(task="classification", direction=target, metric="accuracy", chance=chance,
                    protocol=protocol)  # fmt: skip

    return _questions(run, asked, list(objective.of), right, about)


def _pairs(run: Run, split: str, name: str) -> list[Question]:
    """Forced choice by matching: the own partner against another record's.

    What is asked for is never missing. Of the pair, the given side is; a third modality is missing
    on both sides of the choice.
    """
    from sensorium import scoring
    from sensorium.asking import Asked
    from sensorium.tasks import matching

    pair, kinds = run.step.objectives[name].spec.between, list(run.recipe.modalities)
    asked = Asked.over(run, split, kinds)
    wrong = asked.strangers(pair)
    rows = np.flatnonzero(wrong >= 0)
    if not len(rows):
        raise RunError(
            file=run.folder,
            field=f"split {split}",
            expected="records with a wrong partner that shares nothing with them",
            found="none",
        )

    def sought(modality: str) -> str:
        return pair[1] if modality == pair[0] else pair[0]

    def right(records: Asked, change: dict[str, Any], modality: str) -> Hits:
        swap = {**change, sought(modality): np.where(wrong < 0, 0, wrong)}
        own = scoring.match_logits(run, records, name, change, rows)
        return matching.won((own, scoring.match_logits(run, records, name, swap, rows)))

    def about(modality: str) -> dict[str, Any]:
        given = pair[0] if sought(modality) == pair[1] else pair[1]
        protocol = {
            "objective": name,
            "ties": matching.TIES,
            "wrong_partner": "drawn by key, of those that share no content with the record",
            "asked_for": f"the {sought(modality)}, which is never missing",
        }
        return dict(task="matching", direction=f"{given}_to_{sought(modality)}", chance=0.5,
                    metric="forced choice", protocol=protocol, rows=rows)  # fmt: skip

    return _questions(run, asked, kinds, right, about)


def _search(run: Run, split: str, name: str) -> list[Question]:
    """Recall@1 where the query is missing: it is lost, for contrast trains no stand-in for it."""
    from sensorium.asking import Asked
    from sensorium.evaluation import pairs
    from sensorium.prepare import Column
    from sensorium.tasks import retrieval

    asked = Asked.over(run, split, ["image", "text"])

    def single(column: Column) -> Column:
        first = [items[0] for items in column.index]
        items: Any = column.items
        kept = items[first] if isinstance(items, np.ndarray) else [items[at] for at in first]
        index = [[at] for at in range(len(first))]
        return Column(column.modality, kept, index, column.identity[first], column.features)

    columns = {kind: single(asked.columns[kind]) for kind in ("image", "text")}
    vectors = {kind: run.embed(kind, column) for kind, column in columns.items()}
    made = []
    for query, pool in (("image", "text"), ("text", "image")):
        problem = pairs(columns[query], columns[pool])
        found = problem.rank(vectors[query], vectors[pool])
        filled, how = _filled(run, asked, query)
        one = np.repeat(run.embed(query, single(filled.columns[query]).part([0])), len(asked), 0)
        protocol = {
            "this_run": "a query that is missing is lost",
            "asked_for": f"the {pool}, which is never missing",
            "pool": found.pool,
            "ties": retrieval.TIES,
            "impute": how,
        }
        made.append(
            Question(
                task="retrieval",
                direction=f"{query}_to_{pool}",
                metric="recall@1",
                modality=query,
                keys=[record.key for record in asked.records],
                whole=found.ranks <= 1,
                absent=None,
                filled=problem.rank(one, vectors[pool]).ranks <= 1,
                alone=(_left(run, query, [query, pool]), "without a query nothing is asked"),
                chance=found.chance(1),
                protocol=asked.protocol | protocol,
            )
        )
    return made


def notes(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """What this run does, and what is filled in: for each modality, once."""
    told = [f"this run: {scores[0]['protocol']['this_run']}"]
    last = {score["modality"]: score["protocol"]["impute"] for score in scores}
    return told + [f"{name} filled in: {how}" for name, how in last.items()]


def report_command(run: Run) -> str:
    """What comes next: the page that draws these scores."""
    return command("report", run.folder)
