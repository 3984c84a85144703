"""A made world: a folder of Parquet that `sensorium pretrain` reads as it is.

    OUT/train-00000.parquet ...   OUT/validation-...   OUT/test-...   OUT/unseen/test-...
    OUT/world.json   the setting, the seed, counts, bits, floors and ceilings
    OUT/README.md    the datasheet

A shard is made by one process, row group by row group, and depends on its number alone, so memory
does not grow with the number of scenes and the number of workers changes no byte. The folder is
written aside and renamed: it is whole or not there.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sensorium.errors import DataError, UserError, command, nearest
from sensorium.tables import FACT
from sensorium.world import _datasheet, _floors, _information, _sampling
from sensorium.world._setting import Setting, check

GROUP = 256  # rows of a row group: what reading one picture again costs
SHARD = 2048  # rows of a file, and the piece of work that a worker takes
LEAST = 10  # scenes: fewer do not give three splits that mean anything
SHARE = 0.1  # of the scenes for validation, for test, and as many again for unseen
SEEN = ("image", "boxes", "graph")  # what shows the scene; all else tells it, and may be wrong
Progress = Callable[[int, int], None]


def make(
    setting: Setting,
    scenes: int,
    seed: int,
    out: Path,
    workers: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Makes a world and writes it to a folder.

    Args:
        setting: what it is made of.
        scenes: of train, validation and test together; those with unseen kinds come on top.
        seed: key of every draw.
        out: a folder that is new or empty.
        workers: processes; 0 is this one.
        progress: called with (scenes made, scenes in all) now and then.

    Returns:
        What `world.json` holds.

    Raises:
        UserError: fewer than `LEAST` scenes, or `out` is not empty.
    """
    refuse(scenes, out)
    counts = split_counts(setting, scenes)
    facts = describe(setting, scenes, seed, counts)
    aside = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    try:
        aside.mkdir(parents=True)
        tasks = [
            (setting.model_dump_json(), seed, split, start, min(SHARD, count - start), str(aside))
            for split, count in counts.items()
            for start in range(0, count, SHARD)
        ]
        done, total = 0, sum(counts.values())
        for made in _run(tasks, workers):
            done += made
            if progress:
                progress(done, total)
        for name, text in (
            ("world.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n"),
            ("README.md", _datasheet.page(setting, facts)),
        ):
            (aside / name).write_text(text, encoding="utf-8")
        with suppress(FileNotFoundError):
            out.rmdir()  # an empty one
        os.replace(aside, out)
    except OSError as error:
        raise DataError(
            file=out, expected="a folder that can be written", found=error.strerror or str(error)
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return facts


def refuse(scenes: int, out: Path) -> None:
    """Raises a UserError where nothing can be made: too few scenes, or a folder in use."""
    if scenes < LEAST:
        raise UserError("--scenes", expected=f"at least {LEAST}", found=f"{scenes:,}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(
            file=out,
            expected="a new or empty folder to write the world to",
            found="something already there; nothing was overwritten",
            see=command("world", "show", out) if (out / "world.json").exists() else None,
        )


def split_counts(setting: Setting, scenes: int) -> dict[str, int]:
    """Scenes of each split."""
    held = max(3, round(SHARE * scenes))
    counts = {"train": scenes - 2 * held, "validation": held, "test": held, "unseen": held}
    return {split: counts[split] for split in setting.splits}


def describe(setting: Setting, scenes: int, seed: int, counts: dict[str, int]) -> dict[str, Any]:
    """What is true of a world before any scene of it is drawn."""
    return {
        "setting": setting.model_dump(mode="json"),
        "hash": setting.hash,
        "scenes": scenes,
        "seed": seed,
        "counts": counts,
        "bits": _information.bits(setting),
        "floors": _floors.floors(setting, counts),
        "version": version("sensorium"),
    }


def member(name: str) -> ModuleType:
    """The module of one thing that a scene can emit."""
    return import_module(f"sensorium.world.{name}")


@functools.lru_cache(maxsize=8)
def schema(setting_json: str) -> pa.Schema:
    """The columns of a setting: key, split, what its members emit, the label, the facts."""
    setting = check(json.loads(setting_json))
    columns: dict[str, pa.DataType] = {"key": pa.string(), "split": pa.string()}
    for name in setting.emit:
        columns |= member(name).columns(setting)
    columns |= dict.fromkeys(facts(setting), pa.string())
    return pa.schema(list(columns.items()))


def facts(setting: Setting) -> dict[str, str]:
    """Column -> what is known of the scene: `label`, then the factors that differ between scenes.

    A factor's column is called `fact.FACTOR`: it gives answers away, so it takes part only where
    it is named (see `tables.FACT`).
    """
    varied = [name for name, values in setting.factors.items() if len(values) > 1]
    found = {"label": "label"} if setting.label else {}
    return found | {f"{FACT}{name}": name for name in varied}


def record(setting: Setting, seed: int, split: str, at: int) -> dict[str, Any]:
    """One row: what the members emit of one scene, None where a modality is missing."""
    key = _sampling.key(setting, seed, split, at)
    scene = _sampling.scene(setting, seed, split, at)
    told = _sampling.told(setting, scene, key)
    # The kinds of `unseen` are a test: layouts know three splits.
    row: dict[str, Any] = {"key": scene.key, "split": "test" if split == "unseen" else split}
    row |= {column: scene.facts[name] for column, name in facts(setting).items()}
    present = _sampling.present(setting, key)
    for name in setting.emit:
        emitted = member(name).emit(scene if name in SEEN else told, setting, key)
        if not present.get("text" if name == "caption" else name, True):
            emitted = dict.fromkeys(emitted)
        row |= emitted
    return row


def _run(tasks: list[tuple], workers: int) -> Iterator[int]:
    """Rows made by each task, as they come."""
    if workers == 0:
        for task in tasks:
            yield _shard(*task)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for future in as_completed([pool.submit(_shard, *task) for task in tasks]):
            yield future.result()


def _shard(setting_json: str, seed: int, split: str, start: int, count: int, folder: str) -> int:
    """Writes one shard; returns its rows."""
    setting, columns = check(json.loads(setting_json)), schema(setting_json)
    place = Path(folder) / ("unseen" if split == "unseen" else "")
    place.mkdir(exist_ok=True)
    name = "test" if split == "unseen" else split
    with parquet.ParquetWriter(place / f"{name}-{start // SHARD:05d}.parquet", columns) as writer:
        for first in range(start, start + count, GROUP):
            last = min(first + GROUP, start + count)
            rows = [record(setting, seed, split, at) for at in range(first, last)]
            writer.write_table(pa.Table.from_pylist(rows, schema=columns), row_group_size=GROUP)
    return count


def read_facts(folder: Path) -> dict[str, Any]:
    """The `world.json` of a made world.

    Raises:
        DataError: there is none, or it is damaged.
    """
    file = folder / "world.json"
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        beside = [p.parent.name for p in folder.parent.glob("*/world.json")]
        raise DataError(
            f"no made world at {folder}", expected="a folder with world.json",
            found="no such folder" if not folder.exists() else "no world.json in it",
            nearest=nearest(folder.name, beside), see="sensorium world make --help",
        ) from None  # fmt: skip
    except ValueError as error:
        raise DataError(file=file, expected="JSON", found=str(error)) from None
    if not isinstance(told, dict) or "setting" not in told or "counts" not in told:
        raise DataError(file=file, expected="a made world's facts", found="something else")
    return told
