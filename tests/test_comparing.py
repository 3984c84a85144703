"""A run that compares nothing refuses to search, match and index, and names a way out."""

import pytest
from few_runs import run_of

from sensorium import recipe as recipes
from sensorium.comparing import can_learn, refuse_blind
from sensorium.errors import RunError

words, bare = map(run_of, ("words", "bare"))


def test_which_models_can_learn_it():
    """Encoders of both that work alone; a stack that only meets cannot, nor can one modality."""
    learns = {
        name: can_learn(recipes.load(name, "tiny"))
        for name in ("clip", "albef", "visualbert", "bert", "simclr")
    }
    assert learns == {
        "clip": True, "albef": True, "visualbert": False, "bert": False, "simclr": False,
    }  # fmt: skip


def test_every_question_is_refused_with_the_way_out(words, bare):
    picture = next(iter(words.records())).fields["image"].file
    for ask, way in (
        # Its encoders have a block each, unlike the recipe's own.
        (lambda: words.search("red"), "--task retrieval"),
        (lambda: words.search(image=picture), "--task retrieval"),
        (lambda: words.search(like="x"), "--task retrieval"),
        (lambda: words.match(picture, "red"), "--task retrieval"),
        (lambda: words.index(), "--task retrieval"),
        (lambda: bare.search("red"), "--recipe clip"),
    ):
        with pytest.raises(RunError) as told:
            ask()
        assert "compares pictures with texts" in told.value.expected
        assert told.value.see.endswith(way)
    assert not (words.folder / "index").exists()


def test_where_the_model_can_learn_it_tuning_is_the_way(tiny_copy, monkeypatch):
    monkeypatch.setattr(type(tiny_copy), "compares", False)
    with pytest.raises(RunError) as told:
        refuse_blind(tiny_copy)
    assert "finetune" in told.value.see
    assert told.value.see.endswith("--task retrieval")


def test_a_run_that_compares_is_asked(tiny_copy):
    refuse_blind(tiny_copy)
    with pytest.raises(RunError, match="index"):  # nothing is indexed: another mistake
        tiny_copy.search("red")
