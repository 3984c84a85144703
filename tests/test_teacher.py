"""The teacher: a moving average against a slow loop; it never learns and never drops out."""

import pytest
import torch
from test_step import TEXT, Encoder, Meeting, batch
from torch import nn

from sensorium.model import Model
from sensorium.nodes import Encode, Read
from sensorium.objectives import contrastive
from sensorium.step import Loss, Step
from sensorium.teacher import follow, teacher_of


class Both(nn.Module):
    """Asks student and teacher for the same vector."""

    additive = True

    def __init__(self):
        super().__init__()
        self.spec = contrastive.Spec()
        self.kept = []

    def needs(self):
        return {who: Read(Encode(TEXT, who)) for who in ("student", "teacher")}

    def score(self, got, batch):
        one = torch.ones(())
        return Loss((got["student"] * got["teacher"]).sum(), one, one)

    def after(self, got, batch):
        self.kept.append((got["teacher"].clone(), len(batch)))


def step(momentum=0.9):
    calls = []
    encoders = {name: Encoder(name, calls) for name in ("image", "text")}
    return Step(Model(encoders, Meeting(calls), 5), {"both": Both()}, momentum)


def test_it_begins_as_an_exact_copy_of_its_own():
    made = step()
    for mine, yours in zip(made.teacher.parameters(), made.model.parameters(), strict=True):
        assert torch.equal(mine, yours)
        assert mine.data_ptr() != yours.data_ptr()
        assert not mine.requires_grad


def test_it_follows_as_a_moving_average():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    teacher = teacher_of(model)
    wanted = [p.detach().clone() for p in model.parameters()]
    for _ in range(5):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
            model[1].running_mean.add_(1.0)
        follow(teacher, model, 0.8)
        wanted = [0.8 * old + 0.2 * p for old, p in zip(wanted, model.parameters(), strict=True)]
    for found, expected in zip(teacher.parameters(), wanted, strict=True):
        torch.testing.assert_close(found, expected)
    assert torch.equal(teacher[1].running_mean, model[1].running_mean)


def test_no_gradient_reaches_it_and_it_stays_in_evaluation():
    made = step().train()
    assert made.model.training
    assert not made.teacher.training
    made(batch()).total.backward()
    assert all(p.grad is None for p in made.teacher.parameters())
    assert any(p.grad is not None for p in made.model.parameters())


def test_what_an_objective_keeps_is_committed_after_the_step():
    made = step()
    outcome = made(batch())
    assert made.objectives["both"].kept == []  # score writes nothing
    made.commit(outcome, batch())
    [(vectors, n)] = made.objectives["both"].kept
    assert n == 3
    assert torch.equal(vectors, made.read(Read(Encode(TEXT, "teacher")), batch()))


def test_a_step_without_a_teacher_says_so():
    made = step(momentum=None)
    assert made.teacher is None
    with pytest.raises(TypeError, match="expected a step with a teacher"):
        made(batch())
