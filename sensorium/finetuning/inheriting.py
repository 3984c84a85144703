"""What a fine-tuned run takes from its source, and what it keeps in the end.

    source/    the source as a run of its own, without index, controls and optimiser: weights of
               its best step, its reading, splits and scores; nothing else of it is needed again
    kept/      what is used after tuning where that is not a checkpoint: LoRA's updates added to
               their matrices, and WiSE-FT's mixture of source and tuned weights

WiSE-FT: Wortsman et al. 2021, "Robust fine-tuning of zero-shot models", arXiv 2109.01903,
section 2, equation 1: weights (1 - a) * source + a * tuned.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sensorium import checkpoint, files, integrity
from sensorium.finetuning import adapting
from sensorium.run import Run
from sensorium.teacher import teacher_of

if TYPE_CHECKING:
    from sensorium.step import Step

State = dict[str, torch.Tensor]
_FILES = ("run.json", "recipe.yaml", "splits.json", "contents.json", "rejected.jsonl")
_CLASSES = "objectives.classification"  # a head over classes: of these classes only


def adopt(run: Run) -> None:
    """Copies what a run needs of its source into it, once; from then on the source may go.

    Raises:
        RunError: the source is gone before it was copied, unfinished or damaged.
    """
    assert run.recipe.tune is not None, "only a fine-tuned run has a source"
    place, aside = run.folder / "source", run.folder / ".source.tmp"
    if not place.exists():
        shutil.rmtree(aside, ignore_errors=True)
        source = Run.open(run.recipe.tune.run)
        if "imported" in source.info:  # whose weights they are, and their licence
            run.note(imported=source.info["imported"])
        best = source.best_step
        state = checkpoint.load(_weights(source), best, source.recipe.hash).state
        aside.mkdir()
        for name in _FILES:
            if (source.folder / name).exists():
                shutil.copyfile(source.folder / name, aside / name)
        for name in ("modalities", "evaluation"):
            if (source.folder / name).is_dir():
                shutil.copytree(source.folder / name, aside / name)
        checkpoint.save(aside / "checkpoints", best, {"model": state["model"]}, source.recipe.hash)
        files.sync_folder(aside)
        aside.rename(place)
    if "fitted" in run.info:
        return
    for name in run.recipe.modalities:  # a tokenizer reads the new texts as it read the old ones
        if (place / "modalities" / name).is_dir():
            shutil.copytree(
                place / "modalities" / name, run.folder / "modalities" / name, dirs_exist_ok=True
            )


def _weights(run: Run) -> Path:
    """Where the weights of a run's best step are that it is used with."""
    kept = run.folder / "kept"
    return kept if kept.exists() else run.folder / "checkpoints"


def source_of(run: Run) -> Run:
    """The source as it was, from the run's own copy.

    Raises:
        RunError: the copy is missing or damaged.
    """
    integrity.check(run.folder, run.info, "source")
    return Run.open(run.folder / "source", run.device)


def _source_state(run: Run) -> State:
    source = source_of(run)
    state = checkpoint.load(source.folder / "checkpoints", source.best_step, source.recipe.hash)
    return state.state["model"]


@dataclass(frozen=True)
class Inherited:
    """Names of a Step's tensors: which came from the source, which are new; and whether some of
    the new ones are parameters, which nothing has trained yet."""

    shared: tuple[str, ...]
    new: tuple[str, ...]
    untrained: bool


def inherit(run: Run, step: Step, state: State) -> Inherited:
    """Puts the source's weights into a Step with initial ones, in place: all of equal name and
    shape. A teacher is copied anew; what objectives keep between steps (queues, counts) is of
    other records and begins anew; a head over classes is taken only where the classes are equal.

    Args:
        state: of the source's Step.
    """
    own = step.state_dict()
    anew = {name for name, _ in step.objectives.named_buffers(prefix="objectives")}
    if not _same_classes(run):
        anew |= {name for name in own if name.startswith(_CLASSES)}
    mine = [name for name in own if not name.startswith("teacher.")]
    shared = tuple(
        name
        for name in mine
        if name in state and name not in anew and state[name].shape == own[name].shape
    )
    step.load_state_dict({name: state[name] for name in shared}, strict=False)
    if step.teacher is not None:
        step.teacher = teacher_of(step.model)
    new = tuple(name for name in mine if name not in shared)
    learned = {name for name, _ in step.named_parameters()}
    return Inherited(shared, new, any(name in learned for name in new))


def _same_classes(run: Run) -> bool:
    """Whether run and source tell the same classes apart."""
    file = Path("modalities") / "label" / "classes.json"
    ours, theirs = run.folder / file, run.folder / "source" / file
    return (
        ours.exists()
        and theirs.exists()
        and integrity.read_json(ours, "classes", list)
        == integrity.read_json(theirs, "classes", list)
    )


def begin(
    run: Run, step: Step, say: Callable[[str, str], None] = lambda what, text: None
) -> Inherited:
    """A Step with initial weights becomes the one that tuning begins with, in place: weights of
    the source, then what the method trains.

    Args:
        say: is told what is new and how much trains.

    Returns:
        What came from the source and what is new.

    Raises:
        RunError: the copy of the source is missing or damaged.
        RecipeError: the method would train nothing.
    """
    assert run.recipe.tune is not None
    inherited = inherit(run, step, _source_state(run))
    tune = run.recipe.tune
    adapting.adapt(step, tune, run.recipe.seed, inherited.new)
    parts = dict.fromkeys(".".join(name.split(".")[:3]) for name in inherited.new)
    say("new", ", ".join(parts) or "nothing: every part has the source's weights")
    own = [p for p in step.parameters() if p.requires_grad]
    count = sum(p.numel() for p in own)
    say("method", f"{tune.method} trains {count:,} parameters")
    return inherited


def beginning(run: Run) -> Step:
    """The Step before its first update: weights of the source, new heads as drawn."""
    step = run.build()
    inherit(run, step, _source_state(run))
    return step.eval()


def tuned(run: Run, best: int) -> Step:
    """The Step of the best step as trained, before any interpolation; without LoRA's modules."""
    trained = run.build()
    begin(run, trained)
    found = checkpoint.load(run.folder / "checkpoints", best, run.recipe.hash)
    trained.load_state_dict(found.state["model"])
    step = run.build()
    step.load_state_dict(adapting.plain(trained))
    return step.eval()


def keep(run: Run, best: int) -> None:
    """Writes `kept/` where what is used is not the checkpoint of the best step itself."""
    tune = run.recipe.tune
    assert tune is not None
    if tune.method != "lora" and tune.interpolate is None:
        return
    step = tuned(run, best)
    if tune.interpolate is not None:
        mix(run, step, tune.interpolate)
    checkpoint.save(run.folder / "kept", best, {"model": step.state_dict()}, run.recipe.hash)


@torch.no_grad()
def mix(run: Run, step: Step, share: float) -> None:
    """WiSE-FT, in place: (1 - share) * source + share * tuned, of every parameter that came from
    the source; new heads stay as tuned. At 0 and 1 it is source and tuned to the bit."""
    state = _source_state(run)
    names = set(inherit(run, run.build(), state).shared)
    for name, parameter in step.named_parameters():
        if name in names:
            source = state[name].to(parameter.device, parameter.dtype)
            parameter.copy_(torch.lerp(source, parameter, share))


def old_with(run: Run, step: Step) -> Step:
    """The source's own Step with the tuned weights of equal name and shape in place of its own."""
    source = source_of(run)
    old = source.build()
    old.load_state_dict(_source_state(run))
    new = step.state_dict()
    own = old.state_dict()
    taken = {
        name: value
        for name, value in new.items()
        if name.startswith("model.") and name in own and own[name].shape == value.shape
    }
    scales = {
        name: new[name]
        for name, _ in step.objectives.named_parameters(prefix="objectives")
        if name in own and own[name].shape == new[name].shape and not name.startswith(_CLASSES)
    }
    old.load_state_dict(taken | scales, strict=False)
    return old.eval()
