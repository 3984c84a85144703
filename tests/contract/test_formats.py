"""What every format of another library's models keeps, beside its own tests."""

import pytest
import transformers

from sensorium import importing, shelf
from sensorium.errors import UserError
from sensorium.formats._config import Config
from sensorium.recipe import member


@pytest.fixture(params=shelf.names("formats"))
def name(request):
    return request.param


def configs(name, tmp_path):
    """(kind, the config of its default size) of each kind that a format reads."""
    module = shelf.load("formats", name)
    for kind in module.CLASSES:
        defaults = module.DEFAULTS[kind] | {"model_type": kind}
        yield kind, Config({}, defaults, tmp_path / "config.json")


def test_has_what_a_format_has(name):
    module = shelf.load("formats", name)
    assert 10 < len(module.SUMMARY) < 100
    assert "\n" not in module.SUMMARY
    assert set(module.CLASSES) == set(module.DEFAULTS)
    assert callable(module.towers)
    for kind, named in module.CLASSES.items():
        assert getattr(transformers, named).config_class.model_type == kind


def test_defaults_are_those_of_transformers(name):
    """A config file leaves out what equals them."""
    module = shelf.load("formats", name)
    for kind, named in module.CLASSES.items():
        theirs = getattr(transformers, named).config_class()
        for key, value in module.DEFAULTS[kind].items():
            found = getattr(theirs, key)
            if value is None:  # decided by another value
                continue
            assert found == value, f"{kind}.{key}"


def test_towers_are_members_of_our_shelves(name, tmp_path):
    """At the published size, so that no option is out of bounds."""
    module = shelf.load("formats", name)
    for _, config in configs(name, tmp_path):
        for modality, tower in module.towers(config).items():
            assert tower.modality == modality
            member("encoders", "encoder", tower.encoder)
            member("modalities", "modality", tower.options)


def test_each_kind_belongs_to_one_format():
    kinds = [
        kind for name in shelf.names("formats") for kind in shelf.load("formats", name).CLASSES
    ]
    assert len(kinds) == len(set(kinds)) == len(importing.kinds())


def test_an_activation_that_ours_lack_is_named(name, tmp_path):
    module = shelf.load("formats", name)
    for kind, named in module.CLASSES.items():
        content = {"hidden_act": "mish", "text_config": {"hidden_act": "mish"}}
        content |= {"vision_config": {"hidden_act": "mish"}}
        content |= {"image_config": {"hidden_act": "mish"}}
        defaults = module.DEFAULTS[kind] | {"model_type": kind}
        config = Config(content, defaults, tmp_path / "config.json")
        with pytest.raises(UserError) as caught:
            module.towers(config) or module.whole(config, ())  # some meet from the start
        assert caught.value.field.endswith("hidden_act"), named
        assert caught.value.found == "'mish'"
        assert "gelu" in caught.value.expected
