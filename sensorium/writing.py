"""A trained model writes: captions of pictures, or the likeliest of some given texts.

`Writer` is the walk token by token: what decoding asks of a model (`generate.Continue`), over the
same modules and the same rule of attention as in training, with a cache of keys and values. It
writes with the view that an objective predicts next words in; a model whose objectives do not
cannot write. Letters: n = rows, t = tokens, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sensorium import generate
from sensorium.answers import Answers, likelihoods
from sensorium.caching import Cache
from sensorium.errors import RunError, UserError, command
from sensorium.finetuning import deriving
from sensorium.loading import gather
from sensorium.model import State
from sensorium.nodes import Fuse, Read
from sensorium.prepare import Column, one
from sensorium.records import Blob, Record, Source
from sensorium.step import Step, plan
from sensorium.tokens import Tokens
from sensorium.views import RANK, Look

if TYPE_CHECKING:
    from sensorium.run import Run

WIDTH = 4  # beams
_CHUNK = 32  # pictures written about together


def writes(step: Step) -> Read | None:
    """The read of next words that the objectives train, or None: such a model cannot write."""
    for node in plan(step.objectives):
        if isinstance(node, Read) and node.give == "logits" and node.who == "student":
            view = node.view
            if not view.edits and view.order != "full":
                alone = not isinstance(node.of, Fuse)
                if alone or step.model.fusion.decodes:
                    return node
    return None


class Writer:
    """A text that goes on, one row a record; see `generate.Continue`.

    Args:
        step: whose model writes.
        read: of next words, as `writes` found it.
        memory: the other parts' states, in the order of the parts, the text's place left out; n
            rows each. Empty for a model of text alone.
        cached: False computes all from the beginning at each call, for comparison.
    """

    def __init__(self, step: Step, read: Read, memory: list[State], cached: bool = True) -> None:
        self.step, self.read, self.memory = step, read, memory
        self.cache = Cache() if cached else None
        self.length: torch.Tensor | None = None  # real tokens of each row, int64 [n]
        self.seen: tuple[torch.Tensor, torch.Tensor] | None = None  # ids and real, without a cache

    @torch.no_grad()
    def __call__(self, ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Adds ids int64 [n, t] to each row; logits float [n, V] of what follows the last."""
        if self.cache is None and self.seen is not None:
            ids = torch.cat([self.seen[0], ids], 1)
            real = torch.cat([self.seen[1], real], 1)
        self.seen = (ids, real)
        held = self.length if self.cache is not None else None
        started = held is not None
        if held is None:
            held = torch.zeros(len(ids), dtype=torch.int64, device=ids.device)
        place = held[:, None] + real.cumsum(1) - 1
        states = self._states(ids, real, place.clamp(min=0), started)
        self.length = held + real.sum(1)
        last = torch.where(real, torch.arange(real.shape[1], device=ids.device), 0).amax(1)
        state = states.tokens[torch.arange(len(ids), device=ids.device), last]
        return self.step.model.logits(self.read.view.modality, state)

    def _states(
        self, ids: torch.Tensor, real: torch.Tensor, place: torch.Tensor, started: bool
    ) -> State:
        model, view = self.step.model, self.read.view
        tokens = Tokens(view.modality, real=real, position=place[..., None], ids=ids)
        there = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
        look = Look(tokens, place + view.rank * RANK, there)
        state = model.encode(view.modality, model.embed(look), self.cache)
        if not isinstance(self.read.of, Fuse):
            return state
        # The memory is given with the first call; after it, the cache has its keys and values.
        others = [_none_of(x) for x in self.memory] if started else list(self.memory)
        others.insert(self.read.part, state)
        return model.fuse(others, None, self.cache)[self.read.part]

    def take(self, index: torch.Tensor) -> Writer:
        """Another writer whose row i goes on from row index[i]; int64 [m]."""
        memory = [_rows(state, index) for state in self.memory]
        other = Writer(self.step, self.read, memory, self.cache is not None)
        other.length = None if self.length is None else self.length[index]
        other.seen = None if self.seen is None else (self.seen[0][index], self.seen[1][index])
        if self.cache is not None:
            other.cache = self.cache.take(index)
        return other


def _none_of(state: State) -> State:
    """The state without its tokens."""
    return replace(
        state,
        tokens=state.tokens[:, :0],
        real=state.real[:, :0],
        order=state.order[:, :0],
        position=state.position[:, :0],
    )


def _rows(state: State, index: torch.Tensor) -> State:
    shared = len(state.position) == 1
    return replace(
        state,
        tokens=state.tokens[index],
        real=state.real[index],
        order=state.order[index],
        position=state.position if shared else state.position[index],
        pooled=None if state.pooled is None else state.pooled[index],
        prior=None,
    )


def needs_words(run: Run) -> Read:
    """The read that a run writes with.

    Raises:
        RunError: its recipe trains no next words, or its fusion cannot decode.
    """
    read = writes(run.step)
    if read is None:
        can = deriving.accepts(run.recipe, "captioning")
        raise RunError(
            file=run.folder,
            field="objectives",
            expected="one that predicts next words, e.g. generation, over a fusion that decodes",
            found=", ".join(x["use"] for x in run.recipe.objectives),
            see=command("finetune", run.folder, "DATA", "--task", "captioning")
            if can
            else command("pretrain", "DATA", "--recipe", "coca"),
        )
    return read


def caption(
    run: Run,
    files: Sequence[str | Path],
    width: int = WIDTH,
    penalty: float = 1.0,
    most: int | None = None,
    among: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """What a run writes about pictures.

    Args:
        files: of the pictures.
        width: beams; 1 is greedy.
        penalty: of length, as in `generate.beam`.
        most: tokens of a text; by default as many as the model was trained on.
        among: write one of these texts only, the likeliest.

    Returns:
        One a file: {file, caption, log_probability, finished}.

    Raises:
        DataError: a file is no picture.
        RunError: the run cannot write, or not about pictures.
        UserError: `most` is more than the model knows positions for.
    """
    read = needs_words(run)
    longest = run.modalities["text"].length - 1
    if most is not None and not 1 <= most <= longest:
        raise UserError(field="most", expected=f"1 to {longest} tokens", found=str(most))
    if "image" not in run.recipe.modalities or not isinstance(read.of, Fuse):
        raise RunError(
            file=run.folder,
            expected="a run in which words see pictures",
            found="words alone",
            see="sensorium recipes",
        )
    reader = run.reader("image")
    blobs = [Blob(str(file), Path(file)) for file in files]
    columns = [one(reader, blob, blob.name) for blob in blobs]
    told = []
    for start in range(0, len(files), _CHUNK):
        some = columns[start : start + _CHUNK]
        found = write(run, read, [column.items[0] for column in some], width, penalty, most, among)
        for file, given in zip(files[start : start + _CHUNK], found, strict=True):
            told.append({"file": str(file)} | given)
    return told


@torch.no_grad()
def write(
    run: Run,
    read: Read,
    items: Sequence[Any],
    width: int = WIDTH,
    penalty: float = 1.0,
    most: int | None = None,
    among: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Texts about prepared pictures: one of {caption, log_probability, finished} each."""
    reader, text = run.reader("image"), run.modalities["text"]
    n = len(items)
    column = Column(
        "image",
        np.stack([np.asarray(item) for item in items]),
        [[at] for at in range(n)],
        np.arange(n),
        reader.frozen is not None,
    )
    places: dict[str, list[int | None]] = {"image": list(range(n))}
    record = Record("", Source("memory"), {})
    batch = gather([record] * n, {"image": column}, run.modalities, places).to(run.device)
    assert isinstance(read.of, Fuse), "words that see pictures are read from where they meet"
    memory = [run.step.read(p, batch) for p in read.of.parts if p.view.modality != "text"]
    writer = Writer(run.step, read, memory)
    prompt = torch.full((n, 1), text.first, device=run.device)
    if among is not None:
        answers = Answers(among, [_ids(text, words) for words in among], text.last)
        scores = likelihoods(writer, prompt, answers)
        best = scores.argmax(1).tolist()
        return [
            {"caption": answers.texts[at], "log_probability": float(row[at]), "finished": True}
            for at, row in zip(best, scores, strict=True)
        ]
    never = tuple(int(x) for x in text.special if int(x) != text.last)
    rules = generate.Limits(end=text.last, most=most or text.length - 1, forbidden=never)
    return [
        {
            "caption": text.decode(list(found.ids)),
            "log_probability": found.log_probability,
            "finished": found.finished,
        }
        for found in generate.beam(writer, prompt, rules, width, penalty)
    ]


def _ids(text: Any, words: str) -> list[int]:
    """A text's ids without its ends."""
    return text.tokens(text.read(words, "among"), None).ids[0].tolist()[1:-1]
