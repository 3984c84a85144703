"""Three modalities in the fusions that take three; one clear error of those that take two.

A picture, a table and a text of each record; any of them may be absent, and its content then
changes no bit of losses and gradients.
"""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from reference import randomise
from small_step import Grid, Words, batch

from sensorium import recipe, shelf
from sensorium.encoders import tabular, transformer, vision_transformer
from sensorium.errors import RecipeError
from sensorium.modalities import table
from sensorium.model import Model
from sensorium.nodes import Given
from sensorium.records import Record, Source
from sensorium.step import Step, views
from sensorium.tokens import collate
from sensorium.views import View, attach

NAMES = ("image", "table", "text")
WIDTH, N, KINDS = 32, 10, 8
ALL = tuple(range(N))
TWO = ("co_attention", "cross_attention")
THREE = ("additive", "concatenate", "merge_attention")
CONTENTS = [
    {"use": "classification"},
    {"use": "matching", "negatives": "hard"},
    {"use": "matching", "between": ["table", "text"]},
    {"use": "masked_tokens"},
    {"use": "contrastive", "between": ["image", "table"]},
]
# Each alone, each pair, everything.
LACKING = {"image": (0, 3, 4, 6), "table": (1, 3, 5, 6), "text": (2, 4, 5, 6)}


def shop():
    """A table of a number and a category, fitted."""
    about = table.Modality(table.Spec(kinds={"price": "number", "kind": "category"}))
    rows = [Record(f"r{x}", Source("m", x), cells_of(x)) for x in range(40)]
    about.fit(rows, ("kind", "price"))
    return about


def cells_of(name):
    return {"price": float(name % 11), "kind": f"kind {name % KINDS}"}


TABLE = shop()


def fusion_of(name):
    module = shelf.load("fusion", name)
    options = {k: x for k, x in dict(depth=1, heads=2).items() if k in module.Spec.model_fields}
    return module.Fusion(module.Spec(**options), dict.fromkeys(NAMES, WIDTH))


def step_of(fusion, *contents):
    torch.manual_seed(0)
    size = dict(width=WIDTH, depth=1, heads=2)
    encoders = {
        "image": vision_transformer.Encoder(vision_transformer.Spec(**size), Grid()),
        "table": tabular.Encoder(tabular.Spec(**size), TABLE),
        "text": transformer.Encoder(transformer.Spec(**size), Words()),
    }
    met = fusion_of(fusion)
    offered = Given(
        views={name: View(name) for name in NAMES},
        meets=met.meets,
        joint=met.joint_width,
        widths=dict.fromkeys(NAMES, WIDTH),
        entries={"text": Words.vocabulary},
        classes={"label": KINDS},
        vectors=dict.fromkeys(NAMES, 16),
    )
    objectives = {}
    for at, content in enumerate(contents):
        module, spec = recipe.member("objectives", f"objectives.{at}", content)
        objectives[str(at)] = module.Objective(spec, offered)
    model = Model(encoders, met, 16, compared=NAMES, told={"text": {}})
    randomise(model, 0, 0.3)
    return Step(model, objectives).train()


def made_of(lacking=None, junk=False):
    """Ten records; with `junk`, other content wherever something is absent."""
    made, lacking = batch(ALL, lacking=lacking), lacking or {}
    rows = [TABLE.tokens(TABLE.read(cells_of(x), "cells"), None) for x in ALL]
    present = torch.tensor([x not in lacking.get("table", ()) for x in ALL])
    made = replace(
        made,
        tokens=made.tokens | {("table", 0): collate(rows)},
        present=made.present | {"table": present},
        identity=made.identity | {"table": torch.arange(N) + 4000},
    )
    if not junk:
        return made
    rng, tokens = np.random.default_rng(0), dict(made.tokens)
    for name in NAMES:
        held, there = tokens[name, 0], made.present[name]
        if held.ids is not None:
            drawn = torch.from_numpy(rng.integers(4, 40, held.ids.shape))
            tokens[name, 0] = replace(held, ids=torch.where(there[:, None], held.ids, drawn))
        else:
            drawn = held.values[torch.from_numpy(rng.permutation(N))]
            content = torch.where(there[:, None, None], held.values, drawn)
            tokens[name, 0] = replace(held, values=content)
    return replace(made, tokens=tokens)


def gradients(step, made):
    outcome = step(attach(made, views(step.objectives), {"text": Words()}))
    outcome.total.backward()
    return outcome, {name: p.grad for name, p in step.named_parameters()}


@pytest.mark.parametrize("fusion", THREE)
def test_every_subset_may_be_absent_and_changes_no_bit(fusion):
    found = []
    for junk in (False, True):
        step = step_of(fusion, *CONTENTS)
        found.append(gradients(step, made_of(LACKING, junk)))
    (one, left), (two, right) = found
    assert torch.equal(one.total, two.total)
    assert torch.isfinite(one.total)
    for name, grad in left.items():
        if grad is not None:
            assert torch.isfinite(grad).all(), name
            assert torch.equal(grad, right[name]), name
    for name in NAMES:  # a stand-in is learned wherever it stood
        assert left[f"model.absent.{name}"].abs().max() > 0


@pytest.mark.parametrize("fusion", THREE)
@pytest.mark.parametrize("gone", [x for k in (1, 2, 3) for x in combinations(NAMES, k)], ids=str)
def test_a_batch_may_lack_any_of_the_three(fusion, gone):
    step = step_of(fusion, *CONTENTS)
    outcome, grads = gradients(step, made_of(dict.fromkeys(gone, ALL)))
    assert torch.isfinite(outcome.total)
    assert all(x is None or torch.isfinite(x).all() for x in grads.values())
    counts = [int(x.count) for x in outcome.losses.values()]
    assert (counts[0] > 0) is (len(gone) < 3)  # classes are told from what is left
    assert (counts[1] > 0) is not bool({"image", "text"} & set(gone))
    assert (counts[2] > 0) is not bool({"table", "text"} & set(gone))
    assert (counts[3] > 0) is ("text" not in gone)
    assert (counts[4] > 0) is not bool({"image", "table"} & set(gone))


@pytest.mark.parametrize("fusion", THREE)
def test_the_third_modality_has_influence_where_it_is_there(fusion):
    step = step_of(fusion, *CONTENTS).eval()
    whole = step(attach(made_of(), views(step.objectives), {"text": Words()}))
    less = made_of({"table": (0,)})
    less = step(attach(less, views(step.objectives), {"text": Words()}))
    assert not torch.equal(whole.losses["0"].sum, less.losses["0"].sum)


@pytest.mark.parametrize("fusion", TWO)
def test_what_takes_two_refuses_three_in_one_sentence(fusion):
    with pytest.raises(RecipeError) as told:
        fusion_of(fusion)
    assert told.value.field == "fusion.use"
    assert told.value.expected == "two modalities"
    assert told.value.found == "image, table, text"
    for name in THREE:
        assert name in told.value.see


def test_every_fusion_says_how_many_it_takes():
    assert {*TWO, *THREE, "none"} == set(shelf.names("fusion"))
    fusion_of("none")
