"""The contact sheet of a made world: pictures of its test split, each with its caption."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from pyarrow import parquet

from sensorium.errors import DataError
from sensorium.files import write_bytes
from sensorium.tables import FACT
from sensorium.world._making import read_facts

ACROSS, DOWN = 6, 4
EDGE = 224  # pixels of a picture on the sheet, at most: a pixel of it becomes a whole square
GAP, LINE = 16, 18
PAPER, INK = "#FCFCFA", "#1A1D21"
LATIN = 0x250  # the font that comes with Pillow draws the letters below


def sheet(folder: Path) -> Path:
    """Writes FOLDER/sheet.png and returns its path.

    Raises:
        DataError: no made world, or its shards cannot be read.
    """
    canvas = read_facts(folder)["setting"]["canvas"]
    edge = canvas * (EDGE // canvas)
    rows = examples(folder, ACROSS * DOWN)
    font = ImageFont.load_default(14)
    letters = int(edge / font.getlength("n"))
    texts = [textwrap.wrap(_words(row), letters, max_lines=3, placeholder=" …") for row in rows]
    cell = edge + LINE * max((len(text) for text in texts), default=1) + GAP
    lines = -(-len(rows) // ACROSS)
    page = Image.new("RGB", (GAP + ACROSS * (edge + GAP), GAP + lines * cell), PAPER)
    pen = ImageDraw.Draw(page)
    for at, (row, text) in enumerate(zip(rows, texts, strict=True)):
        x, y = GAP + at % ACROSS * (edge + GAP), GAP + at // ACROSS * cell
        if row.get("image") is not None:
            picture = Image.open(io.BytesIO(row["image"]))
            page.paste(picture.resize((edge, edge), Image.Resampling.NEAREST), (x, y))
        else:
            pen.rectangle((x, y, x + edge - 1, y + edge - 1), outline="#D8D8D0")
            pen.text((x + 8, y + 8), "no picture", fill=INK, font=font)
        for number, words in enumerate(text):
            pen.text((x, y + edge + 2 + number * LINE), words, fill=INK, font=font)
    out = io.BytesIO()
    page.save(out, "PNG")
    file = folder / "sheet.png"
    write_bytes(file, out.getvalue())
    return file


def examples(folder: Path, count: int) -> list[dict[str, Any]]:
    """The first rows of the test split.

    Raises:
        DataError: there are no shards, or one is damaged.
    """
    rows: list[dict[str, Any]] = []
    for file in sorted(folder.glob("test-*.parquet")):
        try:
            with parquet.ParquetFile(file) as table:
                for batch in table.iter_batches(batch_size=count):
                    rows += batch.to_pylist()
                    if len(rows) >= count:
                        return rows[:count]
        except (OSError, ValueError) as error:
            raise DataError(file=file, expected="a shard of the world", found=str(error)) from None
    if not rows:
        raise DataError(file=folder, expected="shards called test-00000.parquet", found="none")
    return rows


def _words(row: dict[str, Any]) -> str:
    """The caption, or the facts where the sheet's font lacks its letters."""
    caption = row.get("caption") or ""
    if isinstance(caption, str) and caption and all(ord(letter) < LATIN for letter in caption):
        return caption
    names = ("colour_1", "kind_1", "relation", "colour_2", "kind_2", "ground")
    facts = [row.get(f"{FACT}{name}") for name in names]
    return " ".join(fact.replace("_", " ") for fact in facts if fact)
