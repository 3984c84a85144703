"""The loop: evaluate, save, stop, step. It knows no modality and no objective.

Resume precedence: 1. the checkpoint's step, weights and optimiser; 2. the run's stored number of
steps and recipe; 3. nothing else: draws, order and learning rate follow from the step's number.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sensorium import checkpoint, draws, files, ranks
from sensorium.errors import NonFinite, Stopped, command
from sensorium.optimiser import rate
from sensorium.recipe import Recipe
from sensorium.step import Loss, Step
from sensorium.tokens import Batch

SAVE_EVERY = 60.0  # seconds: the most that a kill can lose


@dataclass
class Progress:
    """What a checkpoint knows beyond tensors: how far, how long, and which step was best."""

    step: int = 0
    seconds: float = 0.0
    best_step: int = -1
    best_score: float = -1e30  # JSON has no infinity
    order: str = ""  # SHA-256 chained over the keys of all batches: two runs saw the same


def chained(order: str, keys: tuple[str, ...]) -> str:
    """The next link: SHA-256 of the last link and a batch's record keys, hexadecimal."""
    return hashlib.sha256("\0".join((order, *keys)).encode()).hexdigest()


@dataclass(frozen=True)
class Plan:
    """How long to train and how often to look: fixed before the first step, stored in the run."""

    steps: int
    evaluate_every: int


def train(
    step: Step,
    optimiser: torch.optim.Optimizer,
    batches: Callable[[int, int], Iterator[Batch]],
    validate: Callable[[Step], dict[str, float]],
    recipe: Recipe,
    plan: Plan,
    folder: Path,
    progress: Progress,
    watch: Callable[[Progress, dict[str, float]], None] = lambda progress, line: None,
    stopping: Callable[[], bool] = lambda: False,
    device: str = "cpu",
) -> Progress:
    """Trains from `progress.step` to `plan.steps`.

    Args:
        step: model and objectives.
        optimiser: over the step's parameters.
        batches: (first, last) -> the batches of those steps.
        validate: scores on the validation split; `score` decides which step is best.
        recipe: optimiser options, seed and hash.
        plan: length of the run.
        folder: the run's; checkpoints go to `checkpoints/`, lines to `log.jsonl`.
        progress: where to start; a new run starts at step 0.
        watch: called after each step and each evaluation.
        stopping: asked before each step; True saves and raises.
        device: where batches go.

    It ends early where `recipe.patience` looks at validation have found nothing better.

    Raises:
        Stopped: `stopping` said so; everything is saved.
        NonFinite: a loss or the gradient is NaN or infinite; nothing of that step was applied.
    """
    coming = batches(progress.step, plan.steps)
    started = time.monotonic() - progress.seconds
    saved = time.monotonic()
    while True:
        # --- evaluate -----------------------------------------------------------------------
        last = progress.step == plan.steps
        better = False
        if progress.step % plan.evaluate_every == 0 or last:
            line: dict[str, Any] = {"step": progress.step, "split": "validation"}
            line |= validate(step)
            files.append_line(folder / "log.jsonl", line)
            better = line["score"] > progress.best_score
            if better:
                progress.best_step, progress.best_score = progress.step, line["score"]
            # Counted from the steps, so that a resume that looks again does not count twice.
            waited = (progress.step - progress.best_step) // plan.evaluate_every
            last = last or (recipe.patience is not None and waited >= recipe.patience)
            watch(progress, line)
        # --- save ---------------------------------------------------------------------------
        stop = stopping() and not last
        if better or last or stop or time.monotonic() - saved > SAVE_EVERY:
            progress.seconds = time.monotonic() - started
            save(step, optimiser, recipe, folder, progress)
            saved = time.monotonic()
        # --- stop ---------------------------------------------------------------------------
        if stop:
            raise Stopped(
                f"stopped at step {progress.step:,} of {plan.steps:,}; saved",
                see=command("resume", folder),
            )
        if last:
            return progress
        # --- step ---------------------------------------------------------------------------
        batch = next(coming).to(device)
        losses = take(step, optimiser, batch, recipe, progress.step, plan.steps)
        progress.step += 1
        progress.order = chained(progress.order, batch.keys)
        line = {"step": progress.step, "split": "train"}
        for name, loss in losses.items():
            line[name] = loss.mean.item()
            line[f"{name}/no_skill"] = loss.chance.item()
        files.append_line(folder / "log.jsonl", line)
        watch(progress, line)


def take(
    step: Step,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    recipe: Recipe,
    at: int,
    steps: int,
) -> dict[str, Loss]:
    """Step number `at` of `steps`: its learning rate, its dropout, the guarded update."""
    for group in optimiser.param_groups:
        group["lr"] = rate(at, steps, recipe.optimiser)
    # Dropout reads the global stream: it is keyed by the step, so that a resume repeats it, and
    # the stream is given back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draws.integer(recipe.seed, "dropout", at, *_process()))
        return update(step, optimiser, replace(batch, progress=at / steps), recipe.optimiser.clip)


def _process() -> tuple[int, ...]:
    """Key of a process's own dropout; nothing where there is one process alone."""
    return (ranks.rank(),) if ranks.size() > 1 else ()


def update(
    step: Step, optimiser: torch.optim.Optimizer, batch: Batch, clip: float | None
) -> dict[str, Loss]:
    """One update; the guard acts before it is applied.

    Raises:
        NonFinite: names the objective (or the gradient) and the batch's first records.
    """
    step.train()
    outcome = step(batch)
    losses = outcome.losses
    records = ", ".join(batch.keys[:5]) + (", …" if len(batch) > 5 else "")
    for name, loss in losses.items():
        if not torch.isfinite(loss.sum):
            raise NonFinite(
                f"objective {name}",
                expected="a finite loss",
                found=f"{loss.sum.item()} on records {records}; the update was not applied",
            )
    optimiser.zero_grad(set_to_none=True)
    outcome.total.backward()
    norm = torch.nn.utils.clip_grad_norm_(
        [p for p in step.parameters() if p.grad is not None], clip or float("inf")
    )
    if not torch.isfinite(norm):
        raise NonFinite(
            "gradient of " + " + ".join(losses),
            expected="a finite norm",
            found=f"{norm.item()} on records {records}; the update was not applied",
        )
    optimiser.step()
    # The teacher follows what the next forward will find, as in ALBEF, which does so before it;
    # here a step that was not applied moves no teacher either.
    step.follow()
    step.commit(outcome, batch)
    return losses


def save(
    step: Step,
    optimiser: torch.optim.Optimizer,
    recipe: Recipe,
    folder: Path,
    progress: Progress,
) -> None:
    """One checkpoint; the best step and the newest are kept."""
    state: dict[str, Any] = {
        "model": step.state_dict(),
        "optimiser": optimiser.state_dict(),
        "progress": asdict(progress),
    }
    checkpoint.save(
        folder / "checkpoints",
        progress.step,
        state,
        recipe.hash,
        keep={progress.best_step, progress.step},
    )


def restore(
    step: Step,
    optimiser: torch.optim.Optimizer,
    recipe: Recipe,
    folder: Path,
    say: Callable[[str, str], None] = lambda what, text: None,
) -> Progress:
    """Loads the newest whole checkpoint into step and optimiser, in place.

    Args:
        say: told of damaged checkpoints that were passed over.

    Raises:
        RunError: none is whole, or it belongs to another recipe.
    """
    found = checkpoint.load(folder / "checkpoints", recipe_hash=recipe.hash)
    for damaged in found.skipped:
        say("damaged", "; ".join(damaged.lines))
    step.load_state_dict(found.state["model"])
    optimiser.load_state_dict(found.state["optimiser"])
    return Progress(**found.state["progress"])


def forget_after(log: Path, step: int) -> None:
    """Drops log lines of what will be done again: later steps, and the evaluation of this one."""
    kept = [
        line
        for line in files.read_lines(log)
        if line["step"] < step or (line["step"] == step and line["split"] == "train")
    ]
    files.write_bytes(log, "".join(json.dumps(line) + "\n" for line in kept).encode())
