"""What every edit keeps, beside its own tests."""

from pathlib import Path

import pytest
import torch
from pydantic import BaseModel, ValidationError

from sensorium import draws, shelf
from sensorium.modalities import text
from sensorium.records import Record, Source
from sensorium.tokens import collate

NAMES = shelf.names("edits")
TEXTS = ["a red boat on calm water", "two cats", "a dog runs after a small yellow ball, far away"]


@pytest.fixture(scope="module")
def modality():
    made = text.Modality(text.Spec(vocabulary=320))
    made.fit([Record(x, Source("a"), {"title": x}) for x in TEXTS], "title")
    return made


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def spec(name):
    return shelf.load("edits", name).Spec()


def rngs(n: int):
    return [draws.generator("edit", at) for at in range(n)]


def test_has_what_an_edit_has(name):
    module = shelf.load("edits", name)
    assert issubclass(module.Spec, BaseModel)
    assert module.Spec().use == name
    with pytest.raises(ValidationError):
        module.Spec(no_such_option=1)
    assert "\n" not in module.SUMMARY
    assert 10 < len(module.SUMMARY) < 100
    assert (Path(__file__).parents[1] / "edits" / f"test_{name}.py").exists()


def test_is_a_key(name, spec):
    assert hash(spec) == hash(shelf.load("edits", name).Spec())
    with pytest.raises(ValidationError):
        spec.use = "another"


def test_shapes_stay_and_hidden_are_real(spec, modality):
    tokens = modality.batch(TEXTS)
    edited = spec.apply(tokens, modality, rngs(3))
    assert edited.tokens.modality == "text"
    assert edited.tokens.ids.shape[0] == 3
    assert edited.hidden.shape == edited.tokens.ids.shape
    assert edited.hidden.dtype == torch.bool
    assert not (edited.hidden & ~edited.tokens.real).any()
    assert 0 <= edited.tokens.ids.min() <= edited.tokens.ids.max() < modality.vocabulary


def test_draws_are_the_generators_alone(spec, modality):
    """Repeats under equal generators, whatever the global streams, and is not constant."""
    tokens = modality.batch(TEXTS * 20)
    torch.manual_seed(0)
    first = spec.apply(tokens, modality, rngs(60))
    torch.manual_seed(1)
    second = spec.apply(tokens, modality, rngs(60))
    assert torch.equal(first.tokens.ids, second.tokens.ids)
    assert torch.equal(first.hidden, second.hidden)
    other = spec.apply(tokens, modality, rngs(120)[60:])
    assert not torch.equal(first.tokens.ids, other.tokens.ids)


def test_neither_padding_nor_company_matters(spec, modality):
    tokens = modality.batch(TEXTS)
    whole = spec.apply(collate([tokens], length=50), modality, rngs(3))
    for at, one in enumerate(TEXTS):
        alone = spec.apply(modality.tokens(one, None), modality, rngs(3)[at : at + 1])
        real = whole.tokens.real[at]
        assert torch.equal(alone.tokens.ids[0], whole.tokens.ids[at][real])
        assert torch.equal(alone.hidden[0], whole.hidden[at][real])
