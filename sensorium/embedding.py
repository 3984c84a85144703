"""Vectors of many items: of a prepared column, and of a whole model that stands as a tower."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sensorium.building import views
from sensorium.loading import gather
from sensorium.model import State
from sensorium.nodes import Encode, Read
from sensorium.prepare import Column, Reader
from sensorium.recipe import Recipe
from sensorium.records import Record, Source
from sensorium.step import Step
from sensorium.views import Look

_BATCH = 256


def embed(
    step: Step, recipe: Recipe, reader: Reader, column: Column, device: str = "cpu"
) -> NDArray[np.float32]:
    """Vectors of all items of a column, float32 [items, e], unit length."""
    node = Read(Encode(views(recipe)[reader.name]))
    record = Record("", Source("memory"), {})
    modalities = {reader.name: reader.modality}
    was = step.training
    step.eval()
    parts = [np.zeros((0, step.model.vector_width(reader.name)), np.float32)]
    for start in range(0, len(column.items), _BATCH):
        items: list[int | None] = list(range(start, min(start + _BATCH, len(column.items))))
        chosen = {reader.name: items}
        batch = gather([record] * len(items), {reader.name: column}, modalities, chosen)
        parts.append(step.vectors(node, batch.to(device)).cpu().numpy())
    step.train(was)
    return np.concatenate(parts)


@torch.no_grad()
def pooled(
    step: Step, recipe: Recipe, reader: Reader, column: Column, device: str = "cpu"
) -> NDArray[np.float32]:
    """What a modality's encoder pools of the first item of each record, float32 [records, d]."""
    encode = Encode(views(recipe)[reader.name])
    record = Record("", Source("memory"), {})
    was = step.training
    step.eval()
    parts = []
    for start in range(0, len(column.index), _BATCH):
        items: list[int | None] = [x[0] for x in column.index[start : start + _BATCH]]
        batch = gather([record] * len(items), {reader.name: column}, {reader.name: reader.modality},
                       {reader.name: items})  # fmt: skip
        parts.append(step.read(Read(encode, "pooled"), batch.to(device)).float().cpu().numpy())
    step.train(was)
    return np.concatenate(parts)


class Vectors(nn.Module):
    """A whole model as a frozen tower of one modality: `pooled` is its vector in the shared space,
    float32 [n, e], unit length."""

    def __init__(self, step: Step, modality: str) -> None:
        super().__init__()
        self.model, self.modality = step.model, modality
        self.width = step.model.vector_width(modality)
        step.model.encoders[modality].stack.packs = False  # no item may depend on its company
        self.eval().requires_grad_(False)

    def embed(self, look: Look) -> State:
        """Tokens -> State."""
        return self.model.embed(look)

    def encode(self, state: State) -> State:
        """The same rows with encoded tokens and the vector."""
        state = self.model.encode(self.modality, state)
        return replace(state, pooled=self.model.vector(self.modality, state))
