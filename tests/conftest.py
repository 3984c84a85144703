"""Puts this folder on the import path (for `reference`), skips tests whose tower is absent, and
trains the one tiny run that many tests share."""

import os
import shutil
import sys
from pathlib import Path

import pytest

# Two shelves may have a member of one name, so tests are not imported by their folder; what tests
# share is imported from here.
sys.path.insert(0, str(Path(__file__).parent))

from sensorium import towers

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (50, 80, 220),
    "yellow": (230, 200, 40),
    "purple": (140, 60, 170),
}
SHAPES = ("circle", "square", "triangle", "cross")
TINY = (
    "modalities.image.size=32",
    "modalities.image.patch=8",
    *(f"encoders.{m}.{x}" for m in ("image", "text") for x in ("width=32", "depth=1", "heads=1")),
    "space=32",
    "optimiser.batch=16",
)


def need(name: str) -> None:
    """Skips the calling test unless a tower is in the cache."""
    if not towers.available(name):
        pytest.skip(f"tower {name} is not in the cache: sensorium cache fetch")


@pytest.fixture
def minilm():
    need("minilm")
    return "minilm"


@pytest.fixture
def efficientnet_lite():
    need("efficientnet_lite")
    return "efficientnet_lite"


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """A cache folder of the test's own: no towers, no features, nothing left behind."""
    place = tmp_path / "cache"
    monkeypatch.setenv("SENSORIUM_CACHE", str(place))
    return place


def shape(size: str, colour: str, form: str):
    """A 32 x 32 picture of one coloured shape."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (32, 32), "white")
    draw, r, fill = ImageDraw.Draw(picture), 6 if size == "small" else 13, COLOURS[colour]
    box = (16 - r, 16 - r, 16 + r, 16 + r)
    if form == "circle":
        draw.ellipse(box, fill)
    elif form == "square":
        draw.rectangle(box, fill)
    elif form == "triangle":
        draw.polygon([(16, 16 - r), (16 - r, 16 + r), (16 + r, 16 + r)], fill)
    else:
        draw.line((16, 16 - r, 16, 16 + r), fill, 4)
        draw.line((16 - r, 16, 16 + r, 16), fill, 4)
    return picture


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """A folder 00.png, 00.txt ... 39.png, 39.txt: "a small red circle". Copy it to change it."""
    folder = tmp_path_factory.mktemp("tiny") / "shapes"
    folder.mkdir()
    kinds = [(s, c, f) for s in ("small", "large") for c in COLOURS for f in SHAPES]
    for number, kind in enumerate(kinds):
        shape(*kind).save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.txt").write_text("a " + " ".join(kind), "utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_run(tiny_data, tmp_path_factory):
    """A finished run of `clip` on `tiny_data`: 20 steps of a tiny model. Read only."""
    from sensorium.pretraining import pretrain

    with pytest.MonkeyPatch.context() as patch:
        # No towers there, so no ConSE control: it would take longer than the training.
        patch.setenv("SENSORIUM_CACHE", str(tiny_data.parent / "cache"))
        return pretrain(
            tiny_data,
            "clip",
            out=tmp_path_factory.mktemp("runs") / "tiny",
            size="tiny",
            budget="20-steps",
            overrides=list(TINY),
        )


@pytest.fixture
def tiny_copy(tiny_run, tmp_path, empty_cache):
    """A copy of `tiny_run`, freshly opened, that a test may write to: its cache is its own, and
    nothing is indexed yet."""
    from sensorium.run import Run

    shutil.copytree(tiny_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("index"))
    return Run.open(tmp_path / "run")


# Why a test may be skipped where all is installed; CI (SENSORIUM_ALLOWED_SKIPS=strict) fails on
# any other reason, so that a whole file cannot fall silent.
ALLOWED_SKIPS = (
    "has no parameters",
    "the transformer's own test covers it",
    "is not fetched: sensorium data get",
    "root may",
    "dpkg-deb is not on this machine",
    "no chromium on this machine",
    "No module named 'statsmodels'",  # a second opinion; what it says is checked by hand too
    "No module named 'submitit'",  # the extra `cluster`; what executors share is tested without
    "No module named 'ray'",
)
_unexpected: list[str] = []


def pytest_runtest_logreport(report):
    """Collects skips whose reason is not on the list."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not any(known in reason for known in ALLOWED_SKIPS):
            _unexpected.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session):
    """In CI a skip that is not on the list fails the run."""
    if _unexpected and os.environ.get("SENSORIUM_ALLOWED_SKIPS") == "strict":
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter):
    """Says which skips are not on the list."""
    for line in _unexpected:
        terminalreporter.write_line(f"skip not on the list: {line}")
