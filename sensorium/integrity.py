"""The files that a run reads again are those that it wrote: their SHA-256 stand in run.json.

Checkpoints and the index seal themselves. Of what else decides an answer, `run.json` holds the
hashes under `sha256`: `modalities/` and, of a fine-tuned run, `source/` without its checkpoints. A
run of a version before these hashes has none and is read as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sensorium import files
from sensorium.errors import RunError, clip

FIELD = "sha256"  # of run.json
AGAIN = "put back a copy of the file, or train the run again"


def hashes(folder: Path, *parts: str) -> dict[str, str]:
    """SHA-256 of every file below some folders of a run, by its path in the run; checkpoints,
    which verify themselves, are left out."""
    return {
        file.relative_to(folder).as_posix(): files.sha256(file)
        for part in parts
        for file in sorted((folder / part).rglob("*"))
        if file.is_file() and "checkpoints" not in file.relative_to(folder).parts
    }


def check(folder: Path, info: Mapping[str, Any], part: str) -> None:
    """Compares the files below one folder of a run with what was written.

    Args:
        folder: the run's.
        info: its run.json.
        part: `modalities`, `modalities/text`, `source`.

    Raises:
        RunError: a file is gone or is another; names the first.
    """
    known = info.get(FIELD, {})
    if not isinstance(known, dict):
        raise RunError(file=folder / "run.json", field=FIELD, expected="the hashes of files",
                       found=clip(known), see=AGAIN)  # fmt: skip
    for name, expected in known.items():
        file = folder / name
        if not name.startswith(f"{part}/"):
            continue
        try:
            found = f"SHA-256 {files.sha256(file)}" if file.is_file() else "nothing"
        except OSError as error:
            found = error.strerror or str(error)
        if found != f"SHA-256 {expected}":
            raise RunError("damaged or altered", file=file, expected=f"SHA-256 {expected}",
                           found=found, see=AGAIN)  # fmt: skip


def read_json(file: Path, what: str, kind: type = dict) -> Any:
    """What one of a run's JSON files holds: an object, or another `kind`.

    Raises:
        RunError: it is missing, unreadable, or something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        found = error.strerror or str(error)
        raise RunError(file=file, expected=what, found=found, see=AGAIN) from None
    except (ValueError, RecursionError) as error:
        raise RunError(file=file, expected=what, found=clip(str(error)), see=AGAIN) from None
    if not isinstance(content, kind):
        raise RunError(file=file, expected=what, found=clip(content), see=AGAIN)
    return content
