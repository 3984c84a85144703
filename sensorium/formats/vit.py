"""ViT: a picture tower. Config and weight names of transformers' `ViTModel`.

Checked against huggingface/transformers models/vit/modeling_vit.py with equal weights. Its pooler
is a head over the class token that most checkpoints do not train; the class token is given.
"""

from __future__ import annotations

from typing import Any

from sensorium.formats._config import WRITTEN, Config
from sensorium.formats._names import Names, Shaped
from sensorium.formats._part import Tower

SUMMARY = "ViT: pictures"
CLASSES = {"vit": "ViTModel"}
DEFAULTS: dict[str, dict[str, Any]] = {
    "vit": dict(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        image_size=224,
        patch_size=16,
        num_channels=3,
        qkv_bias=True,
    )
}

NAMES: Names = {
    "class_token": Shaped("embeddings.cls_token", "vector"),
    "positions.weight": Shaped("embeddings.position_embeddings", "table"),
    "patch.weight": Shaped("embeddings.patch_embeddings.projection.weight", "patch"),
    "patch.bias": "embeddings.patch_embeddings.projection.bias",
    "final_norm.*": "layernorm.*",
    "stack.blocks.*.attention.qkv.*": (
        "encoder.layer.*.attention.attention.query.*",
        "encoder.layer.*.attention.attention.key.*",
        "encoder.layer.*.attention.attention.value.*",
    ),
    "stack.blocks.*.attention.out.*": "encoder.layer.*.attention.output.dense.*",
    "stack.blocks.*.attention_norm.*": "encoder.layer.*.layernorm_before.*",
    "stack.blocks.*.mlp.up.*": "encoder.layer.*.intermediate.dense.*",
    "stack.blocks.*.mlp.down.*": "encoder.layer.*.output.dense.*",
    "stack.blocks.*.mlp_norm.*": "encoder.layer.*.layernorm_after.*",
}
LEFT_OUT = {
    "pooler.**": "a head over the class token, which is given itself",
    "classifier.**": "a head for another task",
    "decoder.**": "a head for another task",
    "embeddings.mask_token": "stands for hidden patches in another pre-training",
}


def picture(config: Config) -> dict[str, Any]:
    """Options size and patch of our pictures.

    Raises:
        UserError: no square picture of three colours in whole patches.
    """
    config.must("num_channels", 3)
    size, patch = config.count("image_size", 8, 1024), config.count("patch_size")
    if size % patch:
        raise config.wrong("patch_size", f"a divisor of image_size, {size}", patch)
    return dict(use="image", size=size, patch=patch)


def towers(config: Config) -> dict[str, Tower]:
    """modality -> the tower that a config describes.

    Raises:
        UserError: a value that our transformer cannot express; names the key.
    """
    config.must("qkv_bias", True)
    encoder = dict(
        use="vision_transformer",
        **config.block(),
        activation=config.activation(),
        eps=config.eps(),
        patch_bias=True,
        embedding_norm=False,
        pool="first",
    )
    options = picture(config)
    tower = Tower("image", encoder, options, NAMES, ("vit.", ""), LEFT_OUT, pooled="first")
    return {"image": tower}


def written(towers: dict[str, dict[str, Any]], facts: dict[str, Any]) -> dict[str, Any] | None:
    """config.json of an encoder of ours, or None where ViT is no exact counterpart of it."""
    if set(towers) != {"image"}:
        return None
    x = towers["image"]
    e = x["encoder"]
    wanted = dict(use="vision_transformer", patch_bias=True, embedding_norm=False)
    if any(e.get(key) != value for key, value in wanted.items()):
        return None
    return dict(
        architectures=["ViTModel"],
        model_type="vit",
        hidden_size=e["width"],
        num_hidden_layers=e["depth"],
        num_attention_heads=e["heads"],
        intermediate_size=round(e["mlp"] * e["width"]),
        hidden_act=WRITTEN[e["activation"]],
        layer_norm_eps=e["eps"],
        image_size=x["size"],
        patch_size=x["patch"],
        hidden_dropout_prob=e["dropout"],
        attention_probs_dropout_prob=e["dropout"],
    )
