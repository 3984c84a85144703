"""A small world and small Steps over it, to try any objective without files or training runs.

A record has a hidden kind; its picture shows the kind with noise, its text says it among words of
chance, a second text says it in other words. Whoever learns the kind is better than without skill.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from reference import randomise

from sensorium import draws, recipe, shelf
from sensorium.encoders import transformer, vision_transformer
from sensorium.model import Model
from sensorium.nodes import Given, Read
from sensorium.records import Source
from sensorium.step import Step, plan, views
from sensorium.tokens import Batch, Tokens, collate
from sensorium.views import View, attach

KINDS = 8  # two words tell one: 4 + (kind, its complement)
PLAIN = {"image": View("image"), "text": View("text")}


class Words:
    """A vocabulary: pad, first, last, hidden, then words."""

    vocabulary, length, hide_id = 40, 10, 3
    special = frozenset(range(4))
    starts = np.ones(40, bool)


class Grid:
    """Pictures of four patches of 2 x 2 pixels."""

    channels, tokens_per_item = 12, 4


def _text(kind: int, rng: np.random.Generator, other: bool) -> Tokens:
    told = [4 + kind + 16 * other, 12 + (kind * 3) % 8 + 16 * other]
    ids = torch.tensor([[1, *told, *rng.integers(4, 36, rng.integers(0, 3)), 2]])
    position = torch.arange(ids.shape[1])[None, :, None]
    return Tokens("text", real=torch.ones_like(ids, dtype=torch.bool), position=position, ids=ids)


def _picture(kind: int, rng: np.random.Generator) -> Tokens:
    shown = np.random.default_rng(kind).integers(40, 215, (1, 4, 12))
    values = torch.from_numpy((shown + rng.integers(-30, 31, shown.shape)).astype(np.uint8))
    grid = torch.cartesian_prod(torch.arange(2), torch.arange(2))[None]
    return Tokens("image", real=torch.ones(1, 4, dtype=torch.bool), position=grid, values=values)


def batch(names, step=None, lacking=None, drawn: int = 0, progress: float = 1.0) -> Batch:
    """The records of some names (integers), each the same whatever stands beside it.

    Args:
        names: one integer a record; its content, kind and draws follow from it.
        step: whose views are looked at; None attaches no looks.
        lacking: modality -> names of records that lack it.
        drawn: another number draws anew.
    """
    names = list(names)
    rngs = {
        at: [draws.generator(x, at) for x in names] for at in ("text", "text#1", "image", "1", "2")
    }
    kinds = [x % KINDS for x in names]
    told = {
        at: [_text(k, rng, at != "text") for k, rng in zip(kinds, rngs[at], strict=True)]
        for at in ("text", "text#1")
    }
    shown = {
        at: [_picture(k, rng) for k, rng in zip(kinds, rngs[at], strict=True)]
        for at in ("image", "1", "2")
    }
    tokens = {("text", at): collate(told[name], 6) for at, name in enumerate(told)}
    tokens |= {("image", at): collate(shown[name]) for at, name in enumerate(shown)}
    lacking = lacking or {}
    own = torch.tensor(names)
    made = Batch(
        keys=tuple(map(str, names)),
        sources=(Source("memory"),) * len(names),
        tokens=tokens,
        present={
            name: torch.tensor([x not in lacking.get(name, ()) for x in names])
            for name in ("image", "text", "text#1")
        },
        identity={"image": own + 1000, "text": own + 2000, "text#1": own + 3000},
        targets={"label": torch.tensor(kinds)},
        draw=torch.tensor([draws.integer("draw", drawn, x) for x in names]),
        progress=progress,
    )
    return made if step is None else attach(made, views(step.objectives), {"text": Words()})


def given(fusion, encoders) -> Given:
    """What the small model offers."""
    return Given(
        views={name: PLAIN[name] for name in encoders},
        meets=bool(fusion.meets) and len(encoders) > 1,
        joint=fusion.joint_width,
        widths={name: encoder.width for name, encoder in encoders.items()},
        entries={"text": Words.vocabulary} if "text" in encoders else {},
        classes={"label": KINDS},
        variants={"text": 1, "image": 2},
        vectors=dict.fromkeys(encoders, 16),
        teacher=True,  # `small` adds one where a node asks for it
    )


def objective(offered: Given, **content):
    """An objective of options as a recipe has them."""
    module, spec = recipe.member("objectives", "objectives.0", content)
    return module.Objective(spec, offered)


def small(
    *contents,
    fusion="merge_attention",
    modalities=("image", "text"),
    seed=0,
    momentum: float | None = None,
    width=32,
    spread=0.3,
    form=None,
) -> Step:
    """A Step of one-layer encoders, one layer of fusion and the objectives of some options.

    Args:
        form: options of the fusion, beside its depth and heads.
        spread: of the model's weights. The 0.02 that models start from is meant for widths of
            hundreds; at this width, what is seen would hardly move what is said.
    """
    torch.manual_seed(seed)
    size = dict(width=width, depth=1, heads=2)
    encoders = {
        "image": vision_transformer.Encoder(vision_transformer.Spec(**size), Grid()),
        "text": transformer.Encoder(transformer.Spec(**size), Words()),
    }
    encoders = {name: encoders[name] for name in modalities}
    module = shelf.load("fusion", fusion)
    options = {"depth": 1, "heads": 2} | (form or {})
    options = {name: x for name, x in options.items() if name in module.Spec.model_fields}
    met = module.Fusion(module.Spec(**options), dict.fromkeys(encoders, width))
    offered = given(met, encoders)
    objectives = {str(at): objective(offered, **content) for at, content in enumerate(contents)}
    reads = [node for node in plan(objectives) if isinstance(node, Read)]
    told = {x.view.modality: {} for x in reads if x.give == "logits"}
    compared = {x.view.modality for x in reads if x.give == "vector"}
    model = Model(encoders, met, 16, compared=compared, told=told)
    randomise(model, seed, spread)
    if momentum is None and any(node.who == "teacher" for node in reads):
        momentum = 0.99
    return Step(model, objectives, momentum)


def same_content(made: Batch, modality: str, identity) -> Batch:
    """The batch with other identities of one modality."""
    return replace(made, identity=made.identity | {modality: torch.as_tensor(identity)})
