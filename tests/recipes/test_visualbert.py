"""VisualBERT's trunk against transformers' model, and one pass for two objectives."""

import pytest
import torch
from passes import passes
from small_recipe import at_published_size, numbers, small
from transformers import VisualBertConfig, VisualBertModel

from sensorium.recipe import load

D = 768


def test_published_size_of_the_trunk():
    """111,450,624: transformers' VisualBertModel with regions of 2,048 values."""
    recipe = load("visualbert")
    with torch.device("meta"):
        model = at_published_size("visualbert").model
        theirs = numbers(VisualBertModel(VisualBertConfig(visual_embedding_dim=2048)))
    assert theirs == 111_450_624
    patches = 3 * recipe.modalities["image"]["patch"] ** 2
    places = (recipe.modalities["image"]["size"] // recipe.modalities["image"]["patch"]) ** 2
    changed = {
        "patches for regions": (patches - 2048) * D,
        "positions of words": (128 - 512) * D,
        "positions of patches": (places - 512) * D,
        "two tables of two types, and ours has one": -2 * D,
    }
    ours = numbers(model.encoders) + numbers(model.fusion)
    assert ours == theirs + sum(changed.values())
    assert ours == pytest.approx(111.45e6, rel=0.01)


def test_the_recipe_is_the_published_configuration():
    """uclanlp/visualbert visualbert/configs/vqa/coco-pre-train.json."""
    recipe = load("visualbert")
    assert recipe.name == "visualbert_patches", "detector regions are not there, and it says so"
    assert recipe.modalities["text"]["length"] == 128
    assert (recipe.fusion["depth"], recipe.fusion["heads"]) == (12, 12)
    assert recipe.encoders["image"]["depth"] == recipe.encoders["text"]["depth"] == 0
    words, matching = recipe.objectives
    assert words["edits"][0]["rate"] == 0.15
    assert matching["edits"] == words["edits"]
    rates = recipe.optimiser
    assert (rates.learning_rate, rates.batch, rates.warmup) == (5e-5, 48, 0.1)
    assert (rates.schedule, rates.clip) == ("linear", 1.0)


def test_passes():
    """Hidden words and right pairs share one pass of the stack; wrong pairs take a second."""
    made = small("visualbert")
    batch = made.batches[0]
    (hidden,) = batch.looks.values()
    assert passes(made, batch) == {
        "image encoder: image": [8],  # the map of patches alone: no layers before they meet
        "text encoder: hidden text": [8],
        "fusion: image, hidden text": [8, 8],
        "text head": [len(hidden.places)],
    }
