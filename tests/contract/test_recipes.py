"""What every recipe keeps, beside its own tests."""

import itertools
from pathlib import Path

import pytest
import torch
from small_recipe import COUNT, small

from sensorium import optimiser, shelf
from sensorium.building import build, compared, parameters, plan_lines, published, views
from sensorium.model import Model
from sensorium.recipe import SIZES, load
from sensorium.step import plan
from sensorium.training import take

NAMES = shelf.names("recipes")

# The survey's axes (arXiv 2302.10035, tables 2 to 4, corrected against the sources): stream,
# fusion, decoder.
SURVEY = {
    "ALBEF": ("two_stream", "cross_attention", "none"),
    "CLIP": ("dual", "none", "none"),
    "CoCa": ("two_stream", "cross_attention", "causal"),
    "MURAL": ("dual", "none", "none"),
    "SLIP": ("dual", "none", "none"),
    "SimVLM": ("single", "merge_attention", "prefix"),
    "ViLBERT": ("two_stream", "co_attention", "none"),
    "VisualBERT": ("single", "merge_attention", "none"),
}


@pytest.mark.parametrize("name", NAMES)
def test_builds_at_published_size_on_the_meta_device(name):
    recipe = load(name)
    with torch.device("meta"):
        step = build(recipe)
    counts = parameters(step)
    if (told := published(step, recipe)) is not None:
        rounded = float(recipe.published["parameters"].get("rounded", 0))  # as it was printed
        assert told[0] == pytest.approx(told[1], abs=max(0.01 * told[1], rounded))
    else:  # no number is known, or none that this structure explains: the recipe says which
        assert "unexplained" in str(recipe.published) or "parameters" not in recipe.published
    assert isinstance(step.model, Model)
    assert sum(v for k, v in counts.items() if k != "all") == counts["all"]
    assert plan_lines(step)


@pytest.mark.parametrize("name", NAMES)
def test_each_size_is_larger_than_the_one_before(name):
    counts = []
    for size in (*SIZES, "published"):
        with torch.device("meta"):
            counts.append(parameters(build(load(name, size)))["all"])
    assert counts == sorted(counts)
    if len(load(name).prepare) == 0:
        assert len(set(counts)) == len(counts)


def trained(made, steps=2):
    """Takes steps; returns the state before, and the losses of the last."""
    before = {name: value.clone() for name, value in made.step.state_dict().items()}
    adam = optimiser.build(made.step, made.recipe.optimiser)
    for at in range(steps):  # some gradients are zero until others have moved
        losses = take(made.step, adam, made.batches[at], made.recipe, at, 10)
    assert all(torch.isfinite(loss.mean) and loss.count > 0 for loss in losses.values())
    return before, losses


def still(made, before):
    """Names of the trained parameters that did not move."""
    after = made.step.state_dict()
    own = {name for name, p in made.step.named_parameters() if p.requires_grad}
    return {name for name in own if torch.equal(before[name], after[name])}


@pytest.mark.parametrize("name", NAMES)
def test_one_step_at_tiny_size_moves_every_parameter(name):
    """With records that lack a modality, so that what stands in their place is seen."""
    lacking = {"image": (1,), "text": (2,), "text#1": (3,)}
    sole = len(load(name).modalities) == 1
    made = small(name, batch=COUNT, lacking=lacking)
    before, _ = trained(made)
    # Of a picture without text nothing is asked, so what would stand for the text is never
    # corrected; of a text without picture its words are.
    words = any(getattr(node, "give", "") == "logits" for node in plan(made.step.objectives))
    expected = {"model.absent.text"} if made.step.model.absent else set()
    if not words:
        expected |= {f"model.absent.{name}" for name in made.step.model.absent}
    assert sole is not bool(made.step.model.absent) or made.recipe.fusion["use"] == "none"
    assert still(made, before) == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_teacher_follows_and_never_learns(name):
    with torch.device("meta"):
        step = build(load(name))
    needed = any(node.who == "teacher" for node in plan(step.objectives))
    assert needed == (load(name).teacher is not None) == (step.teacher is not None)
    if not needed:
        return
    made = small(name)
    adam = optimiser.build(made.step, made.recipe.optimiser)
    learned = {id(p) for group in adam.param_groups for p in group["params"]}
    wanted = [p.clone() for p in made.step.teacher.parameters()]
    for at in range(3):
        take(made.step, adam, made.batches[at], made.recipe, at, 10)
        for mine, yours in zip(wanted, made.step.model.parameters(), strict=True):
            m = made.recipe.teacher.momentum
            mine.copy_(m * mine + (1 - m) * yours.detach())
    for mine, found in zip(wanted, made.step.teacher.parameters(), strict=True):
        assert id(found) not in learned
        assert found.grad is None
        torch.testing.assert_close(found, mine, atol=1e-7, rtol=1e-5)
    pairs = zip(made.step.teacher.parameters(), made.step.model.parameters(), strict=True)
    assert any(not torch.equal(mine, yours) for mine, yours in pairs)


@pytest.mark.parametrize("name", NAMES)
def test_begins_near_no_skill(name):
    """A loss far from its no-skill value before any step is computed wrongly or starts wrongly."""
    made = small(name)
    made.step.eval()
    with torch.no_grad():
        for loss in made.step(made.batches[0]).losses.values():
            if name != "lit":  # starts in closed form on these very records
                assert 0.5 * loss.chance < loss.mean < 1.5 * loss.chance + 1


@pytest.mark.parametrize("name", NAMES)
def test_a_target_can_be_given_to_it(name):
    """The same model, asked for classes beside all else."""
    made = small(name, labelled=True)
    assert made.batches[0].targets["label"].shape == (8,)
    before, losses = trained(made)
    assert losses["classification"].count == 8
    head = "objectives.classification.head.weight"
    assert head not in still(made, before)


@pytest.mark.parametrize("name", NAMES)
def test_what_chooses_the_best_step_is_there(name):
    recipe = load(name)
    with torch.device("meta"):
        step = build(recipe)
    if recipe.choose == "rank":
        assert set(compared(step)) == {"image", "text"}
    if not {"image", "text"} <= set(compared(step)):
        assert recipe.choose == "loss"


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_is_looked_at(name):
    """A variant that no objective asks for would be read for nothing, and the other way round."""
    recipe = load(name)
    with torch.device("meta"):
        step = build(recipe)
    asked = {(n.view.modality, n.view.variant) for n in plan(step.objectives) if hasattr(n, "view")}
    declared = {
        (kind, number)
        for kind, variants in recipe.variants.items()
        for number in range(1, len(variants) + 1)
    }
    assert {pair for pair in asked if pair[1]} == declared
    assert {kind for kind, _ in asked} == set(recipe.modalities)


def axes(recipe):
    """Stream, fusion and decoder of what a recipe builds."""
    use = recipe.fusion["use"]
    stream = {"none": "dual", "merge_attention": "single"}.get(use, "two_stream")
    written = [x for x in recipe.objectives if x["use"] == "generation"]
    return stream, use, written[0].get("order", "causal") if written else "none"


@pytest.mark.parametrize("name", [name for name in NAMES if load(name).survey])
def test_stands_where_the_survey_puts_it(name):
    recipe = load(name)
    assert axes(recipe) == SURVEY[recipe.survey]


def test_the_survey_is_named_where_it_has_the_model():
    named = {load(name).survey for name in NAMES} - {None}
    assert named == set(SURVEY)


@pytest.mark.parametrize("name", NAMES)
def test_says_where_it_comes_from(name):
    recipe = load(name)
    # What had to be substituted is part of the name that is shown: visualbert is shown as
    # visualbert_patches.
    assert recipe.name in (name, f"{name}_patches")
    assert recipe.source
    assert recipe.departures, "no reproduction is without departures: say them"
    assert set(views(recipe)) == set(recipe.modalities)
    assert (Path(__file__).parents[1] / "recipes" / f"test_{name}.py").exists()


def test_no_two_recipes_are_one():
    for a, b in itertools.combinations(NAMES, 2):
        x, y = (
            load(n).model_dump(exclude={"name", "summary", "source", "departures", "published"})
            for n in (a, b)
        )
        assert x != y
