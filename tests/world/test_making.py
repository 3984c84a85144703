"""Making: read back what was written, the same for any workers, whole or not there, mistakes."""

import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from sensorium.errors import DataError, UserError
from sensorium.world import _drawing, _making, _sampling, _setting


def load(name="binding", *changes):
    return _setting.load(name, list(changes))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "binding"
    facts = _making.make(load(), 120, 7, folder)
    return folder, facts


def rows(folder, split):
    files = sorted(folder.glob(f"{split}-*.parquet"))
    return [row for file in files for row in parquet.read_table(file).to_pylist()]


def digests(folder):
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_each_split_has_its_scenes_and_they_add_up(made):
    folder, facts = made
    counts = {split: len(rows(folder, split)) for split in ("train", "validation", "test")}
    assert sum(counts.values()) == 120
    assert counts["test"] == counts["validation"] == 12
    unseen = rows(folder / "unseen", "test")
    assert facts["counts"] == {**counts, "unseen": len(unseen)}
    keys = [row["key"] for split in counts for row in rows(folder, split)]
    assert len(set(keys)) == 120


def test_a_row_is_its_scene(made):
    """Every column against the scene drawn anew: picture by pixels, boxes, factors."""
    folder, _ = made
    setting = load()
    for at, row in enumerate(rows(folder, "validation")):
        scene = _sampling.scene(setting, 7, "validation", at)
        assert row["key"] == scene.key
        assert row["split"] == "validation"
        pixels = np.asarray(Image.open(io.BytesIO(row["image"])))
        assert (pixels == _drawing.draw(scene)).all()
        assert [tuple(one["box"]) for one in json.loads(row["boxes"])] == [
            thing.box for thing in scene.things
        ]
        for name in ("kind_1", "colour_2", "relation"):
            assert row[f"fact.{name}"] == scene.facts[name]


def test_things_of_the_unseen_split_are_in_no_other(made):
    folder, _ = made
    seen = {
        row[name]
        for split in ("train", "validation", "test")
        for row in rows(folder, split)
        for name in ("fact.kind_1", "fact.kind_2")
    }
    unseen = {
        row[name]
        for row in rows(folder / "unseen", "test")
        for name in ("fact.kind_1", "fact.kind_2")
    }
    assert len(seen) == 16
    assert not seen & unseen


def test_splits_share_no_combination(made):
    folder, _ = made
    held = [
        {tuple(row[f"fact.{name}"] for name in load().split.over) for row in rows(folder, split)}
        for split in ("train", "validation", "test")
    ]
    assert len(set.union(*held)) == sum(map(len, held))


def test_the_same_bytes_again_and_with_workers(made, tmp_path, monkeypatch):
    folder, _ = made
    _making.make(load(), 120, 7, tmp_path / "again")
    assert digests(tmp_path / "again") == digests(folder)
    _making.make(load(), 120, 7, tmp_path / "two", workers=2)
    assert digests(tmp_path / "two") == digests(folder)
    _making.make(load(), 120, 8, tmp_path / "other")
    assert (
        digests(tmp_path / "other")["train-00000.parquet"] != digests(folder)["train-00000.parquet"]
    )


def test_many_shards_hold_the_same_rows_as_one(made, tmp_path, monkeypatch):
    folder, _ = made
    monkeypatch.setattr(_making, "SHARD", 32)
    monkeypatch.setattr(_making, "GROUP", 5)
    told = []
    _making.make(
        load(), 120, 7, tmp_path / "w", progress=lambda done, total: told.append((done, total))
    )
    assert len(list((tmp_path / "w").glob("train-*.parquet"))) == 3
    assert parquet.ParquetFile(tmp_path / "w" / "train-00001.parquet").num_row_groups == 7
    for split in ("train", "validation", "test"):
        assert rows(tmp_path / "w", split) == rows(folder, split)
    assert told[-1] == (132, 132)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_the_facts_make_the_same_world_again(made, tmp_path):
    folder, facts = made
    told = _making.read_facts(folder)
    assert told == json.loads(json.dumps(facts))
    setting = _setting.check(told["setting"])
    assert setting.hash == told["hash"] == load().hash
    _making.make(setting, told["scenes"], told["seed"], tmp_path / "w")
    assert digests(tmp_path / "w") == digests(folder)


def test_the_datasheet_says_what_it_is_and_is_not(made):
    folder, _ = made
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert "132 scenes of two things on a canvas of 32 x 32 pixels" in page
    assert "- train: 96 scenes" in page
    assert "What it is not" in page
    assert "No photographs" in page
    assert "{" not in page


def test_the_datasheet_says_what_texts_tell_without_saying_it(tmp_path):
    """A split of `plain` binds the ground to kind and colour; that of `dropout`, whose captions
    tell a word alone, binds it to nothing that is said."""
    _making.make(load("plain"), 10, 0, tmp_path / "plain")
    page = (tmp_path / "plain" / "README.md").read_text(encoding="utf-8")
    assert "never mentioned in a caption: ground" in page
    assert (
        "told a little by which combinations a split holds (see its probe's floors): ground" in page
    )
    assert "`fact.FACTOR`" in page
    _making.make(load("dropout"), 10, 0, tmp_path / "dropout")
    assert "told a little" not in (tmp_path / "dropout" / "README.md").read_text(encoding="utf-8")


def test_missing_shares_and_wrong_pairs_are_as_drawn(tmp_path):
    setting = load("plain", "missing.image=0.3", "wrong_pairs=0.4")
    _making.make(setting, 300, 0, tmp_path / "w")
    found = rows(tmp_path / "w", "train")
    absent = np.mean([row["image"] is None for row in found])
    assert abs(absent - 0.3) < 4 * np.sqrt(0.3 * 0.7 / len(found))
    wrong = np.mean([row["fact.kind_1"] not in row["caption"] for row in found])
    # A stranger's text may fit by chance: one of 240 train records in as many as there are kinds.
    assert 0.2 < wrong < 0.5
    for row in rows(tmp_path / "w", "test"):
        assert row["fact.kind_1"] in row["caption"]


def test_ten_scenes_are_enough_and_nine_are_not(tmp_path):
    facts = _making.make(load(), 10, 0, tmp_path / "w")
    assert facts["counts"]["train"] == 4
    with pytest.raises(UserError, match="at least 10, found 9"):
        _making.make(load(), 9, 0, tmp_path / "v")
    assert not (tmp_path / "v").exists()


def test_a_folder_in_use_is_refused_and_an_empty_one_is_not(tmp_path):
    (tmp_path / "w").mkdir()
    _making.make(load(), 10, 0, tmp_path / "w")
    before = digests(tmp_path / "w")
    with pytest.raises(DataError, match="nothing was overwritten") as caught:
        _making.make(load(), 10, 1, tmp_path / "w")
    assert "world show" in str(caught.value)
    assert digests(tmp_path / "w") == before
    (tmp_path / "file").write_text("a")
    with pytest.raises(DataError, match="new or empty"):
        _making.make(load(), 10, 1, tmp_path / "file")


def test_what_fails_half_way_leaves_nothing(tmp_path, monkeypatch):
    real = _making.record

    def break_(setting, seed, split, at):
        if split == "test":
            raise OSError(28, "No space left on device")
        return real(setting, seed, split, at)

    monkeypatch.setattr(_making, "record", break_)
    with pytest.raises(DataError, match="No space left"):
        _making.make(load(), 30, 0, tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


def test_facts_that_are_not_there_or_damaged(made, tmp_path):
    folder, _ = made
    with pytest.raises(DataError, match="nearest  binding"):
        _making.read_facts(folder.parent / "bindign")
    (tmp_path / "world.json").write_text("{")
    with pytest.raises(DataError, match="expected JSON"):
        _making.read_facts(tmp_path)
    (tmp_path / "world.json").write_text("[1]")
    with pytest.raises(DataError, match="made world's facts"):
        _making.read_facts(tmp_path)
