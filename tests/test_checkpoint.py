"""Checkpoints: bits come back; old or new after any failure; nothing hostile gets in or out."""

import contextlib
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import struct
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_files import break_call, posix

from sensorium import checkpoint, files, manifest
from sensorium.errors import RunError
from sensorium.manifest import Damaged

HASH = "a" * 12


def same(left, right) -> bool:
    """Equal to the bit: types, key types and order, NaN payloads, tensors' dtypes and shapes."""
    if isinstance(left, torch.Tensor):
        return (
            isinstance(right, torch.Tensor)
            and (left.dtype, left.shape) == (right.dtype, right.shape)
            and bits(left) == bits(right)
        )
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(
            type(a) is type(b) and same(left[a], right[b]) for a, b in zip(left, right, strict=True)
        )
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return struct.pack("d", left) == struct.pack("d", right)
    return left == right


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@st.composite
def tensors(draw):
    """Any dtype, any bytes (NaN payloads too), 0-dim and zero-size, contiguous or transposed."""
    dtype = getattr(torch, draw(st.sampled_from(list(manifest.CODES))))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    size = int(np.prod(shape)) * dtype.itemsize
    data = draw(st.binary(min_size=size, max_size=size))
    if dtype == torch.bool:
        data = bytes(byte & 1 for byte in data)
    flat = torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)
    tensor = flat.reshape(shape)
    return tensor.transpose(0, -1) if tensor.dim() > 1 and draw(st.booleans()) else tensor


FLOATS = st.integers(0, 2**64 - 1).map(lambda word: struct.unpack("d", struct.pack("Q", word))[0])
STATES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | FLOATS | st.text() | tensors(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.just("$tensor"), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(
    state=st.dictionaries(
        st.sampled_from(["model", "optimiser", "objectives", "progress"]), STATES, max_size=4
    ),
    step=st.integers(0, 10**9),
)
def test_every_state_comes_back_to_the_bit(tmp_path_factory, state, step):
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    path = checkpoint.save(folder, step, state, HASH)
    found = checkpoint.load(folder, recipe_hash=HASH)
    assert same(state, found.state)
    assert (found.path, found.step, found.recipe_hash, found.skipped) == (path, step, HASH, ())
    assert path == folder / f"step-{step:08d}"
    assert [p.name for p in folder.iterdir()] == [path.name]


def a_state(value: float = 1.0, size: int = 3) -> dict:
    weight = torch.full((size, 2), value)
    return {
        "model": {"embed.weight": weight, "head.weight": weight, "bias": torch.zeros(2).bfloat16()},
        "optimiser": {"state": {0: {"step": torch.tensor(value), "exp_avg": weight * 2}}},
        "progress": {"step": int(value), "best_score": float("-inf")},
    }


@pytest.mark.parametrize("fused", [False, True])
def test_torch_optimisers_resume_to_the_bit(tmp_path, fused):
    torch.manual_seed(0)
    data = torch.randn(20, 4, 3)

    def build():
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.LayerNorm(5))
        return model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)

    def run(model, optimiser, batches):
        for batch in batches:
            optimiser.zero_grad()
            model(batch).square().mean(0)[0].backward()
            optimiser.step()

    model, optimiser = build()
    run(model, optimiser, data[:10])
    state = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
    checkpoint.save(tmp_path, 10, state, HASH)
    run(model, optimiser, data[10:])
    again, optimiser_again = build()
    found = checkpoint.load(tmp_path)
    again.load_state_dict(found.state["model"])
    optimiser_again.load_state_dict(found.state["optimiser"])
    run(again, optimiser_again, data[10:])
    assert same(dict(model.state_dict()), dict(again.state_dict()))
    assert same(optimiser.state_dict(), optimiser_again.state_dict())


def test_the_librarys_own_reader_reads_our_file(tmp_path):
    state = {"model": {"a": torch.arange(3), "b.c": torch.randn(2, 2).half(), "d": torch.tensor(1)}}
    path = checkpoint.save(tmp_path, 0, state, HASH) / "model.safetensors"
    assert same(safetensors.torch.load_file(path).get("b.c"), state["model"]["b.c"])
    with safetensors.safe_open(path, "pt") as opened:
        assert opened.metadata() == {"format": "pt"}
        assert sorted(opened.keys()) == ["a", "b.c", "d"]
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    assert length % 8 == 0


def test_tied_weights_are_stored_once_and_come_back_as_one(tmp_path):
    weight = torch.nn.Parameter(torch.randn(100, 10))
    state = {
        "model": {"embed": weight, "head": weight, "again": weight.detach().view(100, 10)},
        "objectives": {"borrowed": weight},
    }
    path = checkpoint.save(tmp_path, 0, state, HASH)
    assert [p.name for p in sorted(path.iterdir())] == ["manifest.json", "model.safetensors"]
    assert (path / "model.safetensors").stat().st_size < 5_000
    told = json.loads((path / "manifest.json").read_bytes())
    assert told["state"]["objectives"]["borrowed"] == {"$tensor": "model/embed"}
    found = checkpoint.load(tmp_path).state
    assert found["model"]["head"] is found["model"]["embed"] is found["objectives"]["borrowed"]
    assert same(found["model"]["head"], weight.detach())


def test_overlapping_views_come_back_equal_and_apart(tmp_path):
    base = torch.arange(12.0)
    state = {
        "model": {"all": base, "rows": base.view(3, 4), "part": base[3:7], "t": base.view(3, 4).T}
    }
    state["model"]["wide"] = torch.ones(1).expand(1000)
    checkpoint.save(tmp_path, 0, state, HASH)
    found = checkpoint.load(tmp_path).state
    assert same(state, found)
    found["model"]["all"].zero_()
    assert same(found["model"]["part"], base[3:7])


def test_names_that_collide_or_are_odd_stay_apart(tmp_path):
    one, two, three, four = (torch.tensor([at]) for at in range(4))
    state = {
        "model": {"a": {"b": one}, "a.b": two, "__metadata__": three, "\ud800": four, "/": one + 9},
        "optimiser": torch.tensor(5),
    }
    checkpoint.save(tmp_path, 0, state, HASH)
    assert same(state, checkpoint.load(tmp_path).state)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.eye(2).to_sparse(), "state model.x: expected a dense tensor"),
        (torch.empty(2, device="meta"), "state model.x: expected a dense tensor"),
        (torch.zeros(2, dtype=torch.complex64), "state model.x: expected one of float64"),
        (np.zeros(2), "state model.x: expected a tensor, dict.*found ndarray"),
        ({1.5: 2}, "state model.x: expected text or int keys, found 1.5"),
        ({True: 2}, "state model.x: expected text or int keys, found True"),
        (Path("a"), "found PosixPath|found WindowsPath"),
    ],
)
def test_what_cannot_be_kept_is_named_and_nothing_written(tmp_path, value, says):
    with pytest.raises(TypeError, match=says):
        checkpoint.save(tmp_path / "run", 0, {"model": {"x": value}}, HASH)
    assert not (tmp_path / "run").exists()


def test_depth_is_bounded(tmp_path):
    value: object = {1: torch.ones(1)}
    for _ in range(manifest.DEPTH - 2):
        value = ({0: value} if _ % 2 else (value,),)[0]
    checkpoint.save(tmp_path, 0, {"model": value}, HASH)
    assert same(checkpoint.load(tmp_path).state, {"model": value})
    with pytest.raises(TypeError, match="at most 64 levels"):
        checkpoint.save(tmp_path, 1, {"model": [value]}, HASH)


@pytest.mark.parametrize("part", ["Model", "", "../up", "a.b", 3, "a" * 65])
def test_part_names_are_identifiers(tmp_path, part):
    with pytest.raises(ValueError, match="top-level keys"):
        checkpoint.save(tmp_path, 0, {part: {}}, HASH)


# Choosing


def test_the_newest_or_the_one_asked_for(tmp_path):
    for step in (3, 20, 100):
        checkpoint.save(tmp_path, step, a_state(step), HASH, keep=9)
    assert checkpoint.load(tmp_path).step == 100
    assert same(checkpoint.load(tmp_path, step=20).state, a_state(20))
    assert checkpoint.steps(tmp_path) == [3, 20, 100]
    with pytest.raises(RunError, match=r"no checkpoint of step 10\n.*one of 3, 20, 100"):
        checkpoint.load(tmp_path, step=10)


def test_no_checkpoint_is_named(tmp_path):
    with pytest.raises(RunError, match=r"none: no checkpoint"):
        checkpoint.load(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match=r"file\nexpected a readable folder"):
        checkpoint.load(tmp_path / "file")


def test_another_recipe_names_both_and_does_not_fall_back(tmp_path):
    checkpoint.save(tmp_path, 1, a_state(), "mine")
    checkpoint.save(tmp_path, 2, a_state(), "other")
    with pytest.raises(RunError, match="expected recipe 'mine', found recipe 'other'"):
        checkpoint.load(tmp_path, recipe_hash="mine")
    assert checkpoint.load(tmp_path, step=1, recipe_hash="mine").step == 1


def test_a_newer_format_names_both_and_does_not_fall_back(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, a_state(), HASH)
    path = checkpoint.save(tmp_path, 2, a_state(), HASH)
    forge(path, format=2, sensorium="9.1")
    with pytest.raises(RunError, match=r"'9\.1'\nexpected format 1 or older, found format 2"):
        checkpoint.load(tmp_path)


def test_a_damaged_newest_falls_back_and_is_reported(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, a_state(step), HASH, keep=3)
    size = (tmp_path / "step-00000003" / "model.safetensors").stat().st_size
    os.truncate(tmp_path / "step-00000003" / "model.safetensors", 100)
    (tmp_path / "step-00000002" / "manifest.json").unlink()
    found = checkpoint.load(tmp_path)
    assert found.step == 1
    first, second = (str(error) for error in found.skipped)
    assert "step-00000003" in first
    assert f"truncated\nexpected {size} bytes, found 100 bytes" in first
    assert "step-00000002" in second
    assert "manifest.json: the file is missing" in second
    with pytest.raises(Damaged, match="truncated"):
        checkpoint.load(tmp_path, step=3)
    shutil.rmtree(tmp_path / "step-00000001")
    with pytest.raises(RunError, match=r"no whole checkpoint:\n.*step-00000003.*\n.*step-00000002"):
        checkpoint.load(tmp_path)


def test_a_damaged_step_is_replaced_when_reached_again(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, a_state(step), HASH)
    os.truncate(tmp_path / "step-00000002" / "model.safetensors", 100)
    assert checkpoint.load(tmp_path).step == 1
    checkpoint.save(tmp_path, 2, a_state(22), HASH)
    found = checkpoint.load(tmp_path)
    assert same(found.state, a_state(22))
    assert found.skipped == ()


# Damage


def test_truncation_at_any_byte_is_detected(tmp_path):
    path = checkpoint.save(tmp_path, 1, a_state(), HASH)
    whole = {p.name: p.read_bytes() for p in path.iterdir()}
    assert len(whole) == 3
    for name, data in whole.items():
        for size in range(0, len(data), 10):
            (path / name).write_bytes(data[:size])
            with pytest.raises(Damaged) as damaged:
                checkpoint.load(tmp_path)
            text = str(damaged.value)
            assert name in text
            assert f"{size:,} bytes" in text
            if name != "manifest.json":
                assert f"expected {len(data):,} bytes" in text
        (path / name).write_bytes(data + b" ")
        with pytest.raises(Damaged, match=name):
            checkpoint.load(tmp_path)
        (path / name).write_bytes(data)
    checkpoint.load(tmp_path)


def test_flipped_bits_are_detected(tmp_path):
    path = checkpoint.save(tmp_path, 1, a_state(), HASH)
    chance = random.Random(0)
    for file in list(path.iterdir()):
        data = file.read_bytes()
        for at in sorted({0, len(data) - 1, *(chance.randrange(len(data)) for _ in range(150))}):
            altered = bytearray(data)
            altered[at] ^= 1 << chance.randrange(8)
            file.write_bytes(altered)
            with pytest.raises(Damaged, match=file.name):
                checkpoint.load(tmp_path)
        file.write_bytes(data)
    checkpoint.load(tmp_path)


# Hostile manifests: sealed as ours are, so only the checks behind the seal stand in the way


def forge(path: Path, **fields) -> None:
    file = path / "manifest.json"
    told = json.loads(file.read_bytes())
    del told["sha256"]
    told.update(fields)
    file.write_bytes(manifest.seal({k: v for k, v in told.items() if v is not ...}))


def entry(data: bytes) -> dict:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


SECRET = b"outside"
HOSTILE = {
    "format missing": {"format": ...},
    "format text": {"format": "1"},
    "format zero": {"format": 0},
    "format true": {"format": True},
    "step text": {"step": "1"},
    "step another": {"step": 7},
    "recipe list": {"recipe": [HASH]},
    "files list": {"files": []},
    "files up": {"files": {"../secret": entry(SECRET)}},
    "files up named": {"files": {"../secret.safetensors": entry(SECRET)}},
    "files absolute": {"files": {"/etc/passwd": entry(b"")}},
    "files drive": {"files": {"C:\\a.safetensors": entry(b"")}},
    "files line end": {"files": {"model.safetensors\n": entry(b"")}},
    "files nul": {"files": {"model\0.safetensors": entry(b"")}},
    "files pickle": {"files": {"model.pt": entry(b"")}},
    "files entry": {"files": {"model.safetensors": None}},
    "size text": {"files": {"model.safetensors": {"size": "9", "sha256": "a" * 64}}},
    "size huge": {"files": {"model.safetensors": {"size": 1 << 62, "sha256": "a" * 64}}},
    "size negative": {"files": {"model.safetensors": {"size": -1, "sha256": "a" * 64}}},
    "hash short": {"files": {"model.safetensors": {"size": 1, "sha256": "a"}}},
    "hash number": {"files": {"model.safetensors": {"size": 1, "sha256": 1}}},
    "tensors list": {"tensors": []},
    "tensors no file": {"tensors": {"other/a": {"dtype": "float32", "shape": [1]}}},
    "tensors extra": {"tensors": {"model/zzz": {"dtype": "float32", "shape": [1]}}},
    "tensors fewer": {"tensors": {}},
    "dtype unknown": {"tensors": {"model/bias": {"dtype": "object", "shape": [2]}}},
    "dtype list": {"tensors": {"model/bias": {"dtype": [], "shape": [2]}}},
    "dtype missing": {"tensors": {"model/bias": {}}},
    "shape huge": {"tensors": {"model/bias": {"dtype": "bfloat16", "shape": [1 << 60, 1 << 60]}}},
    "shape negative": {"tensors": {"model/bias": {"dtype": "bfloat16", "shape": [-1]}}},
    "shape text": {"tensors": {"model/bias": {"dtype": "bfloat16", "shape": "2"}}},
    "shape float": {"tensors": {"model/bias": {"dtype": "bfloat16", "shape": [2.0]}}},
    "state list": {"state": [1]},
    "state a tensor": {"state": {"$tensor": "model/bias"}},
    "tensor unknown": {"state": {"model": {"$tensor": "model/none"}}},
    "tensor number": {"state": {"model": {"$tensor": 3}}},
    "tensor more": {"state": {"model": {"$tensor": "model/bias", "a": 1}}},
    "tag unknown": {"state": {"model": {"$code": "print"}}},
    "float short": {"state": {"model": {"$float": "7ff8"}}},
    "float spaces": {"state": {"model": {"$float": "7ff8      000000"}}},
    "pairs flat": {"state": {"model": {"$pairs": [1, 2]}}},
    "pairs twice": {"state": {"model": {"$pairs": [[1, 2], [1, 3]]}}},
    "pairs unhashable": {"state": {"model": {"$pairs": [[[], 2]]}}},
    "tuple number": {"state": {"model": {"$tuple": 1}}},
}


@pytest.mark.parametrize("fields", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_manifests_are_refused(tmp_path, fields):
    path = checkpoint.save(tmp_path, 1, a_state(), HASH)
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "secret.safetensors").write_bytes(SECRET)
    forge(path, **fields)
    with pytest.raises(Damaged, match="step-00000001"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"step": ' + b"9" * 10_000 + b"}",
        b'{"format": 1e999}',
        b"null",
    ],
    ids=["empty", "list", "bytes", "deep list", "deep dict", "long number", "infinity", "null"],
)
def test_hostile_json_is_refused(tmp_path, data):
    path = checkpoint.save(tmp_path, 1, a_state(), HASH)
    text = data.removesuffix(b"}")
    sealed = text + manifest._SEAL + hashlib.sha256(text).hexdigest().encode() + b'"\n}\n'
    for written in (data, sealed):
        (path / "manifest.json").write_bytes(written)
        with pytest.raises(Damaged, match=r"manifest\.json"):
            checkpoint.load(tmp_path)


def test_a_deep_state_is_refused(tmp_path):
    path = checkpoint.save(tmp_path, 1, a_state(), HASH)
    deep: list = []
    for _ in range(manifest.DEPTH + 5):
        deep = [deep]
    forge(path, state={"model": deep})
    with pytest.raises(Damaged, match="more than 64 levels"):
        checkpoint.load(tmp_path)


def test_a_huge_manifest_is_not_read(tmp_path):
    path = checkpoint.save(tmp_path, 1, a_state(), HASH)
    os.truncate(path / "manifest.json", 1 << 40)  # sparse
    with pytest.raises(Damaged, match="at most 67,108,864 bytes"):
        checkpoint.load(tmp_path)


@posix
@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_regular_files_are_read(tmp_path, name, kind):
    path = checkpoint.save(tmp_path, 1, a_state(), HASH)
    os.replace(path / name, tmp_path / name)
    if kind == "link":
        (path / name).symlink_to(tmp_path / name)
    elif kind == "pipe":
        os.mkfifo(path / name)
    else:
        (path / name).mkdir()
    with pytest.raises(Damaged, match="expected a regular file"):
        checkpoint.load(tmp_path)


def _lie(header: dict | bytes, data: bytes = b"\0" * 8, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _one(**changes) -> dict:
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


LIES = {
    "nothing": b"",
    "short": b"\1\2",
    "length huge": _lie({}, length=2**63),
    "length past end": _lie({}, length=1000),
    "not json": _lie(b"{{"),
    "not text": _lie(b"\xff\xff"),
    "a list": _lie(b"[]"),
    "deep": _lie(b'{"a":' * 100_000),
    "offsets past end": _lie(_one(data_offsets=[0, 80], shape=[20])),
    "offsets negative": _lie(_one(data_offsets=[-8, 0])),
    "offsets crossed": _lie(_one(data_offsets=[8, 0])),
    "offsets with a gap": _lie(_one(data_offsets=[4, 8], shape=[1])),
    "bytes left": _lie(_one(data_offsets=[0, 4], shape=[1])),
    "shape too big": _lie(_one(shape=[1 << 40])),
    "shape overflows": _lie(_one(shape=[1 << 62, 1 << 62])),
    "shape overflows, empty": _lie(_one(shape=[0, 1 << 62, 1 << 62], data_offsets=[0, 0]), b""),
    "shape text": _lie(_one(shape="2")),
    "dtype unknown": _lie(_one(dtype="PICKLE")),
    "dtype of half bytes": _lie(_one(dtype="F4", shape=[16])),
    "dtype another": _lie(_one(dtype="I64", shape=[1])),
    "shape another": _lie(_one(shape=[1, 2])),
    "name another": _lie({"b": _one()["a"]}),
    "overlapping": _lie({"a": _one()["a"], "b": _one()["a"]}),
}


@pytest.mark.parametrize("data", LIES.values(), ids=LIES.keys())
def test_lying_headers_are_errors(tmp_path, data):
    path = checkpoint.save(tmp_path, 1, {"model": {"a": torch.zeros(2)}}, HASH)
    (path / "model.safetensors").write_bytes(data)
    forge(path, files={"model.safetensors": entry(data)})
    with pytest.raises(Damaged, match="step-00000001"):
        checkpoint.load(tmp_path)


def test_mutated_headers_are_errors_or_read(tmp_path):
    path = checkpoint.save(tmp_path, 1, {"model": {"a": torch.zeros(2)}}, HASH)
    good, chance = (path / "model.safetensors").read_bytes(), random.Random(3)
    for _ in range(200):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.choice(b'\0\xff 09{}[],:"a')
        (path / "model.safetensors").write_bytes(data)
        told = {"model.safetensors": entry(bytes(data))}
        with contextlib.suppress(Damaged):
            checkpoint._read_tensors(
                path, {"files": told, "tensors": {"model/a": {"dtype": "float32", "shape": [2]}}}
            )


# Pruning


def test_the_newest_and_the_pinned_are_kept(tmp_path):
    for step in range(1, 6):
        checkpoint.save(tmp_path, step, a_state(), HASH, keep=2)
    assert checkpoint.steps(tmp_path) == [4, 5]
    for step in range(6, 10):
        checkpoint.save(tmp_path, step, a_state(), HASH, keep={4})
    assert checkpoint.steps(tmp_path) == [4, 8, 9]
    checkpoint.save(tmp_path, 10, a_state(), HASH, keep=1)
    assert checkpoint.steps(tmp_path) == [10]
    with pytest.raises(ValueError, match="keep >= 1"):
        checkpoint.save(tmp_path, 11, a_state(), HASH, keep=0)


def test_newer_and_damaged_ones_are_not_pruned_nor_counted(tmp_path):
    for step in (1, 2, 3, 9):
        checkpoint.save(tmp_path, step, a_state(), HASH, keep=9)
    os.truncate(tmp_path / "step-00000003" / "model.safetensors", 100)
    checkpoint.save(tmp_path, 4, a_state(), HASH, keep=2)
    assert checkpoint.steps(tmp_path) == [2, 3, 4, 9]


def test_what_is_no_checkpoint_is_never_touched(tmp_path):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    for step in (1, 2, 3, 4):
        checkpoint.save(folder, step, a_state(), HASH, keep=9)
    (folder / "step-00000001" / "notes.txt").write_text("mine")
    (folder / "step-00000002" / "sub").mkdir()
    checkpoint.save(outside, 5, a_state(), HASH)
    strangers = [
        folder / "notes.txt",
        folder / "step-00000000" / "anything",
        folder / "step-1" / "manifest.json",
        folder / "step-000000006" / "manifest.json",
        folder / ".step-00000001.tmp" / "manifest.json",
        folder / ".step-00000001.0123abcd.tmp" / "notes.txt",
        folder / "best" / "model.safetensors",
        tmp_path / "aside" / "manifest.json",
    ]
    for stranger in strangers:
        stranger.parent.mkdir(exist_ok=True)
        stranger.write_text("mine")
    if sys.platform != "win32":
        (folder / "step-00000005").symlink_to(outside / "step-00000005")
        (folder / ".step-00000007.0123abcd.tmp").symlink_to(tmp_path / "aside")
    checkpoint.save(folder, 10, a_state(), HASH, keep=1)
    assert all(stranger.read_text() == "mine" for stranger in strangers)
    assert (folder / "step-00000001" / "notes.txt").exists()
    assert (folder / "step-00000001" / "manifest.json").exists()
    assert (folder / "step-00000002" / "sub").exists()
    assert not (folder / "step-00000003").exists()
    assert checkpoint.load(outside).step == 5


def test_what_killed_writers_left_is_swept(tmp_path):
    left = tmp_path / ".step-00000007.0123abcd.tmp"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    checkpoint.save(tmp_path, 8, a_state(), HASH)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000008"]


def test_an_old_one_that_cannot_be_deleted_does_not_stop_the_run(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, a_state(1), HASH)

    def refuse(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, "in use")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.warns(UserWarning, match="could not all be deleted"):
        checkpoint.save(tmp_path, 2, a_state(2), HASH, keep=1)
    monkeypatch.undo()
    assert checkpoint.load(tmp_path).step == 2
    checkpoint.save(tmp_path, 3, a_state(3), HASH, keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000003"]


def test_nothing_is_written_outside(tmp_path):
    (tmp_path / "run").mkdir()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.parent.iterdir() if p != tmp_path}
    opened: list[str] = []
    active = True

    def watch(event, args):
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        if active and event == "open" and isinstance(args[2], int) and args[2] & writes:
            opened.append(os.fspath(args[0]))

    sys.addaudithook(watch)
    for step in (1, 2, 3):
        checkpoint.save(tmp_path / "run", step, a_state(), HASH)
        checkpoint.load(tmp_path / "run")
    active = False
    assert len(opened) >= 9
    assert all(path.startswith(str(tmp_path / "run") + os.sep) for path in opened)
    assert before == {p: p.stat().st_mtime_ns for p in before}


# Failing disks and kills


@pytest.fixture
def no_sync(monkeypatch):
    """fsync that only counts: what a process's death or an error leaves does not depend on it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("again", [False, True], ids=["next step", "same step"])
def test_every_failing_call_leaves_a_whole_checkpoint(tmp_path, no_sync, code, again):
    for k in range(1, 100):
        folder = tmp_path / str(k)
        checkpoint.save(folder, 1, a_state(1), HASH)
        checkpoint.save(folder, 2, a_state(2), HASH)
        step = 2 if again else 3
        with pytest.MonkeyPatch.context() as monkeypatch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            calls = break_call(monkeypatch, k, code)
            try:
                checkpoint.save(folder, step, a_state(33), HASH, keep=1)
                failed = None
            except RunError as error:
                failed = error
        found = checkpoint.load(folder)
        assert found.skipped == ()
        assert same(found.state, a_state(33)) or (same(found.state, a_state(2)) and failed)
        assert not any(p.name.endswith(".tmp") for p in folder.iterdir()) or failed is None
        if failed is not None:
            assert str(folder / f"step-{step:08d}") in str(failed)
            assert os.strerror(code) in str(failed)
            assert "last good checkpoint still holds" in str(failed)
            assert "bytes" in str(failed) or "read back" in str(failed)
        # The run goes on once there is space again.
        checkpoint.save(folder, 4, a_state(4), HASH, keep=1)
        assert [p.name for p in folder.iterdir()] == ["step-00000004"]
        if len(calls) < k:
            break
    assert k > 20


def test_bytes_that_do_not_read_back_are_an_error_and_nothing_is_pruned(tmp_path, monkeypatch):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, a_state(step), HASH)
    real = os.write

    def flip(descriptor, data):
        return real(descriptor, bytes(data[:-1]) + bytes([data[-1] ^ 1]))

    monkeypatch.setattr(os, "write", flip)
    with pytest.raises(RunError, match=r"step-00000003: written, but it did not read back"):
        checkpoint.save(tmp_path, 3, a_state(3), HASH, keep=1)
    monkeypatch.undo()
    assert checkpoint.steps(tmp_path) == [1, 2, 3]
    found = checkpoint.load(tmp_path)
    assert found.step == 2
    assert "step-00000003" in str(found.skipped[0])


def test_an_interrupt_leaves_nothing_aside(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, a_state(1), HASH)

    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, 2, a_state(2), HASH)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


def _die_at(k: int, after: bool) -> None:
    """In a forked child: kills it at its k-th call that changes the disk, before or after it."""
    count = 0

    def wrap(call):
        def deadly(*args, **kwargs):
            nonlocal count
            count += 1
            if count == k and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            dies = count == k
            try:
                return call(*args, **kwargs)
            finally:  # a call that fails counts too
                if dies:
                    os.kill(os.getpid(), signal.SIGKILL)

        return deadly

    for name in ("write", "fsync", "replace", "mkdir", "unlink", "rmdir", "open"):
        setattr(os, name, wrap(getattr(os, name)))


@posix
@pytest.mark.parametrize("again", [False, True], ids=["next step", "same step"])
def test_a_kill_at_every_call_leaves_old_or_new(tmp_path, no_sync, again):
    ended = set()
    for k in range(1, 100):
        folder = tmp_path / str(k)
        checkpoint.save(folder, 1, a_state(1), HASH)
        checkpoint.save(folder, 2, a_state(2), HASH)
        child = os.fork()
        if child == 0:
            try:
                _die_at(k, after=bool(k % 2))
                checkpoint.save(folder, 2 if again else 3, a_state(33), HASH, keep=1)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        found = checkpoint.load(folder)
        assert found.skipped == ()
        ended.add(found.state["progress"]["step"])
        assert same(found.state, a_state(2)) or same(found.state, a_state(33))
        checkpoint.save(folder, 4, a_state(4), HASH, keep=1)
        assert [p.name for p in folder.iterdir()] == ["step-00000004"]
        if not os.WIFSIGNALED(status):
            break
    assert k > 20
    assert ended == {2, 33}


def kill_writers(folder: Path, kills: int, seed: int) -> None:
    """Kills a forked writer at random instants; the last acknowledged checkpoint or the next."""
    chance, value = random.Random(seed), 1
    checkpoint.save(folder, value // 2, a_state(value, 2000), HASH)
    for _ in range(kills):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                while True:
                    value += 1  # every step is written twice, with other contents
                    checkpoint.save(folder, value // 2, a_state(value, 2000), HASH, keep=1)
                    os.write(write, b".")
            finally:
                os._exit(1)
        os.close(write)
        os.read(read, 1)  # it has begun
        time.sleep(chance.random() * 0.03)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(read, "rb") as stream:
            value += 1 + len(stream.read())
        found = checkpoint.load(folder)
        assert found.skipped == ()
        assert found.state["progress"]["step"] in (value, value + 1)
        value = found.state["progress"]["step"]
        assert same(found.state, a_state(value, 2000))


@posix
def test_killed_writers_leave_old_or_new(tmp_path):
    kill_writers(tmp_path, 20, seed=1)


@posix
@pytest.mark.heavy
def test_killed_writers_leave_old_or_new_heavy(tmp_path):
    kill_writers(tmp_path, 500, seed=2)


def test_no_pickle_is_named():
    for module in (checkpoint, manifest, files):
        text = Path(module.__file__).read_text().lower()
        assert "import pickle" not in text
        assert "torch.load(" not in text.replace("safetensors.torch.load(", "")
