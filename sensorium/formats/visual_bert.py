"""VisualBERT: one BERT over words and regions. Names of transformers' `VisualBertModel`.

Li et al. 2019 (arXiv 1908.03557). Its pictures are a detector's regions, which nothing here reads:
ours are patches, whose linear map starts from random weights; all else is the model's. Checked
against huggingface/transformers models/visual_bert/modeling_visual_bert.py with equal weights, on
random regions.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sensorium.formats import _met
from sensorium.formats._check import Row, row
from sensorium.formats._config import Config
from sensorium.formats._names import Names, Shaped, below
from sensorium.formats._part import Tower, Whole

SUMMARY = "VisualBERT: one BERT over words and patches"
CLASSES = {"visual_bert": "VisualBertModel"}
DEFAULTS: dict[str, dict[str, Any]] = {
    "visual_bert": dict(
        vocab_size=30522,
        hidden_size=768,
        visual_embedding_dim=512,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        hidden_act="gelu",
        max_position_embeddings=512,
        type_vocab_size=2,
        layer_norm_eps=1e-12,
        bypass_transformer=False,
    )
}

TEXT: Names = {
    "words.weight": "embeddings.word_embeddings.weight",
    "positions.weight": "embeddings.position_embeddings.weight",
}
IMAGE: Names = {
    # Regions have no places: the model uses one row for all of them.
    "positions.weight": Shaped("embeddings.visual_position_embeddings.weight", "one row"),
}
_TYPES = (
    "embeddings.token_type_embeddings.weight",
    "embeddings.visual_token_type_embeddings.weight",
)
FUSION: Names = {
    "model.fusion.types.weight": Shaped(_TYPES, "types"),
    "model.fusion.embedding_norm.*": "embeddings.LayerNorm.*",
    "model.fusion.stack.blocks.*.attention.qkv.*": (
        "encoder.layer.*.attention.self.query.*",
        "encoder.layer.*.attention.self.key.*",
        "encoder.layer.*.attention.self.value.*",
    ),
    "model.fusion.stack.blocks.*.attention.out.*": "encoder.layer.*.attention.output.dense.*",
    "model.fusion.stack.blocks.*.attention_norm.*": "encoder.layer.*.attention.output.LayerNorm.*",
    "model.fusion.stack.blocks.*.mlp.up.*": "encoder.layer.*.intermediate.dense.*",
    "model.fusion.stack.blocks.*.mlp.down.*": "encoder.layer.*.output.dense.*",
    "model.fusion.stack.blocks.*.mlp_norm.*": "encoder.layer.*.output.LayerNorm.*",
    "model.fusion.pooler.linear.*": "pooler.dense.*",
}
HEADS: Names = {
    "model.vocabularies.text.transform.*": "cls.predictions.transform.dense.*",
    "model.vocabularies.text.norm.*": "cls.predictions.transform.LayerNorm.*",
    "model.vocabularies.text.bias": "cls.predictions.bias",
    "objectives.matching.head.*": "cls.seq_relationship.*",
}
_COUNTS = "counts up; no weight"
_TIED = "tied to the word table"
_OTHER = "a head of another form"
LEFT_OUT = {
    "**embeddings.position_ids": _COUNTS,
    "**embeddings.visual_projection.*": "reads a detector's regions",
    "cls.predictions.decoder.*": _TIED,
    "cls.**": _OTHER,
    "classifier.**": _OTHER,
    "attention.**": _OTHER,
}
NOTES = (
    "pictures are patches where the model has a detector's regions: their linear map is new, and "
    "nothing it says of a picture is worth anything before training",
    "weights for an absent modality are new: the model never lacks one",
)
SIZE, PATCH = 320, 32  # of recipe visualbert: 100 patches for up to 100 regions


def towers(config: Config) -> dict[str, Tower]:
    """None: its modalities meet in the first layer."""
    return {}


def whole(config: Config, names: Collection[str]) -> Whole:
    """The whole model: merge attention over words and patches.

    Raises:
        UserError: a value that our modules cannot express; names the key.
    """
    config.must("bypass_transformer", False)
    config.must("type_vocab_size", 2)
    block, eps = config.block(), config.eps()
    width, activation = block.pop("width"), config.activation()
    headed = "cls.predictions.transform.dense.weight" in names and any(
        name == "cls.seq_relationship.weight" for name in names
    )
    if headed:
        config.eps(only=1e-12)
        config.activation(only="gelu")
    before = "visual_bert." if any(name.startswith("visual_bert.") for name in names) else ""
    text = Tower(
        "text",
        dict(
            use="transformer", width=width, depth=0, heads=block["heads"], final_norm=False,
            pool="first",
        ),
        dict(
            use="text", tokenizer="trained", length=config.count("max_position_embeddings", 3),
            vocabulary=config.count("vocab_size", 1, 200_000),
        ),
        TEXT,
    )  # fmt: skip
    image = Tower(
        "image",
        dict(
            use="vision_transformer", width=width, depth=0, heads=block["heads"],
            class_token=False, final_norm=False, pool="mean",
        ),
        dict(use="image", size=SIZE, patch=PATCH),
        IMAGE,
    )  # fmt: skip
    matching = {"use": "matching", "negatives": "random", "replace": "text"}
    words = {"use": "masked_tokens", "edits": [{"use": "hide", "rate": 0.15}]}
    new = ("model.absent.*", "model.encoders.image.patch.*")
    return Whole(
        recipe=dict(
            fusion=dict(
                use="merge_attention", **block, norm="post", activation=activation, eps=eps,
                final_norm=False, types=True, embedding_norm=True, lead="text", pool="pooler",
            ),
            objectives=[words, matching] if headed else [matching],
        ),
        towers={"text": text, "image": image},
        prefixes={"text": before, "image": before},
        names=below("", before, FUSION) | dict(HEADS if headed else {}),
        reference="VisualBertForPreTraining" if headed else "VisualBertModel",
        left_out=LEFT_OUT,
        new=new if headed else (*new, "objectives.matching.**"),
        notes=NOTES,
    )  # fmt: skip


@torch.no_grad()
def rows(step: Any, parts: dict[str, Tower], model: Any, rng: np.random.Generator) -> list[Row]:
    """The comparison, on random regions that enter ours by the model's own map."""
    looks, given = _met.seen(parts, rng)
    del given["pixel_values"]
    trunk = getattr(model, "visual_bert", model)
    n, p = looks["image"].tokens.real.shape
    table, width = trunk.embeddings, trunk.config.visual_embedding_dim
    regions = torch.from_numpy(rng.standard_normal((n, p, width), dtype=np.float32))
    entered = {m: _met.encoded(step, m, step.model.embed(look)) for m, look in looks.items()}
    places = step.model.encoders["image"].positions.weight
    entered["image"] = replace(entered["image"], tokens=table.visual_projection(regions) + places)
    given |= {"visual_embeds": regions, "visual_attention_mask": torch.ones(n, p)}
    out = _met.asked(trunk, **given)
    t = looks["text"].tokens.real.shape[1]
    theirs = {
        "text": [x[:, :t] for x in out.hidden_states[1:]],
        "image": [x[:, t:] for x in out.hidden_states[1:]],
    }
    met = _met.meet(step, entered)
    made = [*_met.rows(met, theirs), row("joint", met.joint, out.pooler_output)]
    if hasattr(model, "cls"):
        told = _met.asked(model, **given)
        made += _met.heads(step, met, told.seq_relationship_logits, told.prediction_logits[:, :t])
    return made
