"""What the source was trained on is not in the new test split, or it is counted."""

import json
import shutil
from dataclasses import replace

import pytest
from conftest import TINY
from tuned import table_beside, tuned

from sensorium import reading
from sensorium.errors import DataError
from sensorium.finetuning import splitting
from sensorium.finetuning.deriving import Wish
from sensorium.finetuning.tuning import prepared
from sensorium.pretraining import pretrain
from sensorium.records import Records
from sensorium.run import Run

COLOUR = Wish("classification", label="colour", fields={"photo": "image"}, seed=7)


@pytest.fixture(scope="module")
def own(tiles, tmp_path_factory, own_cache):
    """A source trained on tiles.csv itself."""
    return pretrain(
        tiles, "clip", out=tmp_path_factory.mktemp("own") / "run", budget="1-steps",
        fields={"photo": "image", "title": "text"}, overrides=[*TINY], seed=3,
    )  # fmt: skip


def test_the_sources_own_records_keep_their_splits(own, tiles):
    before = json.loads((own.folder / "splits.json").read_text())
    _, records = prepared(own, tiles, COLOUR)
    assert {record.key: record.split for record in records} == before
    assert any("72 of 72 records keep" in note for note in records.notes)


def test_so_do_those_of_the_sources_source(own, tiles, tmp_path):
    other = table_beside(tiles, "second", kind=lambda at: at % 2)
    second = tuned(own, other, tmp_path / "second", budget="1-steps", label="kind", seed=9)
    before = json.loads((own.folder / "splits.json").read_text())
    _, records = prepared(second, tiles, COLOUR)
    assert {record.key: record.split for record in records} == before
    # And what the source was trained on is counted in the other table: byte for byte, by hand.
    trained = {
        (tiles.parent / record.fields["photo"].name).read_bytes()
        for record in own.records()
        if record.split == "train"
    }
    asked = [r for r in second.records() if r.split == "test"]
    by_hand = sum(record.fields["photo"].read() in trained for record in asked)
    assert by_hand
    assert second.info["seen_by_source"] == {"records": by_hand, "of": len(asked)}


def test_a_record_that_the_source_lacked_goes_with_its_group(own, tiles, tmp_path):
    """The source forgot some records: one shares its picture with a record of training."""
    copy = tmp_path / "copy"
    shutil.copytree(own.folder, copy)
    table = tmp_path / "tiles.csv"
    for name in tiles.parent.glob("*.png"):
        shutil.copyfile(name, tmp_path / name.name)
    text = tiles.read_text().splitlines()
    known = json.loads((copy / "splits.json").read_text())
    records = own.records()
    at = next(i for i, record in enumerate(records) if record.split == "train")
    line = next(x for x in text if x.startswith(records[at].fields["photo"].name))
    more = line.replace(records[at].fields["photo"].name, "twin.png")
    shutil.copyfile(tmp_path / records[at].fields["photo"].name, tmp_path / "twin.png")
    table.write_text("\n".join([*text, more]) + "\n")
    info = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(info | {"data": str(table)}))
    for seed in range(5):
        wish = Wish("classification", label="colour", fields={"photo": "image"}, seed=seed)
        _, found = prepared(Run.open(copy), table, wish)
        twin = next(r for r in found if r.fields["photo"].name.endswith("twin.png"))
        assert twin.key not in known
        assert twin.split == "train"


def test_a_split_that_nothing_is_left_of_is_refused(own, tiles):
    records = reading.read(tiles, {"photo": "image"}, train=("image",))
    with pytest.raises(DataError, match="source's validation split"):
        splitting._assigned(records, {record.key: "train" for record in records})


def test_data_of_the_source_that_is_gone_is_said(own, tiles, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(own.folder, copy)
    info = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(info | {"data": str(tmp_path / "gone.csv")}))
    told = splitting.overlap(Run.open(copy), own.records())
    assert told["records"] is None
    assert "gone.csv" in splitting.overlap_line(told)


def test_texts_are_compared_too(own):
    records = own.records()
    assert splitting.overlap(own, records)["records"] == 0
    moved = [r for r in records if r.split == "train"][:4]
    words = [
        replace(r, split="test", fields={"words": " " + r.fields["title"].upper()}) for r in moved
    ]
    told = splitting.overlap(own, Records("words", words, {"words": "text"}))
    assert told == {"records": 4, "of": 4}
