"""A model folder in transformers' format: config.json, safetensors, a model card.

Nothing in it is run and nothing is unpickled: configs are plain JSON, weights are safetensors, and
a config that names code is refused (CVE-2026-5241 was a config that overrode the caller's choice).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from sensorium.errors import MissingExtra, UserError, clip, nearest
from sensorium.files import sha256

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5", ".npz")
_LARGEST = 64 << 20  # bytes of a JSON file; a tokenizer's is the longest
# What is fetched: data only, and no second copy of the weights in another format.
FETCHED = (
    CONFIG, WEIGHTS, INDEX, "model-*.safetensors", "preprocessor_config.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "1_Pooling/config.json", "README.md",
    "LICENSE*",
)  # fmt: skip
_CODE = ("auto_map", "trust_remote_code", "custom_pipelines")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[\w./-]+)?\Z")
_HOW = (
    "where you trust the file, load it with transformers and save it again: "
    "AutoModel.from_pretrained(FOLDER).save_pretrained(NEW, safe_serialization=True)"
)


def find(source: str | Path) -> Path:
    """The folder of a source: a local directory, or `hf:NAME` (also `hf:NAME@REVISION`).

    `hf:` looks in the local cache of huggingface_hub first, and asks the network only for what is
    not there.

    Raises:
        UserError: no such folder, a pickle, a name of another form, no network.
        MissingExtra: a download is needed and huggingface_hub is not installed.
    """
    text = str(source)
    if text.startswith("hf:"):
        name = text.removeprefix("hf:")
        if not _REPOSITORY.match(name) or ".." in name:
            raise UserError(
                f"no model is called {clip(text)}",
                expected="hf:NAME or hf:OWNER/NAME",
                found=clip(name),
            )
        return _cached(name) or _downloaded(name)
    folder = Path(source).expanduser()
    if folder.is_file():
        if folder.suffix.lower() in PICKLES:
            raise pickled(folder)
        folder = folder.parent
    if not folder.is_dir():
        parent = folder.parent
        names = [x.name for x in parent.iterdir()] if parent.is_dir() else []
        raise UserError(
            file=source,
            expected="a folder with config.json and model.safetensors, or hf:NAME",
            found="nothing there",
            nearest=nearest(folder.name, names),
        )
    return folder


def pickled(file: Path) -> UserError:
    """The refusal of a checkpoint that would have to be unpickled, with the way to convert it."""
    return UserError(
        f"{file.name} is not read: opening such a file can run code that it carries",
        file=file,
        expected="safetensors",
        found=file.suffix,
        see=_HOW,
    )


def _hub() -> Path:
    """The cache folder of huggingface_hub."""
    if told := os.environ.get("HF_HUB_CACHE"):
        return Path(told).expanduser()
    home = (
        os.environ.get("HF_HOME")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    )
    return Path(home).expanduser() / "hub"


def _cached(name: str) -> Path | None:
    """The whole snapshot of a repository in the local cache, or None."""
    repository, _, revision = name.partition("@")
    place = _hub() / ("models--" + repository.replace("/", "--"))
    try:
        commit = (place / "refs" / (revision or "main")).read_text().strip()
    except OSError:
        commit = revision
    folder = place / "snapshots" / commit if commit else None
    if folder is None or not (folder / CONFIG).is_file():
        return None
    return folder if any((folder / x).is_file() for x in (WEIGHTS, INDEX)) else None


def _downloaded(name: str) -> Path:
    repository, _, revision = name.partition("@")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtra(
            f"hf:{name} is not in the local cache, and downloading", "huggingface_hub", "hf"
        ) from None
    try:
        return Path(
            snapshot_download(repository, revision=revision or None, allow_patterns=list(FETCHED))
        )
    except Exception as error:  # of many kinds: no network, no such repository, a gate, a full disk
        lines = [x.strip() for x in str(error).splitlines() if x.strip()]
        raise UserError(
            f"hf:{name} is not in the local cache and could not be downloaded",
            expected=f"a repository that can be reached, or a copy below {_hub()}",
            found=f"{type(error).__name__}: {clip(lines[0] if lines else '', 200)}",
            see="a local folder that transformers' save_pretrained wrote can be named instead",
        ) from None


def read_json(file: Path) -> dict[str, Any]:
    """A JSON mapping that names no code.

    Raises:
        UserError: unreadable, no JSON, no mapping, or it names code.
    """
    try:
        if file.stat().st_size > _LARGEST:
            raise UserError(file=file, expected=f"at most {_LARGEST >> 20} MiB", found="more")
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise UserError(
            file=file, expected="a readable file", found=error.strerror or str(error)
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(file=file, expected="JSON", found=clip(str(error))) from None
    if not isinstance(content, dict):
        raise UserError(file=file, expected="a mapping", found=clip(content))
    for key in _CODE:
        if content.get(key):
            raise UserError(
                file=file,
                field=key,
                expected="a model that needs no code of its own",
                found=clip(content[key]),
                see="remove the key where the model is one of ours: its code is never read",
            )
    return content


class Weights:
    """The weights of a folder, one file or several with an index; tensors are read one by one.

    Attributes:
        shapes: name -> shape. Old names of norms (`gamma`, `beta`) are told as the new ones.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._from: dict[str, tuple[Path, str]] = {}
        self.files = self._files()
        for file in self.files:
            try:
                with safe_open(file, "pt") as opened:
                    for name in opened.keys():  # noqa: SIM118  # it is no mapping
                        self._add(name, tuple(opened.get_slice(name).get_shape()), file)
            except (SafetensorError, OSError) as error:
                raise UserError(file=file, expected="safetensors", found=clip(str(error))) from None

    def _add(self, name: str, shape: tuple[int, ...], file: Path) -> None:
        new = re.sub(r"(?<=LayerNorm\.)gamma$", "weight", name)
        new = re.sub(r"(?<=LayerNorm\.)beta$", "bias", new)
        if new in self.shapes:
            raise UserError(f"weight {new} is there twice", file=file)
        self.shapes[new], self._from[new] = shape, (file, name)

    def _files(self) -> list[Path]:
        if (self.folder / WEIGHTS).is_file():
            return [self.folder / WEIGHTS]
        if (self.folder / INDEX).is_file():
            return self._listed(self.folder / INDEX)
        for file in sorted(self.folder.iterdir()):
            if file.suffix.lower() in PICKLES and file.name != "training_args.bin":
                raise pickled(file)
        raise UserError(
            file=self.folder, expected=f"{WEIGHTS}, or {INDEX} with its parts", found="neither"
        )

    def _listed(self, index: Path) -> list[Path]:
        told = read_json(index).get("weight_map")
        names = sorted(set(told.values())) if isinstance(told, dict) else []
        for name in names:
            if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+\.safetensors", name):
                raise UserError(
                    file=index, field="weight_map", expected="names like model-00001-of-00002"
                    ".safetensors in the same folder", found=clip(name))  # fmt: skip
            if not (self.folder / name).is_file():
                raise UserError(file=self.folder / name, expected=f"a file, as {INDEX} says",
                                found="nothing there")  # fmt: skip
        if not names:
            raise UserError(file=index, field="weight_map", expected="names", found=clip(told))
        return [self.folder / name for name in names]

    def tensor(self, name: str) -> torch.Tensor:
        """One weight, float32 where it is floating point."""
        file, theirs = self._from[name]
        with safe_open(file, "pt") as opened:
            value = opened.get_tensor(theirs)
        return value.float() if value.is_floating_point() else value

    def hash(self) -> str:
        """SHA-256 over the files of the weights, in the order of their names."""
        state = hashlib.sha256()
        for file in self.files:
            state.update(sha256(file).encode())
        return state.hexdigest()


def licence(folder: Path) -> str:
    """What the model card's front matter says (`license:`), else the first line of a LICENSE file,
    else `not stated`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    card = folder / "README.md"
    if card.is_file():
        text = card.read_text("utf-8", errors="replace")[:100_000]
        found = re.match(r"\s*---\n(.*?)\n---", text, re.S)
        try:
            front = YAML(typ="safe", pure=True).load(found[1]) if found else None
        except YAMLError:
            front = None
        if isinstance(front, dict) and front.get("license"):
            told = front["license"]
            told = ", ".join(map(str, told)) if isinstance(told, list) else str(told)
            name = front.get("license_name")
            return f"{told} ({name})" if name else told
    for file in sorted(folder.glob("LICENSE*")):
        lines = [x.strip() for x in file.read_text("utf-8", errors="replace").splitlines()]
        for line in lines:
            if line:
                return line[:200]
    return "not stated"
