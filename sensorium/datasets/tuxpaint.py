"""430 Tux Paint stamps with English captions: mostly photographic cut-outs of single things.

Of the package's 796 PNGs, what is drawn (`cartoon` folders) and `symbols` are left out, and so
are mirror images, which have no caption of their own. A stamp is `key.png` beside `key.txt`: the
first line is the English caption, others are `xx.utf8=caption`. Stamps with one caption are one
group.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sensorium import splits
from sensorium.datasets._debian import Package
from sensorium.layouts._header import Unusable
from sensorium.layouts._media import Root
from sensorium.records import Record, Records, Rejected, Source

SUMMARY = "430 photographic cut-outs with English captions, from Tux Paint (161 MB download)"
LICENCE = (
    "GPL-2 as a whole; single stamps also under CC BY, CC BY-SA, GFDL, Sampling Plus or in the "
    "public domain. See doc/tuxpaint-stamps-default in the data set's folder before you share "
    "the pictures or what is made from them."
)
SOURCE = "Debian package tuxpaint-stamps-default 2022.06.04-1"
PACKAGE = Package(
    dataset="tuxpaint",
    name="tuxpaint-stamps-default",
    version="2022.06.04-1",
    sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    size=160_880_444,
)
_LEFT_OUT = ("symbols", "cartoon")


def get() -> Path:
    """The folder, downloaded where it is not there yet.

    Raises:
        DataError: see `Package.get`.
    """
    return PACKAGE.get()


def read() -> Records:
    """All stamps by path, with splits drawn by caption.

    Raises:
        DataError: not fetched yet.
    """
    records = Records("tuxpaint", [], {"image": "image", "text": "text"}, licence=LICENCE)
    for item in stamps(PACKAGE.found() / "tuxpaint" / "stamps"):
        if isinstance(item, Rejected):
            records.rejected.append(item)
        else:
            records.records.append(item)
    return splits.assign(records)


def stamps(folder: Path) -> Iterator[Record | Rejected]:
    """The stamps of a folder laid out as Tux Paint's, in the order of their paths."""
    root = Root(folder)
    for place, below, files in os.walk(root.folder):
        below[:] = sorted(name for name in below if name not in _LEFT_OUT)
        for name in sorted(files):
            if name.endswith(".png") and name.removesuffix(".png") + ".txt" in files:
                yield _stamp(root, Path(place), name)


def _stamp(root: Root, place: Path, name: str) -> Record | Rejected:
    key = root.name(place / name).removesuffix(".png")
    source = Source(root.name(place / name))
    try:
        picture = root.picture(name, place)
        texts = root.texts(name.removesuffix(".png") + ".txt", place)
    except Unusable as reason:
        return Rejected(source, str(reason), key)
    caption = texts if isinstance(texts, str) else texts[0]
    return Record(key, source, {"image": picture, "text": caption}, group=caption)
