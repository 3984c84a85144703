"""Arms of one comparison, timed in turn in one process; and what must be equal before that.

The order is A B C A B C ..., so that a machine that slows down slows every arm. An arm drifts when
the median of its later repetitions differs from that of its earlier ones; beyond `MOST_DRIFT`
nothing is published. Garbage is collected between repetitions, never within one.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from benchmarks.machine import write_result

MOST_DRIFT = 0.10
REPETITIONS = 8  # at least seven, and even, so that halves are compared with halves
LIMIT = 1e-5  # of equal results, in float32

Clock = Callable[[], float]
rough_clock: Clock = time.process_time  # of the processor: a busy machine disturbs it less
Gradients = dict[str, torch.Tensor | None]


class Unequal(AssertionError):
    """Two arms do not compute the same: they must not be timed against each other."""


@dataclass(frozen=True)
class Results:
    """What an arm computed: named values, and the gradient of each named tensor (None: none)."""

    values: dict[str, torch.Tensor]
    gradients: Gradients


def results(
    run: Callable[[], Mapping[str, torch.Tensor]], given: Iterable[tuple[str, torch.Tensor]]
) -> Results:
    """What one run of an arm gives.

    Args:
        run: computes named values, calls backward.
        given: what gets a gradient, by name; gradients are dropped before and after.
    """
    held = list(given)
    for _, tensor in held:
        tensor.grad = None
    values = {name: value.detach().clone() for name, value in run().items()}
    gradients: Gradients = {name: tensor.grad for name, tensor in held}
    for _, tensor in held:
        tensor.grad = None
    return Results(values, gradients)


def equal(ours: Results, theirs: Results, limit: float = LIMIT) -> dict[str, float]:
    """How far two arms differ at most.

    A value is compared relative to its own largest entry (at least 1), a gradient to the largest
    of its tensor, or to a thousandth of the largest of all: a gradient that is zero but for
    rounding (that of a key's bias) has no scale of its own.

    Returns:
        The largest difference of values and of gradients.

    Raises:
        Unequal: it is above the limit, or an arm lacks a name; says which.
    """
    if ours.values.keys() != theirs.values.keys():
        raise Unequal(f"values: {sorted(ours.values)} and {sorted(theirs.values)}")
    if ours.gradients.keys() != theirs.gradients.keys():
        raise Unequal("gradients: the arms name other tensors")
    worst = {"values": 0.0, "gradients": 0.0}
    for name, value in ours.values.items():
        scale = max(1.0, _largest(theirs.values[name]))
        _check(worst, "values", name, _largest(value - theirs.values[name]) / scale, limit)
    largest = max((_largest(g) for g in theirs.gradients.values()), default=0.0)
    for name, gradient in ours.gradients.items():
        other = theirs.gradients[name]
        if gradient is None and other is None:
            continue
        # No gradient and a gradient of zeros say the same.
        a = torch.zeros_like(other) if gradient is None else gradient
        b = torch.zeros_like(a) if other is None else other
        scale = max(_largest(b), 1e-3 * largest, 1e-12)
        _check(worst, "gradients", name, _largest(a - b) / scale, limit)
    return worst


def _largest(tensor: torch.Tensor | None) -> float:
    return 0.0 if tensor is None or not tensor.numel() else float(tensor.abs().max())


def _check(worst: dict[str, float], kind: str, name: str, found: float, limit: float) -> None:
    if not found <= limit:  # a NaN is unequal too
        raise Unequal(f"{kind} {name}: expected a difference within {limit:g}, found {found:.3g}")
    worst[kind] = max(worst[kind], found)


@dataclass
class Timing:
    """Seconds of each repetition of one arm, in the order they ran."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def drift(self) -> float:
        """How far the later half's median is from the earlier half's, relative to the smaller."""
        half = len(self.seconds) // 2
        first = statistics.median(self.seconds[:half])
        last = statistics.median(self.seconds[len(self.seconds) - half :])
        return abs(last - first) / min(first, last)

    def told(self) -> dict[str, Any]:
        """What a result file says of it; times in milliseconds."""
        return {
            "median_ms": round(1e3 * self.median, 3),
            "minimum_ms": round(1e3 * min(self.seconds), 3),
            "drift": round(self.drift, 4),
            "repetitions": len(self.seconds),
        }


def timed(
    arms: Mapping[str, Callable[[], object]],
    repetitions: int = REPETITIONS,
    clock: Clock = time.perf_counter,
) -> dict[str, Timing]:
    """Runs all arms in turn; one round before the first is not counted.

    Args:
        arms: name -> one repetition of it. All run with the threads this process has.
        clock: `rough_clock` on a busy machine; what is published is wall time.
    """
    told = {name: Timing() for name in arms}
    for run in arms.values():
        run()
    was = gc.isenabled()
    gc.disable()
    gc.collect()
    gc.freeze()  # what is there already is not searched again
    try:
        for _ in range(repetitions):
            for name, run in arms.items():
                gc.collect()
                began = clock()
                run()
                told[name].seconds.append(clock() - began)
    finally:
        gc.unfreeze()
        if was:
            gc.enable()
    return told


@dataclass(frozen=True)
class Against:
    """A peer's arm against ours: how many times longer it takes, and what we aim for."""

    peer: str
    ours: str
    target: float | None = None

    def told(self, timings: Mapping[str, Timing]) -> dict[str, Any]:
        """The ratio by medians, by minima, and the range of ratios within one round."""
        peer, ours = timings[self.peer], timings[self.ours]
        rounds = [a / b for a, b in zip(peer.seconds, ours.seconds, strict=True)]
        ratio = peer.median / ours.median
        said: dict[str, Any] = {
            "of": self.peer,
            "to": self.ours,
            "ratio": round(ratio, 3),
            "ratio_of_minima": round(min(peer.seconds) / min(ours.seconds), 3),
            "rounds": [round(min(rounds), 3), round(max(rounds), 3)],
        }
        if self.target is not None:
            said |= {"target": self.target, "met": ratio >= self.target}
        return said


def comparison(timings: Mapping[str, Timing], against: Iterable[Against]) -> dict[str, Any]:
    """Arms and ratios, as a result file has them."""
    return {
        "arms": {name: timing.told() for name, timing in timings.items()},
        "ratios": [pair.told(timings) for pair in against],
    }


def show(title: str, told: Mapping[str, Any]) -> None:
    """Prints a comparison."""
    print(f"\n{title}")
    for name, arm in told["arms"].items():
        print(
            f"  {name:<44} {arm['median_ms']:>10.1f} ms, least {arm['minimum_ms']:>9.1f}, "
            f"drift {arm['drift']:.1%}"
        )
    for pair in told["ratios"]:
        aim = f", target {pair['target']:g}" if "target" in pair else ""
        low, high = pair["rounds"]
        print(
            f"  {pair['of']} / {pair['to']}: {pair['ratio']:.2f} "
            f"(minima {pair['ratio_of_minima']:.2f}, rounds {low:.2f} to {high:.2f}){aim}"
        )
    sys.stdout.flush()


def drifting(content: Any, where: str = "") -> list[str]:
    """Which arms in a result drifted beyond the limit, at any depth."""
    if not isinstance(content, Mapping):
        return []
    found = []
    for name, arm in content.get("arms", {}).items():
        if arm["drift"] > MOST_DRIFT:
            found.append(f"{where}{name}: {arm['drift']:.0%}")
    for name, part in content.items():
        found += drifting(part, f"{where}{name}, ")
    return found


def publish(name: str, content: dict[str, Any], rough: bool = False) -> None:
    """Writes benchmarks/results/NAME.json, unless an arm drifted or the run was a rough one.

    Raises:
        SystemExit: an arm drifted by more than `MOST_DRIFT`; nothing is written.
    """
    if drifted := drifting(content):
        print("drift between repetitions of one arm:", *drifted, sep="\n  ")
        if not rough:
            raise SystemExit(f"{name}: not published; the machine is not quiet enough")
    if rough:
        print(f"{name}: a rough run, nothing is written")
        return
    load = list(os.getloadavg()) if hasattr(os, "getloadavg") else None
    write_result(name, {"load_after": load, "flags": flags(), **content})


def flags() -> list[str]:
    """What the processor says of its vector instructions, where it can be read."""
    try:
        with open("/proc/cpuinfo") as stream:
            line = next((x for x in stream if x.startswith("flags")), "")
    except OSError:
        return []
    wanted = ("avx2", "fma", "avx512", "amx", "bf16", "vnni")
    return sorted({x for x in line.split() if any(word in x for word in wanted)})


def parameters(module: nn.Module, but: str = "") -> list[tuple[str, torch.Tensor]]:
    """The trained parameters of a module by name, those that begin with `but` left out."""
    return [
        (name, x)
        for name, x in module.named_parameters()
        if x.requires_grad and not (but and name.startswith(but))
    ]
