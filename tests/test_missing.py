"""Scores where a modality is missing, against slow loops over batches with absent rows."""

import json
import shutil

import numpy as np
import pytest
import torch
from commands import sensorium
from few_runs import run_of
from reference import randomise

from sensorium import missing, scoring
from sensorium.asking import Asked
from sensorium.errors import RunError, UserError
from sensorium.loading import gather
from sensorium.nodes import Read
from sensorium.prepare import Column
from sensorium.run import Run
from sensorium.tasks._intervals import wilson

words, classes, pictures, written = map(run_of, ("words", "classes", "pictures", "written"))
RATES = (0.0, 0.25, 0.5, 1.0)


def copied(run, tmp_path):
    """The run in a folder that a test may write to."""
    shutil.copytree(run.folder, tmp_path / "run")
    return Run.open(tmp_path / "run")


def drawn(run, tmp_path):
    """The run with weights that tell everything apart, which four steps of training do not."""
    made = copied(run, tmp_path)
    randomise(made.step, 0, 0.3)
    for stand_in in made.step.model.absent.values():
        torch.nn.init.normal_(stand_in, std=2.0, generator=torch.Generator().manual_seed(1))
    return made


def of(scores, modality, rate):
    (found,) = [s for s in scores if s["modality"] == modality and s["rate"] == rate]
    return found


def asked_with(run, asked, gone, modality, content=None):
    """One batch of all records; a modality is absent, or another content, where `gone` says so."""
    columns = dict(asked.columns)
    made = columns[modality]
    first = [made.index[at][0] for at in range(len(asked))]
    items = {name: [x.index[at][0] for at in range(len(asked))] for name, x in columns.items()}
    items[modality] = [
        None if lacks and content is None else -1 if lacks else at
        for at, lacks in zip(first, gone, strict=True)
    ]
    if content is not None:
        told = made.items
        told = [*told, *content] if isinstance(told, list) else np.concatenate([told, content])
        columns[modality] = Column(
            modality, told, made.index, np.append(made.identity, -1), made.features
        )
    return gather(asked.records, columns, run.modalities, items)


def class_right(run, batch):
    """Which records are right, by the modules themselves."""
    objective = run.step.objectives["classification"]
    with torch.no_grad():
        got = {what: run.step.read(node, batch) for what, node in objective.needs().items()}
        logits = objective.logits(got, batch)
    truth = batch.targets[objective.spec.target]
    return (logits.argmax(1) == truth).numpy()


def test_accuracy_with_the_stand_in_is_that_of_batches_with_absent_rows(classes, tmp_path):
    run = drawn(classes, tmp_path)
    scores = missing.evaluate(run, "train", RATES)
    asked = Asked.over(run, "train", ["image", "text", "label"])
    keys = [record.key for record in asked.records]
    assert len(keys) > 20
    every = [of(scores, name, 1.0) for name in ("image", "text")]
    assert any(s["value"] != s["controls"]["impute"]["value"] for s in every)
    assert any(s["value"] != s["controls"]["complete"]["value"] for s in every)
    for modality in ("image", "text"):
        trained = Asked.over(run, "train", [modality]).columns[modality]
        content = missing.likeliest(trained)
        for rate in RATES:
            gone = missing.missing_at(run, "train", modality, keys, rate)
            score = of(scores, modality, rate)
            right = class_right(run, asked_with(run, asked, gone, modality))
            assert score["value"] == pytest.approx(right.mean())
            assert score["missing"] == gone.sum()
            assert score["interval"] == pytest.approx(wilson(right.mean(), len(keys)))
            controls = score["controls"]
            filled = class_right(run, asked_with(run, asked, gone, modality, content))
            assert controls["impute"]["value"] == pytest.approx(filled.mean())
            assert controls["impute"]["difference"] == pytest.approx(right.mean() - filled.mean())
            whole = class_right(run, asked_with(run, asked, gone & False, modality))
            assert controls["complete"]["value"] == pytest.approx(whole.mean())
            assert controls["drop_as_wrong"]["value"] == pytest.approx((whole & ~gone).mean())
            assert controls["chance"]["value"] == 1 / 4
            other = "text" if modality == "image" else "image"
            nothing = class_right(run, asked_with(run, asked, gone | True, modality))
            assert controls[f"{other}_alone"]["value"] == pytest.approx(nothing.mean())
            if gone.all():
                assert controls["drop"]["value"] is None
            else:
                assert controls["drop"]["value"] == pytest.approx(whole[~gone].mean())
                assert controls["drop"]["coverage"] == pytest.approx((~gone).mean())


def test_at_no_rate_all_are_equal_and_at_the_whole_the_rest_is_alone(classes, tmp_path):
    scores = missing.evaluate(copied(classes, tmp_path), "train", RATES)
    for modality, other in (("image", "text"), ("text", "image")):
        none, every = of(scores, modality, 0.0), of(scores, modality, 1.0)
        for name in ("impute", "drop", "drop_as_wrong", "complete"):
            assert none["controls"][name]["value"] == none["value"]
        assert none["missing"] == 0
        assert every["controls"][f"{other}_alone"]["value"] == every["value"]
        assert every["controls"]["drop_as_wrong"]["value"] == 0
        assert every["controls"][f"{other}_alone"]["difference_interval"] == [0, 0]


def test_what_is_missing_at_a_rate_is_missing_at_a_higher_one_and_by_record(classes):
    keys = [f"r{at}" for at in range(2000)]
    less, more = (missing.missing_at(classes, "test", "image", keys, rate) for rate in (0.25, 0.5))
    assert more[less].all()
    assert abs(less.mean() - 0.25) < 4 * (0.25 * 0.75 / 2000) ** 0.5
    back = missing.missing_at(classes, "test", "image", keys[::-1], 0.25)
    assert np.array_equal(back[::-1], less)
    text = missing.missing_at(classes, "test", "text", keys, 0.25)
    assert abs((text & less).mean() - 0.0625) < 4 * (0.0625 * 0.9375 / 2000) ** 0.5


def test_forced_choice_of_matching_by_hand(words, tmp_path):
    run = drawn(words, tmp_path)
    scores = missing.evaluate(run, "train", (0.0, 0.5))
    asked = Asked.over(run, "train", ["image", "text"])
    wrong = asked.strangers(("image", "text"))
    keys = [record.key for record in asked.records]
    head = run.step.objectives["matching"].head
    read = Read(run.step.objectives["matching"].given.fuse(), "joint")
    for modality, sought in (("image", "text"), ("text", "image")):
        score = of(scores, modality, 0.5)
        assert score["direction"] == f"{modality}_to_{sought}"
        assert score["task"] == "matching"
        gone = missing.missing_at(run, "train", modality, keys, 0.5)
        odds = []
        for partner in (np.arange(len(keys)), wrong):
            items = {
                modality: [None if g else asked.columns[modality].index[at][0]
                           for at, g in enumerate(gone)],
                sought: [asked.columns[sought].index[at][0] for at in partner],
            }  # fmt: skip
            batch = gather(asked.records, {x: asked.columns[x] for x in ("image", "text")},
                           run.modalities, {x: items[x] for x in ("image", "text")})  # fmt: skip
            with torch.no_grad():
                logits = head(run.step.read(read, batch)).double()
            odds.append((logits[:, 0] - logits[:, 1]).numpy())
        assert score["value"] == pytest.approx((odds[0] > odds[1]).mean())
        assert score["controls"]["chance"]["value"] == 0.5


def test_of_retrieval_the_query_is_missing_and_lost(tiny_copy):
    scores = missing.evaluate(tiny_copy, "train", (0.0, 0.5, 1.0))
    assert {s["direction"] for s in scores} == {"text_to_image", "image_to_text"}
    for modality, other in (("image", "text"), ("text", "image")):
        whole, half, every = (of(scores, modality, rate) for rate in (0.0, 0.5, 1.0))
        assert half["direction"] == f"{modality}_to_{other}"
        assert half["value"] == half["controls"]["drop_as_wrong"]["value"] <= whole["value"]
        assert every["value"] == 0
        assert every["controls"][f"{other}_alone"]["value"] is None
        # One filling for all queries finds one item: it is right for one record of the pool.
        assert every["controls"]["impute"]["value"] == pytest.approx(1 / whole["protocol"]["pool"])
        assert "lost" in half["protocol"]["this_run"]


def test_the_likeliest_text_picture_and_cells():
    def column(items, identity=None, features=False):
        index = [[at] for at in range(len(items))]
        identity = np.arange(len(items)) if identity is None else np.array(identity)
        return Column("x", items, index, identity, features)

    assert missing.likeliest(column(["a", "b", "B", "c", "c"], [1, 2, 2, 3, 3])) == ["b"]
    assert missing.likeliest(column(["z", "a"])) == ["z"]  # of equals the first
    shown = np.array([[[[0]]], [[[255]]], [[[1]]]], np.uint8)
    assert missing.likeliest(column(shown)).tolist() == [[[[85]]]]
    assert missing.likeliest(column(shown)).dtype == np.uint8
    rows = np.array(
        [[[1, 2.0], [1, 3]], [[1, 4.0], [1, 7]], [[0, 0.0], [1, 3]]], np.float32
    )  # a number, then a category

    class Cell:
        def __init__(self, kind):
            self.kind = kind

    told = missing.likeliest(column(rows), [Cell("number"), Cell("category")])
    assert told.tolist() == [[[1, 3.0], [1, 3]]]


def test_the_stored_scores_are_those_that_are_told(classes, tmp_path):
    run = copied(classes, tmp_path)
    told = sensorium("evaluate", run.folder, "--missing", "0,0.5", "--json")
    assert told.code == 0
    stored = json.loads((run.folder / "evaluation" / "missing-test.json").read_text())
    assert json.loads(told.out) == stored
    assert [(s["modality"], s["rate"]) for s in stored] == [
        ("image", 0), ("image", 0.5), ("text", 0), ("text", 0.5)
    ]  # fmt: skip


def test_the_terminal_shows_rates_controls_and_what_comes_next(classes, tmp_path):
    run = copied(classes, tmp_path)
    told = sensorium("evaluate", run.folder, "--missing", "0,0.5", "--split", "train")
    assert told.code == 0
    for part in ("image missing in", "text missing in", "filled in", "left out, as wrong",
                 "nothing missing", "no skill", "words alone", "Where 50 in 100 lack the image",
                 "image filled in: the mean picture of training, over 32 records"):  # fmt: skip
        assert part in told.out, part
    lines = told.out.splitlines()
    assert lines[-1].startswith("try      sensorium report ")
    table = lines[: next(at for at, line in enumerate(lines) if line.startswith("classification:"))]
    assert max(map(len, table)) <= 100
    # Where nothing is missing, only what can differ stands beside it.
    assert sum("nothing missing" in line for line in table) == 2


@pytest.mark.parametrize(
    "text", ["", "a", "0,0.5,0.25", "0.5,0.5", "-0.1", "0,1.1", "nan", "inf", "0,,1"]
)
def test_wrong_rates_are_one_error(text):
    with pytest.raises(UserError, match="shares from 0 to 1"):
        missing.rates_of(text)


def test_rates():
    assert missing.rates_of("0, 0.25,1") == (0.0, 0.25, 1.0)


@pytest.mark.parametrize(
    ("which", "said"),
    [("pictures", "at least two"), ("written", "a classification from several modalities")],
)
def test_a_run_that_cannot_be_asked_is_one_error(which, said, request):
    run = request.getfixturevalue(which)
    with pytest.raises(RunError, match=said):
        missing.evaluate(run, "test", (0.5,))
    told = sensorium("evaluate", run.folder, "--missing", "0.5")
    assert told.code == 2
    assert said in told.words


def test_mistakes_are_told_before_torch_loads(pictures):
    import subprocess
    import sys

    code = (
        "import sys\nfrom sensorium import missing\nfrom sensorium.run import Run\n"
        "from sensorium.errors import UserError\n"
        f"run = Run.open({str(pictures.folder)!r})\n"
        "for act in (lambda: missing.rates_of('2'), lambda: missing.evaluate(run, 'test', (0,)),\n"
        "            lambda: missing.evaluate(run, 'tset', (0,))):\n"
        "    try:\n        act()\n    except UserError as error:\n        print('told')\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["told", "told", "told", "False"], done.stderr


def test_which_objective_is_asked(classes, words, tiny_run):
    assert missing.asked_of(classes) == ("classification", "classification")
    assert missing.asked_of(words) == ("matching", "matching")
    assert missing.asked_of(tiny_run) == ("retrieval", "contrastive")
    for run in (classes, words, tiny_run):
        assert missing.asked_of(run)[1] in run.step.objectives


def test_with_nothing_missing_it_is_the_score_that_evaluation_tells(classes, tmp_path):
    run = copied(classes, tmp_path)
    full = next(s for s in scoring.scores(run, "train") if s["metric"] == "accuracy")
    alone = missing.evaluate(run, "train", (0.0,))[0]
    assert alone["value"] == full["value"]
    assert alone["interval"] == full["interval"]
