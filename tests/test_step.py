"""The step: each node once, inputs first; losses are exact sums; an empty batch is a zero."""

import dataclasses

import pytest
import torch
from test_tokens import texts
from torch import nn

from sensorium.fusion import none
from sensorium.model import Model, State
from sensorium.nodes import Embed, Encode, Fuse, Given, Read, Rows
from sensorium.objectives import contrastive
from sensorium.records import Source
from sensorium.step import Forward, Loss, Step, plan
from sensorium.teacher import teacher_of
from sensorium.tokens import Batch, Tokens, collate
from sensorium.views import View

IMAGE, TEXT = View("image"), View("text")


class Encoder(nn.Module):
    """Counts to four in its states; notes each call in a list that all share."""

    width = 4

    def __init__(self, name, calls):
        super().__init__()
        self.name, self.calls = name, calls
        self.scale = nn.Parameter(torch.ones(4))

    def embed(self, look):
        self.calls.append(("embed", self.name))
        tokens = look.tokens
        start = tokens.ids if tokens.ids is not None else tokens.values[..., 0]
        states = start[..., None].float() + torch.arange(4.0)
        return State(states.sin(), tokens.real, look.order, tokens.position)

    def encode(self, state, cache=None):
        self.calls.append(("encode", self.name))
        return State(
            state.tokens, state.real, state.order, state.position,
            pooled=state.tokens.mean(dim=1) * self.scale,
        )  # fmt: skip


class Meeting(nn.Module):
    """A fusion that notes its calls and adds the first part's mean to every part."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    joint_width = 4

    def forward(self, states, rows=None, cache=None):
        self.calls.append(("fuse", len(states)))
        index = [slice(None)] * len(states) if rows is None else rows
        return [
            State(x.tokens[i], x.real[i], x.order[i], x.position, pooled=x.pooled[i] + at)
            for at, (x, i) in enumerate(zip(states, index, strict=True))
        ]

    def joint(self, states):
        return states[0].pooled * states[1].pooled


class Objective(nn.Module):
    """Scores a constant; asks for what it is told."""

    def __init__(self, needs, weight=1.0, total=0.0, count=1.0):
        super().__init__()
        self.asks, self.spec = needs, contrastive.Spec(weight=weight)
        self.total, self.number = nn.Parameter(torch.tensor(total)), count

    def needs(self):
        return self.asks

    def score(self, got, batch):
        self.got = got
        return Loss(self.total * 1, torch.tensor(self.number), torch.zeros(()))


def batch(n=3, present=True):
    """Words and one-token pictures of n records."""
    pictures = Tokens(
        "image",
        real=torch.ones(n, 1, dtype=torch.bool),
        position=torch.zeros(1, 1, 1, dtype=torch.int64),
        values=torch.arange(float(n))[:, None, None].repeat(1, 1, 2),
    )
    there = torch.full((n,), present)
    return Batch(
        keys=tuple(f"k{at}" for at in range(n)),
        sources=(Source("x"),) * n,
        tokens={("text", 0): collate(texts(*[2] * n)), ("image", 0): pictures},
        present={"text": there, "image": there},
    )


def model():
    """A model and the list in which its modules note their calls; projections are hooked."""
    calls = []
    encoders = {name: Encoder(name, calls) for name in ("image", "text")}
    made = Model(encoders, Meeting(calls), 5)
    for name, layer in made.projections.items():
        layer.register_forward_hook(lambda *_, name=name: calls.append(("read", name)))
    return made, calls


def both():
    """Two vectors, each from its own encoder."""
    return {"left": Read(Encode(IMAGE)), "right": Read(Encode(TEXT))}


def fused():
    """Both vectors after a meeting."""
    meeting = Fuse((Encode(IMAGE), Encode(TEXT)))
    return {"a": Read(meeting, part=0), "b": Read(meeting, part=1)}


def test_each_node_runs_once_however_many_ask():
    made, calls = model()
    objectives = {
        "one": Objective(both()),
        "two": Objective(both()),
        "three": Objective(fused()),
        "four": Objective({"again": Read(Encode(TEXT))}),
    }
    step = Step(made, objectives)
    step(batch())
    assert calls.count(("embed", "image")) == calls.count(("embed", "text")) == 1
    assert calls.count(("encode", "image")) == calls.count(("encode", "text")) == 1
    assert calls.count(("fuse", 2)) == 1
    # as it came, and after the meeting: two reads of each modality
    assert calls.count(("read", "image")) == calls.count(("read", "text")) == 2
    assert objectives["one"].got["left"] is objectives["two"].got["left"]
    step(batch())  # and the next batch is computed anew
    assert calls.count(("embed", "text")) == 2


def test_inputs_run_first_in_the_order_of_the_recipe():
    made, calls = model()
    objectives = {"first": Objective({"x": Read(Encode(TEXT))}), "then": Objective(fused())}
    Step(made, objectives)(batch())
    assert calls == [
        ("embed", "text"), ("encode", "text"), ("read", "text"),
        ("embed", "image"), ("encode", "image"), ("fuse", 2), ("read", "image"), ("read", "text"),
    ]  # fmt: skip
    # What `plan` says is what ran.
    kinds = {Embed: "embed", Encode: "encode", Fuse: "fuse", Read: "read"}
    assert [kinds[type(node)] for node in plan(objectives)] == [what for what, _ in calls]


def test_plan_lists_inputs_first_and_each_node_once():
    nodes = plan({"a": Objective(both()), "b": Objective(fused()), "c": Objective(both())})
    assert len(nodes) == len(set(nodes)) == 9  # 2 embed, 2 encode, 1 fuse, 2 + 2 read
    for at, node in enumerate(nodes):
        assert set(getattr(node, "inputs", ())) <= set(nodes[:at])
    assert {*both().values(), *fused().values()} <= set(nodes)


def test_forward_gives_each_part_of_a_meeting_to_who_asks():
    made, _ = model()
    got = Forward(made, batch())
    states = [got(Encode(view)) for view in (IMAGE, TEXT)]
    for part, (view, state) in enumerate(zip((IMAGE, TEXT), states, strict=True)):
        node = Read(Fuse((Encode(IMAGE), Encode(TEXT))), part=part)
        wanted = made.projections[view.modality](state.pooled + part)
        wanted = wanted / wanted.norm(dim=1, keepdim=True)
        assert torch.allclose(got(node), wanted, atol=1e-6)


@dataclasses.dataclass(frozen=True)
class Next:
    """Pairs each picture with the next record's text."""

    @property
    def inputs(self):
        return (Read(Encode(IMAGE)), Read(Encode(TEXT)))

    def rows(self, got, batch):
        assert [x.shape[1] for x in got] == [5, 5]
        at = torch.arange(len(batch))
        return Rows({"text": at.roll(-1), "image": at})


def test_a_pairing_decides_who_meets_whom():
    made, _ = model()
    got = Forward(made, batch())
    image, text = got(Encode(IMAGE)).pooled, got(Encode(TEXT)).pooled
    meeting = Fuse((Encode(IMAGE), Encode(TEXT)), Next())
    torch.testing.assert_close(got(Read(meeting, "joint")), image * (text.roll(-1, 0) + 1))
    own = Fuse((Encode(IMAGE), Encode(TEXT)))
    torch.testing.assert_close(got(Read(own, "joint")), image * (text + 1))
    nodes = plan({"it": Objective({"met": Read(meeting, "joint")})})
    assert [type(node).__name__ for node in nodes] == [
        *("Embed", "Encode") * 2, "Read", "Read", "Fuse", "Read",
    ]  # fmt: skip


def test_logits_are_read_at_the_places_alone():
    calls, later = [], View("text", order="causal")
    encoders = {name: Encoder(name, calls) for name in ("image", "text")}
    encoders["text"].words = nn.Embedding(11, 4)
    made = Model(encoders, Meeting(calls), 5, told={"text": {"transform": False}})
    got = Forward(made, batch())
    states = got(Encode(later)).tokens
    logits = got(Read(Encode(later), "logits"))
    wanted = states @ encoders["text"].words.weight.T
    torch.testing.assert_close(logits, wanted[:, 0])  # two tokens a text: the first predicts
    with pytest.raises(TypeError, match="expected a view that predicts"):
        got(Read(Encode(TEXT), "logits"))


def test_an_absent_record_is_one_learned_token_whatever_it_holds():
    made, _ = model()
    there = torch.tensor([True, False, True])
    given = dataclasses.replace(batch(), present={"text": there, "image": there})
    state = Forward(made, given)(Embed(TEXT))
    assert state.real.tolist() == [[True, True], [True, False], [True, True]]
    assert torch.equal(state.tokens[1, 0], made.absent["text"])
    state.tokens.sum().backward()
    assert made.absent["text"].grad.tolist() == [1.0] * 4


def test_what_a_teacher_asks_of_the_student_keeps_its_gradient():
    calls = []
    encoders = {name: Encoder(name, calls) for name in ("image", "text")}
    made = Model(encoders, Meeting(calls), 5)
    got = Forward(made, batch(), teacher_of(made).requires_grad_(True))
    meeting = Fuse((Encode(IMAGE, "teacher"), Encode(TEXT, "teacher")), Next())
    assert not got(Read(meeting, "joint")).requires_grad
    assert got(Read(Encode(IMAGE))).requires_grad  # computed while the teacher's was
    with torch.no_grad():
        assert not Forward(made, batch())(Read(Encode(IMAGE))).requires_grad


def test_what_is_no_node_is_refused():
    made, _ = model()
    with pytest.raises(TypeError, match="expected a node, found 'text'"):
        Forward(made, batch())("text")


def test_vectors_have_no_gradient_and_equal_those_of_training():
    made, _ = model()
    step, node = Step(made, {"x": Objective(both())}), Read(Encode(TEXT))
    found = step.vectors(node, batch())
    assert not found.requires_grad
    assert torch.equal(found, Forward(made, batch())(node).detach())


@pytest.mark.parametrize("part", ["sum", "count", "chance"])
@pytest.mark.parametrize("shape", [(1,), (2, 3)])
def test_a_loss_is_made_of_scalars(part, shape):
    given = dict(sum=torch.zeros(()), count=torch.ones(()), chance=torch.ones(()))
    Loss(**given)
    with pytest.raises(TypeError, match=f"loss {part}: expected a scalar, found"):
        Loss(**given | {part: torch.zeros(shape)})


def test_a_mean_is_sum_by_count_and_zero_of_none():
    one = torch.ones(())
    assert Loss(torch.tensor(6.0), torch.tensor(4), one).mean.item() == 1.5
    weight = nn.Parameter(torch.tensor(3.0))
    empty = Loss(weight * 0, torch.tensor(0), one).mean
    assert empty.item() == 0.0
    empty.backward()
    assert weight.grad.item() == 0.0


def test_the_total_is_the_sum_of_weight_times_mean():
    made, _ = model()
    objectives = {
        "a": Objective(both(), weight=0.5, total=6.0, count=4.0),
        "b": Objective(both(), weight=3.0, total=10.0, count=8.0),
    }
    outcome = Step(made, objectives)(batch())
    total, losses = outcome.total, outcome.losses
    assert outcome.answers["a"].keys() == both().keys()
    assert total.item() == pytest.approx(0.5 * 6 / 4 + 3 * 10 / 8)
    assert list(losses) == ["a", "b"]
    assert (losses["a"].sum.item(), losses["b"].count.item()) == (6.0, 8.0)
    total.backward()
    assert objectives["a"].total.grad.item() == pytest.approx(0.5 / 4)
    assert objectives["b"].total.grad.item() == pytest.approx(3 / 8)


def test_a_batch_of_absent_records_is_a_finite_zero_with_a_graph():
    made = Model({n: Encoder(n, []) for n in ("image", "text")}, none.Fusion(none.Spec(), {}), 5)
    objective = contrastive.Objective(contrastive.Spec(), Given({"image": IMAGE, "text": TEXT}))
    outcome = Step(made, {"contrast": objective})(batch(present=False))
    total, losses = outcome.total, outcome.losses
    assert losses["contrast"].count.item() == 0
    assert total.item() == 0.0
    total.backward()
    grads = [p.grad for p in made.parameters()]
    assert all(grad is not None and torch.equal(grad, grad * 0) for grad in grads)
