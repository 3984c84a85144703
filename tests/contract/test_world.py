"""What everything that a scene can emit keeps, beside its own tests."""

import pytest

from sensorium import shelf
from sensorium.world import _sampling, _setting

NAMES = shelf.names("world")
SETTINGS = _setting.names()


@pytest.fixture(params=SETTINGS)
def setting(request):
    return _setting.load(request.param)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def emitted(module, setting, split, at):
    key = _sampling.key(setting, 5, split, at)
    return module.emit(_sampling.scene(setting, 5, split, at), setting, key)


def suited(name, setting):
    """Whether a setting can emit this: a table needs its fields."""
    return name != "table" or bool(setting.table)


def test_has_what_a_member_has(name):
    module = shelf.load("world", name)
    assert shelf.summary("world", name) == module.SUMMARY
    assert module.SUMMARY[0].islower() or module.SUMMARY[0].isdigit()
    assert module.__doc__


def test_a_setting_may_ask_for_every_member_and_for_no_other(name):
    told = _setting.load("dropout").model_dump(mode="json")
    _setting.check(told | {"emit": ["image", "caption", "table", name]})
    with pytest.raises(_setting.RecipeError):
        _setting.check(told | {"emit": ["image", name + "s"]})


def test_columns_that_are_declared_are_emitted_with_their_types(name, setting):
    import pyarrow as pa

    if not suited(name, setting):
        return
    module = shelf.load("world", name)
    columns = module.columns(setting)
    for split in setting.splits:
        for at in range(20):
            row = emitted(module, setting, split, at)
            assert list(row) == list(columns)
            for column, value in row.items():
                # Strictly: pyarrow itself turns no text into a number, nor a number into a text.
                assert value is None or pa.scalar(value, columns[column]).as_py() == value
                assert isinstance(value, bool) == (
                    value is not None and columns[column] == pa.bool_()
                )


def test_one_record_twice_is_the_same_whatever_was_emitted_between(name, setting):
    if not suited(name, setting):
        return
    module = shelf.load("world", name)
    alone = [emitted(module, setting, "train", at) for at in (3, 17, 4)]
    forwards = [emitted(module, setting, "train", at) for at in range(20)]
    backwards = [emitted(module, setting, "train", at) for at in reversed(range(20))][::-1]
    assert forwards == backwards
    assert alone == [forwards[at] for at in (3, 17, 4)]


def test_records_differ(name, setting):
    if not suited(name, setting):
        return
    module = shelf.load("world", name)
    rows = [repr(emitted(module, setting, "train", at)) for at in range(40)]
    assert len(set(rows)) > 1


def test_another_seed_gives_other_records(name):
    setting = _setting.load("dropout")
    module = shelf.load("world", name)
    rows = [
        [
            module.emit(_sampling.scene(setting, seed, "train", at), setting,
                        _sampling.key(setting, seed, "train", at))
            for at in range(20)
        ]
        for seed in (0, 1)
    ]  # fmt: skip
    assert rows[0] != rows[1]
