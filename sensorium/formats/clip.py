"""CLIP: both towers, their projections, the scale. Names of transformers' `CLIPModel`.

Radford et al. 2021 (arXiv 2103.00020) section 2.4. Checked against huggingface/transformers
models/clip/modeling_clip.py with equal weights.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sensorium.formats._config import WRITTEN, Config
from sensorium.formats._names import Names, Shaped
from sensorium.formats._part import OPENAI, Tower, Whole
from sensorium.formats.vit import picture

SUMMARY = "CLIP: pictures and texts in one space, or either tower"
CLASSES = {
    "clip": "CLIPModel",
    "clip_text_model": "CLIPTextModel",
    "clip_vision_model": "CLIPVisionModel",
}
_TEXT = dict(
    vocab_size=49408,
    hidden_size=512,
    intermediate_size=2048,
    projection_dim=512,
    num_hidden_layers=12,
    num_attention_heads=8,
    max_position_embeddings=77,
    hidden_act="quick_gelu",
    layer_norm_eps=1e-5,
    eos_token_id=49407,
)
_VISION = dict(
    hidden_size=768,
    intermediate_size=3072,
    projection_dim=512,
    num_hidden_layers=12,
    num_attention_heads=12,
    num_channels=3,
    image_size=224,
    patch_size=32,
    hidden_act="quick_gelu",
    layer_norm_eps=1e-5,
)
DEFAULTS: dict[str, dict[str, Any]] = {
    "clip": dict(projection_dim=512),
    "clip_text_model": _TEXT,
    "clip_vision_model": _VISION,
}

_BLOCKS: Names = {
    "stack.blocks.*.attention.qkv.*": (
        "encoder.layers.*.self_attn.q_proj.*",
        "encoder.layers.*.self_attn.k_proj.*",
        "encoder.layers.*.self_attn.v_proj.*",
    ),
    "stack.blocks.*.attention.out.*": "encoder.layers.*.self_attn.out_proj.*",
    "stack.blocks.*.attention_norm.*": "encoder.layers.*.layer_norm1.*",
    "stack.blocks.*.mlp.up.*": "encoder.layers.*.mlp.fc1.*",
    "stack.blocks.*.mlp.down.*": "encoder.layers.*.mlp.fc2.*",
    "stack.blocks.*.mlp_norm.*": "encoder.layers.*.layer_norm2.*",
}
TEXT: Names = {
    "words.weight": "embeddings.token_embedding.weight",
    "positions.weight": "embeddings.position_embedding.weight",
    "final_norm.*": "final_layer_norm.*",
    **_BLOCKS,
}
IMAGE: Names = {
    "class_token": "embeddings.class_embedding",
    "positions.weight": "embeddings.position_embedding.weight",
    "patch.weight": Shaped("embeddings.patch_embedding.weight", "patch"),
    "embedding_norm.*": "pre_layrnorm.*",  # spelt so in the source
    "final_norm.*": "post_layernorm.*",
    **_BLOCKS,
}
WHOLE: Names = {
    "model.projections.image.weight": "visual_projection.weight",
    "model.projections.text.weight": "text_projection.weight",
    "objectives.contrastive.log_scale": Shaped("logit_scale", "scalar"),
}
_COUNTS = "counts up; no weight"
_OTHER = "the other tower"
_SPACE = "into the space that both towers share: part of the whole model, not of a tower"
_ALWAYS = {
    "*.embeddings.position_ids": _COUNTS,
    "embeddings.position_ids": _COUNTS,
}
_TOWER = _ALWAYS | {
    "logit_scale": _SPACE,
    "text_projection.weight": _SPACE,
    "visual_projection.weight": _SPACE,
}


def towers(config: Config) -> dict[str, Tower]:
    """modality -> the towers that a config describes.

    Raises:
        UserError: a value that our transformers cannot express; names the key.
    """
    kind = config["model_type"]
    if kind == "clip_text_model":
        return {"text": _text(config)}
    if kind == "clip_vision_model":
        return {"image": _image(config)}
    return {
        "image": _image(config.below("vision_config", _VISION)),
        "text": _text(config.below("text_config", _TEXT)),
    }


def _text(config: Config) -> Tower:
    encoder = dict(
        use="transformer",
        **config.block(),
        norm="pre",
        activation=config.activation(),
        eps=config.eps(),
        final_norm=True,
        pool="last",
    )
    options = dict(
        use="text",
        tokenizer="trained",
        length=config.count("max_position_embeddings", 3),
        vocabulary=config.count("vocab_size", 1, 200_000),
    )
    return Tower(
        "text",
        encoder,
        options,
        TEXT,
        ("text_model.", ""),
        _TOWER | {"vision_model.**": _OTHER},
        order="causal",
        inside="text_model",
        ends=("<|startoftext|>", "<|endoftext|>"),
    )


def _image(config: Config) -> Tower:
    encoder = dict(
        use="vision_transformer",
        **config.block(),
        activation=config.activation(),
        eps=config.eps(),
        patch_bias=False,
        embedding_norm=True,
        pool="first",
    )
    return Tower(
        "image",
        encoder,
        picture(config),
        IMAGE,
        ("vision_model.", ""),
        _TOWER | {"text_model.**": _OTHER},
        colours=OPENAI,
        inside="vision_model",
    )


def whole(config: Config, names: Collection[str]) -> Whole | None:
    """The whole model as a recipe of the form `clip`; None where the config is one tower's.

    Raises:
        UserError: a value that our modules cannot express; names the key.
    """
    if config["model_type"] != "clip":
        return None
    parts = towers(config)
    return Whole(
        recipe=dict(
            order={"text": "causal"},
            space=config.count("projection_dim", 2),
            objectives=[{"use": "contrastive", "temperature": 0.07, "largest_scale": 100}],
        ),
        towers=parts,
        prefixes={"image": "vision_model.", "text": "text_model."},
        names=WHOLE,
        left_out=_ALWAYS,
        reference="CLIPModel",
    )


def written(towers: dict[str, dict[str, Any]], facts: dict[str, Any]) -> dict[str, Any] | None:
    """config.json of a model of ours, or None where CLIP is no exact counterpart of it.

    Args:
        towers: modality -> {encoder: all options, order, length, vocabulary or size, patch}.
        facts: space, project, fusion, compared (modalities with vectors), and the ids first, last
            and pad.
    """
    both = {"text", "image"}
    if set(towers) != both or facts["compared"] != both:
        return None
    if not facts["project"] or facts["fusion"] != "none":
        return None
    text, image = towers["text"], towers["image"]
    e, v = text["encoder"], image["encoder"]
    same = (
        e["use"] == "transformer"
        and v["use"] == "vision_transformer"
        and text["order"] == "causal"
        and (e["norm"], e["embedding_norm"], e["final_norm"]) == ("pre", False, True)
        and (e["pool"], e["types"], v["pool"]) == ("last", 0, "first")
        and (v["patch_bias"], v["embedding_norm"]) == (False, True)
    )
    if not same:
        return None

    def block(x: dict[str, Any]) -> dict[str, Any]:
        return dict(
            hidden_size=x["width"],
            intermediate_size=round(x["mlp"] * x["width"]),
            num_hidden_layers=x["depth"],
            num_attention_heads=x["heads"],
            hidden_act=WRITTEN[x["activation"]],
            layer_norm_eps=x["eps"],
            attention_dropout=x["dropout"],
            projection_dim=facts["space"],
        )

    return dict(
        architectures=["CLIPModel"],
        model_type="clip",
        projection_dim=facts["space"],
        text_config=dict(
            model_type="clip_text_model",
            vocab_size=text["vocabulary"],
            max_position_embeddings=text["length"],
            bos_token_id=facts["first"],
            eos_token_id=facts["last"],
            pad_token_id=facts["pad"],
            **block(e),
        ),
        vision_config=dict(
            model_type="clip_vision_model",
            image_size=image["size"],
            patch_size=image["patch"],
            **block(v),
        ),
    )
