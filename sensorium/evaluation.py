"""Scores of a run on one split, each with its protocol, interval and controls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sensorium import controls, draws, files
from sensorium.building import views
from sensorium.errors import RunError
from sensorium.loading import gather
from sensorium.nodes import Encode, Read
from sensorium.prepare import Column, Reader
from sensorium.recipe import Recipe
from sensorium.records import Blob, Record, Source
from sensorium.step import Step
from sensorium.tasks import retrieval

if TYPE_CHECKING:
    from sensorium.run import Run

_BATCH = 256
NAMES = {"image": "picture", "text": "words"}


def embed(
    step: Step, recipe: Recipe, reader: Reader, column: Column, device: str = "cpu"
) -> NDArray[np.float32]:
    """Vectors of all items of a column, float32 [items, e], unit length."""
    node = Read(Encode(views(recipe)[reader.name]), reader.name)
    record = Record("", Source("memory"), {})
    modalities = {reader.name: reader.modality}
    was = step.training
    step.eval()
    parts = [np.zeros((0, step.model.vector_width(reader.name)), np.float32)]
    for start in range(0, len(column.items), _BATCH):
        items: list[int | None] = list(range(start, min(start + _BATCH, len(column.items))))
        chosen = {reader.name: items}
        batch = gather([record] * len(items), {reader.name: column}, modalities, chosen)
        parts.append(step.vectors(node, batch.to(device)).cpu().numpy())
    step.train(was)
    return np.concatenate(parts)


@dataclass(frozen=True)
class Pairs:
    """Two columns of the same records as a retrieval problem.

    right: bool [left items, right items]; owners: record position of each item.
    """

    left: Column
    right_column: Column
    left_owner: NDArray[np.int64]
    right_owner: NDArray[np.int64]
    right: NDArray[np.bool_]


def pairs(left: Column, right: Column) -> Pairs:
    """Which item of the left answers which of the right.

    A pair is right when both belong to one record, or to records that share the very same text or
    picture: finding the twin is not an error.
    """
    a, b = (_owners(column) for column in (left, right))
    same = a[:, None] == b[None, :]
    # record x content tables: does a record carry this very content?
    carries_left, carries_right = _carries(left), _carries(right)
    same |= carries_left[b][:, _labels(left)].T  # the right item's record carries the left item
    same |= carries_right[a][:, _labels(right)]
    return Pairs(left, right, a, b, same)


def _owners(column: Column) -> NDArray[np.int64]:
    owner = np.full(len(column.items), -1, np.int64)
    for record, items in enumerate(column.index):
        owner[items] = record
    return owner


def _labels(column: Column) -> NDArray[np.int64]:
    return np.unique(column.identity, return_inverse=True)[1]


def _carries(column: Column) -> NDArray[np.bool_]:
    labels = _labels(column)
    table = np.zeros((len(column.index), labels.max(initial=-1) + 1), bool)
    table[_owners(column), labels] = True
    return table


def evaluate(run: Run, split: str) -> list[dict[str, Any]]:
    """All scores of a run on one split, as plain data; also written to evaluation/SPLIT.json.

    Each is {task, direction, metric, value, interval, protocol, controls}; a control is {value,
    interval, difference, difference_interval}, or {value: null, reason}; chance is exact.

    Raises:
        RunError: the split is too small to ask anything of it.
    """
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
    tables = _tables(run, split, asked, columns)
    problem = pairs(columns["text"], columns["image"])
    scores = _scores(run, split, "text", "image", problem, tables)
    turned = Pairs(
        problem.right_column,
        problem.left,
        problem.right_owner,
        problem.left_owner,
        problem.right.T,
    )
    tables = {name: x if isinstance(x, str) else x.T for name, x in tables.items()}
    scores += _scores(run, split, "image", "text", turned, tables)
    (run.folder / "evaluation").mkdir(exist_ok=True)
    files.write_json(run.folder / "evaluation" / f"{split}.json", scores)
    return scores


def _tables(
    run: Run, split: str, asked: list[Record], columns: dict[str, Column]
) -> dict[str, NDArray | str]:
    """Similarities float [texts, pictures] of the run ("") and its controls, or why none."""

    def table(step: Step, recipe: Recipe) -> NDArray:
        text, image = (
            embed(step, recipe, run.reader(name), columns[name], run.device)
            for name in ("text", "image")
        )
        return text @ image.T

    own = table(run.step, run.recipe)
    tables: dict[str, NDArray | str] = {"": own}
    for name in controls.names(run.recipe):
        step = controls.trained(run, name)
        tables[name] = (
            "it was not trained"
            if step is None
            else table(step, controls.recipe_of(name, run.recipe))
        )
    tables["conse"] = controls.conse_similarity(run, asked, own.shape)
    if controls.SHUFFLED not in tables:
        # Not trained: the pool dealt out anew, what the same vectors find by luck and hubs.
        order = draws.order(own.shape[1], run.recipe.seed, "shuffled partner", split)
        tables[controls.SHUFFLED] = own[:, order]
    return tables


def _scores(
    run: Run,
    split: str,
    query: str,
    pool: str,
    problem: Pairs,
    tables: dict[str, NDArray | str],
) -> list[dict[str, Any]]:
    """Scores of one direction at every cut; tables are [queries, pool]."""
    owners, clusters = np.unique(problem.left_owner, return_inverse=True)
    ranks = {
        name: table if isinstance(table, str) else retrieval.rank(table, problem.right)
        for name, table in tables.items()
    }
    found = ranks.pop("")
    assert isinstance(found, retrieval.Ranks)
    n = len(owners)
    protocol = {
        "split": split,
        "pool": found.pool,
        "queries": len(found.ranks),
        "records": n,
        "right_answers_per_query": round(float(problem.right.sum(axis=1).mean()), 3),
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
        beside["chance"] = {"value": retrieval.chance(problem.right, k), "interval": "exact"}
        scores.append(
            {
                "task": "retrieval",
                "direction": f"{query}_to_{pool}",
                "metric": f"recall@{k}",
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
        RunError: the validation split has no wrong pair to compare with.
    """
    similarity = float(
        run.vector("image", Blob(str(file), Path(file)), str(file))
        @ run.vector("text", words, "words")
    )
    records = run.records()
    chosen = [records[at] for at in records.positions("validation")][:1000]
    columns = {name: run.column(name, chosen) for name in ("image", "text")}
    table = run.embed("text", columns["text"]) @ run.embed("image", columns["image"]).T
    right = pairs(columns["text"], columns["image"]).right
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
