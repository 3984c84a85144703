"""Cross-attention against BLIP's text model, GPT-2's and LXMERT's cross encoder, equal weights."""

import pytest
import torch
import transformers
from reference import randomise, same_gradients, text_look
from reference_fusion import copy_blip_text, copy_gpt2_cross, copy_lxmert_cross
from transformers.models.blip.modeling_blip_text import BlipTextModel
from transformers.models.lxmert.modeling_lxmert import LxmertXLayer

from sensorium.errors import RecipeError
from sensorium.fusion.cross_attention import Fusion, Spec
from sensorium.layers import Cache, CrossAttention
from sensorium.model import State

LIMIT = dict(atol=1e-5, rtol=0)


def ids_and_real(n: int = 4, t: int = 10):
    draws = torch.Generator().manual_seed(1)
    real = torch.arange(t) < torch.linspace(3, t, n).long()[:, None]
    return torch.randint(1, 97, (n, t), generator=draws) * real, real


def state(n: int, t: int, d: int, lengths: list[int] | None = None, seed: int = 3) -> State:
    """Random states, of which some may be padding."""
    draws = torch.Generator().manual_seed(seed)
    real = torch.arange(t) < torch.tensor(lengths or [t] * n)[:, None]
    return State(
        torch.randn(n, t, d, generator=draws),
        real,
        torch.zeros(n, t, dtype=torch.int64),
        torch.arange(t)[None, :, None],
    )


def weighted(tokens: torch.Tensor, real: torch.Tensor, seed: int = 9) -> torch.Tensor:
    weight = torch.randn(tokens.shape[1:], generator=torch.Generator().manual_seed(seed))
    return (tokens * weight * real[..., None]).sum()


def blip() -> BlipTextModel:
    config = transformers.BlipTextConfig(
        vocab_size=97,
        hidden_size=32,
        encoder_hidden_size=24,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=24,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        is_decoder=True,
        use_cache=False,
    )
    model = BlipTextModel(config)
    randomise(model, spread=0.1)
    return model


@pytest.mark.parametrize("causal", [False, True])
def test_blip_text_states_pooled_and_gradients(causal):
    """Its image-grounded encoder (full) and image-grounded decoder (causal)."""
    theirs = blip()
    text, fusion, pairs = copy_blip_text(theirs)
    ids, real = ids_and_real()
    image = state(4, 7, 24)
    want = theirs(
        input_ids=ids,
        attention_mask=real.long(),
        encoder_hidden_states=image.tokens,
        is_decoder=causal,
    )
    look = text_look(ids, real, "causal" if causal else "full")
    out = fusion([image, text.encode(text.embed(look))])
    assert out[0] is image
    torch.testing.assert_close(out[1].tokens[real], want.last_hidden_state[real], **LIMIT)
    torch.testing.assert_close(fusion.joint(out), want.pooler_output, **LIMIT)
    for tokens, joint in (
        (out[1].tokens, fusion.joint(out)),
        (want.last_hidden_state, want.pooler_output),
    ):
        (weighted(tokens, real) + joint.sum()).backward()
    same_gradients(pairs)
    ours = [p for part in (text, fusion) for p in part.parameters()]
    assert {id(p) for p, _, _ in pairs} == {id(p) for p in ours}


@torch.no_grad()
def test_blip_text_over_memories_of_different_length():
    """Each record alone: transformers 5.24 forgets `encoder_attention_mask` on the way down."""
    theirs = blip()
    text, fusion, _ = copy_blip_text(theirs)
    ids, real = ids_and_real()
    lengths = [7, 3, 5, 1]
    out = fusion([state(4, 7, 24, lengths), text.encode(text.embed(text_look(ids, real)))])
    for row, length in enumerate(lengths):
        want = theirs(
            input_ids=ids[row : row + 1, real[row]],
            encoder_hidden_states=state(4, 7, 24).tokens[row : row + 1, :length],
        )
        got = out[1].tokens[row, real[row]]
        torch.testing.assert_close(got, want.last_hidden_state[0], **LIMIT)


def test_gpt2_with_cross_attention_states_and_gradients():
    """The pre-norm form: self-attention, cross-attention and MLP, each with its own norm."""
    config = transformers.GPT2Config(
        vocab_size=97,
        n_positions=24,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_inner=96,
        add_cross_attention=True,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
    )
    theirs = transformers.GPT2Model(config)
    randomise(theirs, spread=0.1)
    text, fusion, pairs = copy_gpt2_cross(theirs)
    ids, real = ids_and_real()
    image = state(4, 7, 32, [7, 3, 5, 1])
    want = theirs(
        input_ids=ids,
        attention_mask=real.long(),
        encoder_hidden_states=image.tokens,
        encoder_attention_mask=image.real.long(),
    ).last_hidden_state
    out = fusion([text.encode(text.embed(text_look(ids, real, "causal"))), image])
    torch.testing.assert_close(out[0].tokens[real], want[real], **LIMIT)
    weighted(out[0].tokens, real).backward()
    weighted(want, real).backward()
    same_gradients(pairs)
    ours = [p for part in (text, fusion) for p in part.parameters()]
    assert {id(p) for p, _, _ in pairs} == {id(p) for p in ours}


def test_lxmert_cross_encoder_states_and_gradients():
    config = transformers.LxmertConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=96,
        num_attention_heads=4,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    theirs = torch.nn.ModuleList(LxmertXLayer(config) for _ in range(3))
    randomise(theirs, spread=0.1)
    fusion, pairs = copy_lxmert_cross(theirs, config)
    image, text = state(4, 7, 32, [7, 3, 5, 1]), state(4, 5, 32, [2, 5, 1, 4], seed=4)
    least = torch.finfo(torch.float32).min
    hide = [(~part.real).float()[:, None, None] * least for part in (text, image)]
    words, picture = text.tokens, image.tokens
    for layer in theirs:
        words, picture = layer(words, hide[0], picture, hide[1])
    out = fusion([image, text])
    torch.testing.assert_close(out[1].tokens[text.real], words[text.real], **LIMIT)
    torch.testing.assert_close(out[0].tokens[image.real], picture[image.real], **LIMIT)
    for a, b in ((out[1].tokens, out[0].tokens), (words, picture)):
        (weighted(a, text.real) + weighted(b, image.real, 8)).backward()
    same_gradients(pairs)
    assert {id(p) for p, _, _ in pairs} == {id(p) for p in fusion.parameters()}


@pytest.mark.parametrize("ways", ["one", "both"])
def test_a_memory_is_projected_once_for_its_records(monkeypatch, ways):
    """Eight rows of two pictures: keys and values of two are computed, where nothing changed."""
    torch.manual_seed(0)
    fusion = Fusion(Spec(depth=3, heads=2, ways=ways), {"image": 8, "text": 8})
    seen = []
    forward = CrossAttention.forward

    def counted(self, x, memory, *rest):
        seen.append((len(x), len(memory)))
        return forward(self, x, memory, *rest)

    monkeypatch.setattr(CrossAttention, "forward", counted)
    rows = [torch.arange(8) % 2, torch.arange(8) // 4]
    fusion([state(2, 5, 8), state(2, 4, 8)], rows)
    assert seen == ([(8, 2)] * 3 if ways == "one" else [(8, 2)] * 2 + [(8, 8)] * 4)


def test_a_cached_memory_is_projected_once(monkeypatch):
    torch.manual_seed(0)
    fusion = Fusion(Spec(depth=2, heads=2), {"image": 8, "text": 8})
    seen = []
    forward = CrossAttention.forward

    def counted(self, x, memory, *rest):
        seen.append(memory.shape[1])
        return forward(self, x, memory, *rest)

    monkeypatch.setattr(CrossAttention, "forward", counted)
    cache = Cache()
    fusion([state(2, 5, 8), state(2, 1, 8)], cache=cache)
    fusion([state(2, 0, 8), state(2, 1, 8)], cache=cache)
    assert seen == [5, 5, 0, 0]


def test_one_way_the_memory_leaves_as_it_came_and_both_ways_it_does_not():
    parts = [state(2, 5, 8), state(2, 4, 8, seed=4)]
    widths = {"image": 8, "text": 8}
    assert Fusion(Spec(), widths)(parts)[0] is parts[0]
    for order in ("self_first", "cross_first"):
        out = Fusion(Spec(ways="both", order=order), widths)(parts)
        assert (out[0].tokens - parts[0].tokens).abs().max() > 0.1


def test_both_ways_self_first_take_the_states_that_entered_the_layer():
    """Turning the modalities round turns the result round: neither goes first."""
    torch.manual_seed(0)
    one = Fusion(Spec(ways="both", depth=2), {"image": 8, "text": 12})
    two = Fusion(Spec(ways="both", depth=2), {"text": 12, "image": 8})
    two.load_state_dict(one.state_dict())
    image, text = state(2, 5, 8), state(2, 4, 12, seed=4)
    for a, b in zip(one([image, text]), reversed(two([text, image])), strict=True):
        assert torch.equal(a.tokens, b.tokens)


def test_mistakes_are_named():
    with pytest.raises(RecipeError, match="two modalities, found image, text, audio"):
        Fusion(Spec(), {"image": 8, "text": 8, "audio": 8})
    with pytest.raises(RecipeError, match="share one cross-attention, found image 8, text 16"):
        Fusion(Spec(ways="both", order="cross_first"), {"image": 8, "text": 16})
    with pytest.raises(RecipeError, match="image, text, found words"):
        Fusion(Spec(lead="words"), {"image": 8, "text": 8})
    with pytest.raises(RecipeError, match="a divisor of the width 8, found 3"):
        Fusion(Spec(heads=3), {"image": 9, "text": 8})
