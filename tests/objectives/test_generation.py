"""Generation against BERT's and GPT-2's language models, slow loops, and what may not leak."""

import math
from dataclasses import replace

import pytest
import torch
import transformers
from reference import copied, copy_bert, linear, norm, randomise, same_gradients
from reference_fusion import copy_gpt2
from small_step import PLAIN, Words, batch, small
from torch.nn import functional as F

from sensorium.errors import RecipeError
from sensorium.fusion import none
from sensorium.model import Model
from sensorium.nodes import Encode, Given, Read
from sensorium.objectives.generation import Objective, Spec
from sensorium.step import Forward, Step, plan
from sensorium.views import View, attach, look

OFFERED = Given(PLAIN, meets=True, joint=8, entries={"text": 40})
ALONE = Given({"text": PLAIN["text"]}, entries={"text": 40})
SIZES = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def of_text(encoder, told):
    """A Step of a text encoder alone, which says next words."""
    fusion = none.Fusion(none.Spec(), {"text": encoder.width})
    model = Model({"text": encoder}, fusion, 16, compared=(), told={"text": told})
    return Step(model, {"written": Objective(Spec(), ALONE)})


def labelled(made):
    """ids and labels as transformers wants them: it shifts by itself, -100 is left out."""
    tokens = made.tokens["text", 0]
    return tokens.ids, tokens.real.long(), tokens.ids.masked_fill(~tokens.real, -100)


def test_equals_bert_as_a_decoder():
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=Words.length, is_decoder=True, **SIZES,
    )  # fmt: skip
    theirs = transformers.BertLMHeadModel(config)
    randomise(theirs, spread=0.2)
    text, pairs = copy_bert(theirs.bert)
    step = of_text(text, {})
    head, their_head = step.model.vocabularies["text"], theirs.cls.predictions
    pairs += copied([
        *linear(head.transform, their_head.transform.dense),
        *norm(head.norm, their_head.transform.LayerNorm),
        (head.bias, [their_head.decoder.bias], ""),
    ])  # fmt: skip
    compare(step, theirs, pairs)


def test_equals_gpt2():
    config = transformers.GPT2Config(
        vocab_size=40, n_positions=Words.length, n_embd=32, n_layer=2, n_head=4,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    theirs = transformers.GPT2LMHeadModel(config)
    randomise(theirs, spread=0.2)
    text, pairs = copy_gpt2(theirs.transformer)
    compare(of_text(text, {"transform": False}), theirs, pairs)


def compare(step, theirs, pairs):
    made = batch(range(6), step)
    ids, real, labels = labelled(made)
    want = theirs(ids, attention_mask=real, labels=labels).loss
    found = step(made).total
    torch.testing.assert_close(found, want, atol=1e-5, rtol=0)
    assert abs(found.item() - math.log(40)) > 0.05
    found.backward()
    want.backward()
    same_gradients(pairs)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_equals_a_slow_loop(smoothing):
    told = Objective(Spec(smoothing=smoothing), OFFERED)
    made = batch(range(4))
    tokens = made.tokens["text", 0]
    states = torch.randn(*tokens.ids.shape, 40, generator=torch.Generator().manual_seed(0))
    total, count = 0.0, 0
    for row in range(4):
        words = tokens.ids[row][tokens.real[row]].tolist()
        for at, following in enumerate(words[1:]):
            logits = states[row, at].double().tolist()
            norm = math.log(sum(math.exp(x) for x in logits))
            for word in range(40):
                wanted = (1 - smoothing) * (word == following) + smoothing / 40
                total -= wanted * (logits[word] - norm)
            count += 1
    logits = states.flatten(0, 1)[look(told.view, made).places]
    loss = told.score({"logits": logits}, made)
    assert loss.sum.item() == pytest.approx(total, rel=1e-5)
    assert loss.count.item() == told.count(made).item() == count
    zero = told.score({"logits": torch.zeros_like(logits)}, made)
    assert zero.mean.item() == pytest.approx(math.log(40), rel=1e-5)
    assert zero.chance.item() == pytest.approx(math.log(40), rel=1e-6)


def test_a_prefix_is_not_asked_for():
    """Prefixes of 1, 2, ...: what follows them is asked for, the end of the text included."""
    told = Objective(Spec(order="prefix"), OFFERED)
    made = attach(batch(range(30)), [told.view], {"text": Words()})
    seen = made.looks[told.view]
    lengths = set()
    for row in range(30):
        places = (seen.places[seen.owner == row] % seen.tokens.real.shape[1]).tolist()
        shown = int((seen.order[row] == 0).sum())
        last = int(seen.tokens.real[row].sum()) - 1
        assert places == list(range(shown - 1, last))
        lengths.add(shown)
    assert len(lengths) > 2
    assert told.count(made).item() == len(seen.places)


# --- what may not leak --------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("order", ["causal", "prefix"])
@pytest.mark.parametrize("fusion", ["merge_attention", "cross_attention", "co_attention"])
def test_a_word_changes_no_prediction_before_it(fusion, order, rank):
    """Nor by way of the picture. In a prefix, words are seen but not asked for."""
    step = small({"use": "generation", "order": order, "rank": rank}, fusion=fusion)
    told = step.objectives["0"]
    made = batch(range(5), step)
    node = told.needs()["logits"]
    seen = made.looks[told.view]
    t = seen.tokens.real.shape[1]

    def logits(looks):
        with torch.no_grad():
            return Forward(step.model, replace(made, looks=looks))(node)

    before = logits(made.looks)
    for at in range(2, 5):
        ids = seen.tokens.ids.clone()
        ids[:, at] = torch.where(seen.tokens.real[:, at], 43 - ids[:, at].clamp(min=4), ids[:, at])
        other = replace(seen, tokens=replace(seen.tokens, ids=ids))
        after = logits({told.view: other})
        asked = seen.order.flatten()[seen.places + 1] > rank * 2**20  # not a word of a prefix
        earlier = (seen.places % t < at) & asked
        own_prefix = seen.order[seen.owner, at] <= seen.order.flatten()[seen.places]
        judged = earlier & ~own_prefix
        assert judged.any()
        torch.testing.assert_close(after[judged], before[judged], atol=1e-6, rtol=0)
    assert not torch.allclose(after, before, atol=1e-4)


def test_at_rank_1_the_picture_sees_no_word():
    first_word = {}
    for rank in (0, 1):
        step = small({"use": "generation", "rank": rank})
        node = step.objectives["0"].needs()["logits"].of
        states = []
        for first in (1, 30):
            made = batch(range(4))
            tokens = made.tokens["text", 0]
            ids = tokens.ids.clone()
            ids[:, 0] = first
            made = replace(made, tokens=made.tokens | {("text", 0): replace(tokens, ids=ids)})
            with torch.no_grad():
                states.append(Forward(step.model, made)(node)[0].tokens)
        first_word[rank] = not torch.allclose(*states, atol=1e-4)
    assert first_word == {0: True, 1: False}


def test_a_causal_recipe_encodes_its_text_once():
    """CoCa: contrast and captions read one causal encode of the text."""
    causal = replace(OFFERED, views={"image": View("image"), "text": View("text", order="causal")})
    told = Objective(Spec(), causal)
    assert told.view == causal.views["text"]
    vector = {"vector": Read(Encode(causal.views["text"]))}
    contrast = type("Contrast", (), {"needs": lambda self: vector})()
    nodes = plan({"contrast": contrast, "captions": told})
    texts = [x for x in nodes if isinstance(x, Encode) and x.view.modality == "text"]
    assert len(texts) == 1
    # Where the recipe's text is whole, words must be encoded again, causally.
    nodes = plan({"contrast": contrast, "captions": Objective(Spec(rank=1), causal)})
    assert len([x for x in nodes if isinstance(x, Encode) and x.view.modality == "text"]) == 2


def test_without_a_meeting_it_is_gpt():
    told = Objective(Spec(), replace(OFFERED, meets=False))
    assert told.needs() == {"logits": Read(Encode(View("text", order="causal")), "logits")}


def test_the_picture_helps():
    step = small({"use": "generation"})
    made = batch(range(8), step)
    pictures = made.tokens["image", 0]
    turned = replace(pictures, values=255 - pictures.values)
    other = replace(made, tokens=made.tokens | {("image", 0): turned})
    assert (step(made).total - step(other).total).abs() > 1e-2


def test_a_modality_without_words_is_refused():
    with pytest.raises(RecipeError, match=r"generation\.of"):
        Objective(Spec(of="image"), OFFERED)


def test_smoothing_is_torchs():
    told = Objective(Spec(smoothing=0.2), OFFERED)
    made = batch(range(4))
    truth = look(told.view, made).truth
    logits = torch.randn(len(truth), 40)
    want = F.cross_entropy(logits, truth, label_smoothing=0.2)
    torch.testing.assert_close(told.score({"logits": logits}, made).mean, want)
