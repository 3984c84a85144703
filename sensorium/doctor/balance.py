"""How evenly classes are filled: of the texts, and of other fields with few values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from sensorium.doctor.diagnosis import Finding
from sensorium.doctor.subject import Subject

_MOST = 50  # values of a field that count as classes
_MAJORITY = 0.8  # share of one class that is worth a warning however few there are


def balance(subject: Subject) -> Iterator[Finding]:
    """facts: balance {field: {distinct, majority, majority_share, effective, values {value: count}
    (at most 50)}} of the text, where it is a class, and of other fields with few values.

    `effective` is exp(entropy): how many equally frequent classes would be as varied (Hill 1973,
    "Diversity and Evenness", the number of order 1).
    """
    told: dict[str, Any] = {}
    if subject.classes:
        told[subject.text] = _classes(Counter(text for _, text in subject.normalised))
    for name, known in subject.facts["fields"].items():
        if known["modality"] is None and known["kind"] in ("text", "number"):
            values = [record.fields.get(name) for record in subject.records]
            counts = Counter(str(x) for x in values if isinstance(x, str | int) and x != "")
            if 2 <= len(counts) <= _MOST and len(counts) * 10 <= counts.total():
                told[name] = _classes(counts)
    subject.facts["balance"] = told
    own = told.get(subject.text)
    if own is not None and (
        own["effective"] < own["distinct"] / 2 or own["majority_share"] >= _MAJORITY
    ):
        yield Finding(
            "class-imbalance",
            "warning",
            f"{own['distinct']:,} classes are as varied as {own['effective']:.1f} equal ones",
            tuple(f"{value}: {count:,}" for value, count in own["values"].items()),
            advice=f"always saying {own['majority']!r} is right {own['majority_share']:.0%} of "
            f"the time: read scores beside that",
        )


def _classes(counts: Counter[str]) -> dict[str, Any]:
    shares = np.array(list(counts.values())) / counts.total()
    majority, most = counts.most_common(1)[0]
    return {
        "distinct": len(counts),
        "majority": majority,
        "majority_share": most / counts.total(),
        "effective": float(np.exp(-(shares * np.log(shares)).sum())),
        "values": dict(counts.most_common(_MOST)),
    }
