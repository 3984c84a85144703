"""The controls that train, on the same features as the run: what it must beat, and what luck gives.

`partner_shuffled`: the same recipe and steps on partners dealt out anew. What it still finds was
not learned from who belongs to whom: popular answers, order, leaks.
`plain_projections`: the recipe of that name, two linear maps, the usual baseline on frozen towers.

They cost a second and a third training, so they run where that is cheap: where frozen towers
prepared everything. Elsewhere evaluation deals the answers out anew instead, and says so.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium import checkpoint, conse, draws, towers
from sensorium.building import build
from sensorium.errors import RunError, UserError, clip
from sensorium.prepare import Column, Reader, column
from sensorium.recipe import Recipe, check, load
from sensorium.records import Record, Records

if TYPE_CHECKING:
    from sensorium.run import Run
    from sensorium.step import Step

CHEAP = 8  # steps of plain projections that cost about one of a kernel head
SHUFFLED, PLAIN = "partner_shuffled", "plain_projections"


def names(recipe: Recipe) -> list[str]:
    """The controls that a run of this recipe trains: where frozen towers prepared pictures and
    texts, and their contrast is learned from scratch.

    A run that compares nothing has no use for them, and one that goes on from another run would
    have to begin them there.
    """
    if set(recipe.prepare) != set(recipe.modalities) or not {"image", "text"} <= set(
        recipe.prepare
    ):
        return []
    if recipe.tune is not None or "contrastive" not in {x["use"] for x in recipe.objectives}:
        return []
    return [SHUFFLED] if recipe.name == PLAIN else [PLAIN, SHUFFLED]


def recipe_of(name: str, recipe: Recipe) -> Recipe:
    """What a control trains: the run's own recipe, or plain projections on the same features."""
    if name == SHUFFLED:
        return recipe
    plain = load(PLAIN, seed=recipe.seed)
    return plain.model_copy(
        update={"modalities": recipe.modalities, "prepare": recipe.prepare, "size": recipe.size}
    )


def folder(run: Run, name: str) -> Path:
    """Where a control keeps its checkpoints and its log: a small run inside the run."""
    return run.folder / "controls" / name


def shuffled(column: Column, positions: list[int], seed: int) -> Column:
    """The column with the items of some records dealt out anew among them."""
    dealt = [positions[at] for at in draws.order(len(positions), seed, "deal partners")]
    index = list(column.index)
    for to, source in zip(positions, dealt, strict=True):
        index[to] = column.index[source]
    return replace(column, index=index)


def columns_of(
    name: str, columns: dict[str, Column], records: Records, seed: int
) -> dict[str, Column]:
    """What a control sees: the run's own columns, or partners of the training split dealt anew."""
    if name != SHUFFLED:
        return columns
    return columns | {"text": shuffled(columns["text"], records.positions("train"), seed)}


def steps_of(name: str, recipe: Recipe, own: int, records: int) -> int:
    """How many steps a control takes: as many as the run, or as its own recipe says.

    Plain projections stop at `CHEAP` times the run's steps: each costs a fraction of the run's.

    Args:
        name: of the control.
        recipe: what it trains.
        own: steps of the run.
        records: of the training split.
    """
    if name == SHUFFLED:
        return own
    wanted = (recipe.most_epochs or 1) * records / min(recipe.optimiser.batch, records)
    return max(1, min(round(wanted), CHEAP * own))


def trained(run: Run, name: str) -> Step | None:
    """A trained control at the step that validation chose, or None where it was not trained.

    Raises:
        RunError: it is damaged.
    """
    noted = run.info.get("controls", {})
    told = noted.get(name) if isinstance(noted, dict) else noted
    if told is None and isinstance(noted, dict):
        return None
    lost = "the run itself still holds; only this control is lost"
    if not (
        isinstance(told, dict)
        and isinstance(told.get("best_step"), int)
        and isinstance(told.get("recipe"), dict)
    ):
        raise RunError(
            file=run.folder / "run.json",
            field=f"controls.{name}",
            expected="a best_step and a recipe",
            found=clip(told),
            see=lost,
        )
    try:
        recipe = check(told["recipe"])
        place = folder(run, name) / "checkpoints"
        found = checkpoint.load(place, told["best_step"], recipe.hash)
    except UserError as error:
        error.see = lost
        raise
    step = build(recipe).to(run.device)
    step.load_state_dict(found.state["model"])
    return step.eval()


def conse_vectors(
    run: Run, records: list[Record], sizes: dict[str, int]
) -> dict[str, NDArray] | str:
    """ConSE's vectors for a run's records, or the reason why there are none.

    Args:
        run: whose fields name pictures and texts.
        records: of one split, each with both.
        sizes: how many texts and pictures the run itself reads of them.

    Returns:
        {text, image}: float32 [items, e], in the order of the records' items.
    """
    missing = [name for name in conse.TOWERS if not towers.available(name)]
    if missing:
        return f"tower {missing[0]} is not in the cache"
    recipe = load(PLAIN)
    readers = {name: Reader(recipe, name, run.device) for name in ("image", "text")}
    given = {name: column(reader, records, run.fields[name])[0] for name, reader in readers.items()}
    pictures, texts = (np.asarray(given[name].items) for name in ("image", "text"))
    if {"text": len(texts), "image": len(pictures)} != sizes:
        return "the towers cannot read all of these records"
    found = []
    with torch.inference_mode():
        for part in torch.from_numpy(pictures[:, 0]).split(1024):
            logits = readers["image"].tower.classes(part.to(run.device))
            found.append(conse.vectors(logits.softmax(dim=1).cpu(), conse.tables()[1]))
    return {"text": texts[:, 0], "image": torch.cat(found).numpy()}
