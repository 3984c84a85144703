"""The recipe `lit`: towers are locked, only heads and the temperature train, the cache is exact."""

import shutil

import numpy as np
import pytest
import torch

from sensorium import cache
from sensorium.building import build, parameters
from sensorium.prepare import Kept, Reader, column
from sensorium.recipe import SIZES, load
from sensorium.records import Blob, Record, Source
from sensorium.towers import TOWERS

pytestmark = pytest.mark.towers


@pytest.fixture
def own_features(tmp_path, monkeypatch, minilm, efficientnet_lite):
    """A cache with the towers and no features."""
    shutil.copytree(cache.root() / "towers", tmp_path / "cache" / "towers")
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))


def pictures(folder):
    return [
        Record(f.stem, Source(str(f)), {"image": Blob(f.name, f), "text": f"a shape {f.stem}"})
        for f in sorted(folder.glob("*.png"))
    ]


def test_only_heads_train():
    counts = parameters(build(load("lit")))
    assert counts["all"] < 2_000_000
    assert counts["all"] < sum(int(t.size / 4) for t in TOWERS.values()) / 10


def test_features_equal_the_tower_run_plainly(own_features, tiny_data):
    records = pictures(tiny_data)[:5]
    for name in ("image", "text"):
        reader = Reader(load("lit"), name)
        made, bad = column(reader, records, name)
        assert not bad
        for at, record in enumerate(records):
            content = reader.read(record.fields[name], "x")
            alone = reader.encode([content])[0]
            assert np.array_equal(made.items[made.index[at][0]], alone)  # to the bit


def test_a_tower_runs_once_for_a_content(own_features, tiny_data, monkeypatch):
    records = pictures(tiny_data)[:6]
    reader = Reader(load("lit"), "image")
    calls = []
    encode = Reader.encode
    monkeypatch.setattr(
        Reader, "encode", lambda self, x: (calls.append(len(x)), encode(self, x))[1]
    )
    first, _ = column(reader, records[:4], "image")
    again, _ = column(Reader(load("lit"), "image"), records, "image")
    assert calls == [4, 2]
    assert np.array_equal(first.items, again.items[:4])


def test_another_crop_or_tower_is_another_key(own_features):
    keys = {
        Reader(load("lit", overrides=overrides), "image").key
        for overrides in ([], ["modalities.image.crop=0.5"], ["modalities.image.resample=bilinear"])
    }
    assert len(keys) == 3


def test_a_damaged_shard_is_absent_not_wrong(own_features, tiny_data):
    records = pictures(tiny_data)[:3]
    reader = Reader(load("lit"), "image")
    whole, _ = column(reader, records, "image")
    (shard,) = (cache.folder("features") / reader.key).glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:100])
    again, _ = column(reader, records, "image")
    assert np.array_equal(whole.items, again.items)
    assert len(Kept(cache.folder("features") / reader.key)._found) == 3


def test_unreadable_pictures_are_set_aside_with_their_record(own_features, tiny_data, tmp_path):
    records = pictures(tiny_data)[:4]
    broken = tmp_path / "broken.png"
    broken.write_bytes((tiny_data / "00.png").read_bytes()[:90])
    records[2] = Record("bad", Source("list.csv", 7), {"image": Blob(str(broken), broken)})
    made, bad = column(Reader(load("lit"), "image"), records, "image")
    assert [len(items) for items in made.index] == [1, 1, 0, 1]
    assert [(x.key, x.source.row, x.field) for x in bad] == [("bad", 7, "image")]
    assert "broken.png" in bad[0].reason


def test_published_size_changes_nothing_that_a_tower_fixes():
    for size in SIZES:
        with torch.device("meta"):
            assert parameters(build(load("lit", size))) == parameters(build(load("lit")))
