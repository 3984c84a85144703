"""Miniature data sets, written as their official layouts say; every picture's bytes differ."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from PIL import Image

from sensorium.records import Record, Rejected


def picture(number: int = 0, kind: str = "PNG", size: tuple[int, int] = (9, 7), **more) -> bytes:
    """A picture whose bytes depend on `number`."""
    image = Image.new("RGB", size, (number % 251, number * 7 % 251, number // 251))
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def pictures(folder: Path, count: int, suffix: str = ".png") -> list[str]:
    """`count` pictures 000.png, 001.png ... in a folder; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:03d}{suffix}" for number in range(count)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(picture(number))
    return names


def csv_of(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> Path:
    """A CSV as a spreadsheet writes it."""
    import csv

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def jsonl_of(path: Path, rows: list[object]) -> Path:
    """A file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def tar_of(path: Path, members: list[tuple[str, bytes]]) -> Path:
    """A tar of members in the given order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def good(items) -> list[Record]:
    """The records among what a layout yields."""
    return [item for item in items if isinstance(item, Record)]


def bad(items) -> list[Rejected]:
    """The refused ones."""
    return [item for item in items if isinstance(item, Rejected)]
