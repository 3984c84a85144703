"""What an arm costs, in every unit, and how many steps a budget buys.

Arms are held equal in one unit and told in all of them: at equal samples one arm may spend twice
the arithmetic. FLOPs are those of the model: matrix products of forward and backward, attention
included, as torch's counter counts them; norms, activations and the optimiser's update are left
out, as is usual (Hoffmann et al. 2022, arXiv 2203.15556, appendix F).
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sensorium import optimiser
from sensorium.errors import PlanError
from sensorium.nodes import Embed, Encode, Fuse
from sensorium.step import Forward, Step, plan
from sensorium.tokens import Batch
from sensorium.training import update

if TYPE_CHECKING:
    from sensorium.comparison.plan import Budget
    from sensorium.recipe import Optimiser

TIMED = 5  # steps that are timed; the middle one counts


@dataclass(frozen=True)
class Cost:
    """What one step of an arm costs, the mean over the batches it was measured on.

    samples: records. tokens: `encoder image` or `fusion text` -> real tokens that it reads,
    padding left out, each time it reads them, a teacher's encoders included. flops: forward and
    backward. parameters: trained ones, not a number per step. seconds: of a step with its update,
    on this machine; None where nobody measured.
    """

    samples: float
    tokens: dict[str, float]
    flops: float
    parameters: int
    seconds: float | None = None

    def of(self, unit: str) -> float:
        """One step in a unit of `plan.UNITS`: tokens are summed over all that read them.

        Raises:
            ValueError: seconds that nobody measured.
        """
        if unit == "steps":
            return 1.0
        if unit == "tokens":
            return sum(self.tokens.values())
        value = getattr(self, unit)
        if value is None:
            raise ValueError("the seconds of a step were not measured")
        return float(value)

    def run(self, steps: int) -> dict[str, float]:
        """unit -> what so many steps cost; parameters stay as they are."""
        told = {unit: steps * self.of(unit) for unit in ("samples", "tokens", "flops")}
        told |= {"steps": steps, "parameters": self.parameters}
        if self.seconds is not None:
            told["seconds"] = steps * self.seconds
        return told


def measure(step: Step, batches: Sequence[Batch], options: Optimiser | None = None) -> Cost:
    """What one step costs, on real batches; the step itself is left as it is.

    Args:
        step: on the batches' device.
        batches: at least one; several where the lengths of texts differ much.
        options: of the optimiser, to time steps with their update; None times nothing.
    """
    counted: Counter[str] = Counter()
    total = 0
    trial = copy.deepcopy(step)
    with torch.random.fork_rng(devices=[]):  # dropout draws
        for batch in batches:
            total += flops(trial, batch)
            counted.update(tokens(trial, batch))
    number = len(batches)
    return Cost(
        samples=sum(map(len, batches)) / number,
        tokens={name: counted[name] / number for name in sorted(counted)},
        flops=total / number,
        parameters=sum(p.numel() for p in step.parameters() if p.requires_grad),
        seconds=None if options is None else seconds(step, batches, options),
    )


def flops(step: Step, batch: Batch) -> int:
    """Floating-point operations of forward and backward, a product and a sum being two.

    Attention runs as two plain matrix products, for the counter knows no fused kernel of a CPU and
    counts what a fused backward computes twice. So the number is the same on every device.
    Gradients of the step are dropped.
    """
    step.train()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step(batch).total.backward()
    step.zero_grad(set_to_none=True)
    return counter.get_total_flops()


@torch.no_grad()
def tokens(step: Step, batch: Batch) -> dict[str, int]:
    """`encoder image` or `fusion text` -> real tokens that one step reads there.

    A text that is encoded plainly and again with hidden words counts twice; so does a picture that
    meets two texts in fusion.
    """
    got = Forward(step.model, batch, step.teacher)
    counted: Counter[str] = Counter()
    for node in plan(step.objectives):
        if isinstance(node, Encode):
            state = got(Embed(node.view, node.who))
            counted[f"encoder {node.view.modality}"] += int(state.real.sum())
        elif isinstance(node, Fuse):
            for part, state in zip(node.parts, got(node), strict=True):
                counted[f"fusion {part.view.modality}"] += int(state.real.sum())
    return dict(counted)


def seconds(step: Step, batches: Sequence[Batch], options: Optimiser) -> float:
    """Seconds of one step with its update on this machine: the median of `TIMED`, on a copy."""
    trial = copy.deepcopy(step)
    adam = optimiser.build(trial, options)
    taken = []
    with torch.random.fork_rng(devices=[]):
        for at in range(TIMED + 2):
            start = time.perf_counter()
            losses = update(trial, adam, batches[at % len(batches)], options.clip)
            next(iter(losses.values())).sum.item()  # waits for a GPU
            taken.append(time.perf_counter() - start)
    return statistics.median(taken[2:])  # the first steps allocate


def steps_for(budget: Budget, cost: Cost, arm: str = "an arm") -> int:
    """The most steps of an arm that stay within a budget.

    No arm spends more than the budget, and each spends it to within one of its own steps: two arms
    differ by less than the larger step.

    Raises:
        PlanError: it buys no step at all; names the arm and what a step costs.
    """
    each = cost.of(budget.unit)
    # 30,000 samples are 300 steps of 100, whatever a division in floating point says.
    steps = math.floor(budget.amount / each * (1 + 1e-12))
    if steps < 1:
        raise PlanError(
            field="budget",
            expected=f"at least {each:,.4g} {budget.unit}, one step of {arm} before a look",
            found=str(budget),
        )
    return steps
