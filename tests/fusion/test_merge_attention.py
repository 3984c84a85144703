"""Merge attention against VisualBertModel, ViltModel and BERT's blocks under explicit patterns."""

import pytest
import torch
import transformers
from reference import (
    copy_bert,
    image_look,
    pixels,
    randomise,
    same_gradients,
    text_look,
)
from reference_fusion import copy_vilt, copy_visualbert

from sensorium.errors import RecipeError
from sensorium.fusion.merge_attention import Fusion, Spec
from sensorium.model import State

LIMIT = dict(atol=1e-5, rtol=0)
SIZES = dict(
    vocab_size=97,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=96,
    max_position_embeddings=24,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)


def ids_and_real(n: int = 4, t: int = 10):
    draws = torch.Generator().manual_seed(1)
    real = torch.arange(t) < torch.linspace(3, t, n).long()[:, None]
    return torch.randint(1, 97, (n, t), generator=draws) * real, real


def patches(n: int, p: int, c: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (n, p, c), generator=draws, dtype=torch.uint8)


def weighted(tokens: torch.Tensor, real: torch.Tensor, seed: int) -> torch.Tensor:
    weight = torch.randn(tokens.shape[1:], generator=torch.Generator().manual_seed(seed))
    return (tokens * weight * real[..., None]).sum()


def test_visualbert_states_pooled_and_gradients():
    config = transformers.VisualBertConfig(**SIZES, visual_embedding_dim=12)
    theirs = transformers.VisualBertModel(config)
    randomise(theirs, spread=0.1)
    text, image, fusion, pairs = copy_visualbert(theirs, patches=9)
    ids, real = ids_and_real()
    values, there = patches(4, 9, 12), torch.arange(9) < torch.tensor([9, 4, 1, 6])[:, None]
    want = theirs(
        input_ids=ids,
        attention_mask=real.long(),
        visual_embeds=(values - image.shift) * image.scale,
        visual_attention_mask=there.long(),
    )
    parts = [
        image.encode(image.embed(image_look(values, there))),
        text.encode(text.embed(text_look(ids, real))),
    ]
    out = fusion(parts)
    states = want.last_hidden_state
    torch.testing.assert_close(out[1].tokens[real], states[:, :10][real], **LIMIT)
    torch.testing.assert_close(out[0].tokens[there], states[:, 10:][there], **LIMIT)
    torch.testing.assert_close(fusion.joint(out), want.pooler_output, **LIMIT)
    for texts, images, joint in (
        (out[1].tokens, out[0].tokens, fusion.joint(out)),
        (states[:, :10], states[:, 10:], want.pooler_output),
    ):
        (weighted(texts, real, 3) + weighted(images, there, 4) + joint.sum()).backward()
    same_gradients(pairs)
    ours = [p for part in (text, image, fusion) for p in part.parameters()]
    assert {id(p) for p, _, _ in pairs} == {id(p) for p in ours}


def test_vilt_states_pooled_and_gradients(monkeypatch):
    # It draws the order of its patches; here they stay in theirs.
    monkeypatch.setattr(torch, "multinomial", lambda weights, count: torch.arange(int(count)))
    config = transformers.ViltConfig(
        **{key: value for key, value in SIZES.items() if key != "max_position_embeddings"},
        max_position_embeddings=24,
        image_size=24,
        patch_size=8,
        layer_norm_eps=1e-6,
    )
    theirs = transformers.ViltModel(config)
    randomise(theirs, spread=0.1)
    text, image, fusion, pairs = copy_vilt(theirs)
    ids, real = ids_and_real()
    values = patches(4, 9, 192)
    want = theirs(
        input_ids=ids,
        attention_mask=real.long(),
        pixel_values=pixels(values, 8, image.spec),
    )
    out = fusion(
        [
            text.encode(text.embed(text_look(ids, real))),
            image.encode(image.embed(image_look(values))),
        ]
    )
    states = want.last_hidden_state
    torch.testing.assert_close(out[0].tokens[real], states[:, :10][real], **LIMIT)
    torch.testing.assert_close(out[1].tokens, states[:, 10:], **LIMIT)
    torch.testing.assert_close(fusion.joint(out), want.pooler_output, **LIMIT)
    for texts, images, joint in (
        (out[0].tokens, out[1].tokens, fusion.joint(out)),
        (states[:, :10], states[:, 10:], want.pooler_output),
    ):
        everywhere = torch.ones(images.shape[:2], dtype=torch.bool)
        total = weighted(texts, real, 3) + weighted(images, everywhere, 4) + joint.sum()
        total.backward()
    same_gradients(pairs)
    ours = [p for part in (text, image, fusion) for p in part.parameters()]
    assert {id(p) for p, _, _ in pairs} == {id(p) for p in ours}


@pytest.mark.parametrize("form", ["prefix", "sequence to sequence"])
def test_orders_are_the_patterns_of_prefix_and_sequence_to_sequence(form):
    """BERT's blocks under a pattern written out token by token.

    Prefix (T5, arXiv 1910.10683 figure 4): the first tokens see each other, the rest what came
    before. Sequence to sequence (UniLM, arXiv 1905.03197 section 2.3; VLP): the picture sees only
    itself, the text the picture and what came before.
    """
    theirs = transformers.BertModel(transformers.BertConfig(**SIZES)).eval()
    randomise(theirs, spread=0.1)
    bert, _ = copy_bert(theirs)
    fusion = Fusion(
        Spec(depth=2, heads=4, mlp=3.0, norm="post", eps=1e-12, final_norm=False, types=False),
        {"image": 32, "text": 32},
    )
    fusion.stack.load_state_dict(bert.stack.state_dict())
    n, p, t, given = 3, 4, 6, 2
    draws = torch.Generator().manual_seed(5)
    real = torch.arange(t) < torch.tensor([6, 4, 3])[:, None]
    image = State(
        torch.randn(n, p, 32, generator=draws),
        torch.ones(n, p, dtype=torch.bool),
        torch.zeros(n, p, dtype=torch.int64),
        torch.arange(p)[None, :, None],
    )
    counted = torch.arange(t).expand(n, t)
    order = (counted - given + 1).clamp(min=0) if form == "prefix" else counted + 2**20
    text = State(torch.randn(n, t, 32, generator=draws), real, order, counted[:1, :, None])
    sees = torch.zeros(n, 1, p + t, p + t, dtype=torch.bool)
    for row in range(n):
        for i in range(p + t):
            for j in range(p + t):
                if j >= p and not real[row, j - p]:
                    continue
                if form == "prefix":  # picture and the first words are the prefix
                    sees[row, 0, i, j] = j <= max(i, p + given - 1)
                else:
                    sees[row, 0, i, j] = j < p or (i >= p and j <= i)
    pattern = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)
    both = torch.cat([image.tokens, text.tokens], 1)
    want = theirs.encoder(both, attention_mask=pattern).last_hidden_state
    out = fusion([image, text])
    torch.testing.assert_close(out[0].tokens, want[:, :p], **LIMIT)
    torch.testing.assert_close(out[1].tokens[real], want[:, p:][real], **LIMIT)
    plain = fusion([image, State(text.tokens, real, counted * 0, text.position)])
    assert (plain[1].tokens - out[1].tokens)[real].abs().max() > 1e-3


def test_the_joint_vector_is_the_leads():
    widths = {"image": 8, "text": 8}
    draws = torch.Generator().manual_seed(0)
    parts = [
        State(
            torch.randn(2, t, 8, generator=draws),
            torch.ones(2, t, dtype=torch.bool),
            torch.zeros(2, t, dtype=torch.int64),
            torch.arange(t)[None, :, None],
        )
        for t in (4, 3)
    ]
    for lead, at in (("image", 0), ("text", 1)):
        for pool in ("first", "last", "mean"):
            torch.manual_seed(0)
            fusion = Fusion(Spec(lead=lead, pool=pool), widths)
            out = fusion(parts)
            own = out[at].tokens
            want = {"first": own[:, 0], "last": own[:, -1], "mean": own.mean(1)}[pool]
            torch.testing.assert_close(fusion.joint(out), want)
            torch.testing.assert_close(out[1 - at].pooled, out[1 - at].tokens.mean(1))


def test_mistakes_are_named():
    with pytest.raises(RecipeError, match=r"(?s)encoders of one width.*found image 8, text 16"):
        Fusion(Spec(), {"image": 8, "text": 16})
    with pytest.raises(RecipeError, match=r"(?s)image, text, found txt.*nearest  text"):
        Fusion(Spec(lead="txt"), {"image": 8, "text": 8})
    with pytest.raises(RecipeError, match="a divisor of the width 8, found 3"):
        Fusion(Spec(heads=3), {"image": 8, "text": 8})
