"""GPT: equal in size to transformers' OpenAIGPTModel, to the number; one encode a step."""

import torch
from passes import passes
from small_recipe import at_published_size, numbers, small
from transformers import OpenAIGPTConfig, OpenAIGPTModel

from sensorium.building import parameters
from sensorium.recipe import load


def test_published_size():
    """116.5 M; the head over words is the word table."""
    with torch.device("meta"):
        counts = parameters(at_published_size("gpt"))
        theirs = numbers(OpenAIGPTModel(OpenAIGPTConfig()))
    assert counts["all"] == theirs == 116_534_784
    assert counts["vocabulary heads"] == 0


def test_the_recipe_is_the_published_configuration():
    """Section 4.1 of the paper, openai/finetune-transformer-lm train.py, and its configuration."""
    config, recipe = OpenAIGPTConfig(), load("gpt")
    text = recipe.encoders["text"]
    assert (text["width"], text["depth"], text["heads"]) == (
        config.n_embd, config.n_layer, config.n_head,
    )  # fmt: skip
    assert text["dropout"] == config.resid_pdrop
    assert recipe.modalities["text"]["vocabulary"] == config.vocab_size
    assert recipe.modalities["text"]["length"] == config.n_positions
    rates = recipe.optimiser
    assert (rates.learning_rate, rates.batch, rates.schedule) == (2.5e-4, 64, "cosine")
    assert (rates.beta1, rates.beta2, rates.epsilon) == (0.9, 0.999, 1e-8)
    assert rates.weight_decay == 0.01


def test_passes():
    """Every token but the last of a text is asked what comes next."""
    made = small("gpt")
    batch = made.batches[0]
    asked = int((batch.tokens["text", 0].real.sum(1) - 1).sum())
    assert passes(made, batch) == {"text encoder: text": [8], "text head": [asked]}
