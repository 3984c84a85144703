"""A model's config.json, read key by key: what our modules cannot express is named by its key.

Files leave out what equals the library's defaults, so each format states those defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sensorium.errors import UserError, clip, nearest

# Their names of activations that ours compute, to the last bit or within float32's rounding.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "quick_gelu": "quick_gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
# Ours -> the name that is written on export.
WRITTEN = {"gelu": "gelu", "quick_gelu": "quick_gelu", "gelu_tanh": "gelu_pytorch_tanh"}


class Config:
    """One level of a config: its own values over the defaults of its kind.

    Args:
        content: what the file says.
        defaults: what it means where it says nothing.
        file: for errors.
        path: dotted place of this level within the file.
    """

    def __init__(
        self, content: Mapping[str, Any], defaults: Mapping[str, Any], file: Path, path: str = ""
    ) -> None:
        self.file, self.path = file, path
        self.content = dict(defaults) | {k: v for k, v in content.items() if k not in _SUB}
        self._below = {key: content.get(key) or {} for key in _SUB}

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    def below(self, key: str, defaults: Mapping[str, Any]) -> Config:
        """A level within this one, e.g. `text_config`.

        Raises:
            UserError: it is no mapping.
        """
        content = self._below[key]
        if not isinstance(content, dict):
            raise self.wrong(key, "a mapping", content)
        return Config(content, defaults, self.file, f"{self.path}{key}.")

    def wrong(self, key: str, expected: str, found: object, near: str | None = None) -> UserError:
        """The error about one key."""
        return UserError(
            file=self.file,
            field=self.path + key,
            expected=expected,
            found=clip(found),
            nearest=near,
        )

    def count(self, key: str, least: int = 1, most: int = 1_000_000) -> int:
        """A whole number within bounds.

        Raises:
            UserError: it is none.
        """
        value = self.content.get(key)
        if isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]:
            value = value[0]  # both sides of a square
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(key, f"a whole number from {least:,} to {most:,}", value)
        return value

    def eps(self, key: str = "layer_norm_eps", only: float | None = None) -> float:
        """What is added to a norm's variance; `only` is the one value that our module has.

        Raises:
            UserError: it is no number in (0, 0.1], or not that one.
        """
        value: Any = self.content.get(key)
        if type(value) not in (int, float) or not 0 < value <= 0.1:
            raise self.wrong(key, "a number above 0, at most 0.1", value)
        if only is not None and value != only:
            raise self.wrong(key, f"{only}, the only one that our module has", value)
        return float(value)

    def activation(self, key: str = "hidden_act", only: str | None = None) -> str:
        """Our name of an activation; `only` is the one that our module has.

        Raises:
            UserError: ours compute no such activation.
        """
        value = self.content.get(key)
        known = [x for x, ours in ACTIVATIONS.items() if only in (None, ours)]
        if not isinstance(value, str) or value not in known:
            raise self.wrong(key, "one of " + ", ".join(known), value, nearest(str(value), known))
        return ACTIVATIONS[value]

    def must(self, key: str, *allowed: Any) -> Any:
        """A value that is one of those our modules express.

        Raises:
            UserError: it is another.
        """
        value = self.content.get(key, allowed[0])
        if not any(value == x and type(value) is type(x) for x in allowed):
            raise self.wrong(key, " or ".join(repr(x) for x in allowed), value)
        return value

    def block(
        self,
        width: str = "hidden_size",
        depth: str = "num_hidden_layers",
        heads: str = "num_attention_heads",
        hidden: str = "intermediate_size",
    ) -> dict[str, Any]:
        """Options width, depth, heads, mlp of our transformers.

        Raises:
            UserError: a size is no positive number, or the width is no multiple of the heads.
        """
        d, n = self.count(width), self.count(heads)
        if d % n:
            raise self.wrong(heads, f"a divisor of {self.path}{width}, {d}", n)
        return dict(width=d, depth=self.count(depth), heads=n, mlp=self.count(hidden) / d)


_SUB = (
    "text_config",
    "vision_config",
    "image_config",
    "multimodal_config",
    "image_codebook_config",
)
