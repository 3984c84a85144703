"""CoCa's size against the paper's table, counted by hand; one pass serves both objectives."""

import pytest
import torch
from passes import passes
from small_recipe import at_published_size, numbers, small

from sensorium.building import parameters
from sensorium.recipe import load

D, WORDS = 1408, 64_000


def attention():
    return 4 * (D * D + D)


def layer(hidden, cross=False):
    """Pre-norm: self-attention, cross-attention, feed-forward part, a norm before each."""
    feed = 2 * D * hidden + hidden + D
    return (1 + cross) * (attention() + 2 * D) + feed + 2 * D


def test_published_size():
    """Table 1 of the paper: 1B for the picture, 1.1B for the decoder, 2.1B in all."""
    with torch.device("meta"):
        step = at_published_size("coca")
    counts, model = parameters(step), step.model
    picture = 40 * layer(6144)
    assert numbers(model.encoders["image"].stack) == picture
    assert counts["encoder image"] == pytest.approx(1.0e9, rel=0.05)
    below, above = 18 * layer(4 * D), 18 * layer(4 * D, cross=True)
    assert numbers(model.encoders["text"].stack) == below
    assert numbers(model.fusion.layers) == above
    decoder = counts["encoder text"] + counts["fusion"]
    ends = (WORDS + 64) * D + 2 * 2 * D + 2 * D  # both tables, two last norms, two stand-ins
    assert decoder == below + above + ends
    assert decoder == pytest.approx(1.1e9, rel=0.01)
    assert counts["vocabulary heads"] == 0, "the word table is the head"
    assert round(counts["all"] / 1e9, 1) == 2.1


def test_the_recipe_is_the_published_configuration():
    """Section 4.1 and table 1, as the survey's row has them."""
    recipe = load("coca")
    image, text, fusion = recipe.encoders["image"], recipe.encoders["text"], recipe.fusion
    assert (image["width"], image["depth"], image["heads"], image["queries"]) == (D, 40, 16, 256)
    assert round(image["mlp"] * D) == 6144
    assert (text["width"], text["depth"], fusion["depth"]) == (D, 18, 18)
    assert (recipe.modalities["image"]["size"], recipe.modalities["image"]["patch"]) == (288, 18)
    assert recipe.modalities["text"]["length"] == 64
    assert [x["weight"] for x in recipe.objectives] == [1.0, 2.0]
    assert recipe.order == {"text": "causal"}
    assert recipe.optimiser.learning_rate == 8e-4


def test_passes():
    """Section 3.2: "all losses are computed with a single forward pass"."""
    made = small("coca")
    batch = made.batches[0]
    (causal,) = batch.looks.values()
    assert passes(made, batch) == {
        "image encoder: image": [8],
        "text encoder: text": [8],
        "fusion: image, text": [8],
        "text head": [len(causal.places)],
    }


def test_what_is_compared_has_seen_no_picture():
    """The lower half is unimodal: another picture leaves the vector of a text as it was."""
    made = small("coca")
    batch, (contrast, _) = made.batches[0], made.step.objectives.values()
    made.step.eval()
    node = contrast.needs()["right"]
    assert node.view.modality == "text"
    before = made.step.vectors(node, batch)
    batch.tokens["image", 0].values.zero_()
    assert torch.equal(made.step.vectors(node, batch), before)
