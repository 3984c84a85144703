"""What tests of fine-tuning share: a table of shapes, a tuned run of each method, a cache."""

import pytest
from conftest import shape
from miniature import csv_of
from tuned import KINDS, tuned

from sensorium.finetuning import deriving


@pytest.fixture(scope="session")
def tiles(tmp_path_factory):
    """tiles.csv: 72 pictures of shapes with colour, question and answer; every picture differs."""
    folder = tmp_path_factory.mktemp("tiles")
    rows = []
    for turn in range(3):
        for number, (size, colour, form) in enumerate(KINDS):
            name, picture = f"{turn}{number:02d}.png", shape(size, colour, form)
            picture.putpixel((turn, number % 32), (0, 0, turn))
            picture.save(folder / name)
            asked = (("what colour is it?", colour), ("is it large?", str(size == "large")))
            question, told = asked[(turn + number) % 2]
            rows.append(
                {
                    "photo": name,
                    "title": f"a {size} {colour} {form} number {turn}",
                    "colour": colour,
                    "question": question,
                    "answer": told,
                    "same": "one",
                    "nothing": "",
                }
            )
    return csv_of(folder / "tiles.csv", rows)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def runs(tiny_run, tiles, tmp_path_factory):
    """One run of each method; LoRA's half interpolated. Read only."""
    place = tmp_path_factory.mktemp("tuned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(tmp_path_factory.mktemp("cache")))
        return {
            method: tuned(
                tiny_run.folder,
                tiles,
                place / method,
                method,
                interpolate=0.5 if method == "lora" else None,
            )
            for method in deriving.METHODS
        }
