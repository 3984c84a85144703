"""What a made world adds to a run's scores."""

import copy
import json

import pytest

from sensorium import world_floors
from sensorium.errors import RecipeError
from sensorium.world import _asking, _floors, _ranking
from sensorium.world._setting import load

FIELDS = {"image": "image", "text": "caption"}


def score(task, metric, **protocol):
    return {"task": task, "direction": "text_to_image", "metric": metric, "protocol": protocol,
            "controls": {"chance": {"value": 0.5, "interval": "exact"}}}  # fmt: skip


def written(folder, setting):
    folder.mkdir(parents=True, exist_ok=True)
    told = {"setting": setting.model_dump(mode="json"), "floors": {}}
    (folder / "world.json").write_text(json.dumps(told))
    return folder


def names_added(scores, *given):
    before = copy.deepcopy(scores)
    world_floors.add(scores, *given)
    for old, new in zip(before, scores, strict=True):
        assert new["controls"]["chance"] == old["controls"]["chance"]
    return [set(one["controls"]) - {"chance"} for one in scores]


def test_the_label_and_its_floors(tmp_path):
    setting = load("synergy")
    data = written(tmp_path / "world", setting)
    scores = [score("classification", "accuracy", field="label")]
    names_added(scores, data, "test", FIELDS)
    told = _floors.told(setting, "test")
    for name in ("best_image_only", "best_text_only", "best_sum", "best_sum_fitted",
                 "best_possible"):  # fmt: skip
        assert scores[0]["controls"][name] == {"value": told[name], "interval": "exact"}


def test_retrieval_has_its_ceiling_for_the_pool_that_was_asked(tmp_path):
    setting = load("binding")
    data = written(tmp_path / "world", setting)
    scores = [score("retrieval", "recall@1", pool=123)]
    assert names_added(scores, data, "validation", FIELDS) == [{"best_possible"}]
    stated = _ranking.retrieval(setting, "validation", "text_to_image", 1, 123)
    value = scores[0]["controls"]["best_possible"]["value"]
    assert value == pytest.approx(stated["best_possible"])
    assert value < 1  # "left of" and "right of": two texts for one picture


def test_the_folder_of_unseen_kinds_has_the_floors_of_its_split(tmp_path):
    setting = load("plain", ["kinds=16", "unseen_kinds=4"])
    data = written(tmp_path / "world", setting) / "unseen"
    data.mkdir()
    scores = [score("classification", "accuracy", field="fact.kind_1")]
    names_added(scores, data, "test", FIELDS)
    assert scores[0]["controls"]["best_possible"]["value"] == 1
    assert _floors.told(setting, "unseen", "kind_1")["chance"] == 1 / 4


def test_whole_records_alone_are_asked_so_nothing_is_missing_in_their_floors(tmp_path):
    lacking = written(tmp_path / "lacking", load("dropout", ["missing.image=0.5"]))
    whole = written(tmp_path / "whole", load("dropout"))
    told = []
    for data in (lacking, whole):
        scores = [score("classification", "accuracy", field="label")]
        names_added(scores, data, "test", FIELDS)
        told.append(scores[0]["controls"])
    assert told[0] == told[1]


def test_answers_to_questions_have_the_floors_of_the_questions(tmp_path):
    setting = load("binding")
    data = written(tmp_path / "world", setting)
    scores = [score("classification", "accuracy", field="answer")]
    added = names_added(scores, data, "test", FIELDS | {"text": "question"})
    assert added == [{"best_image_only", "best_text_only", "best_possible"}]
    told = scores[0]["controls"]
    assert told["best_possible"]["value"] == 1
    assert (
        told["best_text_only"]["value"]
        == _asking.floors(setting, "test")["question"]["best_text_only"]
    )


@pytest.mark.parametrize(
    ("task", "metric", "protocol", "fields"),
    [
        ("classification", "nats per record", {"field": "label"}, FIELDS),
        ("classification", "accuracy", {"field": "answer"}, FIELDS),
        ("matching", "forced choice", {}, FIELDS),
        ("classification", "accuracy", {"field": "label"}, FIELDS | {"text": "question"}),
        ("retrieval", "recall@1", {"pool": 50}, FIELDS | {"text": "caption_colours"}),
        ("classification", "accuracy", {"field": "label"}, FIELDS | {"image": "photo"}),
    ],
)
def test_what_the_floors_do_not_fit_stays_as_it_is(tmp_path, task, metric, protocol, fields):
    data = written(tmp_path / "world", load("binding" if task == "retrieval" else "synergy"))
    assert names_added([score(task, metric, **protocol)], data, "test", fields) == [set()]


@pytest.mark.parametrize("text", [None, "{", '{"countries": []}', "[1]"])
def test_other_data_and_other_files_of_that_name_are_left_alone(tmp_path, text):
    if text is not None:
        (tmp_path / "world.json").write_text(text)
    scores = [score("classification", "accuracy", field="label")]
    assert names_added(scores, tmp_path, "test", FIELDS) == [set()]
    assert names_added(scores, "emoji", "test", FIELDS) == [set()]


def test_a_modality_that_the_run_lacks_has_no_floor(tmp_path):
    data = written(tmp_path / "world", load("dropout"))
    scores = [score("classification", "accuracy", field="label")]
    (added,) = names_added(scores, data, "test", {"image": "image"})
    assert "best_image_only" in added
    assert not added & {"best_text_only", "best_table_only"}


def test_a_world_of_another_version_is_one_clear_error(tmp_path):
    data = written(tmp_path / "world", load("plain"))
    told = json.loads((data / "world.json").read_text())
    told["setting"]["colourz"] = 3
    (data / "world.json").write_text(json.dumps(told))
    with pytest.raises(RecipeError, match="another version"):
        world_floors.add([score("retrieval", "recall@1", pool=9)], data, "test", FIELDS)
