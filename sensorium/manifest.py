"""The manifest of a checkpoint: everything that is not a tensor's bytes, as JSON.

It holds the format, versions, step, recipe hash, each file's size and SHA-256, each tensor's dtype
and shape, the state with tensors by name, and last the SHA-256 of every byte before. In the state,
one-key objects stand for what JSON lacks: {"$tensor": "model/NAME"}, {"$tuple": [...]}, {"$pairs":
[[key, value], ...]} (a dict whose keys are not all plain text), {"$float": "7ff8000000000000"}
(NaN, infinities). Tensors that are one (tied weights) are stored once: both places name the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from sensorium.errors import RunError, clip

if TYPE_CHECKING:  # reading a manifest needs no torch: what is wrong with one is told at once
    import torch

FORMAT = 1
MANIFEST = "manifest.json"
MANIFEST_LIMIT = 64 << 20  # bytes; a published model's is under 2 MB
DEPTH = 64  # of nested dicts and lists in a state

CODES = {  # a torch dtype's name -> safetensors' name of it
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
FILE = re.compile(r"([a-z][a-z0-9_]{0,63})\.safetensors\Z")
_BITS = re.compile(r"[0-9a-f]{16}\Z")
_HEX = re.compile(r"[0-9a-f]{64}\Z")
_SEAL = b',\n "sha256": "'  # before the manifest's own hash, which covers every byte before this


class Damaged(RunError):
    """A checkpoint that is not whole: truncated, altered, or its manifest says what cannot be."""


def dtype(tensor: torch.Tensor) -> str:
    """A tensor's dtype by name: a key of `CODES`, or one that no file can hold."""
    return str(tensor.dtype).removeprefix("torch.")


class Packer:
    """A state as JSON, and its tensors by name "PART/NAME"."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self._names: dict[tuple, str] = {}  # where a tensor lies in memory -> its name

    def pack(self, value: object, place: tuple[str | int, ...]) -> object:
        """A value as JSON; `place` is its keys from the top.

        Raises:
            TypeError: it is none of the things that a state may hold; names the place.
        """
        import torch

        if len(place) > DEPTH:
            raise TypeError(f"{self._at(place)}: a state is at most {DEPTH} levels deep")
        if isinstance(value, torch.Tensor):
            return {"$tensor": self._name(value, place)}
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            finite = math.isfinite(value)
            return float(value) if finite else {"$float": struct.pack(">d", value).hex()}
        if isinstance(value, list):
            return [self.pack(item, (*place, at)) for at, item in enumerate(value)]
        if isinstance(value, tuple):
            return {"$tuple": [self.pack(item, (*place, at)) for at, item in enumerate(value)]}
        if isinstance(value, dict):
            for key in value:
                if type(key) not in (str, int):
                    raise TypeError(f"{self._at(place)}: expected text or int keys, found {key!r}")
            pairs = [[key, self.pack(item, (*place, key))] for key, item in value.items()]
            if all(type(key) is str and not key.startswith("$") for key in value):
                return dict(pairs)
            return {"$pairs": pairs}
        raise TypeError(
            f"{self._at(place)}: expected a tensor, dict, list, tuple, text, number, bool or None, "
            f"found {type(value).__name__}"
        )

    def _at(self, place: tuple[str | int, ...]) -> str:
        return "state " + ".".join(str(part) for part in place)

    def _name(self, tensor: torch.Tensor, place: tuple[str | int, ...]) -> str:
        import torch

        dense = tensor.layout == torch.strided and not tensor.is_quantized
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or not dense or tensor.is_meta:
            raise TypeError(
                f"{self._at(place)}: expected a dense tensor with values, found "
                f"{type(tensor).__name__} {tensor.layout} on {tensor.device}; gather it first"
            )
        if dtype(tensor) not in CODES:
            raise TypeError(
                f"{self._at(place)}: expected one of {', '.join(CODES)}, found {tensor.dtype}"
            )
        lies = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and lies in self._names:
            return self._names[lies]
        part, *rest = place
        # A lone surrogate is legal in a Python string but not in a safetensors header.
        text = ".".join(str(piece) for piece in rest).encode(errors="replace").decode() or str(part)
        name, again = f"{part}/{text}", 1
        while name in self.tensors or text == "__metadata__":
            again += 1
            text = f"{text}#{again}"
            name = f"{part}/{text}"
        self.tensors[name] = tensor
        self._names[lies] = name
        return name


def seal(manifest: dict) -> bytes:
    """A manifest's file: JSON whose last field is the SHA-256 of the bytes before it."""
    text = json.dumps(manifest, indent=1, allow_nan=False).encode().removesuffix(b"\n}")
    return text + _SEAL + hashlib.sha256(text).hexdigest().encode() + b'"\n}\n'


def read_bytes(path: Path, limit: int) -> bytes:
    """A regular file's bytes.

    Raises:
        Damaged: it is missing, a link, longer than `limit`, or the system would not read it.
    """
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            raise Damaged(file=path, expected="a regular file", found="a link, folder or device")
        if status.st_size > limit:
            raise Damaged(
                file=path, expected=f"at most {limit:,} bytes", found=f"{status.st_size:,}"
            )
        with open(path, "rb") as stream:
            return stream.read(status.st_size)
    except FileNotFoundError:
        raise Damaged("the file is missing", file=path) from None
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> Damaged:
    """The error for a file that the system would not read."""
    return Damaged(file=path, expected="a readable file", found=error.strerror or str(error))


def unseal(file: Path) -> dict:
    """The inverse of `seal`: a file's JSON object, seal included.

    Raises:
        Damaged: it is not what was written.
    """
    data = read_bytes(file, MANIFEST_LIMIT)
    body, _, seal = data.rpartition(_SEAL)
    expected = hashlib.sha256(body).hexdigest()
    if seal != expected.encode() + b'"\n}\n':
        raise Damaged(
            file=file,
            expected="a manifest that ends in its own SHA-256",
            found=f"{len(data):,} bytes that do not: truncated or altered",
        )
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Damaged(file=file, expected="JSON", found=str(error)) from None
    if type(manifest) is not dict:
        raise Damaged(file=file, expected="a JSON object", found=clip(manifest))
    return manifest


def newer(file: Path, version: object, known: int, sensorium: object) -> RunError:
    """The error for a format that only a later version reads."""
    return RunError(
        f"format {version}, written by sensorium {clip(sensorium)}",
        file=file,
        expected=f"format {known} or older",
        found=f"format {version}",
        see="pip install --upgrade sensorium",
    )


def read(file: Path) -> dict:
    """A manifest that is what was written, of a format that is known, with fields of their types.

    Raises:
        Damaged: it is not.
        RunError: its format is newer than this version reads.
    """
    manifest = unseal(file)
    version = manifest.get("format")
    if type(version) is int and version > FORMAT:
        raise newer(file, version, FORMAT, manifest.get("sensorium"))
    kinds = {
        "format": int,
        "sensorium": str,
        "step": int,
        "recipe": str,
        "files": dict,
        "tensors": dict,
        "state": dict,
    }
    for field, kind in kinds.items():
        if type(manifest.get(field)) is not kind:
            raise Damaged(
                file=file, field=field, expected=kind.__name__, found=clip(manifest.get(field))
            )
    if version != FORMAT:
        raise Damaged(file=file, field="format", expected=f"1 to {FORMAT}", found=str(version))
    for name, entry in manifest["files"].items():
        if not FILE.match(name):
            raise Damaged(file=file, field="files", expected="PART.safetensors", found=clip(name))
        whole = type(entry) is dict and type(entry.get("size")) is int
        if not whole or not _HEX.match(str(entry.get("sha256"))):
            raise Damaged(file=file, field=name, expected="size and sha256", found=clip(entry))
    for name, entry in manifest["tensors"].items():
        part = name.partition("/")[0]
        if f"{part}.safetensors" not in manifest["files"] or type(entry) is not dict:
            raise Damaged(file=file, field="tensors", expected="PART/NAME", found=clip(name))
        told = entry.get("dtype")
        if not isinstance(told, str) or told not in CODES:
            raise Damaged(
                file=file, field=name, expected="dtype " + ", ".join(CODES), found=clip(told)
            )
        shape = entry.get("shape")
        if type(shape) is not list or any(type(side) is not int or side < 0 for side in shape):
            raise Damaged(file=file, field=name, expected="a shape", found=clip(shape))
    return manifest


def unpack(value: object, tensors: dict[str, torch.Tensor], depth: int = 0) -> object:
    """The inverse of `Packer.pack`.

    Raises:
        ValueError: no state is written so.
    """
    if depth > DEPTH:
        raise ValueError(f"more than {DEPTH} levels")
    if isinstance(value, list):
        return [unpack(item, tensors, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    if not any(key.startswith("$") for key in value):
        return {key: unpack(item, tensors, depth + 1) for key, item in value.items()}
    tag, inner = next(iter(value.items()))
    if len(value) == 1 and tag == "$tensor" and isinstance(inner, str) and inner in tensors:
        return tensors[inner]
    if len(value) == 1 and tag == "$float" and _BITS.match(str(inner)):
        return struct.unpack(">d", bytes.fromhex(inner))[0]
    if len(value) == 1 and tag == "$tuple" and isinstance(inner, list):
        return tuple(unpack(item, tensors, depth + 1) for item in inner)
    if len(value) == 1 and tag == "$pairs" and isinstance(inner, list):
        pairs = {}
        for pair in inner:
            if type(pair) is not list or len(pair) != 2 or type(pair[0]) not in (str, int):
                raise ValueError(f"not a key and a value: {clip(pair)}")
            pairs[pair[0]] = unpack(pair[1], tensors, depth + 1)
        if len(pairs) == len(inner):
            return pairs
    raise ValueError(f"unknown: {clip(value)}")
