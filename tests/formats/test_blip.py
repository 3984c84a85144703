"""BLIP folders against transformers, with random weights saved by it."""

import pytest
import torch
import transformers
from reference import image_look, pixels, text_look

from formats import saved
from sensorium import importing
from sensorium.errors import UserError
from sensorium.nodes import Encode, Fuse, Read
from sensorium.records import Source
from sensorium.step import Forward
from sensorium.tokens import Batch
from sensorium.views import View

LIMIT = dict(atol=1e-5, rtol=0)


def batch(ids, real, values):
    there = torch.ones(len(ids), dtype=torch.bool)
    return Batch(
        keys=tuple(map(str, range(len(ids)))),
        sources=(Source("memory"),) * len(ids),
        tokens={("text", 0): text_look(ids, real).tokens, ("image", 0): image_look(values).tokens},
        present={"text": there, "image": there},
    )


def given():
    draws = torch.Generator().manual_seed(2)
    real = torch.arange(9) < torch.tensor([9, 4, 6])[:, None]
    ids = torch.where(real, torch.randint(4, 300, (3, 9), generator=draws), 0)
    values = torch.randint(0, 256, (3, 16, 192), generator=draws, dtype=torch.uint8)
    return ids, real, values


def test_matching_scores_are_theirs(tmp_path, empty_cache):
    folder = saved.blip(tmp_path / "blip", "BlipForImageTextRetrieval")
    whole = importing.whole(folder)
    assert max(row.absolute for row in whole.check.rows) <= 1e-5
    assert [row.layer for row in whole.check.rows] == [
        "image: states", "text: fusion layer 0", "text: fusion layer 1", "matching"]  # fmt: skip
    assert any("no such pass" in line for line in whole.left_out)
    theirs = transformers.BlipForImageTextRetrieval.from_pretrained(folder).eval()
    ids, real, values = given()
    spec = whole.step.model.encoders["image"].spec
    node = Read(Fuse((Encode(View("image")), Encode(View("text")))), "joint")
    with torch.no_grad():
        joint = Forward(whole.step.model, batch(ids, real, values))(node)
        got = whole.step.objectives["matching"].head(joint)
        want = theirs(
            input_ids=ids, pixel_values=pixels(values, 8, spec), attention_mask=real.long()
        ).itm_score
    torch.testing.assert_close(got[:, 0], want[:, 1], **LIMIT)  # ours: class 0 is a match
    torch.testing.assert_close(got[:, 1], want[:, 0], **LIMIT)


def test_next_words_of_captions_are_theirs(tmp_path, empty_cache):
    folder = saved.blip(tmp_path / "blip", "BlipForConditionalGeneration")
    whole = importing.whole(folder)
    assert whole.recipe.order == {"text": "causal"}
    assert whole.check.rows[-1].layer == "words"
    assert max(row.absolute for row in whole.check.rows) <= 1e-5
    theirs = transformers.BlipForConditionalGeneration.from_pretrained(folder).eval()
    ids, real, values = given()
    spec = whole.step.model.encoders["image"].spec
    parts = (Encode(View("image")), Encode(View("text", order="causal")))
    with torch.no_grad():
        tokens = Forward(whole.step.model, batch(ids, real, values))(Read(Fuse(parts), "tokens", 1))
        got = whole.step.model.logits("text", tokens[real])
        memory = theirs.vision_model(pixel_values=pixels(values, 8, spec)).last_hidden_state
        want = theirs.text_decoder(
            input_ids=ids, attention_mask=real.long(), encoder_hidden_states=memory
        ).logits
    torch.testing.assert_close(got, want[real], **LIMIT)


def test_the_picture_tower_alone(tmp_path, empty_cache):
    folder = saved.blip(tmp_path / "blip", "BlipForImageTextRetrieval")
    imported = importing.tower(folder)
    assert imported.modality == "image"
    assert max(row.absolute for row in imported.check.rows) <= 1e-5


def test_a_blip_for_questions_is_refused(tmp_path, empty_cache):
    folder = saved.blip(tmp_path / "blip", "BlipForQuestionAnswering")
    with pytest.raises(UserError, match="text_encoder and text_decoder"):
        importing.whole(folder)


def test_an_entry_before_captions_of_its_own(tmp_path, empty_cache):
    """[DEC] starts a caption where the tokenizer has it; [CLS] is kept under another name."""
    folder = saved.blip(tmp_path / "blip", "BlipForConditionalGeneration")
    saved.tokenizer(folder, ("[DEC]", "[SEP]"))
    (folder / "tokenizer_config.json").unlink()
    assert importing.whole(folder).reader("text").modality.first == 3
