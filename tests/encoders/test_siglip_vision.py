"""SigLIP's picture tower, beside tests/formats/test_siglip.py, which compares it."""

from types import SimpleNamespace

import torch
from reference import image_look
from torch import nn

from sensorium.encoders import siglip_vision


def encoder():
    grid = SimpleNamespace(channels=192, tokens_per_item=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return siglip_vision.Encoder(siglip_vision.Spec(width=32, depth=1, heads=4), grid).eval()


def test_the_head_is_torchs_multi_head_attention():
    """With equal weights; google's and transformers' heads are made of it."""
    ours = encoder().head
    theirs = nn.MultiheadAttention(32, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.attention.qkv.weight)
        theirs.in_proj_bias.normal_()
        ours.attention.qkv.bias.copy_(theirs.in_proj_bias)
        theirs.out_proj.weight.copy_(ours.attention.out.weight)
        ours.attention.out.bias.copy_(theirs.out_proj.bias)
    tokens, real = torch.randn(3, 7, 32), torch.arange(7) < torch.tensor([7, 2, 5])[:, None]
    got = ours(tokens, real)
    ask = ours.probe.expand(3, 1, 32)
    x = theirs(ask, tokens, tokens, key_padding_mask=~real)[0][:, 0]
    torch.testing.assert_close(got, x + ours.mlp(ours.norm(x)), atol=1e-5, rtol=0)


def test_there_is_no_class_token():
    values = torch.randint(0, 256, (2, 16, 192), dtype=torch.uint8)
    ours = encoder()
    assert ours.encode(ours.embed(image_look(values))).tokens.shape == (2, 16, 32)
