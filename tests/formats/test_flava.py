"""FLAVA folders against transformers, with random weights saved by it."""

import pytest

from formats import saved
from sensorium import importing
from sensorium.errors import UserError


@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_tower(modality, tmp_path, empty_cache):
    imported = importing.tower(saved.flava(tmp_path / "flava"), modality)
    depth = 3 if modality == "image" else 2
    assert len(imported.check.rows) == depth + 2
    assert max(row.absolute for row in imported.check.rows) <= 1e-5


def test_the_whole_is_refused_and_says_what_is_missing(tmp_path, empty_cache):
    with pytest.raises(UserError, match="class token of its own") as caught:
        importing.whole(saved.flava(tmp_path / "flava"))
    assert "projections with a bias" in caught.value.found
