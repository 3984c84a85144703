"""SigLIP folders against transformers, with random weights saved by it."""

import pytest
import torch
import transformers
from reference import image_look, pixels, text_look

from formats import saved
from sensorium import importing
from sensorium.errors import UserError

LIMIT = dict(atol=1e-5, rtol=0)


def test_both_towers(tmp_path, empty_cache):
    folder = saved.siglip(tmp_path / "siglip")
    theirs = transformers.SiglipModel.from_pretrained(folder).eval()
    draws = torch.Generator().manual_seed(1)
    real = torch.arange(9) < torch.tensor([9, 4, 6])[:, None]
    ids = torch.where(real, torch.randint(4, 300, (3, 9), generator=draws), 1)
    padded = torch.nn.functional.pad(ids, (0, 11), value=1)  # the tokenizer's padding="max_length"
    ahead = torch.nn.functional.pad(ids, (1, 0), value=3)  # ours put an entry before a text
    there = torch.nn.functional.pad(real, (1, 0), value=True)
    values = torch.randint(0, 256, (3, 16, 192), dtype=torch.uint8)
    with torch.no_grad():
        ours = importing.tower(folder, "text").load()
        got = ours.encode(ours.embed(text_look(ahead, there)))
        want = theirs.text_model(input_ids=padded)
        torch.testing.assert_close(got.tokens, want.last_hidden_state, **LIMIT)
        torch.testing.assert_close(got.pooled, want.pooler_output, **LIMIT)
        ours = importing.tower(folder, "image").load()
        got = ours.encode(ours.embed(image_look(values)))
        want = theirs.vision_model(pixel_values=pixels(values, 8, ours.spec))
        torch.testing.assert_close(got.tokens, want.last_hidden_state, **LIMIT)
        torch.testing.assert_close(got.pooled, want.pooler_output, **LIMIT)


def test_a_tower_without_its_head_is_refused(tmp_path, empty_cache):
    folder = saved.edit(saved.siglip(tmp_path / "s"), vision_config__vision_use_head=False)
    with pytest.raises(UserError) as caught:
        importing.tower(folder, "image")
    assert caught.value.field == "vision_config.vision_use_head"


def test_the_whole_model_ranks_alike(tmp_path, empty_cache):
    folder = saved.siglip(tmp_path / "siglip")
    whole = importing.whole(folder)
    assert max(row.absolute for row in whole.check.rows) <= 1e-5
    assert whole.check.rows[-1].layer == "scaled similarity"
    assert not whole.recipe.project
    assert "sigmoid" in whole.recipe.departures[0]
    theirs = transformers.SiglipModel.from_pretrained(folder)
    ours = whole.step.objectives["contrastive"].log_scale
    torch.testing.assert_close(ours, theirs.logit_scale)
