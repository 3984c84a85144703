"""Files fetched or computed once, kept under one folder by hash: towers, data sets, features.

The folder is `$SENSORIUM_CACHE`, else the platform's cache folder. Nothing here is needed to read
a finished run, and `sensorium cache clear` may delete all of it at any time.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


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
    """The folder of one kind of cached thing (`towers`, `datasets`, `features`), created."""
    place = root() / kind
    place.mkdir(parents=True, exist_ok=True)
    return place
