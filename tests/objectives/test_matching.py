"""Matching: who becomes a wrong partner, how often, and what the losses of BLIP and VisualBERT are.

Draws against big integers, moments and softmax weights; losses against slow loops, closed forms and
transformers with equal weights.
"""

import math
from dataclasses import replace

import pytest
import torch
import transformers
from reference import linear, norm, randomise, same_gradients
from reference_fusion import copy_blip_text, copy_visualbert
from small_step import PLAIN, Words, batch, same_content, small
from torch import nn
from torch.nn import functional as F

from sensorium.errors import RecipeError
from sensorium.model import Model, State
from sensorium.nodes import Fuse, Given
from sensorium.objectives.matching import (
    HardPartner,
    Objective,
    RandomPartner,
    Spec,
    _mixed,
    gumbel,
)
from sensorium.step import Step, plan, views
from sensorium.views import attach, look

BETWEEN = (PLAIN["image"], PLAIN["text"])
BOTH = ("text", "image")


def offered(**changes):
    base = Given(PLAIN, meets=True, joint=8, entries={"text": 40}, variants={"text": 1})
    return replace(base, **changes)


def drawn_batch(n, number, lacking=None):
    """The same records at another step: other draws."""
    made = batch(range(n), lacking=lacking)
    return replace(made, draw=redrawn(n, number))


def redrawn(n, number):
    rng = torch.Generator().manual_seed(number)
    return torch.randint(0, 2**62, (n,), generator=rng)


# --- the noise ----------------------------------------------------------------------------------


def test_bits_are_splitmix64s():
    """Its stream from seed 0 begins so (Steele, Lea and Flood's generator, Vigna's test values)."""
    golden = 0x9E3779B97F4A7C15
    steps = [golden, 2 * golden % 2**64]
    signed = torch.tensor([x - 2**64 if x >= 2**63 else x for x in steps])
    found = [x % 2**64 for x in _mixed(signed).tolist()]
    assert found == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]

    def slow(x):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
        return x ^ (x >> 31)

    some = torch.randint(-(2**63), 2**63 - 1, (200,), generator=torch.Generator().manual_seed(0))
    assert [x % 2**64 for x in _mixed(some).tolist()] == [slow(x % 2**64) for x in some.tolist()]


def test_noise_is_gumbel():
    """Mean gamma, variance pi^2 / 6, and the distribution function exp(-exp(-x)) at nine points."""
    rng = torch.Generator().manual_seed(1)
    draw = torch.randint(0, 2**62, (400,), generator=rng)
    noise = gumbel(draw, draw.flip(0), 0).double()
    n = noise.numel()
    assert torch.isfinite(noise).all()
    spread = math.pi / math.sqrt(6)
    assert abs(noise.mean().item() - 0.5772156649) < 5 * spread / math.sqrt(n)
    assert noise.var().item() == pytest.approx(spread**2, rel=0.03)
    for share in range(1, 10):
        at = -math.log(-math.log(share / 10))
        below = (noise < at).double().mean().item()
        assert abs(below - share / 10) < 5 * math.sqrt(0.25 / n)


def test_noise_of_a_pair_is_its_own():
    draw = torch.tensor([5, 17, 123456789, 2**62])
    noise = gumbel(draw, draw, 0)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(gumbel(draw[order], draw[order], 0), noise[order][:, order])
    assert torch.equal(gumbel(draw[1:3], draw, 0), noise[1:3])
    assert not torch.equal(noise, noise.T)  # who asks is not who answers
    assert not torch.equal(noise, gumbel(draw, draw, 1))
    assert noise.unique().numel() == 16


# --- who is drawn -------------------------------------------------------------------------------


def test_random_partners_are_drawn_evenly():
    n, times = 6, 3000
    tally = torch.zeros(2, n, n)
    made = batch(range(n))
    for number in range(times):
        made = replace(made, draw=redrawn(n, number))
        index = RandomPartner(BETWEEN, BOTH).rows([], made).index
        own = torch.arange(n)
        assert torch.equal(index["image"][:n], own)  # one wrong text a picture
        assert torch.equal(index["text"][n:], own)  # one wrong picture a text
        tally[0, own, index["text"][:n]] += 1
        tally[1, own, index["image"][n:]] += 1
    assert tally.diagonal(dim1=1, dim2=2).abs().max() == 0
    expected = times / (n - 1)
    others = tally[:, ~torch.eye(n, dtype=torch.bool)]
    # Chi-square of 2 n rows with n - 2 degrees of freedom each: mean 48, deviation 9.8.
    assert ((others - expected) ** 2 / expected).sum().item() < 48 + 5 * 9.8
    assert not torch.equal(tally[0], tally[1])


def slow_weights(kept, replacing, temperature, same, there):
    """Softmax over the allowed ones, by loops."""
    n = len(kept)
    table = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            allowed = i != j and there[i] and there[j] and not any(s[i] == s[j] for s in same)
            if allowed:
                cosine = sum(
                    float(a) * float(b) for a, b in zip(kept[i], replacing[j], strict=True)
                )
                table[i, j] = math.exp(cosine / temperature)
        if table[i].sum() > 0:
            table[i] /= table[i].sum()
    return table


def test_hard_partners_are_drawn_by_softmax_of_similarity():
    n, times, temperature = 6, 4000, 0.4
    rng = torch.Generator().manual_seed(3)
    image, text = (F.normalize(torch.randn(n, 4, generator=rng), dim=1) for _ in range(2))
    image_ids, text_ids = [1, 2, 2, 3, 4, 5], [11, 12, 13, 14, 15, 11]
    there = [True, True, True, True, False, True]
    pairing = HardPartner(BETWEEN, BOTH, (), temperature)
    assert [read.view for read in pairing.inputs] == list(BETWEEN)
    tally = torch.zeros(2, n, n, dtype=torch.float64)
    own = torch.arange(n)
    made = batch(range(n), lacking={"text": (4,)})
    made = same_content(same_content(made, "image", image_ids), "text", text_ids)
    for number in range(times):
        made = replace(made, draw=redrawn(n, number))
        index = pairing.rows([image, text], made).index
        tally[0, own, index["text"][:n]] += 1
        tally[1, own, index["image"][n:]] += 1
    same = (image_ids, text_ids)
    for at, table in enumerate((
        slow_weights(image, text, temperature, same, there),
        slow_weights(text, image, temperature, same, there),
    )):  # fmt: skip
        table[4, 4] = 1  # lacks its text: keeps its own, and is not counted
        assert tally[at][table == 0].sum() == 0  # never an equal content, never what is absent
        error = (table * (1 - table) / times).sqrt()
        off = (tally[at] / times - table).abs()
        assert (off <= 5 * error + 1e-9).all()
    assert (tally > 0).sum() > 2 * n  # it is a draw, not the nearest


def test_a_sharp_temperature_takes_the_nearest_even_where_half_precision_would_not():
    n = 8
    rng = torch.Generator().manual_seed(0)
    image, text = (F.normalize(torch.randn(n, 4, generator=rng), dim=1) for _ in range(2))
    pairing = HardPartner(BETWEEN, ("text",), (), 1e-4)
    found = pairing.rows([image, text], drawn_batch(n, 0)).index["text"]
    expected = (image @ text.T).fill_diagonal_(-2).argmax(1)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("pairing", [RandomPartner(BETWEEN, BOTH), HardPartner(BETWEEN, BOTH)])
def test_partners_do_not_depend_on_the_order_and_little_on_the_company(pairing):
    def partners(names):
        made = batch(names)
        rng = torch.Generator().manual_seed(5)
        table = F.normalize(torch.randn(2, 20, 4, generator=rng), dim=2)[:, names]
        index = pairing.rows(list(table), made).index
        n = len(names)
        texts = {x: names[int(j)] for x, j in zip(names, index["text"][:n], strict=True)}
        pictures = {x: names[int(j)] for x, j in zip(names, index["image"][n:], strict=True)}
        return texts, pictures

    small_one, turned, more = (
        partners([0, 1, 2, 3, 4]),
        partners([3, 0, 4, 2, 1]),
        partners(list(range(9))),
    )
    assert small_one == turned
    for few, many in zip(small_one, more, strict=True):
        assert all(many[x] in (few[x], 5, 6, 7, 8) for x in few)


def test_no_gradient_goes_through_the_choice():
    image, text = (torch.randn(5, 4, requires_grad=True) for _ in range(2))
    index = HardPartner(BETWEEN, BOTH).rows([image, text], batch(range(5))).index
    assert not any(x.requires_grad for x in index.values())


def test_modalities_beside_the_pair_come_along():
    index = RandomPartner(BETWEEN, ("text",), ("sound",)).rows([], batch(range(5))).index
    assert list(index) == ["image", "text", "sound"]
    assert torch.equal(index["sound"], index["image"])


def test_without_draws_it_refuses():
    with pytest.raises(TypeError, match="a batch with draws"):
        RandomPartner(BETWEEN, BOTH).rows([], replace(batch(range(4)), draw=None))


def test_a_pairing_is_a_key():
    assert HardPartner(BETWEEN, BOTH) == HardPartner(BETWEEN, BOTH)
    assert len({HardPartner(BETWEEN, BOTH), HardPartner(BETWEEN, BOTH, (), 0.5)}) == 2
    assert RandomPartner(BETWEEN, BOTH) != HardPartner(BETWEEN, BOTH)


# --- what counts, and the loss ------------------------------------------------------------------


def entropy(*counts):
    total = sum(counts)
    return -sum(x / total * math.log(x / total) for x in counts if x)


def test_records_without_a_candidate_are_not_counted():
    """All share one text but record 0: only it has wrong partners, and only they have it."""
    told = Objective(Spec(), offered())
    made = same_content(batch(range(4), lacking={"image": (3,)}), "text", [1, 2, 2, 9])
    # Own: 0, 1, 2. Wrong: 0 may take 1 or 2; 1 and 2 may take 0 alone; 3 lacks its picture.
    assert told.count(made).item() == 3 + 2 * 3
    made = same_content(made, "text", [2, 2, 2, 9])
    got = {"own": torch.randn(4, 8), "partner": torch.randn(8, 8)}
    loss = told.score(got, made)
    assert told.count(made).item() == loss.count.item() == 3
    assert loss.chance.item() == 0  # all that is left is right: saying so needs no skill


def test_loss_equals_a_slow_loop():
    told = Objective(Spec(ways=3), offered())
    made = batch(range(5), lacking={"text#1": (1,), "image": (4,)})
    made = same_content(made, "text#1", [2000, 1, 2, 3, 4])  # of record 0 it is the right text
    rng = torch.Generator().manual_seed(0)
    got = {
        "own": torch.randn(5, 8, generator=rng),
        "partner": torch.randn(10, 8, generator=rng),
        "given": torch.randn(5, 8, generator=rng),
    }
    weight, bias = told.head.weight.detach().double(), told.head.bias.detach().double()
    total, classes = 0.0, []
    for kind, label, rows in (
        ("own", 0, [0, 1, 2, 3]),
        ("partner", 1, [0, 1, 2, 3, 5, 6, 7, 8]),
        ("given", 2, [2, 3]),
    ):
        for row in rows:
            logits = [float(weight[c] @ got[kind][row].double() + bias[c]) for c in range(3)]
            total -= logits[label] - math.log(sum(math.exp(x) for x in logits))
            classes.append(label)
    loss = told.score(got, made)
    assert loss.sum.item() == pytest.approx(total, rel=1e-5)
    assert loss.count.item() == len(classes) == 14
    assert loss.chance.item() == pytest.approx(entropy(4, 8, 2), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "ways", "classes"),
    [
        ({"replace": "text"}, 2, (1, 1)),
        ({"replace": "image"}, 2, (1, 1)),
        ({}, 2, (1, 2)),
        ({"negatives": "given"}, 2, (1, 1)),
        ({"ways": 3}, 3, (1, 2, 1)),
        ({"ways": 3, "replace": "text"}, 3, (1, 1, 1)),
    ],
)  # fmt: skip
def test_zero_logits_give_ln_ways_and_knowing_the_counts_gives_chance(options, ways, classes):
    step = small({"use": "matching"} | options)
    head = step.objectives["0"].head
    made = batch(range(8), step)
    nn.init.zeros_(head.weight)
    loss = step(made).losses["0"]
    assert loss.mean.item() == pytest.approx(math.log(ways), rel=1e-5)
    with torch.no_grad():
        head.bias.copy_(torch.tensor(classes).float().log())
    loss = step(made).losses["0"]
    assert loss.chance.item() == pytest.approx(entropy(*classes), rel=1e-5)
    assert loss.mean.item() == pytest.approx(entropy(*classes), rel=1e-5)
    assert loss.count.item() == 8 * sum(classes)


def test_given_needs_no_partner_and_adds_up():
    told = Objective(Spec(negatives="given"), offered())
    assert told.additive
    assert set(told.needs()) == {"own", "given"}
    assert told.needs()["given"].of.parts[1].view.variant == 1
    assert not Objective(Spec(), offered()).additive


def test_equal_edits_share_the_pass_of_masked_words():
    hide = [{"use": "hide", "rate": 0.5}]
    masked = {"use": "masked_tokens", "edits": hide}
    shared = small(masked, {"use": "matching", "edits": hide})
    fusions = [node for node in plan(shared.objectives) if isinstance(node, Fuse)]
    assert [node.rows is None for node in fusions] == [True, False]
    apart = small(masked, {"use": "matching"})
    fusions = [node for node in plan(apart.objectives) if isinstance(node, Fuse)]
    assert [node.rows is None for node in fusions] == [True, True, False]


def test_hard_partners_read_the_vectors_that_contrast_reads():
    step = small({"use": "contrastive"}, {"use": "matching", "negatives": "hard"})
    alone = small({"use": "contrastive"})
    nodes = set(plan(step.objectives)) - set(plan(alone.objectives))
    assert {type(node).__name__ for node in nodes} == {"Fuse", "Read"}  # nothing is encoded again


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        ({}, {"joint": 0}, "a joint vector"),
        ({"replace": "txt"}, {}, "one of image, text, both"),
        ({"negatives": "given", "variant": 2}, {}, "variants.text"),
        ({"ways": 3}, {"variants": {}}, "variants.text"),
    ],
)
def test_mistakes_are_named(options, changes, said):
    with pytest.raises(RecipeError, match=said):
        Objective(Spec(**options), offered(**changes))


def test_three_ways_need_a_partner():
    with pytest.raises(ValueError, match="random or hard"):
        Spec(ways=3, negatives="given")


# --- against transformers -----------------------------------------------------------------------


class Seen(nn.Module):
    """An encoder that hands on what a reference vision model sees."""

    width = 24

    def __init__(self, model, channels):
        super().__init__()
        self.model, self.channels = [model], channels

    def embed(self, look):
        states = self.model[0](pixels(look.tokens.values)).last_hidden_state
        real = torch.ones(states.shape[:2], dtype=torch.bool)
        return State(states, real, real.long() * 0, torch.zeros(1, states.shape[1], 2).long())

    def encode(self, state):
        return replace(state, pooled=state.tokens[:, 0])


def pixels(values):
    """Patches of 2 x 2 as pictures [n, 3, 4, 4]."""
    n = len(values)
    blocks = values.float().view(n, 2, 2, 2, 2, 3) / 255
    return blocks.permute(0, 5, 1, 3, 2, 4).reshape(n, 3, 4, 4)


def test_equals_blips_matching_head():
    """Loss and gradients of `BlipForImageTextRetrieval`; it calls a match 1."""
    size = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4)
    config = transformers.BlipConfig(
        text_config=size
        | dict(vocab_size=40, encoder_hidden_size=24, max_position_embeddings=10, pad_token_id=0,
               hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
        vision_config=size | dict(hidden_size=24, image_size=4, patch_size=2),
        image_text_hidden_size=16,
    )  # fmt: skip
    theirs = transformers.BlipForImageTextRetrieval(config)
    randomise(theirs, spread=0.3)
    text, fusion, pairs = copy_blip_text(theirs.text_encoder)
    told = Objective(Spec(), offered(joint=32))
    with torch.no_grad():
        told.head.weight.copy_(theirs.itm_head.weight.flip(0))
        told.head.bias.copy_(theirs.itm_head.bias.flip(0))
    model = Model({"image": Seen(theirs.vision_model, 12), "text": text}, fusion, 16, compared=())
    step = Step(model, {"matching": told})
    made = batch(range(5))
    index = told.pairing.rows([], made).index
    tokens = made.tokens["text", 0]
    texts = torch.cat([torch.arange(5), index["text"]])
    images = torch.cat([torch.arange(5), index["image"]])
    found = theirs(
        tokens.ids[texts],
        pixels(made.tokens["image", 0].values)[images],
        attention_mask=tokens.real[texts].long(),
    ).itm_score
    label = torch.tensor([1] * 5 + [0] * 10)
    want = F.cross_entropy(found, label)
    outcome = step(made)
    torch.testing.assert_close(outcome.total, want, atol=1e-5, rtol=0)
    assert abs(want.item() - math.log(2)) > 0.01
    outcome.total.backward()
    want.backward()
    same_gradients(pairs)
    torch.testing.assert_close(told.head.weight.grad.flip(0), theirs.itm_head.weight.grad)


def test_equals_visualberts_two_losses():
    """`VisualBertForPreTraining`: hidden words of the right pairs, and who belongs together."""
    config = transformers.VisualBertConfig(
        vocab_size=Words.vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=Words.length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        visual_embedding_dim=12,
        pad_token_id=0,
    )
    theirs = transformers.VisualBertForPreTraining(config)
    randomise(theirs, spread=0.2)
    text, image, fusion, pairs = copy_visualbert(theirs.visual_bert, patches=4)
    hide = [{"use": "hide", "rate": 0.5}]
    donor = small(
        {"use": "masked_tokens", "edits": hide},
        {"use": "matching", "edits": hide, "replace": "text"},
    )
    masked, matching = donor.objectives["0"], donor.objectives["1"]
    model = Model({"image": image, "text": text}, fusion, 16, compared=(), told={"text": {}})
    step = Step(model, {"masked": masked, "matching": matching})
    head, their_head = model.vocabularies["text"], theirs.cls.predictions
    more = [
        *linear(head.transform, their_head.transform.dense),
        *norm(head.norm, their_head.transform.LayerNorm),
        (head.bias, [their_head.decoder.bias], ""),
        *linear(matching.head, theirs.cls.seq_relationship),
    ]
    with torch.no_grad():
        for ours, other, _ in more:
            ours.copy_(other[0])
    made = attach(batch(range(6)), views(step.objectives), {"text": Words()})
    seen = look(masked.view, made)
    partner = matching.pairing.rows([], made).index["text"]
    texts = torch.cat([torch.arange(6), partner])
    values = made.tokens["image", 0].values.repeat(2, 1, 1)
    labels = torch.full((12, seen.tokens.ids.shape[1] + 4), -100)
    rows, columns = seen.places // seen.tokens.ids.shape[1], seen.places % seen.tokens.ids.shape[1]
    labels[rows, columns] = seen.truth
    want = theirs(
        input_ids=seen.tokens.ids[texts],
        attention_mask=seen.tokens.real[texts].long(),
        visual_embeds=(values - image.shift) * image.scale,
        visual_attention_mask=torch.ones(12, 4).long(),
        labels=labels,
        sentence_image_labels=torch.tensor([0] * 6 + [1] * 6),
    )
    outcome = step(made)
    torch.testing.assert_close(outcome.total, want.loss, atol=1e-5, rtol=0)
    by_row = F.cross_entropy(want.seq_relationship_logits, torch.tensor([0] * 6 + [1] * 6))
    torch.testing.assert_close(outcome.losses["matching"].mean, by_row, atol=1e-5, rtol=0)
    outcome.total.backward()
    want.loss.backward()
    same_gradients(pairs + more)
