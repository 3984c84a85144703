"""How many others in a batch are wrongly counted as wrong: equal and nearly equal texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

from sensorium import splits
from sensorium.doctor.diagnosis import Finding
from sensorium.doctor.subject import Subject, plural
from sensorium.errors import clip


def expected_equal(labels: Sequence[Sequence[Hashable]], batch: int) -> float:
    """Expected number of other records in a batch that show the same label as a given record.

    A batch is `batch` of N records drawn without replacement; a record with several labels
    (captions) shows one of them, drawn evenly. With p_ic the chance that record i shows label c,

        (batch - 1) / (N (N - 1)) * sum_c [(sum_i p_ic)^2 - sum_i p_ic^2],

    which for one label each is (batch - 1) * sum_c n_c (n_c - 1) / (N (N - 1)).
    """
    n = len(labels)
    if n < 2:
        return 0.0
    total: Counter[Hashable] = Counter()
    squares: Counter[Hashable] = Counter()
    for own in labels:
        for label, count in Counter(own).items():
            total[label] += count / len(own)  # type: ignore[assignment]
            squares[label] += (count / len(own)) ** 2  # type: ignore[assignment]
    pairs = sum(total[label] ** 2 - squares[label] for label in total)
    return (min(batch, n) - 1) * pairs / (n * (n - 1))


def folded(text: str) -> str:
    """A text without case, punctuation and doubled blanks: what differs only there says the same"""
    plain = splits.normalised(text)
    return " ".join(re.sub(r"[^\w\s]", " ", plain).split()) or plain


def negatives(subject: Subject) -> Iterator[Finding]:
    """facts: negatives {batch, equal, near_equal}: expected others in a batch with the same text,
    and with one that differs in case or punctuation only."""
    train = [subject.words[at] for at in subject.records.positions("train")]
    raw = [[text for text in own if text] for own in train]
    batch = min(subject.recipe.optimiser.batch, len(train))
    equal = expected_equal(raw, batch)
    near = expected_equal([[folded(text) for text in own] for own in raw], batch) - equal
    near = max(near, 0.0) if near > 1e-9 else 0.0
    subject.facts["negatives"] = {"batch": batch, "equal": equal, "near_equal": near}
    if equal >= 0.5:
        yield Finding(
            "equal-texts",
            "note",
            f"in a batch of {batch:,}, {equal:.2g} others have a record's own text",
            advice="contrast counts them as right answers too",
        )
    if near:
        spelt: dict[str, dict[str, None]] = {}
        for own in raw:
            for text in own:
                spelt.setdefault(folded(text), {})[text] = None
        several = [list(forms) for forms in spelt.values() if len(forms) > 1]
        yield Finding(
            "near-equal-texts",
            "warning" if near >= 0.1 else "note",
            f"{len(several):,} {plural(several, 'text')} written in several ways; in a batch of "
            f"{batch:,}, {near:.2g} others say the same as a record and count as wrong",
            tuple(" ~ ".join(clip(form, 40) for form in forms[:4]) for forms in several),
            advice="write them in one way: only texts equal to the letter are no negatives",
        )
