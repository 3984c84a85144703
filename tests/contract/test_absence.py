"""What a record lacks has no influence, bit for bit: in every fusion and every objective.

Other content is put where a modality is absent; outputs, losses, gradients and what objectives keep
must not differ by one bit. Beside it: any share of a batch, all of it, or a whole record may be
absent, and everything stays finite.
"""

from dataclasses import replace

import pytest
import torch
from fusion_forms import CASES, told
from small_recipe import small as small_recipe
from small_step import Words, batch, small

from sensorium import shelf
from sensorium.nodes import Fuse, Read
from sensorium.step import Forward, plan, views
from sensorium.views import attach

N = 10
ALL = tuple(range(N))
# Some lack the picture, some a text, some the second text alone, the last one everything.
MIXED = {"image": (3, 7, 9), "text": (2, 4, 9), "text#1": (1, 2, 4, 9)}
OBJECTIVES = [
    {"use": "contrastive"},
    {"use": "contrastive", "soft": 0.4, "queue": 7},
    {"use": "matching"},
    {"use": "matching", "negatives": "hard"},
    {"use": "matching", "negatives": "given"},
    {"use": "matching", "ways": 3, "replace": "text"},
    {"use": "matching", "edits": [{"use": "hide", "rate": 0.5}]},
    {"use": "masked_tokens", "soft": 0.4},
    {"use": "masked_tokens", "order": "causal", "rank": 1},
    {"use": "generation", "order": "prefix"},
    {"use": "generation", "rank": 1, "smoothing": 0.1},
    {"use": "classification"},
    {"use": "classification", "of": ["image"]},
    {"use": "image_self_supervision", "hidden": 8, "out": 4},
    {"use": "translation_contrast"},
]
# What a record must have to count; classification needs one of what it is told from.
NEEDS = {
    "contrastive": ("image", "text"),
    "matching": ("image", "text"),
    "masked_tokens": ("text",),
    "generation": ("text",),
    "image_self_supervision": ("image",),
    "translation_contrast": ("text",),
}


def content_of(tokens):
    return tokens.values if tokens.ids is None else tokens.ids


def other_content(made, seed=0):
    """The batch with other tokens wherever a record lacks a modality, its variants too."""
    rng, tokens = torch.Generator().manual_seed(seed), {}
    for (modality, variant), held in made.tokens.items():
        name = f"{modality}#{variant}"
        lacks = ~made.present.get(name, made.present[modality])
        if held.ids is not None:
            drawn = torch.randint(4, Words.vocabulary, held.ids.shape, generator=rng)
            ids = torch.where(lacks[:, None] & held.real, drawn, held.ids)
            tokens[modality, variant] = replace(held, ids=ids)
        else:
            drawn = torch.randint(0, 256, held.values.shape, generator=rng).to(held.values.dtype)
            values = torch.where(lacks[:, None, None], drawn, held.values)
            tokens[modality, variant] = replace(held, values=values)
    differs = [
        not torch.equal(content_of(x), content_of(made.tokens[k])) for k, x in tokens.items()
    ]
    assert any(differs)
    return replace(made, tokens=tokens)


def looked(made, step):
    """The batch with the looks of a step."""
    return attach(made, views(step.objectives), {"text": Words()})


def bits(step, made):
    """All that training gives or leaves behind: losses, gradients, what objectives keep.

    Two steps: the second asks the queue and the counts that the first left.
    """
    kept = {}
    for turn in range(2):
        outcome = step(looked(made, step))
        outcome.total.backward()
        step.commit(outcome, made)
        for name, loss in outcome.losses.items():
            kept |= {f"{turn} {name} {x}": getattr(loss, x) for x in ("sum", "count", "chance")}
            kept |= {f"{turn} {name} {part}": x for part, x in loss.parts.items()}
    kept |= {f"gradient of {name}": p.grad for name, p in step.named_parameters()}
    for name, one in step.objectives.items():
        for what, held in one.named_buffers():
            # Places of the queue that are not filled never answer, whatever they hold.
            kept[f"{name} {what}"] = held[one.filled] if what in ("left", "right") else held
    return kept


def assert_blind(make, made):
    """Two equal steps, the second over other absent content: no bit differs."""
    left, right = bits(make(), made), bits(make(), other_content(made))
    assert left.keys() == right.keys()
    for name, mine in left.items():
        if mine is None:
            assert right[name] is None, name
            continue
        assert torch.isfinite(mine).all(), name
        assert torch.equal(mine, right[name]), name
    return left


def called(content):
    return ", ".join(f"{key}={value}" for key, value in content.items())[4:]


def offered(fusion):
    """The objectives that a fusion can serve."""
    return [x for x in OBJECTIVES if fusion != "none" or x["use"] != "matching"]


@pytest.mark.parametrize("content", OBJECTIVES, ids=called)
def test_absent_content_changes_no_bit_of_an_objective(content):
    assert_blind(lambda: small(content).train(), batch(ALL, lacking=MIXED))


@pytest.mark.parametrize("case", CASES, ids=told)
def test_absent_content_changes_no_bit_of_a_fusion(case):
    """All objectives together, with teacher, queue, hard partners, hidden words and variants."""
    name, form = case
    contents = offered(name)
    assert_blind(
        lambda: small(*contents, fusion=name, form=form).train(), batch(ALL, lacking=MIXED)
    )


def test_every_objective_of_the_shelf_is_among_them():
    assert {x["use"] for x in OBJECTIVES} == set(shelf.names("objectives"))


@pytest.mark.parametrize("case", CASES, ids=told)
def test_absent_content_changes_no_bit_of_what_is_read_in_evaluation(case):
    """Vectors, pooled and joint states, words and losses, of the student and of the teacher."""
    name, form = case
    contents, made = offered(name), batch(ALL, lacking=MIXED)
    step = small(*contents, fusion=name, form=form).eval()
    batches = [looked(x, step) for x in (made, other_content(made))]
    with torch.no_grad():
        one, two = (step(x) for x in batches)
        assert torch.equal(one.total, two.total)
        left, right = (Forward(step.model, x, step.teacher) for x in batches)
        whose = set()
        for node in plan(step.objectives):
            if not isinstance(node, Read):
                continue
            mine, theirs = left(node), right(node)
            if node.give == "logits" or isinstance(node.of, Fuse):
                there = torch.ones(len(mine), dtype=torch.bool)  # stand-ins are what they are
            else:
                there = made.there(node.view)
            whose.add(node.who)
            assert torch.equal(mine[there], theirs[there]), node
    assert whose == {"student", "teacher"}


@pytest.mark.parametrize("gone", ["image", "text", "both"])
@pytest.mark.parametrize("fusion", shelf.names("fusion"))
def test_a_batch_without_a_modality_counts_nothing_of_it_and_goes_on(fusion, gone):
    names = {"image": ("image",), "text": ("text", "text#1")}
    lacks = names.get(gone, (*names["image"], *names["text"]))
    made, contents = batch(ALL, lacking=dict.fromkeys(lacks, ALL)), offered(fusion)
    kept = assert_blind(lambda: small(*contents, fusion=fusion).train(), made)
    for at, content in enumerate(contents):
        if content["use"] == "classification":
            of = content.get("of", ["image", "text"])
            counts = any(name not in lacks for name in of)
        else:
            counts = all(name not in lacks for name in NEEDS[content["use"]])
        assert bool(kept[f"1 {at} count"] > 0) is counts, content
        if not counts:
            assert kept[f"1 {at} sum"] == 0
    if gone == "both":
        grads = [x for name, x in kept.items() if name.startswith("gradient") and x is not None]
        assert all(torch.equal(x, torch.zeros_like(x)) for x in grads)


@pytest.mark.parametrize("use", ["matching", "contrastive", "masked_tokens", "classification"])
def test_a_record_without_anything_is_as_if_it_were_not_there(use):
    """In value; another shape of batch may round otherwise. A classification's chance counts."""
    whole = batch(range(N - 1), lacking={x: tuple(set(y) - {9}) for x, y in MIXED.items()})
    more = batch(ALL, lacking=MIXED)
    one, two = (small({"use": use}).eval() for _ in range(2))
    a, b = (s(looked(x, s)).losses["0"] for s, x in ((one, whole), (two, more)))
    torch.testing.assert_close(a.sum, b.sum, rtol=1e-5, atol=1e-5)
    assert torch.equal(a.count, b.count)


@pytest.mark.parametrize("name", ["albef", "vilbert", "visualbert", "simvlm", "coca"])
def test_a_fresh_model_has_gradients_of_ordinary_size_where_records_lack_something(name):
    """A stand-in of equal values has no spread, and each norm (eps 1e-12 in BERT) would make its
    gradient a million times larger."""
    sizes = []
    for lacking in (None, {"image": (1, 5, 9), "text": (2, 6, 10)}):
        made = small_recipe(name, batch=16, lacking=lacking)
        made.step.train()(made.batches[0]).total.backward()
        grads = [p.grad for p in made.step.parameters() if p.grad is not None]
        sizes.append(torch.stack([x.norm() for x in grads]).norm().item())
    assert sizes[1] < 10 * sizes[0]
