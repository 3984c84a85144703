"""What every objective keeps, beside its own tests."""

import pytest
import torch
from torch.nn import functional as F

from sensorium import shelf
from sensorium.nodes import Embed, Encode, Fuse, Read
from sensorium.records import Source
from sensorium.step import plan
from sensorium.tokens import Batch
from sensorium.views import View

N, E = 12, 8


@pytest.fixture(params=shelf.names("objectives"))
def objective(request):
    module = shelf.load("objectives", request.param)
    return module.Objective(module.Spec(), {m: View(m) for m in ("image", "text")})


def batch(n=N, order=None):
    order = list(range(n)) if order is None else order
    there = {m: torch.ones(n, dtype=torch.bool) for m in ("image", "text")}
    identity = {m: torch.tensor(order) + 100 for m in there}
    return Batch(tuple(f"r{x}" for x in order), (Source("x"),) * n, {}, there, identity)


def answers(objective, n=N, seed=0, alike=False):
    """Random unit vectors for every need; `alike` makes all of them equal: no skill."""
    rng = torch.Generator().manual_seed(seed)
    got = {}
    for name, node in objective.needs().items():
        assert isinstance(node, Read)
        drawn = torch.ones(n, E) if alike else torch.randn(n, E, generator=rng)
        got[name] = F.normalize(drawn, dim=1).requires_grad_()
    return got


def test_needs_are_nodes_and_static(objective):
    assert objective.needs() == objective.needs()
    for node in plan({"it": objective}):
        assert isinstance(node, Embed | Encode | Fuse | Read)
        hash(node)


def test_finite_with_gradient_to_all_it_claims(objective):
    got = answers(objective)
    loss = objective.score(got, batch())
    assert torch.isfinite(loss.mean)
    loss.mean.backward()
    for tensor in (*got.values(), *objective.parameters()):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().max() > 0


def test_count_is_known_before_the_forward(objective):
    assert torch.equal(objective.count(batch()), objective.score(answers(objective), batch()).count)


def test_order_of_records_changes_nothing(objective):
    got, order = answers(objective), torch.randperm(N, generator=torch.Generator().manual_seed(1))
    turned = {name: x[order] for name, x in got.items()}
    a = objective.score(got, batch())
    b = objective.score(turned, batch(order=order.tolist()))
    torch.testing.assert_close(a.sum, b.sum, rtol=1e-5, atol=1e-5)


def test_repeats_and_writes_nothing(objective):
    before = {k: v.clone() for k, v in objective.state_dict().items()}
    a = objective.score(answers(objective), batch()).sum
    b = objective.score(answers(objective), batch()).sum
    assert torch.equal(a, b)
    for name, value in objective.state_dict().items():
        assert torch.equal(value, before[name])


def test_chance_is_what_states_without_skill_give(objective):
    loss = objective.score(answers(objective, alike=True), batch())
    torch.testing.assert_close(loss.mean, loss.chance, rtol=1e-4, atol=1e-4)


def test_two_halves_equal_the_whole_where_it_is_additive(objective):
    got = answers(objective)
    whole = objective.score(got, batch())
    halves = [
        objective.score({k: v[at] for k, v in got.items()}, batch(N // 2, list(at)))
        for at in (range(N // 2), range(N // 2, N))
    ]
    together = halves[0].sum + halves[1].sum
    assert torch.isclose(together, whole.sum, rtol=1e-5).item() == objective.additive
