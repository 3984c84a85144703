"""The three levels of "the same": bits after a kill, order under other workers, close elsewhere."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import TINY

from sensorium.errors import EXIT_STOPPED

HERE = Path(__file__).parent


def killed_runs(data, place, kills, seed, *options):
    """Finished runs as forked_trainer.py tells them; the first was not interrupted."""
    place.mkdir(parents=True, exist_ok=True)
    told = subprocess.run(
        [sys.executable, str(HERE / "forked_trainer.py"), str(data), str(place), str(kills),
         str(seed), *options],
        capture_output=True, text=True, timeout=1500,
        env=os.environ | {"SENSORIUM_CACHE": str(place / "cache")},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-3000:]
    return [json.loads(line) for line in told.stdout.splitlines()]


def assert_bits(finished):
    whole, *others = finished
    for other in others:
        assert other["state"] == whole["state"], "weights or optimiser differ"
        assert other["order"] == whole["order"], "another order of samples"
        assert other["log"] == whole["log"]
        assert other["scores"] == whole["scores"]


def test_bits_after_kills_at_random_instants(tiny_data, tmp_path):
    """45 kills -9 in forked trainers, several of each run."""
    finished = killed_runs(tiny_data, tmp_path, 45, 0, "budget=40-steps")
    assert sum(run["kills"] for run in finished) == 45
    assert_bits(finished)


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_bits_after_500_kills(tiny_data, tmp_path):
    """pytest -m heavy tests/test_resume.py"""
    finished = killed_runs(tiny_data, tmp_path, 500, 1, "budget=60-steps")
    assert sum(run["kills"] for run in finished) == 500
    assert_bits(finished)


def test_order_is_the_same_with_workers(tiny_data, tmp_path):
    without = killed_runs(tiny_data, tmp_path / "0", 0, 0, "budget=20-steps", "workers=0")
    two = killed_runs(tiny_data, tmp_path / "2", 0, 0, "budget=20-steps", "workers=2")
    assert_bits([*without, *two])


def command(*arguments, cache):
    return subprocess.Popen(
        [sys.executable, "-m", "sensorium", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"SENSORIUM_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def pretrain_command(data, out, cache, steps):
    options = ["--recipe", "clip", "--size", "tiny", "--budget", f"{steps}-steps", "--out", out]
    return command("pretrain", data, *options, *TINY, cache=cache)


def wait_for_steps(out, process, least=3):
    log = out / "log.jsonl"
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if log.exists() and log.read_text().count('"train"') >= least:
            return
        time.sleep(0.02)
    raise AssertionError(f"no steps: {process.communicate(timeout=5)}")


def final_state(out):
    from forked_trainer import told

    return told(out)


def test_bits_after_kills_of_fresh_processes(tiny_data, tmp_path):
    """Five kills of the command as a user runs it, each resumed by `sensorium resume`."""
    whole = pretrain_command(tiny_data, tmp_path / "whole", tmp_path / "cache", 300)
    assert whole.wait(120) == 0, whole.stderr.read()
    out = tmp_path / "killed"
    process = pretrain_command(tiny_data, out, tmp_path / "cache", 300)
    for number in range(5):
        wait_for_steps(out, process, 3 + 40 * number)
        process.kill()
        process.wait()
        process = command("resume", out, cache=tmp_path / "cache")
    assert process.wait(120) == 0, process.stderr.read()
    assert_bits([final_state(tmp_path / "whole"), final_state(out)])


def test_sigterm_saves_and_exits_with_its_code(tiny_data, tmp_path):
    out = tmp_path / "run"
    process = pretrain_command(tiny_data, out, tmp_path / "cache", 5000)
    wait_for_steps(out, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == EXIT_STOPPED
    assert f"sensorium resume {out}" in err
    assert "Traceback" not in err
    steps = sorted(int(x.name.split("-")[1]) for x in (out / "checkpoints").glob("step-*"))
    logged = out.joinpath("log.jsonl").read_text().splitlines()
    assert steps[-1] == json.loads(logged[-1])["step"]


def test_the_second_trainer_is_told_by_whom(tiny_data, tmp_path):
    out = tmp_path / "run"
    first = pretrain_command(tiny_data, out, tmp_path / "cache", 5000)
    try:
        wait_for_steps(out, first)
        second = command("resume", out, cache=tmp_path / "cache")
        _, err = second.communicate(timeout=60)
        assert second.returncode == 2
        assert str(first.pid) in err
        assert "in use" in err
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()
