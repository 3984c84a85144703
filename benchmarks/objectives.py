"""Three objectives in one step of recipe `albef`: against three runs, and ALBEF's own order (P5).

    python -m benchmarks.objectives            tiny, small, and tiny with BERT's 30,522 words
    python -m benchmarks.objectives --rough    a look on a busy machine; nothing is written

Arms, on the same weights and with the same draws, forward and backward:
    one step        the three objectives in one of our steps
    separate        the sum of three steps, each with one objective
    published       ALBEF's order of passes on our modules, texts padded to the longest
    published, packed texts    the same with our packing, so that only the order differs

Each is timed whole, and with the states of the pictures given (text, fusion and heads alone).
Dropout is off, so that all arms compute the same; losses, gradients, the teacher and the queue are
compared first.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import captions
from benchmarks.published_albef import GivenStates, Published
from benchmarks.sidebyside import (
    LIMIT,
    Against,
    Clock,
    Unequal,
    comparison,
    equal,
    parameters,
    publish,
    results,
    rough_clock,
    show,
    timed,
)
from sensorium import draws, recipe
from sensorium.building import augmented, build, modality
from sensorium.loading import Batches
from sensorium.nodes import Encode
from sensorium.prepare import Reader, column
from sensorium.step import Forward, Step, plan, views
from sensorium.tokens import Batch

NO_DROPOUT = ("encoders.text.dropout=0.0", "fusion.dropout=0.0")
WORLDS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    # name -> size of the recipe, records a step, overrides
    "tiny": ("tiny", 64, ()),
    "tiny, 30,522 words": ("tiny", 64, ("modalities.text.tokenizer=minilm",)),
    "small": ("small", 16, ()),
}
TARGETS = {"whole step": 1.2, "text, fusion and heads": 2.0}
SUM_OF_RUNS = 2.0  # one step takes at most half the sum of separate runs
Arm = Callable[[], Mapping[str, torch.Tensor]]


@dataclass(frozen=True)
class World:
    """A Step of recipe `albef` and a batch; `facts` describe them in the result file."""

    step: Step
    batch: Batch
    facts: dict[str, Any]


def world(size: str, count: int, overrides: tuple[str, ...] = ()) -> World:
    """The recipe at a size, over `count` emoji with captions of natural length."""
    made = recipe.load("albef", size, [*NO_DROPOUT, f"optimiser.batch={count}", *overrides])
    everything = captions.records()
    objects = {name: modality(made, name) for name in made.modalities}
    objects["text"].fit(everything, "text")
    some = [everything[at] for at in draws.sample([x.key for x in everything], count, "albef")]
    columns = {name: column(Reader(made, name), some, name)[0] for name in made.modalities}
    step = build(made, objects)
    batches = Batches(
        some, columns, objects, list(range(count)), count, made.seed, augmented(made),
        views(step.objectives),
    )  # fmt: skip
    return lively(step, batches[0])


def lively(step: Step, batch: Batch) -> World:
    """Queues filled with drawn vectors, a teacher that is not the student, soft targets.

    So no confusion of the two, and no target that is left out, goes unseen.
    """
    for name, same in batch.identity.items():
        # The published code knows no equal contents: there must be none.
        assert len(same.unique()) == len(batch), f"two records of the batch share their {name}"
    contrast, stream = step.objectives["contrastive"], torch.Generator().manual_seed(5)
    with torch.no_grad():
        for held in (contrast.left, contrast.right):
            drawn = torch.randn(held.shape, generator=stream)
            held.copy_(torch.nn.functional.normalize(drawn, dim=1))
        contrast.about.copy_(2**62 + torch.arange(contrast.about.numel()).view_as(contrast.about))
        contrast.filled.fill_(True)
        for held in step.teacher.parameters() if step.teacher is not None else ():
            held.add_(0.2 * held.std(unbiased=False) * torch.randn(held.shape, generator=stream))
    batch = replace(batch, progress=0.5)
    text, image = batch.tokens["text", 0], batch.tokens["image", 0]
    hidden = next(view for view in batch.looks if view.edits)
    facts = {
        "records": len(batch),
        "mean tokens of a text": round(float(text.real.sum(1).float().mean()), 2),
        "longest text": text.real.shape[1],
        "patches": image.real.shape[1],
        "words": step.model.encoders["text"].words.num_embeddings,
        "hidden words": len(batch.looks[hidden].truth),
        "width": step.model.encoders["text"].width,
        "queue": len(contrast.filled),
        "parameters": sum(x.numel() for _, x in parameters(step, "teacher.")),
    }
    return World(step.train(), batch, facts)


# --- the arms -----------------------------------------------------------------------------------


def once(step: Step, batch: Batch, moves: bool = True) -> dict[str, torch.Tensor]:
    """One of our training steps without its optimiser: the mean loss of each objective."""
    if moves:
        step.follow()
    outcome = step(batch)
    outcome.total.backward()
    step.commit(outcome, batch)
    return {name: loss.mean for name, loss in outcome.losses.items()}


def alone(step: Step) -> list[Step]:
    """A Step for each objective over the same modules; only those that ask it have the teacher."""
    made = []
    for name, objective in step.objectives.items():
        one = Step(step.model, {name: objective})
        if any(node.who == "teacher" for node in plan(one.objectives)):
            one.teacher, one.momentum = step.teacher, step.momentum
        made.append(one.train())
    return made


def arms(given: World, moves: bool = True) -> dict[str, Arm]:
    """Every arm by name; each computes the three losses and calls backward.

    Args:
        moves: whether the teacher takes its step; in separate runs each takes its own.
    """
    separate = alone(given.step)
    published = {packs: Published(given.step, packs, moves) for packs in (False, True)}

    def in_turn() -> dict[str, torch.Tensor]:
        told: dict[str, torch.Tensor] = {}
        for step in separate:
            told |= once(step, given.batch, moves)
        return told

    def in_published_order(packs: bool) -> dict[str, torch.Tensor]:
        losses = published[packs](given.batch)
        torch.stack(list(losses.values())).sum().backward()
        return losses

    def fresh(run: Arm) -> Arm:
        """Gradients are dropped before, as an optimiser's `zero_grad` does."""

        def repetition() -> Mapping[str, torch.Tensor]:
            given.step.zero_grad()
            return run()

        return repetition

    return {
        "one step": fresh(lambda: once(given.step, given.batch, moves)),
        "separate": fresh(in_turn),
        "published": fresh(lambda: in_published_order(False)),
        "published, packed texts": fresh(lambda: in_published_order(True)),
    }


def check(given: World) -> dict[str, dict[str, float]]:
    """The largest differences of each arm to our one step.

    Losses and gradients; with the published order also the teacher after its step, and what the
    queue holds then.

    Raises:
        Unequal: an arm computes something else.
    """
    step = given.step
    before = {name: x.detach().clone() for name, x in step.state_dict().items()}
    trained = parameters(step, "teacher.")
    told: dict[str, dict[str, float]] = {}

    def of(name: str, moves: bool):
        step.load_state_dict(before)
        run = arms(given, moves)[name]

        def whole() -> dict[str, torch.Tensor]:
            values = dict(run())
            if moves:
                values |= {f"teacher {at}": x for at, x in step.teacher.named_parameters()}
            return values

        found = results(whole, trained)
        step.load_state_dict(before)
        return found

    told["separate"] = equal(of("one step", False), of("separate", False))
    for name in ("published", "published, packed texts"):
        told[name] = equal(of("one step", True), of(name, True))
    told["queue"] = {"values": _queues(given, before)}
    return told


def _queues(given: World, before: dict[str, torch.Tensor]) -> float:
    """The largest difference of what both queues hold after one step."""
    step, b = given.step, len(given.batch)
    published = Published(step)
    published(given.batch)
    step.load_state_dict(before)
    once(step, given.batch)
    contrast = step.objectives["contrastive"]
    pairs = ((contrast.left, published.images), (contrast.right, published.texts))
    worst = max(float((ours - theirs.T).abs().max()) for ours, theirs in pairs)
    written = (contrast.left[:b] - before["objectives.contrastive.left"][:b]).abs().max()
    step.load_state_dict(before)
    step.zero_grad()
    if not written > 0 or not worst <= LIMIT:
        raise Unequal(f"the queues differ by {worst:.3g}, {float(written):.3g} of ours is new")
    return worst


@torch.no_grad()
def without_vision(given: World) -> World:
    """The same with the states of the pictures given, to student and teacher.

    The encoders are replaced in place: the World that came must not be used any more.
    """
    step = given.step
    assert step.teacher is not None
    view = step.objectives["contrastive"].views[0]
    for model, trained in ((step.model, True), (step.teacher, False)):
        state = Forward(model, given.batch)(Encode(view))
        model.encoders["image"] = GivenStates(state, trained)
    return given


# --- what waits for a device ---------------------------------------------------------------------


class _Reads(TorchDispatchMode):
    """Counts what makes a GPU's host wait: a value read, a size that depends on data."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in self.NAMES:
            self.count += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def waits() -> Iterator[_Reads]:
    """Counts the waits within; copies to the CPU count too, which on a CPU are nothing."""
    reads, was = _Reads(), torch.Tensor.cpu

    def counted(tensor: torch.Tensor) -> torch.Tensor:
        reads.count += 1
        return was(tensor)

    torch.Tensor.cpu = counted  # type: ignore[method-assign]
    try:
        with reads:
            yield reads
    finally:
        torch.Tensor.cpu = was  # type: ignore[method-assign]


# --- the measurement ------------------------------------------------------------------------------


def measure(given: World, part: str, moves: bool, clock: Clock) -> dict[str, Any]:
    """Differences, waits, times and ratios of one World, which is left as it came."""
    before = {name: x.detach().clone() for name, x in given.step.state_dict().items()}
    told: dict[str, Any] = {"largest differences": check(given), "waits for a device": {}}
    for name, run in arms(given, moves).items():
        with waits() as counted:
            run()
        told["waits for a device"][name] = counted.count
    timings = timed(arms(given, moves), clock=clock)
    given.step.load_state_dict(before)  # the queue now holds this very batch
    against = [
        Against("published", "one step", TARGETS[part]),
        Against("published, packed texts", "one step"),
        Against("separate", "one step", SUM_OF_RUNS),
    ]
    return told | comparison(timings, against)


def main(arguments: list[str]) -> None:
    """Measures the worlds named, or all, and writes benchmarks/results/objectives.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("worlds", nargs="*", help="of " + "; ".join(WORLDS))
    parser.add_argument("--rough", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    clock = rough_clock if options.rough else time.perf_counter
    told: dict[str, Any] = {"targets": {**TARGETS, "sum of separate runs": SUM_OF_RUNS}}
    for name in options.worlds or WORLDS:
        given = world(*WORLDS[name])
        told[name] = {"facts": given.facts}
        for part, moves in (("whole step", True), ("text, fusion and heads", False)):
            given = without_vision(given) if part != "whole step" else given
            told[name][part] = measure(given, part, moves, clock)
            show(f"{name}, {part}: {given.facts}", told[name][part])
            print("  waits", told[name][part]["waits for a device"],
                  "differences", told[name][part]["largest differences"], flush=True)  # fmt: skip
    publish("objectives", told, options.rough or bool(options.worlds))


if __name__ == "__main__":
    main(sys.argv[1:])
