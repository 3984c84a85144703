"""What is found in closed form before the first step: fitted encoders, canonical directions."""

from __future__ import annotations

import numpy as np
import torch

from sensorium.building import views
from sensorium.errors import RecipeError
from sensorium.nodes import Encode
from sensorium.prepare import Column, single
from sensorium.recipe import Recipe
from sensorium.step import Forward, Step
from sensorium.tokens import Tokens


def start(step: Step, recipe: Recipe, columns: dict[str, Column], positions: list[int]) -> None:
    """Fits the encoders that ask for it, then places the projections as `recipe.start` says.

    Args:
        step: with initial weights; changed in place.
        recipe: its seed keys what must be chosen.
        columns: modality -> its prepared column.
        positions: records of the training split.

    Raises:
        RecipeError: closed forms need prepared features of exactly two modalities, and items that
            the towers tell apart.
    """
    for name, encoder in step.model.encoders.items():
        if getattr(encoder, "fits", False):
            _need_features(f"encoders.{name}", columns[name])
            items = [item for at in positions for item in columns[name].index[at]]
            features = np.asarray(columns[name].items)[items][:, 0]
            _refuse_equal(name, features)
            encoder.fit(features, recipe.seed)
    if recipe.start == "cca":
        columns = {name: columns[name] for name in recipe.modalities}  # a target has no states
        if len(columns) != 2:
            raise RecipeError(
                field="start", expected="two modalities for cca", found=", ".join(columns)
            )
        for column in columns.values():
            _need_features("start", column)
        canonical(step, recipe, columns, positions)


def _need_features(field: str, column: Column) -> None:
    if not column.features:
        raise RecipeError(
            field=field,
            expected=f"features of a frozen tower (prepare.{column.modality})",
            found=f"{column.modality} as it is",
        )


def _refuse_equal(modality: str, features: np.ndarray) -> None:
    """Raises a RecipeError where a tower gives the same for all, e.g. knows none of the words."""
    if not np.ptp(features, axis=0).any():
        raise RecipeError(
            field=f"prepare.{modality}",
            expected=f"a tower that tells items of {modality} apart",
            found=f"the same features for all {len(features)}",
        )


@torch.no_grad()
def canonical(step: Step, recipe: Recipe, columns: dict[str, Column], positions: list[int]) -> None:
    """Projections onto the singular vectors of the pooled states' cross-covariance.

    On whitened states these are the canonical directions (Hotelling 1936; kernel form and its
    shrinkage, Hardoon et al. 2004), weighted by their correlation. Rows are scaled to the spread
    that random projections begin with, so that one learning rate fits both.
    """
    whole = [at for at in positions if all(column.index[at] for column in columns.values())]
    left, right = (
        _pooled(step, recipe, column, [column.index[at][0] for at in whole])
        for column in columns.values()
    )
    u, strength, vh = torch.linalg.svd(left.T @ right / len(whole), full_matrices=False)
    kept = min(recipe.space, len(strength))
    for name, directions in zip(columns, (u, vh.T), strict=True):
        weight = step.model.projections[name].weight
        placed = torch.zeros_like(weight, dtype=directions.dtype)
        placed[:kept] = (directions[:, :kept] * strength[:kept]).T
        spread = weight.shape[1] ** -0.5
        weight.copy_(placed * spread / placed.square().mean().sqrt().clamp(min=1e-12))


def _pooled(step: Step, recipe: Recipe, column: Column, items: list[int]) -> torch.Tensor:
    """Pooled states of some items, float64 [items, d], without dropout."""
    device = next(step.parameters()).device
    node, was = Encode(views(recipe)[column.modality]), step.training
    step.eval()
    parts = []
    for begin in range(0, len(items), 1024):
        values = torch.from_numpy(np.asarray(column.items)[items[begin : begin + 1024]])
        tokens = Tokens(
            modality=column.modality,
            values=values,
            real=torch.ones(values.shape[:2], dtype=torch.bool),
            position=torch.arange(values.shape[1])[None, :, None],
        )
        batch = single(column.modality, tokens).to(device)
        parts.append(Forward(step.model, batch)(node).pooled.double().cpu())
    step.train(was)
    return torch.cat(parts)
