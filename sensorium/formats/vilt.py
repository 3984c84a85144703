"""ViLT: patches and words in one pre-norm stack. Names of transformers' `ViltModel` and its heads.

Kim et al. 2021 (arXiv 2102.03334). Checked against huggingface/transformers
models/vilt/modeling_vilt.py with equal weights.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch

from sensorium.formats import _met
from sensorium.formats._check import Row, row
from sensorium.formats._config import Config
from sensorium.formats._names import Names, Shaped, below
from sensorium.formats._part import Tower, Whole
from sensorium.formats.vit import picture

SUMMARY = "ViLT: patches and words in one stack"
CLASSES = {"vilt": "ViltModel"}
DEFAULTS: dict[str, dict[str, Any]] = {
    "vilt": dict(
        vocab_size=30522,
        type_vocab_size=2,
        modality_type_vocab_size=2,
        max_position_embeddings=40,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        image_size=384,
        patch_size=32,
        num_channels=3,
        qkv_bias=True,
        max_image_length=-1,
    )
}

TEXT: Names = {
    "words.weight": "embeddings.text_embeddings.word_embeddings.weight",
    "positions.weight": "embeddings.text_embeddings.position_embeddings.weight",
    "types.weight": "embeddings.text_embeddings.token_type_embeddings.weight",
    "embedding_norm.*": "embeddings.text_embeddings.LayerNorm.*",
}
IMAGE: Names = {
    "class_token": Shaped("embeddings.cls_token", "vector"),
    "positions.weight": Shaped("embeddings.position_embeddings", "table"),
    "patch.weight": Shaped("embeddings.patch_embeddings.projection.weight", "patch"),
    "patch.bias": "embeddings.patch_embeddings.projection.bias",
}
FUSION: Names = {
    "model.fusion.types.weight": "embeddings.token_type_embeddings.weight",
    "model.fusion.stack.blocks.*.attention.qkv.*": (
        "encoder.layer.*.attention.attention.query.*",
        "encoder.layer.*.attention.attention.key.*",
        "encoder.layer.*.attention.attention.value.*",
    ),
    "model.fusion.stack.blocks.*.attention.out.*": "encoder.layer.*.attention.output.dense.*",
    "model.fusion.stack.blocks.*.attention_norm.*": "encoder.layer.*.layernorm_before.*",
    "model.fusion.stack.blocks.*.mlp.up.*": "encoder.layer.*.intermediate.dense.*",
    "model.fusion.stack.blocks.*.mlp.down.*": "encoder.layer.*.output.dense.*",
    "model.fusion.stack.blocks.*.mlp_norm.*": "encoder.layer.*.layernorm_after.*",
    "model.fusion.final_norm.*": "layernorm.*",
    "model.fusion.pooler.linear.*": "pooler.dense.*",
}
RANK: Names = {"objectives.matching.head.*": Shaped("rank_output.*", "rank")}
WORDS: Names = {
    "model.vocabularies.text.transform.*": "mlm_score.transform.dense.*",
    "model.vocabularies.text.norm.*": "mlm_score.transform.LayerNorm.*",
    "model.vocabularies.text.bias": "mlm_score.decoder.bias",
}
_COUNTS = "counts up; no weight"
LEFT_OUT = {
    "vilt.embeddings.text_embeddings.position_ids": _COUNTS,
    "embeddings.text_embeddings.position_ids": _COUNTS,
    "mlm_score.decoder.weight": "tied to the word table",
    "mlm_score.bias": "the same as the decoder's",
    "classifier.**": "a head of another form",
}
NOTES = (
    "a picture is cut to one square; the model reads pictures of any shape at their own",
    "weights for an absent modality are new: the model never lacks one",
)


def towers(config: Config) -> dict[str, Tower]:
    """None: its modalities meet in the first layer."""
    return {}


def whole(config: Config, names: Collection[str]) -> Whole:
    """The whole model: merge attention over two tables of embeddings.

    Raises:
        UserError: a value that our modules cannot express; names the key.
    """
    config.must("qkv_bias", True)
    config.must("modality_type_vocab_size", 2)
    block, eps = config.block(), config.eps()
    activation = config.activation()
    worded = "mlm_score.transform.dense.weight" in names
    if worded:
        config.eps(only=1e-12)
        config.activation(only="gelu")
    ranked = "rank_output.weight" in names
    before = "" if "embeddings.cls_token" in names else "vilt."
    text = Tower(
        "text",
        dict(
            use="transformer", width=block["width"], depth=0, heads=block["heads"], eps=eps,
            types=config.count("type_vocab_size"), embedding_norm=True, final_norm=False,
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
            use="vision_transformer", width=block["width"], depth=0, heads=block["heads"],
            final_norm=False, pool="first",
        ),
        picture(config),
        IMAGE,
    )  # fmt: skip
    objectives = [{"use": "masked_tokens", "edits": [{"use": "hide", "rate": 0.15}]}]
    if not worded:
        objectives = [{"use": "matching", "negatives": "random", "replace": "image"}]
    head = dict(WORDS if worded else RANK if ranked else {})
    new = ("model.absent.*",) if ranked or worded else ("model.absent.*", "objectives.matching.**")
    block.pop("width")
    return Whole(
        recipe=dict(
            fusion=dict(
                use="merge_attention", **block, norm="pre", activation=activation, eps=eps,
                final_norm=True, types=True, lead="text", pool="pooler",
            ),
            objectives=objectives,
        ),
        towers={"text": text, "image": image},
        prefixes={"text": before, "image": before},
        names=dict(below("", before, FUSION)) | head,
        reference="ViltForMaskedLM" if worded else
        "ViltForImageAndTextRetrieval" if ranked else "ViltModel",
        left_out=LEFT_OUT,
        new=new,
        notes=NOTES,
    )  # fmt: skip


@torch.no_grad()
def rows(step: Any, parts: dict[str, Tower], model: Any, rng: np.random.Generator) -> list[Row]:
    """The comparison: embeddings, each layer, the joint vector, the head.

    Theirs draws the order of the patches; it tells which, and ours are compared in that order.
    """
    looks, given = _met.seen(parts, rng)
    trunk = getattr(model, "vilt", model)
    entered = {m: _met.encoded(step, m, step.model.embed(look)) for m, look in looks.items()}
    pixels = given.pop("pixel_values")
    n, side = len(pixels), round((entered["image"].tokens.shape[1] - 1) ** 0.5)
    there = torch.ones(n, *pixels.shape[2:], dtype=torch.int64)
    patches, visible, (index, _) = trunk.embeddings.visual_embed(pixels, there, -1)
    place = 1 + index[..., 0] * side + index[..., 1]
    turned = torch.cat([torch.zeros(n, 1, dtype=torch.int64), place], 1)[..., None]

    def in_order(x: torch.Tensor) -> torch.Tensor:
        """Theirs in the order of ours."""
        return torch.zeros_like(x).scatter(1, turned.expand_as(x), x)

    out = _met.asked(model, **given, image_embeds=patches, pixel_mask=visible)
    t = looks["text"].tokens.real.shape[1]
    hidden = out.hidden_states
    theirs = {
        "text": [x[:, :t] for x in hidden[1:]],
        "image": [in_order(x[:, t:]) for x in hidden[1:]],
    }
    met = _met.meet(step, entered)
    made = [row("image: embeddings", entered["image"].tokens, in_order(patches))]
    made += _met.rows(met, theirs)
    bare = _met.asked(trunk, **given, image_embeds=patches, pixel_mask=visible)
    made.append(row("joint", met.joint, bare.pooler_output))
    if hasattr(model, "rank_output"):
        score = step.objectives["matching"].head(met.joint)
        made.append(row("matching", score[:, :1] - score[:, 1:], out.logits))
    if hasattr(model, "mlm_score"):
        made += _met.heads(step, met, words=out.logits)
    return made
