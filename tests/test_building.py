"""Building: weights follow the seed alone, counts add up, names that do not exist are told."""

import math

import pytest
import torch
from conftest import TINY

from sensorium import building
from sensorium.errors import RecipeError
from sensorium.recipe import load
from sensorium.views import View


def recipe(*overrides, seed=0, name="clip"):
    """A tiny recipe."""
    return load(name, "tiny", [*TINY, *overrides], seed=seed)


def weights(step):
    """name -> value of all parameters."""
    return dict(step.state_dict())


def test_weights_follow_the_seed_and_nothing_else():
    torch.manual_seed(1)
    one = weights(building.build(recipe()))
    torch.manual_seed(2)
    torch.rand(7)
    again = weights(building.build(recipe()))
    assert one.keys() == again.keys()
    assert all(torch.equal(one[name], again[name]) for name in one)
    other = weights(building.build(recipe(seed=1)))
    drawn = [name for name in one if one[name].ndim >= 2 and one[name].std() > 0]
    assert len(drawn) > 5
    assert not any(torch.equal(one[name], other[name]) for name in drawn)


def test_the_stream_of_the_caller_is_left_as_it_was():
    torch.manual_seed(3)
    wanted = torch.rand(5)
    torch.manual_seed(3)
    building.build(recipe())
    assert torch.equal(torch.rand(5), wanted)


def test_parameters_by_part_add_up():
    step = building.build(recipe())
    told = building.parameters(step)
    assert set(told) == {
        "encoder image", "encoder text", "projections", "fusion", "objective contrastive", "all"
    }  # fmt: skip
    parts = [count for name, count in told.items() if name != "all"]
    assert told["all"] == sum(parts) == sum(math.prod(p.shape) for p in step.parameters())
    assert told["projections"] == 2 * 32 * 32  # two maps without bias, 32 wide to 32 wide
    assert told["fusion"] == 0
    assert told["objective contrastive"] == 1  # the temperature


def test_plain_projections_by_hand():
    """Frozen towers stand outside: 1,280 and 384 values of theirs to 256, and a temperature."""
    step = building.build(load("plain_projections"))
    assert building.parameters(step) == {
        "encoder image": 0,
        "encoder text": 0,
        "projections": (1280 + 384) * 256,
        "fusion": 0,
        "objective contrastive": 1,
        "all": (1280 + 384) * 256 + 1,
    }


def test_views_have_the_order_that_the_recipe_names():
    assert building.views(recipe()) == {
        "image": View("image"),
        "text": View("text", order="causal"),
    }
    assert building.views(recipe("order={}"))["text"] == View("text")
    assert building.views(recipe("order={image: causal}"))["image"] == View("image", order="causal")


def test_objectives_see_the_views_of_the_recipe():
    objective = building.build(recipe()).objectives["contrastive"]
    assert objective.views == [View("image"), View("text", order="causal")]


def test_a_missing_modality_between_is_named_with_the_nearest():
    with pytest.raises(RecipeError) as caught:
        building.build(recipe("objectives=[{use: contrastive, between: [image, txt]}]"))
    assert caught.value.field == "objectives.0.between"
    assert (caught.value.found, caught.value.nearest) == ("txt", "text")
    assert caught.value.expected == "modalities of the recipe: image, text"
    two = "objectives=[{use: contrastive}, {use: contrastive, between: [sound, text]}]"
    with pytest.raises(RecipeError) as caught:
        building.build(recipe(two))
    assert (caught.value.field, caught.value.found) == ("objectives.1.between", "sound")


def test_two_of_a_kind_have_two_names():
    two = "objectives=[{use: contrastive, weight: 0.5}, {use: contrastive, weight: 2}]"
    step = building.build(recipe(two))
    told = {name: x.spec.weight for name, x in step.objectives.items()}
    assert told == {"contrastive": 0.5, "contrastive_1": 2}


def test_a_fitted_modality_decides_the_size_of_the_word_table():
    """A tokenizer that found 50 words gives a table of 50 rows; nothing else changes its shape."""
    fitted = building.modality(recipe(), "text")
    fitted.vocabulary = 50
    usual = weights(building.build(recipe()))
    small = weights(building.build(recipe(), {"text": fitted}))
    changed = {name for name in usual if usual[name].shape != small[name].shape}
    assert len(changed) == 1
    assert small[changed.pop()].shape[0] == 50


def test_recipe_options_reach_the_model():
    model = building.build(load("lit")).model
    assert (model.space, model.prior) == (256, 0.4)
    flat = building.build(recipe("project=false")).model
    assert not list(flat.projections.parameters())


def test_plan_lines_are_the_nodes_in_order():
    """Embed, encode and read the picture, then the words: each line says what and of what."""
    lines = [line.lower() for line in building.plan_lines(building.build(recipe()))]
    assert len(lines) == 6
    assert [("image" in line, "text" in line) for line in lines] == 3 * [(True, False)] + 3 * [
        (False, True)
    ]
    for at, what in enumerate(2 * ["embed", "encode"]):
        assert what in lines[at % 2 + 3 * (at // 2)]


def test_a_fusion_that_nothing_asks_for_is_not_built():
    """Its weights would be carried along, and a wrapper that waits for gradients would stop."""
    step = building.build(load("clip", "tiny", ["fusion.use=merge_attention"]))
    plain = building.build(load("clip", "tiny"))
    assert weights(step).keys() == weights(plain).keys()
    assert any("fusion" in name for name in weights(building.build(load("albef", "tiny"))))
