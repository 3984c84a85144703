"""FLAVA's towers: a ViT, and a ViT over words. Names of transformers' `FlavaModel`.

Singh et al. 2022 (arXiv 2112.04482). Checked against huggingface/transformers
models/flava/modeling_flava.py with equal weights. Not the whole model: its fusion has a class token
of its own and linear maps into its width, which ours lack.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sensorium.errors import UserError
from sensorium.formats import vit
from sensorium.formats._config import Config
from sensorium.formats._names import Names
from sensorium.formats._part import HALF, Tower

SUMMARY = "FLAVA: its picture tower or its text tower"
CLASSES = {"flava": "FlavaModel"}
_BLOCK = dict(
    hidden_size=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    intermediate_size=3072,
    hidden_act="gelu",
    layer_norm_eps=1e-12,
    qkv_bias=True,
)
_IMAGE = _BLOCK | dict(image_size=224, patch_size=16, num_channels=3)
_TEXT = _BLOCK | dict(vocab_size=30522, type_vocab_size=2, max_position_embeddings=512)
DEFAULTS: dict[str, dict[str, Any]] = {"flava": {}}

TEXT: Names = {
    **{name: x for name, x in vit.NAMES.items() if name.startswith(("stack.", "final_norm"))},
    "words.weight": "embeddings.word_embeddings.weight",
    "positions.weight": "embeddings.position_embeddings.weight",
    "types.weight": "embeddings.token_type_embeddings.weight",
    "embedding_norm.*": "embeddings.LayerNorm.*",
}
_REST = "part of the whole model, not of a tower"
_PARTS = (
    "multimodal_model.**", "*_projection.*", "*_to_mm_projection.*", "logit_scale",
    "image_codebook.**", "mim_head.**", "mlm_head.**", "itm_head.**", "mmm_image_head.**",
    "mmm_text_head.**", "loss.**",
)  # fmt: skip
_OUTER = dict.fromkeys([*_PARTS, *(f"flava.{x}" for x in _PARTS)], _REST)
_HEAD = {
    "pooler.**": "a head over the first state, which is given itself",
    "embeddings.mask_token": "stands for hidden patches in pre-training",
    "embeddings.position_ids": "counts up; no weight",
}


def towers(config: Config) -> dict[str, Tower]:
    """modality -> the towers that a config describes.

    Raises:
        UserError: a value that our transformers cannot express; names the key.
    """
    image, text = config.below("image_config", _IMAGE), config.below("text_config", _TEXT)
    for one in (image, text):
        one.must("qkv_bias", True)
    other = {"image": "image_model", "text": "text_model"}
    left = {
        name: _OUTER
        | _HEAD
        | {f"{x}.**": "the other tower" for m, x in other.items() if m != name}
        | {f"flava.{x}.**": "the other tower" for m, x in other.items() if m != name}
        for name in other
    }
    return {
        "image": Tower(
            "image",
            dict(
                use="vision_transformer", **image.block(), activation=image.activation(),
                eps=image.eps(), pool="first",
            ),
            vit.picture(image),
            vit.NAMES,
            ("image_model.", "flava.image_model."),
            left["image"],
            colours=HALF,
            inside="image_model",
            pooled="first",
        ),
        "text": Tower(
            "text",
            dict(
                use="transformer", **text.block(), norm="pre", activation=text.activation(),
                eps=text.eps(), types=text.count("type_vocab_size"), embedding_norm=True,
                final_norm=True, pool="first",
            ),
            dict(
                use="text", tokenizer="trained", length=text.count("max_position_embeddings", 3),
                vocabulary=text.count("vocab_size", 1, 200_000),
            ),
            TEXT,
            ("text_model.", "flava.text_model."),
            left["text"],
            inside="text_model",
        ),
    }  # fmt: skip


def whole(config: Config, names: Collection[str]) -> None:
    """Refused; see the module.

    Raises:
        UserError: always, and says what ours lack.
    """
    raise UserError(
        "FLAVA as a whole",
        file=config.file,
        expected="a fusion without a class token of its own",
        found="one, linear maps into the fusion's width, and projections with a bias",
        see="its towers can be imported: --tower",
    )
