"""What every encoder keeps, beside its own tests."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pydantic import BaseModel, ValidationError
from reference import image_look, table_look, text_look

from sensorium import shelf
from sensorium.model import State
from sensorium.views import Look

# `imported` is another of them with weights of the cache, and stays frozen: see its own test.
NAMES = [name for name in shelf.names("encoders") if name != "imported"]
TOWERS = {"minilm", "efficientnet_lite"}  # built at their one size
TRAINED = [name for name in NAMES if "transformer" in name or name == "tabular"]
SMALL = {name: {"width": 32, "depth": 2, "heads": 4} for name in TRAINED}
READS_TEXT = {"transformer", "minilm", "siglip_text"}
READS_TABLES = {"tabular"}
KINDS = [
    *[SimpleNamespace(kind="number", categories=())] * 6,
    *[SimpleNamespace(kind="category", categories=("a", "b", "c"))] * 6,
    *[SimpleNamespace(kind="words", categories=())] * 4,
]


def modality(name: str) -> SimpleNamespace:
    """What an encoder asks of a modality, at a small size."""
    return SimpleNamespace(
        spec=SimpleNamespace(size=64, patch=16),
        channels=768,
        tokens_per_item=16,
        vocabulary=30_522 if name == "minilm" else 97,
        length=24,
        columns=KINDS,
        buckets=50,
    )


def build(name: str) -> torch.nn.Module:
    module = shelf.load("encoders", name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = module.Encoder(module.Spec(**SMALL.get(name, {})), modality(name))
    if getattr(encoder, "fits", False):
        draws = torch.Generator().manual_seed(0)
        encoder.fit(torch.rand(40, 768, generator=draws).numpy(), seed=0)
    return encoder


_built: dict[str, torch.nn.Module] = {}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def encoder(name):
    if name not in _built:
        _built[name] = build(name)
    return _built[name].eval()


def looks(name: str, junk: int = 0) -> Look:
    """Five records, some shorter than others; `junk` changes what is not real and only that."""
    draws = torch.Generator().manual_seed(0)
    real = torch.arange(16) < torch.tensor([16, 3, 9, 1, 5])[:, None]
    if name in READS_TEXT:
        ids = torch.randint(1, 90, (5, 16), generator=draws)
        return text_look(torch.where(real, ids, junk), real)
    if name in READS_TABLES:
        cells = torch.randint(0, 4, (5, 16, 4), generator=draws).float()
        cells[..., 0] = (cells[..., 0] > 0).float()  # some of the real ones are missing
        return table_look(torch.where(real[..., None], cells, junk), real)
    values = torch.randint(0, 256, (5, 16, 768), generator=draws, dtype=torch.uint8)
    return image_look(torch.where(real[..., None], values, junk).to(torch.uint8), real)


def run(encoder: torch.nn.Module, look: Look) -> State:
    return encoder.encode(encoder.embed(look))


def everything(encoder: torch.nn.Module, state: State) -> torch.Tensor:
    """A number that depends on all that an encoder gives."""
    total = state.tokens.square().mean() + state.pooled.sin().sum()
    return (
        total + encoder.classes(state.pooled).sin().sum() if hasattr(encoder, "classes") else total
    )


def test_has_what_an_encoder_has(name):
    module = shelf.load("encoders", name)
    assert issubclass(module.Spec, BaseModel)
    assert module.Spec().use == name
    assert module.Spec.model_config["frozen"]
    with pytest.raises(ValidationError):
        module.Spec(no_such_option=1)
    assert "\n" not in module.SUMMARY
    assert 10 < len(module.SUMMARY) < 100
    assert hasattr(module, "convert") == (name in TOWERS)


def test_has_its_own_test(name):
    assert (Path(__file__).parents[1] / "encoders" / f"test_{name}.py").exists()


def test_gives_states_of_its_width(name, encoder):
    embedded = encoder.embed(looks(name))
    state = encoder.encode(embedded)
    assert embedded.pooled is None
    assert state.tokens.shape[2] == encoder.width
    assert state.pooled.shape == (5, encoder.width)
    assert state.real.shape == state.order.shape == state.tokens.shape[:2]
    assert state.position.shape[1] == state.tokens.shape[1]
    assert state.tokens.dtype == state.pooled.dtype == torch.float32
    assert torch.isfinite(state.tokens).all()


def test_gradient_reaches_every_parameter(name, encoder):
    if not list(encoder.parameters()):
        pytest.skip(f"{name} has no parameters")
    encoder.zero_grad()
    everything(encoder, run(encoder, looks(name))).backward()
    for where, parameter in encoder.named_parameters():
        assert parameter.grad is not None, where
        assert torch.isfinite(parameter.grad).all(), where
        assert parameter.grad.any(), where


def test_padding_changes_nothing(name, encoder):
    with torch.no_grad():
        first, second = run(encoder, looks(name)), run(encoder, looks(name, junk=37))
    torch.testing.assert_close(first.pooled, second.pooled, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        first.tokens[first.real], second.tokens[second.real], atol=1e-6, rtol=0
    )


def test_the_order_of_records_changes_nothing(name, encoder):
    look, turn = looks(name), torch.tensor([3, 0, 4, 2, 1])
    tokens = look.tokens
    if tokens.ids is not None:
        turned = text_look(tokens.ids[turn], tokens.real[turn])
    else:
        made = table_look if name in READS_TABLES else image_look
        turned = made(tokens.values[turn], tokens.real[turn])
    with torch.no_grad():
        first, second = run(encoder, look), run(encoder, turned)
    torch.testing.assert_close(first.pooled[turn], second.pooled, atol=1e-5, rtol=0)
    torch.testing.assert_close(first.tokens[turn], second.tokens, atol=1e-5, rtol=1e-5)


def test_records_differ(name, encoder):
    with torch.no_grad():
        pooled = run(encoder, looks(name)).pooled
    distances = torch.cdist(pooled, pooled) + torch.eye(5)
    assert distances.min() > 1e-6


def test_builds_on_the_meta_device(name):
    module = shelf.load("encoders", name)
    with torch.device("meta"):
        encoder = module.Encoder(module.Spec(), modality(name))
    assert all(p.is_meta for p in encoder.parameters())


def test_a_seed_repeats_the_weights(name, encoder):
    if name == "minilm":
        pytest.skip("the transformer's own test covers it; its word table is large")
    again = build(name).state_dict()
    assert all(torch.equal(again[at], value) for at, value in encoder.state_dict().items())
