"""The control that trains: the same recipe, steps and draws on partners dealt out anew.

What it still finds, it did not learn from who belongs to whom: file order, popular answers, leaks.
It costs a second training, so it runs where that is cheap: where frozen towers prepared everything.
Elsewhere evaluation deals the answers anew instead, and says so.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sensorium import checkpoint, draws, optimiser
from sensorium.errors import RunError
from sensorium.loading import Batches
from sensorium.optimiser import rate
from sensorium.prepare import Column
from sensorium.records import Records
from sensorium.training import update

if TYPE_CHECKING:
    from sensorium.pretraining import Watcher
    from sensorium.run import Run
    from sensorium.step import Step

NAME = "partner_shuffled"


def cheap(run: Run) -> bool:
    """Whether a second training costs little: no encoder reads raw pictures or texts."""
    return set(run.recipe.prepare) == set(run.recipe.modalities)


def folder(run: Run) -> Path:
    """Where the control's weights are kept."""
    return run.folder / "controls" / NAME


def shuffled(column: Column, positions: list[int], seed: int) -> Column:
    """The column with the items of some records dealt out anew among them."""
    dealt = [positions[at] for at in draws.order(len(positions), seed, "deal partners")]
    index = list(column.index)
    for to, source in zip(positions, dealt, strict=True):
        index[to] = column.index[source]
    return replace(column, index=index)


def train_shuffled(
    run: Run, records: Records, columns: dict[str, Column], steps: int, watcher: Watcher
) -> None:
    """Trains the control for as many steps as the run and keeps its last weights."""
    recipe, train = run.recipe, records.positions("train")
    dealt = columns | {"text": shuffled(columns["text"], train, recipe.seed)}
    step = run.build()
    adam = optimiser.build(step, recipe.optimiser)
    batches = Batches(records.records, dealt, {}, train, recipe.optimiser.batch, recipe.seed)
    for at, batch in enumerate(batches.from_step(0, steps)):
        for group in adam.param_groups:
            group["lr"] = rate(at, steps, recipe.optimiser)
        update(step, adam, batch.to(run.device), recipe.optimiser.clip)
        watcher.progress("control", at + 1, steps, "partners shuffled")
    folder(run).mkdir(parents=True, exist_ok=True)
    state = {"model": step.state_dict(), "progress": {"step": steps}}
    checkpoint.save(folder(run), steps, state, recipe.hash, keep=1)


def load(run: Run) -> Step | None:
    """The trained control, or None where it was not trained.

    Raises:
        RunError: it is damaged.
    """
    if not folder(run).is_dir():
        return None
    try:
        found = checkpoint.load(folder(run), recipe_hash=run.recipe.hash)
    except RunError as error:
        error.see = f"delete {folder(run)} to evaluate without this control"
        raise
    step = run.build()
    step.load_state_dict(found.state["model"])
    return step.eval()
