"""EfficientNet-Lite0 against the package efficientnet-lite-pytorch, and on photographs."""

from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from reference import image_look, pixels

from sensorium import towers
from sensorium.encoders import efficientnet_lite as tower
from sensorium.errors import RecipeError
from sensorium.modalities import image
from sensorium.records import Blob


def reference() -> EfficientNet:
    """The package's model with random weights and statistics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = EfficientNet.from_name("efficientnet-lite0").eval()
        for part in model.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.running_mean.normal_(std=0.1)
                part.running_var.uniform_(0.5, 1.5)
                torch.nn.init.uniform_(part.weight, 0.7, 1.3)
                torch.nn.init.normal_(part.bias, std=0.1)
    return model


def encoder(size: int = 224, patch: int = 32) -> tower.Encoder:
    modality = image.Modality(image.Spec(size=size, patch=patch))
    return tower.Encoder(tower.Spec(), modality)


def pictures(n: int, patches: int, channels: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, patches, channels), generator=draws, dtype=torch.uint8)


def compare(theirs: EfficientNet, ours: tower.Encoder, values: torch.Tensor) -> None:
    norm = SimpleNamespace(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    seen = pixels(values, ours.patch, norm)
    with torch.inference_mode():
        want = theirs.extract_features(seen)
        state = ours.encode(ours.embed(image_look(values)))
        scores, logits = ours.classes(state.pooled), theirs(seen)
    torch.testing.assert_close(
        state.tokens, want.flatten(2).transpose(1, 2), atol=1e-5 * float(want.max()), rtol=1e-5
    )
    torch.testing.assert_close(scores, logits, atol=1e-5, rtol=1e-5)
    assert float(want.std()) > 0.01  # the features are no constant


@pytest.mark.parametrize("patch", [16, 32])
def test_random_weights_give_the_features_and_logits_of_the_package(patch):
    theirs, ours = reference(), encoder(patch=patch)
    ours.load_state_dict(tower.convert(theirs.state_dict()))
    compare(theirs, ours, pictures(2, (224 // patch) ** 2, 3 * patch**2))


def test_parameters_are_those_of_the_package():
    ours, theirs = encoder(), reference()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


def test_norms_keep_their_statistics_in_training():
    ours = encoder(size=64)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    values = pictures(2, 4, 3 * 32**2)
    training = ours.train().encode(ours.embed(image_look(values))).pooled
    assert all(torch.equal(before[name], value) for name, value in ours.state_dict().items())
    torch.testing.assert_close(ours.eval().encode(ours.embed(image_look(values))).pooled, training)


def test_a_patch_that_is_not_real_has_no_influence():
    ours = encoder(size=64)
    values = pictures(1, 4, 3 * 32**2)
    real = torch.tensor([[True, True, False, True]])
    changed = torch.where(real[..., None], values, 255 - values)
    first, second = (ours.encode(ours.embed(image_look(x, real))).tokens for x in (values, changed))
    assert torch.equal(first, second)
    whole = ours.encode(ours.embed(image_look(values))).tokens
    assert not torch.allclose(first, whole)


def test_other_sizes_are_refused():
    with pytest.raises(RecipeError, match="multiple of 32, found size 60"):
        encoder(size=60, patch=10)


def test_a_thousand_names():
    names = tower.class_names()
    assert len(names) == 1000
    assert names[0].startswith("tench")
    assert names[999].startswith("toilet tissue")
    assert all(name == name.strip() and name for name in names)


@pytest.fixture(scope="module")
def modality() -> image.Modality:
    return image.Modality(image.Spec(**towers.TOWERS["efficientnet_lite"].reads))


@pytest.mark.towers
def test_trained_weights_give_the_features_and_logits_of_the_package(efficientnet_lite, modality):
    ours = towers.load(efficientnet_lite, modality)
    theirs = EfficientNet.from_name("efficientnet-lite0").eval()
    names = tower.convert({name: name for name in theirs.state_dict()})
    theirs.load_state_dict({names[name]: value for name, value in ours.state_dict().items()})
    compare(theirs, ours, pictures(2, 49, 3 * 32**2))


@pytest.mark.towers
@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ("chelsea.png", {"tabby, tabby cat", "tiger cat", "Egyptian cat"}),
        ("coffee.png", {"espresso", "cup", "coffee mug"}),
        ("rocket.jpg", {"missile", "projectile, missile"}),
    ],
)
def test_photographs_get_sensible_classes(efficientnet_lite, modality, picture, words):
    file = Path(str(resources.files("skimage") / "data" / picture))
    ours = towers.load(efficientnet_lite, modality)
    tokens = modality.tokens(modality.read(Blob(picture, file), picture), None)
    with torch.inference_mode():
        state = ours.encode(ours.embed(image_look(tokens.values)))
        best = ours.classes(state.pooled)[0].topk(5).indices.tolist()
    found = [tower.class_names()[at] for at in best]
    assert set(found) & words, found
    assert found[0] in words, found
