"""Commands as people type them, run in this process, and places to run them in."""

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import TINY
from miniature import csv_of, pictures

from sensorium import cli, manifest


@dataclass(frozen=True)
class Told:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """Both outputs on one line: where a line was wrapped does not matter."""
        return " ".join((self.out + self.err).split())


def sensorium(*arguments: object) -> Told:
    """Runs a command in this process. A traceback would be an exception here."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main([str(x) for x in arguments])
            code = 0
        except SystemExit as end:
            code = end.code or 0
    return Told(code, out.getvalue(), err.getvalue())


def tree(folder: Path) -> dict[str, str]:
    """Every file and link below a folder with its content's hash; the mark of a claim left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = os.readlink(path)
        elif path.is_file() and path.name != ".claim.lock":
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


class Place:
    """The folder a mistake is made in, and what it takes to make one."""

    def __init__(
        self,
        folder: Path,
        indexed: Callable[[], Path],
        patch: pytest.MonkeyPatch | None = None,
        after: contextlib.ExitStack | None = None,
    ) -> None:
        self.folder, self.indexed, self.patch, self.after = folder, indexed, patch, after

    def write(self, name: str, text: str | bytes) -> str:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return name

    def folder_of(self, count: int, name: str = "photos") -> Path:
        """Pictures, each with its own caption."""
        for number, file in enumerate(pictures(self.folder / name, count)):
            (self.folder / name / file).with_suffix(".txt").write_text(f"thing {number}")
        return self.folder / name

    def table(self, **rows: dict[str, str]) -> Path:
        """captions.csv with 20 good rows; changes are row_3={column: cell}."""
        names = pictures(self.folder, 20)
        cells = [
            {"id": f"k{at}", "photo": name, "title": f"thing {at}"} for at, name in enumerate(names)
        ]
        for row, changes in rows.items():
            cells[int(row.removeprefix("row_")) - 1].update(changes)
        return csv_of(self.folder / "captions.csv", cells)

    def run(self) -> Path:
        """runs/mine: finished and indexed."""
        shutil.copytree(self.indexed(), self.folder / "runs" / "mine")
        return self.folder / "runs" / "mine"

    def edit_run(self, **changes: object) -> str:
        """A run whose run.json says something else; None takes a field out."""
        file = self.run() / "run.json"
        info = json.loads(file.read_text()) | changes
        file.write_text(json.dumps({k: v for k, v in info.items() if v is not None}))
        return "runs/mine"

    def reseal(self, pattern: str, change: Callable[[dict], object]) -> str:
        """A run with one manifest rewritten, its own hash made right."""
        for file in self.run().glob(pattern):
            facts = manifest.unseal(file)
            del facts["sha256"]
            change(facts)
            file.write_bytes(manifest.seal(facts))
        return "runs/mine"


def pretrain(data: object, *more: object) -> list:
    return ["pretrain", data, "--recipe", "clip", "--budget", "2-steps", "--out", "run",
            *more, *TINY]  # fmt: skip
