"""Models that other libraries saved, as modules of ours: read, mapped, compared, kept.

A folder in transformers' format, or `hf:NAME`. What its config says in our terms and how its
weights are named is data of the shelf `formats`. A converted tower is kept once:

    <cache>/towers/<name>/weights.safetensors, tokenizer.json, import.json
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from sensorium import draws, shelf
from sensorium.errors import UserError, clip, nearest
from sensorium.formats import _check, _convert, _folder, _inputs, _kept
from sensorium.formats._check import Check, Row
from sensorium.formats._config import Config
from sensorium.formats._folder import Weights
from sensorium.formats._kept import FORM, TOKENIZER, WEIGHTS, Imported, built, sizes
from sensorium.formats._kept import kept as kept
from sensorium.formats._kept import table as table
from sensorium.formats._kept import towers_kept as towers_kept
from sensorium.formats._part import Tower

LONGEST = 512  # tokens of a text of ours
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Opened:
    """A folder whose config is understood, before its weights are read."""

    source: str
    folder: Path
    kind: str  # model_type
    format: Any  # the module of the shelf `formats`
    config: Config
    weights: Weights

    @property
    def reference(self) -> str:
        """The class of transformers that reads the folder."""
        return str(self.format.CLASSES[self.kind])

    @property
    def hash(self) -> str:
        """SHA-256 of weights, config and what decides the inputs."""
        state = hashlib.sha256(f"{FORM} {self.weights.hash()}".encode())
        for name in (_folder.CONFIG, TOKENIZER, _inputs.PREPROCESSOR, "tokenizer_config.json",
                     "1_Pooling/config.json"):  # fmt: skip
            file = self.folder / name
            state.update(hashlib.sha256(file.read_bytes() if file.is_file() else b"").digest())
        return state.hexdigest()


def kinds() -> dict[str, str]:
    """model_type of a config -> the format that reads it."""
    found = {}
    for name in shelf.names("formats"):
        for kind in shelf.load("formats", name).CLASSES:
            found[kind] = name
    return found


def open_folder(source: str | Path) -> Opened:
    """A folder or `hf:NAME`, its config read and its weights listed.

    Raises:
        UserError: nothing there, a pickle, a config that names code, an unknown architecture.
    """
    folder = _folder.find(source)
    file = folder / _folder.CONFIG
    if not file.is_file():
        for other in sorted(folder.iterdir()):
            if other.suffix.lower() in _folder.PICKLES:
                raise _folder.pickled(other)
        raise UserError(file=file, expected="the config of a model that transformers saved",
                        found="nothing there")  # fmt: skip
    content = _folder.read_json(file)
    known, kind = kinds(), content.get("model_type")
    if kind not in known:
        raise UserError(
            file=file,
            field="model_type",
            expected="one of " + ", ".join(sorted(known)),
            found=clip(kind),
            nearest=nearest(str(kind), known),
        )
    if content.get("quantization_config"):
        raise UserError(file=file, field="quantization_config", expected="plain weights",
                        found=clip(content["quantization_config"]))  # fmt: skip
    module = shelf.load("formats", known[kind])
    config = Config(content, module.DEFAULTS[kind] | {"model_type": kind}, file)
    return Opened(str(source), folder, str(kind), module, config, Weights(folder))


def tower(
    source: str | Path, modality: str | None = None, progress: Progress | None = None
) -> Imported:
    """An encoder from another library's folder: mapped, compared layer by layer, kept in the cache.

    Args:
        source: a folder, or `hf:NAME`.
        modality: `image` or `text`, where the model has both.
        progress: called with one line for each thing that is done, the licence first.

    Raises:
        UserError: as `open_folder`; the model has no such tower; a value of its config that our
            modules cannot express; a weight that is missing, left over or of another shape; a layer
            that differs from what transformers computes.
    """
    say = progress or (lambda line: None)
    opened = open_folder(source)
    parts = opened.format.towers(opened.config)
    if modality is None and len(parts) == 1:
        modality = next(iter(parts))
    if modality is None or modality not in parts:
        raise UserError(
            f"{source}: {opened.kind} has a tower for " + " and one for ".join(parts),
            expected="one of them to be named",
            found=clip(modality) if modality else "none",
        )
    licence = _folder.licence(opened.folder)
    say(f"{source}: {opened.kind}, licence {licence}")
    digest = opened.hash
    name = f"{_slug(source)}-{modality}-{digest[:12]}"
    known = _kept.find(name)
    if known is not None and (known.check.against or not _check.library()):
        say(f"{source}: {known.check.said}")
        return known
    part, notes, tokens = _with_inputs(opened, parts[modality])
    encoder = built(part.encoder, sizes(part.options))
    before = _convert.prefix(opened.weights, part.names, encoder.state_dict(), part.prefixes)
    weights, read = _convert.to_ours(opened.weights, part.names, encoder.state_dict(), before)
    left = _convert.left_over(opened.weights, read, part.left_out, before)
    encoder.load_state_dict(weights)
    encoder.eval()
    check = compared(opened, part, encoder, digest)
    say(f"{source}: {check.said}")
    made = Imported(
        name=name,
        source=str(source),
        architecture=opened.kind,
        modality=modality,
        encoder=part.encoder,
        options=part.options,
        order=part.order,
        licence=licence,
        weight_hash=digest,
        left_out=left,
        notes=notes,
        check=check,
    )
    if tokens is not None:
        made = _cut(made, tokens, weights)
    files = {WEIGHTS: save(dict(sorted(weights.items())))}
    if tokens is not None:
        files[TOKENIZER] = tokens
    _kept.keep(made, files)
    return made


def compared(opened: Opened, part: Tower, encoder: Any, key: str) -> Check:
    """One tower beside transformers' on a keyed random input.

    Raises:
        UserError: a layer differs by more than rounding explains.
    """
    against = _check.library()
    if against is None:
        return Check(None)
    model = _check.theirs(opened.folder, opened.reference)
    below = {"image": "vision_model", "text": "text_model"}[part.modality]
    inner = getattr(model, below, model)
    check = Check(against, _tower_rows(opened, part, encoder, inner, key))
    check.refuse(opened.folder)
    return check


def _tower_rows(opened: Opened, part: Tower, encoder: Any, model: Any, key: str) -> list[Row]:
    rng, options = draws.generator("import", key), part.options
    pool = part.encoder.get("pool")
    if part.modality == "image":
        look = _check.picture(options["size"], options["patch"], rng)
        colours = (part.encoder["mean"], part.encoder["std"])
        given = {"pixel_values": _check.pixels(look, options["patch"], *colours)}
        own = "first" if opened.format.__name__.endswith(".vit") else "theirs"
        return _check.tower_rows(encoder, look, model, given, own)
    end = options["vocabulary"] - 1
    if part.order == "causal":
        told = getattr(model.config, "eos_token_id", end)
        end = told if isinstance(told, int) and 2 < told <= end else end
    if part.encoder["use"] == "siglip_text":
        seen = _check.ids(options["vocabulary"], options["length"] - 1, rng, end)
        look = _check.text(torch.nn.functional.pad(seen, (1, 0)), end, part.order)
        filled = torch.where(look.tokens.real[:, 1:], seen, part.encoder["pad"])
        lacking = options["length"] - 1 - filled.shape[1]
        filled = torch.nn.functional.pad(filled, (0, lacking), value=part.encoder["pad"])
        return _check.tower_rows(encoder, look, model, {"input_ids": filled}, "theirs")
    seen = _check.ids(options["vocabulary"], options["length"], rng, end)
    look = _check.text(seen, end, part.order)
    given = {"input_ids": seen, "attention_mask": look.tokens.real.long()}
    own = pool if pool in ("mean", "first") else "theirs"
    return _check.tower_rows(encoder, look, model, given, own)


def _with_inputs(opened: Opened, part: Tower) -> tuple[Tower, list[str], bytes | None]:
    """The tower with what decides its inputs: (tower, notes, tokenizer.json of a text)."""
    if part.modality == "image":
        options, colours, notes = _inputs.pictures(opened.folder, part.options, part.colours)
        return replace(part, options=options, encoder=part.encoder | colours), notes, None
    tokens = _inputs.tokenizer(opened.folder, part.ends, part.options["vocabulary"])
    if part.encoder.get("pool") != "pooler":
        return part, [], tokens
    # A sentence model says how it pools; a model without a trained pooler gives its first token.
    notes, pool = [], "pooler"
    file = opened.folder / "1_Pooling" / "config.json"
    if file.is_file():
        told = _folder.read_json(file)
        modes = sorted(k for k, v in told.items() if k.startswith("pooling_mode") and v)
        ours = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}
        if len(modes) != 1 or modes[0] not in ours:
            raise UserError(file=file, expected="one of " + ", ".join(ours),
                            found=", ".join(modes) or "none")  # fmt: skip
        pool = ours[modes[0]]
    elif not any(name.endswith("pooler.dense.weight") for name in opened.weights.shapes):
        pool = "first"
        notes.append("no pooler in the file: the state of the first token is the text's")
    left = part.left_out if pool == "pooler" else {**part.left_out, "pooler.**": "not asked"}
    return replace(part, encoder=part.encoder | {"pool": pool}, left_out=left), notes, tokens


def _cut(made: Imported, tokens: bytes, weights: dict[str, torch.Tensor]) -> Imported:
    """The tower over the entries that its tokenizer has, for texts as long as ours may be: the rest
    of both tables is never asked."""
    from tokenizers import Tokenizer

    entries = Tokenizer.from_str(tokens.decode()).get_vocab()
    size, rows = max(entries.values()) + 1, len(weights["words.weight"])
    if size != len(entries):
        raise UserError(
            f"{made.source}: its tokenizer leaves ids out",
            expected=f"{size} entries",
            found=f"{len(entries)}",
        )
    notes, longer = list(made.notes), made.options["length"] - LONGEST
    if size < rows:
        weights["words.weight"] = weights["words.weight"][:size].clone()
        notes.append(
            f"{rows - size} rows of the word table are left out: the tokenizer has no such entries"
        )
    if longer > 0:
        weights["positions.weight"] = weights["positions.weight"][:-longer].clone()
        notes.append(f"texts are cut at {LONGEST} tokens; the model reads {longer} more")
    sizes = {"vocabulary": size, "length": min(LONGEST, made.options["length"])}
    return replace(made, options=made.options | sizes, notes=notes)


def _slug(source: str | Path) -> str:
    text = str(source).removeprefix("hf:")
    if text == str(source):
        text = Path(text).resolve().name
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "model"
