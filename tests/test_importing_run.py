"""An imported whole model as a run: opened, searched and fine-tuned; asked for data it says so."""

import shutil

import numpy as np
import pytest
from commands import sensorium
from conftest import COLOURS, SHAPES
from formats import saved

from sensorium import importing
from sensorium.errors import RunError
from sensorium.finetuning.tuning import finetune
from sensorium.importing_run import write
from sensorium.prepare import one
from sensorium.run import Run


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A CLIP that knows the words of `tiny_data`, with a licence; read only."""
    folder = saved.clip(tmp_path_factory.mktemp("models") / "clip")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return saved.words(folder, ["a", "small", "large", *COLOURS, *SHAPES])


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def made(clip, own_cache, tmp_path_factory):
    """The run. Read only."""
    folder = tmp_path_factory.mktemp("run") / "clip"
    told = sensorium("cache", "import", clip, "--out", folder)
    assert told.code == 0, told.err
    assert f"sensorium finetune {folder} DATA" in told.out
    return folder


@pytest.fixture
def run(made, tmp_path):
    """A copy that a test may change."""
    return Run.open(shutil.copytree(made, tmp_path / "run"))


def test_its_vectors_are_those_of_the_model_it_came_from(run, clip, tiny_data):
    whole = importing.whole(clip)
    for name, value in (("text", "a small red circle"), ("image", str(tiny_data / "07.png"))):
        reader = whole.reader(name)
        wanted = whole.embed(name, one(reader, value, "it"))[0]
        np.testing.assert_array_equal(run.vector(name, value, "it"), wanted)


def test_it_needs_the_cache_no_more(run, clip, empty_cache):
    assert run.vector("text", "a red circle", "it").shape == (16,)


def test_it_is_indexed_and_searched(run, tiny_data):
    assert run.index(str(tiny_data)).rows == 80
    best = run.search("a small red circle", k=1, among="text")[0]
    assert best["text"] == "a small red circle"
    assert best["score"] == pytest.approx(1, abs=1e-5)


def test_it_is_fine_tuned_and_its_licence_goes_along(run, tiny_data, tmp_path):
    tuned = finetune(run, str(tiny_data), "retrieval", out=tmp_path / "tuned", budget="1-steps",
                     overrides=["optimiser.batch=8"])  # fmt: skip
    rows = tuned.info["before_and_after"]
    assert {row["which"] for row in rows} == {"new", "old"}
    old = next(row for row in rows if row["which"] == "old")
    assert "without data" in old["reason"]
    page = tuned.report().read_text()
    assert f"{run.recipe.source}" in page
    assert "the weights that training began with. mit." in page
    again = finetune(tuned, str(tiny_data), "retrieval", out=tmp_path / "again", budget="1-steps",
                     overrides=["optimiser.batch=8"])  # fmt: skip
    assert again.info["imported"] == tuned.info["imported"] == run.info["imported"]


@pytest.mark.parametrize("command", ["evaluate", "resume", "report"])
def test_what_needs_its_records_says_that_there_are_none(command, run):
    told = sensorium(command, run.folder)
    assert told.code == 2
    assert "expected records of its own, found a model imported from" in told.words


@pytest.mark.parametrize(
    ("kind", "more", "says"),
    [
        ("clip", ["--part", "text"], "expected the whole model, found --part text"),
        ("vit", [], "vit is one tower, not a whole model"),
    ],
)
def test_what_makes_no_run(kind, more, says, tmp_path, empty_cache):
    getattr(saved, kind)(tmp_path / kind)
    told = sensorium("cache", "import", tmp_path / kind, "--out", tmp_path / "run", *more)
    assert (told.code, says in told.words) == (2, True)
    assert not (tmp_path / "run").exists()


def test_nothing_is_overwritten(made, clip, own_cache):
    before = (made / "run.json").read_bytes()
    told = sensorium("cache", "import", clip, "--out", made)
    assert (told.code, "a new or empty folder" in told.words) == (2, True)
    with pytest.raises(RunError, match="new or empty"):
        write(importing.whole(clip), made)
    assert (made / "run.json").read_bytes() == before


def test_a_model_whose_modalities_meet_becomes_a_run_too(tmp_path, empty_cache):
    whole = importing.whole(saved.vilt(tmp_path / "vilt"))
    run = write(whole, tmp_path / "run")
    opened = Run.open(run.folder)
    assert list(opened.recipe.modalities) == ["text", "image"]
    assert not opened.compares
    for name, value in opened.step.state_dict().items():
        assert np.array_equal(value, whole.step.state_dict()[name]), name
