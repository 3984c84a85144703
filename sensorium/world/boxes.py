"""Where the things of a scene are."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from sensorium.draws import Key
from sensorium.world._scene import Scene
from sensorium.world._setting import Setting

SUMMARY = "what is where: kind, colour, size and box of each thing, as JSON"


def columns(setting: Setting) -> dict[str, pa.DataType]:
    """`boxes`: a JSON list in the order of the things."""
    return {"boxes": pa.string()}


def emit(scene: Scene, setting: Setting, key: tuple[Key, ...]) -> dict[str, Any]:
    """Each box is [x0, y0, x1, y1] in pixels, x1 and y1 exclusive, tight around what is drawn."""
    told = [
        {"kind": thing.kind, "colour": thing.colour, "size": thing.size, "box": list(thing.box)}
        for thing in scene.things
    ]
    return {"boxes": json.dumps(told)}
