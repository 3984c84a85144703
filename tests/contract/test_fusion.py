"""What every fusion keeps, beside its own tests."""

from dataclasses import replace

import pytest
import torch
from fusion_forms import CASES, told
from pydantic import BaseModel, ValidationError

from sensorium import shelf
from sensorium.layers import Cache
from sensorium.model import State

RANK = 2**20
B, T = 3, {"image": 5, "text": 6}


def build(name: str, **options) -> torch.nn.Module:
    module = shelf.load("fusion", name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fusion = module.Fusion(module.Spec(**options), {"image": 16, "text": 16}).eval()
        for parameter in fusion.parameters():  # norms and biases too, so that none is idle
            parameter.data += 0.1 * torch.randn(parameter.shape)
    return fusion


@pytest.fixture(params=CASES, ids=told)
def fusion(request):
    name, form = request.param
    return build(name, **form)


def states(junk: float = 0.0, causal: bool = False, ragged: bool = True, seed: int = 0):
    """Image and text of three records; `junk` changes what is not real and only that."""
    rng = torch.Generator().manual_seed(seed)
    made = []
    for name, t in T.items():
        lengths = torch.tensor([t, 3, 1] if ragged else [t] * B)
        real = torch.arange(t) < lengths[:, None]
        tokens = torch.randn(B, t, 16, generator=rng)
        pooled = torch.randn(B, 16, generator=rng)
        order = torch.zeros(B, t, dtype=torch.int64)
        if causal and name == "text":
            order = order + RANK + torch.arange(t)
        tokens = torch.where(real[..., None], tokens, junk)
        made.append(State(tokens, real, order, torch.arange(t)[None, :, None], pooled))
    return made


def changed(state: State, where) -> State:
    """Other content at some tokens: a bool [b, t] or a slice of tokens."""
    places = torch.zeros_like(state.real)
    if isinstance(where, slice):
        places[:, where] = True
    else:
        places |= where
    # Not a constant: a norm would take it out again.
    other = torch.randn(state.tokens.shape, generator=torch.Generator().manual_seed(9))
    return replace(state, tokens=torch.where(places[..., None], other, state.tokens))


def taken(state: State, index: torch.Tensor) -> State:
    """Rows of a State."""
    return State(
        state.tokens[index],
        state.real[index],
        state.order[index],
        state.position,
        state.pooled[index],
    )


def same(left: list[State], right: list[State]) -> bool:
    """Equal to the bit wherever tokens are real."""
    return all(
        torch.equal(a.tokens[a.real], b.tokens[b.real]) for a, b in zip(left, right, strict=True)
    )


def close(left: list[State], right: list[State], atol: float = 1e-5) -> None:
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a.real, b.real)
        torch.testing.assert_close(a.tokens[a.real], b.tokens[b.real], atol=atol, rtol=0)


@pytest.mark.parametrize("name", shelf.names("fusion"))
def test_has_what_a_fusion_has(name):
    module = shelf.load("fusion", name)
    assert issubclass(module.Spec, BaseModel)
    assert module.Spec().use == name
    assert module.Spec.model_config["frozen"]
    with pytest.raises(ValidationError):
        module.Spec(no_such_option=1)
    assert "\n" not in module.SUMMARY
    assert 10 < len(module.SUMMARY) < 100
    made = build(name)
    assert isinstance(made.meets, bool)
    assert isinstance(made.decodes, bool)
    for sentence in (made.shares, made.absence):
        assert sentence.endswith(".")
        assert "\n" not in sentence
    with torch.device("meta"):
        module.Fusion(module.Spec(), {"image": 16, "text": 16})


def test_one_state_a_part_of_the_same_shape_and_one_joint_vector(fusion):
    given = states()
    out = fusion(given)
    assert [x.tokens.shape for x in out] == [x.tokens.shape for x in given]
    assert fusion.joint(out).shape == (B, fusion.joint_width)
    assert all(torch.isfinite(x.tokens).all() for x in out)


def test_padding_has_no_influence_and_stays_zero(fusion):
    first, second = fusion(states()), fusion(states(junk=99.0))
    assert same(first, second)
    assert torch.equal(fusion.joint(first), fusion.joint(second))
    for given, out in zip(states(), first, strict=True):
        assert not out.tokens[~given.real].any()


def test_padding_gets_no_gradient(fusion):
    given = [replace(x, tokens=x.tokens.requires_grad_()) for x in states(junk=5.0)]
    out = fusion(given)
    sum((x.tokens[x.real].sin().sum() for x in out), fusion.joint(out).sum()).backward()
    for state in given:
        grad = state.tokens.grad
        assert torch.isfinite(grad).all()
        assert not grad[~state.real].any()


def test_the_future_changes_nothing_to_the_bit(fusion):
    image, text = states(causal=True, ragged=False)
    first, second = fusion([image, text]), fusion([image, changed(text, slice(3, None))])
    assert torch.equal(first[0].tokens, second[0].tokens)
    assert torch.equal(first[1].tokens[:, :3], second[1].tokens[:, :3])
    assert not torch.equal(first[1].tokens[:, 3:], second[1].tokens[:, 3:])


def test_a_prefix_is_seen_whole_and_the_rest_in_order(fusion):
    image, text = states(ragged=False)
    order = (torch.arange(T["text"]) - 2).clamp(min=0).expand(B, -1)  # three of it are the prefix
    text = replace(text, order=order + RANK)
    first = fusion([image, text])[1].tokens
    later = fusion([image, changed(text, slice(4, None))])[1].tokens
    assert torch.equal(first[:, :4], later[:, :4])
    if fusion.meets:  # a prefix token is seen by the first, a causal one was not
        assert not torch.equal(
            first[:, 0], fusion([image, changed(text, slice(2, 3))])[1].tokens[:, 0]
        )


def test_the_content_of_what_is_absent_has_no_influence(fusion):
    """An absent picture arrives as one real token, the same for all whatever its pixels were."""
    image, text = states()
    only = torch.zeros_like(image.real)
    only[:, 0] = True
    absent = replace(image, real=only)
    first, second = (fusion([x, text]) for x in (absent, changed(absent, ~only)))
    assert same(first, second)
    assert torch.equal(fusion.joint(first), fusion.joint(second))


@pytest.mark.parametrize("blind", ["rank", "nothing real"])
def test_what_nobody_may_see_has_no_influence_and_gives_no_nan(fusion, blind):
    image, text = states()
    if blind == "rank":
        image = replace(image, order=image.order + RANK)  # the text comes before it
    else:
        image = replace(image, real=torch.zeros_like(image.real))
    text.tokens.requires_grad_()
    first = fusion([image, text])
    second = fusion([changed(image, slice(0, None)), text])
    assert torch.equal(first[1].tokens, second[1].tokens)
    assert all(torch.isfinite(x.tokens).all() for x in first)
    (first[1].tokens.sin().sum() + fusion.joint(first).sum()).backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in fusion.parameters())


def test_modalities_meet_as_stated(fusion):
    image, text = states()
    first, second = (fusion([x, text])[1] for x in (image, changed(image, image.real)))
    assert torch.equal(first.tokens, second.tokens) is not fusion.meets
    if fusion.meets:
        assert (first.tokens - second.tokens)[first.real].abs().amax(-1).min() > 1e-6


def test_rows_equal_gathering_first(fusion):
    rows = [torch.tensor([0, 1, 2, 2, 0]), torch.tensor([1, 1, 0, 2, 0])]
    given = states()
    first = [
        replace(x, tokens=x.tokens[at], real=x.real[at], order=x.order[at], pooled=x.pooled[at])
        for x, at in zip(given, rows, strict=True)
    ]
    want, got = fusion(first), fusion(given, rows)
    close(got, want, 1e-6)
    torch.testing.assert_close(fusion.joint(got), fusion.joint(want), atol=1e-5, rtol=1e-5)


def test_the_order_of_records_changes_nothing(fusion):
    turn = torch.tensor([2, 0, 1])
    want, got = fusion(states()), fusion(states(), [turn, turn])
    for a, b in zip(want, got, strict=True):
        torch.testing.assert_close(a.tokens[turn], b.tokens, atol=1e-5, rtol=0)
    torch.testing.assert_close(fusion.joint(want)[turn], fusion.joint(got), atol=1e-5, rtol=0)


def part(state: State, tokens: slice) -> State:
    """Some tokens of a State."""
    return replace(
        state,
        tokens=state.tokens[:, tokens],
        real=state.real[:, tokens],
        order=state.order[:, tokens],
        position=state.position[:, tokens],
        pooled=None,
    )


NOTHING = slice(0, 0)


@pytest.mark.parametrize("given", [1, 3])
def test_cached_token_by_token_equals_the_full_pass(fusion, given):
    assert fusion.decodes
    image, text = states(causal=True)
    want = fusion([image, text])
    cache = Cache()
    first = fusion([image, part(text, slice(0, given))], cache=cache)
    got = [first[1].tokens]
    for at in range(given, T["text"]):
        image_again, new = fusion(
            [part(image, NOTHING), part(text, slice(at, at + 1))], cache=cache
        )
        assert image_again.tokens.shape == (B, 0, 16)
        got.append(new.tokens)
    close([first[0]], [want[0]])
    whole = torch.cat(got, 1)
    torch.testing.assert_close(whole[text.real], want[1].tokens[text.real], atol=1e-5, rtol=0)


def test_a_cache_follows_its_beams(fusion):
    """Each record goes on in two rows, which then see different tokens."""
    image, text = states(causal=True)  # held tokens are not all real, and not in every row
    cache = Cache()
    fusion([image, part(text, slice(0, 3))], cache=cache)
    index = torch.tensor([2, 0, 1, 0, 2, 1])
    cache.reorder(index)
    image, text = taken(image, index), taken(text, index)
    later = torch.randn(6, 3, 16, generator=torch.Generator().manual_seed(7))
    real = torch.cat([text.real[:, :3], torch.ones(6, 3, dtype=torch.bool)], 1)
    text = replace(text, tokens=torch.cat([text.tokens[:, :3], later], 1), real=real)
    got = fusion([part(image, NOTHING), part(text, slice(3, None))], cache=cache)[1].tokens
    torch.testing.assert_close(got, fusion([image, text])[1].tokens[:, 3:], atol=1e-5, rtol=0)


def test_gradient_reaches_every_parameter(fusion):
    out = fusion(states())
    total = fusion.joint(out).sin().sum() + sum(x.tokens.sin().sum() for x in out)
    if not list(fusion.parameters()):
        return
    total.backward()
    for where, parameter in fusion.named_parameters():
        assert parameter.grad is not None, where
        assert torch.isfinite(parameter.grad).all(), where
        assert parameter.grad.any(), where


def scores(fusion: torch.nn.Module) -> torch.Tensor:
    """[b, b]: a linear score of every picture with every text, float64."""
    fusion = fusion.double()
    given = [replace(x, tokens=x.tokens.double(), pooled=x.pooled.double()) for x in states()]
    all_pairs = torch.cartesian_prod(torch.arange(B), torch.arange(B))
    joint = fusion.joint(fusion(given, list(all_pairs.T)))
    head = torch.randn(fusion.joint_width, generator=torch.Generator().manual_seed(1)).double()
    return (joint @ head).view(B, B)


@pytest.mark.parametrize("case", [x for x in CASES if x[0] != "none"], ids=told)
def test_only_the_additive_one_does_not_interact(case):
    """EMAP (Hessel and Lee 2020, arXiv 2010.06572): the nearest sum of two unimodal scores."""
    name, form = case
    fusion = build(name, **form)
    with torch.no_grad():
        given = scores(fusion)
    emap = given.mean(1, keepdim=True) + given.mean(0, keepdim=True) - given.mean()
    cross = given[0, 0] - given[1, 0] - given[0, 1] + given[1, 1]
    if name == "additive":
        torch.testing.assert_close(emap, given, atol=1e-12, rtol=0)
        assert abs(float(cross)) < 1e-12
        assert given.std() > 0.01
    else:
        assert (emap - given).abs().max() > 1e-4 * given.std()
        assert abs(float(cross)) > 1e-6
