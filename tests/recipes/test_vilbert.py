"""ViLBERT's two streams counted by hand from its configuration file, and its passes."""

import pytest
import torch
from passes import passes
from small_recipe import at_published_size, numbers, small

from sensorium.recipe import load

TEXT, IMAGE, BOTH = 768, 1024, 1024  # widths of the streams, and where they exchange


def linear(inside, outside):
    return inside * outside + outside


def layer(width, hidden):
    """One of BERT's: attention and its norm, feed-forward part and its norm."""
    feed = linear(width, hidden) + linear(hidden, width)
    return 4 * linear(width, width) + feed + 2 * 2 * width


def half(width, hidden):
    """One stream's half of a connection; its keys and values serve the other stream."""
    ask = 3 * linear(width, BOTH) + linear(BOTH, width) + 2 * width
    return ask + linear(width, hidden) + linear(hidden, width) + 2 * width


def theirs():
    """jiasenlu/vilbert_beta config/bert_base_6layer_6conect.json, part by part."""
    return {
        "words": (30522 + 512 + 2 + 2) * TEXT,
        "regions": linear(2048, IMAGE) + linear(5, IMAGE) + 2 * IMAGE,
        "text layers": 12 * layer(TEXT, 3072),
        "image layers": 6 * layer(IMAGE, 1024),
        "connections": 6 * (half(TEXT, 3072) + half(IMAGE, 1024)),
        "poolers": linear(TEXT, BOTH) + linear(IMAGE, BOTH),
    }


def test_published_size():
    """235.7 M: both streams, connections, embeddings and poolers; no detector, no unused layer."""
    with torch.device("meta"):
        model = at_published_size("vilbert").model
    parts = theirs()
    assert sum(parts.values()) == 235_705_856
    patches = linear(3 * 32**2, IMAGE) + (36 + 1) * IMAGE + IMAGE + 2 * IMAGE  # class token, norm
    ours = numbers(model.encoders) + numbers(model.fusion)
    assert numbers(model.encoders["image"]) == patches
    assert ours == sum(parts.values()) - parts["regions"] + patches - (512 - 36) * TEXT
    assert ours == pytest.approx(235.7e6, rel=0.01)
    six = numbers(model.encoders["text"].stack) + numbers(model.fusion.layers)
    assert six == parts["text layers"] + parts["image layers"]
    assert numbers(model.fusion.connections) == parts["connections"]
    assert numbers(model.fusion.poolers) == parts["poolers"]


def test_the_recipe_is_the_published_configuration():
    recipe = load("vilbert")
    assert recipe.name == "vilbert_patches", "detector regions are not there, and it says so"
    image, text, fusion = recipe.encoders["image"], recipe.encoders["text"], recipe.fusion
    # Six layers of the text come before the first connection, none of the picture.
    assert (image["width"], image["depth"], text["width"], text["depth"]) == (1024, 0, 768, 6)
    assert (fusion["depth"], fusion["heads"], fusion["inner"]) == (6, 8, 1024)
    assert fusion["own_heads"] == {"image": 8, "text": 12}
    assert (recipe.modalities["image"]["size"] // recipe.modalities["image"]["patch"]) ** 2 == 36
    assert recipe.modalities["text"]["length"] == 36
    assert recipe.objectives[0]["edits"][0]["rate"] == 0.15
    assert (recipe.objectives[1]["negatives"], recipe.objectives[1]["replace"]) == (
        "random",
        "text",
    )
    assert recipe.optimiser.learning_rate == 1e-4


def test_passes():
    """Hidden words and right pairs share one pass of both streams; wrong pairs take a second."""
    made = small("vilbert")
    batch = made.batches[0]
    (hidden,) = batch.looks.values()
    assert passes(made, batch) == {
        "image encoder: image": [8],  # the map of patches alone
        "text encoder: hidden text": [8],
        "fusion: image, hidden text": [8, 8],
        "text head": [len(hidden.places)],
    }
