"""What stands in which relation: a scene without its pixels."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from sensorium.draws import Key
from sensorium.world._scene import Scene
from sensorium.world._setting import Setting

SUMMARY = "the scene graph: things, the relation between them and the background, as JSON"


def columns(setting: Setting) -> dict[str, pa.DataType]:
    """`graph`: a JSON object."""
    return {"graph": pa.string()}


def emit(scene: Scene, setting: Setting, key: tuple[Key, ...]) -> dict[str, Any]:
    """`relations` holds [place of one thing, relation, place of another], places from 0."""
    told = {
        "things": [
            {"kind": thing.kind, "colour": thing.colour, "size": thing.size}
            for thing in scene.things
        ],
        "relations": [[0, scene.relation, 1]] if scene.relation else [],
        "ground": scene.ground,
        "stripes": scene.stripes,
    }
    return {"graph": json.dumps(told)}
