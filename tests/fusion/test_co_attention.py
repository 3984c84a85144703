"""Co-attention against ViLBERT's layers written out one token at a time, in float64."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from sensorium.encoders import transformer
from sensorium.errors import RecipeError
from sensorium.fusion.co_attention import Fusion, Spec
from sensorium.model import State

WIDTHS = {"image": 8, "text": 12}
VILBERT = dict(norm="post", final_norm=False, eps=1e-12)


def states() -> dict[str, State]:
    draws = torch.Generator().manual_seed(0)
    made = {}
    for (name, d), lengths in zip(WIDTHS.items(), ([5, 2, 4], [3, 4, 1]), strict=True):
        t = max(lengths)
        real = torch.arange(t) < torch.tensor(lengths)[:, None]
        tokens = torch.randn(3, t, d, generator=draws).double() * real[..., None]
        zero = torch.zeros(3, t, dtype=torch.int64)
        made[name] = State(tokens, real, zero, torch.arange(t)[None, :, None])
    return made


def linear(x, module):
    return x @ module.weight.T + module.bias


def norm(x, module):
    centred = x - x.mean(-1, keepdim=True)
    spread = (centred.square().mean(-1, keepdim=True) + module.eps).sqrt()
    return centred / spread * module.weight + module.bias


def attended(queries, keys, values, heads):
    """One query at a time over the tokens given, all of them real."""
    size = queries.shape[1] // heads
    out = torch.zeros_like(queries)
    for at, query in enumerate(queries):
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = torch.stack([query[part] @ key[part] for key in keys]) / math.sqrt(size)
            out[at, part] = torch.softmax(scores, 0) @ values[:, part]
    return out


def fed(x, module):
    """The output layer of BERT: norm of the sum with the feed-forward part."""
    inner = F.gelu(linear(x, module.mlp.up))
    return norm(x + linear(inner, module.mlp.down), module.mlp_norm)


def connected(x, other, module, heads):
    """One stream's half of BertBiAttention, BertBiOutput and its intermediate and output."""
    cross = module.cross.attention
    keys, values = linear(other, cross.kv).chunk(2, -1)
    context = attended(linear(x, cross.q), keys, values, heads)
    return fed(norm(x + linear(context, cross.out), module.cross.attention_norm), module)


def own_layer(x, block, heads):
    """A BertLayer."""
    queries, keys, values = linear(x, block.attention.qkv).chunk(3, -1)
    context = linear(attended(queries, keys, values, heads), block.attention.out)
    return fed(norm(x + context, block.attention_norm), block)


@torch.no_grad()
@pytest.mark.parametrize("names", [("image", "text"), ("text", "image")])
def test_it_is_vilberts_order_of_layers(names):
    torch.manual_seed(0)
    spec = Spec(
        depth=2,
        heads=4,
        own_heads={"text": 3, "image": 2},
        inner=16,
        mlp={"image": 1.0, "text": 2.0},
        **VILBERT,
    )
    fusion = Fusion(spec, {name: WIDTHS[name] for name in names}).double()
    for parameter in fusion.parameters():
        parameter += 0.2 * torch.randn(parameter.shape)
    parts = states()
    out = dict(zip(names, fusion([parts[name] for name in names]), strict=True))
    joint = fusion.joint([out[name] for name in names])
    for row in range(3):
        now = {name: part.tokens[row, part.real[row]] for name, part in parts.items()}
        for connection, layer in zip(fusion.connections, fusion.layers, strict=True):
            # Both from the states before: neither stream goes first.
            image = connected(now["image"], now["text"], connection["image"], 4)
            text = connected(now["text"], now["image"], connection["text"], 4)
            now = {
                "image": own_layer(image, layer["image"], 2),
                "text": own_layer(text, layer["text"], 3),
            }
        for name, part in parts.items():
            got = out[name].tokens[row, part.real[row]]
            torch.testing.assert_close(got, now[name], atol=1e-10, rtol=0)
        want = torch.ones(16).double()
        for name in WIDTHS:
            want = want * linear(now[name][0], fusion.poolers[name]).clamp(min=0)
        torch.testing.assert_close(joint[row], want, atol=1e-10, rtol=0)


def test_it_has_vilberts_number_of_parameters():
    """235,705,856 as summed from `config/bert_base_6layer_6conect.json` of jiasenlu/vilbert_beta.

    Its region embedding (2048 features, 5 places, a norm) and ours of patches differ and are left
    out on both sides.
    """
    with torch.device("meta"):
        fusion = Fusion(
            Spec(
                depth=6,
                heads=8,
                own_heads={"text": 12},
                inner=1024,
                mlp={"image": 1.0, "text": 4.0},
                **VILBERT,
            ),
            {"image": 1024, "text": 768},
        )
        text = transformer.Encoder(
            transformer.Spec(
                width=768, depth=6, heads=12, types=2, embedding_norm=True, final_norm=False
            ),
            SimpleNamespace(vocabulary=30_522, length=512),
        )
    regions = (2048 + 1) * 1024 + (5 + 1) * 1024 + 2 * 1024
    ours = sum(p.numel() for part in (fusion, text) for p in part.parameters()) + regions
    assert ours == 235_705_856


def test_patches_without_a_class_token_are_pooled_by_their_mean():
    torch.manual_seed(0)
    fusion = Fusion(Spec(pool="mean", heads=2, **VILBERT), WIDTHS).double()
    parts = list(states().values())
    out = fusion(parts)
    for part, state in zip(parts, out, strict=True):
        for row in range(3):
            want = state.tokens[row, part.real[row]].mean(0)
            torch.testing.assert_close(state.pooled[row], want)


def test_mistakes_are_named():
    with pytest.raises(RecipeError, match="two modalities, found image"):
        Fusion(Spec(), {"image": 8})
    with pytest.raises(RecipeError, match="one for each of image, text, found text"):
        Fusion(Spec(mlp={"text": 4.0}), WIDTHS)
    with pytest.raises(RecipeError, match="a divisor of the width 10, found 4"):
        Fusion(Spec(inner=10), WIDTHS)
    with pytest.raises(RecipeError, match="a divisor of the width 12, found 5"):
        Fusion(Spec(own_heads={"text": 5}), WIDTHS)
