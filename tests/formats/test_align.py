"""ALIGN folders against transformers, with random weights saved by it."""

import pytest

from formats import saved
from sensorium import importing
from sensorium.errors import UserError


def test_the_text_tower(tmp_path, empty_cache):
    imported = importing.tower(saved.align(tmp_path / "align"))
    assert imported.modality == "text"
    assert len(imported.check.rows) == 4
    assert max(row.absolute for row in imported.check.rows) <= 1e-5


def test_its_pictures_are_refused_and_say_what_is_missing(tmp_path, empty_cache):
    folder = saved.align(tmp_path / "align")
    with pytest.raises(UserError, match="squeeze-and-excitation"):
        importing.whole(folder)
    with pytest.raises(UserError, match="a tower for text"):
        importing.tower(folder, "image")
