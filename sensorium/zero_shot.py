"""The control that was trained on other data: an imported model of pictures and texts, as it is.

Zero-shot retrieval as of Radford et al. 2021 (arXiv 2103.00020), section 3: the model's own vectors
of the same pictures and texts, nothing trained. Each model in the cache that compares pictures with
texts is the first row of every retrieval table; vectors are kept by content like any features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium import towers_imported
from sensorium.errors import UserError
from sensorium.recipe import check
from sensorium.records import Record
from sensorium.report.words import ZERO_SHOT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sensorium.run import Run

LONGEST = 40  # letters of a licence in a row's name; the report has it whole


def models() -> list[dict[str, Any]]:
    """Facts of the imported models whose vectors of pictures and texts can be compared."""
    return [told for told in towers_imported.every() if "recipe" in told and _compares(told)]


def _compares(told: Mapping[str, Any]) -> bool:
    recipe = told["recipe"]
    alone = recipe.get("fusion", {}).get("use", "none") == "none"
    learned = {objective["use"] for objective in recipe["objectives"]}
    return alone and "contrastive" in learned and set(recipe["modalities"]) == {"image", "text"}


def label(told: Mapping[str, Any]) -> str:
    """What its row is called: `zero-shot openai/clip-vit-base-patch32 (mit)`.

    Where two models would be called the same, each carries the start of its hash.
    """
    same = [x for x in models() if _name(x) == _name(told) and x["name"] != told["name"]]
    own = f" {told['weight_hash'][:8]}" if same else ""
    licence = str(told["licence"])
    short = licence if len(licence) <= LONGEST else licence[: LONGEST - 1].rstrip() + "…"
    return f"{ZERO_SHOT}{_name(told)}{own} ({short})"


def _name(told: Mapping[str, Any]) -> str:
    source = str(told["source"])
    return source.removeprefix("hf:") if source.startswith("hf:") else Path(source).resolve().name


def vectors(
    run: Run, told: Mapping[str, Any], records: list[Record], sizes: Mapping[str, int]
) -> dict[str, NDArray] | str:
    """A model's vectors of a run's records, or the reason why there are none.

    Args:
        run: whose fields name pictures and texts.
        told: the model's facts.
        records: of one split, each with both.
        sizes: how many texts and pictures the run itself reads of them.

    Returns:
        {text, image}: float32 [items, e], unit length, in the order of the records' items.
    """
    import numpy as np

    from sensorium.prepare import Reader, column

    recipe = check(told["recipe"])
    prepare = {
        name: towers_imported.preparing(told, recipe.space, recipe.order.get(name, "full"))
        for name in recipe.modalities
    }
    read = {name: towers_imported.reading(told, name) for name in recipe.modalities}
    recipe = recipe.model_copy(update={"prepare": prepare, "modalities": read})
    found = {}
    try:
        for name in ("image", "text"):
            reader = Reader(recipe, name, run.device)
            made, _ = column(reader, records, run.fields[name])
            found[name] = np.asarray(made.items)[:, 0]
    except UserError as error:
        return f"its weights cannot be used: {error.what}"
    if {name: len(items) for name, items in found.items()} != dict(sizes):
        return "it cannot read all of these records"
    return found
