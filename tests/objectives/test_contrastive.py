"""Contrast against slow loops, closed forms, numerical gradients and symmetry; its queue against
lists, its soft targets against ALBEF's published expression."""

import math

import pytest
import torch
from small_step import batch as world
from small_step import small
from torch.nn import functional as F

from sensorium.errors import RecipeError
from sensorium.nodes import Given
from sensorium.objectives.contrastive import Objective, Spec, bounded, info_nce
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


VIEWS = {"image": View("image"), "text": View("text")}


def objective(**options):
    return Objective(Spec(**options), Given(VIEWS))


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


# --- a teacher, its queue, its soft targets ---------------------------------------------------


def taught(**options):
    return Objective(Spec(**options), Given(VIEWS, vectors={"image": 4, "text": 4}, teacher=True))


def told(first, n, captions=None, pictures=None, present=None, progress=1.0):
    """A batch of the records first, first + 1, ..., each with contents of its own by default."""
    keys = range(first, first + n)
    return Batch(
        keys=tuple(map(str, keys)),
        sources=(Source("x"),) * n,
        tokens={},
        present={
            "image": torch.ones(n, dtype=torch.bool),
            "text": torch.tensor([True] * n if present is None else present),
        },
        identity={
            "image": torch.tensor(pictures or [1000 + x for x in keys]),
            "text": torch.tensor(captions or [2000 + x for x in keys]),
        },
        progress=progress,
    )


def answers(n, seed):
    """Student and teacher differ; both of unit length."""
    names = ("left", "right", "left_key", "right_key")
    return {name: unit(n, 4, seed * 10 + at) for at, name in enumerate(names)}


def published(got, queues, alpha, temp):
    """ALBEF's contrastive loss as its code writes it: salesforce/ALBEF models/model_pretrain.py."""
    image_feat, text_feat = got["left"], got["right"]
    image_feat_m, text_feat_m = got["left_key"], got["right_key"]
    image_feat_all = torch.cat([image_feat_m.t(), queues[0]], dim=1)
    text_feat_all = torch.cat([text_feat_m.t(), queues[1]], dim=1)
    with torch.no_grad():
        sim_i2t_m = image_feat_m @ text_feat_all / temp
        sim_t2i_m = text_feat_m @ image_feat_all / temp
        sim_targets = torch.zeros(sim_i2t_m.size())
        sim_targets.fill_diagonal_(1)
        sim_i2t_targets = alpha * F.softmax(sim_i2t_m, dim=1) + (1 - alpha) * sim_targets
        sim_t2i_targets = alpha * F.softmax(sim_t2i_m, dim=1) + (1 - alpha) * sim_targets
    sim_i2t = image_feat @ text_feat_all / temp
    sim_t2i = text_feat @ image_feat_all / temp
    loss_i2t = -torch.sum(F.log_softmax(sim_i2t, dim=1) * sim_i2t_targets, dim=1).mean()
    loss_t2i = -torch.sum(F.log_softmax(sim_t2i, dim=1) * sim_t2i_targets, dim=1).mean()
    return (loss_i2t + loss_t2i) / 2


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_equals_the_published_expression_of_albef(alpha):
    made, n = taught(queue=6, soft=alpha, temperature=0.2), 3
    queues = [torch.zeros(4, 0), torch.zeros(4, 0)]
    for at in range(5):  # the queue fills, is full, wraps
        got = {name: x.requires_grad_() for name, x in answers(n, at).items()}
        loss = made.score(got, told(at * n, n))
        temp = torch.tensor(0.2, requires_grad=True)
        expected = published(got, queues, alpha, temp)
        assert loss.mean.item() == pytest.approx(expected.item(), rel=1e-5)
        mine = torch.autograd.grad(loss.mean, [got["left"], got["right"], made.log_scale])
        theirs = torch.autograd.grad(expected, [got["left"], got["right"], temp])
        for a, b in zip(mine[:2], theirs[:2], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        # d/d ln(1 / temp) = -temp d/d temp
        assert mine[2].item() == pytest.approx(-0.2 * theirs[2].item(), rel=1e-3, abs=1e-6)
        made.after(got, told(at * n, n))
        # theirs holds 6, the newest first here; the order of candidates does not matter
        for side, name in enumerate(("left_key", "right_key")):
            queues[side] = torch.cat([got[name].detach().t(), queues[side]], dim=1)[:, :6]


def slow_taught(made, got, batch, held, soft):
    """The whole of it as loops over lists; `held` is (left, right, record, image, text) a place."""
    n, scale = len(batch), made.scale.item()
    present = (batch.present["image"] & batch.present["text"]).tolist()

    def who(at):
        pair = [batch.identity[m][at].item() for m in ("image", "text")]
        return [batch.keys[at], *pair]

    total = 0.0
    for mine, judge, theirs, side in (
        ("left", "left_key", "right_key", 1),
        ("right", "right_key", "left_key", 0),
    ):
        for i in range(n):
            if not present[i]:
                continue
            keys = [(got[theirs][j], who(j)) for j in range(n) if present[j]]
            keys += [(entry[side], list(entry[2:])) for entry in held]
            scores = [scale * float(got[mine][i] @ key) for key, _ in keys]
            judged = [scale * float(got[judge][i] @ key) for key, _ in keys]
            right = [any(a == b for a, b in zip(who(i), x, strict=True)) for _, x in keys]
            log_sum = math.log(sum(map(math.exp, scores)))
            soft_sum = sum(map(math.exp, judged))
            for score, judgement, is_right in zip(scores, judged, right, strict=True):
                target = soft * math.exp(judgement) / soft_sum
                target += (1 - soft) * is_right / sum(right)
                total -= target * (score - log_sum) / 2
    return total


@pytest.mark.parametrize(("queue", "size"), [(7, 3), (4, 6), (1, 2), (5, 5)])
def test_a_queue_equals_one_kept_in_lists(queue, size):
    """Batches that do not divide the queue, records that come again, captions that are shared,
    records that lack a side."""
    made, places = taught(queue=queue, soft=0.3, temperature=0.5), []
    for at in range(8):
        first = at * size % 9
        captions = [2000 + (first + x) % 4 for x in range(size)]
        present = [(at + x) % 4 != 0 for x in range(size)]
        batch, got = told(first, size, captions, present=present), answers(size, at)
        held = [entry for entry in places[-queue:] if entry is not None]
        expected = slow_taught(made, got, batch, held, 0.3)
        loss = made.score(got, batch)
        assert loss.sum.item() == pytest.approx(expected, rel=1e-4)
        assert loss.count.item() == sum(present)
        candidates = sum(present) + len(held)
        assert loss.chance.item() == pytest.approx(math.log(candidates), rel=1e-5)
        made.after(got, batch)
        for x in range(size):  # a record that lacks a side takes a place and fills it with nothing
            entry = (got["left_key"][x], got["right_key"][x], str(first + x), 1000 + first + x)
            places.append((*entry, captions[x]) if present[x] else None)


def test_what_is_not_filled_yet_is_no_candidate():
    got, batch = answers(3, 1), told(0, 3)
    empty, none = taught(queue=64), taught()
    expected = none.score(got, batch).sum.item()
    assert empty.score(got, batch).sum.item() == pytest.approx(expected, rel=1e-6)
    assert empty.score(got, batch).chance.item() == pytest.approx(math.log(3))


def test_a_teacher_equal_to_the_student_is_plain_contrast():
    left, right = unit(6, 4, 1), unit(6, 4, 2)
    got = {"left": left, "right": right, "left_key": left, "right_key": right}
    plain = objective().score(got, told(0, 6))
    assert taught().score(got, told(0, 6)).sum.item() == pytest.approx(plain.sum.item(), rel=1e-6)
    assert set(taught().state_dict()) == set(objective().state_dict()) == {"log_scale"}


@pytest.mark.parametrize("soft", [0.0, 0.4, 1.0])
def test_without_skill_any_target_gives_chance(soft):
    made, same = taught(queue=5, soft=soft), torch.ones(4, 4) / 2
    got = dict.fromkeys(("left", "right", "left_key", "right_key"), same)
    made.after(got, told(100, 4))
    loss = made.score(got, told(0, 4, captions=[7, 7, 8, 9]))
    assert loss.chance.item() == pytest.approx(math.log(8))
    assert loss.mean.item() == pytest.approx(loss.chance.item(), rel=1e-5)


def test_no_gradient_reaches_the_teacher_or_the_queue():
    made = taught(queue=4, soft=0.5)
    made.after(answers(4, 1), told(0, 4))
    got = {name: x.requires_grad_() for name, x in answers(3, 2).items()}
    made.score(got, told(50, 3)).mean.backward()
    assert got["left"].grad.abs().max() > 0
    assert got["right"].grad.abs().max() > 0
    assert got["left_key"].grad is None
    assert got["right_key"].grad is None
    made.after(got, told(50, 3))  # after backward, and still nothing of it is part of a graph
    assert not made.left.requires_grad
    assert not made.right.requires_grad


def test_a_records_older_copy_is_never_a_negative():
    """The better the older copy fits, the smaller the loss; a stranger's copy makes it larger."""
    got, batch = answers(3, 4), told(0, 3)

    def held(keys, captions, pictures):
        made = taught(queue=3)
        old = {"left_key": got["left"], "right_key": got["right"]}
        made.after(old, told(keys, 3, captions, pictures))
        return made.score(got, batch).sum.item()

    stranger = held(90, [1, 2, 3], [4, 5, 6])
    for keys, captions, pictures in (
        (0, [1, 2, 3], [4, 5, 6]),  # the same records, seen with other captions and pictures
        (90, [2000, 2001, 2002], [4, 5, 6]),  # other records that carry the same captions
        (90, [1, 2, 3], [1000, 1001, 1002]),  # or the same pictures
    ):
        assert held(keys, captions, pictures) < stranger


def test_the_soft_share_grows_over_the_ramp():
    made = taught(soft=0.4, ramp=0.1)
    shares = [made.share(told(0, 2, progress=x)) for x in (0.0, 0.05, 0.1, 0.5, 1.0)]
    assert shares == pytest.approx([0.0, 0.2, 0.4, 0.4, 0.4])
    got = answers(3, 5)
    at_first = made.score(got, told(0, 3, progress=0.0)).sum
    assert torch.equal(at_first, taught().score(got, told(0, 3)).sum)


def test_a_queue_is_part_of_the_state_and_goes_on_from_it():
    made, again = taught(queue=5, soft=0.2), taught(queue=5, soft=0.2)
    for at in range(3):
        made.after(answers(3, at), told(3 * at, 3))
    again.load_state_dict(made.state_dict())
    for which in (made, again):
        which.after(answers(3, 7), told(30, 3))
    got = answers(4, 8)
    assert torch.equal(made.score(got, told(40, 4)).sum, again.score(got, told(40, 4)).sum)
    assert torch.equal(made.left, again.left)


def test_scoring_writes_nothing_and_repeats():
    made = taught(queue=4)
    before = {name: x.clone() for name, x in made.state_dict().items()}
    a, b = (made.score(answers(3, 1), told(0, 3)).sum for _ in range(2))
    assert torch.equal(a, b)
    assert all(torch.equal(x, before[name]) for name, x in made.state_dict().items())


@pytest.mark.parametrize("options", [{"queue": 8}, {"soft": 0.4}])
def test_what_a_teacher_would_say_needs_one(options):
    with pytest.raises(RecipeError, match="the recipe has none"):
        objective(**options)


def test_the_scale_is_bounded_below_too():
    made = objective(smallest_scale=2.0)
    with torch.no_grad():
        made.log_scale.fill_(-5.0)
    assert made.scale.item() == 2.0


def test_within_its_bounds_the_scale_is_exp_and_so_is_its_gradient():
    for at in (-1.0, 0.0, 2.6592, 4.6):
        mine, theirs = (torch.tensor([at], requires_grad=True) for _ in range(2))
        (bounded(mine, 0.0, 100.0) * 0.37).sum().backward()
        (theirs.exp() * 0.37).sum().backward()
        assert torch.equal(bounded(mine, 0.0, 100.0), theirs.exp())
        assert torch.equal(mine.grad, theirs.grad)


def pairs(fit: bool):
    """Vectors that find their own, or that find only others': the one asks for a larger scale."""
    own = torch.eye(4)
    return {"left": own, "right": own if fit else own.roll(1, 0)}


def steps(made, got, batch, number, rate=0.1):
    """Descent by Adam, committed after each update; the parameter's exp and the scale, a step."""
    optimiser = torch.optim.Adam(made.parameters(), lr=rate)
    for _ in range(number):
        optimiser.zero_grad()
        made.score(got, batch).mean.backward()
        optimiser.step()
        made.after(got, batch)
        yield made.log_scale.exp().item(), made.scale.item()


@pytest.mark.parametrize(
    ("bounds", "start", "fit"),
    [
        ({"largest_scale": 5.0}, 6.0, False),
        ({"smallest_scale": 2.0, "largest_scale": 5.0}, 1.5, True),
    ],
)
def test_a_scale_that_overshot_comes_back_when_the_data_ask_for_it(bounds, start, fit):
    """With and without what `after` does: a run may begin from a parameter that is out."""
    made = objective(**bounds)
    with torch.no_grad():
        made.log_scale.fill_(math.log(start))
    made.score(pairs(fit), told(0, 4)).mean.backward()
    toward = made.log_scale.grad.item()
    assert toward < 0 if fit else toward > 0
    *_, (_, last) = steps(made, pairs(fit), told(0, 4), 3)
    assert 2.1 < last < 4.9


def test_the_parameter_stays_within_its_bounds_after_each_step_and_turns_at_once():
    made = objective(temperature=0.5, smallest_scale=1.5, largest_scale=5.0)
    for fit, bound in ((True, 5.0), (False, 1.5), (True, 5.0)):
        for inside, scale in steps(made, pairs(fit), told(0, 4), 60):
            assert 1.5 * (1 - 1e-6) <= inside <= 5.0 * (1 + 1e-6)
            assert 1.5 <= scale <= 5.0
        assert scale == pytest.approx(bound, rel=1e-6)


def test_without_a_queue_the_temperature_alone_is_kept():
    made = objective()
    before = made.log_scale.detach().clone()
    made.after(pairs(True), told(0, 4))
    assert torch.equal(made.log_scale, before)
    assert set(made.state_dict()) == {"log_scale"}


def test_evaluation_asks_plainly_whatever_the_queue_holds():
    """Validation chooses by this loss: it must not move where the weights do not."""
    step = small({"use": "contrastive", "queue": 16, "soft": 0.4}).train()
    told = []
    for at in range(3):
        step.eval()
        with torch.no_grad():
            told.append(step(world(range(6), step)).losses["0"])
        step.train()
        made = world(range(6 * at, 6 * at + 6), step)
        step.commit(step(made), made)
    assert len({loss.sum.item() for loss in told}) == 1
    assert told[0].chance.item() == pytest.approx(math.log(6))
    assert step(world(range(6), step)).losses["0"].chance.item() > math.log(6)  # in training
