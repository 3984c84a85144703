"""Which parameters train; what is frozen keeps its bits and draws nothing; LoRA in closed form."""

import copy

import pytest
import torch
from conftest import TINY

from sensorium import draws, optimiser, recipe
from sensorium.building import build
from sensorium.errors import RecipeError
from sensorium.finetuning import adapting
from sensorium.records import Source
from sensorium.teacher import follow
from sensorium.tokens import Batch, Tokens
from sensorium.training import update

METHODS = ("full", "linear", "freeze", "lora")
DROPOUT = ("encoders.text.dropout=0.3",)


def tune(method, rank=4):
    return recipe.Tune(run="source", method=method, rank=rank)


def clip(*more):
    return build(recipe.load("clip", "tiny", [*TINY, *DROPOUT, *more]))


def fused(*more):
    """CLIP whose encoders meet: a fusion with matrices of its own."""
    content = recipe.load("clip", "tiny", [*TINY, *DROPOUT, *more]).model_dump(mode="json")
    content["fusion"] = {"use": "merge_attention", "depth": 1, "heads": 1, "dropout": 0.3}
    content["objectives"].append({"use": "generation"})
    return build(recipe.check(content))


def batch(n=6, t=5):
    """Drawn pictures and texts, of all the words that a tiny table has."""
    rng = draws.generator("adapting")
    values = torch.tensor(rng.normal(size=(n, 16, 192)), dtype=torch.float32)
    ids = torch.tensor(rng.integers(10, 200, size=(n, t)))
    grid = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij"), -1)
    return Batch(
        keys=tuple(map(str, range(n))),
        sources=(Source("memory"),) * n,
        tokens={
            ("image", 0): Tokens(
                modality="image",
                values=values,
                real=torch.ones(n, 16, dtype=torch.bool),
                position=grid.reshape(1, 16, 2),
            ),
            ("text", 0): Tokens(
                modality="text",
                ids=ids,
                real=torch.ones(n, t, dtype=torch.bool),
                position=torch.arange(t)[None, :, None],
            ),
        },
        present={name: torch.ones(n, dtype=torch.bool) for name in ("image", "text")},
        identity={name: torch.arange(n) for name in ("image", "text")},
        targets={},
        draw=torch.arange(n),
    )


def trained(step, steps=3):
    """The Step after some updates, and its state before."""
    before = copy.deepcopy(step.state_dict())
    adam = optimiser.build(step, recipe.Optimiser(learning_rate=0.05, weight_decay=0.5))
    for _ in range(steps):
        update(step, adam, batch(), 1.0)
    return before


def changed(step, before):
    now = step.state_dict()
    return {name for name in now if not torch.equal(now[name], before[name])}


@pytest.mark.parametrize("method", METHODS)
def test_only_what_a_method_names_changes(method):
    step = fused()
    adapting.adapt(step, tune(method), seed=1)
    names = changed(step, trained(step))
    parts = {".".join(name.split(".")[1:2]) for name in names if name.startswith("model.")}
    heads = {"projections", "vocabularies"}
    assert (
        parts
        == {
            "full": heads | {"encoders", "fusion"},
            "linear": heads,
            "freeze": heads | {"fusion"},
            "lora": heads | {"encoders", "fusion"},
        }[method]
    )
    assert "objectives.contrastive.log_scale" in names
    if method == "lora":
        own = [n for n in names if n.startswith(("model.encoders", "model.fusion"))]
        assert own
        assert all(name.endswith((".0.a", ".0.b")) for name in own)


@pytest.mark.parametrize("method", METHODS)
def test_the_optimiser_holds_what_trains_and_nothing_else(method):
    step = fused()
    adapting.adapt(step, tune(method), seed=1)
    adam = optimiser.build(step, recipe.Optimiser())
    held = {id(p) for group in adam.param_groups for p in group["params"]}
    assert held == {id(p) for p in step.parameters() if p.requires_grad}


@pytest.mark.parametrize("method", ["linear", "lora"])
def test_what_is_frozen_draws_no_dropout(method):
    step = fused()
    adapting.adapt(step, tune(method), seed=1)
    step.train()
    losses = [step(batch()).losses["contrastive"].sum.item() for _ in range(2)]
    assert losses[0] == losses[1]
    whole = fused().train()  # the same drops where nothing is frozen
    losses = [whole(batch()).losses["contrastive"].sum.item() for _ in range(2)]
    assert losses[0] != losses[1]


def test_a_copy_stays_still():
    """The trial that times a step trains a copy."""
    step = clip()
    adapting.adapt(step, tune("freeze"), seed=1)
    trial = copy.deepcopy(step).train()
    for encoder in trial.model.encoders.values():
        assert not any(module.training for module in encoder.modules())
        assert encoder.train.__self__ is encoder


def test_new_parts_train_by_every_method():
    for method in METHODS:
        step = fused()
        new = [f"model.{n}" for n, _ in step.model.named_parameters() if n.startswith("fusion.")]
        adapting.adapt(step, tune(method), seed=1, new=new)
        assert all(p.requires_grad for p in step.model.fusion.parameters())
        step.train()
        assert step.model.fusion.dropout.training


def test_lora_begins_as_the_source_and_is_its_sum():
    step, plain = clip(), clip()
    adapting.adapt(step, tune("lora"), seed=1)
    step.eval()
    plain.eval()
    made = batch()
    assert torch.equal(step(made).total, plain(made).total)
    trained(step)
    step.eval()
    state = step.state_dict()
    merged = adapting.plain(step)
    assert merged.keys() == plain.state_dict().keys()
    place = "model.encoders.image.stack.blocks.0.attention.qkv"
    w, a, b = (
        state[f"{place}.parametrizations.weight.{x}"].double() for x in ("original", "0.a", "0.b")
    )
    assert a.shape == (4, 32)
    assert b.shape == (96, 4)
    assert b.abs().max() > 0
    by_hand = torch.stack([w[i] + sum(b[i, k] * a[k] for k in range(4)) for i in range(96)])
    torch.testing.assert_close(merged[f"{place}.weight"].double(), by_hand, atol=1e-6, rtol=0)
    plain.load_state_dict(merged)
    torch.testing.assert_close(step(made).total, plain(made).total)


def test_lora_updates_every_matrix_of_attention_and_mlp_and_no_other():
    step = clip()
    adapting.adapt(step, tune("lora"), seed=1)
    updated = {n.split(".parametrizations")[0] for n in step.state_dict() if n.endswith(".0.a")}
    blocks = [f"model.encoders.{m}.stack.blocks.0" for m in ("image", "text")]
    inside = ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
    assert updated == {f"{block}.{name}" for block in blocks for name in inside}


def test_loras_draws_are_keyed():
    def first(seed, stream):
        step = clip()
        torch.manual_seed(stream)
        before = torch.random.get_rng_state()
        adapting.adapt(step, tune("lora"), seed)
        assert torch.equal(before, torch.random.get_rng_state())
        return next(v for n, v in step.state_dict().items() if n.endswith(".0.a"))

    assert torch.equal(first(1, 5), first(1, 6))
    assert not torch.equal(first(1, 5), first(2, 5))


@pytest.mark.parametrize("method", METHODS)
def test_a_teacher_follows_what_trains(method):
    content = recipe.load("clip", "tiny", list(TINY)).model_dump(mode="json")
    content["teacher"] = {"momentum": 0.5}
    step = build(recipe.check(content))
    adapting.adapt(step, tune(method), seed=1)
    assert not any(p.requires_grad for p in step.teacher.parameters())
    trained(step)
    follow(step.teacher, step.model, 0.0)
    for mine, yours in zip(step.teacher.parameters(), step.model.parameters(), strict=True):
        assert torch.equal(mine, yours)


def test_a_method_that_would_train_nothing_is_refused():
    content = recipe.load("clip", "tiny", list(TINY)).model_dump(mode="json")
    content |= {"objectives": [{"use": "generation"}], "head": {"transform": False}}
    content |= {"fusion": {"use": "none"}, "choose": "loss"}
    with pytest.raises(RecipeError, match="linear trains nothing"):
        adapting.adapt(build(recipe.check(content)), tune("linear"), seed=1)
