"""The caption that is already there: what a written one must beat.

For each picture the nearest caption of the training split: by vectors, where the run compares
pictures with texts; elsewhere the caption of the nearest training picture, by the encoder's states
(the nearest-neighbour baseline of Devlin et al. 2015, arXiv 1505.04467, section 2, with one
neighbour).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sensorium import draws
from sensorium.building import views
from sensorium.loading import gather
from sensorium.nodes import Encode, Read
from sensorium.records import Record, Source

if TYPE_CHECKING:
    from sensorium.prepare import Column
    from sensorium.run import Run

MOST = 2000  # training records that are compared, sampled by key
_BATCH = 256


def captions(run: Run, pictures: Column) -> tuple[list[str], str]:
    """The training caption nearest to each picture, and how it was found.

    Args:
        pictures: prepared pictures, one caption each.

    Raises:
        DataError: the run's data is not where it was.
    """
    records = run.records()
    trained = [records[at] for at in records.positions("train")]
    keys = [record.key for record in trained]
    trained = [trained[at] for at in draws.sample(keys, MOST, run.recipe.seed, "recalled")]
    texts = run.column("text", trained)
    if run.compares:
        asked, known = run.embed("image", pictures), run.embed("text", texts)
        owner = list(range(len(texts.items)))
        how = f"the nearest by vectors of {len(texts.items):,} training captions"
    else:
        seen = run.column("image", trained)
        whole = [at for at in range(len(trained)) if seen.index[at] and texts.index[at]]
        asked, known = _states(run, pictures), _states(run, seen.part(whole))
        owner = [texts.index[at][0] for at in whole for _ in seen.index[at]]
        how = f"that of the nearest of {len(owner):,} training pictures, by encoder states"
    nearest = (asked.astype(np.float64) @ known.astype(np.float64).T).argmax(axis=1)
    return [str(texts.items[owner[at]]) for at in nearest], how


def _states(run: Run, pictures: Column) -> NDArray[np.float32]:
    """The encoder's pooled states of pictures, float32 [items, d], unit length."""
    node = Read(Encode(views(run.recipe)["image"]), "pooled")
    record, parts = Record("", Source("memory"), {}), []
    for start in range(0, len(pictures.items), _BATCH):
        items: list[int | None] = list(range(start, min(start + _BATCH, len(pictures.items))))
        batch = gather([record] * len(items), {"image": pictures}, run.modalities, {"image": items})
        parts.append(run.step.read(node, batch.to(run.device)).float().cpu().numpy())
    states = np.concatenate(parts)
    return states / np.linalg.norm(states, axis=1, keepdims=True).clip(1e-12)
