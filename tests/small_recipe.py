"""A shipped recipe small enough for a test: its Step over records in memory, without files.

Widths are 128 and depths at most 2; what is built, and in which order it runs, is the recipe's.
"""

from __future__ import annotations

from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import torch

from sensorium import conse, shelf
from sensorium.building import augmented, build, modality
from sensorium.loading import Batches
from sensorium.prepare import Column
from sensorium.recipe import Recipe, check, load
from sensorium.records import Record, Source
from sensorium.starting import start
from sensorium.step import Step, views

COUNT, WIDTH = 16, 128


LABELLED = {"use": "classification", "target": "label"}


def shrunk(name: str, *overrides: str, labelled: bool = False, width: int = WIDTH) -> Recipe:
    """The tiny recipe at a smaller width and depth, with the options of some overrides.

    Args:
        labelled: it has a target and is asked for it too.
    """
    recipe = load(name, "tiny", list(overrides))
    content = recipe.model_dump(mode="json", exclude_defaults=True)
    content["size"] = "tiny"
    for kind, options in content["encoders"].items():
        if kind in content.get("prepare", {}):
            continue
        options |= {"width": width, "depth": min(options["depth"], 2), "heads": 4}
        if "queries" in options:
            options["queries"] = 3
        if kind == "image":
            content["modalities"][kind] |= {"size": 16, "patch": 4}
    fusion = content.get("fusion", {})
    if fusion.get("use", "none") != "none":
        fusion |= {"depth": 2, "heads": 4}
        for key, value in (("inner", width), ("own_heads", {"image": 2, "text": 2})):
            if key in fusion:
                fusion[key] = value
    for objective in content["objectives"]:
        for key, value in (("queue", 20), ("hidden", 24)):
            if key in objective:
                objective[key] = value
    if labelled:
        content["targets"] = {"label": {"use": "label"}}
        content["objectives"].append(LABELLED)
    return check(content)


def combined(*overrides: str, width: int = WIDTH) -> Recipe:
    """ALBEF with every objective that another recipe has: a queue, a teacher, hidden words, hard
    partners, two random views of a picture, a translation, a target, dropout."""
    recipe = shrunk("albef", *overrides, labelled=True, width=width)
    content = recipe.model_dump(mode="json", exclude_defaults=True)
    content |= {"name": "combined", "survey": None}
    content["variants"] = {
        "image": [{"augment": True}, {"augment": True}],
        "text": [{"field": "translation"}],
    }
    content["objectives"] += [
        {"use": "image_self_supervision", "hidden": 24, "out": 8},
        {"use": "translation_contrast"},
    ]
    return check(content)


def records(recipe: Recipe, lacking: dict[str, tuple[int, ...]] | None = None):
    """(records, columns, modality objects); `lacking` names a column's records without content."""
    made = [Record(f"r{at}", Source("memory", at), {}) for at in range(COUNT)]
    columns, objects = {}, {}
    for kind in (*recipe.modalities, *recipe.targets):
        extra = [
            f"{kind}#{number}"
            for number, variant in enumerate(recipe.variants.get(kind, ()), 1)
            if variant.field is not None
        ]
        if kind not in recipe.prepare:
            objects[kind] = modality(recipe, kind)
        for name in (kind, *extra):
            gone = (lacking or {}).get(name, ())
            index = [[] if at in gone else [at] for at in range(COUNT)]
            items = _items(recipe, name, objects.get(kind))
            columns[name] = Column(name, items, index, np.arange(COUNT), kind in recipe.prepare)
        if kind in objects and kind != "image":
            said = [x for name in (kind, *extra) for x in columns[name].items]
            objects[kind].fit([Record("x", Source("m"), {kind: x}) for x in said], kind)
    return made, columns, objects


def _items(recipe: Recipe, name: str, about):
    rng, kind = np.random.default_rng(len(name)), name.partition("#")[0]
    if kind in recipe.targets:
        return [("red", "green", "blue")[at % 3] for at in range(COUNT)]
    if kind in recipe.prepare:
        width = shelf.load("encoders", recipe.prepare[kind]["use"]).WIDTH
        return rng.normal(size=(COUNT, 1, width)).astype(np.float32)
    if kind == "image":
        return rng.integers(0, 256, (COUNT, about.spec.size, about.spec.size, 3)).astype(np.uint8)
    word = "words" if name == "text" else "parole"
    return [f"{word} number {at} of some {at * at} and then a few more" for at in range(COUNT)]


@dataclass
class Small:
    """A recipe's Step and the batches that it would see."""

    recipe: Recipe
    step: Step
    batches: Batches
    objects: dict


def small(
    name: str,
    *overrides: str,
    batch: int = 8,
    lacking: dict[str, tuple[int, ...]] | None = None,
    labelled: bool = False,
) -> Small:
    """Builds, starts and shrinks a recipe of the shelf; needs no tower.

    Args:
        lacking: column -> positions of the records that lack it.
        labelled: as `shrunk`.
    """
    options = (f"optimiser.batch={batch}", "optimiser.warmup=0.0", *overrides)
    recipe = shrunk(name, *options, labelled=labelled)
    made, columns, objects = records(recipe, lacking)
    positions = list(range(COUNT))
    # A prior asks real towers for tables; any numbers do here.
    rng = torch.Generator().manual_seed(0)
    tables = tuple(torch.randn(conse.CLASSES, x, generator=rng) for x in (1281, conse.WIDTH))
    with patch.object(conse, "tables", lambda: tables):
        step = build(recipe, objects)
        start(step, recipe, columns, positions)
    batches = Batches(
        made, columns, objects, positions, batch, recipe.seed, augmented(recipe),
        views(step.objectives),
    )  # fmt: skip
    return Small(recipe, step, batches, objects)


def at_published_size(name: str) -> Step:
    """The Step of a shipped recipe at its own size, without memory for its weights."""
    with torch.device("meta"):
        return build(load(name))


def numbers(module: torch.nn.Module) -> int:
    """How many numbers a module trains."""
    return sum(p.numel() for p in module.parameters())
