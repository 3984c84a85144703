"""What every objective keeps, beside its own tests. Each runs over a small model, whole."""

from dataclasses import replace

import pytest
import torch
from small_step import Words, batch, small

from sensorium import shelf
from sensorium.nodes import Embed, Encode, Fuse, Read
from sensorium.step import Forward, plan, views
from sensorium.tokens import collate
from sensorium.views import attach

N = 12
# Options beside the defaults, where they compute something else.
MORE = {
    "contrastive": [{"soft": 0.4}, {"soft": 0.4, "queue": 7}],
    "matching": [
        {"negatives": "hard"},
        {"negatives": "given"},
        {"ways": 3, "replace": "text"},
        {"edits": [{"use": "hide", "rate": 0.5}]},
    ],
    "masked_tokens": [{"soft": 0.4}, {"order": "causal", "rank": 1}],
    "generation": [{"order": "prefix"}, {"rank": 1, "smoothing": 0.1}],
    "classification": [{"of": ["image"]}, {"of": ["text"], "smoothing": 0.1}],
}
CASES = [
    {"use": name} | options
    for name in shelf.names("objectives")
    for options in ({}, *MORE.get(name, ()))
]


@pytest.fixture(params=CASES, ids=lambda x: ", ".join(f"{k}={v}" for k, v in x.items())[4:])
def step(request):
    return small(request.param)


def objective_of(step):
    return step.objectives["0"]


def scored(step, made):
    """The Loss over a batch that has its looks."""
    return step(made).losses["0"]


def answers(step, made):
    """What the needs give, cut from the model; the student's are leaves with gradient."""
    forward, got = Forward(step.model, made, step.teacher), {}
    for name, node in objective_of(step).needs().items():
        assert isinstance(node, Read)
        got[name] = forward(node).detach().requires_grad_(node.who == "student")
    return got


def alike(step, got):
    """The same shapes without any content: every row and every entry the same."""
    made = {}
    for name, node in objective_of(step).needs().items():
        value = torch.full_like(got[name], got[name].shape[-1] ** -0.5)
        made[name] = value.requires_grad_(node.who == "student")
    return made


def test_needs_are_nodes_and_static(step):
    objective = objective_of(step)
    assert objective.needs() == objective.needs()
    for node in plan({"it": objective}):
        assert isinstance(node, Embed | Encode | Fuse | Read)
        hash(node)


def test_finite_with_gradient_to_all_it_claims(step):
    made = batch(range(N), step)
    got = answers(step, made)
    loss = objective_of(step).score(got, made)
    assert torch.isfinite(loss.mean)
    loss.mean.backward()
    learned = [x for x in got.values() if x.requires_grad]
    assert learned
    for tensor in (*learned, *objective_of(step).parameters()):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().max() > 0


def test_count_is_known_before_the_forward(step):
    made = batch(range(N), step, lacking={"text": (2, 3), "image": (3, 7)})
    count = objective_of(step).count(made)
    assert count.dtype == torch.int64
    assert count > 0
    assert torch.equal(count, scored(step, made).count)


def test_order_of_records_changes_nothing(step):
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1)).tolist()
    a, b = scored(step, batch(range(N), step)), scored(step, batch(order, step))
    torch.testing.assert_close(a.sum, b.sum, rtol=1e-5, atol=1e-4)
    assert torch.equal(a.count, b.count)
    torch.testing.assert_close(a.chance, b.chance)


def test_padding_changes_nothing(step):
    made = batch(range(N))
    wide = {at: collate([x], 10) if at[0] == "text" else x for at, x in made.tokens.items()}
    sums = [
        scored(step, attach(x, views(step.objectives), {"text": Words()})).sum
        for x in (made, replace(made, tokens=wide))
    ]
    torch.testing.assert_close(*sums, rtol=1e-5, atol=1e-4)


def test_what_is_absent_has_no_influence(step):
    made = batch(range(N), lacking={"text": (2, 3), "text#1": (2, 3, 4), "image": (3, 7)})
    changed = {}
    for (modality, variant), tokens in made.tokens.items():
        name = f"{modality}#{variant}" if (modality, variant) == ("text", 1) else modality
        lacks = ~made.present[name][:, None]
        if tokens.ids is not None:
            ids = torch.where(lacks & (tokens.ids > 3), 43 - tokens.ids, tokens.ids)
            changed[modality, variant] = replace(tokens, ids=ids)
        else:
            values = torch.where(lacks[..., None], 255 - tokens.values, tokens.values)
            changed[modality, variant] = replace(tokens, values=values)
    a, b = (
        scored(step, attach(x, views(step.objectives), {"text": Words()}))
        for x in (made, replace(made, tokens=changed))
    )
    torch.testing.assert_close(a.sum, b.sum, rtol=1e-5, atol=1e-5)
    assert torch.equal(a.count, b.count)


def test_nothing_present_is_a_finite_zero_with_a_graph(step):
    names = tuple(range(N))
    made = batch(names, step, lacking=dict.fromkeys(("text", "text#1", "image"), names))
    outcome = step(made)
    assert outcome.losses["0"].count == 0
    assert outcome.total.item() == 0
    assert torch.isfinite(outcome.losses["0"].chance)
    outcome.total.backward()
    grads = [p.grad for p in step.parameters() if p.grad is not None]
    assert grads
    assert all(torch.equal(x, torch.zeros_like(x)) for x in grads)


def test_repeats_and_writes_nothing(step):
    made = batch(range(N), step)
    got = answers(step, made)
    before = {k: v.clone() for k, v in objective_of(step).state_dict().items()}
    a, b = (objective_of(step).score(got, made).sum for _ in range(2))
    assert torch.equal(a, b)
    for name, value in objective_of(step).state_dict().items():
        assert torch.equal(value, before[name])


def test_chance_is_the_best_that_answers_without_skill_can_give(step):
    """Answers that are all alike, and then the best that the objective's own parameters can do."""
    made, objective = batch(range(2 * N), step), objective_of(step)
    got = alike(step, answers(step, made))
    own = list(objective.parameters())
    if own:
        search = torch.optim.LBFGS(own, max_iter=100, line_search_fn="strong_wolfe")

        def closure():
            search.zero_grad()
            mean = objective.score(got, made).mean
            mean.backward()
            return mean

        search.step(closure)
    loss = objective.score(got, made)
    torch.testing.assert_close(loss.mean, loss.chance, rtol=1e-3, atol=1e-3)


def test_two_halves_equal_the_whole_where_it_is_additive(step):
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():  # a fresh head tells rows apart by less than the tolerance
        for parameter in objective_of(step).parameters():
            parameter.add_(torch.randn(parameter.shape, generator=rng))
    whole = scored(step, batch(range(N), step)).sum
    half = N // 2
    parts = [scored(step, batch(at, step)) for at in (range(half), range(half, N))]
    together = parts[0].sum + parts[1].sum
    close = torch.isclose(together, whole, rtol=1e-5, atol=1e-4).item()
    assert close == objective_of(step).additive


def test_the_model_learns_from_it(step):
    """Gradients reach the encoders through what it reads."""
    step(batch(range(N), step)).total.backward()
    reached = {
        name
        for name, encoder in step.model.encoders.items()
        if any(p.grad is not None and p.grad.abs().max() > 0 for p in encoder.parameters())
    }
    seen = {node.view.modality for node in plan(step.objectives) if isinstance(node, Embed)}
    assert reached == seen
