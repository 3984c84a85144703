"""Copies the random weights of reference models in which modalities meet, or texts are ordered.

As `reference` does, and with its `Pairs`: every function returns our modules and the pairs whose
values it made equal.
"""

from __future__ import annotations

from types import SimpleNamespace

from reference import (
    Pairs,
    bert_block,
    copied,
    grid,
    linear,
    norm,
)
from torch import nn

from sensorium.encoders import transformer, vision_transformer
from sensorium.fusion import cross_attention, merge_attention
from sensorium.layers import Block, CrossAttention


def _texts(config) -> SimpleNamespace:
    length = getattr(config, "max_position_embeddings", None) or config.n_positions
    return SimpleNamespace(vocabulary=config.vocab_size, length=length)


def _bert_form(config) -> dict:
    return dict(
        depth=config.num_hidden_layers,
        heads=config.num_attention_heads,
        mlp=config.intermediate_size / config.hidden_size,
        eps=config.layer_norm_eps,
    )


def copy_visualbert(
    theirs: nn.Module, patches: int
) -> tuple[transformer.Encoder, vision_transformer.Encoder, merge_attention.Fusion, Pairs]:
    """Ours with the weights of a transformers `VisualBertModel`.

    Its visual features are our normalised patches: channels are its `visual_embedding_dim`, a
    multiple of 3. It gives all of them one position, so ours gets that one for every patch.
    """
    c = theirs.config
    text = transformer.Encoder(
        transformer.Spec(width=c.hidden_size, depth=0, heads=1, final_norm=False),
        _texts(c),
    )
    image = vision_transformer.Encoder(
        vision_transformer.Spec(
            width=c.hidden_size,
            depth=0,
            heads=1,
            class_token=False,
            final_norm=False,
            pool="mean",
        ),
        SimpleNamespace(channels=c.visual_embedding_dim, tokens_per_item=patches),
    )
    fusion = merge_attention.Fusion(
        merge_attention.Spec(
            **_bert_form(c), norm="post", final_norm=False, embedding_norm=True, pool="pooler"
        ),
        {"image": c.hidden_size, "text": c.hidden_size},
    )
    table = theirs.embeddings
    kinds = [table.visual_token_type_embeddings.weight, table.token_type_embeddings.weight]
    pairs = [
        (text.words.weight, [table.word_embeddings.weight], ""),
        (text.positions.weight, [table.position_embeddings.weight], ""),
        *linear(image.patch, table.visual_projection),
        (image.positions.weight, [table.visual_position_embeddings.weight], "one row"),
        (fusion.types.weight, kinds, "types"),
        *norm(fusion.embedding_norm, table.LayerNorm),
        *linear(fusion.pooler.linear, theirs.pooler.dense),
    ]
    for block, layer in zip(fusion.stack.blocks, theirs.encoder.layer, strict=True):
        pairs += bert_block(block, layer)
    return text, image, fusion, copied(pairs)


def copy_vilt(
    theirs: nn.Module,
) -> tuple[transformer.Encoder, vision_transformer.Encoder, merge_attention.Fusion, Pairs]:
    """Ours with the weights of a transformers `ViltModel`."""
    c = theirs.config
    text = transformer.Encoder(
        transformer.Spec(
            width=c.hidden_size,
            depth=0,
            heads=1,
            types=c.type_vocab_size,
            eps=c.layer_norm_eps,
            embedding_norm=True,
            final_norm=False,
        ),
        _texts(c),
    )
    image = vision_transformer.Encoder(
        vision_transformer.Spec(width=c.hidden_size, depth=0, heads=1, final_norm=False), grid(c)
    )
    fusion = merge_attention.Fusion(
        merge_attention.Spec(**_bert_form(c), norm="pre", pool="pooler"),
        {"text": c.hidden_size, "image": c.hidden_size},
    )
    table = theirs.embeddings
    patch = table.patch_embeddings.projection
    pairs = [
        (text.words.weight, [table.text_embeddings.word_embeddings.weight], ""),
        (text.positions.weight, [table.text_embeddings.position_embeddings.weight], ""),
        (text.types.weight, [table.text_embeddings.token_type_embeddings.weight], ""),
        *norm(text.embedding_norm, table.text_embeddings.LayerNorm),
        (image.patch.weight, [patch.weight], "patch"),
        (image.patch.bias, [patch.bias], ""),
        (image.class_token, [table.cls_token], "class"),
        (image.positions.weight, [table.position_embeddings], "table"),
        (fusion.types.weight, [table.token_type_embeddings.weight], ""),
        *norm(fusion.final_norm, theirs.layernorm),
        *linear(fusion.pooler.linear, theirs.pooler.dense),
    ]
    for block, layer in zip(fusion.stack.blocks, theirs.encoder.layer, strict=True):
        own = layer.attention.attention
        pairs += [
            *linear(block.attention.qkv, own.query, own.key, own.value),
            *linear(block.attention.out, layer.attention.output.dense),
            *norm(block.attention_norm, layer.layernorm_before),
            *linear(block.mlp.up, layer.intermediate.dense),
            *linear(block.mlp.down, layer.output.dense),
            *norm(block.mlp_norm, layer.layernorm_after),
        ]
    return text, image, fusion, copied(pairs)


def _bert_crossing(ours: CrossAttention, ours_norm: nn.LayerNorm, theirs: nn.Module) -> Pairs:
    """A `BlipTextAttention` over a memory."""
    return [
        *linear(ours.q, theirs.self.query),
        *linear(ours.kv, theirs.self.key, theirs.self.value),
        *linear(ours.out, theirs.output.dense),
        *norm(ours_norm, theirs.output.LayerNorm),
    ]


def copy_blip_text(
    theirs: nn.Module,
) -> tuple[transformer.Encoder, cross_attention.Fusion, Pairs]:
    """Ours with the weights of a transformers `BlipTextModel` with cross-attention."""
    c = theirs.config
    text = transformer.Encoder(
        transformer.Spec(
            width=c.hidden_size,
            depth=0,
            heads=1,
            eps=c.layer_norm_eps,
            embedding_norm=True,
            final_norm=False,
        ),
        _texts(c),
    )
    fusion = cross_attention.Fusion(
        cross_attention.Spec(
            **_bert_form(c),
            norm="post",
            final_norm=False,
            pool="pooler" if theirs.pooler is not None else "first",
        ),
        {"image": c.encoder_hidden_size, "text": c.hidden_size},
    )
    table = theirs.embeddings
    pairs = [
        (text.words.weight, [table.word_embeddings.weight], ""),
        (text.positions.weight, [table.position_embeddings.weight], ""),
        *norm(text.embedding_norm, table.LayerNorm),
    ]
    if theirs.pooler is not None:
        pairs += linear(fusion.pooler.linear, theirs.pooler.dense)
    for ours, layer in zip(fusion.layers, theirs.encoder.layer, strict=True):
        block = ours["text"]
        pairs += bert_block(block, layer)
        cross = block.cross
        pairs += _bert_crossing(cross.attention, cross.attention_norm, layer.crossattention)
    return text, fusion, copied(pairs)


def copy_lxmert_cross(
    theirs: nn.ModuleList, config, pooler: nn.Module | None = None
) -> tuple[cross_attention.Fusion, Pairs]:
    """Ours with the weights of the `LxmertXLayer`s of a transformers `LxmertEncoder`, and of the
    model's pooler where it is given."""
    fusion = cross_attention.Fusion(
        cross_attention.Spec(
            depth=len(theirs),
            heads=config.num_attention_heads,
            ways="both",
            order="cross_first",
            mlp=config.intermediate_size / config.hidden_size,
            norm="post",
            eps=1e-12,
            final_norm=False,
            pool="first" if pooler is None else "pooler",
        ),
        {"image": config.hidden_size, "text": config.hidden_size},
    )
    pairs: Pairs = [] if pooler is None else linear(fusion.pooler.linear, pooler.dense)
    for crossing, ours, layer in zip(fusion.crossings, fusion.layers, theirs, strict=True):
        shared = layer.visual_attention
        pairs += [
            *linear(crossing.attention.q, shared.att.query),
            *linear(crossing.attention.kv, shared.att.key, shared.att.value),
            *linear(crossing.attention.out, shared.output.dense),
            *norm(crossing.attention_norm, shared.output.LayerNorm),
        ]
        for name, own, inner, outer in (
            ("text", layer.lang_self_att, layer.lang_inter, layer.lang_output),
            ("image", layer.visn_self_att, layer.visn_inter, layer.visn_output),
        ):
            block = ours[name]
            pairs += [
                *linear(block.attention.qkv, own.self.query, own.self.key, own.self.value),
                *linear(block.attention.out, own.output.dense),
                *norm(block.attention_norm, own.output.LayerNorm),
                *linear(block.mlp.up, inner.dense),
                *linear(block.mlp.down, outer.dense),
                *norm(block.mlp_norm, outer.LayerNorm),
            ]
    return fusion, copied(pairs)


def _turned(ours: nn.Linear, theirs: nn.Module) -> Pairs:
    """A GPT-2 `Conv1D`, which is a linear map kept the other way round."""
    return [(ours.weight, [theirs.weight], "turned"), (ours.bias, [theirs.bias], "")]


def _gpt2_block(ours: Block, theirs: nn.Module) -> Pairs:
    return [
        *_turned(ours.attention.qkv, theirs.attn.c_attn),
        *_turned(ours.attention.out, theirs.attn.c_proj),
        *norm(ours.attention_norm, theirs.ln_1),
        *_turned(ours.mlp.up, theirs.mlp.c_fc),
        *_turned(ours.mlp.down, theirs.mlp.c_proj),
        *norm(ours.mlp_norm, theirs.ln_2),
    ]


def _gpt2_form(config) -> dict:
    return dict(
        heads=config.n_head,
        mlp=(config.n_inner or 4 * config.n_embd) / config.n_embd,
        norm="pre",
        activation="gelu_tanh",
        eps=config.layer_norm_epsilon,
    )


def copy_gpt2(theirs: nn.Module) -> tuple[transformer.Encoder, Pairs]:
    """Our encoder with the weights of a transformers `GPT2Model`. Look at it causally."""
    c = theirs.config
    spec = transformer.Spec(width=c.n_embd, depth=c.n_layer, pool="last", **_gpt2_form(c))
    ours = transformer.Encoder(spec, _texts(c))
    pairs = [
        (ours.words.weight, [theirs.wte.weight], ""),
        (ours.positions.weight, [theirs.wpe.weight], ""),
        *norm(ours.final_norm, theirs.ln_f),
    ]
    for block, layer in zip(ours.stack.blocks, theirs.h, strict=True):
        pairs += _gpt2_block(block, layer)
    return ours, copied(pairs)


def copy_gpt2_cross(
    theirs: nn.Module,
) -> tuple[transformer.Encoder, cross_attention.Fusion, Pairs]:
    """Ours with the weights of a transformers `GPT2Model` with cross-attention (pre-norm)."""
    c = theirs.config
    text = transformer.Encoder(
        transformer.Spec(width=c.n_embd, depth=0, heads=1, final_norm=False), _texts(c)
    )
    fusion = cross_attention.Fusion(
        cross_attention.Spec(depth=c.n_layer, pool="last", **_gpt2_form(c)),
        {"text": c.n_embd, "image": c.n_embd},
    )
    pairs = [
        (text.words.weight, [theirs.wte.weight], ""),
        (text.positions.weight, [theirs.wpe.weight], ""),
        *norm(fusion.final_norms["text"], theirs.ln_f),
    ]
    for ours, layer in zip(fusion.layers, theirs.h, strict=True):
        block = ours["text"]
        pairs += _gpt2_block(block, layer)
        cross = block.cross
        pairs += [
            *_turned(cross.attention.q, layer.crossattention.q_attn),
            *_turned(cross.attention.kv, layer.crossattention.c_attn),
            *_turned(cross.attention.out, layer.crossattention.c_proj),
            *norm(cross.attention_norm, layer.ln_cross_attn),
        ]
    return text, fusion, copied(pairs)
