"""BERT folders against transformers, with random weights saved by it."""

import json

import pytest
import torch
import transformers
from reference import text_look
from safetensors.torch import load_file, save_file

from formats import saved
from sensorium import importing
from sensorium.errors import UserError

LIMIT = dict(atol=1e-5, rtol=0)


def ids():
    draws = torch.Generator().manual_seed(1)
    real = torch.arange(11) < torch.tensor([11, 4, 7])[:, None]
    return torch.where(real, torch.randint(4, 300, (3, 11), generator=draws), 0), real


@pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM", "BertForPreTraining"])
def test_states_and_pooled(kind, tmp_path, empty_cache):
    folder = saved.bert(tmp_path / "bert", kind)
    imported = importing.tower(folder)
    ours, (words, real) = imported.load(), ids()
    theirs = transformers.BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        got = ours.encode(ours.embed(text_look(words, real)))
        want = theirs(input_ids=words, attention_mask=real.long())
    torch.testing.assert_close(got.tokens[real], want.last_hidden_state[real], **LIMIT)
    if kind == "BertForMaskedLM":  # its file has no pooler
        torch.testing.assert_close(got.pooled, want.last_hidden_state[:, 0], **LIMIT)
        assert "no pooler" in imported.notes[0]
    else:
        torch.testing.assert_close(got.pooled, want.pooler_output, **LIMIT)
        assert not imported.notes
    assert len(imported.check.rows) == 4  # embeddings, two blocks, pooled
    assert max(row.absolute for row in imported.check.rows) <= 1e-5
    heads = [line for line in imported.left_out if "heads of pre-training" in line]
    assert bool(heads) == (kind != "BertModel")


def test_a_sentence_model_pools_as_it_says(tmp_path, empty_cache):
    folder = saved.bert(tmp_path / "bert")
    (folder / "1_Pooling").mkdir()
    told = folder / "1_Pooling" / "config.json"
    told.write_text(json.dumps({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}))
    ours, (words, real) = importing.tower(folder).load(), ids()
    theirs = transformers.BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        got = ours.encode(ours.embed(text_look(words, real)))
        want = theirs(input_ids=words, attention_mask=real.long()).last_hidden_state
    weight = real[..., None].float()
    torch.testing.assert_close(got.pooled, (want * weight).sum(1) / weight.sum(1), **LIMIT)
    told.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(UserError, match="pooling_mode_max_tokens"):
        importing.tower(folder)


def test_old_names_of_norms_are_read(tmp_path, empty_cache):
    """The first release's files say gamma and beta."""
    folder = saved.bert(tmp_path / "bert")
    new = importing.tower(folder).load().state_dict()
    weights = load_file(folder / "model.safetensors")
    old = {
        k.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): v
        for k, v in weights.items()
    }
    assert old.keys() != weights.keys()
    save_file(old, folder / "model.safetensors", {"format": "pt"})
    again = importing.tower(folder)
    assert all(torch.equal(value, new[name]) for name, value in again.load().state_dict().items())


@pytest.mark.parametrize(
    ("key", "value"),
    [("is_decoder", True), ("add_cross_attention", True), ("position_embedding_type", "relative")],
)
def test_what_our_transformer_lacks_is_named(key, value, tmp_path, empty_cache):
    folder = saved.edit(saved.bert(tmp_path / "bert"), **{key: value})
    with pytest.raises(UserError) as caught:
        importing.tower(folder)
    assert caught.value.field == key
    assert caught.value.found == repr(value)


def test_texts_are_cut_by_its_own_tokenizer(tmp_path, empty_cache):
    folder = saved.bert(tmp_path / "bert")
    reader = importing.tower(folder).reader()
    tokens = reader.batch(["W5 w17 zebra", "w9"])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    words = fast("W5 w17 zebra", add_special_tokens=False)["input_ids"]
    assert words == [5, 17, 1]
    assert tokens.ids[0].tolist() == [3, *words, saved.WORDS - 1]
    assert tokens.ids[1][:3].tolist() == [3, 9, saved.WORDS - 1]
