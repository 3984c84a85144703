"""From a recipe to modules: the Step with its model and objectives, and who reads each modality."""

from __future__ import annotations

from typing import Any

import torch

from sensorium import draws, shelf
from sensorium.errors import RecipeError, nearest
from sensorium.model import Model
from sensorium.nodes import Embed, Encode, Fuse, Given, Node, Read
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


def augmented(recipe: Recipe) -> dict[str, list[int]]:
    """modality -> numbers of its variants that are drawn augmentations of the plain item."""
    return {
        name: [at for at, variant in enumerate(variants, 1) if variant.augment]
        for name, variants in recipe.variants.items()
    }


def compared(step: Step) -> tuple[str, ...]:
    """Modalities whose vectors the objectives compare: those that search can serve."""
    reads = [node for node in plan(step.objectives) if isinstance(node, Read)]
    return tuple(dict.fromkeys(x.view.modality for x in reads if x.give == "vector"))


def modality(recipe: Recipe, name: str) -> Any:
    """The object of the shelf `modalities` that reads one modality, or one target, of a recipe."""
    kind = "targets" if name in recipe.targets else "modalities"
    content = {**recipe.modalities, **recipe.targets}[name]
    module, spec = member("modalities", f"{kind}.{name}", content)
    return module.Modality(spec)


def build(recipe: Recipe, modalities: dict[str, Any] | None = None) -> Step:
    """The Step of a recipe, initial weights keyed by its seed.

    Only what the objectives' needs reach is built: projections for vectors that are compared,
    vocabulary heads for logits that are read, fusion where something meets.

    Args:
        recipe: what to build.
        modalities: modality or target -> its object, where they are already fitted; a trained
            tokenizer decides the size of the word table. By default as the recipe states.

    Raises:
        RecipeError: an option has a wrong value, or a modality that is needed is missing.
    """
    known = {
        name: (modalities or {}).get(name) or modality(recipe, name)
        for name in (*recipe.modalities, *recipe.targets)
    }
    encoders = {}
    # Initial weights come from the global stream; it is keyed here and given back after.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draws.integer(recipe.seed, "weights"))
        for name in recipe.modalities:
            source = known[name]
            if name in recipe.prepare:
                tower, told = member("encoders", f"prepare.{name}", recipe.prepare[name])
                source = Features(told.width if hasattr(told, "width") else tower.WIDTH)
            module, spec = member("encoders", f"encoders.{name}", recipe.encoders[name])
            if not hasattr(module, "Encoder"):
                raise RecipeError(
                    field=f"encoders.{name}.use",
                    expected="an encoder that can be trained",
                    found=f"{spec.use}, which stays frozen",
                    see=f"prepare.{name}",
                )
            encoders[name] = module.Encoder(spec, source)
        module, spec = member("fusion", "fusion", recipe.fusion)
        fusion = module.Fusion(spec, {name: x.width for name, x in encoders.items()})
        objectives = _objectives(recipe, given(recipe, known, encoders, fusion))
        nodes = plan(objectives)
        if not any(isinstance(node, Fuse) for node in nodes):  # nobody meets: nothing is built
            fusion = shelf.load("fusion", "none").Fusion(None, {})
        reads = [node for node in nodes if isinstance(node, Read)]
        told = {
            node.view.modality: recipe.head.model_dump() for node in reads if node.give == "logits"
        }
        compared = {node.view.modality for node in reads if node.give == "vector"}
        model = Model(encoders, fusion, recipe.space, recipe.project, recipe.prior, compared, told)
    return Step(model, objectives, recipe.teacher.momentum if recipe.teacher else None)


def given(recipe: Recipe, known: dict[str, Any], encoders: dict[str, Any], fusion: Any) -> Given:
    """What the model of a recipe offers to its objectives."""
    return Given(
        views=views(recipe),
        meets=bool(fusion.meets) and len(encoders) > 1,
        joint=fusion.joint_width,
        widths={name: int(encoder.width) for name, encoder in encoders.items()},
        entries={m: x.vocabulary for m, x in known.items() if hasattr(x, "vocabulary")},
        classes={name: max(2, len(known[name].classes)) for name in recipe.targets},
        variants={name: len(variants) for name, variants in recipe.variants.items()},
        vectors={
            name: recipe.space + (getattr(encoder, "prior_width", 0) if recipe.prior else 0)
            for name, encoder in encoders.items()
        },
        teacher=recipe.teacher is not None,
    )


def _objectives(recipe: Recipe, offered: Given) -> dict[str, torch.nn.Module]:
    """name -> objective, in the recipe's order; a second of one kind is called contrastive_1."""
    objectives: dict[str, torch.nn.Module] = {}
    for at, content in enumerate(recipe.objectives):
        module, spec = member("objectives", f"objectives.{at}", content)
        for option in ("between", "of"):
            asked = getattr(spec, option, ())
            for needed in [asked] if isinstance(asked, str) else asked:
                if needed not in recipe.modalities:
                    raise RecipeError(
                        field=f"objectives.{at}.{option}",
                        expected="modalities of the recipe: " + ", ".join(recipe.modalities),
                        found=needed,
                        nearest=nearest(needed, recipe.modalities),
                    )
        name = content["use"]
        name = name if name not in objectives else f"{name}_{at}"
        try:
            objectives[name] = module.Objective(spec, offered)
        except RecipeError as error:
            error.what = f"objectives.{at}: {error.what}"
            raise
    return objectives


def parameters(step: Step) -> dict[str, int]:
    """Trained parameters by part: each encoder, projections, vocabulary heads, fusion, objectives.

    A tied word table counts with its encoder; a teacher is a copy and does not count.
    """

    def count(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    parts = {f"encoder {name}": count(x) for name, x in step.model.encoders.items()}
    parts["projections"] = count(step.model.projections)
    if step.model.vocabularies:
        parts["vocabulary heads"] = count(step.model.vocabularies)
    parts["fusion"] = count(step.model.fusion) + count(step.model.absent)
    parts |= {f"objective {name}": count(x) for name, x in step.objectives.items()}
    parts["all"] = count(step) - (count(step.teacher) if step.teacher is not None else 0)
    return parts


def published(step: Step, recipe: Recipe) -> tuple[int, int] | None:
    """(counted here, published) parameters of what the published number counts, or None.

    `published.parameters` of a recipe has `value`, and `of` and `without`: beginnings of parameter
    names that the number counts and that it leaves out; by default all of the student counts.
    """
    told = recipe.published.get("parameters")
    if told is None:
        return None
    own = {name: p for name, p in step.named_parameters() if not name.startswith("teacher.")}
    of, without = tuple(told.get("of", ("",))), tuple(told.get("without", ()))
    found = sum(
        p.numel()
        for name, p in own.items()
        if name.startswith(of) and not (without and name.startswith(without))
    )
    return found, round(float(told["value"]))


def plan_lines(step: Step) -> list[str]:
    """The nodes of a training step, one line each, in the order they run: `embed  image`."""
    return [_line(node) for node in plan(step.objectives)]


def _line(node: Node) -> str:
    by = "   by the teacher" if node.who == "teacher" else ""
    match node:
        case Embed(view):
            return f"embed  {_told(view)}{by}"
        case Encode(view):
            return f"encode {_told(view)}{by}"
        case Fuse(parts, rows):
            paired = f"   paired by {_words(rows)}" if rows is not None else ""
            return "fuse   " + ", ".join(_told(part.view) for part in parts) + paired + by
        case Read(of, give):
            met = " that met" if isinstance(of, Fuse) else ""
            whose = "all" if give == "joint" else _told(node.view)
            return f"read   {give} of {whose}{met}{by}"
    raise TypeError(f"expected a node, found {node!r}")


def _words(pairing: Any) -> str:
    """`RandomPartner` -> `random partner`."""
    name = type(pairing).__name__
    return "".join(f" {x.lower()}" if x.isupper() else x for x in name).strip()


def _told(view: View) -> str:
    """`text (causal)`, `image #1`, `text, hide`: what differs from the plain view is said."""
    variant = f" #{view.variant}" if view.variant else ""
    edits = "".join(f", {getattr(edit, 'use', type(edit).__name__)}" for edit in view.edits)
    return f"{view.modality}{variant}{edits}" + (f" ({view.order})" if view.order != "full" else "")
