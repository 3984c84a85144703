"""Runs of a few steps that compare nothing, trained once for all tests that ask for them.

Four on forty made pictures: hidden words and matching beside pictures, next words after a picture,
classes, and pictures alone. Read only.
"""

import json
import shutil

import pytest
from conftest import TINY

from sensorium import recipe as recipes

FUSED = (*TINY, "fusion.depth=1", "fusion.heads=1", "choose=loss")
PICTURES = tuple(x for x in TINY if ".text." not in x)
WORDS = ("encoders.text.width=32", "encoders.text.depth=1", "encoders.text.heads=1",
         "optimiser.batch=16")  # fmt: skip
SHAPES = {
    "name": "shapes",
    "targets": {"label": {"use": "label"}},
    "objectives": [{"use": "classification"}],
}
KINDS = {
    "words": ("visualbert", FUSED, {}),
    "written": ("simvlm", FUSED, {}),
    "classes": ("visualbert", FUSED, SHAPES),
    "pictures": ("simclr", PICTURES, {}),
    "bare": ("bert", WORDS, {}),
}
_MADE: dict = {}


def labelled(tiny_data, folder):
    """`tiny_data` as a table with the shape as label."""
    shutil.copytree(tiny_data, folder)
    rows = []
    for file in sorted(folder.glob("*.txt")):
        text = file.read_text("utf-8")
        picture = file.with_suffix(".png").name
        rows.append({"image": picture, "text": text, "shape": text.split()[-1]})
        file.unlink()
    table = folder / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return table


def trained(kind, tiny_data, tmp_path_factory):
    """The run of one kind; trained when it is first asked for."""
    from sensorium.pretraining import pretrain

    if kind not in _MADE:
        name, overrides, change = KINDS[kind]
        recipe = recipes.load(name, "tiny", list(overrides), budget="4-steps")
        content = recipe.model_dump(mode="json") | change
        place = tmp_path_factory.mktemp(kind)
        table = labelled(tiny_data, place / "shapes")
        fields = {"image": "image", "text": "text", "shape": "label" if change else "text"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SENSORIUM_CACHE", str(place / "cache"))
            _MADE[kind] = pretrain(table, recipes.check(content), out=place / "run", fields=fields)
    return _MADE[kind]


def run_of(kind):
    """A fixture that gives the run of one kind."""

    @pytest.fixture
    def run(tiny_data, tmp_path_factory):
        return trained(kind, tiny_data, tmp_path_factory)

    return run
