"""What one training step computes, counted with hooks on the modules that do the work.

The plan says what should run; this says what ran. Which view a call was given is told by comparing
tensors with those of the batch, never by asking the plan.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from small_recipe import Small

from sensorium.tokens import Batch, Tokens

Counts = dict[str, list[int]]


def passes(made: Small, batch: Batch | None = None) -> Counts:
    """Module and what it was given -> the number of rows of each of its calls, in order.

    `image encoder: image #1`, `text encoder: hidden text, teacher`, `fusion: image, text`,
    `text head`. A call is one of an encoder's stack, of the fusion, of the head over words; an
    encoder of features, which has no stack, is counted by itself.
    """
    batch = made.batches[0] if batch is None else batch
    counts: Counts = defaultdict(list)
    watches = [_Watch(made.step.model, batch, counts, "")]
    if made.step.teacher is not None:
        watches.append(_Watch(made.step.teacher, batch, counts, ", teacher"))
    try:
        made.step.train()
        made.step(batch)
    finally:
        for watch in watches:
            watch.remove()
    return dict(counts)


def label(modality: str, tokens: Tokens, batch: Batch) -> str:
    """Which view of the batch these tokens are: the plain one, a variant, or with hidden words."""
    for (kind, variant), clean in batch.tokens.items():
        mine, own = (x.ids if x.ids is not None else x.values for x in (tokens, clean))
        if kind == modality and torch.equal(mine, own):
            return f"{modality} #{variant}" if variant else modality
    hidden = [
        view
        for view, look in batch.looks.items()
        if view.edits and view.modality == modality and torch.equal(look.tokens.ids, tokens.ids)
    ]
    assert len(hidden) == 1, "these tokens are no view of the batch"
    return f"hidden {modality}"


class _Watch:
    """Counts the calls of one model's modules into `counts`."""

    def __init__(self, model, batch: Batch, counts: Counts, who: str) -> None:
        self.batch, self.counts, self.who = batch, counts, who
        self.known: list[tuple[object, str]] = []  # kept, so that no address comes twice
        self.now = ""  # what is being encoded
        self.hooks, self.wrapped = [], list(model.encoders.values())
        for name, encoder in model.encoders.items():
            self._follow(name, encoder)
        fused = model.fusion.register_forward_hook(
            lambda module, given, out: self._add(
                "fusion: " + ", ".join(self._of(x) for x in given[0]), out[0].tokens
            )
        )
        self.hooks.append(fused)
        for name, head in model.vocabularies.items():
            told = head.register_forward_hook(
                lambda module, given, out, name=name: self._add(f"{name} head", given[0])
            )
            self.hooks.append(told)

    def _add(self, what: str, rows: torch.Tensor) -> None:
        self.counts[what + self.who].append(len(rows))

    def _of(self, thing: object) -> str:
        return next(told for known, told in self.known if known is thing)

    def _follow(self, name: str, encoder) -> None:
        """Labels follow states through an encoder; its stack does the counting."""
        embed, encode = encoder.embed, encoder.encode

        def embedded(look):
            state = embed(look)
            # A model may put stand-ins into a state; its orders stay the very same tensor.
            self.known.append((state.order, label(name, look.tokens, self.batch)))
            return state

        def encoded(state):
            self.now = self._of(state.order)
            if not hasattr(encoder, "stack"):
                self._add(f"{name} encoder: {self.now}", state.tokens)
            out = encode(state)
            self.known.append((out, self.now))
            return out

        encoder.embed, encoder.encode = embedded, encoded
        if hasattr(encoder, "stack"):
            told = encoder.stack.register_forward_hook(
                lambda module, given, out: self._add(f"{name} encoder: {self.now}", given[0])
            )
            self.hooks.append(told)

    def remove(self) -> None:
        """Leaves the model as it was."""
        for hook in self.hooks:
            hook.remove()
        for encoder in self.wrapped:
            del encoder.embed, encoder.encode
