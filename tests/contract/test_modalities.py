"""What every modality keeps, beside its own tests."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import BaseModel, ValidationError

from sensorium import shelf
from sensorium.errors import DataError
from sensorium.records import JOINED, Blob, Record, Source
from sensorium.tokens import collate

NAMES = shelf.names("modalities")
TARGETS = [name for name in NAMES if shelf.load("modalities", name).Modality.target]


def picture(shade: int) -> Blob:
    pixels = np.full((40, 30, 3), shade, np.uint8)
    pixels[: shade % 40] = 255 - shade
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return Blob(f"{shade}.png", data=data.getvalue())


VALUES = {
    "text": ["a red boat", "two cats on a sofa, asleep", "x"],
    "image": [picture(10), picture(100), picture(200)],
    "label": ["boat", 3, "a red boat"],
    "table": [{"price": 3, "sold": True}, {"price": "4.5"}, {"price": None, "sold": "false"}],
}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def modality(name):
    module = shelf.load("modalities", name)
    made = module.Modality(module.Spec())
    joined = name in JOINED  # several fields of a record are one content
    records = [
        Record(str(i), Source("a"), v if joined else {"f": v}) for i, v in enumerate(VALUES[name])
    ]
    made.fit(records, tuple(VALUES[name][0]) if joined else "f")
    return made


def test_has_what_a_modality_has(name):
    module = shelf.load("modalities", name)
    assert issubclass(module.Spec, BaseModel)
    assert module.Spec().use == module.Modality.name == name
    assert all(suffix.startswith(".") for suffix in module.Modality.suffixes)
    assert isinstance(module.Modality.target, bool)
    with pytest.raises(ValidationError):
        module.Spec(no_such_option=1)
    assert "\n" not in module.SUMMARY
    assert 10 < len(module.SUMMARY) < 100


def test_has_its_own_test(name):
    assert (Path(__file__).parents[1] / "modalities" / f"test_{name}.py").exists()


@pytest.mark.parametrize("name", TARGETS, indirect=True)
def test_a_target_has_no_tokens_but_numbers(name, modality):
    contents = [modality.read(value, "f") for value in VALUES[name]]
    with pytest.raises(TypeError, match="no tokens"):
        modality.tokens(contents[0], None)
    assert sorted(modality.index(x) for x in contents) == list(range(len(modality.classes)))


def given(modality, content, rng=None) -> torch.Tensor:
    """What it gives of one content: tokens, or the number of a target."""
    if modality.target:
        return torch.tensor(modality.index(content))
    tokens = modality.tokens(content, rng)
    return tokens.ids if tokens.values is None else tokens.values


@pytest.mark.parametrize("name", [x for x in NAMES if x not in TARGETS], indirect=True)
def test_tokens_repeat_and_join(name, modality):
    contents = [modality.read(value, "f") for value in VALUES[name]]
    rows = [modality.tokens(content, None) for content in contents]
    for tokens, content in zip(rows, contents, strict=True):
        first = given(modality, content)
        assert tokens.modality == name
        assert first.shape[0] == 1
        assert torch.equal(first, given(modality, content))
        assert tokens.real.all()
        assert tokens.position.min() >= 0
    joined = collate(rows)
    assert joined.real.sum(1).tolist() == [x.real.shape[1] for x in rows]


def test_draws_are_keyed(name, modality):
    content = modality.read(VALUES[name][0], "f")
    first, second = (given(modality, content, np.random.default_rng(1)) for _ in range(2))
    assert torch.equal(first, second)


def test_what_is_not_its_own_is_refused(name, modality):
    for value in (None, b"bytes", object(), Blob("a", data=b"\xff\xfe\xfa"), ["a", "b"]):
        with pytest.raises(DataError):
            modality.read(value, "f")


def test_state_reads_the_same_again(name, modality, tmp_path):
    for file, data in modality.state().items():
        (tmp_path / file).write_bytes(data)
    module = shelf.load("modalities", name)
    loaded = module.Modality(modality.spec)
    loaded.load(tmp_path)
    content = modality.read(VALUES[name][1], "f")
    for other in (loaded, pickle.loads(pickle.dumps(modality))):
        assert torch.equal(given(modality, content), given(other, content))
