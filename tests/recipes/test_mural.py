"""MURAL: one text tower for both languages, and why its published number is not reached."""

import pytest
import torch
from passes import passes
from small_recipe import at_published_size, numbers, small
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from sensorium.building import parameters, published
from sensorium.recipe import load


def test_size_is_vit_and_bert_and_the_published_one_is_unexplained():
    """430M is the large variant; its picture tower, EfficientNet-B7, is not built here."""
    with torch.device("meta"):
        step = at_published_size("mural")
        text = BertModel(BertConfig(vocab_size=200_000), add_pooling_layer=False)
        picture = ViTModel(ViTConfig(image_size=288), add_pooling_layer=False)
    counts = parameters(step)
    assert counts["encoder image"] == numbers(picture)
    assert counts["encoder text"] == numbers(text) - (512 - 64) * 768
    assert counts["projections"] == 2 * 768 * 640
    assert counts["all"] != pytest.approx(430e6, rel=0.2)
    recipe = load("mural")
    assert published(step, recipe) is None
    assert "unexplained" in recipe.published["note"]


def test_the_recipe_is_the_published_configuration():
    """The survey's row, from the paper."""
    recipe = load("mural")
    assert [x["weight"] for x in recipe.objectives] == [1.0, 0.1]
    assert (recipe.encoders["text"]["width"], recipe.encoders["text"]["depth"]) == (768, 12)
    assert [x.field for x in recipe.variants["text"]] == ["translation"]


def test_passes():
    """Both languages go through the one tower, each once; the text itself serves both tasks."""
    assert passes(small("mural")) == {
        "image encoder: image": [8],
        "text encoder: text": [8],
        "text encoder: text #1": [8],
    }


def test_the_translation_is_another_text_read_by_the_same_tokenizer():
    made = small("mural")
    batch = made.batches[0]
    one, two = batch.tokens["text", 0], batch.tokens["text", 1]
    assert one.ids.shape[0] == two.ids.shape[0] == 8
    assert not torch.equal(one.ids[:, 1], two.ids[:, 1])  # "words" and "parole"
    assert set(made.objects) == {"image", "text"}
