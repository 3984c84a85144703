"""`--tower`: imported towers take the places of a recipe's frozen ones.

What is asked for is checked against the recipe alone first, before torch loads; then the towers are
imported (or found in the cache), and the recipe names them by hash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sensorium import shelf, towers_imported
from sensorium.errors import RecipeError, nearest
from sensorium.recipe import Recipe, check, load

_NAMED = re.compile(r"([a-z][a-z0-9_]*)=(.*)\Z", re.S)


@dataclass(frozen=True)
class Wish:
    """A tower that was asked for; `modality` None: all that the source has."""

    modality: str | None
    source: str


def wishes(recipe: Recipe, given: Sequence[str]) -> list[Wish]:
    """What `--tower image=SOURCE`, or `--tower SOURCE`, asks of a recipe. Loads no torch.

    Raises:
        RecipeError: the recipe has no frozen towers, or not for that modality; one is asked for
            twice; no source is named.
    """
    made: list[Wish] = []
    for text in given:
        found = _NAMED.match(text)
        wish = Wish(found[1], found[2]) if found else Wish(None, text)
        if not wish.source:
            raise RecipeError("--tower", expected="image=SOURCE, text=SOURCE or SOURCE", found=text)
        if not recipe.prepare:
            raise RecipeError(
                "--tower",
                expected="a recipe with frozen towers: " + ", ".join(taking()),
                found=f"{recipe.name}, which trains its own encoders",
            )
        if wish.modality is not None:
            _refuse_lacking(recipe, wish.modality)
            if wish.modality in {other.modality for other in made}:
                raise _twice(wish.modality)
        made.append(wish)
    return made


def taking() -> list[str]:
    """Names of the recipes of the shelf that build on frozen towers."""
    return [name for name in shelf.names("recipes") if load(name).prepare]


def _refuse_lacking(recipe: Recipe, modality: str) -> None:
    if modality not in recipe.prepare:
        raise RecipeError(
            "--tower",
            expected=f"a modality that recipe {recipe.name} reads with a frozen tower: "
            + ", ".join(recipe.prepare),
            found=modality,
            nearest=nearest(modality, recipe.prepare),
        )


def _twice(modality: str) -> RecipeError:
    return RecipeError("--tower", expected=f"one tower for {modality}", found="several")


def taken(recipe: Recipe, given: Sequence[Wish], say: Callable[[str], None]) -> Recipe:
    """The recipe with imported towers in the places of its own.

    A head over other features cannot keep what it was set to for the recipe's own towers: the root
    of features that are never negative, and a prior in one tower's space.

    Args:
        say: is told the licence of each first, then how it was compared.

    Raises:
        UserError: as `importing.tower`; RecipeError: the source has no tower that the recipe takes.
    """
    if not given:
        return recipe
    from sensorium import importing

    content = recipe.model_dump(mode="json")
    places: dict[str, str] = {}
    for wish in given:
        parts = [wish.modality] if wish.modality else importing.parts(wish.source)
        if wish.modality is None:
            parts = [name for name in parts if name in recipe.prepare] or parts
        if not parts:
            raise RecipeError(
                "--tower",
                expected="a model with an encoder that stands alone",
                found=f"{wish.source}, whose modalities meet from the first layer on",
            )
        for name in parts:
            _refuse_lacking(recipe, name)
            if name in places:
                raise _twice(name)
            places[name] = wish.source
    for name, source in places.items():
        made = importing.tower(source, name, say)
        told = towers_imported.facts(made.name)
        assert told is not None, "it was just kept"
        was = content["prepare"][name]
        content["modalities"][name] = towers_imported.reading(told, name)
        content["prepare"][name] = towers_imported.preparing(told, made.width, made.order)
        content["departures"].append(
            f"{name}: the frozen tower is {made.source} ({made.architecture}, licence "
            f"{made.licence}) instead of {was.get('name', was['use'])}"
        )
        content["departures"] += [f"{name}: {note}" for note in made.notes]
        if content["encoders"][name].get("root"):
            content["encoders"][name]["root"] = False
    _drop_priors(content)
    return check(content)


def _drop_priors(content: dict[str, Any]) -> None:
    """ConSE needs the recipe's own two towers, and a prior the same space on both sides."""
    if not content["prior"]:
        return
    content["prior"] = 0.0
    for options in content["encoders"].values():
        if "prior" in options:
            options["prior"] = "none"
    content["departures"].append("no prior: it belongs to the recipe's own two towers")
