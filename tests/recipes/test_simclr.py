"""SimCLR in SLIP's form: its size against ViT-B/16 and the published head; two encodes a step."""

import torch
from passes import passes
from small_recipe import at_published_size, numbers, small
from torch import nn
from transformers import ViTConfig, ViTModel

from sensorium.building import parameters
from sensorium.recipe import load


def test_published_size():
    """No number is printed; facebookresearch/SLIP models.py, SIMCLR_VITB16, built of its parts."""
    with torch.device("meta"):
        counts = parameters(at_published_size("simclr"))
        picture = numbers(ViTModel(ViTConfig(), add_pooling_layer=False))
        head = nn.Sequential(
            nn.Linear(768, 4096), nn.BatchNorm1d(4096), nn.ReLU(),
            nn.Linear(4096, 4096), nn.BatchNorm1d(4096), nn.ReLU(), nn.Linear(4096, 256),
        )  # fmt: skip
    assert counts["encoder image"] == picture
    assert counts["all"] == picture + numbers(head)
    assert counts["projections"] == 0, "what is compared leaves the head, not a shared space"


def test_the_recipe_is_the_published_configuration():
    """README of facebookresearch/SLIP, "SimCLR ViT-Base with 8-nodes"."""
    recipe = load("simclr")
    (pictures,) = recipe.objectives
    assert (pictures["temperature"], pictures["hidden"], pictures["out"]) == (0.1, 4096, 256)
    assert (recipe.optimiser.learning_rate, recipe.optimiser.weight_decay) == (3.2e-3, 0.1)
    assert list(recipe.modalities) == ["image"]


def test_it_is_the_picture_branch_of_slip():
    ours, slip = load("simclr"), load("slip")
    assert ours.encoders["image"] == slip.encoders["image"]
    assert ours.modalities["image"] == slip.modalities["image"]
    assert ours.variants == slip.variants
    assert ours.objectives == slip.objectives[1:]


def test_passes():
    """The plain picture is never encoded: nothing asks for it."""
    assert passes(small("simclr")) == {
        "image encoder: image #1": [8],
        "image encoder: image #2": [8],
    }
