"""The data of a comparison: read and prepared once, linked into runs, refused where it changed."""

import json
import shutil

import pytest
import small
from pyarrow import parquet

from sensorium import reading
from sensorium.comparison import arena as arenas
from sensorium.comparison.arena import Arena, place
from sensorium.errors import DataError
from sensorium.prepare import Reader
from sensorium.recipe import Recipe
from sensorium.world import _making

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    """As in a new process: nothing is read yet."""
    monkeypatch.setattr(arenas, "_KEPT", {})


def forget(monkeypatch):
    monkeypatch.setattr(arenas, "_KEPT", {})


@pytest.fixture
def data(small_world, tmp_path):
    return shutil.copytree(small_world, tmp_path / "world")


def changed(recipe: Recipe, **more) -> Recipe:
    return recipe.model_copy(update=more)


def test_a_process_reads_and_prepares_once(small_world, tmp_path, monkeypatch):
    read, prepared = [], []
    own, column = reading.read, arenas.column
    monkeypatch.setattr(reading, "read", lambda *x, **y: read.append(x) or own(*x, **y))
    monkeypatch.setattr(arenas, "column", lambda *x: prepared.append(x[2]) or column(*x))
    plan, recipe = small.plan(small_world), small.recipe("clip")
    read.clear()  # the plan looks at its data too
    for seed in (1, 2):
        run, arena = small.bare(plan, recipe, tmp_path, seed)
        columns = arena.columns(run.recipe)
    assert len(read) == 1
    assert sorted(prepared) == ["caption", "image"]
    # Another length of texts is another column of them, and the pictures are the same.
    other = recipe.model_copy(
        update={"modalities": {**recipe.modalities, "text": {"use": "text", "length": 9}}}
    )
    assert Arena.of(plan, tmp_path, other) is arena
    made = arena.columns(other)
    assert sorted(prepared) == ["caption", "caption", "image"]
    assert made["image"] is columns["image"]


def test_what_was_learned_is_kept_and_found_by_the_next_process(small_world, tmp_path, monkeypatch):
    plan, recipe = small.plan(small_world), small.recipe("clip")
    run, arena = small.bare(plan, recipe, tmp_path)
    made = arena.reader(recipe, "text").modality
    words = "a red owl left of a green lion"
    expected = made.tokens(words, None).ids.tolist()
    assert run.modalities["text"].tokens(words, None).ids.tolist() == expected

    def refuse(*given):
        raise AssertionError("it was fitted again")

    forget(monkeypatch)
    monkeypatch.setattr(type(Reader(recipe, "text").modality), "fit", refuse)
    again = Arena.of(plan, tmp_path, recipe).reader(recipe, "text").modality
    assert again.tokens(words, None).ids.tolist() == expected


def test_a_run_knows_its_data(small_world, tmp_path):
    plan, recipe = small.plan(small_world), small.recipe("clip")
    run, arena = small.bare(plan, recipe, tmp_path)
    splits = json.loads((run.folder / "splits.json").read_text())
    assert splits == {record.key: record.split for record in arena.records}
    assert {x.split for x in run.records()} == {"train", "validation", "test"}


def test_a_look_is_a_part_of_validation(small_world, tmp_path, monkeypatch):
    arena = Arena.of(small.plan(small_world), tmp_path, small.recipe("clip"))
    monkeypatch.setattr(arenas, "MOST", {"look": 4, "validation": 9, "test": 100})
    keys = {split: {x.key for x in arena.asked(split)} for split in ("look", "validation", "test")}
    assert keys["look"] < keys["validation"]
    assert [len(keys[x]) for x in ("look", "validation", "test")] == [4, 9, 14]
    assert all(x.split == "validation" for x in arena.asked("validation"))


def rewritten(file, change):
    table = parquet.read_table(file)
    rows = table.to_pylist()
    change(rows)
    parquet.write_table(type(table).from_pylist(rows, table.schema), file, row_group_size=256)


@pytest.mark.parametrize("field", ["caption", "caption_colours", "image", "fact.colour_1"])
def test_data_that_changed_between_two_starts_is_refused(data, tmp_path, monkeypatch, field):
    """Also what no arm trains on: a twin, a probed field; and the bytes of a picture."""
    plan, recipe = small.plan(data), small.recipe("clip")
    Arena.of(plan, tmp_path, recipe).columns(recipe)
    forget(monkeypatch)
    Arena.of(plan, tmp_path, recipe).columns(recipe)  # unchanged, it goes on
    (file,) = data.glob("test-*.parquet")

    def change(rows):
        rows[3][field] = rows[4][field] if field == "image" else "purple"

    key = parquet.read_table(file).column("key")[3].as_py()
    rewritten(file, change)
    forget(monkeypatch)
    with pytest.raises(DataError, match=f"record {key}.*\n.*comparison began with"):
        Arena.of(plan, tmp_path, recipe).columns(recipe)


def test_a_record_that_is_gone_is_refused(data, tmp_path, monkeypatch):
    plan, recipe = small.plan(data), small.recipe("clip")
    Arena.of(plan, tmp_path, recipe).columns(recipe)
    (file,) = data.glob("test-*.parquet")
    key = parquet.read_table(file).column("key")[3].as_py()
    rewritten(file, lambda rows: rows.pop(3))
    forget(monkeypatch)
    with pytest.raises(DataError, match=f"record {key}"):
        Arena.of(plan, tmp_path, recipe).columns(recipe)


def test_a_world_is_made_once(empty_cache, monkeypatch):
    made = []
    own = _making.make
    monkeypatch.setattr(
        _making, "make", lambda *x, **y: made.append(x) or own(*x, **(y | {"workers": 0}))
    )
    plan = small.plan({"world": "binding", "scenes": 100, "seed": 4})
    first = place(plan)
    assert place(small.plan({"world": "binding", "scenes": 100, "seed": 4}, seeds=[5, 6])) == first
    assert len(made) == 1
    assert len([x for x in reading.read(first) if x.split == "train"]) >= 100
    other = small.plan({"world": "binding", "scenes": 100, "seed": 4, "set": {"canvas": 48}})
    assert place(other) != first
    assert len(made) == 2


def test_another_process_may_make_the_same_world(empty_cache, monkeypatch):
    """Two that begin at once: the slower one finds the folder there."""
    plan = small.plan({"world": "binding", "scenes": 100})
    own = _making.make

    def slower(setting, scenes, seed, out, workers):
        own(setting, scenes, seed, out)
        return own(setting, scenes, seed, out)

    monkeypatch.setattr(_making, "make", slower)
    assert len(reading.read(place(plan))) > 100
