"""Export as ONNX: one graph a modality, from what is read to the vector that search compares.

    image.onnx   picture uint8 [n, side, side, 3], as `modalities/image.py` reads it -> vector
    text.onnx    ids int64 [n, t] and real bool [n, t], as `modalities/text.py` cuts it -> vector

Vectors are float32 [n, e] of unit length. A frozen tower below the model is part of the graph.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sensorium import building, draws
from sensorium.errors import MissingExtra, UserError
from sensorium.formats import _check
from sensorium.formats._check import Check
from sensorium.layers import Stack
from sensorium.tokens import Tokens
from sensorium.views import Look

OPSET = 18


class Vectors(nn.Module):
    """One modality of a model, from its input to its vector.

    Args:
        model: of the run.
        modality: its object.
        name: what the recipe calls it.
        order: in which order it is seen.
        tower: a frozen encoder below the model's, or None.
    """

    places: torch.Tensor

    def __init__(self, model: Any, modality: Any, name: str, order: str, tower: Any) -> None:
        super().__init__()
        self.model, self.tower, self.name, self.order = model, tower, name, order
        self.longest = int(getattr(modality, "length", 0))
        if modality.name == "image":
            self.patch = modality.spec.patch
            side = modality.spec.size // self.patch
            place = torch.arange(side)
            self.register_buffer("places", torch.cartesian_prod(place, place)[None])

    def encoded(self, tokens: Tokens) -> torch.Tensor:
        """Tokens of n records, all present -> vectors [n, e]."""
        order = torch.zeros_like(tokens.real, dtype=torch.int64)
        if self.order == "causal":
            order = order + torch.arange(order.shape[1], device=order.device)
        there = tokens.real[:, 0] | True
        look = Look(tokens, order, there)
        if self.tower is not None:
            pooled = self.tower.encode(self.tower.embed(look)).pooled[:, None]
            one = there[:, None]
            zero = torch.zeros_like(one, dtype=torch.int64)
            features = Tokens(self.name, real=one, position=zero[:1, :, None], values=pooled)
            look = Look(features, zero, there)
        state = self.model.encode(self.name, self.model.embed(look))
        return self.model.vector(self.name, state)


class Pictures(Vectors):
    """uint8 [n, side, side, 3] -> [n, e]."""

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        n, p = picture.shape[0], self.patch
        grid = picture.shape[1] // p
        values = picture.reshape(n, grid, p, grid, p, 3).transpose(2, 3)
        values = values.reshape(n, grid * grid, p * p * 3)
        real = values[..., 0] >= 0  # all of them
        return self.encoded(Tokens(self.name, real=real, position=self.places, values=values))


class Texts(Vectors):
    """ids int64 [n, t], real bool [n, t] -> [n, e]."""

    def forward(self, ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        position = torch.arange(ids.shape[1], device=ids.device)[None, :, None]
        return self.encoded(Tokens(self.name, real=real, position=position, ids=ids))


def write(run: Any, step: Any, folder: Path) -> Check:
    """Writes MODALITY.onnx for each modality whose vector the run compares, and compares it.

    Raises:
        MissingExtra: onnx, onnxscript or onnxruntime is not installed.
        UserError: the run compares no vectors.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtra("export to onnx", "onnx, onnxscript and onnxruntime", "onnx") from None
    names = building.compared(step)
    if not names:
        raise UserError(
            f"recipe {run.recipe.name} compares no vectors, and a graph gives vectors",
            expected="a model that search can serve",
            see="--to safetensors writes any model",
        )
    rows = []
    for name in names:
        module, inputs = _graph(run, step, name, 2)
        file = folder / f"{name}.onnx"
        with _plain_attention(module), _quiet():
            with _sides(module):
                _traced(module, inputs, file)
            session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
            for count in (1, 5):  # sizes that it was not traced at
                _, inputs = _graph(run, step, name, count)
                with torch.no_grad():
                    want = module(*inputs.values())
                given = {key: value.numpy() for key, value in inputs.items()}
                got = torch.from_numpy(session.run(None, given)[0])
                rows.append(_check.row(f"{name} vector, {count} at once", got, want))
    return Check(f"onnxruntime {onnxruntime.__version__}", rows)


def _graph(run: Any, step: Any, name: str, count: int) -> tuple[Vectors, dict[str, torch.Tensor]]:
    """(the module of one modality, random inputs for `count` records)."""
    reader = run.reader(name)
    modality, order = reader.modality, run.recipe.order.get(name, "full")
    tower = reader.tower if reader.frozen is not None else None
    rng = draws.generator("export", name, count)
    if modality.name == "image":
        side = modality.spec.size
        picture = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        module: Vectors = Pictures(step.model, modality, name, order, tower)
        return module.eval(), {"picture": torch.from_numpy(picture)}
    if modality.name != "text":
        raise UserError(f"modality {name}", expected="pictures or texts", found=str(modality.name))
    t = min(modality.length, 4 + count)
    ids = rng.integers(0, modality.vocabulary, (count, t))
    real = np.arange(t) < rng.integers(min(3, t), t + 1, count)[:, None]
    module = Texts(step.model, modality, name, order, tower)
    inputs = {"ids": torch.from_numpy(ids), "real": torch.from_numpy(real)}
    return module.eval(), inputs


def _traced(module: Vectors, inputs: dict[str, torch.Tensor], file: Path) -> None:
    n = torch.export.Dim("n", min=1)
    shapes: dict[str, Any] = {key: {0: n} for key in inputs}
    if "ids" in inputs:
        t = torch.export.Dim("t", min=3, max=module.longest)
        shapes = {key: {0: n, 1: t} for key in inputs}
    program = torch.onnx.export(
        module,
        tuple(inputs.values()),
        input_names=list(inputs),
        output_names=["vector"],
        dynamic_shapes=shapes,
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None, "the exporter gives a program"
    program.save(str(file), external_data=False)


@contextlib.contextmanager
def _plain_attention(module: nn.Module) -> Iterator[None]:
    """Stacks choose by lengths whether to pack; a graph cannot choose."""
    stacks = [part for part in module.modules() if isinstance(part, Stack)]
    before = [stack.packs for stack in stacks]
    for stack in stacks:
        stack.packs = False
    try:
        yield
    finally:
        for stack, packs in zip(stacks, before, strict=True):
            stack.packs = packs


@contextlib.contextmanager
def _sides(module: nn.Module) -> Iterator[None]:
    """`len` of a tensor as a side that may vary: the built-in gives a plain number, which would fix
    the batch of the graph."""

    count = builtins.len

    def side(x: Any) -> Any:
        return x.shape[0] if isinstance(x, torch.Tensor) else count(x)

    places = {type(part).__module__ for part in module.modules()} | {"sensorium.layers"}
    ours = [sys.modules[name] for name in places if name.split(".")[0] != "torch"]
    for place in ours:
        place.len = side  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for place in ours:
            del place.len


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's own lines."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
