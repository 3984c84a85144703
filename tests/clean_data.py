"""Data sets with nothing wrong: pictures that differ everywhere, English sentences that differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from miniature import csv_of
from PIL import Image

THINGS = ("dog", "boat", "kite", "tree", "house", "child", "horse", "bridge", "lamp", "train")
PLACES = (
    "on the beach", "near the river", "under a bridge", "in front of the house",
    "at the end of the road", "on top of a hill", "in the middle of the field",
)  # fmt: skip


def scene(number: int, size: tuple[int, int] = (64, 48), palette: int | None = None) -> Image.Image:
    """A smooth random picture; with `palette`, always of the same three colours.

    Args:
        number: another number is another picture.
        size: width, height.
        palette: the number of the palette.
    """
    rng = np.random.default_rng([7, number])
    if palette is None:
        colours = rng.integers(0, 256, (6, 8, 3))
    else:
        three = np.random.default_rng([8, palette]).integers(0, 256, (3, 3))
        colours = three[rng.integers(0, 3, (6, 8))]
    small = Image.fromarray(colours.astype(np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def sentence(number: int) -> str:
    """A sentence of English that no other number gives."""
    place = PLACES[number % len(PLACES)]
    thing = THINGS[number // len(PLACES) % len(THINGS)]
    return f"a photo of the {thing} number {number} {place}"


def rows(count: int = 40) -> list[dict[str, str]]:
    """Rows of a table: image, caption, split."""
    splits = ["test", "validation", *["train"] * 8]
    return [
        {"image": f"{at:03d}.png", "caption": sentence(at), "split": splits[at % 10]}
        for at in range(count)
    ]


def clean(folder: Path, count: int = 40, table: list[dict[str, str]] | None = None) -> Path:
    """A folder of pictures 000.png ... and its table `captions.csv`; the table's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for at in range(count):
        scene(at).save(folder / f"{at:03d}.png")
    return csv_of(folder / "captions.csv", rows(count) if table is None else table)
