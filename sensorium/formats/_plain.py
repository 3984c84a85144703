"""Export as safetensors: the weights under plain names, the recipe, what reading needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from sensorium.files import write_new
from sensorium.formats._check import Check, Row
from sensorium.recipe import to_yaml

WEIGHTS, RECIPE = "model.safetensors", "recipe.yaml"


def own(step: Any) -> dict[str, torch.Tensor]:
    """The student's weights by plain names: `encoders.text.words.weight`, no teacher's copy."""
    return {
        name.removeprefix("model."): value.detach().cpu().contiguous()
        for name, value in step.state_dict().items()
        if not name.startswith("teacher.")
    }


def write(run: Any, step: Any, folder: Path) -> Check:
    """Writes model.safetensors, recipe.yaml and MODALITY/FILE; rows: each part read back.

    Tied weights are written under each of their names.
    """
    weights = own(step)
    data = save({name: value.clone() for name, value in sorted(weights.items())})
    write_new(folder / WEIGHTS, [data])
    write_new(folder / RECIPE, [to_yaml(run.recipe).encode()])
    for modality in run.recipe.modalities:
        for name, content in run.reader(modality).modality.state().items():
            (folder / modality).mkdir(exist_ok=True)
            write_new(folder / modality / name, [content])
    back = load((folder / WEIGHTS).read_bytes())
    rows: dict[str, float] = {}
    for name, value in weights.items():
        part = ".".join(name.split(".")[:2])
        same = name in back and torch.equal(back[name], value)
        rows[part] = max(rows.get(part, 0.0), 0.0 if same else float("inf"))
    return Check("the file read back", [Row(part, error, error) for part, error in rows.items()])
