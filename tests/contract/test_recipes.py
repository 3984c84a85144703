"""What every recipe keeps, beside its own tests."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium import conse, optimiser, shelf
from sensorium.building import build, modality, parameters, plan_lines, published, views
from sensorium.loading import Batches
from sensorium.model import Model
from sensorium.prepare import Column
from sensorium.recipe import load
from sensorium.records import Record, Source
from sensorium.starting import start
from sensorium.training import update

NAMES = shelf.names("recipes")


@pytest.mark.parametrize("name", NAMES)
def test_builds_at_published_size_on_the_meta_device(name):
    recipe = load(name)
    with torch.device("meta"):
        step = build(recipe)
    counts = parameters(step)
    if (told := published(step, recipe)) is not None:
        rounded = float(recipe.published["parameters"].get("rounded", 0))  # as it was printed
        assert told[0] == pytest.approx(told[1], abs=max(0.01 * told[1], rounded))
    else:  # no number is known, or none that this structure explains: the recipe says which
        assert "unexplained" in str(recipe.published) or "parameters" not in recipe.published
    assert isinstance(step.model, Model)
    assert sum(v for k, v in counts.items() if k != "all") == counts["all"]
    assert plan_lines(step)


@pytest.mark.parametrize("name", NAMES)
def test_one_step_at_tiny_size_moves_every_parameter(name, monkeypatch):
    # A prior asks the real towers for tables; any numbers do here.
    tables = torch.randn(conse.CLASSES, 1281), torch.randn(conse.CLASSES, conse.WIDTH)
    monkeypatch.setattr(conse, "tables", lambda: tables)
    recipe = load(name, "tiny", ["optimiser.batch=4", "optimiser.warmup=0.0"])
    records = [Record(f"r{at}", Source("memory", at), {}) for at in range(8)]
    rng = np.random.default_rng(0)
    columns, modalities = {}, {}
    for kind in recipe.modalities:
        index, identity = [[at] for at in range(8)], np.arange(8)
        if kind in recipe.prepare:
            width = shelf.load("encoders", recipe.prepare[kind]["use"]).WIDTH
            items = rng.normal(size=(8, 1, width)).astype(np.float32)
            columns[kind] = Column(kind, items, index, identity, True)
            continue
        made = modality(recipe, kind)
        if kind == "image":
            items = rng.integers(0, 256, (8, made.spec.size, made.spec.size, 3)).astype(np.uint8)
        else:
            items = [f"words number {at} of some {at * at}" for at in range(8)]
            made.fit([Record("x", Source("m"), {"text": x}) for x in items], "text")
        modalities[kind] = made
        columns[kind] = Column(kind, items, index, identity, False)
    step = build(recipe, modalities)
    start(step, recipe, columns, list(range(8)))
    before = {k: v.clone() for k, v in step.state_dict().items()}
    adam = optimiser.build(step, recipe.optimiser)
    for at in range(2):  # some gradients are zero until others have moved
        batch = Batches(records, columns, modalities, list(range(8)), 4, 0)[at]
        losses = update(step, adam, batch, recipe.optimiser.clip)
    assert all(torch.isfinite(loss.mean) for loss in losses.values())
    trained = {k for k, p in step.named_parameters() if p.requires_grad}
    still = [k for k in trained if torch.equal(before[k], step.state_dict()[k])]
    assert not still


@pytest.mark.parametrize("name", NAMES)
def test_says_where_it_comes_from(name):
    recipe = load(name)
    # What had to be substituted is part of the name that is shown: visualbert is shown as
    # visualbert_patches.
    assert recipe.name in (name, f"{name}_patches")
    assert recipe.source
    assert recipe.departures, "no reproduction is without departures: say them"
    assert set(views(recipe)) == set(recipe.modalities)
    assert (Path(__file__).parents[1] / "recipes" / f"test_{name}.py").exists()


def test_no_two_recipes_are_one():
    for a, b in itertools.combinations(NAMES, 2):
        x, y = (
            load(n).model_dump(exclude={"name", "summary", "source", "departures"}) for n in (a, b)
        )
        assert x != y
