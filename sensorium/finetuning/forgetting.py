"""Before and after: what tuning gave on the new task, and what it took from the old one.

Asked of the test split, of the new data and of the source's own: accuracy where a class is told,
recall@1 both ways where vectors are compared, and each objective's loss; and, by the very scoring
of `evaluate` over the same records, the captions that are written (CIDEr-D, BLEU-4, ROUGE-L), the
forced choice of who belongs together, and the first guess of a word. Before is the Step that
tuning began with (its new head is as drawn) and, on the old data, the source itself. Differences
are paired by record; those of a loss that is no sum over records (a contrast), and of any loss
where batches are many, by batch. Stored as `evaluation/before_and_after.json`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium import files, scoring
from sensorium.asking import Asked
from sensorium.building import compared
from sensorium.embedding import embed
from sensorium.errors import RunError, UserError
from sensorium.evaluation import pairs
from sensorium.finetuning import inheriting
from sensorium.integrity import read_json
from sensorium.scoring import truth_of
from sensorium.step import Forward, Step, views
from sensorium.tasks import classification
from sensorium.tasks._intervals import means, resampled

if TYPE_CHECKING:
    from sensorium.run import Run

FILE = "before_and_after.json"
SPLIT = "test"
# Class names as texts: open_clip's first and plainest template, and the name itself, averaged.
PROMPTS = ("a photo of a {}", "{}")
FEWEST = 5  # records or batches, below which an interval over them would say nothing
CONTROLS = ("retrieved", "constant")  # beside captions: they need no written one to be judged
MANY = 20  # batches, from which on an interval over them says enough


@dataclass(frozen=True)
class Measured:
    """One metric of one Step: hits bool [n] with the record of each, or sums float [units, 2] of a
    loss and of how many it is the sum, by record or by batch."""

    values: NDArray
    clusters: NDArray[np.int64] | None = None
    unit: str = "record"

    @property
    def count(self) -> float:
        """How many it is the mean of."""
        return len(self.values) if self.clusters is not None else float(self.values[:, 1].sum())

    @property
    def mean(self) -> float:
        """The share of hits, or the loss over all that it is the sum of."""
        if self.clusters is not None:
            return float(self.values.mean())
        return float(self.values[:, 0].sum() / max(1.0, self.values[:, 1].sum()))


def compare(run: Run) -> list[dict[str, Any]]:
    """The table of before and after, as plain data; computed once, then read; again
    where the file is damaged.

    Each row is {which: new or old, metric, better, split, records, before, tuned (where weights
    were interpolated), after, difference, difference_interval, resampled: record or batch}, or
    {which, reason} where nothing could be asked. `resampled` is what was drawn for the interval.
    Rows of captions also have `controls`, name -> value over the same records.
    """
    file = run.folder / "evaluation" / FILE
    try:
        rows = read_json(file, "scores before and after", list)
    except RunError:  # not there yet, or damaged
        rows = []
    if not rows or not all(isinstance(row, dict) and "which" in row for row in rows):
        rows = _new(run) + _old(run)
        file.parent.mkdir(exist_ok=True)
        files.write_json(file, rows)
    if run.info.get("before_and_after") != rows:
        run.note(before_and_after=rows)
    return rows


def _new(run: Run) -> list[dict[str, Any]]:
    steps = {"before": inheriting.beginning(run)} | _after(run)
    given = _asked(run)
    rows = _rows(given, steps, "new") + _again(run, steps, "new")
    told = zero_shot(run, given)
    for row in rows:
        if row.get("metric") == "accuracy":
            row["zero_shot"] = told
    return rows


def _asked(run: Run) -> Asked:
    return Asked.over(run, SPLIT, list(run.columns))


def _after(run: Run) -> dict[str, Step]:
    """The Step that is used and, where its weights are interpolated, the one as tuned."""
    assert run.recipe.tune is not None
    if run.recipe.tune.interpolate is None:
        return {"after": run.step}
    return {"tuned": inheriting.tuned(run, run.best_step), "after": run.step}


def _old(run: Run) -> list[dict[str, Any]]:
    source = inheriting.source_of(run)
    try:
        given = _asked(source)
    except UserError as error:
        why = "; ".join(error.lines)
        return [{"which": "old", "reason": f"the source's data cannot be asked: {why}"}]
    steps = {"before": source.step}
    steps |= {name: inheriting.old_with(run, step) for name, step in _after(run).items()}
    rows = _rows(given, steps, "old") + _again(source, steps, "old")
    if source.missing:
        for row in rows:
            row["missing_records"] = len(source.missing)
    return rows


def _rows(given: Asked, steps: dict[str, Step], which: str) -> list[dict[str, Any]]:
    found = {name: measure(given, step) for name, step in steps.items()}
    rows = []
    for metric, after in found["after"].items():
        if not after.count:
            rows.append({"which": which, "reason": f"{metric}: no {SPLIT} record counts"})
            continue
        before = found["before"][metric]
        loss = after.clusters is None
        key = (given.run.recipe.seed, "before and after", which, metric)
        row: dict[str, Any] = {
            "which": which,
            "metric": metric,
            "better": "lower" if loss else "higher",
            "split": SPLIT,
            "records": len(given.records),
            "resampled": after.unit,
            **{name: measured[metric].mean for name, measured in found.items()},
        }
        if after.clusters is None:
            both = np.concatenate([after.values, before.values], axis=1)
            few = len(both) < FEWEST
            row["difference"] = after.mean - before.mean
            row["difference_interval"] = None if few else resampled(both, _difference, key)
        else:
            told = means(after.values, {"before": before.values}, after.clusters, key)
            beside = told["controls"]["before"]
            row["difference"] = beside["difference"]
            row["difference_interval"] = beside["difference_interval"]
            row["before_interval"], row["after_interval"] = beside["interval"], told["interval"]
        rows.append(row)
    return rows


def _again(run: Run, steps: dict[str, Step], which: str) -> list[dict[str, Any]]:
    """Rows of the tasks that scoring asks of several Steps of a run: records, protocol and seed are
    those of `evaluate`. Hard wrong partners are those of the weights before, for all Steps."""
    run.records()  # read once for all
    runs = {name: replace(run, _step=step) for name, step in steps.items()}
    others = {name: other for name, other in runs.items() if name != "after"}
    scores, unasked = scoring.answered(runs["after"], SPLIT, others)
    rows: list[dict[str, Any]] = [{"which": which, "reason": why} for why in unasked]
    for score in scores:
        if score["metric"].startswith("nats"):
            continue  # the loss says it
        before, tuned = score["controls"]["before"], score["controls"].get("tuned")
        row = {
            "which": which,
            "metric": f"{_subject(score)}, {score['metric']}",
            "better": score["better"],
            "split": SPLIT,
            "records": score["protocol"]["records"],
            "resampled": "record",
            "before": before["value"],
            **({} if tuned is None else {"tuned": tuned["value"]}),
            "after": score["value"],
            "difference": before["difference"],
            "difference_interval": before["difference_interval"],
            "before_interval": before["interval"],
            "after_interval": score["interval"],
        }
        if score["task"] == "captioning":
            row["controls"] = {
                name: score["controls"][name]["value"]
                for name in CONTROLS
                if score["controls"][name]["value"] is not None
            }
        rows.append(row)
    return rows


def _subject(score: dict[str, Any]) -> str:
    """What a score is of: `captions`, `text to image`, `masked_tokens`."""
    if score["task"] == "captioning":
        return "captions"
    return str(score["direction"]).replace("_to_", " to ")


def _difference(sums: NDArray) -> NDArray:
    first, second = sums[:, :2], sums[:, 2:]
    return first[:, 0] / np.maximum(first[:, 1], 1) - second[:, 0] / np.maximum(second[:, 1], 1)


def measure(given: Asked, step: Step) -> dict[str, Measured]:
    """All metrics that a Step of the run's recipe has on some records: metric -> measured."""
    run = given.run
    found: dict[str, Measured] = {}
    step.eval()
    sums, logits = _passes(given, step)
    owners = np.arange(len(given.records))
    if logits is not None:
        truth = truth_of(run, given, "label")
        hits = classification.answers(logits, truth).rank <= 1
        if not (truth >= 0).any():  # none could be right: no share of hits says anything
            hits, owners = hits[:0], owners[:0]
        found["accuracy"] = Measured(hits, owners)
    if {"image", "text"} <= set(compared(step)):
        vectors = {
            name: embed(step, run.recipe, run.reader(name), given.columns[name], run.device)
            for name in ("image", "text")
        }
        for asks, pool in (("text", "image"), ("image", "text")):
            problem = pairs(given.columns[asks], given.columns[pool])
            hits = problem.rank(vectors[asks], vectors[pool]).ranks <= 1
            found[f"{asks} to {pool}, recall@1"] = Measured(hits, problem.left_owner)
    for name, values in sums.items():
        unit = "batch"
        if len(values) < MANY and step.objectives[name].additive:
            values, unit = _by_record(given, step, name), "record"
        found[f"{name} loss"] = Measured(values, unit=unit)
    return found


@torch.no_grad()
def _by_record(given: Asked, step: Step, name: str) -> NDArray[np.float64]:
    """The sums [n, 2] of an objective whose loss is a sum over records, each asked alone."""
    objective = step.objectives[name]
    sums = []
    for _, batch in given.batches(views({name: objective}), 1):
        got = Forward(step.model, batch, step.teacher)
        answers = {what: got(node) for what, node in objective.needs().items()}
        loss = objective.score(answers, batch)
        sums.append((float(loss.sum), float(loss.count)))
    return np.array(sums)


@torch.no_grad()
def _passes(given: Asked, step: Step) -> tuple[dict[str, NDArray[np.float64]], NDArray | None]:
    """Each objective's sums [batches, 2] and, of a classification, the logits [n, classes]."""
    sums: dict[str, list[tuple[float, float]]] = {}
    logits: list[torch.Tensor] = []
    for _, batch in given.batches(views(step.objectives), given.run.recipe.optimiser.batch):
        outcome = step(batch)
        for name, loss in outcome.losses.items():
            sums.setdefault(name, []).append((float(loss.sum), float(loss.count)))
        if "classification" in outcome.answers:
            objective = step.objectives["classification"]
            logits.append(objective.logits(outcome.answers["classification"], batch).cpu())
    made = {name: np.array(values) for name, values in sums.items()}
    return made, torch.cat(logits).numpy() if logits else None


def zero_shot(run: Run, given: Asked) -> dict[str, Any]:
    """Accuracy of the source without any tuning: the class whose name, as a text, is nearest to the
    picture. {value, interval, prompts}, or {value: null, reason}.

    A class's vector is the mean of its `PROMPTS`' vectors (mlfoundations/open_clip
    `src/open_clip/zero_shot_classifier.py`).
    """
    source = inheriting.source_of(run)
    if "image" not in run.recipe.modalities or "text" in run.recipe.modalities:
        return {"value": None, "reason": "not asked of pictures alone"}
    if not source.compares:
        return {"value": None, "reason": "the source compares no pictures with texts"}
    names = run.reader("label").modality.classes
    texts = np.stack(
        [
            np.mean([source.vector("text", p.format(name), name) for p in PROMPTS], axis=0)
            for name in names
        ]
    )
    texts /= np.linalg.norm(texts, axis=1, keepdims=True).clip(1e-12)
    pictures = embed(
        source.step, source.recipe, source.reader("image"), given.columns["image"], run.device
    )
    hits = classification.answers(pictures @ texts.T, truth_of(run, given, "label")).rank <= 1
    told = means(hits, {}, np.arange(len(hits)), (run.recipe.seed, "zero-shot"), shares=True)
    return {"value": told["value"], "interval": told["interval"], "prompts": list(PROMPTS)}
