"""How well `lit` finds unseen emoji, beside plain projections on the same frozen features.

    python -m benchmarks.quality            five paired seeds on the test split, cross-validation
    python -m benchmarks.quality --ablate   what each ingredient adds, on train and validation only

Every choice was made on train and validation; the test split is read by the first command alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import write_result
from sensorium import controls, draws, optimiser, reading
from sensorium.building import build
from sensorium.embedding import embed
from sensorium.evaluation import pairs
from sensorium.loading import Batches
from sensorium.prepare import Column, Reader, column
from sensorium.pretraining import pretrain
from sensorium.recipe import Recipe, load
from sensorium.records import Records
from sensorium.starting import start
from sensorium.tasks import retrieval
from sensorium.training import take

SEEDS = range(5)
FOLDS = 9
RECIPES = ("lit", "plain_projections")
ABLATIONS: dict[str, list[str]] = {
    "lit": [],
    "no training after the closed form": ["most_epochs=0"],
    "random start": ["start=random", "most_epochs=48", "optimiser.learning_rate=0.02"],
    "no prior": ["prior=0"],
    "no root": ["encoders.image.root=false"],
    "no dropout": ["encoders.image.dropout=0", "encoders.text.dropout=0"],
    "128 anchors": ["encoders.image.anchors=128", "encoders.text.anchors=128"],
    "128 components": ["encoders.image.components=128", "encoders.text.components=128"],
}


def columns_of(records: Records) -> dict[str, Column]:
    """Prepared features of all records, as `lit` reads them."""
    recipe = load("lit")
    return {
        name: column(Reader(recipe, name), records.records, records.field_of(name))[0]
        for name in ("image", "text")
    }


def families(records: Records) -> np.ndarray:
    """One number per record; equal for variants of one concept (same group or first character)."""
    parent = list(range(len(records)))

    def find(at: int) -> int:
        while parent[at] != at:
            at = parent[at]
        return at

    first: dict[str, int] = {}
    for at, record in enumerate(records):
        for name in (f"group {record.group}", f"character {record.key.split('-')[0]}"):
            parent[find(at)] = find(first.setdefault(name, at))
    return np.array([find(at) for at in range(len(records))])


def ranks(
    recipe: Recipe, records: Records, columns: dict[str, Column], train: list[int], asked: list[int]
) -> dict[str, np.ndarray]:
    """Trains on some records and ranks others: the last weights, nothing is chosen.

    Returns:
        direction -> int64 [len(asked)], the rank of the right answer.
    """
    step = build(recipe)
    start(step, recipe, columns, train)
    adam = optimiser.build(step, recipe.optimiser)
    batches = Batches(records.records, columns, {}, train, recipe.optimiser.batch, recipe.seed)
    steps = round((recipe.most_epochs or 0) * len(train) / batches.size)
    for at in range(steps):
        take(step, adam, batches[at], recipe, at, steps)
    small = {name: made.part(asked) for name, made in columns.items()}
    readers = {name: Reader(recipe, name) for name in small}
    vectors = {name: embed(step, recipe, readers[name], made) for name, made in small.items()}
    return {
        f"{a}_to_{b}": pairs(small[a], small[b]).rank(vectors[a], vectors[b]).ranks
        for a, b in (("text", "image"), ("image", "text"))
    }


def folds(
    family: np.ndarray, positions: list[int], count: int
) -> list[tuple[list[int], list[int]]]:
    """(train, asked) by whole families, dealt out by key."""
    names = np.unique(family[positions])
    place = {
        name: at % count for at, name in enumerate(names[draws.order(len(names), "folds", count)])
    }
    fold = np.array([place[family[at]] for at in positions])
    where = np.array(positions)
    return [(where[fold != at].tolist(), where[fold == at].tolist()) for at in range(count)]


def summary(found: np.ndarray) -> dict[str, Any]:
    """Recall at the cuts, each with its interval, and the mean reciprocal rank."""
    told = retrieval.Ranks(found, 0, np.zeros_like(found))
    return {
        **{
            f"recall@{k}": {
                "value": told.recall(k),
                "interval": retrieval.wilson(told.recall(k), len(found)),
            }
            for k in retrieval.CUTS
        },
        "mean_reciprocal_rank": told.mean_reciprocal,
    }


def cross_validated(
    recipes: dict[str, Recipe], records: Records, columns: dict, positions: list[int]
) -> dict[str, Any]:
    """Each recipe over the same folds: pooled ranks, spread over folds, seconds a fit."""
    family, result = families(records), {}
    for name, recipe in recipes.items():
        began, given = time.perf_counter(), []
        for train, asked in folds(family, positions, FOLDS):
            given.append(ranks(recipe, records, columns, train, asked))
        seconds = (time.perf_counter() - began) / FOLDS
        result[name] = {
            direction: summary(np.concatenate([x[direction] for x in given]))
            | {
                "fold_sd_recall@1": float(
                    np.std([(x[direction] <= 1).mean() for x in given], ddof=1)
                )
            }
            for direction in given[0]
        } | {
            "seconds_a_fit": round(seconds, 2),
            "fold_sizes": [len(x["text_to_image"]) for x in given],
        }
        line = result[name]["text_to_image"]
        print(f"{name:<36}", *(f"{k} {line[f'recall@{k}']['value']:.3f}" for k in retrieval.CUTS),
              f"mrr {line['mean_reciprocal_rank']:.3f}",
              f"| back @1 {result[name]['image_to_text']['recall@1']['value']:.3f}",
              f"{seconds:.1f} s", flush=True)  # fmt: skip
    return result


def crossed(difference: np.ndarray, times: int = 10_000) -> list[float]:
    """95 % interval of a mean [seeds, items], seeds and items both drawn with replacement."""
    rng = draws.generator("crossed bootstrap")
    s, n = difference.shape
    means = [
        difference[rng.integers(s, size=s)][:, rng.integers(n, size=n)].mean() for _ in range(times)
    ]
    return [float(x) for x in np.quantile(means, [0.025, 0.975])]


def five_seeds(folder: Path) -> dict[str, Any]:
    """`sensorium pretrain emoji` with each recipe and seed; the step is chosen on validation."""
    hits: dict[str, dict[str, list[np.ndarray]]] = {name: {} for name in RECIPES}
    result: dict[str, Any] = {"seeds": list(SEEDS)}
    dealt: dict[str, list[float]] = {}
    for name in RECIPES:
        for seed in SEEDS:
            run = pretrain("emoji", name, out=folder / f"{name}-{seed}", seed=seed)
            records = run.records()
            asked = [records[at] for at in records.positions("test")]
            made = {m: run.column(m, asked) for m in ("image", "text")}
            table = run.embed("text", made["text"]) @ run.embed("image", made["image"]).T
            right = pairs(made["text"], made["image"]).right()
            for direction, x in (
                ("text_to_image", retrieval.rank(table, right)),
                ("image_to_text", retrieval.rank(table.T, right.T)),
            ):
                hits[name].setdefault(direction, []).append(x.ranks)
            for score in json.loads((run.folder / "evaluation" / "test.json").read_text()):
                if name == "lit":
                    beside = score["controls"]["partner_shuffled"]["value"]
                    dealt.setdefault(f"{score['direction']} {score['metric']}", []).append(beside)
            print(name, seed, run.info["plan"], "best step", run.info["best_step"],
                  f"{retrieval.rank(table, right).recall(1):.3f}", flush=True)  # fmt: skip
    sizes = dict(zip(("text", "image"), right.shape, strict=True))
    vectors = controls.conse_vectors(run, asked, sizes)
    assert not isinstance(vectors, str), vectors
    conse = vectors["text"] @ vectors["image"].T
    for direction, t, r in (("text_to_image", conse, right), ("image_to_text", conse.T, right.T)):
        told: dict[str, Any] = {"conse": summary(retrieval.rank(t, r).ranks)}
        answers = r.sum(axis=1)
        told["partner_shuffled"] = {
            f"recall@{k}": {"seeds": dealt[f"{direction} recall@{k}"]} for k in retrieval.CUTS
        }
        told["chance"] = {
            f"recall@{k}": retrieval.chance(answers, r.shape[1], k) for k in retrieval.CUTS
        }
        both = {name: np.stack(hits[name][direction]) for name in RECIPES}
        for name, x in both.items():
            told[name] = {
                f"recall@{k}": {
                    "mean": float((x <= k).mean()),
                    "seeds": (x <= k).mean(axis=1).tolist(),
                }
                for k in retrieval.CUTS
            }
        told["lit minus plain_projections"] = {
            f"recall@{k}": {
                "difference": float((both["lit"] <= k).mean() - (both[RECIPES[1]] <= k).mean()),
                "interval": crossed((both["lit"] <= k) * 1.0 - (both[RECIPES[1]] <= k)),
            }
            for k in retrieval.CUTS
        }
        result[direction] = told
    return result


def main(arguments: list[str]) -> None:
    """Runs one of the two measurements and writes it under benchmarks/results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ablate", action="store_true")
    options = parser.parse_args(arguments)
    records = reading.read("emoji")
    columns = columns_of(records)
    chosen = records.positions("train") + records.positions("validation")
    if options.ablate:
        recipes = {name: load("lit", overrides=over) for name, over in ABLATIONS.items()}
        recipes |= {"plain_projections": load("plain_projections")}
        found = cross_validated(recipes, records, columns, chosen)
        write_result("quality_ablation", {"on": "train and validation, by family", **found})
        return
    with tempfile.TemporaryDirectory() as folder:
        seeds = five_seeds(Path(folder))
    everything = list(range(len(records)))
    both = {name: load(name) for name in RECIPES}
    all_concepts = cross_validated(both, records, columns, everything)
    write_result("quality", {"test split, five seeds": seeds, "cross-validation": all_concepts})


if __name__ == "__main__":
    main(sys.argv[1:])
