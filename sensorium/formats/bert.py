"""BERT: a text tower. Config and weight names of transformers' `BertModel`.

Post-norm, learned positions, types, a pooler (arXiv 1810.04805). Checked against
huggingface/transformers models/bert/modeling_bert.py with equal weights.
"""

from __future__ import annotations

from typing import Any

from sensorium.formats._config import WRITTEN, Config
from sensorium.formats._names import Names
from sensorium.formats._part import Tower

SUMMARY = "BERT and models of its form: text"
CLASSES = {"bert": "BertModel"}  # model_type -> the class of transformers that is compared with
DEFAULTS: dict[str, dict[str, Any]] = {
    "bert": dict(
        vocab_size=30522,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        hidden_act="gelu",
        max_position_embeddings=512,
        type_vocab_size=2,
        layer_norm_eps=1e-12,
        is_decoder=False,
        add_cross_attention=False,
    )
}

NAMES: Names = {
    "words.weight": "embeddings.word_embeddings.weight",
    "positions.weight": "embeddings.position_embeddings.weight",
    "types.weight": "embeddings.token_type_embeddings.weight",
    "embedding_norm.*": "embeddings.LayerNorm.*",
    "pooler.*": "pooler.dense.*",
    "stack.blocks.*.attention.qkv.*": (
        "encoder.layer.*.attention.self.query.*",
        "encoder.layer.*.attention.self.key.*",
        "encoder.layer.*.attention.self.value.*",
    ),
    "stack.blocks.*.attention.out.*": "encoder.layer.*.attention.output.dense.*",
    "stack.blocks.*.attention_norm.*": "encoder.layer.*.attention.output.LayerNorm.*",
    "stack.blocks.*.mlp.up.*": "encoder.layer.*.intermediate.dense.*",
    "stack.blocks.*.mlp.down.*": "encoder.layer.*.output.dense.*",
    "stack.blocks.*.mlp_norm.*": "encoder.layer.*.output.LayerNorm.*",
}
# Classes with a head -> (what stands before the trunk's names, our weights -> the head's).
HEADED: dict[str, tuple[str, Names]] = {
    "BertForMaskedLM": (
        "bert.",
        {
            "model.vocabularies.text.transform.*": "cls.predictions.transform.dense.*",
            "model.vocabularies.text.norm.*": "cls.predictions.transform.LayerNorm.*",
            "model.vocabularies.text.bias": "cls.predictions.bias",
        },
    )
}
LEFT_OUT = {
    "cls.**": "heads of pre-training",
    "classifier.**": "a head for another task",
    "qa_outputs.**": "a head for another task",
    "embeddings.position_ids": "counts up; no weight",
}


def towers(config: Config) -> dict[str, Tower]:
    """modality -> the tower that a config describes.

    Raises:
        UserError: a value that our transformer cannot express; names the key.
    """
    config.must("is_decoder", False)
    config.must("add_cross_attention", False)
    config.must("position_embedding_type", "absolute")
    encoder = dict(
        use="transformer",
        **config.block(),
        norm="post",
        activation=config.activation(),
        eps=config.eps(),
        types=config.count("type_vocab_size"),
        embedding_norm=True,
        final_norm=False,
        pool="pooler",
    )
    options = dict(
        use="text",
        tokenizer="trained",
        length=config.count("max_position_embeddings", 3),
        vocabulary=config.count("vocab_size", 1, 200_000),
    )
    tower = Tower("text", encoder, options, NAMES, ("bert.", ""), LEFT_OUT)
    return {"text": tower}


def written(towers: dict[str, dict[str, Any]], facts: dict[str, Any]) -> dict[str, Any] | None:
    """config.json of an encoder of ours, or None where BERT is no exact counterpart of it.

    Args:
        towers: modality -> {encoder: all options, length, vocabulary or size, patch}.
        facts: words: whether the model has BERT's head over its vocabulary.
    """
    if set(towers) != {"text"}:
        return None
    x = towers["text"]
    e = x["encoder"]
    wanted = dict(use="transformer", norm="post", embedding_norm=True, final_norm=False)
    if any(e.get(key) != value for key, value in wanted.items()) or not e["types"]:
        return None
    if x["order"] != "full" or e["pool"] not in ("pooler", "first", "mean"):
        return None
    headed = facts["words"] and e["pool"] != "pooler" and e["activation"] == "gelu"
    return dict(
        architectures=["BertForMaskedLM" if headed else "BertModel"],
        model_type="bert",
        vocab_size=x["vocabulary"],
        hidden_size=e["width"],
        num_hidden_layers=e["depth"],
        num_attention_heads=e["heads"],
        intermediate_size=round(e["mlp"] * e["width"]),
        hidden_act=WRITTEN[e["activation"]],
        max_position_embeddings=x["length"],
        type_vocab_size=e["types"],
        layer_norm_eps=e["eps"],
        hidden_dropout_prob=e["dropout"],
        attention_probs_dropout_prob=e["dropout"],
    )
