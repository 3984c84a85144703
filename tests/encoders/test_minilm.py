"""The MiniLM tower against transformers' BertModel built from the same weights."""

import pytest
import torch
import transformers
from reference import pairs_bert, text_look

from sensorium import towers
from sensorium.encoders import minilm as tower
from sensorium.errors import RecipeError
from sensorium.modalities import text

SENTENCES = [
    "A red boat on calm water.",
    "boat",
    "Two cats are sleeping on a sofa " * 4,
    "¿Qué? 漢字",
]


@pytest.fixture(scope="module")
def modality() -> text.Modality:
    return text.Modality(text.Spec(tokenizer="minilm", length=48))


def bert(encoder: tower.Encoder) -> transformers.BertModel:
    """BertModel with an encoder's weights."""
    config = transformers.BertConfig(
        vocab_size=30522,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        type_vocab_size=2,
    )
    with torch.device("meta"):
        model = transformers.BertModel(config, add_pooling_layer=False)
    model = model.to_empty(device="cpu").eval()
    model.embeddings.position_ids = torch.arange(512)[None]
    model.embeddings.token_type_ids = torch.zeros(1, 512, dtype=torch.int64)
    with torch.no_grad():
        for ours, theirs, _ in pairs_bert(encoder, model):
            for parameter, part in zip(theirs, ours.chunk(len(theirs)), strict=True):
                parameter.copy_(part)
    return model


@pytest.fixture(scope="module")
def pair(modality) -> tuple[tower.Encoder, transformers.BertModel]:
    """The tower and BertModel with its weights."""
    if not towers.available("minilm"):
        pytest.skip("tower minilm is not in the cache: sensorium cache fetch")
    ours = towers.load("minilm", modality)
    return ours, bert(ours)


@pytest.mark.towers
def test_states_and_sentences_are_those_of_bert(pair, modality):
    ours, theirs = pair
    tokens = modality.batch(SENTENCES)
    look = text_look(tokens.ids, tokens.real)
    with torch.inference_mode():
        got = ours.encode(ours.embed(look))
        want = theirs(input_ids=tokens.ids, attention_mask=tokens.real.long())[0]
    torch.testing.assert_close(got.tokens[tokens.real], want[tokens.real], atol=1e-5, rtol=0)
    real = tokens.real[..., None].float()
    mean = torch.nn.functional.normalize((want * real).sum(1) / real.sum(1), dim=-1)
    torch.testing.assert_close(got.pooled, mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(got.pooled.norm(dim=-1), torch.ones(4))


@pytest.mark.towers
def test_weights_are_read_by_their_own_names(pair):
    """`convert` against the pairs that `reference.pairs_bert` makes by attribute."""
    ours, theirs = pair
    again = tower.convert(dict(theirs.state_dict()))
    assert again.keys() == ours.state_dict().keys()
    assert all(torch.equal(again[name], value) for name, value in ours.state_dict().items())


@pytest.mark.towers
def test_a_paraphrase_is_nearer_than_another_sentence(pair, modality):
    ours, _ = pair
    tokens = modality.batch(["A man is playing a guitar.", "Someone plays guitar.", "A red boat."])
    with torch.inference_mode():
        a, b, c = ours.encode(ours.embed(text_look(tokens.ids, tokens.real))).pooled
    assert a @ b > 0.7 > 0.3 > a @ c


def test_another_vocabulary_is_refused():
    with pytest.raises(RecipeError, match="a vocabulary of 8000, 32 tokens"):
        tower.Encoder(tower.Spec(), text.Modality(text.Spec()))
