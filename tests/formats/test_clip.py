"""CLIP folders against transformers, with random weights saved by it."""

import pytest
import torch
import transformers
from reference import image_look, pixels, text_look

from formats import saved
from sensorium import importing
from sensorium.errors import UserError

LIMIT = dict(atol=1e-5, rtol=0)


def words():
    draws = torch.Generator().manual_seed(1)
    drawn = torch.randint(4, 300, (3, 9), generator=draws)
    drawn[0, 8] = drawn[1, 3:] = drawn[2, 6:] = saved.WORDS - 1
    real = torch.arange(9) <= torch.tensor([8, 3, 6])[:, None]
    return drawn, real


@pytest.mark.parametrize("alone", [False, True])
def test_both_towers(alone, tmp_path, empty_cache):
    """Out of the whole model, and from folders of one tower."""
    config = saved.clip_config()
    ends = ("<|startoftext|>", "<|endoftext|>")
    if alone:
        text = transformers.CLIPTextModelWithProjection(config.text_config)
        image = transformers.CLIPVisionModel(config.vision_config)
        folders = [saved.save(text, tmp_path / "t", ends), saved.save(image, tmp_path / "v")]
        theirs = [transformers.CLIPTextModel.from_pretrained(folders[0]).eval(), image.eval()]
    else:
        folders = [saved.clip(tmp_path / "clip")] * 2
        whole = transformers.CLIPModel.from_pretrained(folders[0]).eval()
        theirs = [whole.text_model, whole.vision_model]
    text, image = (importing.tower(f, m) for f, m in zip(folders, ("text", "image"), strict=True))
    assert (text.order, image.order) == ("causal", "full")
    ids, real = words()
    values = torch.randint(0, 256, (3, 16, 192), dtype=torch.uint8)
    with torch.no_grad():
        ours = text.load()
        got = ours.encode(ours.embed(text_look(ids, real, "causal")))
        want = theirs[0](input_ids=ids)
        torch.testing.assert_close(got.pooled, want.pooler_output, **LIMIT)
        torch.testing.assert_close(got.tokens[real], want.last_hidden_state[real], **LIMIT)
        ours = image.load()
        got = ours.encode(ours.embed(image_look(values)))
        want = theirs[1](pixel_values=pixels(values, 8, ours.spec)).pooler_output
        torch.testing.assert_close(got.pooled, want, **LIMIT)
    for tower in (text, image):
        assert max(row.absolute for row in tower.check.rows) <= 1e-5


def test_texts_of_the_model_keep_their_ids(tmp_path, empty_cache):
    reader = importing.tower(saved.clip(tmp_path / "clip"), "text").reader()
    tokens = reader.batch(["w5 <|endoftext|> w6"])
    # The entry's name inside a text is text: unknown words, never the end.
    assert tokens.ids[0, 0] == 3
    assert tokens.ids[0, -1] == saved.WORDS - 1
    assert (tokens.ids[0, 1:-1] != saved.WORDS - 1).all()


def test_a_tower_of_both_must_be_named(tmp_path, empty_cache):
    folder = saved.clip(tmp_path / "clip")
    with pytest.raises(UserError, match="one of them to be named"):
        importing.tower(folder)
    with pytest.raises(UserError, match="'audio'"):
        importing.tower(folder, "audio")


def test_heads_that_do_not_divide_the_width_are_named(tmp_path, empty_cache):
    folder = saved.edit(saved.clip(tmp_path / "c"), text_config__num_attention_heads=5)
    with pytest.raises(UserError) as caught:
        importing.tower(folder, "text")
    assert caught.value.field == "text_config.num_attention_heads"
    assert "24" in caught.value.expected
