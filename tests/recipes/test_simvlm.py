"""SimVLM's base size against ViT-B/16's layers; what a prefix sees and what it is not asked."""

import pytest
import torch
from passes import passes
from small_recipe import at_published_size, numbers, small
from transformers import ViTConfig, ViTModel

from sensorium.building import parameters
from sensorium.recipe import load

D = 768


def test_published_size():
    """86M is ViT-B/16's printed size: twelve layers and the map of patches, no words."""
    with torch.device("meta"):
        step = at_published_size("simvlm")
        vit = ViTModel(ViTConfig(), add_pooling_layer=False)
    model = step.model
    assert numbers(model.fusion.stack) == numbers(vit) - numbers(vit.embeddings) - 2 * D
    patches = numbers(vit.embeddings.patch_embeddings)
    assert numbers(model.encoders["image"].patch) == patches
    types = 2 * D  # one vector a modality
    assert numbers(model.fusion) == numbers(model.fusion.stack) + 2 * D + types
    assert numbers(model.fusion) + patches == pytest.approx(86e6, rel=0.005)
    assert parameters(step)["encoder text"] == (32_000 + 256) * D
    assert parameters(step)["vocabulary heads"] == 0, "the word table is the head"


def test_the_recipe_is_the_published_configuration():
    """The survey's row, from the paper."""
    recipe = load("simvlm")
    (words,) = recipe.objectives
    assert (words["use"], words["order"]) == ("generation", "prefix")
    assert (recipe.fusion["depth"], recipe.fusion["heads"]) == (12, 12)
    assert (recipe.modalities["image"]["size"], recipe.modalities["image"]["patch"]) == (224, 16)
    assert recipe.modalities["text"]["length"] == 256
    assert recipe.modalities["text"]["vocabulary"] == 32_000
    assert recipe.optimiser.learning_rate == 5e-4


def test_passes():
    made = small("simvlm")
    batch = made.batches[0]
    (prefix,) = batch.looks.values()
    assert passes(made, batch) == {
        "image encoder: image": [8],  # the map of patches alone
        "text encoder: text": [8],  # the word table alone
        "fusion: image, text": [8],
        "text head": [len(prefix.places)],
    }


def test_only_what_follows_the_prefix_is_asked():
    """Section 3.1: the prefix is seen whole, in both directions; the loss is on the rest."""
    batch = small("simvlm").batches[0]
    (look,) = batch.looks.values()
    ids, real = batch.tokens["text", 0].ids, batch.tokens["text", 0].real
    at = 0
    for row in range(len(ids)):
        prefix = int((look.order[row] == 0).sum())
        length = int(real[row].sum())
        assert 1 <= prefix < length
        for place in range(prefix, length):  # each token after the prefix, told one place before
            assert int(look.places[at]) == row * ids.shape[1] + place - 1
            assert int(look.truth[at]) == int(ids[row, place])
            at += 1
    assert at == len(look.places)
