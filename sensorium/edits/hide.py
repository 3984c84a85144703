"""Hides some of the words, so that a model can be asked for them.

BERT's corruption (Devlin et al. 2019, section 3.1, arXiv 1810.04805): each token is drawn with
probability `rate`; of the drawn ones a share `replace` becomes the entry [MASK], a share `swap` a
random word, the rest stays as it is. All of them are to be predicted. With `whole_word` the pieces
of a word are drawn together, and each piece still has its own fate, as in google-research/bert,
create_pretraining_data.py. Difference to that code: it hides exactly max(1, round(0.15 n)) of a
text of n tokens, its special ones counted, and no more than a fixed number; here each is drawn on
its own, so that the number varies, and nothing but `least` bounds it.

What was drawn of a record depends on its own generator and its own tokens: neither on padding nor
on the records beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sensorium.tokens import Tokens
from sensorium.views import Edited

SUMMARY = "hides words at random: most become a blank, some another word, some stay"


class Spec(BaseModel):
    """How many words are hidden, and what stands in their place."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["hide"] = "hide"
    rate: float = Field(0.15, gt=0, le=1, description="share of the words that is hidden")
    replace: float = Field(0.8, ge=0, le=1, description="share of those that becomes a blank")
    swap: float = Field(0.1, ge=0, le=1, description="share of those that becomes a random word")
    whole_word: bool = Field(False, description="hide all pieces of a word together")
    least: int = Field(0, ge=0, description="hide at least so many words of a text, if it has them")

    @model_validator(mode="after")
    def _shares(self):
        if self.replace + self.swap > 1:
            raise ValueError(f"replace {self.replace} and swap {self.swap} are together above 1")
        return self

    def apply(self, tokens: Tokens, about: Any, rngs: Sequence[np.random.Generator]) -> Edited:
        """The tokens with some of them hidden, and which.

        Args:
            tokens: ids int64 [b, t].
            about: the modality that made them: `hide_id`, `special`, `starts`, `vocabulary`.
            rngs: one generator a record, b of them.

        Returns:
            Edited tokens, and hidden bool [b, t]: never padding or a special token.

        Raises:
            TypeError: the tokens have values and no ids, or there is not one generator a record.
        """
        if tokens.ids is None:
            raise TypeError(f"hide: expected ids, found values of {tokens.modality}")
        if len(rngs) != len(tokens.ids):
            raise TypeError(f"hide: expected {len(tokens.ids)} generators, found {len(rngs)}")
        ids, real = tokens.ids.numpy(), tokens.real.numpy()
        plain = np.ones(about.vocabulary, bool)
        plain[list(about.special)] = False
        words = real & plain[ids]
        chance, fate, other = _draws(real, rngs)
        begins = words
        if self.whole_word:
            # A word also begins where none goes before it, e.g. after the first special token.
            before = np.zeros_like(words)
            before[:, 1:] = words[:, :-1]
            begins = words & (about.starts[ids] | ~before)
            chance = _of_its_word(chance, begins)
        hidden = words & (chance < self._below(chance, begins))
        ordinary = np.flatnonzero(plain)
        given = np.where(hidden & (fate < self.replace), about.hide_id, ids)
        swapped = hidden & (fate >= self.replace) & (fate < self.replace + self.swap)
        # A number below 1 times the count can round up to the count itself.
        at = np.minimum((other * len(ordinary)).astype(np.int64), len(ordinary) - 1)
        given = np.where(swapped, ordinary[at], given)
        edited = dataclasses.replace(tokens, ids=torch.from_numpy(given))
        return Edited(edited, torch.from_numpy(hidden))

    def _below(self, chance: np.ndarray, begins: np.ndarray) -> np.ndarray | float:
        """What a draw must stay below to be hidden, [b, 1]: `rate`, or more for the `least`."""
        if not self.least:
            return self.rate
        ranked = np.sort(np.where(begins, chance, np.inf), axis=1)
        last = ranked[:, min(self.least, ranked.shape[1]) - 1, None]
        return np.maximum(self.rate, np.nextafter(last, np.inf))


def _draws(real: np.ndarray, rngs: Sequence[np.random.Generator]) -> np.ndarray:
    """Three numbers in [0, 1) for each real token, [3, b, t]; the rest is 1."""
    drawn = np.ones((3, *real.shape))
    for row, rng in enumerate(rngs):
        there = real[row]
        drawn[:, row, there] = rng.random((3, int(there.sum())))
    return drawn


def _of_its_word(chance: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Every piece gets the number of the piece that begins its word."""
    place = np.where(begins, np.arange(begins.shape[1]), 0)
    return np.take_along_axis(chance, np.maximum.accumulate(place, axis=1), axis=1)
