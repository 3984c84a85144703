"""Trained, not argued: who has met absence in training stands it better in a test."""

import copy

import numpy as np
import pytest
import torch

from sensorium import recipe as recipes
from sensorium.building import build, modality
from sensorium.loading import Batches, gather
from sensorium.prepare import Column
from sensorium.records import Record, Source
from sensorium.step import views

CLASSES, N, TEST, STEPS = 4, 192, 96, 120
RECIPE = {
    "name": "copied", "summary": "a table copies the class", "source": "the project's own tests",
    "modalities": {
        "image": {"use": "image", "size": 8, "patch": 4},
        "table": {"use": "table", "kinds": {"copy": "category"}},
    },
    "encoders": {
        "image": {"use": "vision_transformer", "width": 16, "depth": 1, "heads": 2},
        "table": {"use": "tabular", "width": 16, "depth": 1, "heads": 2},
    },
    "targets": {"label": {"use": "label"}},
    "objectives": [{"use": "classification"}],
    "choose": "loss",
}  # fmt: skip


def world():
    """Pictures of a bright quarter among noise; the quarter is the class, and the table says it."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, N + TEST)
    pictures = rng.integers(0, 120, (N + TEST, 8, 8, 3))
    for at, label in enumerate(labels):
        top, left = 4 * (label // 2), 4 * (label % 2)
        pictures[at, top : top + 4, left : left + 4] += 100
    return labels, pictures.astype(np.uint8)


def trained(fusion, rate, dropout):
    """Accuracy with everything, without the table, and without the picture, on the test records."""
    options = (
        {"depth": 1, "heads": 2, "lead": "image", "pool": "mean"}
        if fusion == "merge_attention"
        else {}
    )
    content = copy.deepcopy(RECIPE) | {"fusion": {"use": fusion, **options}}
    recipe = recipes.check(content | {"modality_dropout": dropout})
    labels, pictures = world()
    records = [
        Record(f"r{at}", Source("m", at), {"copy": f"k{label}", "label": f"c{label}"})
        for at, label in enumerate(labels)
    ]
    objects = {name: modality(recipe, name) for name in ("image", "table", "label")}
    objects["table"].fit(records[:N], "copy")
    objects["label"].fit(records[:N], "label")
    whole, index = np.arange(len(records)), [[at] for at in range(len(records))]
    items = {
        "image": pictures,
        "table": np.stack([objects["table"].read(x.fields, "cells") for x in records]),
        "label": [x.fields["label"] for x in records],
    }
    columns = {name: Column(name, x, index, whole, False) for name, x in items.items()}
    step = build(recipe, objects).train()
    batches = Batches(
        records, columns, objects, list(range(N)), 32, 0, views=views(step.objectives),
        modality_dropout=recipe.modality_dropout,
    )  # fmt: skip
    adam = torch.optim.AdamW(step.parameters(), rate)
    for at in range(STEPS):
        adam.zero_grad()
        step(batches[at]).total.backward()
        adam.step()
    step.eval()
    test = list(range(N, N + TEST))

    def accuracy(without=None):
        chosen = {name: [None if name == without else at for at in test] for name in columns}
        batch = gather([records[at] for at in test], columns, objects, chosen)
        with torch.no_grad():
            return float(step(batch).losses["classification"].parts["right"]) / TEST

    return accuracy(), accuracy("table"), accuracy("image")


@pytest.mark.parametrize(("fusion", "rate"), [("merge_attention", 5e-3), ("concatenate", 1e-2)])
def test_trained_with_absence_is_far_better_without_the_table(fusion, rate):
    plain, met = trained(fusion, rate, {}), trained(fusion, rate, {"table": 0.5})
    assert min(plain[0], met[0]) > 0.9  # both know the class where the table says it
    assert met[1] > 0.75  # chance is a quarter
    assert met[1] > plain[1] + 0.3
    assert plain[2] > 0.75  # whoever never missed it leans on the table alone
