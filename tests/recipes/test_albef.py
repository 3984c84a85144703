"""ALBEF's size against ViT and BERT with cross-attention in six layers; its passes; its teacher."""

import pytest
import torch
from passes import passes
from small_recipe import at_published_size, numbers, small
from transformers import BertConfig, BertLMHeadModel, ViTConfig, ViTModel

from sensorium import optimiser
from sensorium.building import parameters
from sensorium.recipe import load
from sensorium.training import take

POSITIONS = 512 - 25  # of BERT's table that a text of 25 never asks for
STAND_INS = 2 * 768  # of records that lack a modality; the paper has none


def test_published_size():
    """salesforce/ALBEF models/model_pretrain.py, built of transformers' parts."""
    config = BertConfig(is_decoder=True, add_cross_attention=True)
    with torch.device("meta"):
        counts = parameters(at_published_size("albef"))
        picture = numbers(ViTModel(ViTConfig(image_size=256), add_pooling_layer=False))
        words = BertLMHeadModel(config)
    head = numbers(words.cls) - config.vocab_size * 768  # its matrix is the word table
    without = sum(numbers(layer.crossattention) for layer in words.bert.encoder.layer[:6])
    text = numbers(words) - without
    assert counts["encoder image"] == picture
    ours = counts["encoder text"] + counts["fusion"] + counts["vocabulary heads"]
    assert ours == text - POSITIONS * 768 + STAND_INS
    assert counts["vocabulary heads"] == head
    assert counts["projections"] == 2 * 768 * 256  # theirs have a bias
    # 85.8 M the picture's tower, 123.7 M the words' side, 209.9 M whole with the head.
    assert picture == pytest.approx(85.8e6, rel=1e-3)
    assert text == pytest.approx(123.7e6, rel=1e-3)
    whole = picture + text + 2 * (768 * 256 + 256) + (2 * 768 + 2) + 1
    assert whole == pytest.approx(209.94e6, rel=1e-4)
    assert counts["all"] == whole - POSITIONS * 768 - 2 * 256 + STAND_INS
    assert counts["all"] == pytest.approx(209.9e6, rel=0.002)


def test_the_recipe_is_the_published_configuration():
    """configs/Pretrain.yaml, config_bert.json, and `temp.clamp_(0.001, 0.5)`."""
    recipe = load("albef")
    contrast, matching, words = recipe.objectives
    assert (recipe.modalities["image"]["size"], recipe.modalities["text"]["length"]) == (256, 25)
    assert (recipe.encoders["text"]["depth"], recipe.fusion["depth"]) == (6, 6)
    assert (recipe.space, recipe.teacher.momentum) == (256, 0.995)
    assert (contrast["temperature"], contrast["queue"], contrast["soft"]) == (0.07, 65536, 0.4)
    assert 1 / contrast["largest_scale"] == 0.001
    assert 1 / contrast["smallest_scale"] == 0.5
    assert matching["negatives"] == "hard"
    assert (words["soft"], words["edits"][0]["rate"]) == (0.4, 0.15)
    rates = recipe.optimiser
    assert (rates.learning_rate, rates.weight_decay, rates.batch) == (1e-4, 0.02, 64)
    assert rates.learning_rate * rates.floor == pytest.approx(1e-5)
    # The teacher's share grows over the first of 30 epochs.
    assert all(x["ramp"] == pytest.approx(1 / 30, rel=0.02) for x in (contrast, words))


def test_passes():
    """Each view is encoded once by each model; fusion runs for 1 + 2 pairs and for hidden words."""
    made = small("albef")
    batch = made.batches[0]
    (hidden,) = [look for view, look in batch.looks.items() if view.edits]
    k = len(hidden.places)
    assert k > 0
    assert passes(made, batch) == {
        "image encoder: image": [8],
        "text encoder: text": [8],
        "text encoder: hidden text": [8],
        "fusion: image, text": [8, 16],  # own pairs; a hard text a picture, a hard picture a text
        "fusion: image, hidden text": [8],
        "text head": [k],
        "image encoder: image, teacher": [8],
        "text encoder: text, teacher": [8],
        "text encoder: hidden text, teacher": [8],
        "fusion: image, hidden text, teacher": [8],
        "text head, teacher": [k],
    }


def test_the_queue_holds_what_the_teacher_said():
    """Three batches of 8 through a queue of 20: the oldest 4 have left."""
    made = small("albef")
    adam = optimiser.build(made.step, made.recipe.optimiser)
    contrast, said = made.step.objectives["contrastive"], []
    for at in range(3):
        batch = made.batches[at]
        said.append(made.step.read(contrast.needs()["left_key"], batch))  # it moves afterwards
        take(made.step, adam, batch, made.recipe, at, 3)
    kept = torch.cat(said)[4:]
    assert contrast.filled.all()
    order = torch.roll(contrast.left, -int(contrast.next), 0)
    torch.testing.assert_close(order, kept)
