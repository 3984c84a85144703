"""Copies the random weights of reference implementations (transformers) into our encoders.

Each function takes a reference module and ours of the same size and returns a list of pairs
(our parameter, [their parameters]), whose values it has made equal; a fused parameter of ours
(queries, keys, values) is the concatenation of theirs. `same_gradients` compares after backward.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn

from sensorium.encoders import transformer, vision_transformer
from sensorium.layers import Block
from sensorium.records import Source
from sensorium.tokens import Batch, Tokens
from sensorium.views import Look, View, look

Pairs = list[tuple[nn.Parameter, list[nn.Parameter], str]]


def text_look(ids: torch.Tensor, real: torch.Tensor | None = None, order: str = "full") -> Look:
    """A look at ids int64 [n, t]."""
    n, t = ids.shape
    real = torch.ones(n, t, dtype=torch.bool) if real is None else real
    position = torch.arange(t)[None, :, None]
    return _look(Tokens("text", real=real, position=position, ids=ids), order)


def image_look(values: torch.Tensor, real: torch.Tensor | None = None) -> Look:
    """A look at patches [n, side * side, c]."""
    n, p = values.shape[:2]
    side = round(p**0.5)
    position = torch.cartesian_prod(torch.arange(side), torch.arange(side))[None]
    real = torch.ones(n, p, dtype=torch.bool) if real is None else real
    return _look(Tokens("image", real=real, position=position, values=values), "full")


def table_look(values: torch.Tensor, real: torch.Tensor | None = None) -> Look:
    """A look at cells [n, columns, c]."""
    n, t = values.shape[:2]
    real = torch.ones(n, t, dtype=torch.bool) if real is None else real
    position = torch.arange(t)[None, :, None]
    return _look(Tokens("table", real=real, position=position, values=values), "full")


def _look(tokens: Tokens, order: str) -> Look:
    n = len(tokens.real)
    batch = Batch(
        keys=tuple(str(at) for at in range(n)),
        sources=(Source("memory"),) * n,
        tokens={(tokens.modality, 0): tokens},
        present={tokens.modality: torch.ones(n, dtype=torch.bool)},
    )
    return look(View(tokens.modality, order=order), batch)


def randomise(module: nn.Module, seed: int = 0, spread: float = 0.02) -> None:
    """Every parameter drawn anew, norms and biases too, so that no swap of two goes unseen."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "logit_scale" in name:
                continue
            wide = spread if parameter.ndim > 1 else 0.1
            is_norm = "norm" in name.lower() or "ln_" in name
            centre = 1.0 if is_norm and name.endswith("weight") else 0.0
            parameter.copy_(centre + wide * torch.randn(parameter.shape, generator=draws))


@torch.no_grad()
def copied(pairs: Pairs) -> Pairs:
    for ours, theirs, how in pairs:
        ours.copy_(_joined([x.detach() for x in theirs], how))
    return pairs


def _joined(tensors: list[torch.Tensor], how: str) -> torch.Tensor:
    """Their tensors in our layout."""
    if how == "patch":  # convolution [d, colour, row, column] -> linear [d, row, column, colour]
        return tensors[0].permute(0, 2, 3, 1).flatten(1)
    if how == "class":  # [1, 1, d] or [d] -> [d]
        return tensors[0].reshape(-1)
    if how == "table":  # [1, t, d] -> [t, d]
        return tensors[0].reshape(tensors[0].shape[-2:])
    if how == "turned":  # a linear map kept as [in, out] -> [out, in]
        return torch.cat([x.T for x in tensors])
    if how == "one row":  # [rows, d], of which only the first is used -> [1, d]
        return tensors[0][:1]
    if how == "types":  # VisualBERT's tables: a picture is type 1 of its own, a text type 0
        return torch.stack([tensors[0][1], tensors[1][0]])
    return torch.cat(tensors)


def same_gradients(pairs: Pairs, limit: float = 1e-5) -> None:
    """Asserts equal gradients, within `limit` of the largest of each parameter (at least 1)."""
    for ours, theirs, how in pairs:
        expected = _joined([x.grad for x in theirs], how)
        found = ours.grad.sum(0, keepdim=True) if how == "one row" else ours.grad
        scale = max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(found, expected, atol=limit * scale, rtol=0)


def linear(ours: nn.Linear, *theirs: nn.Linear) -> Pairs:
    return [
        (ours.weight, [x.weight for x in theirs], ""),
        (ours.bias, [x.bias for x in theirs], ""),
    ]


def norm(ours: nn.LayerNorm, theirs: nn.LayerNorm) -> Pairs:
    assert ours.eps == theirs.eps
    return [(ours.weight, [theirs.weight], ""), (ours.bias, [theirs.bias], "")]


def bert_block(ours: Block, theirs: nn.Module) -> Pairs:
    own = theirs.attention.self
    return [
        *linear(ours.attention.qkv, own.query, own.key, own.value),
        *linear(ours.attention.out, theirs.attention.output.dense),
        *norm(ours.attention_norm, theirs.attention.output.LayerNorm),
        *linear(ours.mlp.up, theirs.intermediate.dense),
        *linear(ours.mlp.down, theirs.output.dense),
        *norm(ours.mlp_norm, theirs.output.LayerNorm),
    ]


def copy_bert(theirs: nn.Module) -> tuple[transformer.Encoder, Pairs]:
    """Our encoder with the weights of a transformers `BertModel`."""
    c = theirs.config
    spec = transformer.Spec(
        width=c.hidden_size,
        depth=c.num_hidden_layers,
        heads=c.num_attention_heads,
        mlp=c.intermediate_size / c.hidden_size,
        norm="post",
        eps=c.layer_norm_eps,
        types=c.type_vocab_size,
        embedding_norm=True,
        final_norm=False,
        pool="pooler" if theirs.pooler is not None else "first",
    )
    modality = SimpleNamespace(vocabulary=c.vocab_size, length=c.max_position_embeddings)
    ours = transformer.Encoder(spec, modality)
    return ours, copied(pairs_bert(ours, theirs))


def pairs_bert(ours: transformer.Encoder, theirs: nn.Module) -> Pairs:
    """Which parameters of our encoder are which of a `BertModel`."""
    table = theirs.embeddings
    pairs = [
        (ours.words.weight, [table.word_embeddings.weight], ""),
        (ours.positions.weight, [table.position_embeddings.weight], ""),
        (ours.types.weight, [table.token_type_embeddings.weight], ""),
        *norm(ours.embedding_norm, table.LayerNorm),
    ]
    for block, layer in zip(ours.stack.blocks, theirs.encoder.layer, strict=True):
        pairs += bert_block(block, layer)
    if theirs.pooler is not None:
        pairs += linear(ours.pooler, theirs.pooler.dense)
    return pairs


def copy_vit(theirs: nn.Module, **spec) -> tuple[vision_transformer.Encoder, Pairs]:
    """Our encoder with the weights of a transformers `ViTModel` without its pooler."""
    c = theirs.config
    spec = vision_transformer.Spec(
        width=c.hidden_size,
        depth=c.num_hidden_layers,
        heads=c.num_attention_heads,
        mlp=c.intermediate_size / c.hidden_size,
        eps=c.layer_norm_eps,
        **spec,
    )
    ours = vision_transformer.Encoder(spec, grid(c))
    table = theirs.embeddings
    patch = table.patch_embeddings.projection
    pairs = [
        (ours.patch.weight, [patch.weight], "patch"),
        (ours.patch.bias, [patch.bias], ""),
        (ours.class_token, [table.cls_token], "class"),
        (ours.positions.weight, [table.position_embeddings], "table"),
        *norm(ours.final_norm, theirs.layernorm),
    ]
    for block, layer in zip(ours.stack.blocks, theirs.layers, strict=True):
        pairs += vit_block(block, layer)
    return ours, copied(pairs)


def grid(config) -> SimpleNamespace:
    return SimpleNamespace(
        channels=3 * config.patch_size**2,
        tokens_per_item=(config.image_size // config.patch_size) ** 2,
    )


def vit_block(ours: Block, theirs: nn.Module) -> Pairs:
    own = theirs.attention
    return [
        *linear(ours.attention.qkv, own.q_proj, own.k_proj, own.v_proj),
        *linear(ours.attention.out, own.o_proj),
        *norm(ours.attention_norm, theirs.layernorm_before),
        *linear(ours.mlp.up, theirs.mlp.fc1),
        *linear(ours.mlp.down, theirs.mlp.fc2),
        *norm(ours.mlp_norm, theirs.layernorm_after),
    ]


def _clip_block(ours: Block, theirs: nn.Module) -> Pairs:
    own = theirs.self_attn
    return [
        *linear(ours.attention.qkv, own.q_proj, own.k_proj, own.v_proj),
        *linear(ours.attention.out, own.out_proj),
        *norm(ours.attention_norm, theirs.layer_norm1),
        *linear(ours.mlp.up, theirs.mlp.fc1),
        *linear(ours.mlp.down, theirs.mlp.fc2),
        *norm(ours.mlp_norm, theirs.layer_norm2),
    ]


def clip_text_spec(config) -> transformer.Spec:
    """Our options for a transformers `CLIPTextConfig`."""
    return transformer.Spec(
        width=config.hidden_size,
        depth=config.num_hidden_layers,
        heads=config.num_attention_heads,
        mlp=config.intermediate_size / config.hidden_size,
        activation=config.hidden_act,
        eps=config.layer_norm_eps,
        pool="last",
    )


def copy_clip_text(theirs: nn.Module) -> tuple[transformer.Encoder, Pairs]:
    """Our encoder with the weights of a `CLIPTextModel`'s transformer (`CLIPModel.text_model`).

    Look at it causally. Its end of text must be the last real token.
    """
    c = theirs.config
    modality = SimpleNamespace(vocabulary=c.vocab_size, length=c.max_position_embeddings)
    ours = transformer.Encoder(clip_text_spec(c), modality)
    pairs = [
        (ours.words.weight, [theirs.embeddings.token_embedding.weight], ""),
        (ours.positions.weight, [theirs.embeddings.position_embedding.weight], ""),
        *norm(ours.final_norm, theirs.final_layer_norm),
    ]
    for block, layer in zip(ours.stack.blocks, theirs.encoder.layers, strict=True):
        pairs += _clip_block(block, layer)
    return ours, copied(pairs)


def clip_vision_spec(config, **spec) -> vision_transformer.Spec:
    """Our options for a transformers `CLIPVisionConfig`."""
    return vision_transformer.Spec(
        width=config.hidden_size,
        depth=config.num_hidden_layers,
        heads=config.num_attention_heads,
        mlp=config.intermediate_size / config.hidden_size,
        activation=config.hidden_act,
        eps=config.layer_norm_eps,
        patch_bias=False,
        embedding_norm=True,
        **spec,
    )


def copy_clip_vision(theirs: nn.Module, **spec) -> tuple[vision_transformer.Encoder, Pairs]:
    """Our encoder with the weights of a `CLIPVisionModel`'s (`CLIPModel.vision_model`)."""
    c = theirs.config
    ours = vision_transformer.Encoder(clip_vision_spec(c, **spec), grid(c))
    table = theirs.embeddings
    pairs = [
        (ours.patch.weight, [table.patch_embedding.weight], "patch"),
        (ours.class_token, [table.class_embedding], "class"),
        (ours.positions.weight, [table.position_embedding.weight], ""),
        *norm(ours.embedding_norm, theirs.pre_layrnorm),
        *norm(ours.final_norm, theirs.post_layernorm),
    ]
    for block, layer in zip(ours.stack.blocks, theirs.encoder.layers, strict=True):
        pairs += _clip_block(block, layer)
    return ours, copied(pairs)


def pixels(values: torch.Tensor, patch: int, spec: vision_transformer.Spec) -> torch.Tensor:
    """Patches uint8 [n, p, c] -> the normalised picture [n, 3, side, side] of the reference."""
    n, p, _ = values.shape
    grid = round(p**0.5)
    blocks = values.double().view(n, grid, grid, patch, patch, 3) / 255
    blocks = (blocks - torch.tensor(spec.mean).double()) / torch.tensor(spec.std).double()
    return blocks.permute(0, 5, 1, 3, 2, 4).reshape(n, 3, grid * patch, grid * patch).float()
