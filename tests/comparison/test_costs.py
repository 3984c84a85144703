"""Costs against closed forms and slow loops; budgets spent to within one step, by every arm."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_recipe import small
from torch import nn

from sensorium import ranks
from sensorium.comparison import costs
from sensorium.comparison.costs import Cost, steps_for
from sensorium.comparison.plan import Budget
from sensorium.errors import PlanError
from sensorium.layers import Attention, CrossAttention
from sensorium.step import Loss, Outcome


class Only(nn.Module):
    """A step whose loss is the sum of what one module gives."""

    def __init__(self, module, *inputs):
        super().__init__()
        self.module, self.inputs = module, inputs

    def forward(self, batch):
        """The sum, with a gradient to the inputs too."""
        given = [x.detach().requires_grad_() if x.is_floating_point() else x for x in self.inputs]
        total = self.module(*given).sum()
        return Outcome(total, {"sum": Loss(total, torch.ones(()), torch.zeros(()))}, {})


def counted(module, *inputs):
    return costs.flops(Only(module, *inputs), None)


def test_a_linear_layer():
    """Forward 2 n i o; backward as much for the inputs and as much for the weights."""
    n, i, o = 5, 7, 3
    assert counted(nn.Linear(i, o), torch.randn(n, i)) == 3 * 2 * n * i * o


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("held_back", [False, True])
def test_attention_is_counted(dropout, held_back):
    """Projections 2 n t d 4d; scores and sums each 2 n t t d; backward twice all of it."""
    n, t, d, heads = 2, 6, 8, 2
    table = torch.ones(n, 1, t, t, dtype=torch.bool).tril() if held_back else None
    x = torch.randn(n, t, d)
    found = counted(_With(Attention(d, heads, dropout), table), x)
    assert found == 3 * (2 * n * t * d * 4 * d + 2 * (2 * n * t * t * d))


def test_cross_attention_is_counted():
    n, t, m, d, other = 2, 3, 5, 8, 6
    table = torch.ones(n, 1, t, m, dtype=torch.bool)
    module = CrossAttention(d, other, 2)
    found = counted(_Cross(module, table), torch.randn(n, t, d), torch.randn(n, m, other))
    projections = 2 * n * t * d * d * 2 + 2 * n * m * other * 2 * d
    assert found == 3 * (projections + 2 * (2 * n * t * m * d))


class _With(nn.Module):
    def __init__(self, attention, table):
        super().__init__()
        self.attention, self.table = attention, table

    def forward(self, x):
        return self.attention(x, self.table)


class _Cross(_With):
    def forward(self, x, memory):
        return self.attention(x, memory, self.table)


def linear_flops(made):
    """Of all linear maps of a step, by hooks: 2 rows in out forward, twice that backward."""
    total = [0]

    def count(module, inputs, output):
        rows = inputs[0].numel() // module.in_features
        total[0] += 3 * 2 * rows * module.in_features * module.out_features

    hooks = [x.register_forward_hook(count) for x in made.step.modules() if type(x) is nn.Linear]
    with torch.no_grad():
        made.step(made.batches[0])
    for hook in hooks:
        hook.remove()
    return total[0]


@pytest.mark.parametrize("name", ["clip", "visualbert"])
def test_a_whole_step_is_its_maps_and_its_attention(name):
    """Maps counted by hooks are most of it and never more than all; inputs need no gradient."""
    made = small(name)
    made.step.train()
    by_hooks, found = linear_flops(made), costs.flops(made.step, made.batches[0])
    assert 0.85 * by_hooks < found < 1.5 * by_hooks


@pytest.mark.parametrize("name", ["clip", "albef", "coca", "mural", "slip"])
def test_measuring_changes_nothing(name):
    made = small(name)
    made.step.eval()
    before = {key: value.clone() for key, value in made.step.state_dict().items()}
    stream = torch.get_rng_state()
    costs.measure(made.step, [made.batches[0]], made.recipe.optimiser)
    assert torch.equal(stream, torch.get_rng_state())
    assert not made.step.training
    assert all(p.grad is None for p in made.step.parameters())
    for key, value in made.step.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", ["clip", "albef", "visualbert", "bert"])
def test_repeats(name):
    made = small(name)
    first, again = (costs.measure(made.step, [made.batches[0]]) for _ in range(2))
    assert first == again
    assert first.seconds is None


def test_tokens_of_two_encoders():
    """One class token and 16 patches a picture; the real ids of the texts, as the batch has."""
    made = small("clip")
    batch = made.batches[0]
    found = costs.tokens(made.step, batch)
    texts = sum(int(row.sum()) for row in batch.tokens["text", 0].real)
    assert found == {"encoder image": len(batch) * 17, "encoder text": texts}


def test_tokens_of_a_teacher_of_hidden_words_and_of_pairs():
    """ALBEF encodes pictures twice (student, teacher) and texts plain and hidden by both; matching
    puts as many wrong pairs beside the right ones, of either side, and hidden words meet once."""
    made = small("albef")
    batch, n = made.batches[0], len(made.batches[0])
    found = costs.tokens(made.step, batch)
    texts = int(batch.tokens["text", 0].real.sum())
    assert found["encoder image"] == 2 * n * 17
    assert found["encoder text"] == 4 * texts
    # Right pairs, each picture with a wrong text, each text with a wrong picture; hidden words by
    # student and teacher.
    assert found["fusion image"] == (3 + 2) * n * 17
    assert found["fusion text"] >= (2 + 2) * texts


def test_padding_is_no_token():
    made = small("visualbert")
    batch = made.batches[0]
    real = batch.tokens["text", 0].real
    assert not real.all(), "the batch must have padding for this to say anything"
    found = costs.tokens(made.step, batch)
    assert found["encoder text"] == int(real.sum()) < real.numel()


def test_what_is_absent_is_one_token():
    lacking = {"image": tuple(range(16))}
    made = small("visualbert", lacking=lacking)
    whole, lone = small("visualbert"), made
    n = len(made.batches[0])
    assert costs.tokens(whole.step, whole.batches[0])["encoder image"] == n * 16
    assert costs.tokens(lone.step, lone.batches[0])["encoder image"] == n


def test_several_batches_are_averaged():
    made = small("clip")
    batches = [made.batches[at] for at in range(3)]
    whole = costs.measure(made.step, batches)
    each = [costs.measure(made.step, [batch]) for batch in batches]
    assert whole.flops == pytest.approx(sum(x.flops for x in each) / 3)
    assert whole.of("tokens") == pytest.approx(sum(x.of("tokens") for x in each) / 3)
    assert whole.samples == len(batches[0])


def test_parameters_are_those_that_learn():
    made = small("albef")
    learn = sum(p.numel() for p in made.step.parameters() if p.requires_grad)
    cost = costs.measure(made.step, [made.batches[0]])
    assert cost.parameters == learn
    model = sum(p.numel() for p in made.step.model.parameters())
    objectives = sum(p.numel() for p in made.step.objectives.parameters())
    assert cost.parameters == model + objectives  # the teacher is a copy and learns nothing


def test_seconds_are_measured_when_asked():
    made = small("clip")
    cost = costs.measure(made.step, [made.batches[0]], made.recipe.optimiser)
    assert cost.seconds > 0
    assert ranks.size() == 1


COST = Cost(samples=128, tokens={"encoder image": 2048, "encoder text": 900.5}, flops=3.5e9,
            parameters=1000, seconds=0.25)  # fmt: skip


@pytest.mark.parametrize(
    ("amount", "unit", "steps"),
    [
        (300, "steps", 300),
        (300.9, "steps", 300),
        (30_000, "samples", 234),
        (128 * 77, "samples", 77),
        (128 * 77 - 1, "samples", 76),
        (2948.5 * 10, "tokens", 10),
        (3.5e12, "flops", 1000),
        (60, "seconds", 240),
    ],
)
def test_steps_of_a_budget(amount, unit, steps):
    assert steps_for(Budget(amount=amount, unit=unit), COST) == steps


@settings(max_examples=200, deadline=None)
@given(
    st.floats(1e3, 1e15),
    st.sampled_from(["samples", "tokens", "flops", "seconds"]),
    st.floats(0.1, 1e3),
    st.floats(0.1, 1e3),
)
def test_every_arm_spends_the_budget_to_within_a_step(amount, unit, one, other):
    spent = []
    for each in (one, other):
        cost = Cost(samples=each, tokens={"encoder text": each}, flops=each, parameters=1,
                    seconds=each)  # fmt: skip
        steps = steps_for(Budget(amount=amount, unit=unit), cost)
        spent.append(steps * each)
        assert amount - each * (1 + 1e-9) < spent[-1] <= amount * (1 + 1e-9)
    assert abs(spent[0] - spent[1]) <= max(one, other) * (1 + 1e-9) + amount * 1e-9


def test_a_budget_below_one_step_is_refused():
    for unit, amount in (("samples", 127), ("tokens", 2948), ("flops", 3e9), ("seconds", 0.2)):
        with pytest.raises(PlanError) as caught:
            steps_for(Budget(amount=amount, unit=unit), COST, "merge")
        assert caught.value.field == "budget"
        assert "one step of merge before a look" in str(caught.value)


def test_a_run_in_all_units():
    assert COST.run(10) == {
        "samples": 1280,
        "tokens": 29485,
        "flops": 3.5e10,
        "steps": 10,
        "parameters": 1000,
        "seconds": 2.5,
    }
    unmeasured = Cost(samples=1, tokens={}, flops=1, parameters=1)
    assert "seconds" not in unmeasured.run(3)
    with pytest.raises(ValueError, match="not measured"):
        unmeasured.of("seconds")
