"""Both implementations on one keyed random input, layer by layer: the table of errors.

Theirs is transformers', where it is installed; the class is chosen by us from the kind of model,
never by a name that a file holds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sensorium.errors import UserError
from sensorium.formats._part import Tower
from sensorium.tokens import Tokens
from sensorium.views import Look

LIMIT = 1e-4  # largest error, over the largest value of the layer where that is above 1
_ROWS, _WORDS = 2, 12  # of the random input


@dataclass(frozen=True)
class Row:
    """One layer: the largest absolute error, and that over the largest value of theirs."""

    layer: str
    absolute: float
    relative: float


@dataclass(frozen=True)
class Check:
    """The comparison with another implementation.

    Attributes:
        against: the library and its version, or None where it is not installed.
        rows: a row a layer, in the order of the computation.
    """

    against: str | None
    rows: list[Row] = field(default_factory=list)

    @property
    def said(self) -> str:
        """One line about it."""
        if self.against is None:
            return "not compared with transformers, which is not installed"
        worst = max(self.rows, key=lambda row: row.absolute)
        return (
            f"compared with {self.against}: largest error {worst.absolute:.1e} "
            f"({worst.layer}), of {len(self.rows)} layers"
        )

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"against": self.against, "rows": [asdict(row) for row in self.rows]}

    @classmethod
    def of(cls, content: dict[str, Any]) -> Check:
        """Back from `plain`."""
        return cls(content["against"], [Row(**row) for row in content["rows"]])

    def refuse(self, file: Path) -> None:
        """Raises where a layer is further off than rounding explains.

        Raises:
            UserError: names the first such layer.
        """
        for row in self.rows:
            # A NaN is no small error: it must not pass as one.
            if not min(row.absolute, row.relative) <= LIMIT:
                raise UserError(
                    f"{row.layer} of our modules is not what {self.against} computes",
                    file=file,
                    expected=f"an error of at most {LIMIT:g}",
                    found=f"{row.absolute:.3g}, {row.relative:.3g} of the largest value",
                )


def library() -> str | None:
    """`transformers 5.24.0`, or None where it is not installed."""
    with contextlib.suppress(ImportError):
        import transformers

        return f"transformers {transformers.__version__}"
    return None


def row(layer: str, ours: torch.Tensor, theirs: torch.Tensor) -> Row:
    """The error of one layer.

    Raises:
        UserError: the shapes differ.
    """
    if ours.shape != theirs.shape:
        raise UserError(
            layer, expected=f"the shape {list(theirs.shape)}", found=f"{list(ours.shape)}"
        )
    if not ours.numel():
        return Row(layer, 0.0, 0.0)
    error = float((ours.double() - theirs.double()).abs().max())
    return Row(layer, error, error / max(float(theirs.double().abs().max()), 1e-30))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and notes."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def theirs(folder: Path, kind: str) -> Any:
    """A model of transformers from a folder's safetensors: float32, plain attention, eval mode.

    Args:
        kind: name of the class, one of ours to choose.
    """
    import transformers

    with quiet(), torch.random.fork_rng(devices=[]):
        model = getattr(transformers, kind).from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="eager",
        )
    return model.eval()


def ids(vocabulary: int, length: int, rng: np.random.Generator, end: int) -> torch.Tensor:
    """Random ids int64 [2, t] that end with `end` and hold it nowhere else, and nothing larger
    where `end` is the last entry; what follows a shorter text is `end` again."""
    t = min(_WORDS, length)
    drawn = rng.integers(3, vocabulary - 1, (_ROWS, t))
    drawn = np.where(drawn == end, drawn - 1, drawn)
    drawn[:, -1] = end
    drawn[1, max(t // 2, 2) :] = end
    return torch.from_numpy(drawn)


def text(look_at: torch.Tensor, end: int, order: str) -> Look:
    """A look at ids: real up to the first `end`."""
    first = (look_at == end).int().argmax(1, keepdim=True)
    places = torch.arange(look_at.shape[1])[None]
    tokens = Tokens("text", real=places <= first, position=places[..., None], ids=look_at)
    return Look(tokens, _order(tokens.real, order), torch.ones(len(look_at), dtype=torch.bool))


def picture(size: int, patch: int, rng: np.random.Generator) -> Look:
    """A look at random patches uint8 [2, p, patch * patch * 3]."""
    side = size // patch
    values = torch.from_numpy(
        rng.integers(0, 256, (_ROWS, side * side, 3 * patch * patch), dtype=np.uint8)
    )
    position = torch.cartesian_prod(torch.arange(side), torch.arange(side))[None]
    real = torch.ones(_ROWS, side * side, dtype=torch.bool)
    tokens = Tokens("image", real=real, position=position.view(1, -1, 2), values=values)
    return Look(tokens, _order(real, "full"), torch.ones(_ROWS, dtype=torch.bool))


def _order(real: torch.Tensor, order: str) -> torch.Tensor:
    zero = torch.zeros_like(real, dtype=torch.int64)
    return zero + torch.arange(real.shape[1]) if order == "causal" else zero


def pixels(look: Look, patch: int, mean: Any, std: Any) -> torch.Tensor:
    """The patches of a look as a normalised picture float32 [n, 3, side, side]."""
    values = look.tokens.values
    assert values is not None, "a look at pictures"
    n, p, _ = values.shape
    grid = round(p**0.5)
    blocks = values.double().view(n, grid, grid, patch, patch, 3) / 255
    blocks = (blocks - torch.tensor(mean).double()) / torch.tensor(std).double()
    return blocks.permute(0, 5, 1, 3, 2, 4).reshape(n, 3, grid * patch, grid * patch).float()


@torch.no_grad()
def encoded(encoder: Any, look: Look) -> tuple[list[tuple[str, torch.Tensor]], Any]:
    """(layer, its output) of one of our encoders in the order of the computation, and its State."""
    found: list[tuple[str, torch.Tensor]] = []
    hooks = [
        block.register_forward_hook(
            lambda _module, _given, out, at=at: found.append((f"block {at}", out))
        )
        for at, block in enumerate(encoder.stack.blocks)
    ]
    packs, encoder.stack.packs = encoder.stack.packs, False  # rows stay as they are
    try:
        state = encoder.embed(look)
        found.insert(0, ("embeddings", state.tokens))
        state = encoder.encode(state)
    finally:
        encoder.stack.packs = packs
        for hook in hooks:
            hook.remove()
    return found, state


def inputs(part: Tower, rng: np.random.Generator, end: int) -> tuple[Look, dict[str, Any]]:
    """(what our tower sees, the same for theirs by its names): random patches or ids.

    Args:
        end: id after a text.
    """
    options = part.options
    if part.modality == "image":
        look = picture(options["size"], options["patch"], rng)
        colours = (part.encoder["mean"], part.encoder["std"])
        return look, {"pixel_values": pixels(look, options["patch"], *colours)}
    if part.encoder["use"] != "siglip_text":
        seen = ids(options["vocabulary"], options["length"], rng, end)
        look = text(seen, end, part.order)
        return look, {"input_ids": seen, "attention_mask": look.tokens.real.long()}
    pad, length = part.encoder["pad"], options["length"] - 1
    seen = ids(options["vocabulary"], length, rng, end)
    look = text(torch.nn.functional.pad(seen, (1, 0)), end, part.order)
    filled = torch.where(look.tokens.real[:, 1:], seen, pad)
    filled = torch.nn.functional.pad(filled, (0, length - filled.shape[1]), value=pad)
    return look, {"input_ids": filled}


def end_of(part: Tower, model: Any) -> int:
    """The id after a text: the one that the model looks for, else the last entry.

    An `eos_token_id` of 2 says of a CLIP that it looks for the largest id instead
    (huggingface/transformers #24773).
    """
    last = part.options.get("vocabulary", 0) - 1
    told = getattr(model.config, "eos_token_id", last)
    fits = part.order == "causal" and isinstance(told, int) and told != 2 and 0 <= told <= last
    return told if fits else last


@torch.no_grad()
def tower_rows(encoder: Any, part: Tower, model: Any, rng: np.random.Generator) -> list[Row]:
    """A row a layer of one tower, and one of its pooled state.

    Args:
        encoder: ours.
        part: what it is.
        model: theirs.
    """
    look, given = inputs(part, rng, end_of(part, model))
    layers, state = encoded(encoder, look)
    with quiet():
        out = model(**given, output_hidden_states=True, return_dict=True)
    real = state.real
    rows = []
    for (name, ours), hidden in zip(layers, out.hidden_states, strict=True):
        rows.append(row(name, ours[real], hidden[real]))
    last = out.last_hidden_state
    pool = part.encoder.get("pool")
    if part.modality == "text" and pool == "mean":
        weight = real[..., None].float()
        pooled = (last * weight).sum(1) / weight.sum(1)
    elif part.pooled == "first" or (part.modality == "text" and pool == "first"):
        pooled = last[:, 0]
    else:
        pooled = out.pooler_output
    return [*rows, row("pooled", state.pooled, pooled)]


@torch.no_grad()
def pair_rows(
    step: Any, towers: dict[str, Tower], model: Any, rng: np.random.Generator
) -> list[Row]:
    """Rows of a model of two towers: each tower's, then the vectors and what they are scaled by."""
    rows: list[Row] = []
    given: dict[str, Any] = {}
    ours = {}
    for modality, part in towers.items():
        encoder = step.model.encoders[modality]
        inner = getattr(model, part.inside)
        found = tower_rows(encoder, part, inner, rng)
        rows += [Row(f"{modality}: {x.layer}", x.absolute, x.relative) for x in found]
        look, seen = inputs(part, rng, end_of(part, inner))
        given |= seen
        _, state = encoded(encoder, look)
        ours[modality] = step.model.vector(modality, state)
    with quiet():
        out = model(**given, return_dict=True)
    rows += [
        row("image: vector", ours["image"], out.image_embeds),
        row("text: vector", ours["text"], out.text_embeds),
    ]
    scale = step.objectives["contrastive"].log_scale.exp()
    logits = scale * ours["text"] @ ours["image"].T
    if hasattr(model, "logit_bias"):
        logits = logits + model.logit_bias
    return [*rows, row("scaled similarity", logits, out.logits_per_text)]
