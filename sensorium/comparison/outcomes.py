"""What a comparison measures of a run, item by item: one value for each record that was asked.

Items are named by their record, so that seeds and arms answer the same ones and differences are
paired. How an arm answers a forced choice follows from what it was trained for: by its match logit,
else by the likelihood of the text, else by the cosine of its vectors; `how` says which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium import draws, scoring
from sensorium.asking import Asked
from sensorium.comparison.arena import Arena
from sensorium.comparison.measure import Measure
from sensorium.errors import RunError
from sensorium.nodes import Encode, Read
from sensorium.recipe import Recipe
from sensorium.run import Run
from sensorium.step import Step
from sensorium.tasks import classification
from sensorium.writing import writes

PROBED = 4000  # training records that a probe is fitted on
BATCH = 64  # records of a batch whose loss is an item; the same for arms that train with others
PENALTIES = (1e-4, 1e-2, 1.0)  # of a probe's squared weights; validation chooses
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """keys: the record of each item. values: float64 [items]. how: by which means, in words."""

    keys: tuple[str, ...]
    values: Float
    how: str

    @property
    def mean(self) -> float:
        """Over all items."""
        return float(self.values.mean())


def outcome(run: Run, arena: Arena, asked: Measure, split: str) -> Outcome:
    """One outcome of a run's present weights on a split.

    Args:
        run: its `step` is asked as it is, in evaluation mode.
        split: `validation` or `test`.

    Raises:
        RunError: the arm cannot be asked that; names what it lacks.
        DataError: a field that the outcome is about cannot be read.
    """
    made = {"choice": _choice, "accuracy": _accuracy, "retrieval": _retrieval, "probe": _probe,
            "loss": _loss}[asked.kind]  # fmt: skip
    with _evaluating(run.step):
        found = made(run, arena, asked, split)
    if not len(found.values):
        raise RunError(
            file=run.folder, field=f"split {split}", expected=f"records to ask {asked} of",
            found="none",
        )  # fmt: skip
    return found


@contextmanager
def _evaluating(step: Step) -> Iterator[None]:
    was = step.training
    step.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        step.train(was)


def _over(
    run: Run, arena: Arena, split: str, needed: Sequence[str], absent: Sequence[str] = (),
    others: dict[str, str] | None = None,
) -> Asked:  # fmt: skip
    """The records that have all that is needed, with these columns alone.

    Args:
        absent: modalities that are taken away; a record need not have them.
        others: name of a column -> the field that it is of, where that is not the run's own.
    """
    columns, records = arena.columns(run.recipe, split), arena.asked(split)
    for name, where in (others or {}).items():
        columns[name] = arena.column(arena.reader(run.recipe, "text"), where, split)
    whole = [at for at in range(len(records)) if all(columns[x].index[at] for x in needed)]
    kept = {name: columns[name] for name in (*needed, *absent)}
    if len(whole) < len(records):
        kept = {name: made.part(whole) for name, made in kept.items()}
    return Asked(run, split, [records[at] for at in whole], kept, len(whole), tuple(needed))


def _keys(asked: Asked) -> tuple[str, ...]:
    return tuple(record.key for record in asked.records)


# --- forced choices ----------------------------------------------------------------------------


def askable(step: Step, asked: Measure) -> bool:
    """Whether an outcome can be asked of a step without the modalities that are absent: of vectors
    it cannot, nor about a text that is not there."""
    if not asked.absent:
        return True
    if asked.kind != "choice":
        return asked.kind == "accuracy"
    return "text" not in asked.absent and (_matches(step) or writes(step)) is not None


def _matches(step: Step) -> str | None:
    return next((x for x, y in step.objectives.items() if y.spec.use == "matching"), None)


def _choice(run: Run, arena: Arena, asked: Measure, split: str) -> Outcome:
    """The own text against its twin; a tie is lost."""
    assert asked.name is not None
    if not askable(run.step, asked):
        raise RunError(
            file=run.folder, field=str(asked.name), found=", ".join(run.step.objectives),
            expected=f"an arm that chooses without {', '.join(asked.absent)}: one that matches or "
            "predicts words",
        )  # fmt: skip
    needed = [*(x for x in run.recipe.modalities if x not in asked.absent), "twin"]
    own = _over(run, arena, split, needed, asked.absent, {"twin": asked.name})
    other = own.columns.pop("twin")  # it takes the text's place and is no modality of its own
    twin = replace(own, columns=own.columns | {"text": other})
    change = dict.fromkeys(asked.absent)
    if (name := _matches(run.step)) is not None:
        how = "match logit"
        values = [scoring.match_logits(run, x, name, change) for x in (own, twin)]
    elif (read := writes(run.step)) is not None:
        how = "log-likelihood of the text"
        values = [_likelihood(run, x, read, change) for x in (own, twin)]
    elif run.compares:
        how = "cosine of vectors"
        pictures = _vectors(run, own, "image")
        values = [(pictures * _vectors(run, x, "text")).sum(1) for x in (own, twin)]
    else:
        raise RunError(
            file=run.folder, expected="an arm that matches, predicts words or compares vectors",
            found=", ".join(run.step.objectives),
        )  # fmt: skip
    return Outcome(_keys(own), (values[0] > values[1]).astype(float), how)


def _likelihood(run: Run, asked: Asked, read: Read, change: dict[str, None]) -> Float:
    """log p(text | the rest) of each record, all its words, float64 [n]."""
    if read.view.order == "prefix":  # nothing of the text is given
        read = _causal(read)
    found = scoring.guesses(run, asked, read, change)
    return -np.bincount(found.owner, found.nats, len(asked)).astype(np.float64)


def _causal(read: Read) -> Read:
    view = replace(read.view, order="causal")
    of: Any = read.of
    if isinstance(of, Encode):
        return replace(read, of=replace(of, view=view))
    parts = tuple(replace(x, view=view) if at == read.part else x for at, x in enumerate(of.parts))
    return replace(read, of=replace(of, parts=parts))


def _vectors(run: Run, asked: Asked, name: str) -> Float:
    """Of each record's first item, unit length, float64 [n, e]."""
    made = asked.columns[name]
    return run.embed(name, made)[[items[0] for items in made.index]].astype(np.float64)


# --- classes -----------------------------------------------------------------------------------


def _accuracy(run: Run, arena: Arena, asked: Measure, split: str) -> Outcome:
    name = next(
        (x for x, y in run.step.objectives.items()
         if y.spec.use == "classification" and y.spec.target == asked.name), None
    )  # fmt: skip
    if name is None:
        raise RunError(file=run.folder, expected=f"an objective that tells {asked.name}",
                       found=", ".join(run.step.objectives))  # fmt: skip
    of = scoring.needed_of(run, name)
    absent = [x for x in asked.absent if x in of]
    whole = _over(run, arena, split, [x for x in of if x not in absent], absent)
    truth = scoring.truth_of(run, whole, str(asked.name))
    logits = scoring.class_logits(run, whole, name, dict.fromkeys(absent))
    right = classification.answers(logits, truth).rank == 1
    return Outcome(_keys(whole), right.astype(float), "the likeliest class; a tie is lost")


# --- retrieval ---------------------------------------------------------------------------------


def _retrieval(run: Run, arena: Arena, asked: Measure, split: str) -> Outcome:
    """Whether the right one is among the first; text may be read from another field."""
    from sensorium.evaluation import pairs

    source, sought = str(asked.source), str(asked.sought)
    others = None if asked.name is None else {"text": asked.name}
    whole = _over(run, arena, split, [source, sought], others=others)
    vectors = {name: run.embed(name, whole.columns[name]) for name in (source, sought)}
    ranks = pairs(whole.columns[source], whole.columns[sought]).rank(
        vectors[source], vectors[sought]
    )
    first = [items[0] for items in whole.columns[source].index]
    hits = (ranks.ranks <= int(asked.first or 1))[first]
    return Outcome(_keys(whole), hits.astype(float), f"gallery of {ranks.pool:,}; a tie is lost")


# --- probes ------------------------------------------------------------------------------------


def _probe(run: Run, arena: Arena, asked: Measure, split: str) -> Outcome:
    """A linear classifier of a field on the frozen states of the first modality.

    Multinomial logistic regression with squared weights penalised, fitted on training records; of
    `PENALTIES` the one that does best on validation.
    """
    assert asked.name is not None
    modality = "image" if "image" in run.recipe.modalities else next(iter(run.recipe.modalities))
    chosen = _fitting(arena, asked.name, run.recipe)
    train = _labelled(run, arena, modality, asked.name, chosen)
    classes = sorted(set(train[1]))
    place = {name: at for at, name in enumerate(classes)}
    told = {
        name: _labelled(run, arena, modality, asked.name, arena.asked(name), name)
        for name in dict.fromkeys(("validation", split))
    }
    mean, spread = train[0].mean(0), train[0].std(0) + 1e-6
    target = torch.tensor([place[x] for x in train[1]])
    given = torch.from_numpy((train[0] - mean) / spread)
    best: tuple[float, Any] = (-1.0, None)
    for penalty in PENALTIES:
        weights = _logistic(given, target, len(classes), penalty)
        states, names, _ = told["validation"]
        share = float(np.mean(_right(weights, (states - mean) / spread, names, place)))
        if share > best[0]:
            best = (share, weights)
    states, names, keys = told[split]
    right = _right(best[1], (states - mean) / spread, names, place)
    how = f"linear probe on {modality} states, {len(target):,} training records"
    return Outcome(keys, right.astype(float), how)


def _fitting(arena: Arena, field: str, recipe: Recipe) -> list[Any]:
    records = [arena.records[at] for at in arena.records.positions("train")]
    places = draws.sample([x.key for x in records], PROBED, "comparison", "probe", field)
    return [records[at] for at in places]


def _labelled(
    run: Run, arena: Arena, modality: str, field: str, records: list[Any], split: str = "train"
) -> tuple[Float, list[str], tuple[str, ...]]:
    """Pooled states [n, d], the field's values and the keys of the records that have both."""
    from sensorium.embedding import pooled

    where = run.field(modality)
    if split == "train":
        place = {record.key: at for at, record in enumerate(arena.records)}
        made = arena.column(run.reader(modality), where)
        made = made.part([place[record.key] for record in records])
    else:
        made = arena.column(run.reader(modality), where, split)
    whole = [
        at for at, record in enumerate(records)
        if made.index[at] and record.fields.get(field) not in (None, "")
    ]  # fmt: skip
    states = pooled(run.step, run.recipe, run.reader(modality), made.part(whole), run.device)
    some = [records[at] for at in whole]
    return (
        states.astype(np.float64),
        [str(record.fields[field]) for record in some],
        tuple(record.key for record in some),
    )


def _logistic(
    given: torch.Tensor, target: torch.Tensor, classes: int, penalty: float
) -> torch.Tensor:
    """Weights float64 [d + 1, classes] of the regression, the last row the bias."""
    given = torch.cat([given, torch.ones(len(given), 1, dtype=given.dtype)], 1)
    with torch.enable_grad():
        weights = torch.zeros(given.shape[1], classes, dtype=given.dtype, requires_grad=True)
        solver = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            solver.zero_grad()
            loss = torch.nn.functional.cross_entropy(given @ weights, target)
            loss = loss + penalty * weights[:-1].square().sum() / 2
            loss.backward()
            return loss

        solver.step(closure)
    return weights.detach()


def _right(
    weights: torch.Tensor, states: Float, names: list[str], place: dict[str, int]
) -> NDArray[np.bool_]:
    given = torch.from_numpy(np.concatenate([states, np.ones((len(states), 1))], 1))
    guess = (given @ weights).argmax(1).numpy()
    return guess == np.array([place.get(name, -1) for name in names])


# --- losses ------------------------------------------------------------------------------------


def _loss(run: Run, arena: Arena, asked: Measure, split: str) -> Outcome:
    """An objective's loss: of words by record, of anything else by batch."""
    name = str(asked.name)
    if run.step.objectives[name].spec.use in ("generation", "masked_tokens"):
        whole = _over(run, arena, split, list(run.recipe.modalities))
        found = scoring.guesses(run, whole, scoring.predicts(run, name))
        count = np.bincount(found.owner, minlength=len(whole))
        sums = np.bincount(found.owner, found.nats, len(whole)).astype(np.float64)
        rows = np.flatnonzero(count)
        keys = tuple(whole.records[at].key for at in rows)
        return Outcome(keys, sums[rows] / count[rows], "nats a word, mean of each record")
    whole = _over(run, arena, split, list(run.columns))
    size = min(BATCH, len(whole))
    order = draws.order(len(whole), "comparison", "loss", split)[: len(whole) // size * size]
    table, _ = scoring.loss_sums(run, run.step, whole, name, size, order)
    keys = tuple(f"batch {at}" for at in range(len(table)))
    return Outcome(keys, table[:, 0] / np.maximum(table[:, 1], 1), f"batches of {size}")
