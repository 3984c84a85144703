"""What a recipe will do with a data set, told without building it: time, memory, tokens, splits.

Everything here is an estimate or a stated assumption. What the towers cost was measured once, on
one x86 core; that their numbers agree with the modules they describe is held by tests, so that
telling them needs no torch.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from sensorium import splits, towers
from sensorium.errors import UserError
from sensorium.recipe import Recipe, parse_budget
from sensorium.records import Records

# Per tower: seconds an item on one x86 core (lit's sizes), and the width of its features.
TOWERS: dict[str, tuple[float, int]] = {"efficientnet_lite": (0.016, 1280), "minilm": (0.0026, 384)}
LANGUAGES: dict[str | None, tuple[str, ...]] = {"minilm": ("en",)}  # that a text tower knows
PREPARING = 0.6  # share of a time budget that reading may take, as in `pretraining`
BASE = 1_000_000_000  # bytes of torch, the towers and a small model, measured
SIZE, CROP, LENGTH = 64, 1.0, 32  # of modalities/image.py and text.py where a recipe is silent


def side(recipe: Recipe) -> int:
    """The shorter side at which the recipe needs a picture, pixels."""
    options = recipe.modalities.get("image", {})
    return round(options.get("size", SIZE) / options.get("crop", CROP))


def tokens(texts: list[str], options: dict[str, Any]) -> list[int] | None:
    """Tokens of each text without the two ends; None where the tokenizer is not at hand.

    A trained tokenizer does not exist before the run; MiniLM's may not be in the cache.
    """
    if options.get("tokenizer") != "minilm" or not towers.available("minilm"):
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(towers.tokenizer_file().read_text("utf-8"))
    except UserError:  # damaged: whoever loads the tower is told so
        return None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    valid = [text.encode("utf-8", "replace").decode() for text in texts]  # no lone surrogates
    return [len(x.ids) for x in tokenizer.encode_batch_fast(valid, add_special_tokens=False)]


def drawn(records: Records) -> bool:
    """Whether Sensorium drew at least one of the splits, rather than the data stating all.

    Reading notes which splits it drew, but not that it drew all three; then drawing once more
    tells, for chance does not give the same splits.
    """
    if any("drawn" in note for note in records.notes):
        return True
    blank = [dataclasses.replace(record, split=None) for record in records]
    again = Records(records.name, blank, records.fields)
    try:
        splits.assign(again)
    except UserError:
        return False
    return all(a.split == b.split for a, b in zip(records, again, strict=True))


def plan(
    recipe: Recipe, records: int, texts: int, train: int, seconds: float | None
) -> dict[str, Any]:
    """What the recipe will do.

    Args:
        recipe: at the size that will be run.
        records, texts, train: how many there are, and how many records the train split has.
        seconds: to read and decode one picture, measured; None where none can be.

    Returns:
        {recipe, size, batch, steps_an_epoch, budget, seconds_reading (estimated, on one
        core: decoding as measured, the towers as assumed), records_within_budget (null:
        all), memory_bytes (estimated), towers {name: {cached, bytes}}, assumed}.
    """
    batch = min(recipe.optimiser.batch, max(1, train))
    used = {modality: member["use"] for modality, member in recipe.prepare.items()}
    each = {name: TOWERS.get(name, (0.0, 0)) for name in used.values()}
    items = {"image": records, "text": texts}
    reading = records * (seconds or 0.0) + sum(
        items.get(m, records) * each[name][0] for m, name in used.items()
    )
    budget = parse_budget(recipe.budget)
    within = None
    if budget.unit == "seconds" and reading > PREPARING * budget.amount:
        within = max(100, math.floor(records * PREPARING * budget.amount / reading))
    arrays = sum(4 * items.get(m, records) * each[name][1] for m, name in used.items())
    if "image" not in used:
        arrays += 3 * records * recipe.modalities.get("image", {}).get("size", SIZE) ** 2
    return {
        "recipe": recipe.name,
        "size": recipe.size,
        "batch": batch,
        "steps_an_epoch": max(1, train // batch),
        "budget": recipe.budget,
        "seconds_reading": reading,
        "records_within_budget": within,
        "memory_bytes": BASE + arrays,
        "towers": {
            name: {"cached": towers.available(name), "bytes": towers.TOWERS[name].size}
            for name in used.values()
            if name in towers.TOWERS
        },
        "assumed": {name: {"seconds_an_item": cost[0]} for name, cost in each.items()},
    }
