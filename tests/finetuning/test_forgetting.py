"""Before and after of what a task is known for: written captions, forced choices, guessed words.

By the public commands (`scores`, `caption`) and by hand from the same modules; a run that moved
nothing forgets nothing.
"""

import numpy as np
import pytest
import torch
from conftest import TINY
from few_runs import trained
from tuned import FAST, tuned

from sensorium import scoring
from sensorium.asking import Asked
from sensorium.commands_task import table_lines
from sensorium.finetuning import forgetting, inheriting
from sensorium.finetuning.tuning import finetune
from sensorium.nodes import Read
from sensorium.pretraining import pretrain
from sensorium.report.scores import before_after
from sensorium.tasks import captioning
from sensorium.writing import caption

CAPTIONS = {"captions, CIDEr-D", "captions, BLEU-4", "captions, ROUGE-L"}
CHOICES = {
    f"{way}, forced choice{hard}"
    for way in ("text to image", "image to text")
    for hard in ("", ", hard")
}


def rows_of(run, which):
    return {x["metric"]: x for x in run.info["before_and_after"] if x["which"] == which}


def values(scores):
    """Metric of a row -> value, of stored scores."""
    return {f"{forgetting._subject(x)}, {x['metric']}": x["value"] for x in scores}


@pytest.fixture(scope="module")
def captioned(tiles, tiny_data, tmp_path_factory):
    """A run that writes, tuned on other captions; twice weights, as WiSE-FT keeps a mixture."""
    source = trained("written", tiny_data, tmp_path_factory)
    return source, finetune(
        source.folder, tiles, "captioning", fields={"photo": "image", "title": "text"},
        out=tmp_path_factory.mktemp("captioned") / "run", budget="40-steps", interpolate=0.9,
        overrides=FAST,
    )  # fmt: skip


@pytest.fixture(scope="module")
def matched(tiles, tiny_data, tmp_path_factory):
    """A run that compares, matches and guesses words, tuned to tell colours: all of it, and the
    head alone."""
    place = tmp_path_factory.mktemp("matched")
    fused = [*TINY, "fusion.depth=1", "fusion.heads=1"]
    source = pretrain(tiny_data, "albef", out=place / "source", budget="4-steps", overrides=fused)
    runs = [
        tuned(source.folder, tiles, place / method, method, "20-steps")
        for method in ("full", "linear")
    ]
    return source, *runs


# --- captions -------------------------------------------------------------------------------------


def test_captions_are_scored_as_evaluate_scores_them(captioned):
    source, run = captioned
    new, old = rows_of(run, "new"), rows_of(run, "old")
    assert set(new) & CAPTIONS == set(old) & CAPTIONS == CAPTIONS
    mine, before = values(run.scores()), values(source.scores())
    for name in CAPTIONS:
        assert new[name]["after"] == mine[name]
        assert old[name]["before"] == before[name]
        assert {"tuned", "difference_interval", "records"} <= new[name].keys()
    score = next(x for x in run.scores() if x["metric"] == "CIDEr-D")
    for name, value in new["captions, CIDEr-D"]["controls"].items():
        assert value == score["controls"][name]["value"]
    assert list(new["captions, CIDEr-D"]["controls"]) == ["retrieved", "constant"]


def test_captions_of_both_weights_are_paired_over_the_same_records(captioned, tiles):
    """CIDEr-D and ROUGE-L of what the run and its source write about the same files."""
    source, run = captioned
    row, records = rows_of(run, "new"), run.records()
    asked = [records[at] for at in records.positions("test")]
    files = [tiles.parent / record.fields["photo"].name for record in asked]
    theirs = [[captioning.words(record.fields["title"])] for record in asked]

    def told(who):
        return [captioning.words(one["caption"]) for one in caption(who, files)]

    after, before = told(run), told(source)
    assert after != before
    for name, of in (
        ("captions, CIDEr-D", captioning.cider),
        ("captions, ROUGE-L", lambda x, y: [*map(captioning.rouge, x, y)]),
    ):
        apart = np.array(of(after, theirs)) - np.array(of(before, theirs))
        assert row[name]["records"] == len(asked)
        assert row[name]["difference"] == pytest.approx(apart.mean())
        low, high = row[name]["difference_interval"]
        # A bootstrap's interval is that of the normal law nearly, so few records or not.
        spread = 1.96 * apart.std() / len(apart) ** 0.5
        assert high - low == pytest.approx(2 * spread, rel=0.25)
        assert low < apart.mean() < high


def test_tables_show_captions_beside_found_ones(captioned):
    _, run = captioned
    lines = table_lines(run)
    (row,) = [x for x in run.info["before_and_after"] if x["metric"] == "captions, CIDEr-D"][:1]
    at = next(i for i, line in enumerate(lines) if line.startswith("new  captions, CIDEr-D"))
    assert lines[at].split()[3:6] == [f"{row[x]:.3f}" for x in ("before", "tuned", "after")]
    assert lines[at + 1].split() == ["nearest", "caption", f"{row['controls']['retrieved']:.3f}"]
    assert lines[at + 1].index(lines[at + 1].split()[-1]) == lines[at].index(lines[at].split()[5])
    page = "".join(before_after(run.info["before_and_after"]))
    assert f"<b>{row['after']:.2f}</b>" in page  # an amount, not a share
    assert page.count("nearest caption") == page.count("beside it") == 6
    assert f"nearest caption {row['controls']['retrieved']:.2f}, most frequent" in page


# --- pairs and words ------------------------------------------------------------------------------


def test_the_old_forced_choices_are_asked_with_the_tuned_weights(matched, monkeypatch):
    source, run, _ = matched
    old = rows_of(run, "old")
    assert set(old) >= CHOICES | {"masked_tokens, top guess", "matching loss"}
    before = values(source.scores())
    for name in (*CHOICES, "masked_tokens, top guess"):
        assert old[name]["before"] == before[name], name
    # Pair by pair by hand, of the many training records: the tuned encoders under the source's
    # own fusion and head.
    monkeypatch.setattr(forgetting, "SPLIT", "train")
    steps = {"before": source.step, "after": inheriting.old_with(run, run.step)}
    rows = {row["metric"]: row for row in forgetting._again(source, steps, "old")}
    asked = Asked.over(source, "train", ["image", "text"])
    near = scoring._nearest(source, asked)

    def odds(step, change=None):
        objective = step.objectives["matching"]
        ((_, some),) = list(asked.batches([], 99, change))
        with torch.no_grad():
            logits = objective.head(step.read(Read(objective.given.fuse(), "joint"), some))
        return (logits[:, 0] - logits[:, 1]).numpy()

    for given, sought in (("text", "image"), ("image", "text")):
        wrong = {"": asked.strangers(("image", "text")), ", hard": near[sought]}
        for hard, partner in wrong.items():
            row = rows[f"{given} to {sought}, forced choice{hard}"]
            for name, step in steps.items():
                right = odds(step) > odds(step, {sought: partner})
                assert row[name] == pytest.approx(right.mean())
            assert row["difference"] == pytest.approx(row["after"] - row["before"])
    assert any(row["difference"] for row in rows.values()), "else nothing was told apart"


def test_who_moved_nothing_forgets_nothing(matched):
    for row in rows_of(matched[2], "old").values():
        assert row["difference"] == 0, row["metric"]
        if row["difference_interval"] is not None:
            assert row["difference_interval"] == [0, 0]


def test_a_new_task_of_classes_asks_no_pairs(matched):
    assert not CHOICES & set(rows_of(matched[1], "new"))


def test_a_split_that_cannot_ask_says_why(matched, monkeypatch):
    source, *_ = matched
    monkeypatch.setattr(Asked, "strangers", lambda self, names: np.full(len(self), -1))
    monkeypatch.setattr(scoring, "_nearest", lambda run, asked: {})
    rows = forgetting._again(source, {"before": source.step, "after": source.step}, "old")
    assert {"which": "old", "reason": "matching (matching): no record has a wrong partner that "
            "shares nothing with it"} in rows  # fmt: skip
    assert [row["difference"] for row in rows if "metric" in row] == [0.0]
