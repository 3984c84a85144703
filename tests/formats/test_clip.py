"""CLIP folders against transformers, with random weights saved by it."""

import numpy as np
import pytest
import torch
import transformers
from reference import image_look, pixels, text_look

from formats import saved
from sensorium import importing
from sensorium.errors import UserError
from sensorium.modalities.image import patchify
from sensorium.prepare import Column

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


def test_the_whole_model_is_a_recipe_of_ours(tmp_path, empty_cache):
    folder = saved.clip(tmp_path / "clip")
    theirs = transformers.CLIPModel.from_pretrained(folder).eval()
    whole = importing.whole(folder)
    assert whole.recipe.fusion == {"use": "none"}
    assert whole.recipe.order == {"text": "causal"}
    assert not whole.new
    assert not whole.left_out
    assert max(row.absolute for row in whole.check.rows) <= 1e-5
    layers = [row.layer for row in whole.check.rows]
    assert layers[0] == "image: embeddings"
    assert layers[-3:] == ["image: vector", "text: vector", "scaled similarity"]
    draws = torch.Generator().manual_seed(3)
    pictures = torch.randint(0, 256, (4, 32, 32, 3), generator=draws, dtype=torch.uint8).numpy()
    places = [[at] for at in range(4)]
    texts = ["w5 w6", "w9", "w200 w17 w4 w8", "w5"]
    vectors = {
        name: whole.embed(name, Column(name, items, places, np.arange(4), False))
        for name, items in (("image", pictures), ("text", texts))
    }
    ids = whole.reader("text").modality.batch(texts).ids
    ids = torch.where(whole.reader("text").modality.batch(texts).real, ids, saved.WORDS - 1)
    spec = whole.step.model.encoders["image"].spec
    values = torch.stack([torch.from_numpy(patchify(x, 8)) for x in pictures])
    with torch.no_grad():
        out = theirs(input_ids=ids, pixel_values=pixels(values, 8, spec))
    torch.testing.assert_close(torch.from_numpy(vectors["text"]), out.text_embeds, **LIMIT)
    torch.testing.assert_close(torch.from_numpy(vectors["image"]), out.image_embeds, **LIMIT)
    scale = whole.step.objectives["contrastive"].log_scale
    torch.testing.assert_close(scale, theirs.logit_scale[None])
    again = importing.whole(folder)  # as it is kept
    assert again.recipe == whole.recipe
    assert again.check == whole.check


def test_a_tower_is_no_whole_model(tmp_path, empty_cache):
    config = saved.clip_config().vision_config
    folder = saved.save(transformers.CLIPVisionModel(config), tmp_path / "v")
    with pytest.raises(UserError, match="one tower, not a whole model"):
        importing.whole(folder)
