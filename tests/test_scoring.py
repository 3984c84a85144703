"""What each task asks of a trained run: by hand from the same modules, and controls that can fail.

Four runs of a few steps on forty made pictures: words beside pictures (hidden words and matching),
words written about pictures, classes, and pictures alone.
"""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from few_runs import run_of
from torch.nn import functional as F

from sensorium import scoring
from sensorium.asking import Asked
from sensorium.errors import RunError
from sensorium.nodes import Read
from sensorium.run import Run
from sensorium.tasks import matching
from sensorium.tasks.prediction import Guesses
from sensorium.terminal import protocol_lines
from sensorium.views import look

words, written, classes, pictures = map(run_of, ("words", "written", "classes", "pictures"))
STAMP = {
    "split", "asked", "train_records", "split_records", "items", "implementation", "chosen_on",
    "step", "ties", "interval", "difference", "records",
}  # fmt: skip


def named(scores, **wanted):
    return [s for s in scores if all(s[key] == value for key, value in wanted.items())]


def whole(run, split, needed, views=()):
    asked = Asked.over(run, split, needed)
    ((_, batch),) = list(asked.batches(list(views), 1000))
    return asked, batch


# --- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["words", "written"])
def test_nats_are_the_cross_entropy_at_the_places(which, request):
    run = request.getfixturevalue(which)
    name = "masked_tokens" if which == "words" else "generation"
    read = scoring.predicts(run, name)
    _, batch = whole(run, "train", ["image", "text"], [read.view])
    truth = look(read.view, batch).truth
    logits = run.step.read(read, batch)
    nats, guess = (named(run.evaluate("train"), direction=name, metric=metric)[0]
                   for metric in ("nats per token", "top guess"))  # fmt: skip
    assert nats["value"] == pytest.approx(float(F.cross_entropy(logits, truth)), rel=1e-5)
    assert guess["value"] == pytest.approx(float((logits.argmax(1) == truth).float().mean()))
    assert nats["protocol"]["tokens"] == len(truth)
    vocabulary = run.modalities["text"].vocabulary
    assert guess["controls"]["chance"]["value"] == 1 / vocabulary
    assert set(nats["controls"]) == {"partner_shuffled", "text_alone", "unigram", "chance"}


def test_the_unigram_counts_what_training_asks_for(words):
    """By a loop over the hidden words of the training split."""
    read = scoring.predicts(words, "masked_tokens")
    _, batch = whole(words, "train", ["text"], [read.view])
    counts = Counter(look(read.view, batch).truth.tolist())
    found, records = scoring._frequencies(words, read.view, words.modalities["text"].vocabulary)
    assert {at: int(n) for at, n in enumerate(found) if n} == counts
    assert records == 32
    score = named(words.evaluate("test"), metric="nats per token")[0]
    truth = look(read.view, whole(words, "test", ["text"], [read.view])[1]).truth
    total = sum(counts.values()) + len(found)
    by_hand = np.mean([-np.log((counts[at] + 1) / total) for at in truth.tolist()])
    assert score["controls"]["unigram"]["value"] == pytest.approx(by_hand)


def test_controls_of_words_see_another_picture_or_none(words):
    read = scoring.predicts(words, "masked_tokens")
    asked = Asked.over(words, "test", ["image", "text"])
    score = named(words.evaluate("test"), metric="nats per token")[0]
    strangers = asked.strangers(["image", "text"])
    ((_, other),) = list(asked.batches([read.view], 99, {"image": strangers}))
    ((_, absent),) = list(asked.batches([read.view], 99, {"image": None}))
    for name, batch in (("partner_shuffled", other), ("text_alone", absent)):
        nats = F.cross_entropy(words.step.read(read, batch), look(read.view, batch).truth)
        assert score["controls"][name]["value"] == pytest.approx(float(nats), rel=1e-5)
        assert score["controls"][name]["value"] != score["value"]


# --- pairs -------------------------------------------------------------------------------------


def test_forced_choice_by_hand(words):
    """Pair by pair: the match logit of the own partner against that of the stranger."""
    asked = Asked.over(words, "train", ["image", "text"])
    wrong = asked.strangers(("image", "text"))
    objective = words.step.objectives["matching"]

    def odds(change=None):
        ((_, some),) = list(asked.batches([], 99, change))
        with torch.no_grad():
            logits = objective.head(words.step.read(Read(objective.given.fuse(), "joint"), some))
        return (logits[:, 0] - logits[:, 1]).numpy()

    own = odds()
    for sought in ("image", "text"):
        direction = "text_to_image" if sought == "image" else "image_to_text"
        (score,) = named(words.evaluate("train"), task="matching", direction=direction)
        assert score["metric"] == "forced choice"  # nothing is compared: no hard one
        assert score["value"] == pytest.approx((own > odds({sought: wrong})).mean())
        given = "text" if sought == "image" else "image"
        alone = (odds({given: None}) > odds({given: None, sought: wrong})).mean()
        assert score["controls"][f"{sought}_alone"]["value"] == pytest.approx(alone)


def test_a_head_that_says_the_same_of_all_wins_nothing(words):
    head = words.step.objectives["matching"].head
    kept = head.weight.detach().clone()
    with torch.no_grad():
        head.weight.zero_()
    try:
        scores = named(scoring.scores(words, "test"), task="matching")
    finally:
        with torch.no_grad():
            head.weight.copy_(kept)
    assert [score["value"] for score in scores] == [0, 0]
    assert all(score["controls"]["chance"]["value"] == 0.5 for score in scores)


def test_hard_partners_are_the_nearest_that_are_wrong(tiny_copy, monkeypatch):
    """On the run that compares: for each text the picture of another record that is nearest."""
    asked = Asked.over(tiny_copy, "train", ["image", "text"])
    near = scoring._nearest(tiny_copy, asked)
    vectors = scoring._vectors(tiny_copy, asked)
    for given, sought in (("text", "image"), ("image", "text")):
        table = vectors[given] @ vectors[sought].T
        np.fill_diagonal(table, -np.inf)
        assert (near[sought] == table.argmax(1)).all()
    choice = scoring._cosines(tiny_copy, asked, "text", "image", np.arange(32), near["image"])
    right = np.einsum("ne,ne->n", vectors["text"], vectors["image"])
    table = vectors["text"] @ vectors["image"].T
    np.fill_diagonal(table, -np.inf)
    assert (matching.won(choice) == (right > table.max(1))).all()


# --- classes -----------------------------------------------------------------------------------


def test_accuracy_by_hand_and_the_majority_of_training(classes):
    asked, batch = whole(classes, "train", ["image", "text", "label"])
    objective = classes.step.objectives["classification"]
    got = {what: classes.step.read(node, batch) for what, node in objective.needs().items()}
    with torch.no_grad():
        logits = objective.logits(got, batch)
    truth = batch.targets["label"]
    scores = classes.evaluate("train")
    assert {s["metric"] for s in scores} == {"accuracy", "mean class accuracy", "nats per record"}
    (accuracy,) = named(scores, metric="accuracy")
    assert accuracy["value"] == pytest.approx(float((logits.argmax(1) == truth).float().mean()))
    (nats,) = named(scores, metric="nats per record")
    assert nats["value"] == pytest.approx(float(F.cross_entropy(logits, truth)), rel=1e-5)
    counts = Counter(record.fields["shape"] for record in asked.records)
    share = max(counts.values()) / 32
    assert accuracy["controls"]["majority"]["value"] == pytest.approx(share)
    assert accuracy["controls"]["chance"]["value"] == 0.25
    assert set(accuracy["controls"]) == {"partner_shuffled", "image_alone", "text_alone",
                                         "majority", "chance"}  # fmt: skip


def test_the_shuffled_picture_of_a_class_may_have_the_same_words(classes):
    """Only the picture differs: the question stays, and so may its kind."""
    asked = Asked.over(classes, "train", ["image", "text", "label"])
    own = scoring.class_logits(classes, asked, "classification")
    swapped = scoring._swapped(classes, asked, ["image"], ["image"])
    assert set(swapped) == {"image"}
    other = scoring.class_logits(classes, asked, "classification", swapped)
    assert np.abs(own - other).max() > 0
    same = {"image": np.arange(len(asked))}
    assert (scoring.class_logits(classes, asked, "classification", same) == own).all()


# --- captions and losses -----------------------------------------------------------------------


def test_captions_are_those_that_the_run_writes(written):
    scores = named(written.evaluate("test"), task="captioning")
    assert [score["metric"] for score in scores] == ["CIDEr-D", "BLEU-4", "ROUGE-L"]
    assert list(scores[0]["controls"]) == ["retrieved", "constant", "partner_shuffled"]
    asked = Asked.over(written, "test", ["image", "text"])
    from sensorium.tasks import captioning
    from sensorium.writing import caption

    files = [record.fields["image"].file for record in asked.records]
    told = [one["caption"] for one in caption(written, files)]
    references = [[record.fields["text"]] for record in asked.records]
    cut = [captioning.words(text) for text in told]
    theirs = [[captioning.words(text) for text in own] for own in references]
    assert scores[0]["value"] == pytest.approx(captioning.cider(cut, theirs).mean())


def test_a_loss_beside_no_skill_and_untrained_weights(pictures):
    (score,) = pictures.evaluate("train")
    assert (score["task"], score["direction"]) == ("loss", "image_self_supervision")
    size = score["protocol"]["batch"]
    assert 32 % size == 0
    assert score["controls"]["chance"]["value"] == pytest.approx(np.log(2 * size - 1), rel=0.02)
    assert pictures.evaluate("train") == [score]  # keyed: the same at each look
    # The control keeps its initial weights, whatever becomes of the run's.
    head = next(pictures.step.objectives["image_self_supervision"].parameters())
    kept = head.detach().clone()
    with torch.no_grad():
        head.add_(torch.randn(head.shape, generator=torch.Generator().manual_seed(0)))
        (other,) = scoring.scores(pictures, "train")
        head.copy_(kept)
    assert other["value"] != score["value"]
    before, after = (one["controls"]["untrained"]["value"] for one in (score, other))
    assert before == after


def test_a_task_that_a_split_cannot_ask_is_a_sentence(words, tmp_path, monkeypatch):
    """No word happens to be hidden: pairs are still matched, and the protocol says what is not."""
    run = Run.open(shutil.copytree(words.folder, tmp_path / "run"))
    real = scoring.guesses

    def none(*given):
        kept = real(*given)
        names = ("nats", "right", "owner", "truth", "top")
        return Guesses(*(getattr(kept, name)[:0] for name in names))

    monkeypatch.setattr(scoring, "guesses", none)
    scores = run.evaluate("test")
    why = ["prediction (masked_tokens): no word of these records is to be guessed"]
    assert {score["task"] for score in scores} == {"matching"}
    assert all(score["protocol"]["not_asked"] == why for score in scores)
    assert f"not asked: {why[0]}" in "".join(protocol_lines(scores))
    assert f"Not asked: {why[0]}." in run.report().read_text("utf-8")

    # Nothing of any task: an error, which names each.
    def few(run, split, name):
        raise RunError(field=f"split {split}", expected="at least 2 records", found="1")

    monkeypatch.setitem(scoring._TASKS, "matching", ("matching", few))
    with pytest.raises(RunError) as caught:
        run.evaluate("test")
    assert caught.value.found == (
        f"none; {why[0]}; matching (matching): expected at least 2 records, found 1"
    )
    assert not run.step.training

    # What is wrong with more than the split's size is no sentence.
    def gone(run, split, name):
        raise RunError(field="data", expected="the data", found="nothing")

    monkeypatch.setitem(scoring._TASKS, "matching", ("matching", gone))
    with pytest.raises(RunError, match="the data"):
        run.evaluate("test")


def test_a_loss_that_counts_nothing_is_no_score(pictures, monkeypatch):
    monkeypatch.setattr(scoring, "loss_sums", lambda *given: (np.zeros((3, 2)), 0.0))
    found, unasked = scoring.answered(pictures, "test")
    assert found == []
    assert unasked == ["loss (image_self_supervision): no record of the split counts in it"]


def test_every_score_is_stamped(words, written, classes, pictures):
    for run in (words, written, classes, pictures):
        for score in run.evaluate("test"):
            told = score["protocol"]
            assert set(told) >= STAMP
            assert score["better"] in ("higher", "lower")
            assert score["controls"]
            json.dumps(score, allow_nan=False)
            for given in score["controls"].values():
                assert ("reason" in given) == (given["value"] is None)
    assert not run.step.training
