"""Checkpoints: safetensors with a JSON manifest, whole or not there. No pickle anywhere.

    checkpoints/step-00001234/model.safetensors       tensors of state["model"]
    checkpoints/step-00001234/optimiser.safetensors   one file per top-level part with tensors
    checkpoints/step-00001234/manifest.json           everything else; written last

Tensors that are one (tied weights) are stored once; `manifest.py` says how.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

import sensorium
from sensorium import files, manifest
from sensorium.errors import RunError, clip, nearest
from sensorium.manifest import Damaged

HEADER_LIMIT = 100_000_000  # bytes; safetensors reads no longer header
NEWEST = 2  # one to fall back to if the newest is damaged

_PART = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_FOLDER = re.compile(r"step-([0-9]{8,18})(\.old-[0-9a-f]{8})?\Z")
_ASIDE = re.compile(r"\.step-[0-9]{8,18}\.[0-9a-f]{8}\.tmp\Z")


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint; tensors are on the CPU. `skipped` are newer ones that are damaged."""

    path: Path
    step: int
    state: dict
    recipe_hash: str
    skipped: tuple[Damaged, ...] = ()


# Writing


def _plan(tensors: dict[str, torch.Tensor]) -> tuple[bytes, list[torch.Tensor], int]:
    """The header of a safetensors file, the tensors in the file's order, the file's size.

    The format (https://github.com/huggingface/safetensors#format): 8 bytes header length, a JSON
    header, the data without gaps, wider dtypes first so that every tensor is aligned. Written here
    and not by the library to stream: its `save` holds the model in memory twice more.
    """
    order = sorted(tensors, key=lambda name: -tensors[name].element_size())
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": manifest.CODES[manifest.dtype(tensor)],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > HEADER_LIMIT:
        raise ValueError(f"{len(tensors):,} tensors are more than one safetensors file can hold")
    text = len(text).to_bytes(8, "little") + text
    return text, [tensors[name] for name in order], len(text) + end


def _chunks(header: bytes, tensors: list[torch.Tensor]) -> Iterator[bytes | memoryview]:
    yield header
    for tensor in tensors:
        if tensor.numel():
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            yield flat.view(torch.uint8).numpy().data


def save(
    folder: Path, step: int, state: dict, recipe_hash: str, keep: set[int] | int = NEWEST
) -> Path:
    """Writes `folder/step-XXXXXXXX`, verifies it by reading it back, then prunes older ones.

    The caller holds the run (`files.claim`). A checkpoint of the same step is replaced.

    Args:
        state: nested dicts (text or int keys), lists and tuples of dense tensors, text, numbers,
            bools and None, e.g. {"model": ..., "optimiser": ..., "objectives": ..., "progress":
            ...}; top-level keys are lower-case identifiers. Nothing about strides or
            requires_grad is kept; views that overlap without being equal are stored apart.
        keep: how many of the newest to keep, this one included; or steps to keep (e.g. the best)
            besides the newest two. Newer checkpoints and damaged ones are never pruned.

    Raises:
        RunError: it could not be written or did not read back; names the file and bytes. The
            checkpoints before are as they were.
        TypeError, ValueError: the state holds something else; names the place; nothing written.
    """
    folder = Path(folder)
    newest, pinned = (NEWEST, keep) if isinstance(keep, set) else (keep, set())
    if newest < 1 or not 0 <= step < 10**18:
        raise ValueError(f"expected keep >= 1 and step >= 0, found keep {keep} and step {step}")
    if bad := [part for part in state if not (isinstance(part, str) and _PART.match(part))]:
        raise ValueError(f"top-level keys of a state are lower-case identifiers, found {bad[0]!r}")
    packer = manifest.Packer()
    tree = {part: packer.pack(value, (part,)) for part, value in state.items()}
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in packer.tensors.items():
        part, _, text = name.partition("/")
        parts.setdefault(part, {})[text] = tensor
    plans = {f"{part}.safetensors": _plan(tensors) for part, tensors in parts.items()}
    facts: dict = {
        "format": manifest.FORMAT,
        "sensorium": sensorium.__version__,
        "step": step,
        "recipe": recipe_hash,
        "files": {},
        "tensors": {
            name: {"dtype": manifest.dtype(t), "shape": list(t.shape)}
            for name, t in packer.tensors.items()
        },
        "state": tree,
    }
    manifest.seal(facts)  # what is not JSON is found before anything is written

    final = folder / f"step-{step:08d}"
    aside = folder / f".{final.name}.{secrets.token_hex(4)}.tmp"
    target, size = final, sum(size for _, _, size in plans.values())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        aside.mkdir()
        for file, (header, tensors, size) in plans.items():  # noqa: B007 - for the error
            target = final / file
            found, digest = files.write_new(aside / file, _chunks(header, tensors))
            facts["files"][file] = {"size": found, "sha256": digest}
        sealed = manifest.seal(facts)
        target, size = final / manifest.MANIFEST, len(sealed)
        files.write_new(aside / manifest.MANIFEST, [sealed])
        target, size = final, sum(size for _, _, size in plans.values()) + len(sealed)
        files.sync_folder(aside)
        if final.exists():  # no portable call swaps two folders; `load` finds the old by this name
            os.replace(final, folder / f"{final.name}.old-{secrets.token_hex(4)}")
        os.replace(aside, final)
        files.sync_folder(folder)
    except OSError as error:
        _delete(aside)
        raise files.unwritable(target, size, error, old="checkpoint") from None
    except BaseException:  # an interrupt; also a tensor that could not be copied from its device
        _delete(aside)
        raise
    try:
        _verify(final)
    except Damaged as error:
        raise RunError(
            f"written, but it did not read back ({'; '.join(error.lines)}); the last good "
            "checkpoint still holds",
            file=final,
        ) from None
    try:
        _prune(final, step, newest, pinned)
    except (RunError, OSError) as error:
        _warn(folder, error)
    return final


def _warn(path: Path, error: Exception) -> None:
    # The new checkpoint is safe and the next save tries again: no reason to stop a run.
    warnings.warn(f"old checkpoints in {path} could not all be deleted: {error}", stacklevel=3)


def _delete(folder: Path) -> None:
    """Deletes a folder that holds nothing but a checkpoint's files; leaves any other."""
    try:
        if os.path.lexists(folder) and _only_ours(folder):
            for file in list(folder.iterdir()):
                file.unlink()
            folder.rmdir()
    except OSError as error:
        _warn(folder, error)


def _only_ours(folder: Path) -> bool:
    """Whether a real folder holds only regular files with a checkpoint's names."""
    if not stat.S_ISDIR(os.lstat(folder).st_mode):
        return False
    return all(
        stat.S_ISREG(os.lstat(file).st_mode)
        and (file.name == manifest.MANIFEST or manifest.FILE.match(file.name))
        for file in folder.iterdir()
    )


def _sweep(folder: Path) -> None:
    """Deletes what killed writers left aside."""
    for path in list(folder.iterdir()):
        if _ASIDE.match(path.name):
            _delete(path)


def _prune(final: Path, step: int, newest: int, pinned: set[int]) -> None:
    """Deletes whole checkpoints before `final` that are not to be kept."""
    kept: set[int] = set()
    for at, path in _found(final.parent):
        if at > step:
            continue
        if path == final:
            kept.add(at)
            continue
        try:
            sizes = {name: entry["size"] for name, entry in _manifest(path)["files"].items()}
            ours = _only_ours(path)
            whole = all((path / name).stat().st_size == size for name, size in sizes.items())
        except (RunError, OSError):
            continue  # perhaps not a checkpoint at all
        if not whole:
            continue
        if at not in kept and (len(kept) < newest or at in pinned):
            kept.add(at)
        elif ours:
            aside = path.with_name(f".step-{at:08d}.{secrets.token_hex(4)}.tmp")
            os.replace(path, aside)  # a kill in the middle must not leave half a checkpoint
            _delete(aside)


# Reading


def _found(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) of what may be checkpoints, newest first; a replaced one after its successor.

    Raises:
        RunError: the folder cannot be read. A missing one has no checkpoints.
    """
    found = []
    try:
        for path in Path(folder).iterdir():
            named = _FOLDER.match(path.name)
            if named and path.name.startswith(f"step-{int(named[1]):08d}") and path.is_dir():
                found.append((int(named[1]), path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(
            file=folder, expected="a readable folder", found=error.strerror or str(error)
        ) from None
    return sorted(found, key=lambda pair: (-pair[0], pair[1].name))


def steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, oldest first; whether they are whole is unread."""
    return sorted({step for step, _ in _found(folder)})


def _manifest(path: Path) -> dict:
    """A folder's manifest, which is of the folder's step.

    Raises:
        Damaged, RunError: as `manifest.read`.
    """
    facts, named = manifest.read(path / manifest.MANIFEST), _FOLDER.match(path.name)
    if named and int(named[1]) != facts["step"]:
        raise Damaged(
            file=path / manifest.MANIFEST,
            field="step",
            expected=str(int(named[1])),
            found=clip(facts["step"]),
        )
    return facts


def _verify(path: Path) -> dict:
    """The manifest of a checkpoint whose files are all as it says. Reads them in pieces.

    Raises:
        Damaged: names the file, the bytes or hash expected, and what was found.
        RunError: a newer format.
    """
    facts = _manifest(path)
    for name, entry in facts["files"].items():
        file = path / name
        try:
            status = os.lstat(file)
            size, regular = status.st_size, stat.S_ISREG(status.st_mode)
            # Size first: a manifest cannot make us read more than the file it describes.
            digest = files.sha256(file) if regular and size == entry["size"] else None
        except FileNotFoundError:
            raise Damaged("the file is missing", file=file) from None
        except OSError as error:
            raise manifest.unreadable(file, error) from None
        if not regular:
            raise Damaged(file=file, expected="a regular file", found="a link, folder or device")
        if size != entry["size"]:
            raise Damaged(
                "truncated" if size < entry["size"] else "altered",
                file=file,
                expected=f"{entry['size']:,} bytes",
                found=f"{size:,} bytes",
            )
        if digest != entry["sha256"]:
            raise Damaged(
                "altered", file=file, expected=f"SHA-256 {entry['sha256']}", found=f"{digest}"
            )
    return facts


def _read_tensors(path: Path, facts: dict) -> dict[str, torch.Tensor]:
    """The tensors by "PART/NAME", each with its own memory, as the manifest describes them."""
    tensors = {}
    for name, entry in facts["files"].items():
        data = manifest.read_bytes(path / name, entry["size"])
        try:
            read = safetensors.torch.load(data)
        except Exception as error:  # a lying header fails in as many ways as there are lies
            raise Damaged(
                file=path / name, expected="safetensors", found=f"{type(error).__name__}: {error}"
            ) from None
        tensors.update({f"{name.removesuffix('.safetensors')}/{k}": t for k, t in read.items()})
    for name in sorted(tensors.keys() ^ facts["tensors"].keys()):
        where = "a file but not in the manifest" if name in tensors else "the manifest but no file"
        raise Damaged(f"tensor {clip(name)} is in {where}", file=path)
    for name, entry in facts["tensors"].items():
        expected = f"{entry['shape']} torch.{entry['dtype']}"
        found = f"{list(tensors[name].shape)} {tensors[name].dtype}"
        if found != expected:
            raise Damaged(f"tensor {clip(name)}", file=path, expected=expected, found=found)
    return tensors


def _load_one(path: Path, recipe_hash: str | None) -> Checkpoint:
    facts = _verify(path)
    if recipe_hash is not None and facts["recipe"] != recipe_hash:
        raise RunError(
            "a checkpoint of another recipe",
            file=path,
            expected=f"recipe {recipe_hash!r}",
            found=f"recipe {clip(facts['recipe'])}",
        )
    tensors = _read_tensors(path, facts)
    try:
        state = manifest.unpack(facts["state"], tensors)
    except (ValueError, RecursionError) as error:
        raise Damaged(str(error), file=path / manifest.MANIFEST, field="state") from None
    if not isinstance(state, dict):
        raise Damaged(
            file=path / manifest.MANIFEST, field="state", expected="parts", found=clip(state)
        )
    return Checkpoint(path, facts["step"], state, facts["recipe"])


def load(folder: Path, step: int | None = None, recipe_hash: str | None = None) -> Checkpoint:
    """The checkpoint of a step, or the newest whole one: damaged newer ones are in `skipped`.

    Everything is verified before it is used; memory is bounded by the size of the files and of
    the largest once more.
    Tensors are on the CPU, contiguous; those stored once are one tensor in the state.

    Raises:
        RunError: there is none, or none is whole (each is named with its reason); it is of another
            recipe than `recipe_hash` (both are named); its format is newer. The last two do not
            fall back to an older one.
        Damaged: a RunError; the one asked for by `step` is not whole.
    """
    found = _found(folder)
    if step is not None:
        known, found = found, [pair for pair in found if pair[0] == step]
        if not found:
            raise RunError(
                f"no checkpoint of step {step}",
                file=folder,
                expected="one of " + ", ".join(str(at) for at in steps(folder)) if known else None,
                nearest=nearest(str(step), [str(at) for at, _ in known]),
            )
    if not found:
        raise RunError("no checkpoint", file=folder)
    damaged: list[Damaged] = []
    for _, path in found:
        try:
            loaded = _load_one(path, recipe_hash)
        except Damaged as error:
            damaged.append(error)
        else:
            return Checkpoint(
                loaded.path, loaded.step, loaded.state, loaded.recipe_hash, tuple(damaged)
            )
    if len(damaged) == 1:
        raise damaged[0]
    raise RunError(
        "no whole checkpoint:\n" + "\n".join("; ".join(error.lines) for error in damaged),
        file=folder,
    )
