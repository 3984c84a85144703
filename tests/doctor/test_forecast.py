import pytest

from sensorium import recipe, towers
from sensorium.doctor import forecast
from sensorium.recipe import load


def test_constants_are_those_of_the_modules_they_speak_of():
    """They are written twice so that telling them needs no torch."""
    from sensorium import budgeting
    from sensorium.encoders import efficientnet_lite, minilm
    from sensorium.modalities import image, text

    assert forecast.TOWERS["efficientnet_lite"][1] == efficientnet_lite.WIDTH
    assert forecast.TOWERS["minilm"][1] == minilm.WIDTH
    assert forecast.PREPARING == budgeting.PREPARING
    assert (image.Spec().size, image.Spec().crop) == (forecast.SIZE, forecast.CROP)
    assert text.Spec().length == forecast.LENGTH
    assert set(forecast.TOWERS) == set(towers.TOWERS)


def test_the_plan_of_lit():
    lit = load("lit", "tiny", ["optimiser.batch=250"], budget="2min")
    told = forecast.plan(lit, 10_000, 20_000, 8_000, 0.004)
    assert told["batch"] == 250
    assert told["steps_an_epoch"] == 32
    towers_alone = 10_000 * forecast.TOWERS["efficientnet_lite"][0]
    towers_alone += 20_000 * forecast.TOWERS["minilm"][0]
    assert towers_alone < told["seconds_reading"] <= towers_alone + 40
    assert told["records_within_budget"] == pytest.approx(
        10_000 * 0.6 * 120 / told["seconds_reading"], abs=1
    )
    assert told["memory_bytes"] == forecast.BASE + 4 * (10_000 * 1280 + 20_000 * 384)
    assert {name: x["bytes"] for name, x in told["towers"].items()} == {
        "efficientnet_lite": 17_364_911, "minilm": 83_506_384,
    }  # fmt: skip


def test_the_plan_of_a_recipe_without_towers():
    told = forecast.plan(load("clip", "tiny", budget="3-epochs"), 500, 500, 100, None)
    assert told["towers"] == {}
    assert told["batch"] == 100
    assert told["seconds_reading"] == 0
    assert told["records_within_budget"] is None
    assert told["memory_bytes"] == forecast.BASE + 3 * 500 * 64**2


def test_the_side_of_a_picture():
    assert forecast.side(load("lit", "tiny")) == 224
    assert forecast.side(load("clip", "tiny")) == 64
    assert recipe.SIZES["tiny"]["size"] == 64


def test_tokens_need_the_tower(monkeypatch):
    assert forecast.tokens(["a dog"], {"tokenizer": "trained"}) is None
    monkeypatch.setattr(towers, "available", lambda name: False)
    assert forecast.tokens(["a dog"], {"tokenizer": "minilm"}) is None


def test_missing_towers_are_a_note(monkeypatch, tmp_path):
    from clean_data import clean

    from sensorium.doctor import examine

    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    diagnosis = examine(clean(tmp_path))
    (finding,) = diagnosis.findings
    assert finding.id == "towers-missing"
    assert finding.what == "efficientnet_lite and minilm not in the cache: a download of 101 MB"
    assert finding.advice.endswith("sensorium cache fetch efficientnet_lite minilm")
    assert diagnosis.exit_code == 0
    assert not (tmp_path / "cache").exists()  # nothing is written
    assert diagnosis.facts["lengths"]["unit"] == "words"
