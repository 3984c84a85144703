"""Each recipe from data to report: a short run that trains, scores, reports and opens again.

A recipe of one modality is trained on data that has only that one.
"""

import json
import math

import pytest
from recipe_data import data_for
from small_recipe import shrunk

from sensorium import shelf
from sensorium.pretraining import pretrain
from sensorium.run import Run

NAMES = [name for name in shelf.names("recipes") if not shrunk(name).prepare]


@pytest.mark.parametrize("name", NAMES)
def test_from_data_to_report(name, tiny_data, tmp_path, empty_cache):
    recipe = shrunk(name, "optimiser.batch=8", "budget=4-steps", width=32)
    data = data_for(recipe, tiny_data, tmp_path)
    run = pretrain(data, recipe, out=tmp_path / "run")
    log = [json.loads(x) for x in (run.folder / "log.jsonl").read_text().splitlines()]
    told = [line for line in log if line["split"] == "train"]
    assert [line["step"] for line in told] == [1, 2, 3, 4]
    objectives = [x["use"] for x in recipe.objectives]
    for line in log:
        for objective in objectives:
            assert math.isfinite(line[objective])
            assert math.isfinite(line[f"{objective}/no_skill"])
    for split in ("validation", "test"):
        scores = json.loads((run.folder / "evaluation" / f"{split}.json").read_text())
        assert scores, "a run without any score says nothing"
        assert all(math.isfinite(score["value"]) for score in scores)
    again = Run.open(run.folder)
    assert again.best_step == run.best_step
    # Vectors are served where they were compared.
    assert again.compares == (run.folder / "index").exists()
    if {"image", "text"} <= set(recipe.modalities) and again.compares:
        assert again.search("a red circle", k=3)
    page = again.report().read_text("utf-8")
    assert recipe.name in page
