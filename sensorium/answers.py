"""A closed set of answers: decoding that can write nothing else, and how likely each one is.

`Answers` is the trie of the answers' ids, each ending in the end token, as rules for decoding:
`greedy`, `beam` and `nucleus` of `generate` then follow the trie. Greedy may miss the likeliest
answer; a beam as wide as the set, with a penalty of 0, finds it. `likelihoods` scores all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sensorium.errors import UserError, clip
from sensorium.generate import NEVER, Continue, Ids, log_probabilities


class Answers:
    """The trie of a closed set of answers; serves as `generate.Rules`.

    Args:
        texts: the answers as people read them, named in errors.
        ids: of each answer, without first and end.
        end: id that ends an answer.

    Attributes:
        most: tokens of the longest answer, the end included.

    Raises:
        UserError: there is no answer, one has no tokens, or two have the same ids.
        ValueError: an answer holds the end token, or texts and ids differ in number.
    """

    def __init__(self, texts: Sequence[str], ids: Sequence[Sequence[int]], end: int) -> None:
        if not texts and not ids:
            raise UserError(field="answers", expected="at least one answer", found="none")
        known: dict[Ids, str] = {}
        after: dict[Ids, list[int]] = {}  # what may follow each beginning: the trie
        for text, written in zip(texts, map(tuple, ids), strict=True):
            if not written:
                raise UserError(
                    f"answer {clip(text)}", field="answers", expected="a word", found="no tokens"
                )
            if end in written:
                raise ValueError(f"answer {clip(text)} holds the end token {end}")
            if written in known:
                raise UserError(
                    f"answer {clip(text)}",
                    field="answers",
                    expected="answers that differ",
                    found=f"the same tokens as {clip(known[written])}",
                )
            known[written] = text
            for at, token in enumerate((*written, end)):
                follow = after.setdefault(written[:at], [])
                if token not in follow:
                    follow.append(token)
        self.texts, self.ids, self.end = tuple(texts), tuple(known), end
        self.most = 1 + max(map(len, self.ids))
        self._after = {beginning: torch.tensor(follow) for beginning, follow in after.items()}
        self._place = {written: place for place, written in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def place(self, ids: Ids) -> int:
        """Which answer these ids are, from 0.

        Raises:
            KeyError: none of them, e.g. a text that is not finished.
        """
        return self._place[ids]

    def allow(self, written: Sequence[Ids], scores: torch.Tensor) -> torch.Tensor:
        """-inf for every id that does not lead to an answer. See `generate.Rules`."""
        allowed = torch.full_like(scores, NEVER)
        for row, beginning in enumerate(written):
            follow = self._after[beginning].to(scores.device)
            allowed[row, follow] = scores[row, follow]
        return allowed


@torch.no_grad()
def likelihoods(
    model: Continue,
    ids: torch.Tensor,
    answers: Answers,
    real: torch.Tensor | None = None,
    rows: int = 256,
) -> torch.Tensor:
    """The exact log-likelihood of each answer with its end, float32 [n, answers].

    The prompt is read once. From there the trie is walked level by level: a beginning that
    answers share is computed once.

    Args:
        model, ids, real: as in `generate.greedy`.
        rows: texts at a time; more answers than fit are scored one portion after another, which
            bounds the memory. At least one answer of all n records is scored at a time.
    """
    n = len(ids)
    real = torch.ones_like(ids, dtype=torch.bool) if real is None else real
    first = log_probabilities(model(ids, real))
    scores = first.new_zeros(n, len(answers))
    in_order = sorted(range(len(answers)), key=lambda place: answers.ids[place])
    size = max(1, rows // max(1, n))
    for start in range(0, len(answers), size):
        portion = in_order[start : start + size]
        # `nodes`: the beginnings of one level, and their place among the rows of each record.
        branch, level = model, first[:, None]
        nodes: dict[Ids, int] = {(): 0}
        for depth in range(1 + max(len(answers.ids[place]) for place in portion)):
            going = [place for place in portion if len(answers.ids[place]) >= depth]
            texts = [answers.ids[place] for place in going]
            follow = [(*text, answers.end)[depth] for text in texts]
            scores[:, going] += level[:, [nodes[text[:depth]] for text in texts], follow]
            deeper = sorted({text[: depth + 1] for text in texts if len(text) > depth})
            if not deeper:
                break
            parents = torch.tensor([nodes[text[:-1]] for text in deeper], device=ids.device)
            records = torch.arange(n, device=ids.device)[:, None] * len(nodes)
            branch = branch.take((records + parents).flatten())
            last = torch.tensor([text[-1] for text in deeper], device=ids.device)
            new = last.repeat(n)[:, None]
            level = log_probabilities(branch(new, torch.ones_like(new, dtype=torch.bool)))
            level = level.view(n, len(deeper), -1)
            nodes = {text: place for place, text in enumerate(deeper)}
    return scores
