"""`Forward` runs the nodes once; `Step` scores them and adds. The only module ever wrapped.

An objective states its needs, `Forward` answers `got(node)`: a node's inputs first, each node once,
in the fixed order of the recipe's objectives. Which modules run never depends on data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from sensorium.nodes import Embed, Encode, Fuse, Node, Read
from sensorium.tokens import Batch
from sensorium.views import look

if TYPE_CHECKING:
    from sensorium.model import Model, State


@dataclass(frozen=True)
class Loss:
    """A sum and how many it is the sum of, so that means are exact however work is split.

    sum, count: scalars. parts: named sums for the log. chance: the mean with no skill.
    """

    sum: torch.Tensor
    count: torch.Tensor
    chance: torch.Tensor
    parts: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("sum", "count", "chance"):
            if getattr(self, name).shape != ():
                raise TypeError(
                    f"loss {name}: expected a scalar, found {list(getattr(self, name).shape)}"
                )

    @property
    def mean(self) -> torch.Tensor:
        """sum / count; an empty batch is a finite zero that keeps its graph."""
        return self.sum / self.count.clamp(min=1)


class Objective(Protocol):
    """What a member of the shelf `objectives` offers; see docs/add-an-objective.md."""

    additive: bool
    spec: Any

    def needs(self) -> dict[str, Node]: ...
    def count(self, batch: Batch) -> torch.Tensor: ...
    def score(self, got: dict[str, torch.Tensor], batch: Batch) -> Loss: ...


class Forward:
    """Computes nodes over one batch, each once."""

    def __init__(self, model: Model, batch: Batch) -> None:
        self.model, self.batch = model, batch
        self._done: dict[Node, Any] = {}

    def __call__(self, node: Node) -> Any:
        """The value of a node: a State, a list of States (`Fuse`) or a tensor (`Read`)."""
        if node not in self._done:
            self._done[node] = self._compute(node)
        return self._done[node]

    def _compute(self, node: Node) -> State | list[State] | torch.Tensor:
        match node:
            case Embed(view):
                return self.model.embed(look(view, self.batch))
            case Encode(view):
                return self.model.encode(view.modality, self(Embed(view)))
            case Fuse(parts):
                return self.model.fuse([self(part) for part in parts])
            case Read(of, modality, give="vector", part=part):
                state = self(of)[part] if isinstance(of, Fuse) else self(of)
                return self.model.vector(modality, state)
        raise TypeError(f"expected a node, found {node!r}")


class Step(nn.Module):
    """One step's losses over a batch: the sum of the objectives' means by weight.

    Args:
        model: computes nodes.
        objectives: name -> objective, in the recipe's order.
    """

    objectives: Any  # a ModuleDict, whose members the type checker knows only as Module

    def __init__(self, model: Model, objectives: dict[str, nn.Module]) -> None:
        super().__init__()
        self.model = model
        self.objectives = nn.ModuleDict(objectives)

    def forward(self, batch: Batch) -> tuple[torch.Tensor, dict[str, Loss]]:
        """The total (scalar, with gradient) and each objective's Loss."""
        got = Forward(self.model, batch)
        losses: dict[str, Loss] = {}
        total = torch.zeros((), device=next(self.parameters()).device)
        for name, objective in self.objectives.items():
            answers = {what: got(node) for what, node in objective.needs().items()}
            losses[name] = objective.score(answers, batch)
            total = total + objective.spec.weight * losses[name].mean
        return total, losses

    @torch.no_grad()
    def vectors(self, node: Read, batch: Batch) -> torch.Tensor:
        """What search stores: float32 [b, e]. Enters here so that wrapping holds."""
        return Forward(self.model, batch)(node)


def plan(objectives: dict[str, Any]) -> list[Node]:
    """All nodes that a step computes, inputs first, each once, in the order they run."""
    nodes: dict[Node, None] = {}

    def visit(node: Node) -> None:
        for source in getattr(node, "inputs", ()):
            visit(source)
        nodes.setdefault(node)

    for objective in objectives.values():
        for node in objective.needs().values():
            visit(node)
    return list(nodes)
