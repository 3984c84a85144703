"""The folder is the registry: `objectives/contrastive.py` is the objective called `contrastive`.

Listing a shelf reads file names and imports nothing, so a missing optional library hurts only the
component that needs it. A name is a plain identifier on our own shelves: a recipe from a stranger
cannot name code to import. A user's own components enter by `add_package("my_package")` (the
option `--shelf my_package`), whose folders have the same names as ours.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from sensorium.errors import RecipeError, UserError, nearest, unknown

SHELVES = (
    "layouts",
    "datasets",
    "modalities",
    "edits",
    "encoders",
    "fusion",
    "objectives",
    "recipes",
    "tasks",
    "formats",
    "world",
)
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_packages: list[str] = ["sensorium"]


def add_package(package: str) -> None:
    """Put a user's installed package of shelves beside ours. Ours win where names are equal.

    Raises:
        UserError: no such package, or none of its folders is a shelf.
    """
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # its parent is missing, or broken; or it is no name
        spec = None
    if spec is None:
        raise UserError(
            f"no package called {package!r}",
            expected="an importable package, e.g. a folder with __init__.py on PYTHONPATH",
            nearest=nearest(package, [module.name for module in pkgutil.iter_modules()]),
        )
    places = [Path(place) for place in spec.submodule_search_locations or []]
    if not any((place / shelf).is_dir() for place in places for shelf in SHELVES):
        raise UserError(
            f"package {package}",
            expected="a folder for each of its shelves, called " + ", ".join(SHELVES),
            found="none of them",
        )
    if package not in _packages:
        _packages.append(package)


def _folders(shelf: str) -> list[tuple[str, Path]]:
    if shelf not in SHELVES:
        raise unknown("shelf", shelf, SHELVES)
    found = []
    for package in _packages:
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or []) if spec else []:
            folder = Path(place) / shelf
            if folder.is_dir():
                found.append((package, folder))
    return found


def names(shelf: str) -> list[str]:
    """The members of a shelf, sorted. Imports nothing."""
    suffix = ".yaml" if shelf == "recipes" else ".py"
    return sorted(
        {
            file.stem
            for _, folder in _folders(shelf)
            for file in folder.glob(f"*{suffix}")
            if not file.stem.startswith("_")
        }
    )


def load(shelf: str, name: str) -> ModuleType:
    """The module of one member.

    Raises:
        RecipeError: the name is not on the shelf; names the nearest that is.
    """
    if not _NAME.match(name) or name not in names(shelf):
        raise unknown(shelf.rstrip("s"), name, names(shelf), RecipeError)
    for package, folder in _folders(shelf):
        if (folder / f"{name}.py").exists():
            return importlib.import_module(f"{package}.{shelf}.{name}")
    raise AssertionError(f"{shelf}/{name} was listed but has no file")


def path(shelf: str, name: str) -> Path:
    """The file of one member (recipes are YAML).

    Raises:
        RecipeError: the name is not on the shelf; names the nearest that is.
    """
    if _NAME.match(name):
        for _, folder in _folders(shelf):
            for suffix in (".yaml", ".py"):
                if (folder / f"{name}{suffix}").exists():
                    return folder / f"{name}{suffix}"
    raise unknown(shelf.rstrip("s"), name, names(shelf), RecipeError)


@functools.cache
def options(shelf: str, name: str) -> dict[str, str]:
    """The options of a member's `Spec`: name -> the type as written. Imports nothing.

    Read from the source, so that a misspelt option is answered without loading torch; the values
    are checked by the `Spec` itself when the member is built.

    Raises:
        RecipeError: the name is not on the shelf; names the nearest that is.
    """
    return {
        item.target.id: ast.unparse(item.annotation)
        for item in _spec(shelf, name).body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }


@functools.cache
def defaults(shelf: str, name: str) -> dict[str, Any]:
    """The options of a member's `Spec` that have a default written out: name -> that default.

    Read from the source, as `options`; a default that is computed is left out.

    Raises:
        RecipeError: the name is not on the shelf; names the nearest that is.
    """
    body = _spec(shelf, name).body
    found = {}
    for item in body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        value = item.value
        if isinstance(value, ast.Call):
            named = [x.value for x in value.keywords if x.arg == "default"]
            value = next(iter([*value.args, *named]), None)
        with contextlib.suppress(ValueError):
            if value is not None:
                found[item.target.id] = ast.literal_eval(value)
    return found


def _spec(shelf: str, name: str) -> ast.ClassDef:
    """The source of a member's `Spec`."""
    tree = ast.parse(path(shelf, name).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Spec":
            return node
    raise TypeError(f"{shelf}/{name}.py: expected a class Spec")


def summary(shelf: str, name: str) -> str:
    """A member's `SUMMARY` line, or the first line of its docstring. Imports nothing."""
    tree = ast.parse(path(shelf, name).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "SUMMARY":
            return str(ast.literal_eval(node.value))
    return (ast.get_docstring(tree) or "").split("\n")[0]
