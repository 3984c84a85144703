"""A run's directory: nothing is overwritten, damage is named by file and field, splits stay."""

import json
import shutil

import pytest
from clean_data import clean, rows
from miniature import csv_of, picture

from sensorium import reading, run
from sensorium.errors import DataError, RunError, UserError
from sensorium.recipe import load, read_yaml
from sensorium.records import SPLITS, Record, Records, Rejected, Source
from sensorium.run import Run, read_json, refuse_unreadable, refuse_used

RECIPE = load("clip", "tiny", seed=5)
INFO = {"data": "nowhere.csv", "fields": {"title": "text", "photo": "image", "caption": "text"}}


@pytest.fixture
def made(tmp_path):
    """A new run that has not been trained."""
    return Run.create(tmp_path / "runs" / "one", RECIPE, dict(INFO))


def altered(made, **changes):
    """The run's JSON with some fields changed, or removed where None."""
    info = made.info | changes
    text = json.dumps({key: value for key, value in info.items() if value is not None})
    (made.folder / "run.json").write_text(text)
    return made.folder


def test_what_is_created_is_what_is_opened(made):
    opened = Run.open(str(made.folder))
    assert opened.recipe == RECIPE
    assert opened.info == made.info
    assert opened.device == "cpu"
    assert {x.name for x in made.folder.iterdir()} == {"run.json", "recipe.yaml"}
    assert read_yaml(made.folder / "recipe.yaml") == RECIPE.model_dump(mode="json")
    assert opened.info["recipe_hash"] == RECIPE.hash
    assert {"format", "sensorium", "created"} <= set(opened.info)


def test_facts_are_added_and_kept(made):
    made.note(best_step=7, best_score=0.5)
    made.note(best_score=0.75)
    opened = Run.open(made.folder)
    assert (opened.info["best_step"], opened.info["best_score"]) == (7, 0.75)
    assert opened.info["data"] == INFO["data"]
    assert opened.best_step == 7


def test_a_run_that_has_not_finished_says_how_to_go_on(made):
    for ask in (lambda: made.best_step, lambda: made.step, lambda: made.evaluate("test")):
        with pytest.raises(RunError, match="has not finished training") as caught:
            ask()
        assert caught.value.see == f"sensorium resume {made.folder}"


def test_nothing_is_overwritten(made, tmp_path):
    before = (made.folder / "run.json").read_bytes()
    with pytest.raises(RunError, match="a run already there") as caught:
        Run.create(made.folder, RECIPE, {})
    assert caught.value.see == f"sensorium resume {made.folder}"
    assert (made.folder / "run.json").read_bytes() == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("thesis", "file"):
        with pytest.raises(RunError, match="something already there") as caught:
            Run.create(tmp_path / name, RECIPE, {})
        assert caught.value.see is None
    assert [x.name for x in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


def test_an_empty_or_new_folder_may_be_used(tmp_path):
    refuse_used(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").touch()
    refuse_used(tmp_path / "empty")
    assert Run.create(tmp_path / "empty", RECIPE, dict(INFO)).folder == tmp_path / "empty"


def test_what_could_not_begin_is_withdrawn_and_no_more(made):
    made.remember(Records("x", []))
    (made.folder / "modalities" / "text").mkdir(parents=True)
    (made.folder / "mine.txt").touch()
    made.withdraw()
    assert [x.name for x in made.folder.iterdir()] == ["mine.txt"]
    made.withdraw()  # also where there is nothing left


def test_no_run_there_names_the_nearest(made, tmp_path, monkeypatch):
    with pytest.raises(RunError, match="found nothing") as caught:
        Run.open(made.folder.parent / "onne")
    assert caught.value.nearest == str(made.folder)
    with pytest.raises(RunError, match="found a folder without one"):
        Run.open(made.folder.parent)
    with pytest.raises(RunError, match="found a file"):
        Run.open(made.folder / "run.json")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError) as caught:
        Run.open("one")  # forgot the folder `runs`
    assert caught.value.nearest == "runs/one"


@pytest.mark.parametrize("field", ["format", "recipe", "recipe_hash", "data", "fields"])
@pytest.mark.parametrize("value", [None, [1], True])
def test_a_field_of_run_json_that_is_missing_or_another_kind(made, field, value):
    with pytest.raises(RunError) as caught:
        Run.open(altered(made, **{field: value}))
    assert caught.value.field == field
    assert caught.value.file == str(made.folder / "run.json")
    assert caught.value.found == ("nothing" if value is None else repr(value))


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "[" * 100_000, '{"a": "\\'])
def test_a_run_json_that_is_none(made, text):
    (made.folder / "run.json").write_text(text)
    with pytest.raises(RunError, match="expected a run's JSON"):
        Run.open(made.folder)


def test_bytes_that_are_no_text_are_damage(made):
    (made.folder / "run.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(RunError, match="expected a run's JSON"):
        Run.open(made.folder)


def test_another_recipe_than_the_run_began_with(made):
    other = load("clip", "tiny", seed=6)
    with pytest.raises(RunError, match="another one") as caught:
        Run.open(altered(made, recipe=other.model_dump(mode="json")))
    assert RECIPE.hash[:12] in caught.value.expected
    assert other.hash[:12] in caught.value.found


def test_a_recipe_that_is_none_any_more(made):
    content = RECIPE.model_dump(mode="json") | {"fusion": {"use": "nonne"}}
    with pytest.raises(RunError, match="its recipe") as caught:
        Run.open(altered(made, recipe=content))
    assert caught.value.nearest == "none"
    assert "--shelf" in caught.value.see


def test_a_newer_format_asks_for_a_newer_version(made):
    with pytest.raises(RunError, match=r"written by sensorium 9\.9") as caught:
        Run.open(altered(made, format=run.FORMAT + 1, sensorium="9.9"))
    assert "upgrade" in caught.value.see


def test_a_device_that_is_not_is_told(made):
    with pytest.raises(UserError, match="field device"):
        Run.open(made.folder, "gpu")


def test_the_first_field_of_each_modality_is_the_runs(made):
    assert made.fields == {"text": "title", "image": "photo"}


def test_a_modality_that_the_recipe_has_not(made):
    with pytest.raises(UserError) as caught:
        made.reader("txt")
    assert caught.value.nearest == "text"


def test_a_split_that_is_none(made):
    with pytest.raises(RunError) as caught:
        made.evaluate("tests")
    assert caught.value.nearest == "test"


def test_missing_scores_say_how_to_get_them(made):
    with pytest.raises(RunError, match="expected scores") as caught:
        made.scores("validation")
    assert caught.value.see == f"sensorium evaluate {made.folder} --split validation"
    (made.folder / "evaluation").mkdir()
    (made.folder / "evaluation" / "test.json").write_text("{}")
    with pytest.raises(RunError, match="expected scores"):
        made.scores()
    (made.folder / "evaluation" / "test.json").write_text('[{"value": 1}]')
    assert made.scores() == [{"value": 1}]


@pytest.fixture
def begun(tmp_path):
    """A run whose splits are stored, on a table of 20 captioned pictures."""
    table = clean(tmp_path / "data", 20)
    records = reading.read(table)
    made = Run.create(tmp_path / "run", RECIPE, {"data": str(table), "fields": records.fields})
    made.remember(records)
    return made


def test_splits_stay_as_they_were_when_training_began(begun):
    """Another split column, other rows added and one gone: who was in training stays in training,
    and what came later takes no part."""
    before = {x.key: x.split for x in begun.records()}
    assert set(before.values()) == set(SPLITS)
    table = rows(24)
    for row in table:
        row["split"] = "test"
    folder = begun.folder.parent / "data"
    for at in range(20, 24):
        (folder / f"{at:03d}.png").write_bytes(picture(at))
    csv_of(folder / "captions.csv", [row for row in table if row["image"] != "003.png"])
    after = {x.key: x.split for x in Run.open(begun.folder).records()}
    gone = set(before) - set(after)
    assert len(gone) == 1
    assert after == {key: split for key, split in before.items() if key not in gone}


def test_data_that_is_gone_is_told(begun):
    shutil.rmtree(begun.folder.parent / "data")
    with pytest.raises(DataError):
        Run.open(begun.folder).records()


def test_damaged_splits_are_named(begun):
    (begun.folder / "splits.json").write_text("[]")
    with pytest.raises(RunError, match=r"splits\.json"):
        Run.open(begun.folder).records()


def test_what_was_set_aside_is_stored_with_its_reason(made):
    aside = [Rejected(Source("x.csv", 3), "héllo", "k", "title"), Rejected(Source("y.png"), "none")]
    made.remember(Records("x", [Record("a", Source("x"), {}, split="train")], rejected=aside))
    lines = (made.folder / "rejected.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"file": "x.csv", "row": 3, "key": "k", "field": "title", "reason": "héllo"},
        {"file": "y.png", "row": None, "key": None, "field": None, "reason": "none"},
    ]
    assert json.loads((made.folder / "splits.json").read_text()) == {"a": "train"}


def test_the_example_is_a_text_of_the_test_split(begun):
    texts = {x.fields["caption"] for x in begun.records() if x.split == "test"}
    assert begun.example() in texts


def test_the_example_is_the_first_of_several_captions(made):
    fields = {"title": ["one", "two"], "caption": "three"}
    splits = ("train", "test", "test")
    made.remember(Records("x", [Record(s, Source("x"), dict(fields), split=s) for s in splits[:2]]))
    assert made.example() == "one"


def test_a_json_file_of_another_kind(tmp_path):
    file = tmp_path / "x.json"
    file.write_text('{"a": 1}')
    assert read_json(file, "things") == {"a": 1}
    with pytest.raises(RunError, match=r"expected things, found \{'a': 1\}"):
        read_json(file, "things", list)
    with pytest.raises(RunError, match="No such file"):
        read_json(tmp_path / "y.json", "things")


def test_a_picture_to_ask_with_is_looked_at_first(tmp_path, made):
    (tmp_path / "cat.png").write_bytes(picture(1))
    refuse_unreadable(tmp_path / "cat.png")
    with pytest.raises(DataError) as caught:
        refuse_unreadable(tmp_path / "cta.png")
    assert caught.value.nearest == str(tmp_path / "cat.png")
    (tmp_path / "words.png").write_text("no picture")
    for ask in (
        lambda: refuse_unreadable(tmp_path / "words.png"),
        lambda: refuse_unreadable(tmp_path),
        lambda: made.match(tmp_path / "words.png", "words"),
        lambda: made.search(image=tmp_path / "words.png"),
        lambda: made.match(tmp_path / "cat.png", " \n"),
    ):
        with pytest.raises(DataError):
            ask()
