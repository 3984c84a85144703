"""VisualBERT folders against transformers, with random weights saved by it."""

import pytest
import torch
from safetensors.torch import load_file

from formats import saved
from sensorium import importing
from sensorium.errors import UserError


@pytest.mark.parametrize("kind", ["VisualBertForPreTraining", "VisualBertModel"])
def test_the_trunk_and_both_heads(kind, tmp_path, empty_cache):
    folder = saved.visual_bert(tmp_path / "vb", kind)
    whole = importing.whole(folder)
    layers = [row.layer for row in whole.check.rows]
    assert layers[:4] == [
        f"{name}: fusion layer {at}" for at in range(2) for name in ("text", "image")
    ]
    headed = kind == "VisualBertForPreTraining"
    assert layers[4:] == (["joint", "matching", "words"] if headed else ["joint"])
    assert max(row.absolute for row in whole.check.rows) <= 1e-5
    assert {"model.encoders.image.patch.bias", "model.encoders.image.patch.weight"} < set(whole.new)
    assert ("objectives.matching.head.bias" in whole.new) == (not headed)
    assert "regions" in whole.notes[0]
    assert any("visual_projection" in line for line in whole.left_out)


def test_types_and_places_are_the_rows_that_the_model_uses(tmp_path, empty_cache):
    folder = saved.visual_bert(tmp_path / "vb", "VisualBertModel")
    state, theirs = (
        importing.whole(folder).step.state_dict(),
        load_file(folder / "model.safetensors"),
    )
    table = theirs["embeddings.visual_position_embeddings.weight"]
    places = state["model.encoders.image.positions.weight"]
    assert torch.equal(places, table[:1].expand(100, -1))
    types = state["model.fusion.types.weight"]
    assert torch.equal(types[0], theirs["embeddings.token_type_embeddings.weight"][0])
    assert torch.equal(types[1], theirs["embeddings.visual_token_type_embeddings.weight"][1])


def test_what_ours_lack_is_named(tmp_path, empty_cache):
    folder = saved.visual_bert(tmp_path / "vb", "VisualBertModel")
    with pytest.raises(UserError) as caught:
        importing.whole(saved.edit(folder, bypass_transformer=True))
    assert caught.value.field == "bypass_transformer"
