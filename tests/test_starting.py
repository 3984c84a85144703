"""Closed-form starts: canonical directions against numpy, refusals."""

import numpy as np
import pytest
import torch

from sensorium.building import build
from sensorium.errors import RecipeError
from sensorium.prepare import Column
from sensorium.recipe import load
from sensorium.starting import start

N = 80


def world(seed=0):
    """Two features that share two hidden causes, and much that is their own."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(N, 2))
    made = {}
    for name, width in (("image", 1280), ("text", 384)):
        own = rng.normal(size=(N, width))
        values = 3 * causes @ rng.normal(size=(2, width)) + 0.3 * own
        index = [[at] for at in range(N)]
        made[name] = Column(name, values[:, None].astype(np.float32), index, np.arange(N), True)
    return causes, made


def test_canonical_directions_are_singular_vectors():
    recipe = load("plain_projections", overrides=["start=cca", "space=8"])
    _, columns = world()
    step = build(recipe)
    start(step, recipe, columns, list(range(N)))
    a, b = (columns[m].items[:, 0].astype(np.float64) for m in ("image", "text"))
    u, s, vh = np.linalg.svd(a.T @ b / N, full_matrices=False)
    for weight, directions in (("image", u[:, :8]), ("text", vh.T[:, :8])):
        found = step.model.projections[weight].weight.detach().double().numpy()
        expected = (directions * s[:8]).T
        expected = expected * np.sqrt((found**2).mean() / (expected**2).mean())
        np.testing.assert_allclose(
            np.abs(found[:2]), np.abs(expected[:2]), atol=1e-3 * np.abs(expected).max()
        )
        assert np.sqrt((found**2).mean()) == pytest.approx(found.shape[1] ** -0.5, rel=1e-4)


def test_the_start_already_finds_partners():
    """Before any step, right pairs lie closer than wrong ones."""
    from sensorium.embedding import embed
    from sensorium.prepare import Reader  # noqa: F401  (embed asks a reader for its name only)

    class Named:
        modality = None

        def __init__(self, name):
            self.name = name

    recipe = load("plain_projections", overrides=["start=cca", "space=4"])
    _, columns = world()
    step = build(recipe)
    start(step, recipe, columns, list(range(N)))
    x, y = (embed(step, recipe, Named(m), columns[m]) for m in ("image", "text"))
    table = x @ y.T
    right = np.diag(table).mean()
    wrong = table[~np.eye(N, dtype=bool)].mean()
    assert right > 0.8
    assert abs(wrong) < 0.3


def test_random_start_changes_nothing():
    recipe = load("plain_projections")
    step, same = build(recipe), build(recipe)
    start(step, recipe, world()[1], list(range(N)))
    for a, b in zip(step.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("overrides", "field"),
    [(["start=cca"], "start"),
     (["encoders.image={use: nystroem, anchors: 4, components: 2}"], "encoders.image")],
)  # fmt: skip
def test_raw_pictures_are_refused(overrides, field):
    recipe = load("plain_projections", overrides=overrides)
    columns = world()[1]
    columns["image"].features = False
    step = build(recipe)
    with pytest.raises(RecipeError) as caught:
        start(step, recipe, columns, list(range(N)))
    assert caught.value.field == field
