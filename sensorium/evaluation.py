"""Scores of a run on one split, each with its protocol, interval and controls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium import controls, draws, files, scoring, world_floors, zero_shot
from sensorium.comparing import refuse_blind
from sensorium.embedding import embed
from sensorium.errors import RunError
from sensorium.prepare import Column
from sensorium.recipe import Recipe
from sensorium.records import Blob, Record
from sensorium.step import Step
from sensorium.tasks import retrieval

if TYPE_CHECKING:
    from sensorium.run import Run

_MATCHED = 1000  # records whose pairs a match is compared with


@dataclass(frozen=True)
class Pairs:
    """Two columns of the same records as a retrieval problem: left items ask, right items answer.

    left_owner, right_owner: record position of each item, int64 [items].
    right_label: the content of each right item as a number, int64 [right items].
    holders: per left item the records that carry its very content, its own among them.
    contents: per record the `right_label` of what it carries.
    """

    left_owner: NDArray[np.int64]
    right_owner: NDArray[np.int64]
    right_label: NDArray[np.int64]
    holders: list[NDArray[np.int64]]
    contents: list[NDArray[np.int64]]

    def right(self, rows: range | None = None) -> NDArray[np.bool_]:
        """Which right items answer some left items (by default all), bool [rows, right items]."""
        rows = range(len(self.left_owner)) if rows is None else rows
        record = np.zeros((len(rows), len(self.contents)), bool)
        content = np.zeros((len(rows), self.right_label.max(initial=-1) + 1), bool)
        for at, item in enumerate(rows):
            record[at, self.holders[item]] = True
            content[at, self.contents[self.left_owner[item]]] = True
        return record[:, self.right_owner] | content[:, self.right_label]

    def rank(self, left: NDArray, right: NDArray) -> retrieval.Ranks:
        """How the vectors [left items, e] rank the vectors [right items, e]."""
        return retrieval.rank_vectors(left, right, self.right)


def pairs(left: Column, right: Column) -> Pairs:
    """Which item of the left answers which of the right.

    A pair is right when both belong to one record, or to records that share the very same text or
    picture: finding the twin is not an error.
    """
    owner, label = _owners(left), np.unique(right.identity, return_inverse=True)[1]
    carriers: dict[int, set[int]] = {}
    for identity, record in zip(left.identity.tolist(), owner.tolist(), strict=True):
        carriers.setdefault(identity, set()).add(record)
    holders = {name: np.array(sorted(found), np.int64) for name, found in carriers.items()}
    return Pairs(
        owner,
        _owners(right),
        label,
        [holders[identity] for identity in left.identity.tolist()],
        [label[items] for items in right.index],
    )


def _owners(column: Column) -> NDArray[np.int64]:
    owner = np.full(len(column.items), -1, np.int64)
    for record, items in enumerate(column.index):
        owner[items] = record
    return owner


def evaluate(run: Run, split: str) -> list[dict[str, Any]]:
    """All scores of a run on one split, as plain data; also written to evaluation/SPLIT.json.

    Each is {task, direction, metric, better, value, interval, protocol, controls}; a control is
    {value, interval, difference, difference_interval}, or {value: null, reason}; chance is exact,
    and so are the floors and ceilings of a made world.
    `better` is higher or lower. What the run is best known for comes first. Where a task could not
    be asked (no word of a small split happened to be hidden), the protocol of the others says so:
    `not_asked`, a list of sentences.

    Raises:
        RunError: the split is too small to ask anything of it.
    """
    found: list[dict[str, Any]] = []
    unasked: list[str] = []
    if run.compares:
        found, why = scoring.asked_of(split, lambda: _retrieval(run, split))
        unasked += [] if found else [f"retrieval: {why}"]
    told, more = scoring.answered(run, split)
    unasked += more
    first = [score for score in told if score["task"] == "classification"]
    scores = first + found + [score for score in told if score["task"] != "classification"]
    if not scores:
        raise RunError(
            file=run.folder,
            field=f"split {split}",
            expected="records that the run's objectives can be asked about",
            found="; ".join(["none", *unasked]),
        )
    for score in scores if unasked else []:
        score["protocol"] = score["protocol"] | {"not_asked": unasked}
    world_floors.add(scores, run.info["data"], split, run.fields)
    (run.folder / "evaluation").mkdir(exist_ok=True)
    files.write_json(run.folder / "evaluation" / f"{split}.json", scores)
    return scores


def _retrieval(run: Run, split: str) -> list[dict[str, Any]]:
    """Words find pictures and pictures words, over all whole records of a split."""
    records = run.records()
    asked = [records[at] for at in records.positions(split)]
    columns = {name: run.column(name, asked) for name in ("image", "text")}
    both = [at for at in range(len(asked)) if all(c.index[at] for c in columns.values())]
    if len(both) < 2:
        raise RunError(
            file=run.folder,
            field=f"split {split}",
            expected="at least 2 whole records",
            found=str(len(both)),
        )
    if len(both) < len(asked):
        asked = [asked[at] for at in both]
        columns = {name: run.column(name, asked) for name in ("image", "text")}
    problems = {
        (query, pool): pairs(columns[query], columns[pool])
        for query, pool in (("text", "image"), ("image", "text"))
    }
    ranks: dict[tuple[str, str], dict[str, retrieval.Ranks | str]] = {way: {} for way in problems}
    for name, vectors in _competitors(run, split, asked, columns):
        for way, problem in problems.items():
            ranks[way][name] = (
                vectors
                if isinstance(vectors, str)
                else problem.rank(vectors[way[0]], vectors[way[1]])
            )
    scores = []
    for way, problem in problems.items():
        scores += _scores(run, split, *way, problem.left_owner, ranks[way])
    return scores


def _competitors(
    run: Run, split: str, asked: list[Record], columns: dict[str, Column]
) -> Iterator[tuple[str, dict[str, NDArray] | str]]:
    """Vectors by modality, float [items, e], of the run ("") and of each control, or why none.

    One after the other: who ranks them need not keep them.
    """

    def vectors(step: Step, recipe: Recipe) -> dict[str, NDArray]:
        return {
            name: embed(step, recipe, run.reader(name), column, run.device)
            for name, column in columns.items()
        }

    own = vectors(run.step, run.recipe)
    yield "", own
    sizes = {name: len(x) for name, x in own.items()}
    for told in zero_shot.models():
        yield zero_shot.label(told), zero_shot.vectors(run, told, asked, sizes)
    trained = controls.names(run.recipe)
    for name in trained:
        step = controls.trained(run, name)
        if step is None:
            yield name, "it was not trained"
        else:
            yield name, vectors(step, controls.recipe_of(name, run.recipe))
    yield "conse", controls.conse_vectors(run, asked, sizes)
    if controls.SHUFFLED not in trained:
        # Not trained: the pool dealt out anew, what the same vectors find by luck and hubs.
        order = draws.order(len(own["image"]), run.recipe.seed, "shuffled partner", split)
        yield controls.SHUFFLED, own | {"image": own["image"][order]}


def _sizes(run: Run, split: str) -> dict[str, str]:
    """How many records took part, of how many the data had: a time budget may leave some out."""
    records, subset = run.records(), run.info.get("subset", {})
    told = {}
    for name, key in (("train_records", "train"), ("split_records", split)):
        count = len(records.positions(key))
        told[name] = f"{count} of {subset.get(key, {}).get('of', count)}"
    if run.missing:
        told["missing_records"] = f"{len(run.missing)} that the run began with, all splits"
    return told


def _scores(
    run: Run,
    split: str,
    query: str,
    pool: str,
    owner: NDArray[np.int64],
    ranks: dict[str, retrieval.Ranks | str],
) -> list[dict[str, Any]]:
    """Scores of one direction at every cut; `owner` is the record of each query."""
    owners, clusters = np.unique(owner, return_inverse=True)
    ranks = dict(ranks)
    found = ranks.pop("")
    assert isinstance(found, retrieval.Ranks)
    n = len(owners)
    protocol = {
        "split": split,
        "pool": found.pool,
        "queries": len(found.ranks),
        "records": n,
        **_sizes(run, split),
        "right_answers_per_query": round(float(found.answers.mean()), 3),
        "ties": retrieval.TIES,
        "interval": f"Wilson, 95 %, over {n} records",
        "difference": f"run minus control, paired bootstrap over {n} records, 95 %",
        "partner_shuffled": "the same training on partners dealt out anew"
        if controls.SHUFFLED in controls.names(run.recipe)
        else "answers dealt out anew at evaluation",
        "chosen_on": f"validation, by {run.recipe.choose}",
        "step": run.info["best_step"],
    }
    scores = []
    for k in retrieval.CUTS:
        hits = found.ranks <= k
        beside: dict[str, Any] = {}
        for name, other in ranks.items():
            if isinstance(other, str):
                beside[name] = {"value": None, "reason": other}
                continue
            key = (run.recipe.seed, "bootstrap", split, query, k, name)
            difference = hits.astype(float) - (other.ranks <= k)
            beside[name] = {
                "value": other.recall(k),
                "interval": list(retrieval.wilson(other.recall(k), n)),
                "difference": float(difference.mean()),
                "difference_interval": retrieval.bootstrap(difference, clusters, key),
            }
        beside["chance"] = {"value": found.chance(k), "interval": "exact"}
        scores.append(
            {
                "task": "retrieval",
                "direction": f"{query}_to_{pool}",
                "metric": f"recall@{k}",
                "better": "higher",
                "value": found.recall(k),
                "interval": list(retrieval.wilson(found.recall(k), n)),
                "protocol": protocol,
                "controls": beside,
            }
        )
    return scores


def match(run: Run, file: str | Path, words: str) -> dict[str, Any]:
    """How well a picture and words fit.

    Returns:
        {similarity, share_of_wrong_pairs_below, share_of_right_pairs_below, median_of_wrong_pairs,
        median_of_right_pairs, pairs_from}: the cosine, and where it stands among the validation
        split's wrong and right pairs, so that a cosine can be read (1.0: above all of them; a tie
        is not above).

    Raises:
        DataError: the file is no picture, there are no words, or the run's data is gone.
        RunError: the run compares nothing, or the validation split has no wrong pair to compare
            with.
    """
    refuse_blind(run)
    similarity = float(
        run.vector("image", Blob(str(file), Path(file)), str(file))
        @ run.vector("text", words, "words")
    )
    records = run.records()
    validation = [records[at] for at in records.positions("validation")]
    keys = [record.key for record in validation]
    chosen = [validation[at] for at in draws.sample(keys, _MATCHED, run.recipe.seed, "match")]
    columns = {name: run.column(name, chosen) for name in ("image", "text")}
    table = run.embed("text", columns["text"]) @ run.embed("image", columns["image"]).T
    right = pairs(columns["text"], columns["image"]).right()
    wrong = table[~right]
    if not wrong.size:
        raise RunError(
            file=run.folder,
            field="split validation",
            expected="at least one wrong pair of picture and text to compare with",
            found="none: its texts or pictures are all the same",
        )
    return {
        "similarity": similarity,
        "share_of_wrong_pairs_below": float((wrong < similarity).mean()),
        "share_of_right_pairs_below": float((table[right] < similarity).mean()),
        "median_of_wrong_pairs": float(np.median(wrong)),
        "median_of_right_pairs": float(np.median(table[right])),
        "pairs_from": f"validation, {len(chosen)} records",
    }
