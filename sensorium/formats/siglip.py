"""SigLIP: both towers. Config and weight names of transformers' `SiglipModel`.

Zhai et al. 2023 (arXiv 2303.15343). A picture is pooled by attention from one learned query; a text
is padded to its full length, all of it is seen, and the last token is pooled. Checked against
huggingface/transformers models/siglip/modeling_siglip.py with equal weights.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sensorium.formats._config import Config
from sensorium.formats._names import Names, Shaped
from sensorium.formats._part import Tower, Whole
from sensorium.formats.clip import _BLOCKS
from sensorium.formats.vit import picture

SUMMARY = "SigLIP: pictures and texts in one space, or either tower"
CLASSES = {
    "siglip": "SiglipModel",
    "siglip_text_model": "SiglipTextModel",
    "siglip_vision_model": "SiglipVisionModel",
}
_TEXT = dict(
    vocab_size=32000,
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    max_position_embeddings=64,
    hidden_act="gelu_pytorch_tanh",
    layer_norm_eps=1e-6,
    pad_token_id=1,
    projection_size=None,
)
_VISION = dict(
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    num_channels=3,
    image_size=224,
    patch_size=16,
    hidden_act="gelu_pytorch_tanh",
    layer_norm_eps=1e-6,
    vision_use_head=True,
)
DEFAULTS: dict[str, dict[str, Any]] = {
    "siglip": {},
    "siglip_text_model": _TEXT,
    "siglip_vision_model": _VISION,
}

TEXT: Names = {
    "words.weight": "embeddings.token_embedding.weight",
    "positions.weight": "embeddings.position_embedding.weight",
    "final_norm.*": "final_layer_norm.*",
    "head.*": "head.*",
    **_BLOCKS,
}
IMAGE: Names = {
    "positions.weight": "embeddings.position_embedding.weight",
    "patch.weight": Shaped("embeddings.patch_embedding.weight", "patch"),
    "patch.bias": "embeddings.patch_embedding.bias",
    "final_norm.*": "post_layernorm.*",
    "head.probe": Shaped("head.probe", "vector"),
    "head.attention.qkv.weight": "head.attention.in_proj_weight",
    "head.attention.qkv.bias": "head.attention.in_proj_bias",
    "head.attention.out.*": "head.attention.out_proj.*",
    "head.norm.*": "head.layernorm.*",
    "head.mlp.up.*": "head.mlp.fc1.*",
    "head.mlp.down.*": "head.mlp.fc2.*",
    **_BLOCKS,
}
WHOLE: Names = {"objectives.contrastive.log_scale": "logit_scale"}
_COUNTS = "counts up; no weight"
_SPACE = "of the sigmoid loss: part of the whole model, not of a tower"
_ALWAYS = {
    "*.embeddings.position_ids": _COUNTS,
    "embeddings.position_ids": _COUNTS,
}


def towers(config: Config) -> dict[str, Tower]:
    """modality -> the towers that a config describes.

    Raises:
        UserError: a value that our modules cannot express; names the key.
    """
    kind = config["model_type"]
    if kind == "siglip_text_model":
        return {"text": _text(config)}
    if kind == "siglip_vision_model":
        return {"image": _image(config)}
    return {
        "image": _image(config.below("vision_config", _VISION)),
        "text": _text(config.below("text_config", _TEXT)),
    }


def _text(config: Config) -> Tower:
    block = config.block()
    length = config.count("max_position_embeddings", 3)
    if config["projection_size"] is not None:
        block["out"] = config.count("projection_size")
    encoder = dict(
        use="siglip_text",
        **block,
        activation=config.activation(),
        eps=config.eps(),
        pad=config.count("pad_token_id", 0),
    )
    options = dict(
        use="text",
        tokenizer="trained",
        length=length + 1,  # ours put an entry before a text, which the encoder leaves out
        vocabulary=config.count("vocab_size", 1, 200_000),
    )
    left = _ALWAYS | {"logit_scale": _SPACE, "logit_bias": _SPACE}
    return Tower(
        "text",
        encoder,
        options,
        TEXT,
        ("text_model.", ""),
        left | {"vision_model.**": "the other tower"},
        inside="text_model",
        ends=("<pad>", "</s>"),
    )


def _image(config: Config) -> Tower:
    config.must("vision_use_head", True)
    encoder = dict(
        use="siglip_vision",
        **config.block(),
        activation=config.activation(),
        eps=config.eps(),
    )
    left = _ALWAYS | {"logit_scale": _SPACE, "logit_bias": _SPACE}
    return Tower(
        "image",
        encoder,
        picture(config),
        IMAGE,
        ("vision_model.", ""),
        left | {"text_model.**": "the other tower", "classifier.**": "a head for another task"},
        inside="vision_model",
    )


def whole(config: Config, names: Collection[str]) -> Whole | None:
    """The whole model as a recipe of contrast without projections; None for a single tower.

    The sigmoid loss is not one of ours: its bias moves all similarities alike, so ranks are the
    same without it, and training goes on with the softmax.

    Raises:
        UserError: a value that our modules cannot express; names the key.
    """
    if config["model_type"] != "siglip":
        return None
    parts = towers(config)
    space = parts["image"].encoder["width"]
    out = parts["text"].encoder.get("out", parts["text"].encoder["width"])
    if out != space:
        raise config.below("text_config", _TEXT).wrong(
            "projection_size", f"vision_config.hidden_size, {space}", out
        )
    return Whole(
        recipe=dict(
            space=space,
            project=False,
            objectives=[{"use": "contrastive", "temperature": 0.1, "largest_scale": 1000}],
            departures=["the loss is the softmax over the batch instead of a sigmoid on each pair"],
        ),
        towers=parts,
        prefixes={"image": "vision_model.", "text": "text_model."},
        names=WHOLE,
        left_out=_ALWAYS | {"logit_bias": "of the sigmoid loss; it changes no rank"},
        reference="SiglipModel",
    )
