"""Hidden words: which, what stands there instead, and what cannot change it."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from sensorium import draws
from sensorium.edits.hide import Spec
from sensorium.modalities import text
from sensorium.records import Record, Source
from sensorium.tokens import Tokens, collate

# Entries 0 to 3 are special (padding, first, last, hidden), 4 begins no word of its own.
WORDS = 40
ABOUT = SimpleNamespace(
    hide_id=3,
    special=frozenset({0, 1, 2, 3, 20}),  # 20: a special one among the words
    starts=np.array([at % 3 != 1 for at in range(WORDS)]),
    vocabulary=WORDS,
)


def row(*ids: int) -> Tokens:
    t = len(ids) + 2
    return Tokens(
        modality="text",
        ids=torch.tensor([[1, *ids, 2]]),
        real=torch.ones(1, t, dtype=torch.bool),
        position=torch.arange(t)[None, :, None],
    )


def rows(n: int, length: int = 12, seed: int = 0) -> Tokens:
    rng = np.random.default_rng(seed)
    plain = [at for at in range(4, WORDS) if at != 20]
    drawn = [rng.choice(plain, rng.integers(1, length + 1)) for _ in range(n)]
    return collate([row(*ids.tolist()) for ids in drawn])


def rngs(n: int, seed: int = 0) -> list[np.random.Generator]:
    return [draws.generator(seed, at) for at in range(n)]


def near(count: int, total: int, share: float) -> bool:
    """Within five standard errors of a share."""
    return abs(count - total * share) < 5 * (total * share * (1 - share)) ** 0.5


def test_shares_are_those_asked_for():
    tokens = rows(4000)
    words = int(tokens.real.sum()) - 2 * 4000
    edited = Spec(rate=0.3, replace=0.6, swap=0.3).apply(tokens, ABOUT, rngs(4000))
    hidden, after, before = edited.hidden, edited.tokens.ids, tokens.ids
    n = int(hidden.sum())
    assert near(n, words, 0.3)
    assert near(int((after == 3).sum()), n, 0.6)
    # A random word is the old one in 1 of 35: the plain entries.
    changed = hidden & (after != 3) & (after != before)
    assert near(int(changed.sum()), n, 0.3 * 34 / 35)
    assert torch.equal(after[~hidden], before[~hidden])
    for name in ("real", "position"):
        assert torch.equal(getattr(edited.tokens, name), getattr(tokens, name))


def test_the_defaults_are_those_of_bert():
    spec = Spec()
    assert (spec.rate, spec.replace, spec.swap, spec.whole_word) == (0.15, 0.8, 0.1, False)


def test_special_tokens_and_padding_are_never_hidden():
    tokens = collate([row(5, 20, 6), row(7), row(20)])
    for whole in (False, True):
        edited = Spec(rate=1, whole_word=whole, least=9).apply(tokens, ABOUT, rngs(3))
        assert edited.hidden.tolist() == [
            [False, True, False, True, False],
            [False, True, False, False, False],
            [False] * 5,
        ]


def test_padding_is_never_hidden_whatever_stands_there():
    tokens = collate([row(5, 6, 8), row(7)])
    tokens.ids[~tokens.real] = 9
    edited = Spec(rate=1, replace=1, swap=0).apply(tokens, ABOUT, rngs(2))
    assert edited.hidden.sum(1).tolist() == [3, 1]
    assert edited.tokens.ids[1].tolist() == [1, 3, 2, 9, 9]
    least = Spec(rate=1e-9, least=3).apply(tokens, ABOUT, rngs(2))
    assert least.hidden.sum(1).tolist() == [3, 1]


def test_random_words_are_uniform_over_the_plain_ones():
    edited = Spec(rate=1, replace=0, swap=1).apply(rows(3000), ABOUT, rngs(3000))
    counts = Counter(edited.tokens.ids[edited.hidden].tolist())
    assert set(counts) == set(range(4, WORDS)) - {20}
    total = sum(counts.values())
    assert all(near(count, total, 1 / 35) for count in counts.values())


def slow(spec: Spec, ids: list[int], rng: np.random.Generator) -> tuple[list[int], list[bool]]:
    """One record, token by token, words as lists of places."""
    chance, fate, other = rng.random((3, len(ids)))
    words: list[list[int]] = []
    for at, entry in enumerate(ids):
        if entry in ABOUT.special:
            words.append([])
        elif spec.whole_word and words and words[-1] and not ABOUT.starts[entry]:
            words[-1].append(at)
        else:
            words.append([at])
    words = [word for word in words if word]
    drawn = sorted(range(len(words)), key=lambda w: chance[words[w][0]])
    chosen = [w for w in drawn if chance[words[w][0]] < spec.rate]
    chosen = drawn[: max(len(chosen), spec.least)]
    out, hidden = list(ids), [False] * len(ids)
    plain = [at for at in range(WORDS) if at not in ABOUT.special]
    for at in (at for w in chosen for at in words[w]):
        hidden[at] = True
        if fate[at] < spec.replace:
            out[at] = ABOUT.hide_id
        elif fate[at] < spec.replace + spec.swap:
            out[at] = plain[int(other[at] * len(plain))]
    return out, hidden


@pytest.mark.parametrize("least", [0, 1, 3])
@pytest.mark.parametrize("whole", [False, True])
def test_equals_a_slow_loop(whole, least):
    spec = Spec(rate=0.2, replace=0.5, swap=0.3, whole_word=whole, least=least)
    tokens = rows(200, seed=least)
    tokens.ids[::7, 1] = 20  # a special one where a word may stand
    edited = spec.apply(tokens, ABOUT, rngs(200))
    for at, real in enumerate(tokens.real):
        ids, hidden = slow(spec, tokens.ids[at][real].tolist(), draws.generator(0, at))
        assert edited.tokens.ids[at][real].tolist() == ids
        assert edited.hidden[at][real].tolist() == hidden
        assert not edited.hidden[at][~real].any()


def test_neither_padding_nor_company_changes_a_draw():
    tokens = rows(30)
    for spec in (Spec(rate=0.4), Spec(rate=0.4, whole_word=True, least=2)):
        whole = spec.apply(tokens, ABOUT, rngs(30))
        wider = spec.apply(collate([tokens], length=40), ABOUT, rngs(30))
        assert torch.equal(wider.tokens.ids[:, : whole.hidden.shape[1]], whole.tokens.ids)
        assert torch.equal(wider.hidden[:, : whole.hidden.shape[1]], whole.hidden)
        for at in range(30):
            ids = tokens.ids[at][tokens.real[at]].tolist()[1:-1]
            alone = spec.apply(row(*ids), ABOUT, [draws.generator(0, at)])
            assert torch.equal(alone.tokens.ids[0], whole.tokens.ids[at][tokens.real[at]])
            assert torch.equal(alone.hidden[0], whole.hidden[at][tokens.real[at]])


def test_the_given_tokens_stay_as_they_are():
    tokens = rows(20)
    before = tokens.ids.clone()
    Spec(rate=1).apply(tokens, ABOUT, rngs(20))
    assert torch.equal(tokens.ids, before)


def test_at_least_so_many_are_hidden_and_the_draw_is_fair():
    tokens = collate([row(5, 6, 8, 9)] * 4000)
    edited = Spec(rate=1e-9, least=1).apply(tokens, ABOUT, rngs(4000))
    assert (edited.hidden.sum(1) == 1).all()
    assert all(near(int(count), 4000, 0.25) for count in edited.hidden.sum(0)[1:-1])


def test_pieces_of_a_trained_tokenizers_word_go_together():
    """Against the text itself: what is hidden is whole words between blanks."""
    modality = text.Modality(text.Spec(length=40, vocabulary=300))
    captions = ["an unbelievable caterpillar sleeps", "two red boats, far out", "it's 12.5 miles"]
    modality.fit([Record(x, Source("a"), {"title": x}) for x in captions], "title")
    tokens = modality.batch(captions * 40)
    edited = Spec(rate=0.5, replace=1, swap=0, whole_word=True).apply(tokens, modality, rngs(120))
    for at, caption in enumerate(captions * 40):
        ids = [i if not h else None for i, h in zip(tokens.ids[at], edited.hidden[at], strict=True)]
        left = modality.decode([i for i in ids if i is not None])
        assert set(left.split()) <= set(caption.split())
        gone = [word for word in caption.split() if word not in left.split()]
        hidden = modality.decode(tokens.ids[at][edited.hidden[at]])
        assert hidden.split() == gone


def test_is_a_frozen_key():
    assert Spec(rate=0.3) == Spec(rate=0.3)
    assert len({Spec(), Spec(), Spec(whole_word=True)}) == 2
    with pytest.raises(ValidationError):
        Spec().rate = 0.5


@pytest.mark.parametrize(
    "options", [{"rate": 0}, {"rate": 1.1}, {"replace": 0.8, "swap": 0.3}, {"least": -1}]
)
def test_impossible_shares_are_refused(options):
    with pytest.raises(ValidationError):
        Spec(**options)


def test_what_cannot_be_hidden_is_named():
    values = Tokens(
        modality="image",
        values=torch.zeros(1, 2, 3),
        real=torch.ones(1, 2, dtype=torch.bool),
        position=torch.zeros(1, 2, 1, dtype=torch.int64),
    )
    with pytest.raises(TypeError, match="expected ids, found values of image"):
        Spec().apply(values, ABOUT, rngs(1))
    with pytest.raises(TypeError, match="expected 2 generators, found 1"):
        Spec().apply(rows(2), ABOUT, rngs(1))
