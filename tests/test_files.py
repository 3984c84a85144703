"""Atomic files: old or new after any failure, one owner per run."""

import builtins
import errno
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium import files
from sensorium.errors import RunError

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
posix = pytest.mark.skipif(sys.platform == "win32", reason="fork and SIGKILL are POSIX")


def break_call(monkeypatch, k: int, code: int) -> list[str]:
    """Makes the k-th of the calls that touch the disk fail; returns the calls as they come."""
    calls: list[str] = []

    def wrap(name, call):
        def broken(*args, **kwargs):
            calls.append(name)
            if len(calls) == k:
                raise OSError(code, os.strerror(code))
            return call(*args, **kwargs)

        return broken

    for name in ("write", "fsync", "replace", "open"):
        monkeypatch.setattr(os, name, wrap(f"os.{name}", getattr(os, name)))
    monkeypatch.setattr(builtins, "open", wrap("open", builtins.open))
    return calls


@settings(max_examples=40, deadline=None)
@given(value=VALUES)
def test_json_comes_back(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "a.json"
    files.write_json(path, value)
    assert json.loads(path.read_bytes()) == value
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=4), cut=st.integers(0)
)
def test_lines_come_back_and_a_torn_last_line_is_dropped(tmp_path_factory, values, cut):
    path = tmp_path_factory.mktemp("lines") / "log.jsonl"
    ends = [0]
    for value in values:
        files.append_line(path, value)
        ends.append(path.stat().st_size)
    assert files.read_lines(path) == values
    if not values:
        return
    at = cut % (ends[-1] + 1)
    path.write_bytes(path.read_bytes()[:at])
    # A line that lacks only its line end is whole.
    whole = sum(end - 1 <= at for end in ends[1:])
    assert files.read_lines(path) == values[:whole]
    files.append_line(path, {"next": 1})
    assert files.read_lines(path) == [*values[:whole], {"next": 1}]


def test_lines_longer_than_a_block_are_cut_off_whole(tmp_path):
    path = tmp_path / "log.jsonl"
    files.append_line(path, {"a": 1})
    path.write_bytes(path.read_bytes() + b'{"b": "' + b"x" * 10_000)
    assert files.read_lines(path) == [{"a": 1}]
    files.append_line(path, {"c": 1})
    assert files.read_lines(path) == [{"a": 1}, {"c": 1}]


def test_one_write_call_per_line(tmp_path, monkeypatch):
    calls = break_call(monkeypatch, 0, errno.EIO)
    files.append_line(tmp_path / "log.jsonl", {"text": "x" * 100_000})
    assert calls.count("os.write") == 1


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": 1}\n[2]\n{"a": 3}\n')
    with pytest.raises(RunError, match=r"log\.jsonl row 2.*\n.*one JSON object.*\[2\]"):
        files.read_lines(path)


def test_no_file_has_no_lines(tmp_path):
    assert files.read_lines(tmp_path / "none.jsonl") == []


def test_what_is_not_json_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    with pytest.raises(ValueError, match="JSON compliant"):
        files.append_line(tmp_path / "a.jsonl", {"loss": float("inf")})
    with pytest.raises(TypeError, match="JSON object"):
        files.append_line(tmp_path / "a.jsonl", [1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_every_failing_call_leaves_the_old_file_or_the_new(tmp_path, code):
    path = tmp_path / "a.json"
    for k in range(1, 50):
        files.write_json(path, "old")
        with pytest.MonkeyPatch.context() as monkeypatch:
            calls = break_call(monkeypatch, k, code)
            try:
                files.write_json(path, "new")
                failed = None
            except RunError as error:
                failed = error
        if len(calls) < k:
            assert failed is None
            break
        assert failed is not None, calls
        assert str(path) in str(failed)
        assert "6 bytes" in str(failed)
        assert os.strerror(code) in str(failed)
        assert "the last good one still holds" in str(failed)
        renamed = "os.replace" in calls[: k - 1]
        assert json.loads(path.read_bytes()) == ("new" if renamed else "old")
        assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert k >= 6  # open, write, fsync, rename, and the folder's open and fsync


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_every_failing_call_leaves_the_lines_before(tmp_path, code):
    path = tmp_path / "log.jsonl"
    files.append_line(path, {"a": 1})
    for k in (1, 2):
        with pytest.MonkeyPatch.context() as monkeypatch:
            break_call(monkeypatch, k, code)
            with pytest.raises(RunError, match=r"log\.jsonl: 9 bytes .*still holds"):
                files.append_line(path, {"a": 2})
        assert path.read_bytes() == b'{"a": 1}\n'


def test_short_writes_are_continued_and_a_failed_rest_is_cut_off(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    files.write_json(tmp_path / "a.json", {"some": "thing"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"some": "thing"}
    path = tmp_path / "log.jsonl"
    files.append_line(path, {"a": 1})

    def full(fd, data):
        if len(data) < 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data[:3])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RunError, match="No space left"):
        files.append_line(path, {"a": 2})
    assert path.read_bytes() == b'{"a": 1}\n'


def test_a_write_of_nothing_is_an_error_and_no_endless_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "write", lambda fd, data: 0)
    with pytest.raises(RunError, match="wrote nothing"):
        files.write_bytes(tmp_path / "a", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch):
    real = os.fsync

    def no_folders(fd):
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(errno.EINVAL, "folders cannot be synced")
        real(fd)

    monkeypatch.setattr(os, "fsync", no_folders)
    files.write_bytes(tmp_path / "a", b"data")
    assert (tmp_path / "a").read_bytes() == b"data"


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(RunError, match=r"none.a: 1 bytes could not be written: No such file"):
        files.write_bytes(tmp_path / "none" / "a", b"x")


def test_sha256_is_of_the_bytes(tmp_path):
    data = os.urandom(300_000)
    (tmp_path / "a").write_bytes(data)
    assert files.sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()
    size, digest = files.write_new(tmp_path / "b", [data[:7], b"", memoryview(data)[7:]])
    assert (size, digest) == (len(data), files.sha256(tmp_path / "a"))


def kill_writers(folder: Path, kills: int, seed: int) -> None:
    """Kills a forked writer at random instants; its file is the last acknowledged value or next."""
    import random

    chance, path, value = random.Random(seed), folder / "a.json", 0
    files.write_json(path, [0] * 500)
    for _ in range(kills):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                while True:
                    value += 1
                    files.write_json(path, [value] * 500)
                    os.write(write, b".")
            finally:
                os._exit(1)
        os.close(write)
        os.read(read, 1)  # it has begun
        time.sleep(chance.random() * 0.01)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(read, "rb") as stream:
            value += 1 + len(stream.read())
        found = json.loads(path.read_bytes())
        assert found in ([value] * 500, [value + 1] * 500)
        value = found[0]


@posix
def test_killed_writers_leave_old_or_new(tmp_path):
    kill_writers(tmp_path, 20, seed=1)


@posix
@pytest.mark.heavy
def test_killed_writers_leave_old_or_new_heavy(tmp_path):
    kill_writers(tmp_path, 500, seed=2)


# One owner per run


def test_a_second_claim_is_refused_and_names_the_first(tmp_path):
    run = tmp_path / "run"
    with files.claim(run):
        told = json.loads((run / ".claim.json").read_bytes())
        with pytest.raises(RunError) as refused, files.claim(run):
            pass
        text = str(refused.value)
        assert text.startswith(str(run))
        assert f"process {os.getpid()} on {told['host']} since {told['started']}" in text
        assert (run / ".claim.json").exists()
    assert not (run / ".claim.json").exists()
    with files.claim(run):
        pass


def test_a_claim_is_released_by_an_error(tmp_path):
    with pytest.raises(KeyError), files.claim(tmp_path):
        raise KeyError
    with files.claim(tmp_path):
        pass


def _race(run: Path, gate, results) -> None:
    gate.wait()
    try:
        with files.claim(run):
            results.put(("won", os.getpid(), ""))
            time.sleep(0.15)
    except RunError as error:
        results.put(("lost", os.getpid(), str(error)))


@posix
@pytest.mark.parametrize("locks", ["system", "none"])
def test_of_two_processes_one_proceeds(tmp_path, monkeypatch, locks):
    if locks == "none":
        monkeypatch.setattr(files, "_lock", lambda path: None)
    fork = multiprocessing.get_context("fork")
    for race in range(5):
        gate, results = fork.Barrier(2), fork.Queue()
        racers = [
            fork.Process(target=_race, args=(tmp_path / str(race), gate, results)) for _ in range(2)
        ]
        for racer in racers:
            racer.start()
        found = sorted(results.get(timeout=20) for _ in racers)
        for racer in racers:
            racer.join()
        (lost, _, text), (won, winner, _) = found
        assert (lost, won) == ("lost", "won")
        assert f"process {winner} on " in text


@posix
@pytest.mark.parametrize("locks", ["system", "none"])
def test_a_killed_holder_is_taken_over(tmp_path, monkeypatch, locks):
    if locks == "none":
        monkeypatch.setattr(files, "_lock", lambda path: None)
    fork = multiprocessing.get_context("fork")
    gate = fork.Event()

    def hold():
        with files.claim(tmp_path):
            gate.set()
            time.sleep(60)

    holder = fork.Process(target=hold)
    holder.start()
    assert gate.wait(20)
    with pytest.raises(RunError, match=f"process {holder.pid} on "), files.claim(tmp_path):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # dead, but still a zombie
    with files.claim(tmp_path):
        assert json.loads((tmp_path / ".claim.json").read_bytes())["pid"] == os.getpid()
    holder.join()


@posix
def test_a_forked_worker_does_not_keep_a_killed_parents_claim(tmp_path):
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        with files.claim(tmp_path):
            worker = os.fork()
            if worker == 0:
                time.sleep(30)
                os._exit(0)
            os.write(write, str(worker).encode())
            time.sleep(30)
        os._exit(0)
    worker = int(os.read(read, 20))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    try:
        with files.claim(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        os.close(read)
        os.close(write)


@posix
def test_a_forked_child_that_leaves_the_block_releases_nothing(tmp_path):
    with files.claim(tmp_path):
        child = os.fork()
        if child == 0:
            try:
                raise SystemExit
            finally:  # the child unwinds the `with` as its parent does
                files._forget_locks()
                os._exit(0)
        os.waitpid(child, 0)
        assert (tmp_path / ".claim.json").exists()
        with pytest.raises(RunError, match="in use"), files.claim(tmp_path):
            pass


def _stale(tmp_path, **changes) -> Path:
    import socket

    told = {"pid": os.getpid(), "host": socket.gethostname(), "started": "2026-01-01", **changes}
    path = tmp_path / ".claim.json"
    path.write_text(json.dumps(told))
    return path


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs process start times")
def test_a_reused_pid_is_not_the_holder(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_lock", lambda path: None)
    _stale(tmp_path, born="1")  # our own pid, but a process that began just after the boot
    with files.claim(tmp_path):
        pass


def test_a_holder_on_another_host_is_not_taken_over_without_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_lock", lambda path: None)
    path = _stale(tmp_path, host="elsewhere", pid=1)
    with pytest.raises(RunError) as refused, files.claim(tmp_path):
        pass
    assert "process 1 on elsewhere since 2026-01-01" in str(refused.value)
    assert f"delete {path}" in str(refused.value)
    assert path.exists()


def test_a_holder_on_another_host_whose_lock_is_gone_is_taken_over(tmp_path):
    _stale(tmp_path, host="elsewhere", pid=1)
    with files.claim(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": -1, "host": "a", "started": "b"}'])
def test_a_torn_claim_is_taken_over(tmp_path, monkeypatch, text):
    monkeypatch.setattr(files, "_lock", lambda path: None)
    (tmp_path / ".claim.json").write_text(text)
    with files.claim(tmp_path):
        assert files._read_holder(tmp_path / ".claim.json")["pid"] == os.getpid()


@posix
def test_locks_that_the_file_system_lacks_fall_back_to_names(tmp_path, monkeypatch):
    def none(fd, operation):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(files.fcntl, "flock", none)
    with files.claim(tmp_path), pytest.raises(RunError, match="in use"), files.claim(tmp_path):
        pass
    with files.claim(tmp_path):
        pass


def test_a_run_that_is_a_file_is_named(tmp_path):
    (tmp_path / "run").write_text("x")
    with (
        pytest.raises(RunError, match=r"run\nexpected a directory to write to, found File exists"),
        files.claim(tmp_path / "run"),
    ):
        pass


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_claim_on_a_full_disk_is_an_error_and_holds_nothing(tmp_path, code):
    for k in range(1, 8):  # the lock's open; the name's open, write, fsync, rename; the folder's
        with pytest.MonkeyPatch.context() as monkeypatch:
            calls = break_call(monkeypatch, k, code)
            with pytest.raises(RunError, match=os.strerror(code)), files.claim(tmp_path):
                pass
        assert len(calls) >= k
        with files.claim(tmp_path):
            pass


def test_files_names_no_torch():
    code = "import sys, sensorium.files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
