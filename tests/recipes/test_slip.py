"""SLIP's size against CLIP's text tower, ViT-B/16 and the published head; four encodes a step."""

import pytest
import torch
from passes import passes
from small_recipe import at_published_size, numbers, small
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, ViTConfig, ViTModel

from sensorium.building import parameters
from sensorium.recipe import load


def head(width, hidden, out):
    """facebookresearch/SLIP models.py, `_build_mlp`."""
    return nn.Sequential(
        nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
        nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
        nn.Linear(hidden, out),
    )  # fmt: skip


def test_published_size():
    """38.1 M: the text tower with its projection, without the word table. 149.6 M: both towers."""
    with torch.device("meta"):
        counts = parameters(at_published_size("slip"))
        text = CLIPTextModelWithProjection(CLIPTextConfig(projection_dim=512))
        picture = numbers(ViTModel(ViTConfig(), add_pooling_layer=False))
        mlp = numbers(head(768, 4096, 256))
    words = numbers(text.text_model.embeddings.token_embedding)
    assert numbers(text) - words == pytest.approx(38.13e6, rel=1e-4)
    assert counts["encoder text"] + 512 * 512 == numbers(text)
    assert counts["encoder image"] == picture
    assert counts["objective image_self_supervision"] == mlp
    assert counts["all"] == numbers(text) + picture + 768 * 512 + mlp + 1
    assert counts["all"] - mlp == pytest.approx(149.6e6, rel=1e-3)


def test_the_recipe_is_the_published_configuration():
    """README, "SLIP ViT-Base with 8-nodes", and the defaults of main.py."""
    recipe = load("slip")
    contrast, pictures = recipe.objectives
    assert contrast["temperature"] == 0.07
    assert (pictures["temperature"], pictures["hidden"], pictures["out"]) == (0.1, 4096, 256)
    assert [x.augment for x in recipe.variants["image"]] == [True, True]
    assert recipe.space == 512
    rates = recipe.optimiser
    assert (rates.learning_rate, rates.weight_decay) == (3e-3, 0.1)
    assert (rates.beta1, rates.beta2, rates.epsilon) == (0.9, 0.98, 1e-8)
    assert rates.warmup == 1 / 25  # of 25 epochs the first
    assert rates.learning_rate * rates.floor == pytest.approx(1e-5, rel=0.02)


def test_passes():
    """The plain picture meets the text; two random crops meet each other."""
    assert passes(small("slip")) == {
        "image encoder: image": [8],
        "text encoder: text": [8],
        "image encoder: image #1": [8],
        "image encoder: image #2": [8],
    }


def test_the_two_crops_differ_from_each_other_and_from_step_to_step():
    made = small("slip")
    batch, later = made.batches[0], made.batches[2]  # two batches an epoch
    one, two = (batch.tokens["image", number].values for number in (1, 2))
    assert (one != two).flatten(1).any(1).all()
    place = {key: at for at, key in enumerate(later.keys)}
    for row, key in enumerate(batch.keys):
        if key in place:
            again = later.tokens["image", 1].values[place[key]]
            assert not torch.equal(one[row], again)
