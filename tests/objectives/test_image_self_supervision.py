"""Self-supervision of pictures against slow loops, SLIP's expressions and closed forms."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sensorium.errors import RecipeError
from sensorium.nodes import Encode, Given, Read
from sensorium.objectives.image_self_supervision import BatchNorm, Head, Objective, Spec, nt_xent
from sensorium.records import Source
from sensorium.tokens import Batch
from sensorium.views import View

D, OUT = 6, 5
GIVEN = Given({"image": View("image")}, widths={"image": D}, variants={"image": 2})


def batch(n, present=None, pictures=None, keys=None):
    return Batch(
        keys=tuple(keys or map(str, range(n))),
        sources=(Source("x"),) * n,
        tokens={},
        present={"image": torch.tensor(present or [True] * n)},
        identity={"image": torch.tensor(pictures or list(range(100, 100 + n)))},
    )


def objective(seed=0, **options):
    torch.manual_seed(seed)
    return Objective(Spec(**{"hidden": 8, "out": OUT} | options), GIVEN)


def pooled(n, seed, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    return {x: torch.randn(n, D, generator=rng, dtype=dtype) for x in ("first", "second")}


def unit(n, seed, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, OUT, generator=rng, dtype=dtype), dim=1)


def slow(first, second, scale, pictures, valid):
    """SimCLR's equation 1 as loops over 2 n views; several positives share a row's target."""
    views = [(side, at) for side in (0, 1) for at in range(len(first)) if valid[at]]
    vector = {(side, at): (first, second)[side][at].tolist() for side, at in views}
    total = 0.0
    for asks in views:
        scores = {}
        for other in views:
            if other != asks:
                pairs = zip(vector[asks], vector[other], strict=True)
                scores[other] = scale * sum(a * b for a, b in pairs)
        log_sum = math.log(sum(map(math.exp, scores.values())))
        right = [other for other in scores if pictures[other[1]] == pictures[asks[1]]]
        total -= sum(scores[other] - log_sum for other in right) / len(right)
    return total


@pytest.mark.parametrize("seed", range(4))
def test_equals_slow_loops(seed):
    first, second = unit(6, seed), unit(6, seed + 50)
    pictures = [1, 2, 3, 2, 5, 6] if seed % 2 else list(range(6))
    valid = [True, True, seed < 2, True, True, True]
    about = torch.tensor([[at, x] for at, x in enumerate(pictures)])
    a, b, candidates = nt_xent(first, second, torch.tensor([4.0]), about, torch.tensor(valid))
    assert (a + b).item() == pytest.approx(slow(first, second, 4.0, pictures, valid), rel=1e-5)
    assert candidates.item() == 2 * sum(valid) - 1


def published(q_a, q_b, tau):
    """SLIP's SIMCLRLoss as its code writes it, on one process: facebookresearch/SLIP losses.py."""
    q_a, q_b = F.normalize(q_a, dim=-1, p=2), F.normalize(q_b, dim=-1, p=2)
    n = q_a.size(0)
    labels, itself = torch.arange(n), F.one_hot(torch.arange(n), n) * 1e9
    logits_aa = torch.matmul(q_a, q_a.transpose(0, 1)) / tau - itself
    logits_bb = torch.matmul(q_b, q_b.transpose(0, 1)) / tau - itself
    logits_ab = torch.matmul(q_a, q_b.transpose(0, 1)) / tau
    logits_ba = torch.matmul(q_b, q_a.transpose(0, 1)) / tau
    loss_a = F.cross_entropy(torch.cat([logits_ab, logits_aa], dim=1), labels)
    loss_b = F.cross_entropy(torch.cat([logits_ba, logits_bb], dim=1), labels)
    return (loss_a + loss_b) / 2


def published_head(mine):
    """SLIP's _build_mlp (models.py), with torch's own norm, and our weights."""
    bn1, bn2 = nn.BatchNorm1d(8), nn.BatchNorm1d(8)
    theirs = nn.Sequential(
        nn.Linear(D, 8), bn1, nn.ReLU(), nn.Linear(8, 8), bn2, nn.ReLU(), nn.Linear(8, OUT)
    )
    weights = zip(theirs.parameters(), mine.parameters(), strict=True)
    with torch.no_grad():
        for a, b in weights:
            a.copy_(b)
    return theirs.train()


def test_equals_the_published_expression_of_slip():
    """Loss, gradient of what comes in, gradient of every weight of the head."""
    made, got = objective(), pooled(7, 1)
    with torch.no_grad():  # norms that do something
        for norm in (made.head.norm1, made.head.norm2):
            norm.weight.uniform_(0.5, 2.0)
            norm.bias.uniform_(-1.0, 1.0)
    theirs = published_head(made.head)
    mine = [got[x].requires_grad_() for x in ("first", "second")]
    loss = made.score(got, batch(7)).mean
    expected = published(theirs(mine[0]), theirs(mine[1]), 0.1)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    ours = torch.autograd.grad(loss, [*mine, *made.head.parameters()])
    other = torch.autograd.grad(expected, [*mine, *theirs.parameters()])
    for a, b in zip(ours, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 17])
def test_without_skill_it_is_ln_2n_less_1(n):
    got = {name: torch.ones(n, D) for name in ("first", "second")}
    loss = objective().score(got, batch(n))
    assert loss.chance.item() == pytest.approx(math.log(2 * n - 1), abs=1e-6)
    assert loss.mean.item() == pytest.approx(math.log(2 * n - 1), rel=1e-5, abs=1e-6)


def test_perfection_has_a_closed_form():
    """Equal views, orthogonal records, scale s: each row is ln(1 + (2 n - 2) e^-s)."""
    n, s = 5, 3.0
    eye, about = torch.eye(n), torch.arange(n)[:, None]
    a, b, _ = nt_xent(eye, eye, torch.tensor([s]), about, torch.ones(n, dtype=torch.bool))
    expected = n * math.log(1 + (2 * n - 2) * math.exp(-s))
    assert a.item() == pytest.approx(expected, rel=1e-5)
    assert b.item() == pytest.approx(expected, rel=1e-5)


def test_gradients_are_numerical_ones():
    head = Head(D, 4, OUT).double()
    there = torch.tensor([True, True, False, True])
    got = [x.requires_grad_() for x in pooled(4, 3, torch.float64).values()]
    about = torch.tensor([[0], [1], [2], [0]])

    def loss(a, b):
        first, second = (F.normalize(head(x, there), dim=1) for x in (a, b))
        scale = torch.tensor([2.0], dtype=torch.float64)
        return sum(nt_xent(first, second, scale, about, there)[:2])

    assert torch.autograd.gradcheck(loss, got)


def test_what_is_absent_has_no_influence_not_even_on_the_statistics():
    made, got = objective(), pooled(5, 4)
    for x in got.values():
        x.requires_grad_()
    loss = made.score(got, batch(5, [True, True, False, True, True]))
    loss.sum.backward()
    kept = [0, 1, 3, 4]
    smaller = made.score({k: v.detach()[kept] for k, v in got.items()}, batch(4))
    assert loss.sum.item() == pytest.approx(smaller.sum.item(), rel=1e-5)
    assert loss.count.item() == 4
    assert all(x.grad[2].abs().max() == 0 and x.grad[0].abs().max() > 0 for x in got.values())


def test_norm_equals_torchs():
    x, mine, theirs = torch.randn(9, 4) * 3 + 2, BatchNorm(4), nn.BatchNorm1d(4)
    torch.testing.assert_close(mine(x, torch.ones(9, dtype=torch.bool)), theirs(x))
    half = mine(x.half(), torch.ones(9, dtype=torch.bool))
    assert half.dtype == torch.float16


def test_nothing_present_is_a_finite_zero_with_a_graph():
    got = {name: x.requires_grad_() for name, x in pooled(3, 5).items()}
    loss = objective().score(got, batch(3, [False] * 3))
    loss.mean.backward()
    assert loss.mean.item() == 0
    assert got["first"].grad.abs().max() == 0


def test_an_equal_picture_pulls_instead_of_pushing():
    valid, scale = torch.ones(4, dtype=torch.bool), torch.tensor([2.0])

    def pull(pictures):
        first, second = unit(4, 8), unit(4, 9).requires_grad_()
        sum(nt_xent(first, second, scale, torch.tensor(pictures)[:, None], valid)[:2]).backward()
        return (second.grad[1] @ first[0]).item()  # below 0: descent brings the two closer

    assert pull([7, 7, 8, 9]) < 0 < pull([6, 7, 8, 9])


def test_it_reads_two_views_before_any_projection():
    made = objective()
    views = [View("image", variant=1), View("image", variant=2)]
    assert list(made.needs().values()) == [Read(Encode(view), "pooled") for view in views]
    assert not made.additive


def test_writes_nothing_and_repeats():
    made, got = objective(), pooled(4, 6)
    before = {name: x.clone() for name, x in made.state_dict().items()}
    a, b = (made.score(got, batch(4)).sum for _ in range(2))
    assert torch.equal(a, b)
    assert all(torch.equal(x, before[name]) for name, x in made.state_dict().items())


@pytest.mark.parametrize("variants", [{}, {"image": 1}])
def test_two_views_must_be_declared(variants):
    given = Given({"image": View("image")}, widths={"image": D}, variants=variants)
    with pytest.raises(RecipeError, match="two random views") as caught:
        Objective(Spec(), given)
    assert caught.value.lines[0] == "field variants.image"
