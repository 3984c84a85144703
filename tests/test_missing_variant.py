"""A recipe that reads a second field of a modality, on data without it: told before torch loads."""

import json
import os
import subprocess
import sys

import pytest
from commands import sensorium, tree
from miniature import csv_of, pictures
from test_wrong_input import DRIVER

from sensorium import reading
from sensorium.errors import EXIT_MISTAKE, DataError
from sensorium.recipe import load

SECOND = """
extends: mural
name: two_tongues
variants:
  text: [{field: translation}, {field: tittle}]
"""


@pytest.fixture
def table(tmp_path, monkeypatch):
    """captions.csv in the working directory: 20 pictures with `title` and `translated`."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {"photo": name, "title": f"thing {at}", "translated": f"chose {at}"}
        for at, name in enumerate(pictures(tmp_path, 20))
    ]
    return csv_of(tmp_path / "captions.csv", rows)


def test_the_field_and_the_way_out_are_told(table):
    before = tree(table.parent)
    told = sensorium("pretrain", "captions.csv", "--recipe", "mural", "--out", "run")
    assert told.code == EXIT_MISTAKE
    for words in (
        "captions.csv, field translation",
        "variants.text.0.field of recipe mural",
        "one of photo, title, translated, found no such field",
        "nearest translated",
        "see the same command with variants.text.0.field=translated",
    ):
        assert words in told.words
    assert tree(table.parent) == before


def test_torch_is_not_loaded_for_it(table, tmp_path):
    asked = ["pretrain", "captions.csv", "--recipe", "mural"]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], input=json.dumps([str(tmp_path), asked]),
        capture_output=True, text=True, env=os.environ | {"SENSORIUM_CACHE": str(tmp_path / "c")},
    )  # fmt: skip
    assert json.loads(done.stdout) == [EXIT_MISTAKE, False], done.stderr


def test_a_field_that_is_like_no_other_is_asked_for(table):
    told = sensorium("pretrain", table, "variants.text.0.field=xyz", "--recipe", "mural")
    assert "nearest" not in told.words
    assert "variants.text.0.field=FIELD" in told.words


def test_any_recipe_and_any_variant(table):
    recipe = table.with_name("own.yaml")
    recipe.write_text(SECOND)
    told = sensorium("pretrain", table, "variants.text.0.field=translated", "--recipe", recipe)
    assert told.code == EXIT_MISTAKE
    assert "nearest title" in told.words
    assert "variants.text.1.field=title" in told.words


def test_what_is_there_is_not_refused(table):
    records = reading.read(table)
    reading.refuse_missing(load("clip"), records)
    reading.refuse_missing(load("slip"), records)  # whose variants are augmentations
    there = load("mural", overrides=["variants.text.0.field=translated"])
    reading.refuse_missing(there, records)
    with pytest.raises(DataError):
        reading.refuse_missing(load("mural"), records)
