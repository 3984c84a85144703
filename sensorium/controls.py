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

from sensorium import checkpoint, conse, draws, optimiser, towers
from sensorium.building import build
from sensorium.errors import RunError
from sensorium.loading import Batches
from sensorium.optimiser import rate
from sensorium.prepare import Column, Reader, column
from sensorium.recipe import Recipe, load
from sensorium.records import Record, Records
from sensorium.starting import start
from sensorium.training import update

if TYPE_CHECKING:
    from sensorium.pretraining import Watcher
    from sensorium.run import Run
    from sensorium.step import Step

SHUFFLED, PLAIN = "partner_shuffled", "plain_projections"


def names(recipe: Recipe) -> list[str]:
    """The controls that a run of this recipe trains."""
    if set(recipe.prepare) != set(recipe.modalities):
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
    """Where a control's weights are kept."""
    return run.folder / "controls" / name


def shuffled(column: Column, positions: list[int], seed: int) -> Column:
    """The column with the items of some records dealt out anew among them."""
    dealt = [positions[at] for at in draws.order(len(positions), seed, "deal partners")]
    index = list(column.index)
    for to, source in zip(positions, dealt, strict=True):
        index[to] = column.index[source]
    return replace(column, index=index)


def train_controls(
    run: Run, records: Records, columns: dict[str, Column], steps: int, watcher: Watcher
) -> None:
    """Trains the controls and keeps their last weights."""
    train = records.positions("train")
    for name in names(run.recipe):
        recipe, given = recipe_of(name, run.recipe), columns
        if name == SHUFFLED:
            given = columns | {"text": shuffled(columns["text"], train, recipe.seed)}
        step = build(recipe).to(run.device)
        start(step, recipe, given, train)
        adam = optimiser.build(step, recipe.optimiser)
        batches = Batches(records.records, given, {}, train, recipe.optimiser.batch, recipe.seed)
        if name == PLAIN:
            steps_here = max(1, round((recipe.most_epochs or 1) * len(train) / batches.size))
        else:
            steps_here = steps
        for at, batch in enumerate(batches.from_step(0, steps_here)):
            for group in adam.param_groups:
                group["lr"] = rate(at, steps_here, recipe.optimiser)
            update(step, adam, batch.to(run.device), recipe.optimiser.clip)
            watcher.progress("control", at + 1, steps_here, name.replace("_", " "))
        folder(run, name).mkdir(parents=True, exist_ok=True)
        state = {"model": step.state_dict(), "progress": {"step": steps_here}}
        checkpoint.save(folder(run, name), steps_here, state, recipe.hash, keep=1)


def trained(run: Run, name: str) -> Step | None:
    """A trained control, or None where it was not trained.

    Raises:
        RunError: it is damaged.
    """
    if not folder(run, name).is_dir():
        return None
    recipe = recipe_of(name, run.recipe)
    try:
        found = checkpoint.load(folder(run, name), recipe_hash=recipe.hash)
    except RunError as error:
        error.see = f"delete {folder(run, name)} to evaluate without this control"
        raise
    step = build(recipe).to(run.device)
    step.load_state_dict(found.state["model"])
    return step.eval()


def conse_similarity(run: Run, records: list[Record], shape: tuple[int, int]) -> NDArray | str:
    """ConSE's table for a run's records, or the reason why there is none.

    Args:
        run: whose fields name pictures and texts.
        records: of one split, each with both.
        shape: (texts, pictures), as the run itself reads them.

    Returns:
        float [texts, pictures], in the order of the records' items.
    """
    missing = [name for name in conse.TOWERS if not towers.available(name)]
    if missing:
        return f"tower {missing[0]} is not in the cache"
    recipe = load(PLAIN)
    readers = {name: Reader(recipe, name, run.device) for name in ("image", "text")}
    given = {name: column(reader, records, run.fields[name])[0] for name, reader in readers.items()}
    pictures, texts = (np.asarray(given[name].items) for name in ("image", "text"))
    if (len(texts), len(pictures)) != shape:
        return "the towers cannot read all of these records"
    with torch.inference_mode():
        logits = readers["image"].tower.classes(torch.from_numpy(pictures[:, 0]).to(run.device))
        found = conse.vectors(logits.softmax(dim=1).cpu(), conse.tables()[1]).numpy()
    return texts[:, 0] @ found.T
