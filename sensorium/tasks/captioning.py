"""Captioning: one written sentence a record, beside those that people wrote.

BLEU-4, ROUGE-L and CIDEr-D as the COCO caption evaluation computes them (tylin/coco-caption
`pycocoevalcap/{bleu,rouge,cider}`; Papineni et al. 2002; Lin 2004; Vedantam et al. 2015, arXiv
1411.5726, section 7 for the D variant). One departure, stamped on every score: words are cut by
`words` and not by the Stanford tokenizer, which needs Java; so no figure here stands beside a
published one. METEOR and SPICE need Java too and are left out.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.tasks._intervals import Key, means, resampled

SUMMARY = "written captions beside people's: CIDEr-D, BLEU-4, ROUGE-L"
ORDERS = 4  # longest run of words that is compared
BETA = 1.2  # of ROUGE-L: how much more recall weighs than precision
SIGMA = 6.0  # of CIDEr-D: how fast another length costs
_TINY, _SMALL = 1e-15, 1e-9  # added to BLEU's numerators and denominators, as there
# Scripts that set no blanks between words: each of their characters is a word.
_WORD = re.compile(
    r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
    r"|[^\W_\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+"
    r"(?:['’-][^\W_]+)*|[%&/]"
)

Grams = Counter[tuple[str, ...]]


def words(text: str) -> list[str]:
    """Lower-cased words of a text without punctuation; inner hyphens and apostrophes stay."""
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def _grams(tokens: Sequence[str], n: int) -> Grams:
    return Counter(tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1))


# --- BLEU --------------------------------------------------------------------------------------


def bleu_facts(caption: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """What one record adds to a corpus's BLEU, [2 ORDERS + 2].

    Matches of each order, clipped at the most that one reference has; runs of each order; the
    caption's length; that of the reference nearest in length (of two equally near the shorter).
    """
    matched, offered = [], []
    for n in range(1, ORDERS + 1):
        most: Grams = Counter()
        for reference in references:
            most |= _grams(reference, n)
        own = _grams(caption, n)
        matched.append((own & most).total())
        offered.append(own.total())
    length = len(caption)
    nearest = min((abs(len(x) - length), len(x)) for x in references)[1]
    return np.array([*matched, *offered, length, nearest], np.float64)


def bleu(sums: NDArray, order: int = ORDERS) -> NDArray[np.float64]:
    """BLEU of corpora from sums of `bleu_facts` [r, 2 ORDERS + 2] -> [r]."""
    precise = (sums[:, :order] + _TINY) / (sums[:, ORDERS : ORDERS + order] + _SMALL)
    ratio = (sums[:, -2] + _TINY) / (sums[:, -1] + _SMALL)
    with np.errstate(over="ignore", divide="ignore"):
        brevity = np.where(ratio < 1, np.exp(1 - 1 / ratio), 1.0)
    return precise.prod(axis=1) ** (1 / order) * brevity


# --- ROUGE-L -----------------------------------------------------------------------------------


def rouge(caption: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """ROUGE-L of one record; the best precision and the best recall may be of two references."""
    if not caption:
        return float(any(not reference for reference in references))
    common = [_common(caption, reference) for reference in references]
    precision = max(common) / len(caption)
    recall = max(
        (found / len(x) for found, x in zip(common, references, strict=True) if x), default=0.0
    )
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(right) + 1)
    for word in left:
        before = 0
        for at, other in enumerate(right, 1):
            before, row[at] = row[at], before + 1 if word == other else max(row[at], row[at - 1])
    return row[-1]


# --- CIDEr-D -----------------------------------------------------------------------------------


def cider(
    captions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> NDArray[np.float64]:
    """CIDEr-D of each record, 0 to 10, [n]; how rare words are comes from these references.

    Of one record alone it is 0: every word is in all records.
    """
    holding: Counter[tuple[str, ...]] = Counter()
    for own in references:
        holding.update({run for x in own for n in range(1, ORDERS + 1) for run in _grams(x, n)})
    whole = math.log(max(len(references), 1))

    def weighed(tokens: Sequence[str]) -> list[dict[tuple[str, ...], float]]:
        return [
            {
                run: count * (whole - math.log(max(1, holding[run])))
                for run, count in _grams(tokens, n).items()
            }
            for n in range(1, ORDERS + 1)
        ]

    found = np.zeros(len(captions))
    for at, (caption, own) in enumerate(zip(captions, references, strict=True)):
        mine = weighed(caption)
        for reference in own:
            theirs = weighed(reference)
            apart = max(len(caption) - 1, 0) - max(len(reference) - 1, 0)
            near = math.exp(-(apart**2) / (2 * SIGMA**2))
            alike = sum(_cosine(a, b) for a, b in zip(mine, theirs, strict=True)) / ORDERS
            found[at] += 10 * near * alike / len(own)
    return found


def _cosine(mine: dict, theirs: dict) -> float:
    """Inner product with what the caption says too often clipped, over both lengths."""
    product = sum(min(x, theirs[run]) * theirs[run] for run, x in mine.items() if run in theirs)
    lengths = math.sqrt(sum(x * x for x in mine.values()) * sum(x * x for x in theirs.values()))
    return product / lengths if lengths else product


# --- scores ------------------------------------------------------------------------------------


def constant(captions: Sequence[str]) -> str:
    """The most frequent caption as words; of equally frequent ones the first in the alphabet."""
    counts = Counter(" ".join(words(text)) for text in captions)
    return min(counts, key=lambda text: (-counts[text], text))


def scores(
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    others: Mapping[str, Sequence[str] | str],
    protocol: Mapping[str, Any],
    key: Key,
) -> list[dict[str, Any]]:
    """CIDEr-D, BLEU-4 and ROUGE-L, each beside its controls.

    Args:
        captions: one a record, as written.
        references: per record at least one text of people.
        others: control -> its captions for the same records, or why there are none.
        protocol: stamped on all, with what this task adds.
        key: of the draws.
    """
    n = len(captions)
    theirs = [[words(text) for text in own] for own in references]
    given = {"": captions} | {name: x for name, x in others.items() if not isinstance(x, str)}
    missing = {name: x for name, x in others.items() if isinstance(x, str)}
    cut = {name: [words(text) for text in own] for name, own in given.items()}
    told = {
        **protocol,
        "records": n,
        "references_per_record": round(sum(map(len, references)) / n, 3),
        "words": "lower-cased, punctuation dropped; not the Stanford tokenizer",
        "distinct": f"{len({tuple(x) for x in cut['']})} captions of {n} differ",
        "ties": "none: nothing is ranked",
        "interval": f"bootstrap over {n} records, 95 %",
        "difference": f"run minus control, paired bootstrap over {n} records, 95 %",
    }

    def score(metric: str, rest: dict[str, Any]) -> dict[str, Any]:
        ordered = {name: rest["controls"][name] for name in others}
        return {
            "task": "captioning",
            "direction": "image_to_text",
            "metric": metric,
            "better": "higher",
            "value": rest["value"],
            "interval": rest["interval"],
            "protocol": told,
            "controls": ordered,
        }

    def mean(metric: str, values: dict[str, NDArray]) -> dict[str, Any]:
        own = values.pop("")
        rest: dict[str, NDArray | str] = {**values, **missing}
        return score(metric, means(own, rest, np.arange(n), (*key, metric)))

    facts = {
        name: np.stack([bleu_facts(x, y) for x, y in zip(own, theirs, strict=True)])
        for name, own in cut.items()
    }
    return [
        mean("CIDEr-D", {name: cider(own, theirs) for name, own in cut.items()}),
        score("BLEU-4", _bleu(facts, missing, (*key, "BLEU-4"))),
        mean(
            "ROUGE-L",
            {
                name: np.array([rouge(x, y) for x, y in zip(own, theirs, strict=True)])
                for name, own in cut.items()
            },
        ),
    ]


def _bleu(facts: dict[str, NDArray], missing: dict[str, str], key: Key) -> dict[str, Any]:
    """BLEU-4 is of a corpus: whole records are drawn anew and it is computed again."""

    def value(own: NDArray) -> float:
        return float(bleu(own.sum(axis=0, keepdims=True))[0])

    own = facts[""]
    beside: dict[str, Any] = {name: {"value": None, "reason": x} for name, x in missing.items()}
    for name, other in facts.items():
        if name:
            beside[name] = {
                "value": value(other),
                "interval": resampled(other, bleu, (*key, "value", name)),
                "difference": value(own) - value(other),
                "difference_interval": resampled(
                    np.concatenate([own, other], axis=1), _apart, (*key, name)
                ),
            }
    return {
        "value": value(own),
        "interval": resampled(own, bleu, (*key, "value")),
        "controls": beside,
    }


def _apart(sums: NDArray) -> NDArray:
    half = sums.shape[1] // 2
    return bleu(sums[:, :half]) - bleu(sums[:, half:])
