"""BERT: equal in size to transformers' BertForMaskedLM, to the number; one encode a step."""

import torch
from passes import passes
from small_recipe import at_published_size, numbers, small
from transformers import BertConfig, BertForMaskedLM

from sensorium.building import parameters
from sensorium.recipe import load


def test_published_size():
    """109.5 M with the head over words, whose matrix is the word table."""
    with torch.device("meta"):
        counts = parameters(at_published_size("bert"))
        theirs = BertForMaskedLM(BertConfig())
    assert counts["all"] == numbers(theirs) == 109_514_298
    assert counts["encoder text"] == numbers(theirs.bert)


def test_the_recipe_is_the_published_configuration():
    """Appendix A.2 of the paper, and transformers' default configuration of bert-base-uncased."""
    config, recipe = BertConfig(), load("bert")
    text = recipe.encoders["text"]
    assert (text["width"], text["depth"], text["heads"]) == (
        config.hidden_size, config.num_hidden_layers, config.num_attention_heads,
    )  # fmt: skip
    assert (text["eps"], text["dropout"]) == (config.layer_norm_eps, config.hidden_dropout_prob)
    assert recipe.modalities["text"]["vocabulary"] == config.vocab_size
    assert recipe.modalities["text"]["length"] == config.max_position_embeddings
    rates = recipe.optimiser
    assert (rates.learning_rate, rates.weight_decay, rates.batch) == (1e-4, 0.01, 256)
    assert (rates.beta1, rates.beta2, rates.schedule) == (0.9, 0.999, "linear")
    assert rates.warmup == 10_000 / 1_000_000
    # create_pretraining_data.py: max(1, round(tokens * masked_lm_prob)).
    (hide,) = recipe.objectives[0]["edits"]
    assert (hide["rate"], hide["least"]) == (0.15, 1)


def test_passes():
    made = small("bert")
    batch = made.batches[0]
    (hidden,) = batch.looks.values()
    assert 0 < len(hidden.places) < int(batch.tokens["text", 0].real.sum())
    assert passes(made, batch) == {
        "text encoder: hidden text": [8],
        "text head": [len(hidden.places)],
    }
