"""ConSE: pictures in the text tower's space without any training (Norouzi et al. 2014).

A picture's vector is the mean of the text tower's vectors of ImageNet's class names, weighted by
the class probabilities (arXiv 1312.5650, section 3). As a control it is used as published, with the
ten likeliest classes; as the `prior` of a head with all of them.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from sensorium import towers
from sensorium.encoders import efficientnet_lite, minilm
from sensorium.recipe import load
from sensorium.records import Record, Source

TOP = 10
TEMPERATURE = 2.0  # of the prior: a softer vote than the classifier's own
WIDTH, CLASSES = minilm.WIDTH, efficientnet_lite.CLASSES
TOWERS = ("efficientnet_lite", "minilm")


def vectors(probabilities: torch.Tensor, classes: torch.Tensor, top: int = TOP) -> torch.Tensor:
    """Pictures in the text tower's space, as published.

    Args:
        probabilities: float [n, classes].
        classes: float [classes, c], unit vectors of the class names.
        top: how many of the likeliest classes count.

    Returns:
        float [n, c], unit length: the sum over the top classes of p * vector.
    """
    p, best = probabilities.topk(top, dim=1)
    return torch.nn.functional.normalize((p[:, :, None] * classes[best]).sum(dim=1), dim=1)


def mixed(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """The softer form: all classes vote at `TEMPERATURE`; float [n, c], not normalised."""
    return (logits / TEMPERATURE).softmax(dim=1) @ classes


@functools.cache
def tables() -> tuple[torch.Tensor, torch.Tensor]:
    """The classifier [classes, c + 1] (weight, bias) and the names' unit vectors [classes, e].

    Raises:
        UserError: a tower is not in the cache.
    """
    from sensorium.prepare import Reader, column

    recipe = load("plain_projections")
    names = efficientnet_lite.class_names()
    # As records, so that the names are encoded once and kept like any other text.
    records = [
        Record(name, Source("imagenet_classes.txt", at + 1), {"text": [name, name.split(",")[0]]})
        for at, name in enumerate(names)
    ]
    made, _ = column(Reader(recipe, "text"), records, "text")
    both = torch.from_numpy(np.asarray(made.items)[:, 0]).reshape(len(names), 2, -1)
    image = towers.load(TOWERS[0], Reader(recipe, "image").modality)
    weight, bias = image.classifier.weight.detach(), image.classifier.bias.detach()
    return (
        torch.cat([weight, bias[:, None]], dim=1),
        torch.nn.functional.normalize(both.sum(dim=1), dim=1),
    )
