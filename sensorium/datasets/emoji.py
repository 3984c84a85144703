"""1,543 emoji drawings (Noto, 64 x 64) with names and keywords in 16 languages; in the package.

Drawings, not photographs. The split is the file's own, by concept family. One kind of family can
be read off the English names and is the record's group: man, woman and person doing the same.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

from sensorium.errors import DataError
from sensorium.records import Blob, Record, Records, Source

SUMMARY = "1,543 emoji drawings with names and keywords in 16 languages; comes with the package"
LICENCE = (
    "Noto Emoji drawings: Apache-2.0, Google LLC. Names and keywords: Unicode CLDR, Unicode-3.0. "
    "Groups: emojibase, MIT. See emoji64_noto.NOTICE beside the file."
)
SOURCE = "npm emoji-datasource-google 16.0.0, cldr-annotations-full 48.2.0, emojibase-data 17.0.0"
FILE = Path(__file__).with_name("emoji64_noto.zip")
_SPLITS = {"train": "train", "val": "validation", "test": "test"}
# Unicode's groups, by emojibase's numbers (emojibase-data meta/groups.json); the archive has no
# drawing of 2, parts of emoji, nor of 9, flags.
CATEGORIES = {
    0: "smileys and emotion",
    1: "people and body",
    3: "animals and nature",
    4: "food and drink",
    5: "travel and places",
    6: "activities",
    7: "objects",
    8: "symbols",
}
_PERSON = re.compile(r"(?:man|woman|person|men|women|people)\b:? (.+)")


def get() -> Path:
    """The archive; there is nothing to fetch."""
    return FILE


def read() -> Records:
    """All drawings in the archive's order: `image`, `text` (the English name) take part.

    Also in each record, for `fields=` to choose: `category` (one of `CATEGORIES`), `keywords`
    (English), `text_zh`, `text_fr` ... (names), `keywords_zh` ... in the languages zh, zh_Hant,
    ja, ko, fr, de, es, pt, ru, ar, hi, sw, tr, vi, id.

    Raises:
        DataError: the package's own file is missing or damaged.
    """
    try:
        with zipfile.ZipFile(FILE) as archive:
            rows = json.loads(archive.read("records.json"))
            pictures = {row["id"]: archive.read(f"img/{row['id']}.webp") for row in rows}
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise DataError(
            file=FILE, expected="the archive that comes with sensorium", found=str(error),
            see="pip install --force-reinstall sensorium",
        ) from None  # fmt: skip
    records = [_record(row, at, pictures[row["id"]]) for at, row in enumerate(rows, 1)]
    return Records("emoji", records, {"image": "image", "text": "text"}, licence=LICENCE)


def _record(row: dict, at: int, picture: bytes) -> Record:
    fields: dict = {
        "image": Blob(f"{FILE.name}:img/{row['id']}.webp", data=picture),
        "text": row["names"]["en"],
        "category": CATEGORIES[row["group"]],
        "keywords": row["kw"]["en"],
    }
    for language, name in row["names"].items():
        if language != "en":
            code = language.replace("-", "_")
            fields[f"text_{code}"] = name
            fields[f"keywords_{code}"] = row["kw"][language]
    return Record(
        row["id"],
        Source(f"{FILE.name}:records.json", at),
        fields,
        group=family(row["names"]["en"]),
        split=_SPLITS[row["split"]],
    )


def family(name: str) -> str:
    """The concept family of an English name: `man running` and `woman running` are one.

    A trade without a person (`judge`) is a family of its own, because the archive's split has
    drawn it apart from `man judge`.
    """
    found = _PERSON.match(name)
    return f"person {found[1]}" if found else name
