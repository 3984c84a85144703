"""A recipe changed: one on top of another, and `a.b.c=value` from the command line."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sensorium import shelf
from sensorium.errors import RecipeError, clip, nearest
from sensorium.recipe_yaml import plain, problem, safe_yaml


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`; mappings are merged, everything else replaced."""
    made = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(made.get(key), dict)
        # Another member has other options: keep none of the replaced one's.
        same = both and value.get("use", made[key].get("use")) == made[key].get("use")
        made[key] = merged(made[key], value) if both and same else value
    return made


def override(content: dict[str, Any], text: str, fields: Collection[str]) -> None:
    """Applies `a.b.c=value` in place; the key must exist or be an option of its member.

    Args:
        content: a recipe as plain data.
        fields: of a recipe, e.g. `optimiser`, which may be set where the content has none.

    Raises:
        RecipeError: no such key, or no YAML value; names the nearest key.
    """
    path, sign, raw = text.partition("=")
    if not sign or not path:
        raise RecipeError(expected="key.path=value", found=clip(text))
    keys = path.split(".")
    node: Any = content
    for depth, key in enumerate(keys[:-1]):
        if isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, dict) and depth == 0 and key in fields:
            node = node.setdefault(key, {})
        else:
            valid = list(fields) if depth == 0 else list(
                node if isinstance(node, dict) else map(str, range(len(node))))  # fmt: skip
            raise RecipeError(field=path, expected="one of " + ", ".join(valid), found=clip(key),
                              nearest=nearest(key, valid))  # fmt: skip
    if not isinstance(node, dict):
        raise RecipeError(field=path, expected="a key of the recipe", found=clip(text))
    from ruamel.yaml.error import YAMLError

    try:
        value = safe_yaml().load(raw)
    except (YAMLError, RecursionError) as error:
        raise RecipeError(
            field=path, expected="a YAML value", found=f"{clip(raw)}: {problem(error)}"
        ) from None
    value = plain(value, None, tuple(keys))
    kind = {"prepare": "encoders", "targets": "modalities"}.get(keys[0], keys[0])
    if keys[-1] == "use" and value != node.get("use") and value in _members(kind):
        # Another member: of the replaced one's options those stay that it has too.
        its = shelf.options(kind, value)
        for other in [other for other in node if other not in its]:
            del node[other]
    node[keys[-1]] = value


def _members(kind: str) -> list[str]:
    return shelf.names(kind) if kind in shelf.SHELVES else []
