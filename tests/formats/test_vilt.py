"""ViLT folders against transformers, with random weights saved by it."""

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

HEADS = {
    "ViltForImageAndTextRetrieval": "matching",
    "ViltForMaskedLM": "words",
    "ViltModel": "joint",
}


@pytest.mark.parametrize("kind", HEADS)
def test_the_whole_model(kind, tmp_path, empty_cache):
    whole = importing.whole(saved.vilt(tmp_path / "vilt", kind))
    layers = [row.layer for row in whole.check.rows]
    assert layers[0] == "image: embeddings"
    assert [x for x in layers if "fusion layer" in x] == [
        f"{name}: fusion layer {at}" for at in range(3) for name in ("text", "image")
    ]
    assert layers[-1] == HEADS[kind]
    assert max(row.absolute for row in whole.check.rows) <= 1e-5
    heads = {"objectives.matching.head.bias", "objectives.matching.head.weight"}
    absent = {"model.absent.image", "model.absent.text"}
    assert set(whole.new) == (absent | heads if kind == "ViltModel" else absent)
    assert whole.recipe.fusion["use"] == "merge_attention"


def test_a_batch_through_the_step_ranks_pairs_as_theirs(tmp_path, empty_cache, monkeypatch):
    """The way that a task takes: nodes, not the comparison's own helpers."""
    folder = saved.vilt(tmp_path / "vilt")
    step = importing.whole(folder).step
    theirs = transformers.ViltForImageAndTextRetrieval.from_pretrained(folder).eval()
    real = torch.arange(9) < torch.tensor([9, 4, 6])[:, None]
    ids = torch.where(real, torch.randint(4, 300, (3, 9)), 0)
    values = torch.randint(0, 256, (3, 16, 192), dtype=torch.uint8)
    there = torch.ones(3, dtype=torch.bool)
    batch = Batch(
        keys=("a", "b", "c"),
        sources=(Source("memory"),) * 3,
        tokens={
            ("text", 0): text_look(ids, real).tokens,
            ("image", 0): image_look(values).tokens,
        },
        present={"text": there, "image": there},
    )
    both = Fuse((Encode(View("text")), Encode(View("image"))))
    with torch.no_grad():
        joint = Forward(step.model, batch)(Read(both, "joint"))
        score = step.objectives["matching"].head(joint)
        spec = step.model.encoders["image"].spec
        want = theirs(
            input_ids=ids, attention_mask=real.long(), pixel_values=pixels(values, 8, spec)
        ).logits
    torch.testing.assert_close(score[:, :1] - score[:, 1:], want, atol=1e-5, rtol=0)


def test_it_has_no_towers(tmp_path, empty_cache):
    with pytest.raises(UserError, match="no tower that stands alone"):
        importing.tower(saved.vilt(tmp_path / "vilt"))


def test_what_ours_lack_is_named(tmp_path, empty_cache):
    folder = saved.edit(saved.vilt(tmp_path / "v"), modality_type_vocab_size=3)
    with pytest.raises(UserError) as caught:
        importing.whole(folder)
    assert caught.value.field == "modality_type_vocab_size"
