"""The demo on small data: without towers it trains from scratch, and a finished one is kept."""

from types import SimpleNamespace

import pytest
from conftest import TINY
from rich.console import Console

from sensorium import demo, pretraining, recipe, towers
from sensorium.errors import RunError, UserError
from sensorium.run import Run


def consoles():
    """Two consoles that keep what they are told."""
    return Console(record=True, width=120), Console(record=True, width=120)


def text(console):
    """What a console was told, on one line."""
    return " ".join(console.export_text(clear=False).split())


@pytest.fixture
def small(monkeypatch, tiny_data, empty_cache):
    """The demo on forty made pictures for two steps, in an empty cache, without a network."""
    asked = []

    def fetch(name, progress=None):
        asked.append(name)
        raise UserError(f"{name} cannot be downloaded", see="a network")

    def load(name, size="published", **more):
        return recipe.load(name, size, list(TINY) if name == "clip" else None, **more)

    monkeypatch.setattr(towers, "fetch", fetch)
    monkeypatch.setattr(demo, "recipes", SimpleNamespace(load=load))
    monkeypatch.setattr(demo, "DATA", str(tiny_data.resolve()))
    monkeypatch.setattr(demo, "BUDGET", {"lit": "1-steps", "clip": "2-steps"})
    return asked


def contents(folder):
    """path -> bytes and time of change of what training writes."""
    files = [*folder.glob("checkpoints/**/*"), folder / "log.jsonl", *folder.glob("evaluation/*")]
    return {x: (x.read_bytes(), x.stat().st_mtime_ns) for x in files if x.is_file()}


def test_without_towers_it_trains_from_scratch_and_is_shown_again(small, tmp_path, monkeypatch):
    out, (console, err) = tmp_path / "demo", consoles()
    run = demo.run_demo(out, 3, "cpu", console, err)
    # --- it says why, and what it does instead
    assert small == ["efficientnet_lite"]  # one that cannot be had is enough
    told = text(err)
    assert "efficientnet_lite cannot be downloaded" in told
    assert "training clip from scratch" in told
    assert (run.recipe.name, run.recipe.seed, run.recipe.budget) == ("clip", 3, "2-steps")
    assert run.info["plan"]["steps"] == 2
    # --- it shows searches, scores, the page
    shown = text(console)
    assert all(query in shown for query in demo.QUERIES)
    assert (out / "report.html").stat().st_size > 1000
    assert str(out / "report.html") in shown
    # --- a second time it is shown and not trained
    before = contents(out)
    assert len(before) > 4

    def refuse(*_, **__):
        raise AssertionError("it trained again")

    for name in ("pretrain", "resume", "train"):
        monkeypatch.setattr(pretraining, name, refuse)
    console, err = consoles()
    again = demo.run_demo(out, 4, "cpu", console, err)
    assert contents(out) == before
    assert again.recipe.seed == 3
    assert "is there already" in text(err)
    assert all(query in text(console) for query in demo.QUERIES)
    assert len(small) == 1  # nor was a tower asked for


def test_a_demo_that_was_stopped_goes_on(small, tmp_path, monkeypatch):
    """Begun, but without a best step: resumed in place, not begun anew."""
    resumed = []

    def resume(folder, watcher, device):
        resumed.append((folder, device))
        raise RuntimeError("far enough")

    monkeypatch.setattr(pretraining, "resume", resume)
    made = recipe.load("clip", "tiny")
    Run.create(tmp_path / "demo", made, {"data": demo.DATA, "fields": {}})
    with pytest.raises(RuntimeError, match="far enough"):
        demo.run_demo(tmp_path / "demo", 0, "cpu", *consoles())
    assert resumed == [(tmp_path / "demo", "cpu")]


def test_a_run_on_other_data_is_no_demo(small, tmp_path):
    info = {"data": "my photographs", "fields": {}}
    made = Run.create(tmp_path / "mine", recipe.load("clip", "tiny"), info)
    before = (made.folder / "run.json").read_bytes()
    with pytest.raises(RunError, match="a run on my photographs"):
        demo.run_demo(made.folder, 0, "cpu", *consoles())
    assert (made.folder / "run.json").read_bytes() == before


@pytest.mark.parametrize("here", [(), ("efficientnet_lite",), ("efficientnet_lite", "minilm")])
def test_lit_where_all_towers_can_be_had(monkeypatch, here):
    """What is in the cache is not fetched; what is not, is."""
    fetched = []
    monkeypatch.setattr(towers, "available", lambda name: name in here)
    monkeypatch.setattr(towers, "fetch", lambda name, progress=None: fetched.append(name))
    _, err = consoles()
    assert demo._recipe(demo.Teller(err)) == "lit"
    assert fetched == [x for x in ("efficientnet_lite", "minilm") if x not in here]
    assert "instead" not in text(err)


def test_every_recipe_of_the_demo_has_a_budget_that_is_counted():
    for name in ("lit", "clip"):
        assert recipe.parse_budget(demo.BUDGET[name]).unit != "seconds"
