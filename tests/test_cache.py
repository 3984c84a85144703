"""The cache lists what it holds and deletes nothing else."""

import pytest

from sensorium import cache
from sensorium.errors import UserError


@pytest.fixture
def root(tmp_path, monkeypatch):
    place = tmp_path / "cache"
    monkeypatch.setenv("SENSORIUM_CACHE", str(place))
    return place


def fill(root):
    for name, size in (("towers/a/weights", 10), ("towers/a/deep/er", 5), ("features/b", 3)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * size)
    (root / "mine.txt").write_text("kept")


def test_listing_and_clear(root):
    assert cache.listing() == []
    assert cache.clear() == 0
    fill(root)
    assert cache.listing() == [("towers", "a", 15), ("features", "b", 3)]
    assert cache.clear("features") == 3
    assert cache.listing() == [("towers", "a", 15)]
    assert cache.clear() == 15
    assert cache.listing() == []
    assert (root / "mine.txt").read_text() == "kept"


def test_a_link_is_never_followed(root, tmp_path):
    fill(root)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    (root / "towers" / "link").symlink_to(outside)
    (root / "towers" / "a" / "link").symlink_to(outside)
    cache.clear("towers")
    assert cache.listing() == [("features", "b", 3)]
    (root / "towers").rmdir()
    (root / "towers").symlink_to(outside)
    for kind in (None, "towers"):
        with pytest.raises(UserError, match="found a link to"):
            cache.clear(kind)
    assert cache.listing() == [("features", "b", 3)]
    assert (outside / "precious").read_text() == "kept"


def test_an_unknown_kind_names_the_nearest(root):
    with pytest.raises(UserError, match="nearest  towers"):
        cache.clear("tower")
