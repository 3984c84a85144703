"""What the source was trained on is not in the new test split, or it is counted."""

import json
import shutil
from dataclasses import replace

import pytest
from conftest import TINY
from tuned import table_beside, tuned

from sensorium import integrity, reading
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
    stated = ("test", "train", "train", "validation", "train")
    kinds = dict(kind=lambda at: at % 2, split=lambda at: stated[at % 5])
    other = table_beside(tiles, "second", **kinds)
    second = tuned(own, other, tmp_path / "second", budget="1-steps", label="kind")
    swap = {"test": "validation", "validation": "test", "train": "train"}
    file = second.folder / "source" / "splits.json"
    before = {key: swap[split] for key, split in json.loads(file.read_text()).items()}
    file.write_text(json.dumps(before))  # no longer what would be drawn again
    second.note(sha256=integrity.hashes(second.folder, "modalities", "source"))
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


def test_a_record_that_the_source_lacked_goes_with_its_group(tiles):
    records = reading.read(tiles, {"photo": "image"}, train=("image",))
    known = {record.key: record.split for record in records}
    first = records[records.positions("train")[0]]
    lone = next(at for at in records.positions("test"))
    del known[records[lone].key]
    records.records.append(replace(first, key="twin", split="test"))
    found = {r.key: r.split for r in splitting._assigned(records, known)}
    assert found["twin"] == "train", "its picture was trained on"
    assert found[records[lone].key] == "test", "its picture was not"


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
