"""From a recipe to modules: the Step with its model and objectives, and who reads each modality."""

from __future__ import annotations

from typing import Any

import torch

from sensorium import draws
from sensorium.errors import RecipeError, nearest
from sensorium.model import Model
from sensorium.nodes import Embed, Encode, Fuse, Node, Read
from sensorium.recipe import Recipe, member
from sensorium.step import Step, plan
from sensorium.views import View


class Features:
    """Stands where a modality object stands once a frozen tower prepared it: shapes only."""

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.tokens_per_item = 1


def views(recipe: Recipe) -> dict[str, View]:
    """modality -> its plain view: one variant, in the order that the recipe names."""
    return {m: View(m, order=recipe.order.get(m, "full")) for m in recipe.modalities}


def modality(recipe: Recipe, name: str) -> Any:
    """The object of the shelf `modalities` that reads one modality of a recipe."""
    module, spec = member("modalities", f"modalities.{name}", recipe.modalities[name])
    return module.Modality(spec)


def build(recipe: Recipe, modalities: dict[str, Any] | None = None) -> Step:
    """The Step of a recipe, initial weights keyed by its seed.

    Args:
        recipe: what to build.
        modalities: modality -> its object, where they are already fitted; a trained tokenizer
            decides the size of the word table. By default as the recipe states.

    Raises:
        RecipeError: an option has a wrong value, or a modality that is needed is missing.
    """
    given = dict(modalities or {})
    encoders = {}
    # Initial weights come from the global stream; it is keyed here and given back after.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draws.integer(recipe.seed, "weights"))
        for name in recipe.modalities:
            source = given.get(name) or modality(recipe, name)
            if name in recipe.prepare:
                tower, _ = member("encoders", f"prepare.{name}", recipe.prepare[name])
                source = Features(tower.WIDTH)
            module, spec = member("encoders", f"encoders.{name}", recipe.encoders[name])
            encoders[name] = module.Encoder(spec, source)
        module, spec = member("fusion", "fusion", recipe.fusion)
        fusion = module.Fusion(spec, {name: x.width for name, x in encoders.items()})
        model = Model(encoders, fusion, recipe.space, recipe.project, recipe.prior)
        objectives = {}
        for at, content in enumerate(recipe.objectives):
            module, spec = member("objectives", f"objectives.{at}", content)
            for needed in getattr(spec, "between", ()):
                if needed not in recipe.modalities:
                    raise RecipeError(
                        field=f"objectives.{at}.between",
                        expected="modalities of the recipe: " + ", ".join(recipe.modalities),
                        found=needed,
                        nearest=nearest(needed, recipe.modalities),
                    )
            name = content["use"]
            name = name if name not in objectives else f"{name}_{at}"
            objectives[name] = module.Objective(spec, views(recipe))
    return Step(model, objectives)


def parameters(step: Step) -> dict[str, int]:
    """Trained parameters by part: each encoder, the projections, fusion, the objectives."""

    def count(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    parts = {f"encoder {name}": count(x) for name, x in step.model.encoders.items()}
    parts["projections"] = count(step.model.projections)
    parts["fusion"] = count(step.model.fusion)
    parts |= {f"objective {name}": count(x) for name, x in step.objectives.items()}
    parts["all"] = count(step)
    return parts


def plan_lines(step: Step) -> list[str]:
    """The nodes of a training step, one line each, in the order they run: `embed  image`."""
    return [_line(node) for node in plan(dict(step.objectives.items()))]


def _line(node: Node) -> str:
    match node:
        case Embed(view):
            return f"embed  {_told(view)}"
        case Encode(view):
            return f"encode {_told(view)}"
        case Fuse(parts):
            return "fuse   " + ", ".join(_told(part.view) for part in parts)
        case Read(of, modality, give=give, part=part):
            met = f", part {part} of what met" if isinstance(of, Fuse) else ""
            return f"read   {give} of {modality}{met}"
    raise TypeError(f"expected a node, found {node!r}")


def _told(view: View) -> str:
    """`text (causal)`, `image #1`: what differs from the plain view is said."""
    variant = f" #{view.variant}" if view.variant else ""
    return f"{view.modality}{variant}" + (f" ({view.order})" if view.order != "full" else "")
