"""The comparison of models whose modalities meet: what each layer of the fusion gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sensorium.formats._check import Row, inputs, quiet, row
from sensorium.formats._part import Tower
from sensorium.model import State
from sensorium.views import Look


@dataclass(frozen=True)
class Met:
    """What our fusion computed.

    embedded: modality -> its State as it entered. layers: per layer, modality -> tokens. states:
    modality -> its State after. joint: [n, D].
    """

    embedded: dict[str, State]
    layers: list[dict[str, torch.Tensor]]
    states: dict[str, State]
    joint: torch.Tensor


@torch.no_grad()
def meet(step: Any, entered: dict[str, State]) -> Met:
    """Runs the fusion over encoded states, in the recipe's order."""
    fusion = step.model.fusion
    sizes = {name: state.real.shape[1] for name, state in entered.items()}
    layers: list[dict[str, torch.Tensor]] = []
    hooks = []
    if hasattr(fusion, "stack"):  # all tokens in one sequence
        packs, fusion.stack.packs = fusion.stack.packs, False

        def kept(_module: Any, _given: Any, out: torch.Tensor) -> None:
            parts = out.split(list(sizes.values()), 1)
            layers.append(dict(zip(sizes, parts, strict=True)))

        hooks = [block.register_forward_hook(kept) for block in fusion.stack.blocks]
    else:
        for at, layer in enumerate(fusion.layers):
            layers.append({})
            for name, block in layer.items():
                hooks.append(
                    block.register_forward_hook(
                        lambda _m, _g, out, at=at, name=name: layers[at].update({name: out})
                    )
                )
    try:
        out = step.model.fuse(list(entered.values()))
    finally:
        for hook in hooks:
            hook.remove()
        if hasattr(fusion, "stack"):
            fusion.stack.packs = packs
    states = dict(zip(entered, out, strict=True))
    return Met(entered, layers, states, step.model.joint(out))


@torch.no_grad()
def encoded(step: Any, name: str, state: State) -> State:
    """One modality's embedded State after its encoder."""
    encoder = step.model.encoders[name]
    packs, encoder.stack.packs = encoder.stack.packs, False
    try:
        return encoder.encode(state)
    finally:
        encoder.stack.packs = packs


def seen(
    parts: dict[str, Tower], rng: np.random.Generator
) -> tuple[dict[str, Look], dict[str, Any]]:
    """(modality -> what ours sees, the same for theirs by its names)."""
    looks: dict[str, Look] = {}
    given: dict[str, Any] = {}
    for name, part in parts.items():
        looks[name], more = inputs(part, rng, part.options.get("vocabulary", 0) - 1)
        given |= more
    return looks, given


def rows(met: Met, theirs: dict[str, list[torch.Tensor]]) -> list[Row]:
    """A row a layer and modality; `theirs` holds one tensor a layer."""
    made = []
    for at, layer in enumerate(met.layers):
        for name, tokens in layer.items():
            real = met.embedded[name].real
            made.append(row(f"{name}: fusion layer {at}", tokens[real], theirs[name][at][real]))
    return made


@torch.no_grad()
def heads(step: Any, met: Met, matching: Any = None, words: Any = None) -> list[Row]:
    """Rows of the heads; `matching` and `words` are their logits, ours come from `met`."""
    made = []
    if matching is not None:
        made.append(row("matching", step.objectives["matching"].head(met.joint), matching))
    if words is not None:
        state = met.states["text"]
        ours = step.model.logits("text", state.tokens[state.real])
        made.append(row("words", ours, words[state.real]))
    return made


def asked(model: Any, **given: Any) -> Any:
    """Theirs, with all hidden states."""
    with torch.no_grad(), quiet():
        return model(**given, output_hidden_states=True, return_dict=True)
