"""Files fetched or computed once, kept under one folder by hash: towers, data sets, features.

The folder is `$SENSORIUM_CACHE`, else the platform's cache folder. Nothing here is needed to read
a finished run, and `sensorium cache clear` may delete all of it at any time.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from sensorium.errors import UserError, unknown

KINDS = ("towers", "datasets", "features", "worlds")


def root() -> Path:
    """The cache folder (not created here)."""
    if told := os.environ.get("SENSORIUM_CACHE"):
        return Path(told).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "sensorium"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "sensorium"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sensorium"


def folder(kind: str) -> Path:
    """The folder of one kind of cached thing (one of `KINDS`), created."""
    place = root() / kind
    place.mkdir(parents=True, exist_ok=True)
    return place


def listing() -> list[tuple[str, str, int]]:
    """What is in the cache: (kind, name, bytes), sorted. A link counts as itself."""
    found = []
    for kind in KINDS:
        place = root() / kind
        if place.is_dir() and not place.is_symlink():
            found += [(kind, entry.name, _size(entry)) for entry in sorted(place.iterdir())]
    return found


def _size(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(_size(entry) for entry in path.iterdir())


def clear(kind: str | None = None) -> int:
    """Deletes one kind of cached things, or all three; returns the bytes that were freed.

    Nothing outside `root()/{towers,datasets,features}` is touched: a folder of a kind that is a
    link is refused, and a link inside one is removed, never followed.

    Raises:
        UserError: no such kind, or its folder is a link.
    """
    if kind is not None and kind not in KINDS:
        raise unknown("kind of cached thing", kind, KINDS)
    kinds = KINDS if kind is None else (kind,)
    for one in kinds:
        if (root() / one).is_symlink():
            raise UserError(
                file=root() / one,
                expected="a folder of the cache",
                found=f"a link to {os.readlink(root() / one)}",
            )
    freed = sum(size for one, _, size in listing() if one in kinds)
    for one in kinds:
        for entry in (root() / one).iterdir() if (root() / one).is_dir() else ():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    return freed
