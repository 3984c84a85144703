"""Worlds whose truth is known, run for real: what is synergy is never called redundant, and where
there is none it is never called synergistic.

    python -m pytest -m heavy -n0 tests/choosing/test_worlds.py
"""

import json
import subprocess
import sys

import pytest
from made_world import made


def choice(world, out, budget):
    """What the command finds, as a user runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "sensorium", "choose", str(world), "--label", "label", "--budget",
         budget, "--out", str(out), "--workers", "2"], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "result.json").read_text("utf-8"))
    return {x["key"]: x for x in result["answers"]}


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("setting", "never"),
    [("synergy", {"redundant", "unique"}), ("plain", {"synergistic"}), ("bits", {"redundant"})],
)
def test_information_is_never_called_what_it_is_not(setting, never, tmp_path):
    world = made(tmp_path / "world", setting, 6000, 71)
    assert choice(world, tmp_path / "out", "6min")["information"]["kind"] not in never
