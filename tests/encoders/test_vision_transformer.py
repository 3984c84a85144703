"""The vision transformer against transformers' ViTModel and CLIPModel, with equal weights."""

import numpy as np
import pytest
import torch
import transformers
from reference import (
    copy_clip_vision,
    copy_vit,
    image_look,
    pixels,
    randomise,
    same_gradients,
    text_look,
)

from sensorium.encoders import vision_transformer
from sensorium.modalities import image
from sensorium.modalities.image import patchify

LIMIT = dict(atol=1e-5, rtol=0)
SIZES = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=96,
    image_size=32,
    patch_size=8,
)
OPENAI = dict(mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))


def pictures(n: int = 3) -> torch.Tensor:
    draws = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, 16, 192), generator=draws, dtype=torch.uint8)


def encoder(**spec) -> vision_transformer.Encoder:
    modality = image.Modality(image.Spec(size=32, patch=8))
    spec = vision_transformer.Spec(width=32, heads=4, **{"depth": 2, **spec})
    return vision_transformer.Encoder(spec, modality)


def test_vit_states_pooled_and_gradients():
    config = transformers.ViTConfig(
        **SIZES, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    theirs = transformers.ViTModel(config, add_pooling_layer=False)
    randomise(theirs)
    ours, pairs = copy_vit(theirs)
    values = pictures()
    got = ours.encode(ours.embed(image_look(values)))
    want = theirs(pixel_values=pixels(values, 8, ours.spec)).last_hidden_state
    torch.testing.assert_close(got.tokens, want, **LIMIT)
    torch.testing.assert_close(got.pooled, want[:, 0], **LIMIT)
    weight = torch.randn(17, 32, generator=torch.Generator().manual_seed(2))
    (got.tokens * weight).sum().backward()
    (want * weight).sum().backward()
    same_gradients(pairs)
    assert {id(p) for p, _, _ in pairs} == {id(p) for p in ours.parameters()}


def test_clip_vision_states_pooled_and_gradients():
    settings = dict(SIZES, hidden_act="quick_gelu", layer_norm_eps=1e-5)
    theirs = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**settings))
    theirs = getattr(theirs, "vision_model", theirs)
    randomise(theirs)
    ours, pairs = copy_clip_vision(theirs, **OPENAI)
    values = pictures()
    got = ours.encode(ours.embed(image_look(values)))
    want = theirs(pixel_values=pixels(values, 8, ours.spec))
    torch.testing.assert_close(got.pooled, want.pooler_output, **LIMIT)
    torch.testing.assert_close(got.tokens, theirs.post_layernorm(want.last_hidden_state), **LIMIT)
    weight = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    (got.pooled * weight).sum().backward()
    (want.pooler_output * weight).sum().backward()
    same_gradients(pairs)
    assert {id(p) for p, _, _ in pairs} == {id(p) for p in ours.parameters()}


def test_the_reference_sees_the_picture_that_was_cut():
    """`reference.pixels` gives back what `patchify` cut, so neither hides a swapped axis."""
    array = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    values = torch.from_numpy(patchify(array, 8))[None]
    spec = vision_transformer.Spec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    whole = torch.from_numpy(array).permute(2, 0, 1).float()
    torch.testing.assert_close(pixels(values, 8, spec)[0] * 255, whole)


def test_a_dropped_patch_has_no_influence_and_the_rest_keep_their_places():
    ours = encoder()
    values = pictures()
    kept = torch.tensor([0, 3, 5, 6, 9, 12, 15])
    real = torch.zeros(3, 16, dtype=torch.bool)
    real[:, kept] = True
    changed = torch.where(real[..., None], values, 255 - values)
    look = image_look(values, real)
    first = ours.encode(ours.embed(look))
    second = ours.encode(ours.embed(image_look(changed, real)))
    torch.testing.assert_close(first.tokens, second.tokens, atol=1e-6, rtol=0)
    # The same patches alone, with their own positions, give the same states.
    state = ours.embed(look)
    places = torch.cat([torch.zeros(1, dtype=torch.int64), 1 + kept])
    alone = type(state)(
        tokens=state.tokens[:, places],
        real=state.real[:, places],
        order=state.order[:, places],
        position=state.position[:, places],
    )
    torch.testing.assert_close(
        ours.encode(alone).tokens, first.tokens[:, places], atol=1e-5, rtol=0
    )


def test_patches_without_a_class_token():
    """The same weights: what a class token is not there to change, stays."""
    with_token = encoder(depth=0, pool="mean")
    ours = encoder(depth=0, pool="mean", class_token=False)
    weights = with_token.state_dict()
    weights.pop("class_token")
    weights["positions.weight"] = weights["positions.weight"][1:]
    ours.load_state_dict(weights)
    look = image_look(pictures())
    embedded, other = ours.embed(look), with_token.embed(look)
    assert torch.equal(embedded.tokens, other.tokens[:, 1:])
    assert torch.equal(embedded.position, other.position[:, 1:])
    assert torch.equal(embedded.real, look.tokens.real)
    state = ours.encode(embedded)
    torch.testing.assert_close(state.pooled, state.tokens.mean(1), **LIMIT)
    with pytest.raises(ValueError, match="class_token is false"):
        encoder(class_token=False)


def test_without_blocks_and_norm_the_states_are_the_embeddings():
    ours = encoder(depth=0, final_norm=False, class_token=False, pool="mean")
    real = torch.arange(16) < torch.tensor([16, 3, 9])[:, None]
    embedded = ours.embed(image_look(pictures(), real))
    state = ours.encode(embedded)
    assert torch.equal(state.tokens[real], embedded.tokens[real])
    assert not state.tokens[~real].any()


def test_post_norm_blocks_are_torchs_own():
    ours = encoder(norm="post", final_norm=False)
    randomise(ours, spread=0.1)
    state = ours.embed(image_look(pictures()))
    want = state.tokens
    for block in ours.stack.blocks:
        theirs = torch.nn.TransformerEncoderLayer(
            32, 4, 128, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True
        )
        theirs.load_state_dict(
            {
                "self_attn.in_proj_weight": block.attention.qkv.weight,
                "self_attn.in_proj_bias": block.attention.qkv.bias,
                "self_attn.out_proj.weight": block.attention.out.weight,
                "self_attn.out_proj.bias": block.attention.out.bias,
                "linear1.weight": block.mlp.up.weight,
                "linear1.bias": block.mlp.up.bias,
                "linear2.weight": block.mlp.down.weight,
                "linear2.bias": block.mlp.down.bias,
                "norm1.weight": block.attention_norm.weight,
                "norm1.bias": block.attention_norm.bias,
                "norm2.weight": block.mlp_norm.weight,
                "norm2.bias": block.mlp_norm.bias,
            }
        )
        want = theirs(want)
    torch.testing.assert_close(ours.encode(state).tokens, want, **LIMIT)


def asked(pool, tokens: torch.Tensor, unseen: torch.Tensor) -> torch.Tensor:
    """CoCa's pooler (arXiv 2205.01917, section 3.2) by torch's own attention."""
    theirs = torch.nn.MultiheadAttention(32, 4, batch_first=True)
    own = pool.attention
    theirs.load_state_dict(
        {
            "in_proj_weight": torch.cat([own.q.weight, own.kv.weight]),
            "in_proj_bias": torch.cat([own.q.bias, own.kv.bias]),
            "out_proj.weight": own.out.weight,
            "out_proj.bias": own.out.bias,
        }
    )
    queries = pool.queries.expand(len(tokens), -1, -1)
    return pool.norm(theirs(queries, tokens, tokens, key_padding_mask=unseen)[0])


def test_attentional_pooling_is_cocas_cascade():
    ours = encoder(queries=5, class_token=False)
    randomise(ours, spread=0.3)
    real = torch.arange(16) < torch.tensor([16, 3, 9])[:, None]
    embedded = ours.embed(image_look(pictures(), real))
    state = ours.encode(embedded)
    patches = ours.final_norm(ours.stack(embedded.tokens, real, embedded.order))
    many, one = ours.pools
    answers = asked(many, patches, ~real)
    torch.testing.assert_close(state.tokens, answers, **LIMIT)
    none_unseen = torch.zeros(3, 5, dtype=torch.bool)
    torch.testing.assert_close(state.pooled, asked(one, answers, none_unseen)[:, 0], **LIMIT)
    assert state.tokens.shape == (3, 5, 32)
    assert state.real.all()
    assert (state.position == -1).all()
    assert answers.std(1).mean() > 0.01  # the queries ask different things
    changed = torch.where(real[..., None], pictures(), 255 - pictures())
    again = ours.encode(ours.embed(image_look(changed, real)))
    torch.testing.assert_close(again.tokens, state.tokens, atol=1e-6, rtol=0)
    ours.zero_grad()
    (state.tokens.sin().sum() + state.pooled.sin().sum()).backward()
    assert all(p.grad is not None and p.grad.any() for p in ours.parameters())


def test_mean_pool_leaves_the_class_token_out():
    ours = encoder(pool="mean")
    state = ours.encode(ours.embed(image_look(pictures())))
    torch.testing.assert_close(state.pooled, state.tokens[:, 1:].mean(1), **LIMIT)


def test_texts_are_refused():
    with pytest.raises(TypeError, match="expected values, found text"):
        encoder().embed(text_look(torch.zeros(1, 4, dtype=torch.int64)))


def test_std_must_be_positive():
    with pytest.raises(ValueError, match="std"):
        vision_transformer.Spec(std=(0.0, 1.0, 1.0))
