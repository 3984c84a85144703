"""ConSE: the control that trains nothing (Norouzi et al. 2014, arXiv 1312.5650, section 3).

A picture's vector is the mean of the text tower's vectors of its ten likeliest ImageNet classes,
weighted by their probability; a text's vector is the text tower's own. What a trained model adds
is what it finds beyond this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sensorium import towers
from sensorium.encoders.efficientnet_lite import class_names
from sensorium.prepare import Reader, column
from sensorium.records import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sensorium.run import Run

TOP = 10
IMAGE, TEXT = "efficientnet_lite", "minilm"


def vectors(probabilities: NDArray, classes: NDArray, top: int = TOP) -> NDArray:
    """Pictures in the text tower's space.

    Args:
        probabilities: float [n, classes].
        classes: float [classes, c], unit vectors of the class names.
        top: how many of the likeliest classes count.

    Returns:
        float [n, c], unit length: sum over the top classes of p * vector.
    """
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    weights = np.take_along_axis(probabilities, best, axis=1)
    mixed = (weights[:, :, None] * classes[best]).sum(axis=1)
    return mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-12)


def similarity(run: Run, records: list[Record], shape: tuple[int, int]) -> NDArray | str:
    """ConSE's table for a run's records, or the reason why there is none.

    Args:
        run: whose fields name pictures and texts.
        records: of one split, each with both.
        shape: (texts, pictures), as the run itself reads them.

    Returns:
        float [texts, pictures], in the order of the records' items.
    """
    missing = [name for name in (IMAGE, TEXT) if not towers.available(name)]
    if missing:
        return f"tower {missing[0]} is not in the cache"
    from sensorium.recipe import load

    recipe = load("lit")
    readers = {name: Reader(recipe, name, run.device) for name in ("image", "text")}
    given = {name: column(reader, records, run.fields[name])[0] for name, reader in readers.items()}
    pictures, texts = given["image"].items, given["text"].items
    if (len(texts), len(pictures)) != shape:
        return "the towers cannot read all of these records"
    with torch.inference_mode():
        logits = readers["image"].tower.classes(torch.from_numpy(pictures[:, 0]).to(run.device))
    probabilities = logits.softmax(dim=1).cpu().numpy()
    return texts[:, 0] @ vectors(probabilities, _class_vectors(readers["text"])).T


def _class_vectors(reader: Reader) -> NDArray:
    """Unit vectors of the class names in the text tower, float32 [classes, c]."""
    return reader.encode(list(class_names()))[:, 0]
