"""The parallel words: in one process they do nothing, in two their gradients are exact."""

import pytest
import torch
from two_processes import together

from sensorium import ranks
from sensorium.step import Loss


def test_one_process_changes_nothing():
    x = torch.randn(3, 2, requires_grad=True)
    loss = Loss(x.sum(), torch.tensor(3), torch.tensor(1.0))
    assert (ranks.size(), ranks.rank()) == (1, 0)
    assert ranks.gather(x) is x
    assert ranks.sum(x) is x
    assert ranks.share(loss) is loss


def numbers(rank):
    return torch.arange(6.0).reshape(3, 2) + 10 * rank


def values():
    """In each process: what the words give."""
    mine = numbers(ranks.rank())
    return (
        ranks.size(),
        ranks.rank(),
        ranks.gather(mine),
        ranks.sum(mine),
        ranks.gather(mine > 12),
        ranks.gather(mine.long()),
    )


def test_two_processes_see_the_rows_of_both_in_order():
    told = together(values)
    both = torch.cat([numbers(0), numbers(1)])
    for at, (size, rank, gathered, total, truths, whole) in enumerate(told):
        assert (size, rank) == (2, at)
        assert torch.equal(gathered, both)
        assert torch.equal(total, numbers(0) + numbers(1))
        assert truths.dtype == torch.bool
        assert torch.equal(truths, both > 12)
        assert torch.equal(whole, both.long())


def function(rows, columns):
    """Some function in which every row meets every column."""
    return (rows @ columns.T).sin().square().sum(dim=1)


def gradients(weight):
    """As an objective writes it: mine are rows, everybody's are columns; gradients averaged."""
    w = torch.tensor(weight, requires_grad=True)
    mine = numbers(ranks.rank()) * w
    each = function(mine, ranks.gather(mine))
    loss = ranks.sum(each.sum()) / ranks.sum(torch.tensor(3.0))
    loss.backward()
    return loss.item(), ranks.sum(w.grad) / ranks.size()  # what DDP and FSDP2 do


def test_averaged_gradients_are_those_of_one_process_on_all_rows():
    weight = [0.3, -0.2]
    w = torch.tensor(weight, requires_grad=True)
    rows = torch.cat([numbers(0), numbers(1)]) * w
    loss = function(rows, rows).mean()
    loss.backward()
    for value, grad in together(gradients, weight):
        assert value == pytest.approx(loss.item(), rel=1e-5)
        torch.testing.assert_close(grad, w.grad, rtol=1e-4, atol=1e-5)


def shared():
    """Three of one process and one of another, with other chances."""
    rank = ranks.rank()
    sum_, count = torch.tensor([6.0, 10.0][rank]), torch.tensor([3, 1][rank])
    loss = Loss(sum_, count, torch.tensor([1.0, 2.0][rank]), {"right": torch.tensor(1.0 + rank)})
    told = ranks.share(loss)
    return told.sum, told.count, told.mean, told.chance, told.parts["right"]


def test_shared_losses_are_exact_means():
    for total, count, mean, chance, right in together(shared):
        assert (total, count, mean, right) == (16.0, 4, 4.0, 3.0)
        assert chance == pytest.approx((3 * 1.0 + 1 * 2.0) / 4)


def broken():
    """One fails while the other waits for it."""
    if ranks.rank() == 1:
        raise ValueError("told")
    ranks.sum(torch.ones(1))


def test_a_process_that_fails_ends_the_others_at_once():
    # Told is who fails first: the process itself, or the other that finds it gone.
    with pytest.raises(AssertionError, match=r"ValueError: told|process 0 of 2"):
        together(broken, seconds=60)


def waiting():
    """One never comes."""
    import time

    if ranks.rank() == 1:
        time.sleep(60)
    ranks.sum(torch.ones(1))


def test_nothing_waits_for_ever():
    with pytest.raises(AssertionError, match=r"not done in|process"):
        together(waiting, seconds=3)
