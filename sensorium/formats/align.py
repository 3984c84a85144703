"""ALIGN's text tower, a BERT. Names of transformers' `AlignModel`.

Jia et al. 2021 (arXiv 2102.05918). Checked against huggingface/transformers
models/align/modeling_align.py with equal weights. Not its pictures: they pass an EfficientNet-B7
with squeeze-and-excitation, and ours is EfficientNet-Lite0, which has none.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sensorium.errors import UserError
from sensorium.formats import bert
from sensorium.formats._config import Config
from sensorium.formats._names import Names
from sensorium.formats._part import Tower

SUMMARY = "ALIGN: its text tower"
CLASSES = {"align": "AlignModel"}
_TEXT = {
    key: value
    for key, value in bert.DEFAULTS["bert"].items()
    if key not in ("is_decoder", "add_cross_attention")
}
DEFAULTS: dict[str, dict[str, Any]] = {"align": {}}
NAMES: Names = {name: x for name, x in bert.NAMES.items() if not name.startswith("pooler")}
LEFT_OUT = {
    "vision_model.**": "an EfficientNet with squeeze-and-excitation, which ours lacks",
    "text_projection.*": "into the space of the whole model",
    "temperature": "of the whole model",
    "pooler.**": "a head over the first state, which is given itself",
    "embeddings.position_ids": "counts up; no weight",
    "embeddings.token_type_ids": "zeros; no weight",
}


def towers(config: Config) -> dict[str, Tower]:
    """The text tower alone.

    Raises:
        UserError: a value that our transformer cannot express; names the key.
    """
    text = config.below("text_config", _TEXT)
    found = bert.towers(text)["text"]
    encoder = found.encoder | {"pool": "first"}
    tower = Tower(
        "text", encoder, found.options, NAMES, ("text_model.",), LEFT_OUT, inside="text_model"
    )
    return {"text": tower}


def whole(config: Config, names: Collection[str]) -> None:
    """Refused; see the module.

    Raises:
        UserError: always, and says what ours lack.
    """
    raise UserError(
        "ALIGN as a whole",
        file=config.file,
        expected="a picture tower without squeeze-and-excitation",
        found="EfficientNet-B7, which has it, and a projection with a bias",
        see="its text tower can be imported: --tower",
    )
