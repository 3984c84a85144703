"""Files beside a data set's table: found under one root, never outside it, never opened blindly.

A path comes from the user's data, so it may be a stranger's: `..`, an absolute path elsewhere, or
a link that leads out is refused before anything is opened.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

from sensorium.layouts._header import Unusable, look
from sensorium.records import Blob

MAX_TEXT = 1 << 20  # bytes; a caption file larger than this is not a caption


class Root:
    """The folder that a data set may read from.

    Folders are resolved once and remembered, so that a file costs one `lstat`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._real = os.path.realpath(folder)
        # Texts made once: a hundred thousand rows ask for them.
        roots = dict.fromkeys((str(self.folder), self._real))
        self._begins = tuple(root.rstrip(os.sep) + os.sep for root in roots)
        self._inside: dict[str, bool] = {}

    def file(self, told: str, beside: Path | None = None) -> Path:
        """The regular file that `told` names, relative to `beside` (default: the root).

        Raises:
            Unusable: empty, a web address, outside the root, missing, or not a regular file.
        """
        if not told or not told.strip():
            raise Unusable("expected a path, found an empty cell")
        if "://" in told[:12]:
            raise Unusable(f"expected a file, found the web address {told[:60]}: download it first")
        if "\0" in told:
            raise Unusable("expected a path, found one with a zero byte")
        path = os.path.abspath(os.path.join(beside or self.folder, told))
        if not path.startswith(self._begins):
            raise Unusable(f"{told} leads out of {self.folder.name or self.folder}: not opened")
        try:
            status = os.lstat(path)
        except (OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                raise Unusable(f"no file {told}") from None
            raise Unusable(f"{told}: {getattr(error, 'strerror', None) or error}") from None
        parent = os.path.dirname(path)
        inside = self._inside.get(parent)
        if inside is None:
            inside = self._inside[parent] = _within(os.path.realpath(parent), self._real)
        if inside and stat.S_ISLNK(status.st_mode):
            inside = _within(os.path.realpath(path), self._real)
            if inside:
                try:
                    status = os.stat(path)
                except OSError:
                    raise Unusable(f"{told} is a link to nothing") from None
        if not inside:
            raise Unusable(f"{told} is a link that leads out of {self.folder.name}: not opened")
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise Unusable(f"expected a file, found {told}, which is {kind}")
        return Path(path)

    def holds(self, told: str, beside: Path | None = None) -> bool:
        """Whether `file` would give one."""
        try:
            self.file(told, beside)
        except Unusable:
            return False
        return True

    def picture(self, told: str, beside: Path | None = None) -> Blob:
        """The picture that `told` names, by reference; its header has been looked at.

        Raises:
            Unusable: as `file`, or the bytes are no usable picture.
        """
        path = self.file(told, beside)
        try:
            with open(path, "rb", buffering=0) as stream:
                look(stream)
        except OSError as error:
            raise Unusable(f"{told}: {error.strerror or error}") from None
        except Unusable as reason:
            raise Unusable(f"{told}: {reason}") from None
        return Blob(self.name(path), path)

    def texts(self, told: str, beside: Path | None = None) -> str | list[str]:
        """The captions of a text file: each line that is not empty is one; one stays a text.

        Raises:
            Unusable: as `file`, or too large, not UTF-8, or without a word.
        """
        path = self.file(told, beside)
        try:
            with open(path, "rb") as stream:
                data = stream.read(MAX_TEXT + 1)
        except OSError as error:
            raise Unusable(f"{told}: {error.strerror or error}") from None
        if len(data) > MAX_TEXT:
            raise Unusable(f"{told}: expected captions, found more than {MAX_TEXT:,} bytes")
        return lines(data, told)

    def name(self, path: Path) -> str:
        """What errors and keys call a file of this root: its path below it, with slashes."""
        full = os.path.abspath(path)
        begin = next((begin for begin in self._begins if full.startswith(begin)), "")
        return full[len(begin) :].replace(os.sep, "/")


def lines(data: bytes, name: str) -> str | list[str]:
    """Captions from the bytes of a text file, as `Root.texts`."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unusable(f"{name}: expected UTF-8 text, found byte {error.start} of {data[:8]!r}…"
                       ) from None  # fmt: skip
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise Unusable(f"{name}: expected a caption, found an empty file")
    return found[0] if len(found) == 1 else found


def memory(data: bytes, name: str) -> Blob:
    """A picture already in memory; its header has been looked at.

    Raises:
        Unusable: the bytes are no usable picture.
    """
    look(io.BytesIO(data))
    return Blob(name, data=data)


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)
