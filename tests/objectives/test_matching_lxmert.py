"""Cross-modality matching as LXMERT asks it: the loss of transformers with equal weights."""

import pytest
import torch
import transformers
from reference import bert_block, copied, norm, randomise, same_gradients
from reference_fusion import copy_lxmert_cross
from small_step import Grid, Words, batch, given, objective
from torch import nn

from sensorium.encoders import transformer, vision_transformer
from sensorium.model import Model
from sensorium.step import Step, views
from sensorium.views import attach, look

LIMIT = dict(atol=1e-5, rtol=0)
SIZE = dict(width=32, heads=4, mlp=3.0, norm="post", eps=1e-12, final_norm=False)


class AsTheyAre(nn.Module):
    """In the place of `LxmertVisualFeatureEncoder`: what comes in is in the model's width."""

    def forward(self, features, boxes):
        return features


def lxmert():
    """`LxmertForPreTraining` of random weights that asks who belongs together, and nothing else."""
    config = transformers.LxmertConfig(
        vocab_size=Words.vocabulary,
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=Words.length,
        l_layers=2,
        r_layers=1,
        x_layers=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        task_mask_lm=False,
        task_obj_predict=False,
        task_qa=False,
    )
    theirs = transformers.LxmertForPreTraining(config)
    randomise(theirs, spread=0.2)
    theirs.lxmert.encoder.visn_fc = AsTheyAre()
    return theirs


def step_like(theirs):
    """Our Step with its weights, but for the patches; and the pairs that were made equal."""
    trunk = theirs.lxmert
    text = transformer.Encoder(
        transformer.Spec(
            **SIZE, depth=2, types=trunk.config.type_vocab_size, embedding_norm=True, pool="first"
        ),
        Words(),
    )
    image = vision_transformer.Encoder(
        vision_transformer.Spec(**SIZE, depth=1, class_token=False, pool="mean"), Grid()
    )
    fusion, pairs = copy_lxmert_cross(trunk.encoder.x_layers, trunk.config, trunk.pooler)
    encoders = {"image": image, "text": text}
    matching = objective(given(fusion, encoders), use="matching", replace="text")
    table = trunk.embeddings
    more = [
        (text.words.weight, [table.word_embeddings.weight], ""),
        *norm(text.embedding_norm, table.LayerNorm),
    ]
    # Their first place and first type get no gradient (`padding_idx=0`), so these are not compared.
    copied([
        (text.positions.weight, [table.position_embeddings.weight], ""),
        (text.types.weight, [table.token_type_embeddings.weight], ""),
    ])  # fmt: skip
    for ours, layers in ((text, trunk.encoder.layer), (image, trunk.encoder.r_layers)):
        for block, layer in zip(ours.stack.blocks, layers, strict=True):
            more += bert_block(block, layer)
    head = theirs.cls.seq_relationship
    with torch.no_grad():  # theirs: class 1 is a match; ours: class 0
        matching.head.weight.copy_(head.weight.flip(0))
        matching.head.bias.copy_(head.bias.flip(0))
    model = Model(encoders, fusion, 16, compared=())
    return Step(model, {"matching": matching}), pairs + copied(more)


@pytest.mark.parametrize("drawn", [0, 1])
def test_it_is_lxmerts_matched_loss(drawn):
    """Right pairs and wrong ones, of pictures with other records' words, in one call of theirs."""
    theirs = lxmert()
    step, pairs = step_like(theirs)
    model, matching = step.model, step.objectives["matching"]
    made = attach(batch(range(6), drawn=drawn), views(step.objectives), {"text": Words()})
    partner = matching.pairing.rows([], made).index["text"]
    assert (partner != torch.arange(6)).all()
    texts = torch.cat([torch.arange(6), partner])
    words, patches = look(matching.seen, made), look(matching.plain[0], made)
    want = theirs(
        input_ids=words.tokens.ids[texts],
        attention_mask=words.tokens.real[texts].float(),
        visual_feats=model.embed(patches).tokens.detach().repeat(2, 1, 1),
        visual_pos=torch.zeros(12, 4, 4),
        matched_label=torch.tensor([1] * 6 + [0] * 6),
    )
    outcome = step(made)
    torch.testing.assert_close(outcome.losses["matching"].mean, want.loss, **LIMIT)
    asked = {what: step.read(node, made) for what, node in matching.needs().items()}
    logits = matching.head(torch.cat([asked["own"], asked["partner"]])).flip(1)
    torch.testing.assert_close(logits, want.cross_relationship_score, **LIMIT)
    assert want.cross_relationship_score.std() > 0.1, "pairs must differ for this to say anything"
    outcome.total.backward()
    want.loss.backward()
    same_gradients([x for x in pairs if x[0].grad is not None])
    # Of the last layer only the words' side is read, by both.
    unread = {id(p) for p in theirs.parameters() if p.grad is None}
    assert all(id(p) in unread for ours, own, _ in pairs if ours.grad is None for p in own)
    for ours, other in (
        (matching.head.weight, theirs.cls.seq_relationship.weight),
        (matching.head.bias, theirs.cls.seq_relationship.bias),
    ):
        torch.testing.assert_close(ours.grad.flip(0), other.grad, **LIMIT)
