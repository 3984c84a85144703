"""A trained model for other programs: safetensors, transformers' format, or ONNX.

What was written is read back, by the other library where it is installed, and its outputs are
compared with ours on a keyed random input; a folder appears only when they are equal.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium import __version__
from sensorium.errors import RunError, UserError, unknown
from sensorium.files import sync_folder, write_new

if TYPE_CHECKING:
    from sensorium.formats._check import Check

FORMS = ("safetensors", "hf", "onnx")
FACTS = "export.json"
Progress = Callable[[str], None]


@dataclass
class Exported:
    """What was written.

    Attributes:
        folder: where.
        form: `safetensors`, `hf` or `onnx`.
        files: names and bytes.
        check: outputs compared after, a row each.
        notes: what differs from the run, or is not in the folder.
    """

    folder: Path
    form: str
    files: dict[str, int]
    check: Check
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """(what, largest absolute error, relative error) as text: the table to print."""
        return [
            (row.layer, f"{row.absolute:.1e}", f"{row.relative:.1e}") for row in self.check.rows
        ]

    def __str__(self) -> str:
        size = sum(self.files.values())
        lines = [f"{self.folder}: {len(self.files)} files, {size / 1e6:,.1f} MB", self.check.said]
        return "\n".join([*lines, *self.notes])


def export(run: Any, to: str, folder: str | Path, progress: Progress | None = None) -> Exported:
    """Writes a run's model, best weights on validation, into a new folder.

    Args:
        run: a `Run`, or a whole model that was imported.
        to: `safetensors` (weights under plain names, recipe, tokenizer), `hf` (config and weights
            in transformers' format, where it has an exact counterpart) or `onnx` (each modality to
            its vector).
        folder: new or empty.
        progress: called with one line for each thing that is done.

    Raises:
        UserError: no such form, the folder holds something, the model has no counterpart there, or
            outputs differ after. MissingExtra: the form needs a library that is absent.
        RunError: the run has not finished, or is damaged.
    """
    if to not in FORMS:
        raise unknown("form of export", to, FORMS)
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(file=folder, expected="a new or empty folder", found="one in use")
    say = progress or (lambda line: None)
    step = run.step  # what is wrong with the run is told before anything is written
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent) as aside:
        ready = Path(aside) / "ready"
        ready.mkdir()
        made = Exported(folder, to, {}, _writer(to)(run, step, ready))
        made.notes = _notes(run, to)
        made.files = {x.name: x.stat().st_size for x in sorted(ready.rglob("*")) if x.is_file()}
        say(f"{to}: {made.check.said}")
        made.check.refuse(folder)
        facts = {
            "form": to,
            "sensorium": __version__,
            "recipe": run.recipe.hash,
            "check": made.check.plain(),
            "notes": made.notes,
        }
        write_new(ready / FACTS, [json.dumps(facts, indent=1).encode()])
        sync_folder(ready)
        try:
            os.replace(ready, folder)
        except OSError as error:
            raise UserError(
                file=folder, expected="a folder that can be written",
                found=error.strerror or str(error),
            ) from None  # fmt: skip
    return made


def _writer(to: str) -> Callable[[Any, Any, Path], Check]:
    if to == "onnx":
        from sensorium.formats._onnx import write as onnx

        return onnx
    if to == "hf":
        from sensorium.formats._hf import write as hf

        return hf
    from sensorium.formats._plain import write as plain

    return plain


def _notes(run: Any, to: str) -> list[str]:
    """What of the run is not in the folder; a graph has its frozen towers in it."""
    towers = {} if to == "onnx" else run.recipe.prepare
    return [
        f"{modality}: the frozen tower {tower.get('name', tower['use'])} is not among the weights"
        for modality, tower in towers.items()
    ]
