"""What the benchmarks time against each other computes the same; how they time and refuse."""

import importlib
from dataclasses import replace

import pytest
import torch
from small_recipe import small

from benchmarks import captions, objectives, packing, sidebyside, vocabulary
from benchmarks.sidebyside import Against, Results, Timing, Unequal, equal
from sensorium.records import Record, Source
from sensorium.step import Step
from sensorium.tokens import Tokens

# --- three objectives in one step ---------------------------------------------------------------


@pytest.fixture(scope="module")
def albef() -> objectives.World:
    made = small("albef", *objectives.NO_DROPOUT, batch=4)  # 4 divides the queue of 20
    given = objectives.lively(made.step, _ragged(made.batches[0]))
    # Weights that training starts from say almost the same of everything.
    with torch.no_grad():
        for x in made.step.parameters():
            if x.ndim > 1:
                x.mul_(2.0)
    return given


def _ragged(batch):
    """The batch with words gone from the end of some texts, so that there is padding."""
    text = batch.tokens["text", 0]
    keep = torch.arange(text.real.shape[1])[None] < text.real.sum(1, keepdim=True)
    keep &= torch.arange(text.real.shape[1])[None] < torch.tensor([[25], [10], [25], [12]])

    def cut(tokens: Tokens) -> Tokens:
        return replace(tokens, real=tokens.real & keep, ids=tokens.ids.masked_fill(~keep, 0))

    looks = {}
    for view, seen in batch.looks.items():
        stays = keep.flatten()[seen.places]
        looks[view] = replace(
            seen, tokens=cut(seen.tokens), places=seen.places[stays], truth=seen.truth[stays]
        )
    return replace(batch, tokens=batch.tokens | {("text", 0): cut(text)}, looks=looks)


def test_one_step_separate_runs_and_the_published_order_compute_the_same(albef):
    """Losses, gradients of every parameter, the teacher after its step, what the queue holds."""
    found = objectives.check(albef)
    assert set(found) == {"separate", "published", "published, packed texts", "queue"}
    assert all(x <= 1e-5 for told in found.values() for x in told.values())
    assert len(albef.batch.looks) == 1
    assert all(len(x.truth) >= 2 for x in albef.batch.looks.values())  # words are hidden


def test_the_published_order_has_a_gradient_for_all_that_learns(albef):
    step = albef.step
    step.zero_grad()
    objectives.arms(albef, moves=False)["published"]()
    none = {n for n, x in sidebyside.parameters(step, "teacher.") if x.grad is None}
    assert none <= {f"model.absent.{m}" for m in ("image", "text")}  # nobody lacks anything
    step.zero_grad()


def test_a_wrong_partner_would_be_seen(albef, monkeypatch):
    """The check is able to fail: partners drawn otherwise are other losses."""
    published = importlib.import_module("benchmarks.published_albef")
    monkeypatch.setattr(published, "gumbel", lambda a, b, at: torch.zeros(len(a), len(b)))
    with pytest.raises(Unequal, match="matching"):
        objectives.check(albef)


def test_states_of_pictures_can_be_given(albef):
    """With given states losses are as with the encoder, and gradients arrive at the states."""
    made = small("albef", *objectives.NO_DROPOUT, batch=4)
    given = objectives.lively(made.step, albef.batch)
    before = {name: x.clone() for name, x in given.step.state_dict().items()}
    whole = _numbers(objectives.once(given.step, given.batch, False))
    given.step.load_state_dict(before)
    given = objectives.without_vision(given)
    assert isinstance(given.step, Step)
    found = objectives.check(given)
    assert all(x <= 1e-5 for told in found.values() for x in told.values())
    given.step.zero_grad()
    alone = _numbers(objectives.once(given.step, given.batch, False))
    assert alone == pytest.approx(whole, abs=1e-6)
    assert given.step.model.encoders["image"].tokens.grad.abs().sum() > 0
    assert given.step.teacher.encoders["image"].tokens.grad is None


def _numbers(losses):
    return {name: loss.item() for name, loss in losses.items()}


def test_waits_are_counted():
    x = torch.arange(4.0)
    with objectives.waits() as counted:
        x.sum().item()
        (x > 1).nonzero()
        x.cpu()
        x + 1
    assert counted.count == 3


# --- the head over words, packed texts ----------------------------------------------------------


def test_heads_over_words_compute_the_same():
    given = vocabulary.world(rows=3, length=7, width=16, entries=50, rate=0.3)
    assert set(vocabulary.check(given)) == set(vocabulary.PEERS)


def test_held_memory_is_that_of_the_logits():
    """Everywhere: log-softmax alone is [places, V]; hidden places: its share of it."""
    given = vocabulary.world(rows=4, length=10, width=8, entries=3000, rate=0.2)
    bytes_of_one = 4 * 3000
    for name, rows in (("cross_entropy(h @ W.T)", 40), ("hidden places, table alone", 8)):
        found = vocabulary.held(given, name)
        assert rows * bytes_of_one <= found <= 1.2 * rows * bytes_of_one


@pytest.fixture(scope="module")
def texts() -> packing.World:
    stream = torch.Generator().manual_seed(0)
    lengths = torch.tensor([3, 12, 5, 9, 4, 7])
    theirs = packing.clip(width=16, depth=2, heads=2, vocabulary=40, last=39)
    spec = packing.transformer.Spec(
        width=16, depth=2, heads=2, activation="quick_gelu", pool="last"
    )
    reader = packing.text.Modality(packing.text.Spec(length=77, vocabulary=300))
    reader.vocabulary = 40
    ours = packing.transformer.Encoder(spec, reader)
    packing.copy(ours, theirs)

    def tokens(t: int) -> Tokens:
        real = torch.arange(t)[None] < lengths[:, None]
        drawn = torch.randint(1, 39, (len(lengths), 77), generator=stream.manual_seed(1))[:, :t]
        ids = drawn.masked_fill(~real, 0)
        ids[torch.arange(len(lengths)), lengths - 1] = 39
        return Tokens("text", real=real, position=torch.arange(t)[None, :, None], ids=ids)

    return packing.World(ours, theirs, tokens(12), tokens(77))


def test_packed_and_padded_texts_compute_the_same(texts):
    found = packing.check(texts)
    assert set(packing.runs(texts)) <= set(found)


def test_packing_packs(texts, monkeypatch):
    """The arm that is called packed runs over fewer rows than there are texts."""
    rows = []
    texts.ours.stack.blocks[0].register_forward_hook(lambda _, given, out: rows.append(out.shape))
    for packs in (True, False):
        packing.encode(texts, texts.natural, packs)
    assert rows[0][0] < rows[1][0] == 6


def test_captions_say_no_word_of_the_name_twice():
    made = Record("x", Source("m"), {"text": "Red apple", "keywords": ["apple", "fruit", "red"]})
    assert captions.caption(made) == "Red apple: fruit"
    assert captions.caption(replace(made, fields={"text": "Red apple"})) == "Red apple"


# --- timing ---------------------------------------------------------------------------------------


def test_arms_run_in_turn_and_the_first_round_is_not_counted():
    ran, now = [], [0.0]
    took = {"a": 2.0, "b": 1.0}

    def arm(name):
        def run():
            ran.append(name)
            now[0] += took[name]

        return run

    found = sidebyside.timed({n: arm(n) for n in took}, 8, clock=lambda: now[0])
    assert ran == ["a", "b"] * 9
    assert found["a"].seconds == [2.0] * 8
    said = Against("a", "b", 1.5).told(found)
    assert (said["ratio"], said["met"]) == (2.0, True)
    assert Against("b", "a", 0.6).told(found)["met"] is False


def test_drift_is_of_the_later_half():
    assert Timing([1.0] * 4 + [1.2] * 4).drift == pytest.approx(0.2)
    assert Timing([1.2] * 4 + [1.0] * 4).drift == pytest.approx(0.2)
    assert Timing([1.0, 1.2] * 4).drift == 0


def test_what_drifts_is_not_published(monkeypatch):
    written = []
    monkeypatch.setattr(sidebyside, "write_result", lambda name, content: written.append(name))
    calm = sidebyside.comparison({"a": Timing([1.0] * 8)}, [])
    wild = sidebyside.comparison({"a": Timing([1.0] * 4 + [1.2] * 4)}, [])
    with pytest.raises(SystemExit, match="not published"):
        sidebyside.publish("x", {"small": {"whole": wild}})
    sidebyside.publish("x", {"small": {"whole": calm}}, rough=True)
    assert not written
    sidebyside.publish("x", {"small": {"whole": calm}})
    assert written == ["x"]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Results({"x": torch.tensor(1.0)}, {}), Results({"x": torch.tensor(1.0001)}, {})),
        (Results({"x": torch.tensor(torch.nan)}, {}), Results({"x": torch.tensor(1.0)}, {})),
        (Results({"x": torch.tensor(1.0)}, {}), Results({}, {})),
        (Results({}, {"w": None}), Results({}, {"w": torch.ones(2)})),
        (Results({}, {"w": torch.ones(2)}), Results({}, {"w": None})),
        (Results({}, {"w": torch.ones(2)}), Results({}, {"w": torch.tensor([1.0, 1.1])})),
        (Results({}, {"w": torch.ones(2)}), Results({}, {})),
    ],
)
def test_what_differs_is_unequal(ours, theirs):
    with pytest.raises(Unequal):
        equal(ours, theirs)


def test_a_gradient_of_zeros_is_none():
    zeros = Results({}, {"w": torch.zeros(2), "v": torch.ones(2)})
    assert equal(zeros, Results({}, {"w": None, "v": torch.ones(2)}))["gradients"] == 0
