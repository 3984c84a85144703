"""Scores of a run: who is a right answer, controls beside every score, differences by hand."""

import json

import numpy as np
import pytest

from sensorium import controls, draws, evaluation
from sensorium.controls import shuffled
from sensorium.evaluation import pairs
from sensorium.prepare import Column
from sensorium.recipe import load
from sensorium.tasks import retrieval


def column(modality, index, identity):
    items = np.zeros((len(identity), 1, 1), np.float32)
    return Column(modality, items, index, np.array(identity), True)


def slow_right(left, right):
    """The definition, pair by pair."""
    table = np.zeros((len(left.identity), len(right.identity)), bool)
    for r, own in enumerate(left.index):
        for s, others in enumerate(right.index):
            for i in own:
                for j in others:
                    carries = left.identity[i] in {left.identity[x] for x in left.index[s]}
                    pictured = right.identity[j] in {right.identity[x] for x in right.index[r]}
                    table[i, j] = r == s or carries or pictured
    return table


@pytest.mark.parametrize("seed", range(6))
def test_right_answers_equal_the_definition(seed):
    """Several captions a record; shared captions and pictures between records."""
    rng = np.random.default_rng(seed)
    texts, pictures = [], []
    for _ in range(7):
        texts.append(list(range(sum(map(len, texts)), sum(map(len, texts)) + rng.integers(1, 4))))
        pictures.append([len(pictures)])
    left = column("text", texts, rng.integers(0, 6, sum(map(len, texts))))
    right = column("image", pictures, rng.integers(0, 5, 7))
    told = pairs(left, right).right()
    assert (told == slow_right(left, right)).all()
    assert (pairs(right, left).right() == told.T).all()
    for start in range(len(told)):
        rows = range(start, min(start + 3, len(told)))
        assert (pairs(left, right).right(rows) == told[rows.start : rows.stop]).all()


def test_every_score_has_its_protocol_and_controls(tiny_copy):
    scores = tiny_copy.evaluate("test")
    assert {(s["direction"], s["metric"]) for s in scores} == {
        (d, f"recall@{k}") for d in ("text_to_image", "image_to_text") for k in (1, 5, 10)
    }
    for score in scores:
        assert score["task"] == "retrieval"
        low, high = score["interval"]
        assert low <= score["value"] <= high
        assert {"split", "pool", "queries", "ties", "interval", "step"} <= set(score["protocol"])
        assert score["protocol"]["train_records"] == "32 of 32"
        assert score["protocol"]["split_records"] == "4 of 4"
        assert score["controls"]["chance"]["value"] > 0
        # No towers in this cache: the control says why it is missing.
        assert score["controls"]["conse"]["value"] is None
        assert "tower" in score["controls"]["conse"]["reason"]
        assert score["controls"]["partner_shuffled"]["value"] is not None
    assert json.loads((tiny_copy.folder / "evaluation" / "test.json").read_text()) == scores


def test_recall_equals_the_vectors_by_hand(tiny_copy):
    run = tiny_copy
    asked = [run.records()[at] for at in run.records().positions("test")]
    made = {m: run.column(m, asked) for m in ("text", "image")}
    text, image = (run.embed(m, made[m]) for m in ("text", "image"))
    hits = 0
    for i in range(len(asked)):
        own = float(text[i] @ image[i])
        hits += all(float(text[i] @ image[j]) < own for j in range(len(asked)) if j != i)
    first = next(s for s in run.evaluate("test") if s["metric"] == "recall@1")
    assert first["value"] == pytest.approx(hits / len(asked))


def test_scores_never_hold_a_whole_table(tiny_copy, monkeypatch):
    """Every competitor's ranks come from blocks; their size changes no score."""
    whole, shapes, real = tiny_copy.evaluate("train"), [], retrieval.rank

    def watched(similarity, right):
        assert similarity.shape == right.shape
        shapes.append(similarity.shape)
        return real(similarity, right)

    monkeypatch.setattr(retrieval, "rank", watched)
    monkeypatch.setattr(retrieval, "CELLS", 100)
    assert tiny_copy.evaluate("train") == whole
    assert set(shapes) == {(3, 32), (2, 32)}  # 10 blocks of 3, and the 2 that are left
    assert len(shapes) == 11 * 2 * 2  # both directions, the run and its shuffled partners


def test_a_match_is_told_among_a_keyed_sample(tiny_copy, tiny_data, monkeypatch):
    monkeypatch.setattr(evaluation, "_MATCHED", 3)
    keys, real = [], type(tiny_copy).column

    def watched(self, modality, records, *more):
        keys.append([record.key for record in records])
        return real(self, modality, records, *more)

    monkeypatch.setattr(type(tiny_copy), "column", watched)
    told = tiny_copy.match(tiny_data / "00.png", "a small red circle")
    assert told["pairs_from"] == "validation, 3 records"
    records = tiny_copy.records()
    there = [records[at].key for at in records.positions("validation")]
    assert keys[0] == [there[at] for at in draws.sample(there, 3, 0, "match")]


def test_difference_and_its_interval():
    """Bootstrap of paired differences against the normal approximation, and by clusters."""
    rng = np.random.default_rng(0)
    values = (rng.random(400) < 0.4).astype(float) - (rng.random(400) < 0.3)
    low, high = retrieval.bootstrap(values, np.arange(400), ("t",))
    error = values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)
    # four equal queries a record are one piece of evidence
    wide = retrieval.bootstrap(np.repeat(values[:100], 4), np.repeat(np.arange(100), 4), ("t",))
    alone = retrieval.bootstrap(values[:100], np.arange(100), ("t",))
    assert wide == pytest.approx(alone)


def test_shuffled_partners_keep_contents_and_touch_train_only():
    made = column("text", [[at] for at in range(10)], range(10))
    dealt = shuffled(made, [0, 2, 4, 6, 8], seed=1)
    assert sorted(dealt.index[at][0] for at in (0, 2, 4, 6, 8)) == [0, 2, 4, 6, 8]
    assert [dealt.index[at] for at in (1, 3, 5, 7, 9)] == [[1], [3], [5], [7], [9]]
    assert dealt.index != made.index
    assert shuffled(made, [0, 2, 4, 6, 8], seed=1).index == dealt.index


def test_controls_run_where_they_are_cheap():
    assert controls.names(load("lit")) == ["plain_projections", "partner_shuffled"]
    assert controls.names(load("plain_projections")) == ["partner_shuffled"]
    assert controls.names(load("clip")) == []


def test_match_stands_among_known_pairs(tiny_copy, tiny_data):
    told = tiny_copy.match(tiny_data / "00.png", "a small red circle")
    assert -1.001 <= told["similarity"] <= 1.001
    assert 0 <= told["share_of_wrong_pairs_below"] <= 1
    vector = tiny_copy.vector("text", "a small red circle", "x")
    picture = tiny_copy.embed("image", tiny_copy.column("image", [tiny_copy.records()[0]]))
    if tiny_copy.records()[0].key == "00.png":
        assert told["similarity"] == pytest.approx(float(vector @ picture[0]), abs=1e-5)


@pytest.mark.towers
def test_lit_on_small_data_has_all_its_controls(tiny_data, tmp_path, minilm, efficientnet_lite):
    """The main recipe end to end on forty made pictures, with both trained controls and ConSE."""
    from sensorium.pretraining import pretrain

    run = pretrain(tiny_data, "lit", out=tmp_path / "run", budget="6-steps")
    scores = json.loads((run.folder / "evaluation" / "validation.json").read_text())
    beside = scores[0]["controls"]
    assert list(beside) == ["plain_projections", "partner_shuffled", "conse", "chance"]
    for name in ("plain_projections", "partner_shuffled", "conse"):
        low, high = beside[name]["difference_interval"]
        assert low <= beside[name]["difference"] <= high
        assert beside[name]["difference"] == pytest.approx(
            scores[0]["value"] - beside[name]["value"]
        )
    found = run.search("a large blue square", k=3)
    assert len(found) == 3
    again = type(run).open(run.folder)
    assert [row["key"] for row in again.search("a large blue square", k=3)] == [
        row["key"] for row in found
    ]
