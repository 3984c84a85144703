"""Manifests: what is packed comes back, tied tensors are one, every altered byte is noticed."""

import hashlib
import json
import math
import os
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium import manifest
from sensorium.errors import RunError
from sensorium.manifest import DEPTH, Damaged, Packer, read, read_bytes, seal, unpack, unseal

KEYS = st.one_of(st.text(max_size=6), st.integers(), st.sampled_from(["$tensor", "$pairs", "$x"]))
STATES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.floats(allow_nan=False)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
    ),
    max_leaves=12,
)


def there_and_back(state):
    """A state through JSON text, as a file holds it; its tensors as packed."""
    packer = Packer()
    packed = packer.pack(state, ("state",))
    return unpack(json.loads(json.dumps(packed, allow_nan=False)), packer.tensors)


def same(one, other):
    """Equal in value and in every type within (True is not 1, a tuple no list)."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        pairs = zip(one.items(), other.items(), strict=True)
        return len(one) == len(other) and all(
            type(k) is type(q) and k == q and same(v, w) for (k, v), (q, w) in pairs
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other and (one != 0 or math.copysign(1, one) == math.copysign(1, other))


@settings(max_examples=80, deadline=None)
@given(STATES)
def test_what_is_packed_comes_back_with_its_types(state):
    assert same(there_and_back(state), state)


def test_not_a_number_keeps_its_bits():
    for bits in ("7ff8000000000000", "fff8000000000001", "7ff0000000000000", "fff0000000000000"):
        value = struct.unpack(">d", bytes.fromhex(bits))[0]
        assert struct.pack(">d", there_and_back([value])[0]).hex() == bits


def test_tensors_are_named_by_their_place_and_tied_ones_are_one():
    weight, other = torch.ones(2, 3), torch.ones(2, 3)
    packer = Packer()
    packed = packer.pack({"a": {"b": weight}, "c": weight, "d": other}, ("model",))
    assert packed["a"]["b"] == packed["c"] == {"$tensor": "model/a.b"}
    assert packed["d"] == {"$tensor": "model/d"}  # equal in value is not the same tensor
    assert list(packer.tensors) == ["model/a.b", "model/d"]
    back = unpack(packed, packer.tensors)
    assert back["a"]["b"] is back["c"] is weight
    assert back["d"] is other


def test_views_of_one_memory_are_tied_only_where_they_agree():
    whole = torch.arange(6.0)
    packer = Packer()
    packer.pack([whole, whole[:3], whole[3:], whole.view(2, 3), whole[:3]], ("x",))
    assert len(packer.tensors) == 4  # the second and the last are the same stretch


def test_names_never_collide():
    """Two places whose keys, joined by dots, read the same."""
    packer = Packer()
    packer.pack({"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}}, ("model",))
    packer.pack({"__metadata__": torch.ones(1)}, ("model",))
    packer.pack({0: torch.zeros(0), "0": torch.zeros(0)}, ("empty",))
    assert len(packer.tensors) == 5
    assert len(set(packer.tensors)) == 5
    assert "model/__metadata__" not in packer.tensors  # the files' own word


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"x": object()}, "found object"),
        ({"x": {1.5: 0}}, "found 1.5"),
        ({"x": {True: 0}}, "found True"),
        ({"x": b"bytes"}, "found bytes"),
        ({"x": torch.zeros(2, dtype=torch.complex64)}, "found torch.complex64"),
        ({"x": torch.eye(2).to_sparse()}, "torch.sparse_coo"),
        ({"x": torch.zeros(2, device="meta")}, "on meta"),
    ],
)
def test_what_no_file_can_hold_is_refused_by_its_place(value, found):
    with pytest.raises(TypeError, match=r"state part\.x: ") as caught:
        Packer().pack(value, ("part",))
    assert found in str(caught.value)


def nested(levels):
    """A list in a list in a list."""
    return [nested(levels - 1)] if levels else 1


def test_depth_is_bounded_both_ways():
    assert there_and_back(nested(DEPTH - 2)) == nested(DEPTH - 2)
    with pytest.raises(TypeError, match=f"at most {DEPTH} levels"):
        Packer().pack(nested(DEPTH + 1), ("x",))
    with pytest.raises(ValueError, match=f"more than {DEPTH} levels"):
        unpack(nested(DEPTH + 1), {})


@pytest.mark.parametrize(
    "packed",
    [
        {"$tensor": "model/unknown"},
        {"$tensor": 5},
        {"$tensor": "model/a", "more": 1},
        {"$float": "7ff8"},
        {"$float": "7FF8000000000000"},
        {"$tuple": {"a": 1}},
        {"$pairs": [[1, 2, 3]]},
        {"$pairs": [[1.5, 2]]},
        {"$pairs": [[True, 2]]},
        {"$pairs": [[1, 2], [1, 3]]},
        {"$pairs": 5},
        {"$other": 1},
        {"plain": 1, "$x": 2},
    ],
)
def test_what_no_state_is_written_as_is_refused(packed):
    with pytest.raises(ValueError, match=r"unknown|not a key"):
        unpack([packed], {"model/a": torch.zeros(1)})


GOOD = {
    "format": 1,
    "sensorium": "0.0",
    "step": 3,
    "recipe": "abc",
    "files": {"model.safetensors": {"size": 10, "sha256": "0" * 64}},
    "tensors": {"model/a": {"dtype": "float32", "shape": [2, 3]}},
    "state": {"x": 1},
}


def written(folder, content):
    """A sealed manifest file."""
    file = folder / "manifest.json"
    file.write_bytes(seal(content))
    return file


def test_a_sealed_manifest_is_json_that_ends_in_the_hash_of_the_bytes_before(tmp_path):
    file = written(tmp_path, GOOD)
    data = file.read_bytes()
    told = json.loads(data)
    body = data[: data.index(b',\n "sha256"')]
    assert told.pop("sha256") == hashlib.sha256(body).hexdigest()
    assert told == GOOD
    assert read(file) == json.loads(data)


def test_every_altered_or_missing_byte_is_noticed(tmp_path):
    file = written(tmp_path, GOOD)
    data = file.read_bytes()
    for at in range(0, len(data), 7):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(Damaged, match="ends in its own SHA-256"):
            unseal(file)
        file.write_bytes(data[:at])
        with pytest.raises(Damaged, match="ends in its own SHA-256"):
            unseal(file)
    file.write_bytes(data + b" ")
    with pytest.raises(Damaged):
        unseal(file)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        *(({name: None}, name) for name in GOOD),
        ({"step": True}, "step"),
        ({"step": 3.0}, "step"),
        ({"format": 0}, "format"),
        ({"files": {"../model.safetensors": {"size": 1, "sha256": "0" * 64}}}, "files"),
        ({"files": {"model.safetensors": {"size": "1", "sha256": "0" * 64}}}, "model.safetensors"),
        ({"files": {"model.safetensors": {"size": 1, "sha256": "0" * 63}}}, "model.safetensors"),
        ({"files": {"model.safetensors": 5}}, "model.safetensors"),
        ({"tensors": {"other/a": {"dtype": "float32", "shape": []}}}, "tensors"),
        ({"tensors": {"model/a": 5}}, "tensors"),
        ({"tensors": {"model/a": {"dtype": "F32", "shape": []}}}, "model/a"),
        ({"tensors": {"model/a": {"dtype": ["float32"], "shape": []}}}, "model/a"),
        ({"tensors": {"model/a": {"dtype": "float32", "shape": [-1]}}}, "model/a"),
        ({"tensors": {"model/a": {"dtype": "float32", "shape": [True]}}}, "model/a"),
        ({"tensors": {"model/a": {"dtype": "float32", "shape": 3}}}, "model/a"),
    ],
)
def test_a_field_of_the_wrong_kind_is_damage_and_named(tmp_path, change, field):
    with pytest.raises(Damaged) as caught:
        read(written(tmp_path, GOOD | change))
    assert caught.value.field == field


def test_a_newer_format_is_not_called_damage(tmp_path):
    content = GOOD | {"format": manifest.FORMAT + 1, "sensorium": "9.9", "tensors": "another form"}
    with pytest.raises(RunError, match=r"written by sensorium '9\.9'") as caught:
        read(written(tmp_path, content))
    assert not isinstance(caught.value, Damaged)
    assert "upgrade" in caught.value.see


def test_what_is_sealed_but_no_object_is_damage(tmp_path):
    file = tmp_path / "manifest.json"
    for body in (b"[1", b'{"a": 1'):
        end = b',\n "sha256": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'
        file.write_bytes(body + end)
        if body.startswith(b"["):
            with pytest.raises(Damaged, match="expected JSON"):
                unseal(file)
        else:
            assert unseal(file)["a"] == 1


def test_only_a_regular_file_of_a_sound_size_is_read(tmp_path):
    file = tmp_path / "x"
    file.write_bytes(b"12345")
    assert read_bytes(file, 5) == b"12345"
    with pytest.raises(Damaged, match="expected at most 4 bytes, found 5"):
        read_bytes(file, 4)
    with pytest.raises(Damaged, match="missing"):
        read_bytes(tmp_path / "gone", 9)
    with pytest.raises(Damaged, match="a link, folder or device"):
        read_bytes(tmp_path, 9)
    os.symlink(file, tmp_path / "link")
    with pytest.raises(Damaged, match="a link, folder or device"):
        read_bytes(tmp_path / "link", 9)


def test_codes_name_each_dtype_as_torch_and_safetensors_do():
    for name, code in manifest.CODES.items():
        kind = getattr(torch, name)
        assert manifest.dtype(torch.zeros(1, dtype=kind)) == name
        bits = 8 * torch.zeros(1, dtype=kind).element_size()
        assert code == "BOOL" or code.removeprefix("B").lstrip("FIU") == str(bits)
