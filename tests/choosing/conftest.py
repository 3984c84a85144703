"""What tests of choosing share: a small world."""

import pytest
from made_world import made


@pytest.fixture(scope="session")
def synergy(tmp_path_factory):
    """A world of 200 scenes in which only both halves together tell the label. Read only."""
    return made(tmp_path_factory.mktemp("worlds") / "synergy", "synergy", 200)
