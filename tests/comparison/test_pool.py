"""Where runs are carried out: the same bits everywhere, mistakes told, nobody left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small

from sensorium.comparison import conduct, pool, running
from sensorium.comparison.running import Task
from sensorium.errors import MissingExtra, RunError, Stopped, UserError
from sensorium.pretraining import Silent

pytestmark = pytest.mark.usefixtures("own_cache")
TESTS = Path(__file__).parent
ROOT = Path(pool.__file__).parents[2]


@pytest.fixture
def paths(monkeypatch):
    """Processes that are started find what this one finds."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(TESTS), str(TESTS.parent)]))


def decided(data, folder):
    plan = small.plan(data)
    folder.mkdir()
    conduct.begin(folder, plan)
    conduct.decide(folder, plan, Silent())
    return conduct.tasks_of(folder, plan, {name: {} for name in plan.names})


def bytes_of(tasks):
    return [
        (file.name, file.read_bytes())
        for task in tasks
        for file in (
            task.place / "items.parquet",
            task.place / "checkpoints" / "step-00000006" / "model.safetensors",
        )
    ]


@pytest.fixture(scope="module")
def expected(small_world, own_cache, tmp_path_factory):
    """What the four runs give one after the other in this process."""
    tasks = decided(small_world, tmp_path_factory.mktemp("pool") / "expected")
    for task in tasks:
        running.carry_out(task)
    return bytes_of(tasks)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_no_bit(small_world, tmp_path, paths, expected, workers):
    tasks = decided(small_world, tmp_path / "other")
    told = []
    results = pool.run_all(tasks, workers=workers, each=lambda x: told.append(x["name"]))
    assert [x["name"] for x in results] == [task.name for task in tasks]
    assert sorted(told) == sorted(task.name for task in tasks)
    assert bytes_of(tasks) == expected


@pytest.mark.parametrize("on", ["submitit", pytest.param("ray", marks=pytest.mark.heavy)])
def test_elsewhere_the_bits_are_the_same(small_world, tmp_path, paths, expected, on):
    pytest.importorskip(on)
    task = decided(small_world, tmp_path / "other")[0]
    (result,) = pool.run_all([task], on, workers=2)
    assert result["name"] == task.name
    assert bytes_of([task]) == expected[:2]


@pytest.mark.parametrize("on", ["submitit", "ray"])
def test_a_missing_library_is_one_line(small_world, tmp_path, monkeypatch, on):
    monkeypatch.setitem(sys.modules, on, None)
    with pytest.raises(MissingExtra, match=r"sensorium\[cluster\]"):
        pool.run_all([Task(str(tmp_path), "run", "a", 1)], on)


def test_no_such_executor():
    with pytest.raises(UserError, match="submitit"):
        pool.run_all([], "submitit2")


def test_what_is_done_needs_no_process(finished, monkeypatch):
    plan, folder, _ = finished
    monkeypatch.setattr(pool, "_processes", None)
    tasks = [Task(str(folder), "run", arm, 11, {"learning_rate": 1e-3}) for arm in plan.names]
    told = []
    results = pool.run_all(tasks, each=told.append)
    assert told == results
    assert [x["arm"] for x in results] == plan.names


def test_a_mistake_names_its_run_and_a_bug_keeps_its_trace(small_world, tmp_path, paths):
    tasks = decided(small_world, tmp_path / "other")
    tasks[0].place.mkdir(parents=True)
    (tasks[0].place / "mine.txt").write_text("of somebody else")
    with pytest.raises(RunError, match=f"^run {tasks[0].name}: .*\n.*new or empty folder") as told:
        pool.run_all(tasks, workers=1)
    assert running.done(tasks[-1]) is None  # what was waiting was not begun
    assert told.value.exit_code == 2
    assert not any(map(spawned, below(os.getpid())))  # at once, though the error is still held
    (tmp_path / "other" / "arms.json").write_text("{}")
    with pytest.raises(KeyError) as bug:
        pool.run_all(tasks[1:2], workers=1)
    assert "carry_out" in str(bug.value.__cause__)  # where it happened, in the other process


def test_a_killed_worker_is_one_line_and_what_is_done_stays(small_world, tmp_path, paths):
    tasks = decided(small_world, tmp_path / "other")

    def kill(result):
        for child in filter(spawned, below(os.getpid())):
            os.kill(child, signal.SIGKILL)

    with pytest.raises(RunError, match="process that was killed"):
        pool.run_all(tasks, workers=1, each=kill)
    assert running.done(tasks[0]) is not None
    assert running.done(tasks[-1]) is None


def below(pid):
    """The processes that a process has begun, and those that they have."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found += [int(entry.name), *below(int(entry.name))]
    return found


def spawned(pid):
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="root may: no /proc here")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_the_parent_no_worker_is_left(small_world, tmp_path, paths, number):
    out = tmp_path / "out"
    parent = subprocess.Popen(
        [sys.executable, str(TESTS / "parent.py"), str(small_world), str(out), "1"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        latest = time.monotonic() + 120
        while not list(out.glob("runs/*/log.jsonl")):  # a run has begun
            assert time.monotonic() < latest
            assert parent.poll() is None
            time.sleep(0.01)
        children = below(parent.pid)
        assert any(spawned(x) for x in children)
        parent.send_signal(number)
        told, _ = parent.communicate(timeout=100)
        if number != signal.SIGKILL:
            assert parent.returncode == Stopped.exit_code == 75
            assert "Stopped" in told
            assert "the same command goes on" in told
            assert list(out.glob("runs/*/checkpoints/step-*"))  # what was trained is saved
        while any(map(alive, children)):
            assert time.monotonic() < latest
            time.sleep(0.05)
    finally:
        parent.kill()
