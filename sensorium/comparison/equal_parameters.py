"""Arms of equal size: one option scaled until all arms train as many parameters as one of them.

Counting is done on the meta device, where a model of any size has no weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sensorium.building import build, parameters
from sensorium.comparison.arms import Arm, complete, reach
from sensorium.errors import PlanError, RecipeError, clip
from sensorium.recipe import Recipe, check

CLOSE = 0.02  # share by which sizes may differ
DOUBLINGS = 6  # or halvings of the option's own value: what is farther was not meant
HALVINGS = 30  # of the interval in which the value is sought


def equalise(arms: list[Arm], path: str, modalities: dict[str, Any] | None = None) -> list[Arm]:
    """The arms, each but one with its number at `path` scaled.

    The one left as it is, which decides how many parameters all shall have, is the first for which
    every other can be scaled: an arm with large fixed parts may be unable to shrink.

    Args:
        arms: not changed.
        path: an option that is a number, e.g. `fusion.mlp` or `encoders.text.width`. Of a width
            that is divided into heads, multiples of the heads alone are tried.
        modalities: modality -> its fitted object, as of `building.build`; a trained tokenizer
            decides how large the word table is.

    Raises:
        PlanError: the option is not there, is no number, changes nothing, or no value of it comes
            within 2 %; names the closest.
    """
    told: list[PlanError] = []
    for kept in arms:
        wanted = count(kept.recipe, modalities)
        try:
            return [x if x is kept else _scaled(x, path, wanted, modalities) for x in arms]
        except PlanError as error:
            told.append(error)
    raise told[0]


def count(recipe: Recipe, modalities: dict[str, Any] | None = None) -> int:
    """The trained parameters of a recipe, counted without building weights."""
    with torch.device("meta"):
        return parameters(build(recipe, modalities))["all"]


def _scaled(arm: Arm, path: str, wanted: int, modalities: dict[str, Any] | None) -> Arm:
    """One arm with `wanted` parameters, as it is where it has them already."""
    owner, _, key = path.rpartition(".")
    content = complete(arm.recipe)
    holder = reach(content, owner) if owner else content
    value = holder.get(key) if isinstance(holder, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise PlanError(
            field="equal_parameters",
            expected=f"a positive number in every arm at {path}",
            found=f"{clip(value)} in {arm.name}",
        )
    now = count(arm.recipe, modalities)
    if abs(now - wanted) <= CLOSE * wanted:
        return arm
    grain = holder.get("heads", 1) if key in ("width", "inner") else 1
    tried: dict[float, int] = {value: now}

    def size(option: float) -> int:
        if option not in tried:
            tried[option] = count(_changed(arm.recipe, path, option), modalities)
        return tried[option]

    try:
        _search(size, value, wanted, grain if isinstance(value, int) else None)
    except RecipeError as error:
        raise PlanError(
            f"{path} of {arm.name} cannot be scaled alone: {error.what}",
            field="equal_parameters",
            expected=error.expected,
            found=error.found,
        ) from None
    best = min(tried, key=lambda option: (abs(tried[option] - wanted), option))
    if abs(tried[best] - wanted) > CLOSE * wanted:
        told = f"{path} {best:g} gives {tried[best]:,}"
        if len(set(tried.values())) == 1:
            told = f"{now:,} whatever {path} is"
        raise PlanError(
            field="equal_parameters",
            expected=f"{wanted:,} parameters in {arm.name}, to within {CLOSE:.0%}",
            found=told,
        )
    return Arm(arm.name, _changed(arm.recipe, path, best))


def _search(size: Callable[[float], int], value: float, wanted: int, grain: int | None) -> None:
    """Asks for sizes until one is close enough or nothing is left between two that are not.

    Args:
        size: of an option's value; grows with it.
        value: where to begin.
        grain: the option is a multiple of it; None for any number.
    """

    def whole(option: float) -> float:
        return option if grain is None else max(grain, grain * round(option / grain))

    def close(option: float) -> bool:
        return abs(size(option) - wanted) <= CLOSE * wanted

    low = high = value
    for _ in range(DOUBLINGS):
        if size(low) <= wanted <= size(high):
            break
        low, high = (whole(low / 2), low) if size(low) > wanted else (high, whole(high * 2))
    for _ in range(HALVINGS):
        middle = whole((low + high) / 2)
        if close(low) or close(high) or middle in (low, high):
            return
        low, high = (low, middle) if size(middle) > wanted else (middle, high)


def _changed(recipe: Recipe, path: str, value: float) -> Recipe:
    """The recipe with a number at a path."""
    content = recipe.model_dump(mode="json")
    owner, _, key = path.rpartition(".")
    (reach(content, owner) if owner else content)[key] = value
    return check(content)
