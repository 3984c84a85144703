"""The transformer encoder against transformers' BertModel and CLIPModel, with equal weights."""

import pytest
import torch
import transformers
from reference import (
    copy_bert,
    copy_clip_text,
    image_look,
    randomise,
    same_gradients,
    text_look,
)
from reference_fusion import copy_gpt2

from sensorium.encoders import transformer
from sensorium.layers import Cache
from sensorium.modalities import text as text_modality

LIMIT = dict(atol=1e-5, rtol=0)


def bert(pooler: bool = True) -> transformers.BertModel:
    config = transformers.BertConfig(
        vocab_size=97,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=24,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = transformers.BertModel(config, add_pooling_layer=pooler).train()
    randomise(model)
    return model


def clip(**text) -> transformers.CLIPModel:
    settings = dict(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    config = transformers.CLIPConfig(
        text_config=dict(
            **settings,
            vocab_size=97,
            max_position_embeddings=24,
            bos_token_id=95,
            eos_token_id=96,
            pad_token_id=0,
        ),
        vision_config=dict(**settings, image_size=32, patch_size=8),
        projection_dim=16,
    )
    model = transformers.CLIPModel(config).train()
    randomise(model)
    return model


def ragged(n: int = 6, t: int = 20, end: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids [n, t] and real [n, t] of lengths from 2 to t."""
    draws = torch.Generator().manual_seed(1)
    lengths = torch.linspace(2, t, n).long()
    real = torch.arange(t) < lengths[:, None]
    ids = torch.randint(1, 95, (n, t), generator=draws) * real
    if end is not None:
        ids[torch.arange(n), lengths - 1] = end
    return ids, real


def test_bert_states_pooled_and_gradients():
    theirs = bert()
    ours, pairs = copy_bert(theirs)
    ids, real = ragged()
    want = theirs(input_ids=ids, attention_mask=real.long())
    look = text_look(ids, real)
    got = ours.encode(ours.embed(look))
    torch.testing.assert_close(got.tokens[real], want.last_hidden_state[real], **LIMIT)
    torch.testing.assert_close(got.pooled, want.pooler_output, **LIMIT)
    weight = torch.randn(20, 32, generator=torch.Generator().manual_seed(2))
    for tokens, pooled in ((got.tokens, got.pooled), (want.last_hidden_state, want.pooler_output)):
        ((tokens * weight * real[..., None]).sum() + pooled.sum()).backward()
    same_gradients(pairs)
    assert {id(p) for p, _, _ in pairs} == {id(p) for p in ours.parameters()}


def test_clip_text_states_pooled_and_gradients():
    theirs = clip().text_model
    ours, pairs = copy_clip_text(theirs)
    ids, real = ragged(end=96)
    want = theirs(input_ids=ids, attention_mask=real.long())
    got = ours.encode(ours.embed(text_look(ids, real, "causal")))
    torch.testing.assert_close(got.tokens[real], want.last_hidden_state[real], **LIMIT)
    torch.testing.assert_close(got.pooled, want.pooler_output, **LIMIT)
    weight = torch.randn(6, 32, generator=torch.Generator().manual_seed(2))
    (got.pooled * weight).sum().backward()
    (want.pooler_output * weight).sum().backward()
    same_gradients(pairs)
    assert {id(p) for p, _, _ in pairs} == {id(p) for p in ours.parameters()}


def gpt2() -> transformers.GPT2Model:
    config = transformers.GPT2Config(
        vocab_size=97,
        n_positions=24,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_inner=96,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
    )
    model = transformers.GPT2Model(config)
    randomise(model, spread=0.1)
    return model


def test_gpt2_states_and_gradients():
    theirs = gpt2()
    ours, pairs = copy_gpt2(theirs)
    ids, real = ragged()
    want = theirs(input_ids=ids, attention_mask=real.long()).last_hidden_state
    got = ours.encode(ours.embed(text_look(ids, real, "causal")))
    torch.testing.assert_close(got.tokens[real], want[real], **LIMIT)
    weight = torch.randn(20, 32, generator=torch.Generator().manual_seed(2))
    for tokens in (got.tokens, want):
        (tokens * weight * real[..., None]).sum().backward()
    same_gradients(pairs)
    assert {id(p) for p, _, _ in pairs} == {id(p) for p in ours.parameters()}


def modality(length: int = 24) -> text_modality.Modality:
    found = text_modality.Modality(text_modality.Spec(length=length, vocabulary=300))
    found.vocabulary = 97
    return found


@pytest.mark.parametrize("pool", ["mean", "first", "last"])
def test_pooled_is_what_it_says(pool):
    spec = transformer.Spec(width=32, depth=1, heads=4, pool=pool)
    encoder = transformer.Encoder(spec, modality())
    ids, real = ragged()
    state = encoder.encode(encoder.embed(text_look(ids, real)))
    for row in range(len(ids)):
        own = state.tokens[row, real[row]]
        want = {"mean": own.mean(0), "first": own[0], "last": own[-1]}[pool]
        torch.testing.assert_close(state.pooled[row], want, **LIMIT)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_future_changes_nothing_in_a_causal_view(norm):
    spec = transformer.Spec(width=32, depth=2, heads=4, norm=norm, final_norm=norm == "pre")
    encoder = transformer.Encoder(spec, modality())
    ids, _ = ragged()
    real = torch.ones_like(ids, dtype=torch.bool)
    changed = ids.clone()
    changed[:, 10:] = 96
    first = encoder.encode(encoder.embed(text_look(ids, real, "causal"))).tokens
    second = encoder.encode(encoder.embed(text_look(changed, real, "causal"))).tokens
    torch.testing.assert_close(first[:, :10], second[:, :10], atol=1e-6, rtol=0)
    assert not torch.allclose(first[:, 10:], second[:, 10:])
    # The same change is seen in a full view: the test could fail.
    full = encoder.encode(encoder.embed(text_look(changed, real))).tokens
    assert not torch.allclose(full[:, :10], first[:, :10], atol=1e-3)


@pytest.mark.parametrize("norm", ["pre", "post"])
@torch.no_grad()
def test_cached_token_by_token_equals_the_full_pass(norm):
    spec = transformer.Spec(
        width=32, depth=2, heads=4, norm=norm, final_norm=norm == "pre", embedding_norm=True
    )
    encoder = transformer.Encoder(spec, modality())
    ids, real = ragged()
    state = encoder.embed(text_look(ids, real, "causal"))
    want = encoder.encode(state).tokens
    cache, got = Cache(), []
    for start, end in ((0, 3), (3, 4), (4, 9), *((at, at + 1) for at in range(9, 20))):
        new = text_look(ids[:, start:end], real[:, start:end])
        # The words' own places and orders, as a generator gives them.
        new.tokens.position.add_(start)
        new.order.add_(torch.arange(start, end))
        out = encoder.encode(encoder.embed(new), cache)
        assert out.pooled is None
        got.append(out.tokens)
    torch.testing.assert_close(torch.cat(got, 1), want, **LIMIT)


def test_without_blocks_the_states_are_the_embeddings_and_pooled_their_mean():
    spec = transformer.Spec(width=32, depth=0, heads=4, final_norm=False)
    encoder = transformer.Encoder(spec, modality())
    ids, real = ragged()
    embedded = encoder.embed(text_look(ids, real))
    state = encoder.encode(embedded)
    assert torch.equal(state.tokens[real], embedded.tokens[real])
    assert not state.tokens[~real].any()
    for row in range(len(ids)):
        torch.testing.assert_close(state.pooled[row], embedded.tokens[row, real[row]].mean(0))


def test_a_seed_repeats_the_weights():
    spec = transformer.Spec(width=32, depth=1, heads=4, types=2, pool="pooler")
    built = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            built.append(transformer.Encoder(spec, modality()).state_dict())
    assert all(torch.equal(built[0][name], built[1][name]) for name in built[0])


def test_heads_must_divide_width():
    with pytest.raises(ValueError, match="width 32 is not a multiple of heads 5"):
        transformer.Spec(width=32, heads=5)


def test_pictures_are_refused():
    encoder = transformer.Encoder(transformer.Spec(width=32, heads=4), modality())
    with pytest.raises(TypeError, match="expected ids, found image"):
        encoder.embed(image_look(torch.zeros(1, 4, 12, dtype=torch.uint8)))
