"""How a Step does on the validation split: what chooses the best step of a run."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sensorium.errors import DataError
from sensorium.evaluation import embed, pairs
from sensorium.loading import gather
from sensorium.prepare import Column
from sensorium.records import Records
from sensorium.run import Run
from sensorium.step import Step
from sensorium.tasks import retrieval

MOST = 2000  # records that are asked at each look


def validation(
    run: Run, records: Records, columns: dict[str, Column]
) -> Callable[[Step], dict[str, float]]:
    """Scores a Step on the validation split; `score`, which chooses, as `recipe.choose` says."""
    positions = [
        at
        for at in records.positions("validation")
        if all(columns[name].index[at] for name in columns)
    ][:MOST]
    if len(positions) < 2:
        raise DataError(
            file=records.name,
            expected="at least 2 whole records in the validation split",
            found=str(len(positions)),
        )
    small = {name: made.part(positions) for name, made in columns.items()}
    modalities = {name: run.reader(name).modality for name in columns}
    chosen = [records[at] for at in positions]
    problem = pairs(small["text"], small["image"])

    def scores(step: Step) -> dict[str, float]:
        vectors = {
            name: embed(step, run.recipe, run.reader(name), made, run.device)
            for name, made in small.items()
        }
        table = vectors["text"] @ vectors["image"].T
        there = retrieval.rank(table, problem.right)
        back = retrieval.rank(table.T, problem.right.T)
        line = {
            "mean_reciprocal_rank": (there.mean_reciprocal + back.mean_reciprocal) / 2,
            "text_to_image/recall@1": there.recall(1),
            "image_to_text/recall@1": back.recall(1),
        }
        step.eval()
        with torch.no_grad():
            sums: dict[str, list[float]] = {}
            for rows in _rows(len(chosen), run.recipe.optimiser.batch):
                items: dict[str, list[int | None]] = {
                    name: [made.index[at][0] for at in rows] for name, made in small.items()
                }
                batch = gather([chosen[at] for at in rows], small, modalities, items)
                _, losses = step(batch.to(run.device))
                for name, loss in losses.items():
                    told = sums.setdefault(name, [0.0, 0.0, 0.0])
                    told[0] += float(loss.sum)
                    told[1] += float(loss.count)
                    told[2] += float(loss.chance * loss.count)
        for name, (total, count, luck) in sums.items():
            line[name] = total / max(count, 1)
            line[f"{name}/no_skill"] = luck / max(count, 1)
        weights = {name: objective.spec.weight for name, objective in step.objectives.items()}
        line["score"] = (
            line["mean_reciprocal_rank"]
            if run.recipe.choose == "rank"
            else -sum(weight * line[name] for name, weight in weights.items())
        )
        return line

    return scores


def _rows(count: int, size: int) -> list[range]:
    return [range(start, min(start + size, count)) for start in range(0, count, size)]
