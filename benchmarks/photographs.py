"""How long until a first number on 1,000 photographs of 12 megapixels, from a cold cache.

    python -m benchmarks.photographs [COUNT] [FOLDER]

The pictures are made: 24 smooth noisy scenes of 4,000 x 3,000 pixels as JPEG (about 3 MB each, the
size a telephone writes), told apart by trailing bytes, so each is decoded on its own. What is timed
is `sensorium pretrain FOLDER --budget 2min` as a user runs it, with an empty feature cache.
"""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.machine import write_result
from sensorium import cache

SCENES, SIZE = 24, (4000, 3000)
WORDS = ("harbour", "meadow", "street", "kitchen", "mountain", "market", "bridge", "garden")


def scene(number: int) -> bytes:
    """One made photograph: large shapes, fine texture, as many bytes as a real one."""
    rng = np.random.default_rng(number)
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    wide = np.asarray(small.resize(SIZE, Image.Resampling.BICUBIC)).astype(np.int16)
    grain = rng.normal(0, 6, (SIZE[1] // 2, SIZE[0] // 2, 1)).repeat(2, 0).repeat(2, 1)
    picture = Image.fromarray(np.clip(wide + grain, 0, 255).astype(np.uint8))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=88)
    return stream.getvalue()


def make(folder: Path, count: int) -> float:
    """Writes the photographs and captions; returns the mean megabytes of a picture."""
    scenes = [scene(at) for at in range(SCENES)]
    for at in range(count):
        data = scenes[at % SCENES] + at.to_bytes(4, "big")
        (folder / f"{at:05d}.jpg").write_bytes(data)
        words = f"{WORDS[at % SCENES % len(WORDS)]} number {at}, taken on day {at // 7}"
        (folder / f"{at:05d}.txt").write_text(words)
    return sum(map(len, scenes)) / SCENES / 1e6


def main(count: int = 1000, place: str | None = None) -> None:
    """Makes the pictures, times the command, writes benchmarks/results/photographs.json."""
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder, out, kept = Path(name) / "photos", Path(name) / "run", Path(name) / "cache"
        folder.mkdir()
        size = make(folder, count)
        shutil.copytree(cache.root() / "towers", kept / "towers")
        began = time.monotonic()
        told = subprocess.run(
            [sys.executable, "-m", "sensorium", "pretrain", str(folder), "--budget", "2min",
             "--out", str(out)],
            env=os.environ | {"SENSORIUM_CACHE": str(kept)}, capture_output=True, text=True,
        )  # fmt: skip
        seconds = time.monotonic() - began
        print(told.stdout, told.stderr, sep="\n")
        info = json.loads((out / "run.json").read_text())
        write_result(
            "photographs",
            {
                "pictures": count,
                "megapixels": SIZE[0] * SIZE[1] / 1e6,
                "megabytes_a_picture": round(size, 2),
                "exit_code": told.returncode,
                "seconds_to_scores_index_and_report": round(seconds, 1),
                "largest_resident_gb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6,
                "reading": info.get("reading"),
                "subset": info.get("subset"),
                "plan": info.get("plan"),
            },
        )


if __name__ == "__main__":
    main(*(int(x) if x.isdigit() else x for x in sys.argv[1:]))
