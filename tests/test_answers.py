"""Answers from a closed set against scoring each one alone."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from test_generate import END, Table, likelihood, logits_after, prompts

from sensorium import draws
from sensorium.answers import Answers, likelihoods
from sensorium.errors import UserError
from sensorium.generate import beam, greedy, nucleus

# Shared beginnings, one answer the beginning of another, and one that shares nothing.
IDS = [(3, 1), (3,), (3, 1, 2), (2, 2), (4,), (1, 4, 4, 1), (1, 4)]


def answers(ids=tuple(IDS)):
    return Answers([f"answer {place}" for place in range(len(ids))], ids, END)


def each(ids, among=tuple(IDS), logits=logits_after):
    """Every answer scored alone, float64 [n, answers]."""
    return np.array(
        [
            [likelihood(tuple(prompt), (*answer, END), logits=logits) for answer in among]
            for prompt in ids.tolist()
        ]
    )


@pytest.mark.parametrize("rows", [1, 5, 12, 256])
def test_likelihoods_equal_scoring_each_answer_alone(rows):
    ids = prompts(4)
    found = likelihoods(Table(), ids, answers(), rows=rows)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), each(ids), atol=1e-5)


def test_likelihoods_of_ragged_prompts():
    ids, lengths = prompts(3, 4), torch.tensor([2, 4, 1])
    found = likelihoods(Table(), ids, answers(), torch.arange(4) < lengths[:, None])
    for row, length in enumerate(lengths.tolist()):
        np.testing.assert_allclose(
            found[row : row + 1].numpy(), each(ids[row : row + 1, :length]), atol=1e-5
        )


def test_the_prompt_is_read_once_and_each_beginning_once():
    model = Table()
    likelihoods(model, prompts(2), answers())
    asked = [text for call in model.asked for text in call]
    beginnings = {answer[:at] for answer in IDS for at in range(1 + len(answer))}
    assert sorted(asked) == sorted(
        (*prompt, *text) for prompt in ((1, 2), (2, 3)) for text in beginnings
    )
    model = Table()
    likelihoods(model, prompts(2), answers(), rows=4)
    asked = [text for call in model.asked for text in call]
    assert sum(len(text) == 2 for text in asked) == 2
    assert max(map(len, model.asked)) <= 4


def test_all_likelihoods_add_up_to_one_where_nothing_else_can_be_said():
    every = [text for length in (1, 2) for text in itertools.product((1, 2, 3, 4), repeat=length)]

    def logits(prefix, words):
        made = logits_after(prefix, words)
        written = len(prefix) - 2
        made[END if written == 0 else slice(1, None) if written == 2 else slice(0, 0)] = -math.inf
        return made

    found = likelihoods(Table(logits=logits), prompts(3), answers(every))
    assert found.exp().sum(1).tolist() == pytest.approx([1.0] * 3, abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_as_wide_as_the_set_finds_the_likeliest_answer(seed):
    ids, among = prompts(8), answers()
    logits = partial(logits_after, seed=seed)
    scores = each(ids, logits=logits)
    texts = beam(Table(logits=logits), ids, among, width=len(among), penalty=0.0)
    assert [among.place(text.ids) for text in texts] == scores.argmax(1).tolist()
    assert [text.log_probability for text in texts] == pytest.approx(scores.max(1), abs=1e-5)
    assert all(text.finished for text in texts)


def test_greedy_follows_the_trie():
    ids, among = prompts(12), answers()
    texts = greedy(Table(), ids, among)
    for prompt, text in zip(ids.tolist(), texts, strict=True):
        written = ()
        while END not in written:
            follow = {(*x, END)[len(written)] for x in IDS if x[: len(written)] == written}
            scores = logits_after((*prompt, *written), 5)
            written += (max(sorted(follow), key=lambda token, scores=scores: scores[token]),)
        assert (*text.ids, END) == written
    scores = each(ids)
    assert [text.log_probability for text in texts] == pytest.approx(
        [scores[row, among.place(text.ids)] for row, text in enumerate(texts)], abs=1e-5
    )
    assert len({text.ids for text in texts}) > 1


def test_sampling_gives_every_answer_and_no_other():
    ids, among = torch.tensor([[2, 3]]).repeat(600, 1), answers()
    keys = [f"r{row}" for row in range(600)]
    texts = nucleus(Table(), ids, among, keys, seed=0, mass=1.0, temperature=2.0)
    assert {text.ids for text in texts} == set(IDS)
    assert all(text.finished for text in texts)


def test_impossible_answers_score_minus_infinity_and_are_not_chosen():
    def logits(prefix, words):
        made = logits_after(prefix, words)
        if len(prefix) == 2:
            made[[1, 3]] = -math.inf  # leaves (2, 2) and (4,)
        return made

    ids, among = prompts(4), answers()
    found = likelihoods(Table(logits=logits), ids, among)
    possible = [answer[0] not in (1, 3) for answer in IDS]
    assert torch.isfinite(found).tolist() == [possible] * 4
    assert not found.isnan().any()
    for text in beam(Table(logits=logits), ids, among, width=2, penalty=0.0):
        assert text.ids in ((2, 2), (4,))


def test_where_no_answer_is_possible_none_is_given():
    def logits(prefix, words):
        return np.array([0.0] + [-math.inf] * (words - 1))

    found = likelihoods(Table(logits=logits), prompts(2), answers())
    assert (found == -math.inf).all()
    for text in beam(Table(logits=logits), prompts(2), answers()):
        assert not text.finished
        with pytest.raises(KeyError):
            answers().place(text.ids)


def test_many_answers_against_each_alone():
    made = draws.generator("answers")
    among = list({tuple(made.integers(1, 9, made.integers(1, 6)).tolist()) for _ in range(120)})
    ids = prompts(3, 2)
    found = likelihoods(Table(9), ids, answers(among), rows=50)
    expected = [
        [likelihood(tuple(prompt), (*answer, END), 9) for answer in among]
        for prompt in ids.tolist()
    ]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)
    texts = beam(Table(9), ids, answers(among), width=len(among), penalty=0.0)
    assert [answers(among).place(text.ids) for text in texts] == np.argmax(expected, 1).tolist()


@pytest.mark.parametrize(
    ("texts", "ids", "told"),
    [
        ([], [], "none"),
        (["a cat", ""], [(1, 2), ()], "no tokens"),
        (["a cat", "A cat"], [(1, 2), (1, 2)], "the same tokens as 'a cat'"),
    ],
)
def test_sets_that_cannot_be_answered_from_are_refused(texts, ids, told):
    with pytest.raises(UserError) as caught:
        Answers(texts, ids, END)
    assert caught.value.field == "answers"
    assert caught.value.expected
    assert caught.value.found == told
    if texts:
        assert repr(texts[1]) in str(caught.value)


def test_an_end_within_an_answer_and_a_missing_text_are_bugs():
    with pytest.raises(ValueError, match="end"):
        Answers(["a"], [(1, END)], END)
    with pytest.raises(ValueError, match="shorter"):
        Answers(["a", "b"], [(1,)], END)
