"""`Forward` runs the nodes once; `Step` scores them and adds. The only module ever wrapped.

An objective states its needs, `Forward` answers `got(node)`: a node's inputs first, each node once,
in the fixed order of the recipe's objectives. Which modules run never depends on data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from sensorium import ranks
from sensorium.nodes import Embed, Encode, Fuse, Node, Read
from sensorium.teacher import follow, teacher_of
from sensorium.tokens import Batch
from sensorium.views import View, look

if TYPE_CHECKING:
    from sensorium.model import Model, State

Answers = dict[str, torch.Tensor]


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


@dataclass(frozen=True)
class Outcome:
    """What a step gives.

    total: scalar with gradient, the objectives' means by weight. losses: objective -> Loss.
    answers: objective -> need -> tensor, for what objectives commit after backward.
    """

    total: torch.Tensor
    losses: dict[str, Loss]
    answers: dict[str, Answers]


class Objective(Protocol):
    """What a member of the shelf `objectives` offers; see docs/add-an-objective.md.

    One that keeps something between steps (a queue) also has `after(got, batch)`, which commits it
    once backward is done; `score` writes nothing.
    """

    additive: bool
    spec: Any

    def needs(self) -> dict[str, Read]: ...
    def count(self, batch: Batch) -> torch.Tensor: ...
    def score(self, got: Answers, batch: Batch) -> Loss: ...


class Forward:
    """Computes nodes over one batch, each once.

    Args:
        model: the student's modules.
        teacher: the teacher's, where a node asks for it; it computes without gradient.
    """

    def __init__(self, model: Model, batch: Batch, teacher: Model | None = None) -> None:
        self.batch = batch
        self._models: dict[str, Model | None] = {"student": model, "teacher": teacher}
        self._done: dict[Node, Any] = {}
        self._learns = torch.is_grad_enabled()

    def __call__(self, node: Node) -> Any:
        """The value of a node: a State, a list of States (`Fuse`) or a tensor (`Read`)."""
        if node not in self._done:
            if not isinstance(node, Embed | Encode | Fuse | Read):
                raise TypeError(f"expected a node, found {node!r}")
            # What a teacher's node asks of the student (who pairs with whom) keeps its gradient,
            # for others read it too.
            with torch.set_grad_enabled(self._learns and node.who == "student"):
                self._done[node] = self._compute(node)
        return self._done[node]

    def _compute(self, node: Node) -> State | list[State] | torch.Tensor:
        model = self._models[node.who]
        if model is None:
            raise TypeError(f"expected a step with a teacher, which {node!r} asks for")
        match node:
            case Embed(view):
                return model.embed(look(view, self.batch))
            case Encode(view, who):
                return model.encode(view.modality, self(Embed(view, who)))
            case Fuse(parts, pairing):
                states = [self(part) for part in parts]
                if pairing is None:
                    return model.fuse(states)
                index = pairing.rows([self(read) for read in pairing.inputs], self.batch).index
                return model.fuse(states, [index[part.view.modality] for part in parts])
            case Read(of, give, part):
                return self._read(model, self(of), give, part, node.view)
        raise TypeError(f"expected a node, found {node!r}")

    def _read(self, model: Model, of: Any, give: str, part: int, view: View) -> torch.Tensor:
        if give == "joint":
            return model.joint(of)
        state: State = of[part] if isinstance(of, list) else of
        if give == "vector":
            return model.vector(view.modality, state)
        if give == "tokens":
            return state.tokens
        if give == "pooled":
            assert state.pooled is not None, "an encoder must give `pooled` for it to be read"
            return state.pooled
        places = look(view, self.batch).places
        if places is None:
            raise TypeError(f"{view}: expected a view that predicts something, to read its logits")
        # The head sees the places alone: a seventh of the work where a seventh is hidden.
        return model.logits(view.modality, state.tokens.flatten(0, 1)[places])


class Step(nn.Module):
    """One step's losses over a batch: the sum of the objectives' means by weight.

    Args:
        model: computes nodes.
        objectives: name -> objective, in the recipe's order.
        momentum: of a teacher that follows the model, or None for no teacher.
    """

    objectives: Any  # a ModuleDict, whose members the type checker knows only as Module

    def __init__(
        self, model: Model, objectives: dict[str, nn.Module], momentum: float | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.momentum = momentum
        self.teacher: Model | None = None if momentum is None else teacher_of(model)
        self.objectives = nn.ModuleDict(objectives)

    def forward(self, batch: Batch) -> Outcome:
        """The total and each objective's Loss."""
        got = Forward(self.model, batch, self.teacher)
        losses: dict[str, Loss] = {}
        answers: dict[str, Answers] = {}
        total = torch.zeros((), device=next(self.parameters()).device)
        for name, objective in self.objectives.items():
            answers[name] = {what: got(node) for what, node in objective.needs().items()}
            # Of all processes' records: then averaged gradients are those of the joined batch.
            losses[name] = ranks.share(objective.score(answers[name], batch))
            total = total + objective.spec.weight * losses[name].mean
        return Outcome(total, losses, answers)

    @torch.no_grad()
    def follow(self) -> None:
        """The teacher takes one step towards the model, after each update of it."""
        if self.teacher is not None and self.momentum is not None:
            follow(self.teacher, self.model, self.momentum)

    @torch.no_grad()
    def commit(self, outcome: Outcome, batch: Batch) -> None:
        """Lets objectives keep what they need of this step, after backward."""
        for name, objective in self.objectives.items():
            if hasattr(objective, "after"):
                objective.after(outcome.answers[name], batch)

    def train(self, mode: bool = True) -> Step:
        """Training mode for all but the teacher, whose answers depend on no dropout."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    @torch.no_grad()
    def read(self, node: Node, batch: Batch) -> Any:
        """The value of any node, without gradient. Enters here so that wrapping holds."""
        return Forward(self.model, batch, self.teacher)(node)

    def vectors(self, node: Read, batch: Batch) -> torch.Tensor:
        """What search stores: float32 [b, e]."""
        return self.read(node, batch)


def plan(objectives: Mapping[str, Any]) -> list[Node]:
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


def views(objectives: Mapping[str, Any]) -> list[View]:
    """The views that a step looks at, in the order they are needed."""
    return [node.view for node in plan(objectives) if isinstance(node, Embed)]
