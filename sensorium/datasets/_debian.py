"""Data sets that Debian packages: fetched with apt-get, checked by hash, unpacked without root.

Nothing is installed and no script of the package runs: `dpkg-deb -x` only unpacks. The folder
appears under its name when it is complete, never before.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sensorium import cache
from sensorium.errors import DataError
from sensorium.files import sha256

TIMEOUT = 1800  # seconds for a download


@dataclass(frozen=True)
class Package:
    """A Debian package whose `usr/share` is a data set.

    Attributes:
        dataset: file of the shelf `datasets`, and the folder's name in the cache.
        name, version: of the package.
        sha256: of the .deb.
        size: bytes of the download.
    """

    dataset: str
    name: str
    version: str
    sha256: str
    size: int

    @property
    def folder(self) -> Path:
        """Where the package's `usr/share` lies once it is fetched; not created here."""
        return cache.root() / "datasets" / self.dataset

    def found(self) -> Path:
        """The folder.

        Raises:
            DataError: not fetched yet.
        """
        if not self.folder.is_dir():
            raise DataError(
                f"the data set {self.dataset} is not on this machine",
                expected=f"{self.folder}",
                found="no such folder",
                see=f"sensorium data get {self.dataset}",
            )
        return self.folder

    def get(self) -> Path:
        """The folder, downloaded where it is not there yet.

        Raises:
            DataError: no apt-get or dpkg-deb, a failed download, or other bytes than expected.
        """
        if self.folder.is_dir():
            return self.folder
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise DataError(
                    f"the data set {self.dataset} is the Debian package {self.name}",
                    expected="a machine with apt-get and dpkg-deb (Debian, Ubuntu)",
                    found=f"no {tool}",
                    see=f"on such a machine: sensorium data get {self.dataset}; "
                    f"then copy its folder to {self.folder}",
                )
        # On the cache's own disk, so that the last step is one rename.
        with tempfile.TemporaryDirectory(
            dir=cache.folder("datasets"), prefix=f".{self.dataset}-", ignore_cleanup_errors=True
        ) as place:
            deb = self._download(Path(place))
            self._run(["dpkg-deb", "-x", str(deb), "unpacked"], Path(place), "unpack")
            try:
                (Path(place) / "unpacked" / "usr" / "share").rename(self.folder)
            except OSError:
                if not self.folder.is_dir():  # else another process was first: the same bytes
                    raise
        return self.folder

    def _download(self, place: Path) -> Path:
        self._run(["apt-get", "download", f"{self.name}={self.version}"], place, "download")
        debs = list(place.glob("*.deb"))
        found = sha256(debs[0]) if debs else "no file"
        if found != self.sha256:
            raise DataError(
                f"{self.name} {self.version} as downloaded",
                expected=f"SHA-256 {self.sha256}",
                found=found,
            )
        return debs[0]

    def _run(self, command: list[str], place: Path, what: str) -> None:
        try:
            done = subprocess.run(
                command, cwd=place, capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            raise DataError(
                f"{what} of {self.name}", expected=f"an end within {TIMEOUT} s", found="none"
            ) from None
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("E:")]
            raise DataError(
                f"cannot {what} the Debian package {self.name}",
                expected=f"version {self.version}, as in Debian 12",
                found=(errors or done.stderr.splitlines() or ["no message"])[-1],
                see="apt-get update (as root), where the package lists are old",
            )
