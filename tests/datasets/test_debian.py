"""Fetching a Debian package, with stand-ins for apt-get and a real dpkg-deb where there is one."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sensorium.datasets._debian import Package
from sensorium.errors import DataError


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    return tmp_path


def package(sha256="0" * 64):
    return Package("toy", "toy-data", "1.0", sha256, 100)


def tool(place: Path, monkeypatch, name: str, script: str) -> None:
    (place / "bin").mkdir(exist_ok=True)
    (place / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
    (place / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}")


def left(place: Path) -> list[str]:
    return sorted(p.name for p in (place / "cache" / "datasets").iterdir())


def test_not_fetched_names_the_command(place):
    with pytest.raises(DataError) as error:
        package().found()
    assert error.value.see == "sensorium data get toy"
    assert not (place / "cache").exists()  # looking creates nothing


def test_without_apt(place, monkeypatch):
    monkeypatch.setenv("PATH", str(place))
    with pytest.raises(DataError, match="no apt-get") as error:
        package().get()
    assert "Debian" in error.value.expected


@pytest.fixture
def deb(place, monkeypatch):
    """A .deb of one file, and an apt-get that hands it out."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not on this machine")
    tree = place / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: toy-data\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@b.c>\n"
        "Description: toy\n"
    )
    (tree / "DEBIAN" / "postinst").write_text(f"#!/bin/sh\ntouch {place}/ran\n")
    (tree / "DEBIAN" / "postinst").chmod(0o755)
    (tree / "usr" / "share" / "toy").mkdir(parents=True)
    (tree / "usr" / "share" / "toy" / "a.txt").write_text("x")
    file = place / "toy-data_1.0_all.deb"
    subprocess.run(["dpkg-deb", "-b", str(tree), str(file)], check=True, capture_output=True)
    tool(place, monkeypatch, "apt-get", f'echo "$@" >> {place}/calls; cp {file} .')
    return file


def test_fetched_once_whole_and_without_running_the_package(place, deb):
    ours = package(hashlib.sha256(deb.read_bytes()).hexdigest())
    folder = ours.get()
    assert (folder / "toy" / "a.txt").read_text() == "x"
    assert ours.get() == ours.found() == folder
    assert (place / "calls").read_text() == "download toy-data=1.0\n"
    assert left(place) == ["toy"]
    assert not (place / "ran").exists()


def test_other_bytes_are_refused_and_nothing_stays(place, deb):
    with pytest.raises(DataError, match="SHA-256 0000"):
        package().get()
    assert left(place) == []


def test_a_failed_download_says_why(place, monkeypatch):
    tool(place, monkeypatch, "dpkg-deb", "exit 1")
    tool(place, monkeypatch, "apt-get", "echo 'E: Version 1.0 was not found' >&2; exit 100")
    with pytest.raises(DataError, match=r"Version 1\.0 was not found") as error:
        package().get()
    assert "toy-data" in str(error.value)
    assert left(place) == []
