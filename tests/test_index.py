"""Building an index: what is embedded, kept, dropped, set aside; and being killed while at it."""

import os
import shutil
import signal
import sys
import threading

import numpy as np
import pytest
from conftest import shape
from miniature import csv_of, jsonl_of, picture

from sensorium import index as indexing
from sensorium import store
from sensorium.errors import DataError, RunError
from sensorium.run import Run

PICTURES = 40  # in `tiny_data`


@pytest.fixture
def gallery(tiny_data, tmp_path):
    """A folder of captioned shapes that a test may change."""
    return shutil.copytree(tiny_data, tmp_path / "shapes")


@pytest.fixture
def embedded(monkeypatch):
    """Counts the contents that are embedded, by modality."""
    counts = {"image": 0, "text": 0}
    embed = Run.embed

    def counting(self, modality, column):
        counts[modality] += len(column.items)
        return embed(self, modality, column)

    monkeypatch.setattr(Run, "embed", counting)
    return counts


def cheap(self, modality, column):
    """Unit vectors without a model: of the content alone, like the real ones."""
    rows = [np.random.default_rng(abs(int(one))).normal(size=32) for one in column.identity]
    made = np.array(rows, np.float32).reshape(-1, 32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def again(run) -> Run:
    return Run.open(run.folder)


def generations(run) -> list:
    return [x for x in (run.folder / "index").iterdir() if x.is_dir()]


def vectors_of(index, modality="image") -> dict:
    """key -> the vectors of its items."""
    pool = index.pools[modality]
    found: dict = {}
    for owner, content in zip(pool.owner, pool.content, strict=True):
        found.setdefault(index.keys[owner], []).append(pool.vectors[content])
    return {key: np.stack(rows) for key, rows in found.items()}


def test_everything_is_there_and_is_what_the_model_gives(tiny_copy, tiny_run):
    built = tiny_copy.index()
    assert (built.records, built.rows, built.new, built.removed) == (PICTURES, 80, 80, 0)
    assert (built.rejected, built.reasons, built.notes) == (0, (), ())
    index = store.load(tiny_copy)
    records = tiny_run.records()
    assert index.keys == [record.key for record in records]
    for modality in ("image", "text"):
        expected = tiny_run.embed(modality, tiny_run.column(modality, records.records))
        found = vectors_of(index, modality)
        for record, vector in zip(records, expected, strict=True):
            np.testing.assert_allclose(found[record.key], vector[None], atol=1e-5)
    assert index.pools["text"].labels == [record.fields["text"] for record in records]
    assert {values["split"] for values in index.values} == {"train", "validation", "test"}


def test_only_what_changed_is_embedded(tiny_copy, gallery, embedded):
    tiny_copy.index(gallery)
    assert embedded == {"image": PICTURES, "text": PICTURES}
    before = vectors_of(store.load(tiny_copy))
    names = {x.name for x in (tiny_copy.folder / "index").iterdir()}

    built = again(tiny_copy).index(gallery)
    assert (built.new, built.removed, embedded["image"]) == (0, 0, PICTURES)
    assert {x.name for x in (tiny_copy.folder / "index").iterdir()} == names  # nothing written

    shape("large", "green", "circle").rotate(45).save(gallery / "03.png")  # changed
    (gallery / "04.png").rename(gallery / "moved.png")
    (gallery / "04.txt").rename(gallery / "moved.txt")
    (gallery / "05.png").unlink()
    (gallery / "new.png").write_bytes(picture(7))
    (gallery / "new.txt").write_text("a thing of another kind")
    built = again(tiny_copy).index(gallery)
    assert embedded == {"image": PICTURES + 2, "text": PICTURES + 1}
    assert (built.records, built.new, built.removed) == (PICTURES, 3, 3)
    after = vectors_of(store.load(tiny_copy))
    assert set(after) == set(before) - {"04.png", "05.png"} | {"moved.png", "new.png"}
    np.testing.assert_array_equal(after["moved.png"], before["04.png"])
    assert not np.allclose(after["03.png"], before["03.png"])
    for key in set(after) & set(before) - {"03.png"}:
        np.testing.assert_array_equal(after[key], before[key])


def test_step_by_step_equals_at_once(tiny_copy, gallery):
    for name in sorted(gallery.glob("*.png"))[:20]:
        name.rename(name.with_suffix(".later"))
    tiny_copy.index(gallery)
    for name in gallery.glob("*.later"):
        name.rename(name.with_suffix(".png"))
    tiny_copy.index(gallery)
    grown = vectors_of(store.load(tiny_copy))
    shutil.rmtree(tiny_copy.folder / "index")
    tiny_copy.index(gallery)
    whole = vectors_of(store.load(again(tiny_copy)))
    assert grown.keys() == whole.keys()
    for key, vector in whole.items():
        np.testing.assert_allclose(grown[key], vector, atol=1e-6)


def test_a_content_is_stored_once(tiny_copy, tmp_path, embedded):
    rows = [{"photo": f"{n}.png", "title": "the same"} for n in range(6)]
    for n in range(6):
        (tmp_path / f"{n}.png").write_bytes(picture(n // 2))
    built = tiny_copy.index(csv_of(tmp_path / "t.csv", rows))
    assert embedded == {"image": 3, "text": 1}
    assert (built.records, built.rows, built.new) == (6, 12, 4)
    index = store.load(tiny_copy)
    assert index.pools["image"].vectors.shape == (3, 32)
    assert index.pools["image"].content.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_bare_gallery(tiny_copy, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.png").write_bytes(picture(n))
    (folder / "1.txt").write_text("one of three has a caption")
    (folder / "broken.png").write_bytes(picture(9, size=(90, 70))[:80])
    (folder / "wrong.png").write_bytes(b"no picture at all")
    built = tiny_copy.index(folder)
    assert (built.records, built.rows, built.rejected) == (3, 4, 2)
    assert {reason.key for reason in built.reasons} == {"broken.png", "wrong.png"}
    assert [r["key"] for r in tiny_copy.search("a red circle")] != []


def test_texts_alone_can_be_indexed(tiny_copy, tmp_path):
    file = jsonl_of(tmp_path / "t.jsonl", [{"id": f"k{n}", "title": f"a {n}"} for n in range(4)])
    built = tiny_copy.index(file)
    assert (built.records, built.rows) == (4, 4)
    found = tiny_copy.search("a 2", k=1)[0]
    assert (found["key"], found["modality"], found["text"]) == ("k2", "text", "a 2")


def test_several_captions_and_fields(tiny_copy, tmp_path):
    (tmp_path / "a.png").write_bytes(picture(1))
    line = {"image": "a.png", "text": ["one", "two", " "], "year": 1999, "tags": ["x", 3, None],
            "good": True, "none": None, "deep": {"a": 1}}  # fmt: skip
    tiny_copy.index(jsonl_of(tmp_path / "t.jsonl", [line]))
    index = store.load(tiny_copy)
    assert index.pools["text"].labels[:2] == ["one", "two"]
    assert index.pools["text"].owner.tolist()[:2] == [0, 0]
    kept = index.values[0]
    assert (kept["year"], kept["good"], kept["tags"][:2]) == (1999, True, ["x", 3])
    assert "none" not in kept
    assert "image" not in kept


def test_nothing_to_index(tiny_copy, tmp_path):
    file = csv_of(tmp_path / "t.csv", [{"photo": "gone.png", "price": "3"}])
    with pytest.raises(DataError, match="at least one picture or text") as error:
        tiny_copy.index(file)
    assert "gone.png" in str(error.value)
    with pytest.raises(DataError, match="no data at"):
        tiny_copy.index(tmp_path / "nowhere")


def test_what_is_told_of_progress(tiny_copy):
    told: list = []
    tiny_copy.index(progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (80, 80)
    assert told == sorted(told)


def test_other_weights_replace_it_entirely(tiny_copy, embedded):
    tiny_copy.index()
    other = again(tiny_copy)
    steps = {int(x.name[5:]) for x in (other.folder / "checkpoints").glob("step-*")}
    step = min(steps - {other.info["best_step"]})
    other.note(best_step=step)
    with pytest.raises(RunError, match="index of another run") as error:
        other.search("a red circle")
    for named in (f"step {step})", f"step {tiny_copy.info['best_step']})", "sensorium index "):
        assert named in str(error.value)
    before = embedded["image"]
    built = other.index()
    assert (embedded["image"] - before, built.new) == (PICTURES, 80)
    assert any("other weights" in note for note in built.notes)
    assert other.search("a red circle", k=1)


def test_a_damaged_index_is_made_anew(tiny_copy):
    tiny_copy.index()
    place = tiny_copy.folder / "index"
    generation = place / store.current(place)
    (generation / store.VECTORS).write_bytes(b"nonsense")
    built = again(tiny_copy).index()
    assert built.new == 80
    assert any("could not be used" in note for note in built.notes)
    assert len(again(tiny_copy).search("a red circle", k=99)) == PICTURES


def test_one_builder_at_a_time(tiny_copy):
    from sensorium import files

    with files.claim(tiny_copy.folder / "index"), pytest.raises(RunError, match="in use by"):
        tiny_copy.index()


def test_a_full_disk_leaves_the_old_index(tiny_copy, gallery, monkeypatch):
    tiny_copy.index(gallery)
    (gallery / "05.png").unlink()

    write_new = store.files.write_new

    def full(path, chunks):
        if path.name == store.VECTORS:
            raise OSError(28, "No space left on device")
        return write_new(path, chunks)

    with monkeypatch.context() as patch:
        patch.setattr(store.files, "write_new", full)
        with pytest.raises(RunError, match="bytes could not be written") as error:
            tiny_copy.index(gallery)
    assert "last good index still holds" in str(error.value)
    assert len(again(tiny_copy).search("a red circle", k=99)) == PICTURES
    assert len(generations(tiny_copy)) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_every_call_that_writes(tiny_copy, gallery, monkeypatch):
    """kill -9 before the 1st, 2nd, ... call that changes the disk: the old index or the new one."""
    monkeypatch.setattr(Run, "embed", cheap)
    less = shutil.copytree(gallery, gallery.parent / "less")
    (less / "01.png").unlink()
    keys = {place: {x.name for x in place.glob("*.png")} for place in (gallery, less)}
    tiny_copy.index(gallery)
    old, new, swapped = gallery, less, []
    for at in range(1, 200):
        child = os.fork()
        if not child:
            _die_at(at)
            try:
                again(tiny_copy).index(new)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        found = set(store.load(again(tiny_copy)).keys)
        assert found in (keys[old], keys[new])
        swapped.append(found == keys[new])
        if not os.WIFSIGNALED(status):
            break
        if swapped[-1]:  # the next one has all of its work before it again
            old, new = new, old
    assert len(swapped) > 20
    assert swapped[-1]
    assert not swapped[0]
    again(tiny_copy).index(old)
    assert len(generations(tiny_copy)) == 1  # no litter


def _die_at(count: int) -> None:
    """Kills this process at its `count`-th call of one that changes the disk."""
    left = [count]

    def deadly(call):
        def wrapped(*args, **more):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **more)

        return wrapped

    for name in ("write", "fsync", "replace", "unlink", "mkdir", "rmdir"):
        setattr(os, name, deadly(getattr(os, name)))


def test_readers_see_the_old_or_the_new(tiny_copy, gallery, monkeypatch):
    monkeypatch.setattr(Run, "embed", cheap)
    tiny_copy.index(gallery)
    whole = set(store.load(tiny_copy).keys)
    moved = gallery.parent / "aside.png"
    less = whole - {"01.png"}
    done, wrong, reads = threading.Event(), [], [0]

    def read():
        while not done.is_set():
            try:
                keys = set(store.load(again(tiny_copy)).keys)
                reads[0] += 1
                if keys not in (whole, less):
                    wrong.append(keys)
            except Exception as error:
                wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(12):
        if turn % 2:
            moved.rename(gallery / "01.png")
        else:
            (gallery / "01.png").rename(moved)
        again(tiny_copy).index(gallery)
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert reads[0] > 0


def test_a_run_in_memory_follows_a_new_index(tiny_copy, gallery):
    tiny_copy.index(gallery)
    opened = again(tiny_copy)
    assert len(opened.search(like="00.png", k=99)) == PICTURES - 1
    first = store.load(opened)
    assert store.load(opened) is first  # read once
    (gallery / "05.png").unlink()
    again(tiny_copy).index(gallery)
    assert len(opened.search(like="00.png", k=99)) == PICTURES - 2


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_names_in_any_script(tiny_copy, tmp_path):
    folder = tmp_path / "grüße 你好"
    folder.mkdir()
    names = ["é.png", "e\u0301.png", "你好 世界.png", "🎈.png", "a'\"\\n.png", "مرحبا.png",
             os.fsdecode(b"\xff\xfe.png")]  # fmt: skip
    for n, name in enumerate(names):
        (folder / name).write_bytes(picture(n * 40, size=(9 + n, 7)))
    assert tiny_copy.index(folder).records == len(names)
    assert set(store.load(again(tiny_copy)).keys) == set(names)
    for name in names:
        found = again(tiny_copy).search(like=name, k=99)
        assert {hit["key"] for hit in found} == set(names) - {name}
        assert all(os.path.exists(hit["file"]) for hit in found)


def test_large_ones_get_a_graph_and_the_extra_is_named(tiny_copy, monkeypatch):
    pytest.importorskip("usearch")
    monkeypatch.setattr(indexing, "LARGE", 10)
    monkeypatch.setattr(indexing, "find_spec", lambda name: None)
    built = tiny_copy.index()
    assert sum("sensorium[index]" in note for note in built.notes) == 2
    monkeypatch.undo()
    monkeypatch.setattr(indexing, "LARGE", 10)
    built = tiny_copy.index()  # nothing new, but now there can be a graph
    assert (built.new, built.notes) == (0, ())
    assert store.load(tiny_copy).pools["image"].graph
