"""Attention against slow loops, blocks by hand, packing against padding, pooling."""

import math

import pytest
import torch

from sensorium import packing
from sensorium.caching import Cache
from sensorium.layers import (
    Attention,
    Block,
    CrossAttention,
    CrossBlock,
    Stack,
    across,
    activate,
    last_pool,
    mean_pool,
    table,
)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ragged(lengths: list[int], t: int) -> torch.Tensor:
    return torch.arange(t) < torch.tensor(lengths)[:, None]


@torch.no_grad()
def slow_attention(
    x: torch.Tensor, module: Attention, real: torch.Tensor, order: torch.Tensor
) -> torch.Tensor:
    """The rule of attention and the formula of arXiv 1706.03762, one token at a time, float64."""
    n, t, d = x.shape
    size = d // module.heads
    weight, bias = module.qkv.weight.double(), module.qkv.bias.double()
    out = torch.zeros(n, t, d, dtype=torch.float64)
    for row in range(n):
        q, k, v = (x[row].double() @ weight.T + bias).split(d, dim=-1)
        for i in range(t):
            seen = [j for j in range(t) if real[row, j] and order[row, j] <= order[row, i]]
            for head in range(module.heads):
                part = slice(head * size, (head + 1) * size)
                scores = [float(q[i, part] @ k[j, part]) / math.sqrt(size) for j in seen]
                total = sum(math.exp(s) for s in scores)
                for s, j in zip(scores, seen, strict=True):
                    out[row, i, part] += math.exp(s) / total * v[j, part]
    return out @ module.out.weight.double().T + module.out.bias.double()


@pytest.mark.parametrize("order", ["full", "causal", "prefix", "ranks"])
def test_attention_equals_slow_loops(order):
    n, t, d = 3, 7, 12
    torch.manual_seed(0)
    module = Attention(d, heads=3)
    x = torch.randn(n, t, d, generator=draws())
    real = ragged([7, 4, 1], t)
    places = {
        "full": torch.zeros(n, t, dtype=torch.int64),
        "causal": torch.arange(t).expand(n, t),
        "prefix": (torch.arange(t) - 2).clamp(min=0).expand(n, t),
        "ranks": torch.tensor([1, 0, 0, 2, 2, 1, 3]).expand(n, t),
    }[order]
    got = module(x, table(real, places))
    want = slow_attention(x, module, real, places)
    for row, length in enumerate([7, 4, 1]):
        for i in range(length):
            if any(places[row, j] <= places[row, i] for j in range(length)):
                torch.testing.assert_close(got[row, i].double(), want[row, i], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("rows", [None, [1, 1, 0, 2, 2]])
def test_cross_attention_equals_slow_loops(rows):
    """Who sees nothing gets zeros; queries, keys and values have a width of their own."""
    torch.manual_seed(0)
    module = CrossAttention(12, 10, heads=2, inner=8)
    index = torch.arange(3) if rows is None else torch.tensor(rows)
    n, t, m = len(index), 4, 5
    x = torch.randn(n, t, 12, generator=draws())
    memory = torch.randn(3, m, 10, generator=draws(1))
    real, order = ragged([5, 2, 0], m), torch.tensor([[3, 0, 2, 1, 9]]).expand(3, m)
    asks = torch.tensor([[0, 1, 3, -1]]).expand(n, t)
    sees = across(asks, real[index], order[index])
    got = module(x, memory, sees, None if rows is None else index)
    for row, of in enumerate(index.tolist()):
        keys, values = (
            memory[of].double() @ module.kv.weight.T.double() + module.kv.bias.double()
        ).chunk(2, -1)
        queries = x[row].double() @ module.q.weight.T.double() + module.q.bias.double()
        for i in range(t):
            seen = [j for j in range(m) if real[of, j] and order[of, j] <= asks[row, i]]
            assert sees[row, 0, i].nonzero().flatten().tolist() == seen
            want = torch.zeros(12).double()
            if seen:
                heads = []
                for part in (slice(0, 4), slice(4, 8)):
                    scores = keys[seen, part] @ queries[i, part] / math.sqrt(4)
                    heads.append(torch.softmax(scores, 0) @ values[seen, part])
                want = torch.cat(heads) @ module.out.weight.T.double() + module.out.bias.double()
            torch.testing.assert_close(got[row, i].double(), want, atol=1e-5, rtol=0)


def test_a_memory_that_nobody_may_see_gets_no_gradient_and_gives_no_nan():
    torch.manual_seed(0)
    module = CrossAttention(8, 6, heads=2)
    memory = torch.randn(2, 4, 6, generator=draws()).requires_grad_()
    x = torch.randn(2, 3, 8, generator=draws(1)).requires_grad_()
    nothing = torch.zeros(2, 1, 3, 4, dtype=torch.bool)
    out = module(x, memory, nothing)
    assert not out.any()
    out.sin().sum().backward()
    for tensor in (x, memory, *module.parameters()):
        assert torch.equal(tensor.grad, torch.zeros_like(tensor))
    assert not module(x, memory[:, :0], nothing[..., :0]).any()
    assert module(x[:, :0], memory, nothing[:, :, :0]).shape == (2, 0, 8)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_cross_block_is_its_formula(norm):
    torch.manual_seed(0)
    block = CrossBlock(8, 2, 6, mlp=2.0, norm=norm)
    for parameter in block.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=draws(1))
    x, memory = torch.randn(2, 5, 8, generator=draws()), torch.randn(2, 4, 6, generator=draws(2))
    sees = torch.ones(2, 1, 5, 4, dtype=torch.bool)
    a, c, m = block.attention, block.cross.attention, block.mlp
    an, cn, mn = block.attention_norm, block.cross.attention_norm, block.mlp_norm
    if norm == "pre":
        y = x + a(an(x), None)
        y = y + c(cn(y), memory, sees)
        want = y + m(mn(y))
    else:
        y = an(x + a(x, None))
        y = cn(y + c(y, memory, sees))
        want = mn(y + m(y))
    torch.testing.assert_close(block(x, None, memory, sees), want)


def test_the_table_is_the_rule_and_padding_sees_itself():
    real = torch.tensor([[True, True, False]])
    order = torch.tensor([[0, 1, 2]])
    assert table(real, order)[0, 0].tolist() == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
    empty = torch.tensor([[False, False, False]])
    assert table(empty, order)[0, 0].tolist() == torch.eye(3, dtype=torch.bool).tolist()
    parts = table(torch.ones(1, 3, dtype=torch.bool), torch.zeros_like(order), order // 2)
    assert parts[0, 0].int().tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("x", [-3.0, -0.5, 0.0, 0.5, 3.0])
def test_activations_are_their_formulas(x):
    phi = 0.5 * (1 + math.erf(x / math.sqrt(2)))
    tanh = math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    want = {
        "gelu": x * phi,
        "quick_gelu": x / (1 + math.exp(-1.702 * x)),
        "gelu_tanh": 0.5 * x * (1 + tanh),
    }
    for name, value in want.items():
        got = float(activate(torch.tensor(x, dtype=torch.float64), name))
        assert got == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_block_is_its_formula(norm):
    torch.manual_seed(0)
    block = Block(8, 2, mlp=2.0, norm=norm)
    torch.nn.init.normal_(block.attention_norm.weight, 1.0, 0.2, generator=draws(1))
    torch.nn.init.normal_(block.mlp_norm.bias, 0.0, 0.2, generator=draws(2))
    x = torch.randn(2, 5, 8, generator=draws())
    a, m, an, mn = block.attention, block.mlp, block.attention_norm, block.mlp_norm
    if norm == "pre":
        y = x + a(an(x), None)
        want = y + m(mn(y))
    else:
        y = an(x + a(x, None))
        want = mn(y + m(y))
    torch.testing.assert_close(block(x, None), want)


def test_dropout_is_only_in_training():
    torch.manual_seed(0)
    block = Block(8, 2, dropout=0.5)
    x = torch.randn(2, 5, 8, generator=draws())
    assert not torch.equal(block(x, None), block(x, None))
    block.eval()
    assert torch.equal(block(x, None), block(x, None))


# packing


def scattered(n: int = 12, t: int = 10, share: float = 0.35) -> torch.Tensor:
    """Real tokens anywhere in a row; one row full, one empty."""
    real = torch.rand(n, t, generator=draws(3)) < share
    real[0], real[1] = True, False
    return real


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("prefix", [False, True])
def test_packed_equals_padded_with_its_gradients(monkeypatch, norm, causal, prefix):
    torch.manual_seed(0)
    stack = Stack(2, 16, 4, norm=norm)
    real = ragged([10, 3, 4, 1, 0, 2, 5], 10) if prefix else scattered()
    n, t = real.shape
    order = torch.arange(t).expand(n, t) * causal
    x = torch.randn(n, t, 16, generator=draws()).requires_grad_()
    weight = torch.randn(n, t, 16, generator=draws(1))
    rows, seen = [], []
    run = stack._run
    monkeypatch.setattr(stack, "_run", lambda x, rule: (rows.append(len(x)), run(x, rule))[1])
    for worth in (0.9, 0.0):
        monkeypatch.setattr(packing, "WORTH_PACKING", worth)
        out = stack(x, real, order)
        gradients = torch.autograd.grad((out * weight).sum(), [x, *stack.parameters()])
        seen.append([out, *gradients])
    assert rows[0] < rows[1] == n
    for packed, padded in zip(*seen, strict=True):
        torch.testing.assert_close(packed, padded, atol=1e-5, rtol=1e-5)
    assert torch.isfinite(seen[0][0]).all()


@pytest.mark.parametrize("share", [0.3, 0.95])
def test_padding_changes_nothing_and_gets_no_gradient(share):
    torch.manual_seed(0)
    stack = Stack(2, 16, 4)
    real = scattered(share=share)
    order = torch.zeros(12, 10, dtype=torch.int64)
    x = torch.randn(12, 10, 16, generator=draws())
    other = torch.where(real[..., None], x, 1e6 * torch.randn(12, 10, 16, generator=draws(1)))
    other.requires_grad_()
    out = stack(other, real, order)
    torch.testing.assert_close(out, stack(x, real, order), atol=1e-5, rtol=0)
    assert not out[~real].any()
    out.sum().backward()
    assert not other.grad[~real].any()


def test_a_table_is_left_out_only_where_all_see_all(monkeypatch):
    stack = Stack(1, 8, 2)
    rules = []
    monkeypatch.setattr(stack, "_run", lambda x, rule: (rules.append(rule), x)[1])
    x, real = torch.zeros(2, 4, 8), torch.ones(2, 4, dtype=torch.bool)
    order = torch.zeros(2, 4, dtype=torch.int64)
    stack(x, real, order)
    stack(x, real, order + 3)
    stack(x, real, torch.arange(4).expand(2, 4))
    stack(x, ragged([4, 3], 4), order)
    assert [rule is None for rule in rules] == [True, True, False, False]


def test_without_packing_a_row_is_the_same_to_the_bit_in_any_company():
    torch.manual_seed(0)
    stack = Stack(2, 64, 4)
    stack.packs = False
    n, t = 8, 16
    order = torch.zeros(n, t, dtype=torch.int64)
    x = torch.randn(n, t, 64, generator=draws())
    alone = ragged([9] * n, t)
    want = stack(x[:1].expand(n, t, 64), alone, order)[0]
    for lengths in ([9, 16, 16, 16, 16, 16, 16, 16], [9, 1, 1, 2, 3, 1, 1, 1]):
        assert torch.equal(stack(x, ragged(lengths, t), order)[0], want)


def test_without_blocks_tokens_leave_as_they_came():
    stack = Stack(0, 8, 2)
    real = ragged([4, 1], 4)
    x = torch.randn(2, 4, 8, generator=draws())
    assert torch.equal(stack(x, real, torch.zeros(2, 4, dtype=torch.int64)), x * real[..., None])


@torch.no_grad()
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_cached_stack_equals_the_full_pass(norm):
    """Prefix first, then one and several tokens at a time; padding anywhere."""
    torch.manual_seed(0)
    stack = Stack(2, 16, 4, norm=norm)
    n, t = 4, 9
    real = torch.rand(n, t, generator=draws(3)) < 0.7
    order = (torch.arange(t) - 3).clamp(min=0).expand(n, t)
    x = torch.randn(n, t, 16, generator=draws())
    cache, got = Cache(), []
    for start, end in ((0, 4), (4, 5), (5, 8), (8, 9)):
        part = slice(start, end)
        got.append(stack(x[:, part], real[:, part], order[:, part], cache))
    torch.testing.assert_close(torch.cat(got, 1), stack(x, real, order), atol=1e-5, rtol=0)


def test_stack_runs_on_the_meta_device():
    with torch.device("meta"):
        stack = Stack(1, 8, 2)
        real = torch.ones(2, 4, dtype=torch.bool)
        out = stack(torch.zeros(2, 4, 8), real, torch.zeros(2, 4, dtype=torch.int64))
    assert out.shape == (2, 4, 8)


# pooling


def test_pools_are_over_real_tokens():
    real = torch.tensor([[True, True, False], [False, True, False], [False, False, False]])
    x = torch.arange(18.0).view(3, 3, 2)
    assert mean_pool(x, real).tolist() == [[1.0, 2.0], [8.0, 9.0], [0.0, 0.0]]
    assert last_pool(x, real)[:2].tolist() == [[2.0, 3.0], [8.0, 9.0]]
