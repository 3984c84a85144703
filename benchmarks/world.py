"""How fast a composed world is made, and whether memory stays flat.

    python -m benchmarks.world            all canvases, and 5,000 against 50,000 scenes
    python -m benchmarks.world --rough    a look on a busy machine; nothing is written

Scenes a second of one core: processor time, so that neighbours on the machine do not count, of
picture, boxes and caption of the setting `binding`, from the key to the Parquet file. Memory is
the peak of a process of its own that makes a whole world.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import write_result
from sensorium.world import _making, _setting

CANVASES = (32, 64, 128, 224)
TARGET = 500  # scenes a second a core, at 32 pixels
EMITTED = "emit=[image, boxes, caption]"
COUNTS = (5_000, 50_000)
FLAT = 1.1  # the peak of ten times the scenes, over the peak

_PEAK = """
import resource, sys
from pathlib import Path
from sensorium.world import _making, _setting
setting = _setting.load("binding", sys.argv[2:4])
_making.make(setting, int(sys.argv[1]), 0, Path(sys.argv[4]) / "w")
unit = 1 if sys.platform == "darwin" else 1024
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
"""


def speed(canvas: int, scenes: int) -> dict[str, float]:
    """Best of three, after one round that fills the cache of sprites."""
    setting = _setting.load("binding", [EMITTED, f"canvas={canvas}"])
    best = float("inf")
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(4):
            began = time.process_time()
            _making.make(setting, scenes, round_, Path(folder) / str(round_))
            if round_:
                best = min(best, time.process_time() - began)
        size = sum(f.stat().st_size for f in (Path(folder) / "1").rglob("*.parquet"))
    total = sum(_making.split_counts(setting, scenes).values())
    return {
        "canvas": canvas,
        "scenes": total,
        "scenes_a_second": round(total / best, 1),
        "bytes_a_scene": round(size / total),
    }


def peak(scenes: int, canvas: int) -> dict[str, Any]:
    """Peak resident memory of a process that makes a world."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, str(scenes), EMITTED, f"canvas={canvas}", folder],
            capture_output=True,
            text=True,
            check=True,
        )
    return {"canvas": canvas, "scenes": scenes, "peak_mb": round(int(done.stdout) / 1e6, 1)}


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints, writes benchmarks/results/world.json."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rough", action="store_true", help="fewer scenes; nothing is written")
    rough = parser.parse_args(arguments).rough
    speeds = []
    for canvas in CANVASES:
        speeds.append(speed(canvas, 500 if rough else 4_000))
        print(json.dumps(speeds[-1]))
    peaks = []
    for scenes in COUNTS:
        peaks.append(peak(scenes // 10 if rough else scenes, 32))
        print(json.dumps(peaks[-1]))
    ratio = peaks[1]["peak_mb"] / peaks[0]["peak_mb"]
    content = {
        "setting": "binding",
        "emitted": ["image", "boxes", "caption"],
        "speed": speeds,
        "memory": peaks,
        "target": {"scenes_a_second": TARGET, "met": speeds[0]["scenes_a_second"] >= TARGET},
        "flat": {"at_most": FLAT, "ratio": round(ratio, 3), "met": ratio <= FLAT},
    }
    print(json.dumps(content["target"]), json.dumps(content["flat"]))
    if not rough:
        write_result("world", content)


if __name__ == "__main__":
    main()
