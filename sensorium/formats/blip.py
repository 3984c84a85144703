"""BLIP: a ViT and a BERT whose every layer asks it. Names of transformers' BLIP models.

Li et al. 2022 (arXiv 2201.12086) section 3.1: the image-grounded text encoder (matching) and
decoder (captions). Checked against huggingface/transformers models/blip/modeling_blip.py and
modeling_blip_text.py with equal weights.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch

from sensorium.errors import UserError
from sensorium.formats import _met
from sensorium.formats._check import Row, row
from sensorium.formats._config import Config
from sensorium.formats._names import Names, Shaped, below
from sensorium.formats._part import OPENAI, Tower, Whole
from sensorium.formats.vit import picture

SUMMARY = "BLIP: matching or captions; its picture tower"
CLASSES = {"blip": "BlipForImageTextRetrieval"}
_TEXT = dict(
    vocab_size=30524,
    hidden_size=768,
    encoder_hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=8,
    max_position_embeddings=512,
    hidden_act="gelu",
    layer_norm_eps=1e-12,
)
_VISION = dict(
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    image_size=384,
    patch_size=16,
    hidden_act="gelu",
    layer_norm_eps=1e-5,
)
DEFAULTS: dict[str, dict[str, Any]] = {"blip": {}}

IMAGE: Names = {
    "class_token": Shaped("embeddings.class_embedding", "vector"),
    "positions.weight": Shaped("embeddings.position_embedding", "table"),
    "patch.weight": Shaped("embeddings.patch_embedding.weight", "patch"),
    "patch.bias": "embeddings.patch_embedding.bias",
    "final_norm.*": "post_layernorm.*",
    "stack.blocks.*.attention.qkv.*": "encoder.layers.*.self_attn.qkv.*",
    "stack.blocks.*.attention.out.*": "encoder.layers.*.self_attn.projection.*",
    "stack.blocks.*.attention_norm.*": "encoder.layers.*.layer_norm1.*",
    "stack.blocks.*.mlp.up.*": "encoder.layers.*.mlp.fc1.*",
    "stack.blocks.*.mlp.down.*": "encoder.layers.*.mlp.fc2.*",
    "stack.blocks.*.mlp_norm.*": "encoder.layers.*.layer_norm2.*",
}
TEXT: Names = {
    "words.weight": "embeddings.word_embeddings.weight",
    "positions.weight": "embeddings.position_embeddings.weight",
    "embedding_norm.*": "embeddings.LayerNorm.*",
}
FUSION: Names = {
    "attention.qkv.*": (
        "attention.self.query.*",
        "attention.self.key.*",
        "attention.self.value.*",
    ),
    "attention.out.*": "attention.output.dense.*",
    "attention_norm.*": "attention.output.LayerNorm.*",
    "cross.attention.q.*": "crossattention.self.query.*",
    "cross.attention.kv.*": ("crossattention.self.key.*", "crossattention.self.value.*"),
    "cross.attention.out.*": "crossattention.output.dense.*",
    "cross.attention_norm.*": "crossattention.output.LayerNorm.*",
    "mlp.up.*": "intermediate.dense.*",
    "mlp.down.*": "output.dense.*",
    "mlp_norm.*": "output.LayerNorm.*",
}
MATCH: Names = {"objectives.matching.head.*": Shaped("itm_head.*", "flipped")}
WORDS: Names = {
    "model.vocabularies.text.transform.*": "text_decoder.cls.predictions.transform.dense.*",
    "model.vocabularies.text.norm.*": "text_decoder.cls.predictions.transform.LayerNorm.*",
    "model.vocabularies.text.bias": "text_decoder.cls.predictions.bias",
}
_COUNTS = "counts up; no weight"
_SPACE = "contrast runs the same layers without the picture; our fusion has no such pass"
_TIED = "tied to the word table"
LEFT_OUT = {
    "text_encoder.embeddings.position_ids": _COUNTS,
    "text_decoder.bert.embeddings.position_ids": _COUNTS,
    "text_decoder.cls.predictions.decoder.weight": _TIED,
    "text_decoder.cls.predictions.decoder.bias": _TIED,
    "vision_proj.*": _SPACE,
    "text_proj.*": _SPACE,
    "logit_scale": _SPACE,
}


def towers(config: Config) -> dict[str, Tower]:
    """The picture tower alone; the text's layers ask it and are the fusion of the whole.

    Raises:
        UserError: a value that our transformer cannot express; names the key.
    """
    return {"image": _image(config.below("vision_config", _VISION))}


def _image(config: Config) -> Tower:
    encoder = dict(
        use="vision_transformer",
        **config.block(),
        activation=config.activation(),
        eps=config.eps(),
        patch_bias=True,
        embedding_norm=False,
        pool="first",
    )
    other = "the text's part of the model"
    return Tower(
        "image",
        encoder,
        picture(config),
        IMAGE,
        ("vision_model.",),
        LEFT_OUT | dict.fromkeys(("text_encoder.**", "text_decoder.**", "itm_head.*"), other),
        colours=OPENAI,
        inside="vision_model",
        pooled="first",
    )


def whole(config: Config, names: Collection[str]) -> Whole:
    """The whole model: cross-attention one way, with matching or with captions.

    Raises:
        UserError: another head, or a value that our modules cannot express; names the key.
    """
    kinds = [x for x in ("text_encoder", "text_decoder") if f"{x}." in {n[:13] for n in names}]
    if len(kinds) != 1:
        raise UserError(
            file=config.file,
            expected="a BLIP for retrieval (text_encoder) or for captions (text_decoder)",
            found=" and ".join(kinds) or "neither: BlipModel has no head that meets",
        )
    captions = kinds == ["text_decoder"]
    before = "text_decoder.bert." if captions else "text_encoder."
    text, image = config.below("text_config", _TEXT), config.below("vision_config", _VISION)
    block, eps, activation = text.block(), text.eps(), text.activation()
    if captions:
        text.eps(only=1e-12)
        text.activation(only="gelu")
    picture_tower = _image(image)
    width = picture_tower.encoder["width"]
    if text.count("encoder_hidden_size") != width:
        raise text.wrong(
            "encoder_hidden_size", f"vision_config.hidden_size, {width}",
            text["encoder_hidden_size"],
        )  # fmt: skip
    words = Tower(
        "text",
        dict(
            use="transformer", width=block.pop("width"), depth=0, heads=block["heads"], eps=eps,
            embedding_norm=True, final_norm=False, pool="first",
        ),
        dict(
            use="text", tokenizer="trained", length=text.count("max_position_embeddings", 3),
            vocabulary=text.count("vocab_size", 1, 200_000),
        ),
        TEXT,
        order="causal" if captions else "full",
        ends=("[DEC]", "[SEP]") if captions else ("[CLS]", "[SEP]"),
    )  # fmt: skip
    matching = {"use": "matching", "negatives": "random"}
    return Whole(
        recipe=dict(
            order={"text": "causal"} if captions else {},
            fusion=dict(
                use="cross_attention", **block, ways="one", order="self_first", norm="post",
                activation=activation, eps=eps, final_norm=False, lead="text", pool="first",
            ),
            objectives=[{"use": "generation"} if captions else matching],
        ),
        towers={"image": picture_tower, "text": words},
        prefixes={"image": "vision_model.", "text": before},
        names=below("model.fusion.layers.*.text.", before + "encoder.layer.*.", FUSION)
        | dict(WORDS if captions else MATCH),
        reference="BlipForConditionalGeneration" if captions else "BlipForImageTextRetrieval",
        left_out=LEFT_OUT,
        new=("model.absent.*",),
        notes=("weights for an absent modality are new: the model never lacks one",),
    )  # fmt: skip


@torch.no_grad()
def rows(step: Any, parts: dict[str, Tower], model: Any, rng: np.random.Generator) -> list[Row]:
    """The comparison: the picture's states, each layer of the text, the head."""
    looks, given = _met.seen(parts, rng)
    entered = {m: _met.encoded(step, m, step.model.embed(look)) for m, look in looks.items()}
    vision = _met.asked(model.vision_model, pixel_values=given.pop("pixel_values"))
    memory = vision.last_hidden_state
    captions = hasattr(model, "text_decoder")
    trunk = model.text_decoder.bert if captions else model.text_encoder
    out = _met.asked(trunk, **given, encoder_hidden_states=memory, is_decoder=captions)
    met = _met.meet(step, entered)
    made = [
        row("image: states", entered["image"].tokens, memory),
        *_met.rows(met, {"text": list(out.hidden_states[1:])}),
    ]
    if captions:
        told = _met.asked(model.text_decoder, **given, encoder_hidden_states=memory)
        return made + _met.heads(step, met, words=told.logits)
    score = model.itm_head(out.last_hidden_state[:, 0]).flip(1)  # theirs: class 1 is a match
    return made + _met.heads(step, met, matching=score)
