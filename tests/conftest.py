"""Puts this folder on the import path (for `reference`), and skips tests whose tower is absent."""

import pytest

from sensorium import towers


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
