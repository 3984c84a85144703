"""Checks of texts: what looks wrong, what repeats, what leaks, their lengths and languages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from sensorium.doctor import forecast, inspection, languages
from sensorium.doctor.diagnosis import Finding, Severity
from sensorium.doctor.subject import Subject, plural, span
from sensorium.errors import clip

_REPEATED = 0.2  # share of one text among texts that are no classes
_FOREIGN = 0.1  # share of texts in a language that the tower does not know
_TRUNCATED = 0.05  # share of truncated texts that is worth a warning

_SUSPECT: dict[str, tuple[Severity, str, str]] = {
    "empty-texts": ("note", "without a word", "passed over; the record keeps its other texts"),
    "misread-texts": (
        "warning", "with UTF-8 read as another encoding (`Ã©` for `é`), or with letters lost",
        "save the table as UTF-8 once more, from where it was right",
    ),
    "control-characters": ("warning", "with control characters", "strip them"),
    "address-texts": ("warning", "with web addresses", "strip them: no picture shows its address"),
    "markup-texts": ("warning", "with HTML", "strip tags and entities"),
    "file-name-texts": (
        "warning", "in the form of a file name", "they describe nothing: leave them out",
    ),
    "placeholder-texts": (
        "warning", "with a mere placeholder such as `untitled`",
        "they describe nothing: leave them out",
    ),
}  # fmt: skip


def texts(subject: Subject) -> Iterator[Finding]:
    """facts: texts {total, each [least, most a record], distinct, classes}."""
    own = subject.words
    counts = Counter(text for _, text in subject.normalised)
    subject.facts["texts"] = {
        "total": len(subject.texts),
        "each": span([sum(bool(text.strip()) for text in texts) for texts in own]),
        "distinct": len(counts),
        "classes": subject.classes,
    }
    suspect: dict[str, list[str]] = {}
    for at, texts in enumerate(own):
        for text in texts:
            if (kind := inspection.suspicious(text, subject.classes)) is not None:
                suspect.setdefault(kind, []).append(f"{subject.place(at)}: {clip(text, 60)}")
    for kind, (severity, what, advice) in _SUSPECT.items():
        if places := suspect.get(kind):
            yield Finding(
                kind, severity, f"{len(places):,} {plural(places, 'text')} {what}",
                tuple(places), advice=advice,
            )  # fmt: skip
    total = len(subject.texts)
    text, count = counts.most_common(1)[0]
    rest = total - count
    # Among classes one may well have a fifth of the records; among captions none should.
    if count > _REPEATED * total and (len(counts) - 1) * 2 >= rest > 0:
        yield Finding(
            "repeated-text",
            "warning",
            f"one text is {count / total:.0%} of all: {clip(text, 50)}",
            tuple(subject.place(at) for at, other in subject.normalised if other == text),
            advice="it says nothing about its pictures: leave these records out",
        )
    if subject.classes:
        return
    where: dict[str, list[int]] = {}
    for at, text in subject.normalised:
        where.setdefault(text, []).append(at)
    records = subject.records
    across = {text: at for text, at in where.items() if len({records[i].split for i in at}) > 1}
    if across:
        yield Finding(
            "leak-text",
            "warning",
            f"{len(across):,} {plural(across, 'text')} in more than one split",
            tuple(f"{clip(text, 50)}: {subject.both(at)}" for text, at in across.items()),
            advice="the scores on test are too good: leave the splits to Sensorium, or mend them",
        )


def lengths(subject: Subject) -> Iterator[Finding]:
    """facts: lengths {unit (tokens or words), sampled, least, median, most, limit, truncated
    (share; of words: a lower bound)}."""
    options = subject.recipe.modalities.get("text", {})
    limit = options.get("length", forecast.LENGTH)
    chosen = subject.some_texts
    counts = forecast.tokens([text for _, text in chosen], options)
    unit, ends = "tokens", 2
    if counts is None:
        # A word is at least one token, so what is cut by words is cut by tokens too.
        unit, counts = "words", [len(text.split()) for _, text in chosen]
    sizes = np.array(counts) + (ends if unit == "tokens" else 0)
    over = np.array(counts) > limit - ends
    subject.facts["lengths"] = {
        "unit": unit,
        "sampled": len(chosen) < len(subject.texts),
        "least": int(sizes.min()),
        "median": int(np.median(sizes)),
        "most": int(sizes.max()),
        "limit": limit,
        "truncated": float(over.mean()),
    }
    if over.any():
        share = float(over.mean())
        cut = [at for (at, _), long in zip(chosen, over, strict=True) if long]
        yield Finding(
            "truncated-texts",
            "warning" if share > _TRUNCATED else "note",
            f"{share:.1%} of texts are longer than the {limit} tokens that {subject.recipe.name} "
            f"reads" + (", counted in words, so at least" if unit == "words" else ""),
            tuple(subject.place(at) for at in sorted(set(cut))),
            advice="the rest of them is not seen: modalities.text.length=… reads more",
        )


def spoken(subject: Subject) -> Iterator[Finding]:
    """facts: languages {sample, shares {BCP 47 tag: share}, tower, knows ([tags] or null)}."""
    chosen = subject.some_texts
    counts = Counter(languages.guess(text) for _, text in chosen)
    tower = subject.recipe.prepare.get("text", {}).get("use")
    knows = forecast.LANGUAGES.get(tower)
    subject.facts["languages"] = {
        "sample": len(chosen),
        "shares": {tag: count / len(chosen) for tag, count in counts.most_common()},
        "tower": tower,
        "knows": list(knows) if knows else None,
    }
    if knows is None:
        return
    # A short Latin text may be any language, so the share is of those that can be told.
    told = sum(count for tag, count in counts.items() if tag not in ("zxx", "und-Latn"))
    foreign = {t: c for t, c in counts.items() if t not in ("zxx", "und-Latn", *knows)}
    share = sum(foreign.values()) / told if told else 0.0
    # Of a few that can be told, one wrong guess would be a tenth.
    if share > _FOREIGN and sum(foreign.values()) >= max(3, 0.01 * len(chosen)):
        names = ", ".join(languages.name(tag) for tag, _ in Counter(foreign).most_common(3))
        yield Finding(
            "language-mismatch",
            "warning",
            f"{share:.0%} of the texts whose language can be told are not in "
            f"{' or '.join(languages.name(tag) for tag in knows)}, all that {tower} knows: {names}",
            tuple(
                f"{subject.place(at)}: {clip(text, 60)}"
                for at, text in chosen
                if languages.guess(text) in foreign
            ),
            advice="--recipe clip learns from these texts alone, in any language, but needs many",
        )
