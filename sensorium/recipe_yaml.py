"""Recipes as YAML: plain data read defensively, and the line where a key is written."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from sensorium.errors import RecipeError, clip, nearest

_MOST = 10_000  # values in one recipe


def safe_yaml() -> Any:
    """A reader of plain YAML: no tags that could name code."""
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True)


def read_yaml(file: Path, what: str = "recipe") -> dict[str, Any]:
    """A recipe file, or another that people write as YAML, as plain data.

    Raises:
        RecipeError: unreadable, not YAML, or no mapping; names the line where there is one.
    """
    from ruamel.yaml.error import YAMLError

    try:
        content = plain(safe_yaml().load(file.read_text(encoding="utf-8")), file)
    except OSError as error:
        near = nearest(file.name, [x.name for x in file.parent.glob("*.y*ml")])
        raise RecipeError(file=file, expected=f"a readable {what}",
                          found=error.strerror or str(error), nearest=near) from None  # fmt: skip
    except (YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        row = mark.line + 1 if mark else None
        raise RecipeError(file=file, row=row, expected="YAML", found=problem(error)) from None
    if not isinstance(content, dict):
        raise RecipeError(file=file, expected="a mapping", found=clip(content))
    return content


def problem(error: Exception) -> str:
    """What is wrong with a YAML text, in one line."""
    if isinstance(error, RecursionError):
        return "nesting that is too deep"
    return str(getattr(error, "problem", None) or error).split("\n")[0]


def plain(value: Any, file: Path | None, path: tuple[str, ...] = ()) -> Any:
    """A copy of what YAML gave, made of mappings, lists, text and numbers only.

    Raises:
        RecipeError: something else (a date, a set, bytes), or more than `_MOST` values, which a few
            lines of aliases can stand for.
    """
    count = itertools.count(1)

    def copied(value: Any, path: tuple[str, ...]) -> Any:
        if next(count) > _MOST or len(path) > 20:
            raise RecipeError(
                file=file, expected=f"at most {_MOST:,} values, 20 levels deep", found="more"
            )
        if isinstance(value, dict):
            return {str(key): copied(item, (*path, str(key))) for key, item in value.items()}
        if isinstance(value, list):
            return [copied(item, (*path, str(at))) for at, item in enumerate(value)]
        if value is None or isinstance(value, str | bool | int | float):
            return value
        raise RecipeError(
            file=file, field=".".join(path), expected="text, a number, a list or a mapping",
            found=f"{type(value).__name__} {clip(value)}: quote it to make it text",
        )  # fmt: skip

    return copied(value, path)


def line_of(file: Path | None, path: tuple[str | int, ...]) -> int | None:
    """The line of a key in a YAML file, counted from 1, or None when it is not written there."""
    if file is None or not file.exists():
        return None
    from ruamel.yaml import YAML

    node = YAML(typ="rt", pure=True).load(file.read_text(encoding="utf-8"))
    line = None
    for key in path:
        try:
            line = (node.lc.item(key) if isinstance(key, int) else node.lc.key(key))[0] + 1
            node = node[key]
        except (KeyError, IndexError, TypeError, AttributeError):
            return None  # given on the command line, not in the file
    return line
