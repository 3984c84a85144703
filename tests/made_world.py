"""A composed world in a folder, for tests that train on one."""

from pathlib import Path

from sensorium.world import _making, _setting


def made(folder: Path, setting: str, scenes: int, seed: int = 5) -> Path:
    """Makes a setting's world in a new folder; the folder."""
    _making.make(_setting.load(setting, []), scenes, seed, folder)
    return folder
