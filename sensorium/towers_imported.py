"""Imported models as recipes and runs name them: what the cache says of them, and their modules.

`importing.py` puts them there; here they are found again by name and hash, also where a recipe
names one in `prepare` (`encoders/imported.py`). Nothing loads torch until a tower is built.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sensorium import cache, towers
from sensorium.errors import RunError, UserError, command

FACTS, TOKENIZER = "import.json", "tokenizer.json"
FORM = 1  # of what is kept: raised when encoders' parameters are renamed or reshaped
USE = "imported"  # the member of the shelf `encoders`


def place(name: str) -> Path:
    """The folder of an imported model in the cache."""
    return cache.root() / "towers" / name


def facts(name: str) -> dict[str, Any] | None:
    """What import.json says of a folder that is whole and of this form; None otherwise."""
    if not re.fullmatch(r"[a-z0-9-]+", name):
        return None
    try:
        told = json.loads((place(name) / FACTS).read_bytes())
        whole = all(
            (place(name) / file).stat().st_size == at["bytes"] for file, at in told["files"].items()
        )
        return told if told["form"] == FORM and told["name"] == name and whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def every() -> list[dict[str, Any]]:
    """What is known of each imported model in the cache, by name; whole models have a `recipe`."""
    names = sorted(x.parent.name for x in (cache.root() / "towers").glob(f"*/{FACTS}"))
    return [told for name in names if (told := facts(name)) is not None]


def licences() -> dict[str, str]:
    """Folder below `towers` -> licence of its weights, of fetched and of imported ones."""
    own = {name: tower.licence for name, tower in towers.TOWERS.items()}
    return own | {told["name"]: told["licence"] for told in every()}


def weight_hash(options: Mapping[str, Any]) -> str:
    """What decides all that a frozen tower computes: SHA-256 of its weights, and of an imported
    model which part it is: a tower and the whole that it belongs to have one hash.

    Args:
        options: of a recipe's `prepare`, `use` included.

    Raises:
        UserError: the cache does not hold the tower, or other weights under its name.
    """
    if options["use"] != USE:
        return towers.weight_hash(str(options["use"]))
    told = _wanted(options)
    return f"{told['weight_hash']} {told.get('modality', 'whole')}"


def load(options: Mapping[str, Any], modality: Any) -> Any:
    """The frozen tower that a recipe's `prepare` names, over a modality, weights verified.

    A whole model gives the modality's vector in the shared space as its pooled state.

    Raises:
        UserError: it is not in the cache, damaged, or the modality does not suit it.
    """
    if options["use"] != USE:
        return towers.load(str(options["use"]), modality)
    told = _wanted(options)
    from sensorium.formats import _kept

    if "recipe" not in told:
        return _kept.kept(told["name"]).load(modality)
    from sensorium.embedding import Vectors

    model = _kept.find_whole(told["name"])
    assert model is not None, "its facts were just read"
    return Vectors(model.step, modality.name)


def _wanted(options: Mapping[str, Any]) -> dict[str, Any]:
    name, told = str(options["name"]), facts(str(options["name"]))
    if told is not None and told["weight_hash"] == options["sha256"]:
        return told
    part = name.rpartition("-")[0].rpartition("-")[2]  # MODEL-image-0123456789ab
    more = ("--part", part) if part in ("image", "text") else ()
    raise UserError(
        f"the imported tower {name} is not in the cache",
        expected=f"the weights that the recipe names, sha256 {options['sha256']}",
        found="nothing, or a damaged copy" if told is None else f"sha256 {told['weight_hash']}",
        see=command("cache", "import", options.get("source") or "SOURCE", *more),
    )


def reading(told: Mapping[str, Any], modality: str) -> dict[str, Any]:
    """Options of a modality as an imported model reads it; a text names the model's tokenizer."""
    options = dict(told["recipe"]["modalities"][modality] if "recipe" in told else told["options"])
    if modality == "text":
        options |= {"tokenizer": USE, "tower": told["name"]}
    return options


def preparing(told: Mapping[str, Any], width: int, order: str) -> dict[str, Any]:
    """Options of `prepare` that name an imported model.

    Args:
        told: its facts.
        width: values of what it gives.
        order: in which it sees the modality.
    """
    known = {key: str(told[key]) for key in ("name", "source", "licence")}
    return {"use": USE, "sha256": told["weight_hash"], "width": width, "order": order, **known}


def tokenizer(name: str) -> str:
    """tokenizer.json of an imported model, its hash verified.

    Raises:
        UserError: the model is not in the cache, reads no texts, or its file is damaged.
    """
    told = facts(name)
    if told is None or TOKENIZER not in told["files"]:
        raise UserError(
            f"the imported tower {name} is not in the cache",
            expected="a tower that reads texts, with its tokenizer",
            found="nothing" if told is None else "a model without a tokenizer",
            see="sensorium cache import, from where the model came",
        )
    data, wanted = (place(name) / TOKENIZER).read_bytes(), told["files"][TOKENIZER]["sha256"]
    if (found := hashlib.sha256(data).hexdigest()) != wanted:
        raise RunError(
            file=place(name) / TOKENIZER,
            expected=f"sha256 {wanted}",
            found=found,
            see="sensorium cache clear towers, then import it again",
        )
    return data.decode()
