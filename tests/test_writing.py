"""Writing word by word equals the whole pass of training, with a cache and without."""

import numpy as np
import pytest
import torch

from sensorium import generate
from sensorium.answers import Answers, likelihoods
from sensorium.building import build, modality
from sensorium.errors import RunError
from sensorium.loading import gather
from sensorium.nodes import Fuse
from sensorium.prepare import Column
from sensorium.recipe import load
from sensorium.records import Record, Source
from sensorium.step import views
from sensorium.tokens import Tokens
from sensorium.views import RANK, Look
from sensorium.writing import Writer, needs_words, writes

SMALL = [
    *(f"encoders.{m}.{x}" for m in ("image", "text") for x in ("width=16", "heads=2")),
    "modalities.image.size=16",
    "modalities.image.patch=8",
    "fusion.heads=2",
    "space=8",
]
# In the last, one stack merges both, and the rank of the text hides it from the picture.
WRITERS = ("coca", "simvlm", "gpt", "simvlm objectives=[{use: generation, rank: 1}]")
TEXTS = ["a red circle", "two green squares on a table", "blue", "a small yellow cross"]


def made(name):
    """A tiny step of a recipe with random weights, its modalities, and a batch of four records."""
    name, *more = name.split(" ", 1)
    small = [x for x in SMALL if name != "gpt" or ".text." in x]
    recipe = load(name, "tiny", small + more)
    known = {m: modality(recipe, m) for m in recipe.modalities}
    known["text"].fit([Record("x", Source("m"), {"text": x}) for x in TEXTS], "text")
    step = build(recipe, known)
    with torch.no_grad():  # far from zero, so that words have a say
        for p in step.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    n, columns = len(TEXTS), {}
    index = [[at] for at in range(n)]
    columns["text"] = Column("text", TEXTS, index, np.arange(n), False)
    if "image" in known:
        pictures = np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), np.uint8)
        columns["image"] = Column("image", pictures, index, np.arange(n), False)
    records = [Record(str(at), Source("m"), {}) for at in range(n)]
    chosen = {m: list(range(n)) for m in known}
    rngs = [("k", at) for at in range(n)]
    looked = views(step.objectives)
    batch = gather(records, columns, known, chosen, rngs, None, looked)
    return step.eval(), known, batch


def writer(step, batch, cached=True):
    read = writes(step)
    parts = read.of.parts if isinstance(read.of, Fuse) else ()
    memory = [step.read(part, batch) for part in parts if part.view.modality != "text"]
    return Writer(step, read, memory, cached)


def slow(step, batch, ids):
    """Logits after each prefix of ids [n, t], each from a whole pass without Writer or cache."""
    read, told = writes(step), []
    for t in range(1, ids.shape[1] + 1):
        tokens = Tokens(
            "text",
            torch.ones(len(ids), t, dtype=torch.bool),
            torch.arange(t)[None, :, None],
            ids=ids[:, :t],
        )
        view = read.view
        order = torch.arange(t).expand(len(ids), -1) + view.rank * RANK
        there = torch.ones(len(ids), dtype=torch.bool)
        state = step.model.encode("text", step.model.embed(Look(tokens, order, there)))
        if isinstance(read.of, Fuse):
            states = [
                state if part.view.modality == "text" else step.read(part, batch)
                for part in read.of.parts
            ]
            state = step.model.fuse(states)[read.part]
        told.append(step.model.logits("text", state.tokens[:, -1]))
    return torch.stack(told, 1)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("name", WRITERS)
def test_each_next_word_is_that_of_the_whole_pass(name, cached):
    step, known, batch = made(name)
    ids = torch.randint(4, known["text"].vocabulary, (4, 7), generator=torch.Generator())
    ids[:, 0] = known["text"].first
    wanted, go_on = slow(step, batch, ids), writer(step, batch, cached)
    one = torch.ones(4, 1, dtype=torch.bool)
    for t in range(7):
        found = go_on(ids[:, t : t + 1], one)
        torch.testing.assert_close(found, wanted[:, t], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["coca", "gpt", WRITERS[-1]])
def test_it_equals_what_training_scores(name):
    """The logits of the training step, at its own places, are those of writing the same text."""
    step, _, batch = made(name)
    read = writes(step)
    wanted = step.read(read, batch)
    tokens, look = batch.tokens["text", 0], batch.looks[read.view]
    go_on, rows = writer(step, batch), []
    for t in range(tokens.ids.shape[1]):
        rows.append(go_on(tokens.ids[:, t : t + 1], torch.ones(4, 1, dtype=torch.bool)))
    found = torch.stack(rows, 1).flatten(0, 1)[look.places]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", WRITERS)
def test_rows_branch_without_reaching_each_other(name):
    step, known, batch = made(name)
    go_on, one = writer(step, batch), torch.ones(4, 1, dtype=torch.bool)
    go_on(torch.full((4, 1), known["text"].first), one)
    index = torch.tensor([2, 0, 0])
    other = go_on.take(index)
    word, another = torch.full((3, 1), 7), torch.full((4, 1), 9)
    first = other(word, one[:3])
    go_on(another, one)
    again = writer(step, batch)
    again(torch.full((4, 1), known["text"].first), one)
    wanted = again(torch.full((4, 1), 7), one)
    torch.testing.assert_close(first, wanted[index], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", WRITERS)
def test_decoding_with_a_cache_equals_decoding_without(name):
    step, known, batch = made(name)
    text = known["text"]
    prompt = torch.full((4, 1), text.first)
    never = tuple(x for x in text.special if x != text.last)
    rules = generate.Limits(end=text.last, most=8, forbidden=never)
    fast = generate.beam(writer(step, batch), prompt, rules, width=3)
    plain = generate.beam(writer(step, batch, False), prompt, rules, width=3)
    assert [x.ids for x in fast] == [x.ids for x in plain]
    assert all(set(x.ids).isdisjoint(text.special) for x in fast)
    answers = Answers(TEXTS, [text.tokens(x, None).ids[0].tolist()[1:-1] for x in TEXTS], text.last)
    torch.testing.assert_close(
        likelihoods(writer(step, batch), prompt, answers),
        likelihoods(writer(step, batch, False), prompt, answers),
        atol=1e-4,
        rtol=1e-5,
    )


def test_the_picture_has_a_say():
    for name in ("coca", "simvlm"):
        step, known, batch = made(name)
        found = writer(step, batch)(
            torch.full((4, 1), known["text"].first), torch.ones(4, 1, dtype=torch.bool)
        )
        assert (found[0] - found[1]).abs().max() > 1e-3


def test_who_cannot_write_says_so(tiny_run):
    for name in ("albef", "visualbert", "clip", "bert"):
        recipe = load(name, "tiny")
        with torch.device("meta"):
            assert writes(build(recipe)) is None
    with pytest.raises(RunError, match="predicts next words"):
        needs_words(tiny_run)


def test_the_memory_is_encoded_once():
    step, known, batch = made("coca")
    calls = []
    step.model.encoders["image"].stack.register_forward_hook(lambda *_: calls.append(1))
    go_on = writer(step, batch)
    for _ in range(4):
        go_on(torch.full((4, 1), known["text"].first), torch.ones(4, 1, dtype=torch.bool))
    assert len(calls) == 1
