"""Floors and ceilings beside a score, where the data is a made world.

A folder that `sensorium world make` wrote holds `world.json`; everywhere else nothing is added.
They are controls like chance: exact, counted over the world's combinations, no model behind them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sensorium.errors import RecipeError
from sensorium.tables import FACT

FILE = "world.json"
_SAID = (
    "best_image_only",
    "best_text_only",
    "best_table_only",
    "best_sum",
    "best_sum_at_most",
    "best_sum_fitted",
    "best_possible",
)


def add(scores: list[dict[str, Any]], data: str | Path, split: str, fields: dict[str, str]) -> None:
    """Puts a world's floors and ceilings among the controls of the scores that they fit.

    They fit the accuracy of naming the label or a factor, and retrieval between picture and
    caption, of a run that reads the world's own picture and caption; and the accuracy of naming
    the answer, of a run that reads picture and question.

    Args:
        scores: as evaluation gives them; changed in place.
        data: what the run reads.
        split: of the scores.
        fields: modality -> the field that carries it.

    Raises:
        RecipeError: the world's setting is none that this version knows.
    """
    found = _world(Path(data))
    if found is None or fields.get("image", "image") != "image":
        return
    setting_data, unseen = found
    text = fields.get("text", "caption")
    if text not in ("caption", "question") and not text.startswith("caption_"):
        return
    from sensorium.world import _asking, _floors, _ranking
    from sensorium.world._setting import Missing, check

    try:
        setting = check(setting_data)
    except RecipeError as error:
        error.see = f"{FILE} in {data} was written by another version of sensorium"
        raise
    setting = setting.model_copy(update={"missing": Missing()})  # whole records alone are asked
    held = "unseen" if unseen and split == "test" else split
    if held not in setting.splits or text.removeprefix("caption_") in (
        "colours",
        "roles",
        "random",
    ):
        return
    for score in scores:
        told: dict[str, float] | None = None
        metric, protocol = score["metric"], score["protocol"]
        try:
            if score["task"] == "classification" and metric == "accuracy":
                field = str(protocol.get("field")).removeprefix(FACT)
                if text == "question":
                    told = _asking.floors(setting, held)["question"] if field == "answer" else None
                elif (field == "label" and setting.label) or field in setting.factors:
                    told = _floors.told(setting, held, field)
            elif score["task"] == "retrieval" and "@" in metric and text != "question":
                told = _ranking.retrieval(
                    setting, held, score["direction"], int(metric.partition("@")[2]),
                    int(protocol["pool"]), text == "caption",
                )  # fmt: skip
        except ValueError:  # too many combinations to count
            continue
        # Who sees one side alone finds a partner by luck, which stands there already.
        for name in _SAID if score["task"] == "classification" else ("best_possible",):
            kind = name.removeprefix("best_").removesuffix("_only")
            if told and name in told and (not name.endswith("_only") or kind in fields):
                score["controls"][name] = {"value": round(told[name], 12), "interval": "exact"}


def _world(data: Path) -> tuple[dict[str, Any], bool] | None:
    """The setting of the world that data belongs to, and whether it is of unseen kinds."""
    for folder, unseen in ((data, False), (data.parent, data.name == "unseen")):
        file = folder / FILE
        if (folder == data or unseen) and file.is_file():
            try:
                told = json.loads(file.read_text(encoding="utf-8"))
            except ValueError:
                return None  # somebody else's file of that name
            if (
                isinstance(told, dict)
                and isinstance(told.get("setting"), dict)
                and "floors" in told
            ):
                return told["setting"], unseen
    return None
