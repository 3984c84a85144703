"""Accumulation: parts equal the whole where they can, and are refused where they cannot."""

import pytest
import torch
from test_two_processes import CONTRAST, GIVEN, HARD, MASKED, N, batch, close, looked, part, step
from two_processes import together

from sensorium import ranks
from sensorium.accumulating import accumulate
from sensorium.errors import RecipeError


def gradients(made):
    return {name: x.grad for name, x in made.named_parameters() if x.grad is not None}


def pieces(made, cuts):
    ends = [*cuts, N]
    starts = [0, *cuts]
    rows = [list(range(a, b)) for a, b in zip(starts, ends, strict=True)]
    return [looked(made, part(batch(), some)) for some in rows]


@pytest.mark.parametrize("cuts", [(), (4,), (1,), (2, 3)])
def test_parts_equal_the_whole_however_it_is_cut(cuts):
    made = step(MASKED | {"weight": 0.5}, GIVEN).eval()  # no dropout
    outcome = made(looked(made, batch()))
    outcome.total.backward()
    wanted = gradients(made)
    made.zero_grad()
    told = accumulate(made, pieces(made, cuts))
    close(gradients(made), wanted)
    for name, loss in outcome.losses.items():
        assert told[name].count == loss.count
        assert told[name].mean.item() == pytest.approx(loss.mean.item(), rel=1e-5)
        assert told[name].parts["right"] == loss.parts["right"]
        assert not told[name].sum.requires_grad


def test_a_mean_of_means_would_be_another_loss():
    """What the counts are for: the two halves hide different numbers of words."""
    made = step(MASKED).eval()
    told = [made(some).losses["masked_tokens"] for some in pieces(made, (2,))]
    assert told[0].count != told[1].count
    wrong = (told[0].mean + told[1].mean) / 2
    assert wrong.item() != pytest.approx(accumulate(made, pieces(made, (2,)))["masked_tokens"].mean)


@pytest.mark.parametrize("others", [[CONTRAST], [MASKED, HARD]])
def test_what_does_not_add_up_is_refused(others):
    made = step(*others)
    with pytest.raises(RecipeError, match=r"accumulation would change (contrastive|matching)"):
        accumulate(made, pieces(made, (4,)))
    assert not gradients(made)
    accumulate(made, pieces(made, ()))  # one part is the whole
    assert gradients(made)


def both():
    """Two processes, two parts each, gradients averaged as DDP does."""
    made = step(MASKED, GIVEN).eval()
    n, first = N // 4, ranks.rank() * N // 2
    rows = [list(range(first + at * n, first + (at + 1) * n)) for at in (0, 1)]
    told = accumulate(made, [looked(made, part(batch(), some)) for some in rows])
    grads = {name: ranks.sum(x) / ranks.size() for name, x in gradients(made).items()}
    return {name: loss.mean.item() for name, loss in told.items()}, grads


def test_two_processes_with_two_parts_each_equal_one_with_all():
    made = step(MASKED, GIVEN).eval()
    outcome = made(looked(made, batch()))
    outcome.total.backward()
    for told, grads in together(both):
        close(grads, gradients(made))
        for name, loss in outcome.losses.items():
            assert told[name] == pytest.approx(loss.mean.item(), rel=1e-5)


def test_nothing_at_all_is_a_finite_zero():
    made = step(MASKED).eval()
    empty = part(batch(), [4])  # a record without a text
    told = accumulate(made, [looked(made, empty), looked(made, empty)])
    assert told["masked_tokens"].count == 0
    assert told["masked_tokens"].mean == 0
    assert all(torch.isfinite(x).all() for x in gradients(made).values())
