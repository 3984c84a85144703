"""The stored index: whatever a stranger or a bad disk made of it gives one error, never a crash."""

import contextlib
import hashlib
import json
import os
import random
import shutil

import numpy as np
import pytest
import safetensors.numpy

from sensorium import integrity, manifest, store
from sensorium.errors import RunError
from sensorium.run import Run


@pytest.fixture
def stored(tiny_copy):
    """The folder of a whole generation."""
    tiny_copy.index()
    place = tiny_copy.folder / "index"
    return place / store.current(place)


def refused(folder, *told) -> None:
    """Loading gives a RunError that says what to do."""
    run = Run.open(folder.parent.parent)
    with pytest.raises(RunError) as error:
        store.load(run)
    assert f"see      sensorium index {run.folder}" in str(error.value)
    for text in told:
        assert text in str(error.value)


def reseal(folder, facts=None, **contents) -> None:
    """Writes files and a manifest that vouches for them: what only the bounds checks can catch."""
    old = manifest.unseal(folder / store.MANIFEST)
    old.pop("sha256")
    old |= facts or {}
    for name, data in contents.items():
        file = {"records": store.RECORDS, "vectors": store.VECTORS}[name]
        (folder / file).write_bytes(data)
        old["files"][file] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / store.MANIFEST).write_bytes(manifest.seal(old))


def lines_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / store.RECORDS).read_bytes().splitlines()]


def as_lines(records) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def test_a_resealed_index_that_is_whole_is_read(stored):
    reseal(stored, records=as_lines(lines_of(stored)))
    assert len(store.load(Run.open(stored.parent.parent)).keys) == 40


@pytest.mark.parametrize("name", [store.MANIFEST, store.RECORDS, store.VECTORS])
def test_damaged_files(stored, name, tmp_path):
    file, rng = stored / name, random.Random(0)
    whole = file.read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:cut])
        refused(stored, name)
    for _ in range(12):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        refused(stored, name)
    file.write_bytes(whole + b"\0")
    refused(stored, name)
    file.unlink()
    refused(stored, name, "missing")
    (tmp_path / "elsewhere").write_bytes(whole)
    os.symlink(tmp_path / "elsewhere", file)
    refused(stored, name, "a link")
    file.unlink()
    file.mkdir()
    refused(stored, name)


@pytest.mark.parametrize(
    "text", ["", "../../run", "/etc/passwd", "0123456789ABCDEF\n", "0" * 16, "0" * 60, "\xff\0"]
)
def test_a_pointer_to_nothing(stored, text):
    (stored.parent / store.CURRENT).write_bytes(text.encode("latin-1"))
    refused(stored)


@pytest.mark.parametrize(
    "facts",
    [
        {"records": 39},
        {"records": "40"},
        {"records": True},
        {"space": 31},
        {"space": -1},
        {"rows": {"image": 40}},
        {"rows": {"image": 40, "text": 41}},
        {"rows": {"image": 40, "text": 40, "../../../etc": 1}, "fields": {"../../../etc": "x"}},
        {"rows": []},
        {"fields": {}},
        {"fields": {"image": 3, "text": "text"}},
        {"weights": {}},
        {"weights": {"sha256": 5, "recipe": "clip", "step": 1}},
        {"files": {}},
        {"files": {store.RECORDS: {"size": "1"}, store.VECTORS: {}}},
        {"data": None},
        {"format": "1"},
    ],
)
def test_a_manifest_that_says_what_cannot_be(stored, facts):
    reseal(stored, facts)
    refused(stored)


def test_a_newer_format(stored):
    reseal(stored, {"format": store.FORMAT + 1, "sensorium": "99.0"})
    with pytest.raises(RunError, match="pip install --upgrade") as error:
        store.load(Run.open(stored.parent.parent))
    assert "99.0" in str(error.value)


def _with(change):
    def changed(folder):
        records = lines_of(folder)
        change(records)
        return as_lines(records)

    return changed


@pytest.mark.parametrize(
    "made",
    [
        _with(lambda r: r[3]["items"]["image"][0].__setitem__(0, 40)),
        _with(lambda r: r[3]["items"]["image"][0].__setitem__(0, -1)),
        _with(lambda r: r[3]["items"]["image"][0].__setitem__(0, 1.0)),
        _with(lambda r: r[3]["items"]["image"][0].__setitem__(0, True)),
        _with(lambda r: r[3]["items"]["image"][0].__setitem__(1, 7)),
        _with(lambda r: r[3]["items"]["image"][0].__setitem__(1, {"file": "/etc/passwd"})),
        _with(lambda r: r[3]["items"]["image"][0].append(1)),
        _with(lambda r: r[3]["items"].__setitem__("audio", [[0, "x"]])),
        _with(lambda r: r[3]["items"].pop("text")),
        _with(lambda r: r[3].__setitem__("items", [])),
        _with(lambda r: r[3].__setitem__("key", r[4]["key"])),
        _with(lambda r: r[3].__setitem__("key", 3)),
        _with(lambda r: r[3].__setitem__("fields", [])),
        _with(lambda r: r[3].pop("source")),
        _with(lambda r: r.pop()),
        lambda folder: b"[" * 100_000 + b"\n" + (folder / store.RECORDS).read_bytes(),
        lambda folder: b"1" * 10_000 + b"\n" * 40,
        lambda folder: b"{},{}\n" + as_lines(lines_of(folder)[2:]),
        lambda folder: b"null\n" * 40,
        lambda folder: b"\xff\xfe\n" * 40,
    ],
)
def test_records_that_say_what_cannot_be(stored, made):
    reseal(stored, records=made(stored))
    refused(stored, store.RECORDS)


def _tensors(**changes):
    def changed(folder):
        tensors = safetensors.numpy.load((folder / store.VECTORS).read_bytes())
        for name, change in changes.items():
            name = name.replace("_", ".")
            tensors[name] = np.ascontiguousarray(change(tensors[name]))
        return safetensors.numpy.save(tensors)

    return changed


def _put(value):
    def change(array):
        array = array.copy()
        array[2, 1] = value
        return array

    return change


@pytest.mark.parametrize(
    "made",
    [
        _tensors(image_vectors=lambda x: x[:-1]),
        _tensors(image_vectors=lambda x: x[:, :-1]),
        _tensors(image_vectors=lambda x: x.astype(np.float64)),
        _tensors(image_vectors=lambda x: x.ravel()),
        _tensors(image_vectors=lambda x: np.zeros((), np.float32)),
        _tensors(image_vectors=_put(np.nan)),
        _tensors(text_vectors=_put(np.inf)),
        _tensors(text_digests=lambda x: x[:, :8]),
        _tensors(text_digests=lambda x: x.astype(np.int32)),
        lambda folder: safetensors.numpy.save({"image.vectors": np.zeros((40, 32), np.float32)}),
        lambda folder: (2**63).to_bytes(8, "little") + b"{}",
        lambda folder: (folder / store.VECTORS).read_bytes()[:-4],
        lambda folder: b"",
    ],
)
def test_vectors_that_say_what_cannot_be(stored, made):
    reseal(stored, vectors=made(stored))
    refused(stored, store.VECTORS)


def test_random_damage_is_one_error(stored):
    """Any bytes under a manifest that vouches for them: a RunError or an index, nothing else."""
    rng = random.Random(1)
    whole = {n: (stored / n).read_bytes() for n in (store.RECORDS, store.VECTORS)}
    for turn in range(60):
        name = store.RECORDS if turn % 2 else store.VECTORS
        data = bytearray(whole[name])
        limit = len(data) if turn % 2 else 700  # the header is where a lie can be told
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(limit)] = rng.randrange(256)
        reseal(stored, **{"records" if turn % 2 else "vectors": bytes(data)})
        with contextlib.suppress(RunError):
            store.load(Run.open(stored.parent.parent))
        reseal(stored, **{"records" if turn % 2 else "vectors": whole[name]})


def test_the_index_of_another_run(stored, tiny_copy, tmp_path):
    shutil.copytree(tiny_copy.folder, tmp_path / "other")
    other = Run.open(tmp_path / "other")
    store.load(other)  # the same weights in another place
    tokenizer = other.folder / "modalities" / "text" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    other.note(sha256=integrity.hashes(other.folder, "modalities"))  # its own, not a damaged one
    with pytest.raises(RunError, match="index of another run") as error:
        store.load(Run.open(other.folder))
    mine, theirs = store.weights(other), store.weights(tiny_copy)
    assert mine["sha256"][:12] in str(error.value)
    assert theirs["sha256"][:12] in str(error.value)


def test_sweeping_leaves_what_is_not_ours(stored):
    place = stored.parent
    for name in ("notes", "0123456789abcdef", "fedcba9876543210"):
        (place / name).mkdir()
    (place / "0123456789abcdef" / "precious.txt").write_text("x")
    (place / "fedcba9876543210" / store.RECORDS).write_text("half")
    store.sweep(place)
    assert {x.name for x in place.iterdir() if x.is_dir()} == {
        "notes", "0123456789abcdef", stored.name,
    }  # fmt: skip
