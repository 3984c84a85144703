"""Contrast against slow loops, closed forms, numerical gradients and symmetry."""

import math

import pytest
import torch
from torch.nn import functional as F

from sensorium.objectives.contrastive import Objective, Spec, info_nce
from sensorium.records import Source
from sensorium.tokens import Batch
from sensorium.views import View


def unit(n, e, seed, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, e, generator=rng, dtype=dtype), dim=1)


def slow(left, right, scale, positive, valid):
    """Equation 2 of Khosla et al. as loops: -sum over positives of log softmax, shared equally."""
    n = len(left)
    total = 0.0
    for i in range(n):
        if not valid[i]:
            continue
        candidates = [j for j in range(n) if valid[j]]
        scores = {
            j: scale * sum(float(a * b) for a, b in zip(left[i], right[j], strict=True))
            for j in candidates
        }
        largest = max(scores.values())
        log_sum = largest + math.log(sum(math.exp(s - largest) for s in scores.values()))
        positives = [j for j in candidates if positive[i][j]]
        total -= sum(scores[j] - log_sum for j in positives) / len(positives)
    return total


@pytest.mark.parametrize("seed", range(4))
def test_equals_slow_loops(seed):
    rng = torch.Generator().manual_seed(seed)
    left, right = unit(7, 5, seed), unit(7, 5, seed + 50)
    positive = (torch.rand(7, 7, generator=rng) < 0.2) | torch.eye(7, dtype=torch.bool)
    valid = torch.rand(7, generator=rng) < 0.8
    scale = torch.tensor([9.0])
    there, back = info_nce(left, right, scale, positive, valid)
    assert there.item() == pytest.approx(slow(left, right, 9.0, positive, valid), rel=1e-5)
    assert back.item() == pytest.approx(slow(right, left, 9.0, positive.T, valid), rel=1e-5)


@pytest.mark.parametrize("n", [2, 17, 64])
def test_without_skill_it_is_ln_n(n):
    same = torch.ones(n, 4) / 2
    eye, valid = torch.eye(n, dtype=torch.bool), torch.ones(n, dtype=torch.bool)
    for value in info_nce(same, same, torch.tensor([14.0]), eye, valid):
        assert value.item() / n == pytest.approx(math.log(n), rel=1e-5)


def test_perfection_has_a_closed_form():
    """Orthogonal pairs at scale s: every row is ln(1 + (n - 1) e^-s)."""
    n, s = 8, 5.0
    eye = torch.eye(n)
    there, back = info_nce(eye, eye, torch.tensor([s]), eye.bool(), torch.ones(n, dtype=torch.bool))
    expected = n * math.log(1 + (n - 1) * math.exp(-s))
    assert there.item() == pytest.approx(expected, rel=1e-4)
    assert back.item() == pytest.approx(expected, rel=1e-4)


def test_gradients_are_numerical_ones():
    left = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    right = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    positive = torch.eye(5, dtype=torch.bool)
    positive[0, 3] = positive[3, 0] = True
    valid = torch.tensor([True, True, False, True, True])

    def loss(left, right, scale):
        return sum(info_nce(left, right, scale, positive, valid))

    assert torch.autograd.gradcheck(loss, (left, right, scale))


def test_sides_are_symmetric():
    left, right = unit(6, 4, 1), unit(6, 4, 2)
    positive = torch.eye(6, dtype=torch.bool)
    positive[1, 4] = True  # not symmetric: the transposed table must be used for the way back
    valid = torch.ones(6, dtype=torch.bool)
    a = info_nce(left, right, torch.tensor([7.0]), positive, valid)
    b = info_nce(right, left, torch.tensor([7.0]), positive.T, valid)
    assert a[0].item() == pytest.approx(b[1].item())
    assert a[1].item() == pytest.approx(b[0].item())
    assert a[0].item() != pytest.approx(a[1].item())


def batch(n, present=None, captions=None):
    there = torch.ones(n, dtype=torch.bool) if present is None else torch.tensor(present)
    identity = {"image": torch.arange(n) + 1000}
    if captions is not None:
        identity["text"] = torch.tensor(captions)
    return Batch(
        keys=tuple(map(str, range(n))),
        sources=(Source("x"),) * n,
        tokens={},
        present={"image": torch.ones(n, dtype=torch.bool), "text": there},
        identity=identity,
    )


def objective(**options):
    return Objective(Spec(**options), {"image": View("image"), "text": View("text")})


def test_what_is_absent_has_no_influence():
    left, right = unit(5, 4, 3).requires_grad_(), unit(5, 4, 4).requires_grad_()
    told = batch(5, [True, True, False, True, True])
    loss = objective().score({"left": left, "right": right}, told)
    loss.sum.backward()
    assert left.grad[2].abs().max() == 0
    assert right.grad[2].abs().max() == 0
    kept = [0, 1, 3, 4]
    smaller = objective().score(
        {"left": left[kept].detach(), "right": right[kept].detach()}, batch(4)
    )
    assert loss.sum.item() == pytest.approx(smaller.sum.item(), rel=1e-5)
    assert loss.count.item() == 4
    assert loss.chance.item() == pytest.approx(math.log(4))


def test_equal_captions_are_positives():
    left, right = unit(4, 4, 5), unit(4, 4, 6)
    got = {"left": left, "right": right}
    told = objective().score(got, batch(4, captions=[7, 8, 7, 9]))
    positive = torch.eye(4, dtype=torch.bool)
    positive[0, 2] = positive[2, 0] = True
    scale = objective().scale.item()
    valid = torch.ones(4, dtype=torch.bool)
    expected = slow(left, right, scale, positive, valid) + slow(right, left, scale, positive, valid)
    assert told.sum.item() == pytest.approx(expected / 2, rel=1e-4)


def test_nothing_present_is_a_finite_zero_with_a_graph():
    left = unit(3, 4, 7).requires_grad_()
    loss = objective().score({"left": left, "right": unit(3, 4, 8)}, batch(3, [False] * 3))
    loss.mean.backward()
    assert loss.mean.item() == 0
    assert left.grad.abs().max() == 0


def test_temperature_is_bounded_and_learned():
    told = objective(temperature=0.07, largest_scale=100)
    assert told.scale.item() == pytest.approx(1 / 0.07, rel=1e-5)
    with torch.no_grad():
        told.log_scale.fill_(20.0)
    assert told.scale.item() == 100.0
    assert told.log_scale.shape == (1,)


def test_order_of_the_batch_changes_nothing():
    left, right = unit(9, 4, 9), unit(9, 4, 10)
    shuffled = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    captions = torch.tensor([1, 1, 2, 3, 4, 5, 6, 7, 8])
    a = objective().score({"left": left, "right": right}, batch(9, captions=captions.tolist()))
    b = objective().score(
        {"left": left[shuffled], "right": right[shuffled]},
        batch(9, captions=captions[shuffled].tolist()),
    )
    assert a.sum.item() == pytest.approx(b.sum.item(), rel=1e-5)
