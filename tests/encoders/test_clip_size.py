"""CLIP ViT-B/32 and the loss of two untrained encoders."""

import math
from types import SimpleNamespace

import pytest
import torch
import transformers
from reference import clip_text_spec, clip_vision_spec, image_look, text_look
from torch.nn import functional as F

from sensorium.encoders import transformer, vision_transformer


def test_clip_b32_has_151_million_parameters():
    """Radford et al. 2021 (arXiv 2103.00020): 151.3 M; counted with transformers' own config."""
    config = transformers.CLIPConfig()  # its defaults are ViT-B/32
    assert config.vision_config.patch_size == 32
    texts = SimpleNamespace(vocabulary=49_408, length=77)
    pictures = SimpleNamespace(channels=3 * 32**2, tokens_per_item=49)
    with torch.device("meta"):
        text = transformer.Encoder(clip_text_spec(config.text_config), texts)
        vision = vision_transformer.Encoder(clip_vision_spec(config.vision_config), pictures)
        heads = [torch.nn.Linear(x.width, 512, bias=False) for x in (text, vision)]
        theirs = transformers.CLIPModel(config)
    ours = sum(p.numel() for part in (text, vision, *heads) for p in part.parameters()) + 1
    assert ours == sum(p.numel() for p in theirs.parameters()) == 151_277_313


@pytest.mark.parametrize("pool", ["mean", "last"])
def test_untrained_encoders_start_without_skill(pool):
    """The contrastive loss of untrained encoders is near ln N: no direction is preferred."""
    n = 64
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        texts = SimpleNamespace(vocabulary=1000, length=16)
        text = transformer.Encoder(transformer.Spec(width=64, pool=pool), texts)
        pictures = SimpleNamespace(channels=192, tokens_per_item=16)
        vision = vision_transformer.Encoder(vision_transformer.Spec(width=64), pictures)
        heads = [torch.nn.Linear(64, 512, bias=False) for _ in range(2)]
    draws = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 1000, (n, 16), generator=draws)
    values = torch.randint(0, 256, (n, 16, 192), generator=draws, dtype=torch.uint8)
    with torch.no_grad():
        a = F.normalize(heads[0](text.encode(text.embed(text_look(ids))).pooled), dim=-1)
        b = F.normalize(heads[1](vision.encode(vision.embed(image_look(values))).pooled), dim=-1)
    logits, truth = a @ b.T / 0.07, torch.arange(n)
    loss = (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2
    assert float(loss) == pytest.approx(math.log(n), abs=0.3)
