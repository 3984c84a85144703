"""Where and when a figure was measured; results are JSON under benchmarks/results."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Date, commit, processor, versions, load."""
    import numpy
    import torch

    def git(*words: str) -> str:
        told = subprocess.run(
            ["git", *words], capture_output=True, text=True, cwd=RESULTS.parent, check=False
        )
        return told.stdout.strip()

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        name = lines[0].split(":")[1].strip() if lines else name
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "--short", "HEAD")
        + ("+" if git("status", "--porcelain") else ""),
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }


def write_result(name: str, content: dict[str, Any]) -> None:
    """Writes benchmarks/results/NAME.json with where it was measured."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps({"machine": machine(), **content}, indent=1) + "\n")
    print(f"wrote {file}")
