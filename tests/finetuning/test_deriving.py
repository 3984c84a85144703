"""What a chain of tunings inherits: the first run's weight decay, whatever was tuned between."""

import shutil

import pytest

from sensorium import recipe as recipes
from sensorium.errors import RunError
from sensorium.finetuning import deriving, splitting
from sensorium.run import Run

TAKEN = {"a": "image", "b": "label"}


def decay(source, method):
    wish = deriving.Wish("classification", method)
    return deriving.derive(source, wish, TAKEN).optimiser.weight_decay


def chained(source, folder, method):
    """A finished run tuned from another, with the copy of it that tuning keeps."""
    recipe = deriving.derive(source, deriving.Wish("classification", method), TAKEN)
    run = Run.create(folder, recipe, {"data": "x.csv", "fields": TAKEN})
    run.note(best_step=1)
    shutil.copytree(source.folder, folder / "source", ignore=shutil.ignore_patterns("source"))
    return run


@pytest.fixture
def first(tmp_path):
    """A run whose weight decay is that of no default."""
    recipe = recipes.load("clip", "tiny", ["optimiser.weight_decay=0.03"])
    return Run.create(tmp_path / "first", recipe, {"data": "x.csv", "fields": {"a": "image"}})


@pytest.mark.parametrize("method", deriving.METHODS)
def test_the_head_alone_and_lora_train_without_decay(first, method):
    assert decay(first, method) == (0.0 if method in ("linear", "lora") else 0.03)


@pytest.mark.parametrize("between", deriving.METHODS)
@pytest.mark.parametrize("last", ["full", "freeze"])
def test_the_first_run_of_a_chain_gives_the_decay(first, tmp_path, between, last):
    second = chained(first, tmp_path / "second", between)
    assert decay(second, last) == 0.03
    third = chained(second, tmp_path / "third", "linear")
    assert decay(third, last) == 0.03
    assert decay(third, "lora") == 0.0


def test_where_the_first_is_gone_the_earliest_that_decayed_gives_it(first, tmp_path):
    second = chained(first, tmp_path / "second", "full")
    third = chained(second, tmp_path / "third", "linear")
    shutil.rmtree(first.folder)
    shutil.rmtree(second.folder)  # the third holds a copy of the second
    assert decay(third, "full") == 0.03


def test_where_nothing_is_known_any_more_it_is_the_default(first, tmp_path):
    second = chained(first, tmp_path / "second", "linear")
    shutil.rmtree(second.folder / "source")
    shutil.rmtree(first.folder)
    assert decay(second, "full") == recipes.Optimiser().weight_decay != 0


def test_a_tuned_run_gives_its_sources_decay(runs, tiny_run):
    base = tiny_run.recipe.optimiser.weight_decay
    assert base > 0
    assert runs["linear"].recipe.optimiser.weight_decay == 0
    for method in ("linear", "lora", "full"):
        assert decay(runs[method], "full") == base


def test_a_damaged_copy_of_the_source_is_told_and_not_passed_over(first, tmp_path):
    second = chained(first, tmp_path / "second", "linear")
    (second.folder / "source" / "run.json").write_text("[]")
    with pytest.raises(RunError, match=r"source/run\.json"):
        list(splitting.lineage(second))
