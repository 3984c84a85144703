"""Arms of equal size: within 2 % by one option, heads kept whole, or a sentence."""

import pytest
import torch

from sensorium.building import build, parameters
from sensorium.comparison import arms
from sensorium.comparison.equal_parameters import CLOSE, count, equalise
from sensorium.errors import PlanError

from .plans import plan


def made(axis, values, recipe="albef", held=None):
    return arms.derive(
        plan(axis, {f"arm {at}": x for at, x in enumerate(values)}, recipe, set=held or {})
    )


def test_counts_as_a_real_build_does():
    for arm in made("fusion", ["merge_attention", "co_attention"]):
        built = build(arm.recipe)
        assert count(arm.recipe) == parameters(built)["all"]
        learned = sum(p.numel() for p in built.parameters() if p.requires_grad)
        assert count(arm.recipe) == learned
        assert all(p.device != torch.device("meta") for p in built.parameters())


@pytest.mark.parametrize(
    ("recipe", "axis", "values", "path"),
    [
        ("albef", "fusion", ["merge_attention", "co_attention"], "fusion.mlp"),
        ("albef", "fusion", ["co_attention", "merge_attention"], "fusion.mlp"),
        ("visualbert", "fusion", ["merge_attention", "co_attention"], "fusion.mlp"),
        ("albef", "fusion", ["merge_attention", "cross_attention", "co_attention"], "fusion.mlp"),
        ("albef", "fusion", [{"use": "merge_attention", "depth": 8},
                             {"use": "merge_attention", "depth": 2}], "fusion.mlp"),
        ("clip", "encoders.text", [{"depth": 1}, {"depth": 4}], "encoders.text.width"),
        ("clip", "encoders.text", [{"depth": 4}, {"depth": 1}], "encoders.text.mlp"),
    ],
)  # fmt: skip
def test_within_two_per_cent(recipe, axis, values, path):
    before = made(axis, values, recipe)
    after = equalise(before, path)
    sizes = [count(arm.recipe) for arm in after]
    assert max(sizes) <= min(sizes) * (1 + CLOSE) ** 2
    assert [arm.name for arm in after] == [arm.name for arm in before]
    # One is as it was, and in the others that option alone has changed.
    assert any(x is y for x, y in zip(before, after, strict=True))
    for x, y in zip(before, after, strict=True):
        assert arms.differences(x.recipe, y.recipe) in ([], [path])


def test_widths_keep_whole_heads():
    held = {"encoders.text.heads": 4, "encoders.text.width": 100}  # half of it is no multiple
    one, other = equalise(made("encoders.text.depth", [2, 6], "clip", held), "encoders.text.width")
    widths = [arm.recipe.encoders["text"]["width"] for arm in (one, other)]
    assert widths[0] != widths[1]
    assert all(isinstance(x, int) and x % 4 == 0 for x in widths)
    build(other.recipe)


def test_equal_sizes_are_left_alone():
    before = made("fusion.dropout", [0.0, 0.1])
    assert equalise(before, "fusion.mlp") == before


@pytest.mark.parametrize(
    ("axis", "values", "path", "told"),
    [
        (
            "fusion",
            ["merge_attention", "co_attention"],
            "fusion.dropout",
            "whatever fusion.dropout is",
        ),
        ("fusion", ["merge_attention", "co_attention"], "fusion.norm", "a positive number"),
        ("fusion", ["merge_attention", "co_attention"], "fusion.size", "None in"),
        ("fusion", ["merge_attention", "co_attention"], "fusion.eps", "whatever fusion.eps is"),
        ("fusion.depth", [1, 8], "encoders.text.depth", "parameters in arm 1, to within 2%"),
    ],
)
def test_what_cannot_be_made_equal_is_said(axis, values, path, told):
    with pytest.raises(PlanError) as caught:
        equalise(made(axis, values), path)
    assert caught.value.field == "equal_parameters"
    assert told in str(caught.value), str(caught.value)


def test_a_fitted_vocabulary_counts():
    """A trained tokenizer may have found fewer words than it was allowed."""

    class Fewer:
        name, vocabulary, length, special, hide_id = "text", 300, 25, frozenset(), 4

    one, _ = made("fusion", ["merge_attention", "co_attention"])
    assert one.recipe.modalities["text"]["length"] == Fewer.length
    width = one.recipe.encoders["text"]["width"]
    allowed = one.recipe.modalities["text"]["vocabulary"]
    difference = count(one.recipe) - count(one.recipe, {"text": Fewer()})
    assert difference == (allowed - 300) * (width + 1)  # the table, and the head's bias
