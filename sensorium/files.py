"""Files that are whole or not there: atomic writing, JSON lines, hashes, one owner per run.

A file is written aside in its own folder, fsynced, renamed over the old one, and the folder is
fsynced, so a kill or a full disk leaves the old file or the new one. A kill may leave the file
written aside (`.NAME.xxxxxxxx.tmp`), which nothing ever reads.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from sensorium.errors import RunError, clip

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

PIECE = 1 << 24  # bytes per write call: macOS and Windows refuse single writes of 2 GiB
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES}


def unwritable(path: Path, size: int, error: OSError, old: str = "one") -> RunError:
    """The error for a write that failed; `old` says what still holds ("one", "checkpoint")."""
    reason = error.strerror or str(error)
    return RunError(
        f"{size:,} bytes could not be written: {reason}; the last good {old} still holds",
        file=path,
    )


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while len(rest):
        written = os.write(descriptor, rest[:PIECE])
        if written == 0:
            raise OSError(errno.EIO, "the system wrote nothing")
        rest = rest[written:]


def write_new(path: Path, chunks: Iterable[bytes | memoryview]) -> tuple[int, str]:
    """Creates a file, writes the chunks (of bytes), fsyncs it. Returns its size and SHA-256.

    For a caller who renames the whole folder afterwards; to replace one file use `write_bytes`.

    Raises:
        OSError: as it came, FileExistsError included; a part of the file may be left.
    """
    digest, size = hashlib.sha256(), 0
    with open(path, "xb", buffering=0) as stream:
        for chunk in chunks:
            _write_all(stream.fileno(), chunk)
            digest.update(chunk)
            size += len(chunk)
        os.fsync(stream.fileno())
        if hasattr(os, "posix_fadvise"):
            # Out of the page cache: who reads it back to verify it then reads the disk.
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return size, digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder durable, where the system can (not on Windows).

    Raises:
        OSError: the disk failed.
    """
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file atomically and durably; its folder must exist.

    Raises:
        RunError: the disk is full, or failed, or may not be written. The old file is untouched
            (if only the folder's fsync failed, the new one is in place and may not outlive a
            power cut).
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write_new(aside, [data])
        os.replace(aside, path)
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, len(data), error) from None
    finally:
        with contextlib.suppress(OSError):  # after the rename there is nothing to remove
            os.unlink(aside)


def write_json(path: Path, value: object) -> None:
    """Writes a value as JSON, atomically; NaN and infinities are not JSON.

    Raises:
        RunError: as `write_bytes`.
        TypeError, ValueError: the value is not JSON; nothing was written.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def _object(line: bytes) -> dict | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def append_line(path: Path, value: dict) -> None:
    """Appends one JSON object as one line, in one write call. One writer per file.

    A line that a kill left unfinished is cut off first. Not fsynced: a kill loses nothing, a
    power cut may lose the last lines.

    Raises:
        RunError: the disk is full or failed; the lines before are untouched.
        TypeError, ValueError: the value is not a JSON object; nothing was written.
    """
    if not isinstance(value, dict):
        raise TypeError(f"a line is a JSON object, found {clip(value)}")
    line = json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    try:
        with open(path, "a+b", buffering=0) as stream:
            end = stream.seek(0, os.SEEK_END)
            tail = _tail(stream, end)
            if tail and _object(tail) is not None:  # whole, only its line end is missing
                line = b"\n" + line
            elif tail:
                end -= len(tail)
                stream.truncate(end)
            try:
                _write_all(stream.fileno(), line)
            except OSError:
                with contextlib.suppress(OSError):  # else `read_lines` drops it
                    stream.truncate(end)
                raise
    except OSError as error:
        raise unwritable(Path(path), len(line), error) from None


def _tail(stream, end: int) -> bytes:
    """What follows the last line end of a file of `end` bytes."""
    tail, at = b"", end
    while at > 0 and b"\n" not in tail:
        step = min(at, 4096)
        at -= step
        stream.seek(at)
        tail = stream.read(step) + tail
    return tail.rpartition(b"\n")[2]


def read_lines(path: Path) -> list[dict]:
    """The objects of a file of JSON lines; an unfinished last line is dropped. No file, no lines.

    Raises:
        RunError: a line before the last is not a JSON object, or the file cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            lines = stream.read().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(
            file=path, expected="a readable file", found=error.strerror or str(error)
        ) from None
    values = []
    for row, line in enumerate(lines, start=1):
        value = _object(line)
        if value is not None:
            values.append(value)
        elif row < len(lines):  # the last has no line end: empty, or cut off by a kill
            raise RunError(
                file=path,
                row=row,
                expected="one JSON object on the line",
                found=clip(line.decode(errors="replace")),
            )
    return values


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex, read in pieces.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# One owner per run. The lock is the system's (flock; on Windows a locked byte), which a killed
# process cannot leave behind; `.claim.json` beside it only says who holds it. On a file system
# without locks `.claim.json` itself is the claim, and the holder's pid decides whether it is stale.

_held: set[int] = set()  # descriptors of locks of this process


def _forget_locks() -> None:
    # A forked loader worker shares the lock, and would keep it alive after its parent is killed.
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock, or None where the file system has no locks.

    Raises:
        BlockingIOError: another holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if sys.platform == "win32":
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            except PermissionError:
                raise BlockingIOError(errno.EWOULDBLOCK, "locked") from None
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if not isinstance(error, BlockingIOError) and error.errno in _NO_LOCKS:
            return None
        raise
    return descriptor


def _born(pid: int) -> str | None:
    """When a process began, in the kernel's ticks; None if there is none, or no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # a zombie holds nothing


def _read_holder(path: Path) -> dict | None:
    try:
        holder = json.loads(path.read_bytes())
        whole = type(holder["pid"]) is int and all(
            type(holder[k]) is str for k in ("host", "started")
        )
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None
    return holder if whole and 0 < holder["pid"] < 2**31 else None


def _alive(holder: dict) -> bool:
    """Whether the holder may still run; on another host that cannot be known, and is yes."""
    if holder["host"] != socket.gethostname() or sys.platform == "win32":
        return True
    if os.path.exists("/proc/self/stat"):
        born = _born(holder["pid"])
        return born is not None and holder.get("born") in (None, born)
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is alive, and another user's
    return True


def _in_use(folder: Path, holder: dict | None) -> RunError:
    who = (
        "a process that has not said its name"
        if holder is None
        else f"process {holder['pid']} on {holder['host']} since {holder['started']}"
    )
    return RunError(f"this run is in use by {who}", file=folder)


def _lock_or_refuse(folder: Path, name: Path) -> int | None:
    """As `_lock`; the error of one who is refused names the holder.

    Raises:
        RunError: another holds it.
    """
    for _ in range(100):
        try:
            return _lock(folder / ".claim.lock")
        except BlockingIOError:
            holder = _read_holder(name)
        if holder is not None and _alive(holder):
            break
        time.sleep(0.02)  # the holder has just begun, or has just died
    raise _in_use(folder, holder)


def _claim_by_name(folder: Path, name: Path, mine: dict) -> None:
    # Between finding a dead holder and replacing its claim another may do the same: the last
    # writer wins, and the short wait lets the other see that it lost.
    try:
        write_new(name, [json.dumps(mine).encode()])
        return
    except FileExistsError:
        pass
    except OSError as error:
        raise unwritable(name, len(json.dumps(mine)), error) from None
    for _ in range(10):  # it may be just being written
        holder = _read_holder(name)
        if holder is not None:
            break
        time.sleep(0.02)
    if holder is not None and _alive(holder):
        refused = _in_use(folder, holder)
        refused.see = f"if that process is gone, delete {name}"
        raise refused
    write_json(name, mine)
    time.sleep(0.1)
    if (holder := _read_holder(name)) != mine:
        raise _in_use(folder, holder)


@contextlib.contextmanager
def claim(path: Path) -> Iterator[None]:
    """Holds a run directory (created if missing) for one process until the block ends.

    Leaves the empty file `.claim.lock`; `.claim.json` {pid, host, started, born} is there while it
    is held. What a killed process left is taken over.

    Raises:
        RunError: another process holds it (names its pid, host and since when), or the directory
            cannot be written.
    """
    folder = Path(path)
    name = folder / ".claim.json"
    mine = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "born": _born(os.getpid()),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _lock_or_refuse(folder, name)
    except OSError as error:
        raise RunError(
            file=folder, expected="a directory to write to", found=error.strerror or str(error)
        ) from None
    if descriptor is not None:
        _held.add(descriptor)
    try:
        if descriptor is None:
            _claim_by_name(folder, name, mine)
        else:
            write_json(name, mine)
        try:
            yield
        finally:
            # A forked child that leaves this block is not the owner; nor is one who lost a race.
            if os.getpid() == mine["pid"] and _read_holder(name) == mine:
                with contextlib.suppress(OSError):
                    os.unlink(name)
    finally:
        if descriptor in _held:
            _held.discard(descriptor)
            os.close(descriptor)
