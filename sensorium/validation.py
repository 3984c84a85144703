"""How a Step does on the validation split: what chooses the best step of a run."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sensorium import draws
from sensorium.building import augmented, compared
from sensorium.embedding import embed
from sensorium.errors import DataError, RecipeError
from sensorium.evaluation import pairs
from sensorium.loading import gather
from sensorium.prepare import Column
from sensorium.recipe import Recipe
from sensorium.records import Record, Records
from sensorium.run import Run
from sensorium.step import Step, views

MOST = 2000  # records that are asked at each look


def validation(
    run: Run, records: Records, columns: dict[str, Column], recipe: Recipe, step: Step
) -> Callable[[Step], dict[str, float]]:
    """Scores a Step on the validation split; `score`, which chooses, as `recipe.choose` says.

    Of a large split a sample by key is asked, the same at each look; what is hidden from the model
    is drawn by key too, the same at each look.

    Args:
        step: of the recipe; what it compares decides whether ranks are told.

    Raises:
        DataError: fewer than two records of the split have every modality; variants and targets
            may be absent.
        RecipeError: `choose: rank`, and nothing is compared.
    """
    positions = [
        at
        for at in records.positions("validation")
        if all(columns[name].index[at] for name in recipe.modalities)
    ]
    keys = [records[at].key for at in positions]
    positions = [positions[at] for at in draws.sample(keys, MOST, run.recipe.seed, "validation")]
    if len(positions) < 2:
        raise DataError(
            file=records.name,
            expected="at least 2 whole records in the validation split",
            found=str(len(positions)),
        )
    ranked = {"image", "text"} <= set(compared(step))
    if recipe.choose == "rank" and not ranked:
        raise RecipeError(
            field="choose", expected="loss, for nothing is compared by vectors", found="rank"
        )
    small = {name: made.part(positions) for name, made in columns.items()}
    chosen = [records[at] for at in positions]
    rank = _ranks(run, small, recipe) if ranked else lambda step: {}
    losses = _losses(run, chosen, small, recipe, step)

    def scores(step: Step) -> dict[str, float]:
        was = step.training
        step.eval()
        line = rank(step) | losses(step)
        step.train(was)
        weights = {name: objective.spec.weight for name, objective in step.objectives.items()}
        line["score"] = (
            line["mean_reciprocal_rank"]
            if recipe.choose == "rank"
            else -sum(weight * line[name] for name, weight in weights.items())
        )
        return line

    return scores


def _ranks(
    run: Run, small: dict[str, Column], recipe: Recipe
) -> Callable[[Step], dict[str, float]]:
    """How well words find pictures and pictures words."""
    there_of, back_of = pairs(small["text"], small["image"]), pairs(small["image"], small["text"])

    def scores(step: Step) -> dict[str, float]:
        vectors = {
            name: embed(step, recipe, run.reader(name), small[name], run.device)
            for name in ("image", "text")
        }
        there = there_of.rank(vectors["text"], vectors["image"])
        back = back_of.rank(vectors["image"], vectors["text"])
        return {
            "mean_reciprocal_rank": (there.mean_reciprocal + back.mean_reciprocal) / 2,
            "text_to_image/recall@1": there.recall(1),
            "image_to_text/recall@1": back.recall(1),
        }

    return scores


def _losses(
    run: Run, chosen: list[Record], small: dict[str, Column], recipe: Recipe, step: Step
) -> Callable[[Step], dict[str, float]]:
    """Each objective's mean loss, and what no skill would give: `matching`, `matching/no_skill`."""
    looked = views(step.objectives)

    @torch.no_grad()
    def scores(step: Step) -> dict[str, float]:
        sums: dict[str, list[float]] = {}
        for rows in _rows(len(chosen), recipe.optimiser.batch):
            items: dict[str, list[int | None]] = {
                name: [made.index[at][0] if made.index[at] else None for at in rows]
                for name, made in small.items()
            }
            some = [chosen[at] for at in rows]
            rngs = [(recipe.seed, "validation", record.key) for record in some]
            batch = gather(some, small, run.modalities, items, rngs, augmented(recipe), looked)
            for name, loss in step(batch.to(run.device)).losses.items():
                told = sums.setdefault(name, [0.0, 0.0, 0.0])
                told[0] += float(loss.sum)
                told[1] += float(loss.count)
                told[2] += float(loss.chance * loss.count)
        line = {}
        for name, (total, count, luck) in sums.items():
            line[name] = total / max(count, 1)
            line[f"{name}/no_skill"] = luck / max(count, 1)
        return line

    return scores


def _rows(count: int, size: int) -> list[range]:
    return [range(start, min(start + size, count)) for start in range(0, count, size)]
