"""Decoding: from a model's logits to ids. It knows no model, only how to ask one to go on.

`greedy`, `beam` and `nucleus` decode n records at once over a `Continue`, within `Limits` or
within a closed set of answers (`answers.Answers`). All are deterministic: of equal values the
lower id wins, and what is drawn is keyed by record and position, so neither order nor company
changes a text.

A log-probability is always the model's own, over all ids, at temperature 1: what is forbidden is
left out without scaling up the rest. Letters: n = records, t = tokens, V = vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from sensorium import draws
from sensorium.errors import NonFinite, UserError

Ids = tuple[int, ...]
NEVER = -math.inf


class Continue(Protocol):
    """A model that remembers the tokens which it was given, one row a text.

    Calling it adds tokens to every row: ids int64 [n, t] with real bool [n, t], padded at the end
    of a row. Only the first call, the prompt, may have more than one token or padding. It answers
    logits float [n, V] for the token after the last real one; -inf is allowed, NaN is not.

    `take` gives another with rows chosen by index int64 [m]; rows may repeat or be left out. What
    the one is told later does not reach the other, so a prompt is read once and branched often.
    """

    def __call__(self, ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor: ...

    def take(self, index: torch.Tensor) -> Continue: ...


class Rules(Protocol):
    """What may be written.

    `end` ends a text; `most` is the number of tokens that no text exceeds, the end included.
    `allow` has the ids written so far, one row each and all equally long, and log-probabilities
    float [n, V]; it gives a copy with -inf where the next token is not allowed.
    """

    @property
    def end(self) -> int: ...

    @property
    def most(self) -> int: ...

    def allow(self, written: Sequence[Ids], scores: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True)
class Limits:
    """Free text between two lengths.

    Attributes:
        end: id that ends a text.
        most: tokens at most, the end included.
        least: tokens before the end at least.
        forbidden: ids that are never written, e.g. padding, first, hide.

    Raises:
        UserError: no text could satisfy the two lengths.
        ValueError: the end is forbidden.
    """

    end: int
    most: int
    least: int = 0
    forbidden: Ids = ()

    def __post_init__(self) -> None:
        _expect("most", self.most, "1 or more", self.most >= 1)
        _expect("least", self.least, f"0 to {self.most - 1}", 0 <= self.least < self.most)
        if self.end in self.forbidden:
            raise ValueError(f"the end {self.end} is forbidden: no text could end")

    def allow(self, written: Sequence[Ids], scores: torch.Tensor) -> torch.Tensor:
        """-inf for what is forbidden, and for the end while a text is shorter than `least`."""
        scores = scores.clone()
        scores[:, list(self.forbidden)] = NEVER
        if len(written[0]) < self.least:
            scores[:, self.end] = NEVER
        return scores


@dataclass(frozen=True)
class Generated:
    """One record's text.

    Attributes:
        ids: without the prompt and without the end.
        log_probability: of these ids and, where finished, of the end, given the prompt.
        finished: whether it ended by itself. False: `most` tokens, or nothing allowed to follow.
    """

    ids: Ids
    log_probability: float
    finished: bool


def _expect(name: str, found: object, expected: str, right: bool) -> None:
    """Says which option of decoding is wrong.

    Raises:
        UserError: not `right`.
    """
    if not right:
        raise UserError(field=name, expected=expected, found=str(found))


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Logits float [n, V] -> log-probabilities float32 [n, V]; all -inf where all logits are.

    Raises:
        NonFinite: a logit is NaN or +inf.
    """
    logits = logits.float()
    if not (logits < math.inf).all():  # false for NaN too
        raise NonFinite("logits of the next token", expected="numbers", found="NaN or +inf")
    scores = logits.log_softmax(-1)
    return scores.masked_fill(scores.isnan(), NEVER)


def best(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The highest of each row, highest first; of equal ones the lower place first.

    `torch.topk` alone leaves open which of several equal values it gives.

    Args:
        scores: float [n, k], without NaN.
        count: at most k.

    Returns:
        values float [n, count], places int64 [n, count].
    """
    least = scores.topk(count).values[:, -1:]
    above, level = scores > least, scores == least
    room = count - above.sum(1, keepdim=True)
    chosen = above | (level & (level.cumsum(1) <= room))
    places = chosen.nonzero()[:, 1].view(len(scores), count)  # ascending within each row
    values, by_value = scores.gather(1, places).sort(dim=1, descending=True, stable=True)
    return values, places.gather(1, by_value)


def greedy(
    model: Continue, ids: torch.Tensor, rules: Rules, real: torch.Tensor | None = None
) -> list[Generated]:
    """The likeliest allowed token, again and again; of equal ones the lower id.

    Args:
        model: has seen nothing of these texts yet.
        ids: prompts, int64 [n, t], at least one token each, padded at the end.
        rules: what may be written.
        real: bool [n, t], False where a prompt is padded; None: nowhere.
    """
    return _one_path(model, ids, rules, real, lambda scores, *_: scores.argmax(-1))


def nucleus(
    model: Continue,
    ids: torch.Tensor,
    rules: Rules,
    keys: Sequence[str],
    seed: int,
    mass: float = 0.9,
    temperature: float = 1.0,
    real: torch.Tensor | None = None,
) -> list[Generated]:
    """Draws each token from the fewest allowed ones that together hold `mass` of the probability.

    Holtzman et al. 2020 (arXiv 1904.09751) equations 2 and 3; the temperature comes first. The
    draw is keyed by seed, record and position: another text for the same record needs another
    seed.

    Args:
        model, ids, rules, real: as in `greedy`.
        keys: of the n records.
        seed: any integer.
        mass: p of the paper, over 0 and at most 1; 1 draws from all allowed ids.
        temperature: over 0; below 1 sharpens.

    Raises:
        UserError: mass or temperature is out of range.
    """
    _expect("mass", mass, "over 0, at most 1", 0 < mass <= 1)
    _expect("temperature", temperature, "over 0", 0 < temperature < math.inf)

    def choose(scores: torch.Tensor, going: list[int], position: int) -> torch.Tensor:
        # From the top, so that a tiny temperature leaves the likeliest at 0 and not at -inf.
        top = scores.amax(-1, keepdim=True)
        ordered, order = ((scores - top) / temperature).sort(dim=-1, descending=True, stable=True)
        # On the CPU in float64: float32 sums over a vocabulary would lose the small ones.
        share = ordered.cpu().double().softmax(-1).nan_to_num(0.0)  # NaN: nothing is allowed
        total = share.cumsum(-1)
        kept = (total - share < mass).sum(-1, keepdim=True)
        luck = [[draws.uniform(seed, keys[i], position, "nucleus")] for i in going]
        target = torch.tensor(luck, dtype=torch.float64) * total.gather(1, kept - 1)
        # The first whose running sum exceeds the target; the limit is for a luck rounded to 1.
        place = torch.searchsorted(total, target, right=True).minimum(kept - 1)
        return order.gather(1, place.to(order.device))[:, 0]

    return _one_path(model, ids, rules, real, choose)


@torch.no_grad()
def _one_path(
    model: Continue,
    ids: torch.Tensor,
    rules: Rules,
    real: torch.Tensor | None,
    choose: Callable[[torch.Tensor, list[int], int], torch.Tensor],
) -> list[Generated]:
    """One text a record. A record that has ended is no longer computed.

    Args:
        choose: from allowed scores [m, V], the m records they belong to, and the position.
    """
    written: list[Ids] = [()] * len(ids)
    total, finished = [0.0] * len(ids), [False] * len(ids)
    going = list(range(len(ids)))
    real = torch.ones_like(ids, dtype=torch.bool) if real is None else real
    for position in range(rules.most):
        scores = log_probabilities(model(ids, real))
        allowed = rules.allow([written[i] for i in going], scores)
        chosen = choose(allowed, going, position)
        values = allowed.gather(1, chosen[:, None])[:, 0].tolist()
        rows = []  # those that go on
        for row, (i, token, value) in enumerate(zip(going, chosen.tolist(), values, strict=True)):
            if value == NEVER:
                continue
            total[i] += value
            finished[i] = token == rules.end
            if not finished[i]:
                written[i] += (token,)
                rows.append(row)
        if not rows or position == rules.most - 1:
            break
        keep = torch.tensor(rows, device=chosen.device)
        if len(rows) < len(going):
            model, going = model.take(keep), [going[row] for row in rows]
        ids, real = chosen[keep, None], real.new_ones(len(rows), 1)
    return [Generated(*text) for text in zip(written, total, finished, strict=True)]


@dataclass(frozen=True)
class _Beam:
    """A text in progress: its ids and log-probability."""

    ids: Ids
    total: float


@torch.no_grad()
def beam(
    model: Continue,
    ids: torch.Tensor,
    rules: Rules,
    width: int = 3,
    penalty: float = 1.0,
    real: torch.Tensor | None = None,
) -> list[Generated]:
    """Keeps the `width` likeliest texts at every length; gives the one with the highest score.

    The score is log-probability / length ** penalty, length in tokens with the end. (This is the
    form of transformers; Wu et al. 2016, arXiv 1609.08144 equation 14, has ((5 + length) / 6).)
    A text counts as complete when its end is among the `width` best continuations of its length;
    at `most` tokens those still open count as they are. The search of a record stops once no open
    text could score higher, whatever it wrote: log-probability only falls and the best length is
    known. So stopping never changes the answer. Of equal scores the shorter wins, then the one
    whose beginning was better, then the lower id.

    Checked against huggingface/transformers generation/utils.py `_beam_search` with
    `early_stopping="never"`, and against all sequences.

    Args:
        model, ids, rules, real: as in `greedy`.
        width: 1 or more.
        penalty: 0 prefers the likeliest text, more prefers longer ones.

    Raises:
        UserError: width or penalty is out of range.
    """
    _expect("width", width, "1 or more", width >= 1)
    _expect("penalty", penalty, "a number", math.isfinite(penalty))
    found: list[tuple[float, Generated] | None] = [None] * len(ids)
    live = [[_Beam((), 0.0)] for _ in ids]
    going = list(range(len(ids)))
    real = torch.ones_like(ids, dtype=torch.bool) if real is None else real
    for length in range(1, rules.most + 1):
        scores = log_probabilities(model(ids, real))
        words = scores.shape[1]
        # Each beam has one end, so twice the width holds enough that go on.
        values, places = _continuations(scores, [live[i] for i in going], rules, width)
        start, parents, rest = 0, [], []
        for i, numbers, at in zip(going, values, places, strict=True):
            beams: list[_Beam] = []
            rows: list[int] = []
            for rank, (total, place) in enumerate(zip(numbers, at, strict=True)):
                if total == NEVER:
                    break
                row, token = divmod(place, words)
                written, ended = live[i][row].ids, token == rules.end
                if not ended:
                    written += (token,)
                if ended or length == rules.most:
                    score, known = total / length**penalty, found[i]
                    if rank < width and (known is None or score > known[0]):
                        found[i] = score, Generated(written, total, ended)
                elif len(beams) < width:
                    beams.append(_Beam(written, total))
                    rows.append(start + row)
            start += len(live[i])
            if beams and not _decided(found[i], beams[0], length, rules.most, penalty):
                live[i] = beams
                parents += rows
                rest.append(i)
        if not rest:
            break
        going = rest
        last = [text.ids[-1] for i in going for text in live[i]]
        model = model.take(torch.tensor(parents, device=ids.device))
        ids = torch.tensor(last, device=ids.device)[:, None]
        real = torch.ones_like(ids, dtype=torch.bool)
    # Nothing complete: every open text came to where nothing may follow.
    return [
        Generated(texts[0].ids, texts[0].total, False) if done is None else done[1]
        for done, texts in zip(found, live, strict=True)
    ]


def _continuations(
    scores: torch.Tensor, live: list[list[_Beam]], rules: Rules, width: int
) -> tuple[list[list[float]], list[list[int]]]:
    """The 2 * width best continuations of each record: log-probability, and beam * V + id.

    Args:
        scores: log-probabilities [rows, V], the beams of the first record first.
        live: 1 to `width` beams of each record.
    """
    rows, words = scores.shape
    texts = [text for beams in live for text in beams]
    slots = [at * width + row for at, beams in enumerate(live) for row in range(len(beams))]
    so_far = torch.tensor([text.total for text in texts], device=scores.device)
    totals = rules.allow([text.ids for text in texts], scores) + so_far[:, None]
    if rows < len(live) * width:  # some have fewer beams: fill up with impossible ones
        full = totals.new_full((len(live) * width, words), NEVER)
        full[slots] = totals
        totals = full
    values, places = best(totals.view(len(live), -1), min(2, words) * width)
    return values.tolist(), places.tolist()


def _decided(
    found: tuple[float, Generated] | None, open_: _Beam, length: int, most: int, penalty: float
) -> bool:
    """Whether no open text can still score higher than what was found; `open_` is the likeliest.

    A log-probability is at most 0, so dividing by more brings it nearer to 0: the best length is
    the longest for a positive penalty, else the shortest.
    """
    if found is None:
        return False
    bound = open_.total / (most if penalty > 0 else length) ** penalty
    return found[0] >= bound
