"""Imported towers in the cache: one folder each, whole or not there.

<cache>/towers/<name>/weights.safetensors, tokenizer.json, import.json
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors

from sensorium import cache
from sensorium.errors import RunError, UserError, clip, nearest
from sensorium.files import sync_folder, write_new
from sensorium.formats._check import Check
from sensorium.recipe import Recipe, check, member
from sensorium.towers_imported import FACTS, FORM, TOKENIZER
from sensorium.towers_imported import facts as facts_of

WEIGHTS = "weights.safetensors"
_PLAIN = ("name", "source", "architecture", "licence", "weight_hash", "left_out", "new", "notes")


@dataclass(frozen=True)
class Imported:
    """One encoder of another library's model, as a member of our shelf with its weights.

    Attributes:
        name: of its folder in the cache; holds the start of `weight_hash`.
        source: as it was asked for.
        architecture: kind of the model, e.g. `clip`.
        modality: what it reads.
        encoder: options of a member of the shelf `encoders`, `use` included.
        options: options of the modality, `use` included. A text's vocabulary is the tokenizer's.
        order: in which order it sees the modality.
        licence: of the weights, as the model card says, or `not stated`.
        weight_hash: SHA-256 that decides all it computes: weights, config, tokenizer, form.
        left_out: weights that were not read, a line a pattern, with the reason.
        notes: what differs from the original and only shows in scores.
        check: the comparison with transformers.
    """

    name: str
    source: str
    architecture: str
    modality: str
    encoder: dict[str, Any]
    options: dict[str, Any]
    order: str
    licence: str
    weight_hash: str
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    check: Check = field(default_factory=lambda: Check(None))

    @property
    def folder(self) -> Path:
        """Where it is kept; a text's tokenizer.json is there too."""
        return cache.root() / "towers" / self.name

    @property
    def width(self) -> int:
        """Values of its pooled state."""
        return int(self.encoder.get("out") or self.encoder["width"])

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """(layer, largest absolute error, relative error) as text: the table to print."""
        return table(self.check)

    def reader(self) -> Any:
        """The object of its modality, with its tokenizer where it reads texts."""
        module, spec = member("modalities", f"modalities.{self.modality}", self.options)
        made = module.Modality(spec)
        if self.modality == "text":
            made.load(self.folder)
        return made

    def load(self, modality: Any = None) -> Any:
        """The encoder: frozen, in eval mode, weights verified.

        Args:
            modality: what it reads; by default its own. Texts may be shorter than the model's.

        Raises:
            RunError: the kept weights are damaged.
            UserError: the modality does not suit it.
        """
        made = built(self.encoder, self.reader() if modality is None else modality)
        _fit(made, tensors(self.folder), self.source)
        made.stack.packs = False  # what is kept of it must not depend on who shared a batch
        return made.eval().requires_grad_(False)


def table(check: Check) -> list[tuple[str, str, str]]:
    """(layer, largest absolute error, relative error) of a comparison, as text."""
    return [(row.layer, f"{row.absolute:.1e}", f"{row.relative:.1e}") for row in check.rows]


@dataclass
class Whole:
    """A whole model of another library, as a recipe of ours with weights: what a run is after
    training, without data.

    Attributes:
        recipe: builds it; `recipe.source` says where it came from.
        new: weights that the file has nothing for; they have their initial values.
        The others are as of `Imported`.
    """

    name: str
    source: str
    architecture: str
    recipe: Recipe
    licence: str
    weight_hash: str
    left_out: list[str]
    new: list[str]
    notes: list[str]
    check: Check
    _step: Any = field(default=None, repr=False)

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return cache.root() / "towers" / self.name

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """(layer, largest absolute error, relative error) as text: the table to print."""
        return table(self.check)

    def reader(self, modality: str, device: str = "cpu") -> Any:
        """A `prepare.Reader` of one modality, with the model's tokenizer where it reads texts."""
        from sensorium.prepare import Reader

        made = Reader(self.recipe, modality, device)
        if (self.folder / TOKENIZER).is_file() and modality == "text":
            made.modality.load(self.folder)
        return made

    @property
    def step(self) -> Any:
        """The Step: weights verified, in eval mode.

        Raises:
            RunError: the kept weights are damaged.
        """
        if self._step is None:
            from sensorium.building import build

            made = build(self.recipe, {m: self.reader(m).modality for m in self.recipe.modalities})
            made.load_state_dict(tensors(self.folder))
            self._step = made.eval()
        return self._step

    def embed(self, modality: str, column: Any, device: str = "cpu") -> Any:
        """Vectors of all items of a column that `prepare.column` made with this model's reader:
        float32 [items, e], unit length."""
        from sensorium.embedding import embed

        step = self.step.to(device)
        return embed(step, self.recipe, self.reader(modality, device), column, device)


def towers_kept() -> list[Imported]:
    """The imported towers in the cache."""
    place = cache.root() / "towers"
    names = sorted(x.parent.name for x in place.glob(f"*/{FACTS}"))
    return [found for name in names if (found := find(name)) is not None]


def kept(name: str) -> Imported:
    """An imported tower by its name in the cache.

    Raises:
        UserError: there is none, or it is damaged.
    """
    found = find(name)
    if found is None:
        near = nearest(name, [x.name for x in towers_kept()])
        raise UserError(f"no imported tower {name} in the cache", nearest=near,
                        see="import it again from where it came")  # fmt: skip
    return found


def built(options: dict[str, Any], modality: Any) -> Any:
    """An encoder of our shelf from its options, over a modality; its weights are still random."""
    module, spec = member("encoders", "encoder", options)
    with torch.random.fork_rng(devices=[]):  # initial weights that are replaced at once
        return module.Encoder(spec, modality)


def sizes(options: Mapping[str, Any]) -> SimpleNamespace:
    """What an encoder asks of a modality, from its options alone."""
    patch = options.get("patch", 1)
    return SimpleNamespace(
        vocabulary=options.get("vocabulary"),
        length=options.get("length"),
        channels=3 * patch**2,
        tokens_per_item=(options.get("size", 0) // patch) ** 2,
        spec=SimpleNamespace(size=options.get("size"), patch=patch),
    )


def _fit(encoder: Any, weights: dict[str, torch.Tensor], source: str) -> None:
    """Loads weights; a table of positions may be longer than what is asked for."""
    own = encoder.state_dict()
    longer = "positions.weight"
    if own.get("words.weight") is not None and len(weights[longer]) > len(own[longer]):
        weights = weights | {longer: weights[longer][: len(own[longer])]}
    for name, value in own.items():
        if name not in weights or weights[name].shape != value.shape:
            raise UserError(
                f"{source}: weight {name}",
                expected=str(list(value.shape)),
                found=str(list(weights[name].shape)) if name in weights else "none",
                see="the modality's options must be those of the import",
            )
    encoder.load_state_dict(weights)


def keep(name: str, facts: dict[str, Any], files: dict[str, bytes]) -> None:
    """Writes a folder aside and renames it into its place.

    Raises:
        UserError: the cache cannot be written.
    """
    facts = facts | {
        "form": FORM,
        "files": {
            file: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for file, data in files.items()
        },
    }
    place = cache.folder("towers") / name
    try:
        with tempfile.TemporaryDirectory(prefix=".import-", dir=place.parent) as temporary:
            ready = Path(temporary) / "ready"
            ready.mkdir()
            for file, data in files.items():
                write_new(ready / file, [data])
            write_new(ready / FACTS, [json.dumps(facts, indent=1).encode()])
            sync_folder(ready)
            if place.exists():
                os.replace(place, Path(temporary) / "old")
            os.replace(ready, place)
            sync_folder(place.parent)
    except OSError as error:
        raise UserError(
            file=error.filename or place,
            expected="a cache folder with space that can be written",
            found=error.strerror or str(error),
            see="the environment variable SENSORIUM_CACHE names another",
        ) from None


def find(name: str) -> Imported | None:
    """The tower that is kept under a name, or None."""
    facts = facts_of(name)
    if facts is None or "encoder" not in facts:
        return None
    known = {key: facts[key] for key in Imported.__dataclass_fields__ if key in facts}
    return Imported(**(known | {"check": Check.of(facts["check"])}))


def find_whole(name: str) -> Whole | None:
    """The whole model that is kept under a name, or None."""
    facts = facts_of(name)
    if facts is None or "recipe" not in facts:
        return None
    known = {key: facts[key] for key in _PLAIN}
    return Whole(**known, recipe=check(facts["recipe"]), check=Check.of(facts["check"]))


def whole_facts(made: Whole) -> dict[str, Any]:
    """What import.json says of a whole model."""
    known = {key: getattr(made, key) for key in _PLAIN}
    recipe = made.recipe.model_dump(mode="json")
    return known | {"recipe": recipe, "check": made.check.plain()}


def verified(folder: Path, file: str) -> bytes:
    """A file of a kept folder, as import.json says it is.

    Raises:
        RunError: it is missing or another.
    """
    try:
        facts = json.loads((folder / FACTS).read_bytes())
        expected, data = facts["files"][file]["sha256"], (folder / file).read_bytes()
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(folder / file, "a file", clip(str(error))) from None
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise _damaged(folder / file, f"sha256 {expected}", found)
    return data


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a kept folder, verified.

    Raises:
        RunError: they are missing or damaged.
    """
    data = verified(folder, WEIGHTS)
    try:
        return read_tensors(data)
    except SafetensorError as error:
        raise _damaged(folder / WEIGHTS, "safetensors", clip(str(error))) from None


def _damaged(file: Path, expected: str, found: str) -> RunError:
    return RunError(
        file=file,
        expected=expected,
        found=found,
        see="sensorium cache clear towers, then import it again",
    )
