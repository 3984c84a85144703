"""Options that several commands share, and how they are read and shown."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sensorium.errors import UserError

settings = {"quiet": False, "verbose": False}

Out = Annotated[Path | None, typer.Option(help="Directory of the run, new or empty.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print plain JSON.")]
Fields = Annotated[
    list[str] | None, typer.Option("--field", help="Overrule a type: photo=image. Repeat.")
]
RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Data = Annotated[
    str, typer.Argument(metavar="DATA", help="A data set's name, a folder, a table, tars.")
]
Shelf = Annotated[
    list[str] | None, typer.Option("--shelf", help="A package with shelves of your own. Repeat.")
]


def consoles():
    """stdout for results, stderr for progress, as `--quiet` says."""
    from sensorium import terminal

    return terminal.consoles(settings["quiet"])


def print_json(value: Any) -> None:
    """Plain JSON to stdout, in ASCII where the terminal has no more."""
    unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    print(json_module.dumps(value, ensure_ascii=not unicode, indent=1))


def fields_of(given: list[str] | None) -> dict[str, str] | None:
    """`photo=image` options as {field: modality}, or None.

    Raises:
        UserError: not of that form.
    """
    if not given:
        return None
    fields = {}
    for text in given:
        name, sign, kind = text.partition("=")
        if not (sign and name and kind):
            raise UserError("--field", expected="FIELD=MODALITY, e.g. photo=image", found=text)
        fields[name] = kind
    return fields


def add_shelves(packages: list[str] | None) -> None:
    """Puts the user's packages of shelves beside ours."""
    from sensorium import shelf

    for package in packages or []:
        shelf.add_package(package)
