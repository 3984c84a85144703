"""Masked tokens against BERT's loss and gradients, slow loops, closed forms, and who sees whom."""

import dataclasses
import math
from dataclasses import replace

import pytest
import torch
import transformers
from reference import copied, copy_bert, linear, norm, randomise, same_gradients
from small_step import PLAIN, Words, batch, small
from torch.nn import functional as F

from sensorium import recipe
from sensorium.errors import RecipeError
from sensorium.fusion import none
from sensorium.model import Model
from sensorium.nodes import Given
from sensorium.objectives.masked_tokens import Objective, softened
from sensorium.step import Forward, Step, plan, views
from sensorium.views import attach, look

HALF = [{"use": "hide", "rate": 0.5}]
OFFERED = Given(PLAIN, meets=True, joint=8, entries={"text": 40}, teacher=True)


def told(offered=OFFERED, **options):
    _, spec = recipe.member("objectives", "", {"use": "masked_tokens"} | options)
    return Objective(spec, offered)


def test_equals_berts_masked_language_model():
    """`BertForMaskedLM`: mean loss over the hidden words, and the gradient of every parameter."""
    config = transformers.BertConfig(
        vocab_size=Words.vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=Words.length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    theirs = transformers.BertForMaskedLM(config)
    randomise(theirs, spread=0.2)
    text, pairs = copy_bert(theirs.bert)
    objective = told(Given({"text": PLAIN["text"]}, entries={"text": 40}), edits=HALF)
    fusion = none.Fusion(none.Spec(), {"text": 32})
    model = Model({"text": text}, fusion, 16, compared=(), told={"text": {}})
    head, their_head = model.vocabularies["text"], theirs.cls.predictions
    pairs += copied([
        *linear(head.transform, their_head.transform.dense),
        *norm(head.norm, their_head.transform.LayerNorm),
        (head.bias, [their_head.decoder.bias], ""),
    ])  # fmt: skip
    step = Step(model, {"masked": objective})
    made = batch(range(6), step)
    seen = look(objective.view, made)
    labels = torch.full_like(seen.tokens.ids, -100)
    labels.view(-1)[seen.places] = seen.truth
    want = theirs(seen.tokens.ids, attention_mask=seen.tokens.real.long(), labels=labels).loss
    found = step(made).total
    torch.testing.assert_close(found, want, atol=1e-5, rtol=0)
    found.backward()
    want.backward()
    same_gradients([pair for pair in pairs if pair[0].grad is not None])
    assert sum(pair[0].grad is None for pair in pairs) == 0


def test_loss_equals_a_slow_loop():
    objective = told(edits=HALF)
    made = attach(batch(range(5)), [objective.view], {"text": Words()})
    seen = look(objective.view, made)
    k = len(seen.truth)
    assert 3 < k < 20
    logits = torch.randn(k, 40, generator=torch.Generator().manual_seed(0))
    total = 0.0
    for row, word in zip(logits.double().tolist(), seen.truth.tolist(), strict=True):
        total -= row[word] - math.log(sum(math.exp(x) for x in row))
    loss = objective.score({"logits": logits}, made)
    assert loss.sum.item() == pytest.approx(total, rel=1e-6)
    assert loss.count.item() == objective.count(made).item() == k
    assert loss.mean.item() == pytest.approx(total / k, rel=1e-6)
    assert loss.parts["right"].item() == sum(
        max(range(40), key=row.__getitem__) == word
        for row, word in zip(logits.tolist(), seen.truth.tolist(), strict=True)
    )


@pytest.mark.parametrize("soft", [0.0, 0.4])
def test_zero_logits_give_ln_v_whatever_the_teacher_says(soft):
    objective = told(edits=HALF, soft=soft)
    made = attach(batch(range(5)), [objective.view], {"text": Words()})
    k = len(look(objective.view, made).truth)
    got = {"logits": torch.zeros(k, 40), "soft": torch.randn(k, 40)}
    loss = objective.score(got if soft else {"logits": got["logits"]}, made)
    assert loss.mean.item() == pytest.approx(math.log(40), rel=1e-6)
    assert loss.chance.item() == pytest.approx(math.log(40), rel=1e-6)


# --- momentum distillation ----------------------------------------------------------------------


def albef(logits, truth, teacher, alpha):
    """salesforce/ALBEF models/xbert.py, BertForMaskedLM.forward, per place and then summed."""
    hard = F.cross_entropy(logits, truth, reduction="none")
    soft = -torch.sum(F.log_softmax(logits, dim=-1) * F.softmax(teacher, dim=-1), dim=-1)
    return ((1 - alpha) * hard + alpha * soft).sum()


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_distillation_is_albefs_with_its_gradient(share):
    rng = torch.Generator().manual_seed(2)
    ours = (torch.randn(7, 11, generator=rng) * 3).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    teacher = torch.randn(7, 11, generator=rng) * 3
    truth = torch.randint(0, 11, (7,), generator=rng)
    found, want = softened(ours, truth, teacher, share), albef(theirs, truth, teacher, share)
    torch.testing.assert_close(found, want)
    found.backward()
    want.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-5)


def test_distillation_gradient_is_student_minus_mixed_target():
    """The closed form: softmax(student) - (1 - a) truth - a softmax(teacher)."""
    rng = torch.Generator().manual_seed(3)
    logits = torch.randn(5, 6, generator=rng, dtype=torch.float64).float().requires_grad_()
    teacher, truth = torch.randn(5, 6, generator=rng), torch.tensor([0, 5, 2, 2, 1])
    softened(logits, truth, teacher, 0.3).backward()
    target = 0.7 * F.one_hot(truth, 6) + 0.3 * teacher.softmax(1)
    torch.testing.assert_close(logits.grad, logits.detach().softmax(1) - target, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("ramp", "progress", "share"),
    [(0.0, 0.0, 0.4), (0.2, 0.0, 0.0), (0.2, 0.1, 0.2), (0.2, 0.2, 0.4), (0.2, 0.9, 0.4)],
)
def test_the_teachers_share_grows_over_the_ramp(ramp, progress, share):
    objective = told(edits=HALF, soft=0.4, ramp=ramp)
    made = attach(batch(range(5), progress=progress), [objective.view], {"text": Words()})
    assert objective.share(made) == pytest.approx(share)
    rng = torch.Generator().manual_seed(0)
    truth = look(objective.view, made).truth
    logits, teacher = (torch.randn(len(truth), 40, generator=rng) for _ in range(2))
    loss = objective.score({"logits": logits, "soft": teacher}, made)
    torch.testing.assert_close(loss.sum, albef(logits, truth, teacher, share))


def test_a_teacher_is_asked_only_where_its_answer_counts():
    assert {node.who for node in plan({"x": told()})} == {"student"}
    step = small({"use": "masked_tokens", "edits": HALF, "soft": 0.4})
    assert {node.who for node in plan(step.objectives)} == {"student", "teacher"}
    step(batch(range(8), step)).total.backward()
    assert all(p.grad is None for p in step.teacher.parameters())


# --- who sees whom ------------------------------------------------------------------------------


def test_sequence_to_sequence():
    """Causal at rank 1: words see the picture and words before, the picture sees no word."""
    step = small({"use": "masked_tokens", "edits": HALF, "order": "causal", "rank": 1})
    view = step.objectives["0"].view
    fused = step.objectives["0"].needs()["logits"].of
    made = batch(range(6), step)

    def states(made):
        with torch.no_grad():
            return [state.tokens for state in Forward(step.model, made)(fused)]

    image, text = states(made)
    # Another last word.
    seen = made.looks[view]
    last = seen.tokens.real.sum(1) - 1
    ids = seen.tokens.ids.clone()
    ids[torch.arange(6), last] = 39
    looks = {view: replace(seen, tokens=replace(seen.tokens, ids=ids))}
    other_image, other_text = states(replace(made, looks=looks))
    assert torch.equal(image, other_image)
    for row in range(6):
        at = int(last[row])
        assert torch.equal(text[row, :at], other_text[row, :at])
        assert not torch.allclose(text[row, at], other_text[row, at], atol=1e-3)
    # Other words everywhere, the first too.
    looks = {view: replace(seen, tokens=replace(seen.tokens, ids=(seen.tokens.ids + 1) % 40))}
    assert torch.equal(image, states(replace(made, looks=looks))[0])
    # Another picture.
    pictures = made.tokens["image", 0]
    turned = replace(pictures, values=255 - pictures.values)
    _, other_text = states(replace(made, tokens=made.tokens | {("image", 0): turned}))
    assert not torch.allclose(text[:, 0], other_text[:, 0], atol=1e-3)


def test_only_words_are_hidden_and_the_picture_helps():
    step = small({"use": "masked_tokens", "edits": HALF})
    looked = views(step.objectives)
    assert [view.modality for view in looked if view.edits] == ["text"]
    assert next(view for view in looked if view.modality == "image") == PLAIN["image"]
    made = batch(range(8), step)
    pictures = made.tokens["image", 0]
    other = replace(
        made,
        tokens=made.tokens | {("image", 0): replace(pictures, values=255 - pictures.values)},
    )
    assert (step(made).total - step(other).total).abs() > 1e-2


def test_without_a_picture_words_still_count_and_without_text_none_do():
    step = small({"use": "masked_tokens", "edits": HALF})
    everybody = step.objectives["0"].count(batch(range(8), step)).item()
    no_picture = batch(range(8), step, lacking={"image": range(8)})
    assert step.objectives["0"].count(no_picture).item() == everybody
    no_text = batch(range(8), step, lacking={"text": (0, 1, 2)})
    seen = no_text.looks[step.objectives["0"].view]
    assert set(seen.owner.tolist()) <= {3, 4, 5, 6, 7}
    assert step.objectives["0"].count(no_text).item() == len(seen.truth) < everybody
    apart = step(batch(range(3, 8), step)).losses["0"].sum
    torch.testing.assert_close(step(no_text).losses["0"].sum, apart, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"), [({"of": "image"}, "masked_tokens.of"), ({"edits": []}, "hides words")]
)
def test_mistakes_are_named(options, said):
    with pytest.raises(RecipeError, match=said):
        told(**options)


def test_soft_targets_need_a_teacher():
    offered = dataclasses.replace(OFFERED, teacher=False)
    with pytest.raises(RecipeError, match="the recipe has none"):
        told(offered, edits=HALF, soft=0.4)
    assert told(offered, edits=HALF)
