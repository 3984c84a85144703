"""Data that has what a recipe reads and nothing else, made of the small shapes."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

from sensorium.recipe import Recipe

WORDS = {
    "a": "ein", "small": "kleiner", "large": "grosser", "red": "roter", "green": "gruener",
    "blue": "blauer", "yellow": "gelber", "purple": "lila", "circle": "Kreis",
    "square": "Wuerfel", "triangle": "Winkel", "cross": "Stern",
}  # fmt: skip


def data_for(recipe: Recipe, pairs: Path, place: Path) -> Path:
    """The folder of pairs itself, its texts or pictures alone, or with translations and classes.

    Args:
        pairs: 00.png, 00.txt ..., as the fixture `tiny_data` makes them.
        place: an existing folder, where anything else is written.
    """
    if set(recipe.modalities) == {"text"}:
        lines = [json.dumps({"text": x.read_text()}) for x in sorted(pairs.glob("*.txt"))]
        (place / "texts.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
        return place / "texts.jsonl"
    if set(recipe.modalities) == {"image"}:
        return shutil.copytree(pairs, place / "pictures", ignore=shutil.ignore_patterns("*.txt"))
    more = [variant.field for variant in recipe.variants.get("text", ()) if variant.field]
    if not more and not recipe.targets:
        return pairs
    shutil.copytree(pairs, place / "pictures", ignore=shutil.ignore_patterns("*.txt"))
    with open(place / "pairs.csv", "w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["image", "text", *more, *recipe.targets])
        for text in sorted(pairs.glob("*.txt")):
            words = text.read_text("utf-8").split()
            there = [" ".join(WORDS[word] for word in words)] * len(more)
            labels = [words[-1]] * len(recipe.targets)  # the form: circle, square ...
            rows.writerow([f"pictures/{text.stem}.png", " ".join(words), *there, *labels])
    return place / "pairs.csv"


def classes_for(pairs: Path, place: Path) -> Path:
    """A table of the same pictures with the form that each text names, `form`; written once."""
    folder = place / "forms"
    if not folder.exists():
        shutil.copytree(pairs, place / "forms.tmp", ignore=shutil.ignore_patterns("*.txt"))
        rows = [f"{x.stem}.png,{x.read_text('utf-8').split()[-1]}" for x in pairs.glob("*.txt")]
        lines = ["image,form", *sorted(rows)]
        (place / "forms.tmp" / "forms.csv").write_text("\n".join(lines) + "\n", "utf-8")
        (place / "forms.tmp").rename(folder)
    return folder / "forms.csv"
