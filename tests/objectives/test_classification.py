"""Classification against ViT's and BERT's classifiers, slow loops, and what no skill can do."""

import math
from dataclasses import replace

import pytest
import torch
import transformers
from reference import copied, copy_bert, copy_vit, linear, pixels, randomise, same_gradients
from small_step import KINDS, PLAIN, Words, batch, small
from torch.nn import functional as F

from sensorium.errors import RecipeError
from sensorium.fusion import none
from sensorium.model import Model
from sensorium.nodes import Fuse, Given
from sensorium.objectives.classification import Objective, Spec
from sensorium.step import Step

OFFERED = Given(
    PLAIN, meets=True, joint=8, widths={"image": 6, "text": 8}, classes={"label": KINDS}
)


def labelled(made, labels):
    return replace(made, targets={"label": torch.tensor(labels)})


def alone(name, encoder):
    """A Step that tells the class from one modality."""
    offered = Given({name: PLAIN[name]}, widths={name: encoder.width}, classes={"label": KINDS})
    told = Objective(Spec(), offered)
    fusion = none.Fusion(none.Spec(), {name: encoder.width})
    return Step(Model({name: encoder}, fusion, 16, compared=()), {"told": told}), told


def compare(step, told, theirs, pairs, made, **inputs):
    pairs += copied(linear(told.head, theirs.classifier))
    want = theirs(**inputs, labels=made.targets["label"]).loss
    found = step(made).total
    torch.testing.assert_close(found, want, atol=1e-5, rtol=0)
    found.backward()
    want.backward()
    same_gradients(pairs)


def test_equals_vits_classifier():
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        image_size=4, patch_size=2, num_labels=KINDS,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    theirs = transformers.ViTForImageClassification(config)
    randomise(theirs, spread=0.2)
    image, pairs = copy_vit(theirs.vit)
    step, told = alone("image", image)
    made = batch(range(6))
    values = pixels(made.tokens["image", 0].values, 2, image.spec)
    compare(step, told, theirs, pairs, made, pixel_values=values)


def test_equals_berts_classifier():
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=Words.length, num_labels=KINDS,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    theirs = transformers.BertForSequenceClassification(config)
    randomise(theirs, spread=0.2)
    text, pairs = copy_bert(theirs.bert)
    step, told = alone("text", text)
    made = batch(range(6))
    tokens = made.tokens["text", 0]
    compare(
        step, told, theirs, pairs, made,
        input_ids=tokens.ids, attention_mask=tokens.real.long(),
    )  # fmt: skip


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_equals_a_slow_loop(smoothing):
    told = Objective(Spec(smoothing=smoothing), OFFERED)
    made = labelled(batch(range(6), lacking={"text": (2,), "image": (2, 3)}), [1, -1, 4, 4, 7, 0])
    states = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    rows = states.double() @ told.head.weight.detach().double().T
    total = 0.0
    for row, label in ((0, 1), (3, 4), (4, 7), (5, 0)):  # 1 has no class, 2 has nothing
        logits = rows[row].tolist()
        norm = math.log(sum(math.exp(x) for x in logits))
        for at in range(KINDS):
            wanted = (1 - smoothing) * (at == label) + smoothing / KINDS
            total -= wanted * (logits[at] - norm)
    loss = told.score({"joint": states}, made)
    assert loss.sum.item() == pytest.approx(total, rel=1e-5)
    assert loss.count.item() == told.count(made).item() == 4


def test_zero_logits_give_ln_k_which_is_chance_before_anything_was_seen():
    told = Objective(Spec(), OFFERED)
    torch.nn.init.zeros_(told.head.weight)
    loss = told.score({"joint": torch.randn(9, 8)}, labelled(batch(range(9)), [3] * 9))
    assert loss.mean.item() == pytest.approx(math.log(KINDS), rel=1e-6)
    assert loss.chance.item() == pytest.approx(math.log(KINDS), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_chance_becomes_what_the_best_constant_gives(smoothing):
    """After training has seen many batches of uneven classes; no class, no count."""
    told = Objective(Spec(smoothing=smoothing), OFFERED)
    labels = [0] * 5 + [1] * 3 + [2] + [-1] * 3
    made = labelled(batch(range(12)), labels)
    for _ in range(5000):
        told.after({}, made)
    assert told.seen.tolist() == [1 + 5 * 5000, 1 + 3 * 5000, 5001, 1, 1, 1, 1, 1]
    shares = torch.tensor([5, 3, 1, 0, 0, 0, 0, 0]) / 9
    wanted = (1 - smoothing) * shares + smoothing / KINDS
    entropy = torch.special.entr(wanted).sum()
    loss = told.score({"joint": torch.zeros(12, 8)}, made)
    torch.testing.assert_close(loss.chance, entropy, atol=2e-3, rtol=0)
    # No constant does better.
    constant = torch.zeros(8, requires_grad=True)
    search = torch.optim.LBFGS([constant], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        search.zero_grad()
        truth = torch.tensor(labels)
        mean = F.cross_entropy(
            constant.expand(12, 8), truth, ignore_index=-1, label_smoothing=smoothing
        )
        mean.backward()
        return mean

    search.step(closure)
    assert closure().item() == pytest.approx(entropy.item(), abs=1e-3)


def test_chance_of_a_record_is_how_rare_its_class_was():
    told = Objective(Spec(), OFFERED)
    told.after({}, labelled(batch(range(4)), [0, 0, 0, 5]))
    loss = told.score({"joint": torch.zeros(2, 8)}, labelled(batch(range(2)), [5, 2]))
    assert loss.chance.item() == pytest.approx(-(math.log(2 / 12) + math.log(1 / 12)) / 2, rel=1e-6)


def test_where_modalities_meet_it_reads_the_joint_vector():
    assert isinstance(Objective(Spec(), OFFERED).needs()["joint"].of, Fuse)
    for offered, of in (
        (replace(OFFERED, meets=False, joint=0), ()),
        (OFFERED, ("image",)),
        (replace(OFFERED, views={"text": PLAIN["text"]}, meets=False), ()),
    ):
        needs = Objective(Spec(of=of), offered).needs()
        assert set(needs) == set(of or offered.views)
        assert {node.give for node in needs.values()} == {"pooled"}


def test_side_by_side_what_is_absent_is_zero():
    told = Objective(Spec(), replace(OFFERED, meets=False, joint=0))
    assert told.head.in_features == 6 + 8
    made = batch(range(4), lacking={"image": (1,), "text": (2,)})
    rng = torch.Generator().manual_seed(0)
    image, text = torch.randn(4, 6, generator=rng), torch.randn(4, 8, generator=rng)
    found = told.logits({"image": image, "text": text}, made)
    weight = told.head.weight
    left, right = image @ weight[:, :6].T, text @ weight[:, 6:].T
    for row, want in enumerate((left[0] + right[0], right[1], left[2], left[3] + right[3])):
        torch.testing.assert_close(found[row], want)
    assert told.count(made).item() == 4  # one of them is enough


def test_an_answer_needs_both_question_and_picture():
    """The class is in the picture: turned pictures change the answer through the joint vector."""
    step = small({"use": "classification"})
    made = batch(range(8))
    pictures = made.tokens["image", 0]
    turned = replace(pictures, values=255 - pictures.values)
    other = replace(made, tokens=made.tokens | {("image", 0): turned})
    assert (step(made).total - step(other).total).abs() > 1e-3


def test_a_target_that_is_not_there_is_named():
    with pytest.raises(RecipeError, match=r"classification.target") as caught:
        Objective(Spec(target="labels"), OFFERED)
    assert "label" in str(caught.value)
