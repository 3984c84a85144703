"""The contact sheet: pictures enlarged pixel by pixel, in the order of the test split."""

import io

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from sensorium.errors import DataError
from sensorium.world import _making, _setting, _sheet


@pytest.mark.parametrize(("canvas", "times"), [(32, 7), (100, 2), (224, 1)])
def test_pictures_stand_in_rows_of_six_each_pixel_a_square(tmp_path, canvas, times):
    setting = _setting.load("binding", [f"canvas={canvas}"])
    _making.make(setting, 80, 0, tmp_path / "w")
    page = np.asarray(Image.open(_sheet.sheet(tmp_path / "w")))
    edge = canvas * times
    assert page.shape[1] == _sheet.GAP + 6 * (edge + _sheet.GAP)
    table = parquet.read_table(tmp_path / "w" / "test-00000.parquet")
    for at in (0, 5):
        picture = np.asarray(Image.open(io.BytesIO(table["image"][at].as_py())))
        x = _sheet.GAP + at * (edge + _sheet.GAP)
        shown = page[_sheet.GAP : _sheet.GAP + edge, x : x + edge]
        assert (shown == np.kron(picture, np.ones((times, times, 1), np.uint8))).all()
    assert len(table) == 8  # so two rows, the second of two
    below = page[-(edge + 30) :, _sheet.GAP + 2 * (edge + _sheet.GAP) :]
    assert (below == 252).mean() > 0.6  # paper


def test_a_record_without_a_picture_says_so_and_chinese_is_told_by_its_facts(tmp_path):
    setting = _setting.load("plain", ["missing.image=0.9", "languages={zh: 1.0}"])
    _making.make(setting, 30, 0, tmp_path / "w")
    rows = _sheet.examples(tmp_path / "w", 24)
    assert {row["image"] is None for row in rows} >= {True}
    colour, kind, ground = (rows[0][f"fact.{name}"] for name in ("colour_1", "kind_1", "ground"))
    assert _sheet._words(rows[0]) == f"{colour} {kind} {ground}"
    assert _sheet.sheet(tmp_path / "w").exists()


def test_shards_that_are_gone_or_damaged_are_named(tmp_path):
    _making.make(_setting.load("plain"), 20, 0, tmp_path / "w")
    shard = tmp_path / "w" / "test-00000.parquet"
    shard.write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match=r"test-00000\.parquet"):
        _sheet.sheet(tmp_path / "w")
    shard.unlink()
    with pytest.raises(DataError, match="found none"):
        _sheet.sheet(tmp_path / "w")
