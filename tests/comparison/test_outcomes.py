"""Outcomes against slow loops, one record at a time, and closed forms; the weights are as drawn."""

import math

import numpy as np
import pytest
import small
import torch

from sensorium import embedding
from sensorium.comparison import outcomes
from sensorium.comparison.measure import read as measure
from sensorium.comparison.outcomes import outcome
from sensorium.errors import RunError
from sensorium.loading import gather
from sensorium.nodes import Encode, Read
from sensorium.prepare import one
from sensorium.splits import normalised
from sensorium.views import View
from sensorium.writing import Writer, writes

pytestmark = pytest.mark.usefixtures("own_cache")
RANDOM = "caption_random"  # a twin that often has another length


@pytest.fixture(scope="module")
def arms(small_world, tmp_path_factory):
    """name -> (run, arena): untrained runs, each made when it is first asked for."""
    made = {}

    def arm(name, **more):
        key = (name, *more)
        if key not in made:
            fields = {"image": "image", "caption": "text"}
            if "targets" in more:
                fields["fact.kind_1"] = "label"
            plan = small.plan(small_world, fields=fields)
            folder = tmp_path_factory.mktemp(name)
            made[key] = small.bare(plan, small.recipe(name, **more), folder)
        return made[key]

    return arm


def ask(run, arena, text, split="test"):
    found = outcome(run, arena, measure(text), split)
    return dict(zip(found.keys, found.values.tolist(), strict=True)), found.how


def held(arena, split="test"):
    return [arena.records[at] for at in arena.records.positions(split)]


def batch_of(run, record, text=None, absent=()):
    """One record as a batch, its text read from the field `text`."""
    columns = {
        name: one(run.reader(name), record.fields[text if text and name == "text" else where], name)
        for name in run.modalities
        for where in [run.field(name)]
    }
    chosen = {name: [None if name in absent else 0] for name in columns}
    return gather([record], columns, run.modalities, chosen)


# --- forced choices ------------------------------------------------------------------------------


def test_choice_by_vectors(arms):
    run, arena = arms("clip")
    found, how = ask(run, arena, f"choice:{RANDOM}")
    assert how == "cosine of vectors"
    assert len(found) == len(held(arena)) == 14
    told = {0.0: 0, 1.0: 0}
    for record in held(arena):
        picture = run.vector("image", record.fields["image"], "x").astype(float)
        own, twin = (
            run.vector("text", record.fields[x], "x").astype(float) for x in ("caption", RANDOM)
        )
        margin = own @ picture - twin @ picture
        assert abs(margin) > 1e-6
        assert found[record.key] == float(margin > 0)
        told[found[record.key]] += 1
    assert min(told.values()) > 0  # both happened, so the loop could have differed


def test_a_tie_is_lost(arms):
    run, arena = arms("clip")
    found, _ = ask(run, arena, "choice:caption")
    assert set(found.values()) == {0.0}


def test_choice_by_match_logit(arms):
    run, arena = arms("albef")
    found, how = ask(run, arena, f"choice:{RANDOM}")
    assert how == "match logit"
    head = run.step.objectives["matching"]
    assert len(found) == 14
    for record in held(arena):
        odds = []
        for text in ("caption", RANDOM):
            joint = run.step.read(Read(head.given.fuse(), "joint"), batch_of(run, record, text))
            share = torch.softmax(head.head(joint).double(), 1)[0, 0].item()
            odds.append(math.log(share / (1 - share)))
        assert abs(odds[0] - odds[1]) > 1e-8
        assert found[record.key] == float(odds[0] > odds[1])
    assert 0 < sum(found.values()) < 14


def said(run, record, field):
    """log p of a text, word by word as it would be written after the picture."""
    batch = batch_of(run, record, field)
    read = writes(run.step)
    memory = []
    if hasattr(read.of, "parts"):
        memory = [run.step.read(x, batch) for x in read.of.parts if x.view.modality != "text"]
    writer, total = Writer(run.step, read, memory), 0.0
    ids = run.modalities["text"].tokens(record.fields[field], None).ids
    yes = torch.ones(1, 1, dtype=torch.bool)
    for at in range(ids.shape[1] - 1):
        logits = writer(ids[:, at : at + 1], yes)[0].double()
        total += float(torch.log_softmax(logits, 0)[ids[0, at + 1]])
    return total, ids.shape[1] - 1


@pytest.mark.parametrize("name", ["simvlm", "gpt"])
def test_choice_by_the_likelihood_of_the_text(arms, name):
    """All words of both texts count, also where training shows a beginning of them (simvlm)."""
    run, arena = arms(name)
    found, how = ask(run, arena, f"choice:{RANDOM}")
    assert how == "log-likelihood of the text"
    lengths = set()
    assert len(found) == 14
    for record in held(arena):
        (own, length), (twin, other) = (said(run, record, x) for x in ("caption", RANDOM))
        lengths.add(length - other)
        assert abs(own - twin) > 1e-4
        assert found[record.key] == float(own > twin)
    assert len(lengths) > 1  # texts and twins of different lengths were among them
    assert 0 < sum(found.values()) < 14


def test_the_loss_of_words_is_that_of_a_slow_loop(arms):
    run, arena = arms("gpt")
    found, how = ask(run, arena, "loss:generation")
    assert "nats a word" in how
    for record in held(arena):
        total, length = said(run, record, "caption")
        assert found[record.key] == pytest.approx(-total / length, rel=1e-5)


def test_without_a_modality_its_content_decides_nothing(arms):
    run, arena = arms("albef", modality_dropout={"image": 0.5})
    asked = f"choice:{RANDOM} without image"
    found, how = ask(run, arena, asked)
    assert how == "match logit"
    head = run.step.objectives["matching"]
    for record in held(arena):
        odds = []
        for text in ("caption", RANDOM):
            batch = batch_of(run, record, text, absent=("image",))
            joint = run.step.read(Read(head.given.fuse(), "joint"), batch)
            odds.append(torch.log_softmax(head.head(joint).double(), 1)[0, 0].item())
        assert found[record.key] == float(odds[0] > odds[1])
    # Two records whose words are alike are one record then.
    with_pictures, _ = ask(run, arena, f"choice:{RANDOM}")
    assert with_pictures.keys() == found.keys()


def test_what_cannot_be_asked_without_a_modality_is_refused(arms):
    run, arena = arms("clip")
    with pytest.raises(RunError, match="without image"):
        ask(run, arena, "choice:caption_colours without image")
    step, fused = run.step, arms("albef")[0].step
    assert not outcomes.askable(step, measure("choice:x without image"))
    assert outcomes.askable(fused, measure("choice:x without image"))
    assert not outcomes.askable(fused, measure("choice:x without text"))
    assert outcomes.askable(step, measure("retrieval:text_to_image@1"))


# --- classes, losses -----------------------------------------------------------------------------


@pytest.mark.parametrize("absent", [(), ("text",)])
def test_accuracy(arms, absent):
    run, arena = arms("visualbert", modality_dropout={"text": 0.5}, **small.LABELLED)
    found, _ = ask(run, arena, "accuracy" + (" without text" if absent else ""))
    head = run.step.objectives["classification"]
    classes = run.modalities["label"].classes
    right = 0
    for record in held(arena, "train") + held(arena):
        batch = batch_of(run, record, absent=absent)
        got = {what: run.step.read(node, batch) for what, node in head.needs().items()}
        guess = classes[int(head.logits(got, batch)[0].argmax())]
        if record.split == "test":
            assert found[record.key] == float(guess == record.fields["fact.kind_1"])
        right += guess == record.fields["fact.kind_1"]
    assert 0 < right < 126  # the loop is no constant, at least where it could be looked at


def test_the_loss_of_a_batch_is_that_of_all_pairs(arms):
    run, arena = arms("clip")
    found = outcome(run, arena, measure("loss:contrastive"), "test")
    assert found.keys == ("batch 0",)  # all fourteen records are less than a batch
    columns = {x: np.stack([run.vector(x, r.fields[y], "x") for r in held(arena)])
               for x, y in run.fields.items()}  # fmt: skip
    table = columns["image"].astype(float) @ columns["text"].astype(float).T / 0.07
    texts = [r.fields["caption"] for r in held(arena)]
    assert len(set(texts)) == len(texts)  # else equal ones would be no negatives
    rows = np.log(np.exp(table).sum(1)) - np.diag(table)
    columns_ = np.log(np.exp(table).sum(0)) - np.diag(table)
    assert found.values[0] == pytest.approx((rows.mean() + columns_.mean()) / 2, rel=1e-4)


# --- retrieval -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "direction"), [(3, "text_to_image"), (6, "image_to_text")])
def test_retrieval_with_ties_and_twins(arms, monkeypatch, k, direction):
    """Vectors of small whole numbers tie often; questions repeat, and the twin is no error."""
    run, arena = arms("clip")
    rng = np.random.default_rng(3)
    given = {x: rng.integers(-2, 3, (14, 3)).astype(np.float32) for x in ("text", "image")}
    monkeypatch.setattr(type(run), "embed", lambda self, name, made: given[name])
    found, how = ask(run, arena, f"retrieval:{direction}@{k}:question")
    assert "gallery of 14" in how
    source, sought = direction.split("_to_")
    asked = [normalised(record.fields["question"]) for record in held(arena)]
    assert len(set(asked)) < 14
    for at, record in enumerate(held(arena)):
        likeness = given[sought] @ given[source][at]
        right = [asked[at] == asked[to] for to in range(14)]
        best = max(value for value, yes in zip(likeness, right, strict=True) if yes)
        above = sum(value >= best and not yes for value, yes in zip(likeness, right, strict=True))
        assert found[record.key] == float(above + 1 <= k)
    assert 0 < sum(found.values()) < 14


# --- probes --------------------------------------------------------------------------------------


def slope(weights, given, target, penalty):
    """Gradient of the penalised loss, by the textbook formula."""
    given = np.concatenate([given, np.ones((len(given), 1))], 1)
    logits = given @ weights
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    shares[np.arange(len(target)), target] -= 1
    pull = np.array(weights)
    pull[-1] = 0  # the bias is free
    return given.T @ shares / len(given) + penalty * pull


@pytest.mark.parametrize("penalty", outcomes.PENALTIES)
def test_a_probe_is_at_the_bottom(penalty):
    rng = np.random.default_rng(1)
    given, target = rng.normal(size=(200, 6)), rng.integers(0, 3, 200)
    weights = outcomes._logistic(torch.from_numpy(given), torch.from_numpy(target), 3, penalty)
    assert np.abs(slope(weights.numpy(), given, target, penalty)).max() < 1e-4
    assert np.abs(slope(np.zeros((7, 3)), given, target, penalty)).max() > 1e-2


@pytest.fixture
def states(arms, monkeypatch):
    """Puts chosen states in the place of the encoder's: key -> vector."""
    run, arena = arms("clip")
    column = arena.column(run.reader("image"), "image")
    owner = {
        int(column.identity[items[0]]): record.key
        for items, record in zip(column.index, arena.records, strict=True)
    }

    def put(of):
        def pooled(step, recipe, reader, made, device):
            return np.stack([of[owner[int(made.identity[x[0]])]] for x in made.index])

        monkeypatch.setattr(embedding, "pooled", pooled)

    return run, arena, put


def test_a_probe_reads_what_states_say(states):
    run, arena, put = states
    rng = np.random.default_rng(0)
    colours = sorted({record.fields["fact.colour_1"] for record in arena.records})
    noise = rng.normal(size=(len(arena.records), len(colours)), scale=0.1)
    put({record.key: np.eye(len(colours))[colours.index(record.fields["fact.colour_1"])] + noise[at]
         for at, record in enumerate(arena.records)})  # fmt: skip
    found, how = ask(run, arena, "probe:fact.colour_1")
    assert found.keys() == {record.key for record in held(arena)}
    assert set(found.values()) == {1.0}
    assert "112 training records" in how


def test_a_probe_of_states_that_say_nothing_is_at_chance(states):
    run, arena, put = states
    shares = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        put({record.key: rng.normal(size=5) for record in arena.records})
        found, _ = ask(run, arena, "probe:fact.colour_1")
        shares.append(np.mean(list(found.values())))
    # 112 answers, a quarter of them right by luck: four standard errors.
    assert abs(np.mean(shares) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 112)


def test_a_probe_is_of_the_frozen_encoder(arms):
    """What it is fitted on is what the picture's encoder pools of the record."""
    run, arena = arms("clip")
    records = held(arena)[:3]
    states, values, keys = outcomes._labelled(run, arena, "image", "fact.colour_1", records, "test")
    assert keys == tuple(record.key for record in records)
    assert values == [record.fields["fact.colour_1"] for record in records]
    for state, record in zip(states, records, strict=True):
        node = Read(Encode(View("image")), "pooled")
        alone = run.step.read(node, batch_of(run, record))[0].numpy()
        assert state == pytest.approx(alone, abs=1e-5)


# --- what is measured ----------------------------------------------------------------------------


def test_a_record_without_the_twin_is_not_asked(arms, monkeypatch):
    run, arena = arms("clip")
    first = held(arena)[0]
    monkeypatch.setitem(first.fields, "caption_roles", None)
    found, _ = ask(run, arena, "choice:caption_roles")
    assert set(found) == {record.key for record in held(arena)[1:]}


def test_nothing_to_ask_is_one_clear_error(arms, monkeypatch):
    run, arena = arms("clip")
    for record in held(arena):
        monkeypatch.setitem(record.fields, "boxes", None)
    with pytest.raises(RunError, match=r"split test.*\n.*found none"):
        ask(run, arena, "choice:boxes")


def test_asking_leaves_the_step_as_it_was(arms):
    run, arena = arms("clip")
    run.step.train()
    before = {name: value.clone() for name, value in run.step.state_dict().items()}
    ask(run, arena, "probe:fact.colour_1")
    assert run.step.training
    assert all(torch.equal(before[name], x) for name, x in run.step.state_dict().items())
    run.step.eval()
