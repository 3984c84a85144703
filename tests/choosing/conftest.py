"""What tests of choosing share: a small world, an executor in this process, tiny classifiers."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def made(folder: Path, setting: str, scenes: int, seed: int = 5) -> Path:
    """A world in a folder."""
    from sensorium.world import _making, _setting

    _making.make(_setting.load(setting, []), scenes, seed, folder)
    return folder


@pytest.fixture(scope="session")
def synergy(tmp_path_factory):
    """A world of 200 scenes in which only both halves together tell the label. Read only."""
    return made(tmp_path_factory.mktemp("worlds") / "synergy", "synergy", 200)
