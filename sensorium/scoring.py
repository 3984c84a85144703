"""Which tasks fit a run, and what its model answers to them; `tasks` turns answers into scores.

Every objective has a task: words that are predicted, pairs that are matched, classes that are told,
and for any other its loss. Comparing pictures with texts is retrieval, in `evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium import draws
from sensorium.asking import Asked, Partners, stand_in
from sensorium.errors import RunError, UserError
from sensorium.nodes import Fuse, Read
from sensorium.prepare import Column
from sensorium.step import Step
from sensorium.step import views as views_of
from sensorium.tasks import captioning, classification, loss, matching, prediction
from sensorium.views import View, look

if TYPE_CHECKING:
    from sensorium.run import Run

_BATCH = 64
_WORDS = 32  # records whose logits over a vocabulary are in memory at once; more of short texts
_LOGITS = 2**22  # of these, so many at most
_COUNTED = 20_000  # training records whose words are counted
_FEWEST = 8  # records of a batch, below which a contrast would be too easy
WRITTEN = 200  # records that captions are written for
Change = Mapping[str, Partners | None]
Others = Mapping[str, "Run"]  # the same run with other weights, whose answers stand among controls
AGAIN = ("captioning", "matching", "prediction")  # tasks that can be asked of other weights too


def scores(run: Run, split: str) -> list[dict[str, Any]]:
    """The scores of all tasks that fit a run but retrieval, in the order that people care for."""
    return answered(run, split)[0]


def answered(
    run: Run, split: str, others: Others | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """`scores`, and for each task that this split cannot ask a sentence why.

    Args:
        others: name -> the run with other weights; asked the very same of the tasks of `AGAIN`,
            which then are all that is asked, they stand among the controls by this name. The first
            of them says which wrong partners are hard.
    """
    was = run.step.training
    run.step.eval()
    made: dict[str, list[dict[str, Any]]] = {name: [] for name in _ORDER}
    unasked: list[str] = []

    def ask(task: str, name: str, answer: Callable[[], list[dict[str, Any]]]) -> None:
        found, why = asked_of(split, answer)
        made[task] += found
        if not found:
            unasked.append(f"{task} ({name}): {why or _NOTHING.get(task, 'no such records')}")

    try:
        for name, objective in run.step.objectives.items():
            task, maker = _TASKS.get(objective.spec.use, ("loss", _loss))
            if others is not None and task in AGAIN:
                ask(task, name, partial(maker, run, split, name, others=others))
            elif others is None and (task != "loss" or not _retrieves(objective)):
                ask(task, name, partial(maker, run, split, name))
        if written := writer(run):
            ask("captioning", "captions", partial(_captioning, run, split, written, others or {}))
    finally:
        run.step.train(was)
    return [score for found in made.values() for score in found], unasked


def asked_of(
    split: str, answer: Callable[[], list[dict[str, Any]]]
) -> tuple[list[dict[str, Any]], str]:
    """What one task answers; where the split has too few records for it, nothing and why.

    Raises:
        UserError: whatever else is wrong, e.g. data that is gone.
    """
    try:
        return answer(), ""
    except RunError as error:
        if error.field != f"split {split}":
            raise
        return [], f"expected {error.expected}, found {error.found}"


def _retrieves(objective: Any) -> bool:
    """Whether it compares pictures with texts, so that retrieval scores it."""
    reads = [node for node in objective.needs().values() if node.give == "vector"]
    return {"image", "text"} <= {node.view.modality for node in reads if not node.view.variant}


def _others(run: Run, modality: str) -> list[str]:
    return [name for name in run.recipe.modalities if name != modality]


def _swapped(run: Run, asked: Asked, names: list[str], among: list[str]) -> Change:
    """Other records' items for some modalities; a record that nobody differs from keeps its own."""
    found = asked.strangers(among)
    found = np.where(found < 0, np.arange(len(asked)), found)
    return dict.fromkeys(names, found)


def _alone(run: Run, kept: str) -> Change:
    """All modalities but one absent."""
    return dict.fromkeys(_others(run, kept))


def _no_stand_in(run: Run, kept: str) -> str | None:
    """Why one modality cannot be asked alone, if it cannot."""
    for name in _others(run, kept):
        if not stand_in(run.step, name):
            return f"this model has nothing to put in the place of an absent {name}"
    return None


# --- words -------------------------------------------------------------------------------------


def predicts(run: Run, name: str) -> Read:
    """What an objective reads to predict words."""
    return run.step.objectives[name].needs()["logits"]


def guesses(
    run: Run, asked: Asked, read: Read, change: Change | None = None, rows: Any = None
) -> prediction.Guesses:
    """What the model guesses at every place that a view asks for."""
    parts = []
    about = run.modalities[read.view.modality]
    size = min(max(_WORDS, _LOGITS // (about.length * about.vocabulary)), 8 * _WORDS)
    for places, batch in asked.batches([read.view], size, change, rows):
        seen = look(read.view, batch)
        assert seen.truth is not None, "a view of words that predicts knows the truth"
        owner = torch.as_tensor(places, device=seen.truth.device)[seen.owner]
        logits = run.step.read(read, batch)
        pieces = range(0, max(len(logits), 1), 256)  # in float64, so some places at a time
        parts += [
            prediction.guesses(logits[a : a + 256], seen.truth[a : a + 256], owner[a : a + 256])
            for a in pieces
        ]
    return prediction.joined(parts)


def _prediction(
    run: Run, split: str, name: str, others: Others | None = None
) -> list[dict[str, Any]]:
    read = predicts(run, name)
    modality = read.view.modality
    meets = isinstance(read.of, Fuse)
    needed = list(run.recipe.modalities) if meets else [modality]
    asked = Asked.over(run, split, needed)
    own = guesses(run, asked, read)
    if not len(own.nats):
        return []
    beside: dict[str, prediction.Guesses | str] = {}
    if meets:
        swapped = _swapped(run, asked, _others(run, modality), needed)
        beside["partner_shuffled"] = guesses(run, asked, read, swapped)
        beside[f"{modality}_alone"] = _no_stand_in(run, modality) or guesses(
            run, asked, read, _alone(run, modality)
        )
    vocabulary = run.modalities[modality].vocabulary
    counts, counted = _frequencies(run, read.view, vocabulary)
    beside["unigram"] = prediction.unigram(counts, own)
    beside |= {also: guesses(other, asked, read) for also, other in (others or {}).items()}
    protocol = asked.protocol | {
        "objective": name,
        "unigram": f"fitted on {counted:,} training records, one added to each count",
    }
    if meets:
        protocol["partner_shuffled"] = f"the {' and '.join(_others(run, modality))} of another"
    key = (run.recipe.seed, "bootstrap", split, name)
    return prediction.scores(own, beside, vocabulary, name, protocol, key)


def _frequencies(run: Run, view: View, vocabulary: int) -> tuple[NDArray[np.int64], int]:
    """How often each entry is to be predicted in training, int64 [V], and of how many records."""
    asked = Asked.over(run, "train", [view.modality], _COUNTED)
    counts = np.zeros(vocabulary, np.int64)
    for _, batch in asked.batches([view], 256):
        truth = look(view, batch).truth
        assert truth is not None
        counts += np.bincount(truth.cpu().numpy(), minlength=vocabulary)
    return counts, len(asked)


# --- pairs -------------------------------------------------------------------------------------


def match_logits(
    run: Run, asked: Asked, name: str, change: Change | None = None, rows: Any = None
) -> NDArray[np.float64]:
    """How much rather each pair is a match than not: log odds, float64 [rows]."""
    objective = run.step.objectives[name]
    read = Read(objective.given.fuse(), "joint")
    found = []
    for _, batch in asked.batches([], _BATCH, change, rows):
        with torch.no_grad():
            logits = objective.head(run.step.read(read, batch)).double()
        rest = [at for at in range(logits.shape[1]) if at != _MATCH]
        found.append((logits[:, _MATCH] - logits[:, rest].logsumexp(1)).cpu().numpy())
    return np.concatenate(found)


_MATCH = 0  # the class of a right pair, as objectives/matching.py numbers them


def _matching(
    run: Run, split: str, name: str, others: Others | None = None
) -> list[dict[str, Any]]:
    pair = run.step.objectives[name].spec.between
    asked = Asked.over(run, split, list(run.recipe.modalities))
    random = asked.strangers(pair)
    others = others or {}
    hard = _nearest(next(iter(others.values()), run), asked)
    made = []
    for given, sought in (pair[::-1], pair):
        direction = f"{given}_to_{sought}"
        for metric, wrong in (("forced choice", random), ("forced choice, hard", hard.get(sought))):
            if wrong is None or not (wrong >= 0).any():
                continue
            made.append(_choice(run, asked, name, direction, metric, wrong, others))
    return made


def _choice(
    run: Run, asked: Asked, name: str, direction: str, metric: str, wrong: Partners, others: Others
) -> dict[str, Any]:
    """One direction: the given modality stays, the sought one is the own or a wrong one."""
    given, _, sought = direction.partition("_to_")
    rows = np.flatnonzero(wrong >= 0)
    swap = {sought: np.where(wrong < 0, 0, wrong)}

    def choice(also: Change, of: Run = run) -> matching.Choice:
        own = match_logits(of, asked, name, also, rows)
        return own, match_logits(of, asked, name, {**also, **swap}, rows)

    alone = f"{sought}_alone"
    reason = _no_stand_in(run, sought)
    beside: dict[str, matching.Choice | str] = {alone: reason or choice(_alone(run, sought))}
    if run.compares:
        beside["vectors"] = _cosines(run, asked, given, sought, rows, wrong)
    beside |= {also: choice({}, other) for also, other in others.items()}
    drawn = "the nearest by the run's vectors" if "hard" in metric else "drawn by key"
    protocol = asked.protocol | {
        "objective": name,
        "wrong_partner": f"{drawn}, of those that share no content with the record",
        alone: f"the {given} is absent on both sides",
    }
    key = (run.recipe.seed, "bootstrap", asked.split, name)
    return matching.score(choice({}), beside, direction, metric, protocol, key)


def _vectors(run: Run, asked: Asked) -> dict[str, NDArray]:
    """The vector of each record's first item: modality -> float32 [n, e]."""
    told = {}
    for name in ("image", "text"):
        made = asked.columns[name]
        told[name] = run.embed(name, made)[[items[0] for items in made.index]]
    return told


def _nearest(run: Run, asked: Asked) -> dict[str, Partners]:
    """Sought modality -> for each record the wrong one that its own vectors take for right."""
    if not run.compares:
        return {}
    from sensorium.evaluation import pairs

    vectors, n = _vectors(run, asked), len(asked)
    first = {name: [items[0] for items in asked.columns[name].index] for name in vectors}
    found = {}
    for given, sought in (("text", "image"), ("image", "text")):
        problem = pairs(asked.columns[given], asked.columns[sought])
        near = np.full(n, -1)
        for at in range(n):
            right = problem.right(range(first[given][at], first[given][at] + 1))[0][first[sought]]
            likeness = np.where(right, -np.inf, vectors[sought] @ vectors[given][at])
            if np.isfinite(likeness).any():
                near[at] = int(likeness.argmax())
        found[sought] = near
    return found


def _cosines(
    run: Run, asked: Asked, given: str, sought: str, rows: NDArray, wrong: Partners
) -> matching.Choice:
    vectors = _vectors(run, asked)
    mine, own, other = vectors[given][rows], vectors[sought][rows], vectors[sought][wrong[rows]]
    return (mine * own).sum(axis=1), (mine * other).sum(axis=1)


# --- classes -----------------------------------------------------------------------------------


def class_logits(
    run: Run, asked: Asked, name: str, change: Change | None = None, rows: Any = None
) -> NDArray[np.float64]:
    """What each record may be, by one objective: float64 [rows, K]."""
    objective = run.step.objectives[name]
    found = []
    for _, batch in asked.batches([], _BATCH, change, rows):
        with torch.no_grad():
            got = {what: run.step.read(node, batch) for what, node in objective.needs().items()}
            found.append(objective.logits(got, batch).double().cpu().numpy())
    return np.concatenate(found)


def needed_of(run: Run, name: str) -> list[str]:
    """The columns that a classification needs: what it is told from, and the class."""
    objective = run.step.objectives[name]
    of = run.recipe.modalities if objective.joint else objective.of
    return [*of, objective.spec.target]


def truth_of(run: Run, asked: Asked, target: str) -> NDArray[np.int64]:
    """The class of each record, int64 [n]; -1 for one that training lacked."""
    made, about = asked.columns[target], run.modalities[target]
    return np.array([about.index(made.items[items[0]]) for items in made.index], np.int64)


def _classification(run: Run, split: str, name: str) -> list[dict[str, Any]]:
    objective = run.step.objectives[name]
    target, of = objective.spec.target, list(objective.of)
    asked = Asked.over(run, split, needed_of(run, name))
    truth = truth_of(run, asked, target)

    def told(change: Change) -> classification.Answers:
        return classification.answers(class_logits(run, asked, name, change), truth)

    beside: dict[str, classification.Answers | str] = {}
    if len(of) > 1:
        # Another record's item of the first modality (the picture), the rest its own.
        beside["partner_shuffled"] = told(_swapped(run, asked, of[:1], of[:1]))
        for kept in of:
            # Side by side, what is absent counts as zero; fused, something must stand there.
            reason = _no_stand_in(run, kept) if objective.joint else None
            beside[f"{kept}_alone"] = reason or told({x: None for x in of if x != kept})
    trained = Asked.over(run, "train", [target], None)
    classes = len(run.modalities[target].classes)
    counts = np.bincount(truth_of(run, trained, target), minlength=classes)
    beside["majority"] = classification.frequent(counts, truth)
    protocol = asked.protocol | {
        "objective": name,
        "field": run.fields[target],
        "majority": f"the most frequent class of {len(trained):,} training records; nats by their "
        "frequencies, one added to each",
    }
    if len(of) > 1:
        protocol["partner_shuffled"] = f"the {of[0]} of another record"
    key = (run.recipe.seed, "bootstrap", split, name)
    return classification.scores(own=told({}), others=beside, classes=classes, direction=target,
                                 protocol=protocol, key=key)  # fmt: skip


# --- captions ----------------------------------------------------------------------------------


def writer(run: Run) -> Read | None:
    """What a run writes captions of pictures with, or None."""
    from sensorium.writing import writes

    read = writes(run.step)
    pictured = read is not None and isinstance(read.of, Fuse) and "image" in run.recipe.modalities
    return read if pictured else None


def _written(run: Run, read: Read, asked: Asked) -> list[str]:
    """The caption that is written for each record's first picture."""
    from sensorium import writing

    pictures, told = asked.columns["image"], []
    for start in range(0, len(asked), _WORDS):
        some = pictures.index[start : start + _WORDS]
        written = writing.write(run, read, [pictures.items[items[0]] for items in some])
        told += [str(one["caption"]) for one in written]
    return told


def _captioning(run: Run, split: str, read: Read, others: Others) -> list[dict[str, Any]]:
    from sensorium import writing

    asked = Asked.over(run, split, ["image", "text"], WRITTEN)
    texts, told = asked.columns["text"], _written(run, read, asked)
    references = [[str(texts.items[item]) for item in items] for items in texts.index]
    trained = Asked.over(run, "train", ["image", "text"], _COUNTED)
    known = [str(text) for text in trained.columns["text"].items]
    strangers = asked.strangers(["image", "text"])
    strangers = np.where(strangers < 0, np.arange(len(asked)), strangers)
    found, how = recalled(run, asked)
    beside: dict[str, list[str] | str] = {
        "retrieved": found,
        "constant": [captioning.constant(known)] * len(asked),
        "partner_shuffled": [told[at] for at in strangers],
    }
    beside |= {also: _written(other, read, asked) for also, other in others.items()}
    protocol = asked.protocol | {
        "written": f"beam search, {writing.WIDTH} beams",
        "retrieved": how,
        "constant": f"the most frequent of {len(known):,} training captions",
        "partner_shuffled": "the caption that was written for another record",
    }
    key = (run.recipe.seed, "bootstrap", split, "captions")
    return captioning.scores(told, references, beside, protocol, key)


def recalled(run: Run, asked: Asked, rows: list[int] | None = None) -> tuple[list[str], str]:
    """The caption of training that is found for each picture, and how; see `recalling`."""
    from sensorium import recalling

    made = asked.columns["image"]
    first = [made.index[at][0] for at in (range(len(asked)) if rows is None else rows)]
    items = np.asarray(made.items)[first]
    places = [[at] for at in range(len(first))]
    pictures = Column("image", items, places, made.identity[first], made.features)
    return recalling.captions(run, pictures)


# --- any other ---------------------------------------------------------------------------------


def _loss(run: Run, split: str, name: str) -> list[dict[str, Any]]:
    try:
        asked = Asked.over(run, split, list(run.columns))
    except UserError:  # e.g. no record of the split has the second text
        return []
    n = len(asked)
    most = min(run.recipe.optimiser.batch, max(n // loss.FEWEST, min(n, _FEWEST)))
    size = n // (n // most)
    rows = draws.order(n, run.recipe.seed, "loss", split)
    rows = rows[: n // size * size]  # no short batch: its loss would be another
    own, luck = loss_sums(run, run.step, asked, name, size, rows)
    if not own[:, 1].any():
        return []  # nothing was counted, and a loss of 0 would look like skill
    other, other_luck = loss_sums(run, run.build().eval(), asked, name, size, rows)
    level = abs(other_luck - luck) < 0.01 * max(abs(luck), 1e-9)
    untrained = other if level else "untrained, it is asked something easier: nothing is queued"
    protocol = asked.protocol | {
        "objective": name,
        "records": len(rows),
        "batch": size,
        "untrained": "the same model with its initial weights",
    }
    key = (run.recipe.seed, "bootstrap", split, name)
    return [loss.score(own, {"untrained": untrained}, luck, name, protocol, key)]


def loss_sums(
    run: Run, step: Step, asked: Asked, name: str, size: int, rows: NDArray
) -> tuple[loss.Sums, float]:
    """An objective's sums over batches, and its mean without skill."""
    sums, luck = [], 0.0
    for _, batch in asked.batches(views_of(step.objectives), size, rows=rows.tolist()):
        with torch.no_grad():
            found = step(batch).losses[name]
        sums.append([float(found.sum), float(found.count)])
        luck += float(found.chance * found.count)
    table = np.array(sums)
    return table, luck / max(float(table[:, 1].sum()), 1.0)


_TASKS: dict[str, tuple[str, Callable[..., list[dict[str, Any]]]]] = {
    "masked_tokens": ("prediction", _prediction),
    "generation": ("prediction", _prediction),
    "matching": ("matching", _matching),
    "classification": ("classification", _classification),
}
_NOTHING = {  # why a split asks nothing of a task though its records are enough
    "prediction": "no word of these records is to be guessed",
    "loss": "no record of the split counts in it",
    "matching": "no record has a wrong partner that shares nothing with it",
}
# The first of these that a run has is what its report says first; retrieval comes before all but
# classes, for whoever names classes wants them told.
_ORDER = ("classification", "captioning", "matching", "prediction", "loss")
