"""Models that other libraries saved, as modules of ours: read, mapped, compared, kept.

A folder in transformers' format, or `hf:NAME`. What its config says in our terms and how its
weights are named is data of the shelf `formats`. A converted tower is kept once:

    <cache>/towers/<name>/weights.safetensors, tokenizer.json, import.json
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from sensorium import draws, shelf
from sensorium.errors import UserError, clip, nearest
from sensorium.formats import _check, _convert, _folder, _inputs, _kept
from sensorium.formats._check import Check
from sensorium.formats._config import Config
from sensorium.formats._folder import Weights
from sensorium.formats._kept import TOKENIZER, WEIGHTS, Imported, Whole, built, sizes
from sensorium.formats._kept import kept as kept
from sensorium.formats._kept import table as table
from sensorium.formats._kept import towers_kept as towers_kept
from sensorium.formats._part import Tower
from sensorium.recipe import Recipe
from sensorium.recipe import check as check_recipe
from sensorium.towers_imported import FORM

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

    def name(self, part: str) -> str:
        """What a part of it is called in the cache."""
        text = self.source.removeprefix("hf:")
        text = text if text != self.source else Path(text).resolve().name
        slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]
        return f"{slug or 'model'}-{part}-{self.hash[:12]}"

    @functools.cached_property
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


def parts(source: str | Path) -> list[str]:
    """Modalities of the towers that a folder or `hf:NAME` has, the whole left aside.

    Raises:
        UserError: as `open_folder`; a value of its config that our modules cannot express.
    """
    opened = open_folder(source)
    return list(opened.format.towers(opened.config))


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
    if not parts:
        raise UserError(
            f"{source}: {opened.kind} has no tower that stands alone",
            expected="a model with an encoder for each modality",
            see="the whole model can be imported",
        )
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
    name, digest = opened.name(modality), opened.hash
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
        options, told = _cut(made.options, tokens, weights)
        made = replace(made, options=options, notes=[*notes, *told])
    files = {WEIGHTS: save(dict(sorted(weights.items())))}
    if tokens is not None:
        files[TOKENIZER] = tokens
    _kept.keep(made.name, asdict(made) | {"check": made.check.plain()}, files)
    return made


def whole(source: str | Path, progress: Progress | None = None) -> Whole:
    """A whole model from another library's folder, as a recipe and weights of ours.

    Args:
        source: a folder, or `hf:NAME`.
        progress: called with one line for each thing that is done, the licence first.

    Raises:
        UserError: as `tower`; or our modules have no counterpart of the whole, and it is said
            which part lacks one.
    """
    from sensorium import building

    say = progress or (lambda line: None)
    opened = open_folder(source)
    asked = getattr(opened.format, "whole", lambda config, names: None)
    found = asked(opened.config, opened.weights.shapes.keys())
    if found is None:
        raise UserError(
            f"{source}: {opened.kind} is one tower, not a whole model",
            expected="a model of several modalities",
            see="--tower takes it",
        )
    licence = _folder.licence(opened.folder)
    say(f"{source}: {opened.kind}, licence {licence}")
    name = opened.name("whole")
    known = _kept.find_whole(name)
    if known is not None and (known.check.against or not _check.library()):
        say(f"{source}: {known.check.said}")
        return known
    parts, notes, files = {}, list(found.notes), {}
    for modality, given in found.towers.items():
        parts[modality], told, tokens = _with_inputs(opened, given)
        notes += told
        if tokens is not None:
            files[TOKENIZER] = tokens
    found = replace(found, towers=parts)
    options = {modality: part.options for modality, part in parts.items()}
    recipe = _recipe(opened, found, options, notes)
    step = building.build(recipe, {m: sizes(given) for m, given in options.items()})
    weights, read = _convert.to_ours(
        opened.weights, found.all_names, step.state_dict(), "", found.new
    )
    left = _convert.left_over(opened.weights, read, found.left_out)
    new = sorted(step.state_dict().keys() - weights.keys())
    step.load_state_dict(weights, strict=False)
    step.eval()
    check = Check(None)
    if (against := _check.library()) is not None:
        rng = draws.generator("import", opened.hash)
        rows = getattr(opened.format, "rows", _check.pair_rows)
        model = _check.theirs(opened.folder, found.reference)
        check = Check(against, rows(step, parts, model, rng))
        check.refuse(opened.folder)
    say(f"{source}: {check.said}")
    weights = {key: value.clone() for key, value in step.state_dict().items()}
    if TOKENIZER in files:
        cut, more = _cut(options["text"], files[TOKENIZER], weights, "model.encoders.text.")
        notes += more
        options["text"] = cut
        if (bias := "model.vocabularies.text.bias") in weights:
            weights[bias] = weights[bias][: cut["vocabulary"]].clone()
    made = Whole(
        name=name,
        source=str(source),
        architecture=opened.kind,
        recipe=_recipe(opened, found, options, notes),
        licence=licence,
        weight_hash=opened.hash,
        left_out=left,
        new=new,
        notes=notes,
        check=check,
    )
    files[WEIGHTS] = save(dict(sorted(weights.items())))
    _kept.keep(name, _kept.whole_facts(made), files)
    return made


def _recipe(
    opened: Opened, found: Any, options: dict[str, dict[str, Any]], notes: list[str]
) -> Recipe:
    """The recipe of a whole model, its modalities as given."""
    content = {
        "name": f"imported_{opened.kind.replace('-', '_')}",
        "summary": f"{opened.kind} as transformers saved it, mapped to modules of ours",
        "source": opened.source,
        "modalities": options,
        "encoders": {modality: part.encoder for modality, part in found.towers.items()},
        **found.recipe,
    }
    content["departures"] = [*content.get("departures", ()), *notes]
    return check_recipe(content)


def compared(opened: Opened, part: Tower, encoder: Any, key: str) -> Check:
    """One tower beside transformers' on a keyed random input.

    Raises:
        UserError: a layer differs by more than rounding explains.
    """
    against = _check.library()
    if against is None:
        return Check(None)
    model = _check.theirs(opened.folder, opened.reference)
    inner = getattr(model, part.inside, model) if part.inside else model
    check = Check(against, _check.tower_rows(encoder, part, inner, draws.generator("import", key)))
    check.refuse(opened.folder)
    return check


def _with_inputs(opened: Opened, part: Tower) -> tuple[Tower, list[str], bytes | None]:
    """The tower with what decides its inputs: (tower, notes, tokenizer.json of a text)."""
    if part.modality == "image":
        options, colours, notes = _inputs.pictures(opened.folder, part.options, part.colours)
        plain = {key: list(value) for key, value in colours.items()}  # as JSON gives them back
        return replace(part, options=options, encoder=part.encoder | plain), notes, None
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


def _cut(
    options: dict[str, Any], tokens: bytes, weights: dict[str, torch.Tensor], before: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """(options of a text, notes): both tables are cut, in place, to the entries that the tokenizer
    has and to the length that ours may have; the rest is never asked.

    Raises:
        UserError: the tokenizer leaves ids out.
    """
    from tokenizers import Tokenizer

    entries = Tokenizer.from_str(tokens.decode()).get_vocab()
    words, places = before + "words.weight", before + "positions.weight"
    size, rows = max(entries.values()) + 1, len(weights[words])
    if size != len(entries):
        raise UserError(
            TOKENIZER, expected=f"{size} entries, one for each id", found=f"{len(entries)}"
        )
    notes, longer = [], options["length"] - LONGEST
    if size < rows:
        weights[words] = weights[words][:size].clone()
        notes.append(
            f"{rows - size} rows of the word table are left out: the tokenizer has no such entries"
        )
    if longer > 0:
        weights[places] = weights[places][:-longer].clone()
        notes.append(f"texts are cut at {LONGEST} tokens; the model reads {longer} more")
    return options | {"vocabulary": size, "length": min(LONGEST, options["length"])}, notes
