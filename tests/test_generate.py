"""Decoding against all sequences, a slow beam search, exact distributions, and transformers."""

from __future__ import annotations

import copy
import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sensorium import draws
from sensorium.errors import NonFinite, UserError
from sensorium.generate import (
    Generated,
    Limits,
    beam,
    best,
    greedy,
    log_probabilities,
    nucleus,
)

END = 0
# The name that transformers uses before and after its change.
pytestmark = pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated:FutureWarning")


def logits_after(prefix: tuple[int, ...], words: int, seed: int = 0, dead: float = 0.0):
    """Logits of one prefix, float64 [words], keyed by all of it; a share `dead` is -inf."""
    made = draws.generator("logits", seed, *prefix)
    logits = 2.0 * made.standard_normal(words)
    logits[made.random(words) < dead] = -math.inf
    return logits


class Table:
    """A `Continue` whose logits are a table by the whole text of a row. Records what it is asked.

    `asked` is shared with all branches: the texts of every call.
    """

    def __init__(self, words=5, logits=logits_after, rows=None, asked=None):
        self.words, self.logits, self.rows = words, logits, rows
        self.asked = [] if asked is None else asked

    def __call__(self, ids, real):
        if self.rows is None:
            self.rows = [()] * len(ids)
        assert ids.dtype == torch.int64
        assert real.dtype == torch.bool
        assert ids.shape == real.shape
        assert len(ids) == len(self.rows)
        added = [tuple(row[keep].tolist()) for row, keep in zip(ids, real, strict=True)]
        self.rows = [text + new for text, new in zip(self.rows, added, strict=True)]
        self.asked.append(list(self.rows))
        return torch.tensor(np.stack([self.logits(text, self.words) for text in self.rows]))

    def take(self, index):
        rows = [self.rows[place] for place in index.tolist()]
        return Table(self.words, self.logits, rows, self.asked)


def log_softmax(logits):
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def likelihood(prompt, written, words=5, logits=logits_after):
    """Log-probability of ids after a prompt, one at a time, float64."""
    total = 0.0
    for at, token in enumerate(written):
        total += log_softmax(logits(prompt + written[:at], words))[token]
    return total


def every_text(words, limits):
    """All that `limits` allow: with the end, or `most` tokens without."""
    open_ = [x for x in range(words) if x != limits.end and x not in limits.forbidden]
    for length in range(limits.least, limits.most):
        for text in itertools.product(open_, repeat=length):
            yield (*text, limits.end)
    yield from itertools.product(open_, repeat=limits.most)


def slow_beam(prompt, limits, width, penalty, words=5, logits=logits_after):
    """Beam search as defined, one record, without stopping early; written ids, score."""
    live, done = [((), 0.0)], []
    for length in range(1, limits.most + 1):
        grown = []
        for at, (text, total) in enumerate(live):
            scores = log_softmax(logits(prompt + text, words))
            for token in range(words):
                early = token == limits.end and len(text) < limits.least
                if token not in limits.forbidden and not early and scores[token] > -math.inf:
                    grown.append((-(total + scores[token]), at, token))
        grown.sort()
        live_now = []
        for rank, (cost, at, token) in enumerate(grown[: 2 * width]):
            text = (*live[at][0], token)
            if token == limits.end or length == limits.most:
                if rank < width:
                    done.append((text, -cost / length**penalty))
            elif len(live_now) < width:
                live_now.append((text, -cost))
        live = live_now
    return max(done, key=lambda item: item[1])


def as_written(text: Generated):
    return (*text.ids, END) if text.finished else text.ids


def prompts(n, t=2, first=1):
    return torch.arange(first, first + n)[:, None] + torch.arange(t)


# ---------------------------------------------------------------- greedy


@pytest.mark.parametrize("limits", [Limits(END, 6), Limits(END, 6, 2, (3, 4)), Limits(END, 1)])
def test_greedy_takes_the_likeliest_allowed_token(limits):
    ids = prompts(6)
    for prompt, text in zip(ids.tolist(), greedy(Table(), ids, limits), strict=True):
        written = ()
        while len(written) < limits.most and END not in written:
            scores = logits_after((*prompt, *written), 5)
            scores[list(limits.forbidden)] = -math.inf
            if len(written) < limits.least:
                scores[END] = -math.inf
            written += (int(scores.argmax()),)
        assert as_written(text) == written
        assert text.finished == (END in written)
        assert text.log_probability == pytest.approx(likelihood(tuple(prompt), written), abs=1e-5)


def test_a_finished_record_is_no_longer_computed():
    model = Table()
    texts = greedy(model, prompts(8), Limits(END, 8))
    lengths = [len(as_written(text)) for text in texts]
    assert len(set(lengths)) > 2
    assert sum(map(len, model.asked)) == sum(lengths)


def test_equal_values_give_the_lower_id():
    def flat(prefix, words):
        return np.array([0.0, 1.0, 2.0, 2.0, 2.0]) if len(prefix) < 4 else np.zeros(words)

    text = greedy(Table(logits=flat), prompts(1), Limits(END, 5))[0]
    assert text.ids == (2, 2)
    assert text.finished
    assert beam(Table(logits=flat), prompts(1), Limits(END, 2), width=2)[0].ids == (2, 2)


# ---------------------------------------------------------------- beam


@pytest.mark.parametrize("penalty", [-1.0, 0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("limits", [Limits(END, 4), Limits(END, 4, 2, (3,)), Limits(END, 1)])
def test_a_wide_beam_finds_the_best_of_all_sequences(limits, penalty):
    ids = prompts(5)
    texts = beam(Table(), ids, limits, width=5**4, penalty=penalty)
    for prompt, text in zip(ids.tolist(), texts, strict=True):

        def score(written, prompt=tuple(prompt)):
            return likelihood(prompt, written) / len(written) ** penalty

        assert as_written(text) == max(every_text(5, limits), key=score)


@pytest.mark.parametrize("penalty", [-0.5, 0.0, 1.0, 3.0])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_stopping_early_changes_nothing(width, penalty):
    limits, ids = Limits(END, 7, 1, (4,)), prompts(12)
    model = Table()
    texts = beam(model, ids, limits, width, penalty)
    for prompt, text in zip(ids.tolist(), texts, strict=True):
        written, score = slow_beam(tuple(prompt), limits, width, penalty)
        assert as_written(text) == written
        assert text.finished == (written[-1] == END)
        assert text.log_probability / len(written) ** penalty == pytest.approx(score, abs=1e-5)
    if penalty <= 0:
        assert sum(map(len, model.asked)) < 12 * (1 + 6 * width)  # and something was saved


def test_beams_take_their_rows_with_them():
    """Every text that the model is asked about is one that could have been written, once."""
    model = Table()
    beam(model, prompts(4), Limits(END, 6), width=3)
    for asked, before in itertools.pairwise(reversed(model.asked)):
        assert {text[:-1] for text in asked} <= set(before)
        assert len(set(asked)) == len(asked)
    assert any(  # some beam was not the child of the beam at its own place
        text[:-1] != old
        for asked, before in itertools.pairwise(reversed(model.asked))
        for text, old in zip(asked, before, strict=False)
        if len(asked) == len(before)
    )


# ---------------------------------------------------------------- nucleus


def exact_nucleus(scores, mass, temperature):
    """The truncated distribution by a slow loop, float64 [words]."""
    share = np.exp(log_softmax(scores / temperature))
    held, kept = 0.0, np.zeros(len(share))
    for place in np.argsort(-share, kind="stable"):
        if held >= mass:
            break
        held += share[place]
        kept[place] = share[place]
    return kept / kept.sum()


@pytest.mark.parametrize(("mass", "temperature"), [(0.5, 1.0), (0.9, 1.0), (0.9, 2.0), (1.0, 0.7)])
def test_nucleus_draws_from_the_exact_truncated_distribution(mass, temperature):
    count, words, prompt = 4000, 8, (3, 1)
    limits = Limits(words - 1, 2, 1, (2,))
    ids = torch.tensor(prompt).repeat(count, 1)
    texts = nucleus(
        Table(words), ids, limits, [f"r{i}" for i in range(count)], 5, mass, temperature
    )
    common = int(np.bincount([text.ids[0] for text in texts]).argmax())
    for at in (0, 1):
        some = [text for text in texts if at == 0 or text.ids[0] == common]
        tokens = [(*text.ids, words - 1)[at] for text in some]
        scores = logits_after(prompt if at == 0 else (*prompt, common), words)
        scores[2] = -math.inf
        if at == 0:
            scores[words - 1] = -math.inf
        share = exact_nucleus(scores, mass, temperature)
        seen = np.bincount(tokens, minlength=words)
        assert (seen[share == 0] == 0).all()
        assert len(tokens) > 200
        if (share > 0).sum() > 1:
            expected = share[share > 0] * len(tokens)
            assert stats.chisquare(seen[share > 0], expected).pvalue > 1e-3


def test_nucleus_at_its_limits_is_greedy():
    ids, limits, keys = prompts(6), Limits(END, 6), [f"r{i}" for i in range(6)]
    likeliest = greedy(Table(), ids, limits)
    assert nucleus(Table(), ids, limits, keys, 1, mass=1e-9) == likeliest
    assert nucleus(Table(), ids, limits, keys, 1, mass=1.0, temperature=1e-30) == likeliest


def test_a_draw_is_keyed_by_seed_record_and_position():
    ids, limits = torch.ones(40, 1, dtype=torch.int64), Limits(END, 5)
    keys = [f"r{i}" for i in range(40)]

    def flat(prefix, words):
        return np.zeros(words)

    draw = partial(nucleus, rules=limits, mass=1.0)
    texts = draw(Table(logits=flat), ids, keys=keys, seed=1)
    assert texts == draw(Table(logits=flat), ids, keys=keys, seed=1)
    assert texts != draw(Table(logits=flat), ids, keys=keys, seed=2)
    assert len(set(texts)) > 20
    assert any(len(set(text.ids)) > 1 for text in texts)
    backwards = draw(Table(logits=flat), ids, keys=keys[::-1], seed=1)
    assert backwards[::-1] == texts


# ---------------------------------------------------------------- all three

WAYS = {
    "greedy": greedy,
    "beam": partial(beam, width=3, penalty=0.7),
    "nucleus": partial(nucleus, seed=3, mass=0.8),
}


def decode(way, model, ids, limits, real=None):
    if way != "nucleus":
        return WAYS[way](model, ids, limits, real=real)
    keys = [str(row[keep].tolist()) for row, keep in zip(ids, real, strict=True)]
    return WAYS[way](model, ids, limits, real=real, keys=keys)


@pytest.mark.parametrize("way", WAYS)
def test_a_record_does_not_depend_on_its_company(way):
    """Ragged prompts, decoded together, backwards, and alone without padding."""
    lengths = torch.tensor([1, 4, 2, 3, 4])
    ids, real = prompts(5, 4), torch.arange(4) < lengths[:, None]
    limits = Limits(END, 6, 1, (4,))
    together = decode(way, Table(), ids, limits, real)
    assert decode(way, Table(), ids.flip(0), limits, real.flip(0))[::-1] == together
    for row, length in enumerate(lengths.tolist()):
        alone = ids[row : row + 1, :length]
        text = decode(way, Table(), alone, limits, torch.ones_like(alone, dtype=torch.bool))
        assert text == together[row : row + 1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dead", [0.5, 0.9, 1.0])
def test_impossible_tokens_are_never_written(way, dead):
    """Logits of -inf, even all of them: what is given is finite, possible, and its own value."""
    logits = partial(logits_after, dead=dead)
    ids = prompts(20)
    texts = decode(way, Table(logits=logits), ids, Limits(END, 4), torch.ones_like(ids).bool())
    for prompt, text in zip(ids.tolist(), texts, strict=True):
        assert math.isfinite(text.log_probability)
        expected = likelihood(tuple(prompt), as_written(text), logits=logits)
        assert text.log_probability == pytest.approx(expected, abs=1e-5)
        if not text.finished and len(text.ids) < 4 and way != "beam":
            assert (logits((*prompt, *text.ids), 5) == -math.inf).all()
    if dead == 1.0:
        assert texts == [Generated((), 0.0, False)] * 20


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_refused(way, bad):
    ids = prompts(2)
    model = Table(logits=lambda *_: np.array([0.0, bad, 0.0, 0.0, 0.0]))
    with pytest.raises(NonFinite, match="logits"):
        decode(way, model, ids, Limits(END, 4), torch.ones_like(ids).bool())


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 5).flatmap(
        lambda k: st.lists(
            st.lists(st.sampled_from([-math.inf, -2.0, -1.0, 0.0]), min_size=k, max_size=k),
            min_size=1,
            max_size=4,
        )
    ),
    st.data(),
)
def test_best_is_a_stable_sort(rows, data):
    count = data.draw(st.integers(1, len(rows[0])))
    values, places = best(torch.tensor(rows), count)
    for row, value, place in zip(rows, values.tolist(), places.tolist(), strict=True):
        expected = sorted(range(len(row)), key=lambda at: (-row[at], at))[:count]
        assert place == expected
        assert value == [row[at] for at in expected]


def test_log_probabilities_of_half_precision_are_float32():
    scores = log_probabilities(torch.tensor([[0.0, -math.inf, 1.0]], dtype=torch.bfloat16))
    assert scores.dtype == torch.float32
    assert scores[0].tolist() == pytest.approx([-1.313262, -math.inf, -0.313262], abs=1e-5)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("most", lambda: Limits(END, 0)),
        ("least", lambda: Limits(END, 3, 3)),
        ("least", lambda: Limits(END, 3, -1)),
        ("width", lambda: beam(Table(), prompts(1), Limits(END, 3), width=0)),
        ("penalty", lambda: beam(Table(), prompts(1), Limits(END, 3), penalty=math.nan)),
        ("mass", lambda: nucleus(Table(), prompts(1), Limits(END, 3), ["a"], 0, mass=0.0)),
        ("mass", lambda: nucleus(Table(), prompts(1), Limits(END, 3), ["a"], 0, mass=1.1)),
        ("temperature", lambda: nucleus(Table(), prompts(1), Limits(END, 3), ["a"], 0, 1.0, 0.0)),
    ],
)
def test_options_out_of_range_are_named(field, call):
    with pytest.raises(UserError) as caught:
        call()
    assert caught.value.field == field
    assert caught.value.expected
    assert caught.value.found


def test_a_forbidden_end_is_a_bug():
    with pytest.raises(ValueError, match="end"):
        Limits(END, 3, 0, (END,))


# ---------------------------------------------------------------- transformers


class Cached:
    """GPT2 with its cache as a `Continue`; padding stays in the cache, unseen."""

    def __init__(self, model, cache=None, seen=None):
        self.model, self.cache, self.seen = model, cache, seen

    def __call__(self, ids, real):
        seen = real if self.seen is None else torch.cat([self.seen, real], 1)
        out = self.model(
            input_ids=ids,
            attention_mask=seen.long(),
            position_ids=(seen.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :],
            past_key_values=self.cache,
            use_cache=True,
        )
        self.cache, self.seen = out.past_key_values, seen
        return out.logits[torch.arange(len(ids)), real.sum(1) - 1]

    def take(self, index):
        cache = copy.deepcopy(self.cache)
        cache.reorder_cache(index)
        return Cached(self.model, cache, self.seen[index])


class Recomputed:
    """GPT2 that reads the whole text again for every token, one row at a time."""

    def __init__(self, model, rows=None):
        self.model, self.rows = model, rows

    def __call__(self, ids, real):
        rows = [ids[:0, 0]] * len(ids) if self.rows is None else self.rows
        self.rows = [torch.cat([text, row[keep]]) for text, row, keep in zip(rows, ids, real)]  # noqa: B905
        return torch.stack([self.model(input_ids=text[None]).logits[0, -1] for text in self.rows])

    def take(self, index):
        return Recomputed(self.model, [self.rows[place] for place in index.tolist()])


@pytest.fixture(scope="module")
def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=13, n_positions=32, n_embd=16, n_layer=2, n_head=2,
                       initializer_range=1.0, bos_token_id=None, eos_token_id=END, pad_token_id=1)
        )  # fmt: skip
    return model.eval()


def generated(gpt2, ids, **options):
    """What transformers writes: ids of each record with the end, and its scores."""
    out = gpt2.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, eos_token_id=END,
        pad_token_id=1, return_dict_in_generate=True, output_scores=True, **options,
    )  # fmt: skip
    texts = []
    for row in out.sequences[:, ids.shape[1] :].tolist():
        texts.append(tuple(row[: row.index(END) + 1] if END in row else row))
    return texts, out


LIMITS = [Limits(END, 9), Limits(END, 9, 4), Limits(END, 1)]


@pytest.mark.parametrize("limits", LIMITS)
def test_greedy_equals_transformers(gpt2, limits):
    ids = torch.from_numpy(draws.generator("prompts").integers(1, 13, (16, 3)))
    options = dict(max_new_tokens=limits.most, min_new_tokens=limits.least or None)
    expected, _ = generated(gpt2, ids, num_beams=1, **options)
    assert [as_written(text) for text in greedy(Cached(gpt2), ids, limits)] == expected
    assert len({len(text) for text in expected}) > 1 or limits.most == 1


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("limits", LIMITS)
def test_beam_equals_transformers(gpt2, limits, width, penalty):
    ids = torch.from_numpy(draws.generator("prompts").integers(1, 13, (16, 3)))
    options = dict(max_new_tokens=limits.most, min_new_tokens=limits.least or None)
    expected, out = generated(
        gpt2, ids, num_beams=width, length_penalty=penalty, early_stopping="never", **options
    )
    texts = beam(Cached(gpt2), ids, limits, width, penalty)
    assert [as_written(text) for text in texts] == expected
    scores = [text.log_probability / len(as_written(text)) ** penalty for text in texts]
    assert scores == pytest.approx(out.sequences_scores.tolist(), abs=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_a_cache_changes_nothing(gpt2, way):
    """Ragged prompts through a cache against reading every text again, alone."""
    lengths = torch.tensor([1, 5, 2, 3, 5, 4])
    ids = torch.from_numpy(draws.generator("prompts").integers(1, 13, (6, 5)))
    real = torch.arange(5) < lengths[:, None]
    cached = decode(way, Cached(gpt2), ids, Limits(END, 8, 2), real)
    again = decode(way, Recomputed(gpt2), ids, Limits(END, 8, 2), real)
    assert [(a.ids, a.finished) for a in cached] == [(a.ids, a.finished) for a in again]
    assert [a.log_probability for a in cached] == pytest.approx(
        [a.log_probability for a in again], abs=1e-4
    )
