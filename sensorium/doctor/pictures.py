"""Checks of pictures: each by itself, all against each other, and across the splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from statistics import median

from sensorium.doctor import duplicates, inspection
from sensorium.doctor.diagnosis import Finding, Severity
from sensorium.doctor.inspection import Sight
from sensorium.doctor.subject import LIMIT, TIMED, Subject, plural, span
from sensorium.errors import DataError, clip
from sensorium.records import Blob

_ODD: dict[str, tuple[Severity, str, str | None]] = {
    "tiny-pictures": (
        "warning", f"smaller than {inspection.LEAST_SIDE} pixels on a side",
        "enlarged, they are a blur: look for originals",
    ),
    "extreme-aspect": (
        "warning", f"more than {inspection.MOST_ASPECT} times as long as wide",
        "the square that is cut from the middle shows a sliver: cut them up first",
    ),
    "single-colour": (
        "warning", "of one colour all over", "nothing can be learned from them: leave them out",
    ),
    "suffix-mismatch": (
        "note", "in another format than their names say", "read by content; other tools may fail",
    ),
    "unusual-mode": (
        "note", "in CMYK, 16 bits or another unusual mode",
        "converted to 8-bit RGB, without a colour profile",
    ),
    "animated": ("note", "with several frames or pages", "the first is used"),
    "large-pictures": (
        "note", f"of more than {inspection.LARGE // 1_000_000} million pixels",
        "slow to decode: shrinking them once saves it every time",
    ),
}  # fmt: skip


def pictures(subject: Subject) -> Iterator[Finding]:
    """facts: pictures {total, decoded, sampled, readable, formats {format: count}, width [least,
    most], height, seconds_each (median of a few, one thread)}."""
    sights = subject.sights
    good = {at: sight for at, sight in sights.items() if sight.error is None}
    timed = [sight.seconds for sight in list(good.values())[:TIMED]]
    subject.facts["pictures"] = {
        "total": len(subject.pictures),
        "decoded": len(sights),
        "sampled": len(sights) < len(subject.pictures),
        "readable": len(good),
        "formats": dict(Counter(sight.format for sight in good.values()).most_common()),
        "width": span([sight.width for sight in good.values()]),
        "height": span([sight.height for sight in good.values()]),
        "seconds_each": median(timed) if timed else None,
    }
    if bad := sorted(set(sights) - set(good)):
        share = len(bad) / len(sights)
        yield Finding(
            "unreadable-pictures",
            "unusable" if share > LIMIT else "warning",
            f"{len(bad):,} of {len(sights):,} pictures decoded are damaged",
            tuple(f"{sights[at].name}: {sights[at].error}" for at in bad),
            f"at most {LIMIT:.0%}" if share > LIMIT else None,
            f"{share:.0%}" if share > LIMIT else None,
            "they will be set aside",
        )
    odd: dict[str, list[str]] = {}
    for at in sorted(good):
        for kind in inspection.oddities(good[at]):
            odd.setdefault(kind, []).append(_seen(good[at], kind))
    for kind, (severity, what, advice) in _ODD.items():
        if names := odd.get(kind):
            some = f"{len(names):,} {plural(names, 'picture')}"
            yield Finding(kind, severity, f"{some} {what}", tuple(names), advice=advice)


def _seen(sight: Sight, kind: str) -> str:
    told = {"suffix-mismatch": sight.format, "unusual-mode": sight.mode}
    return f"{sight.name}: {told.get(kind, f'{sight.width:,} x {sight.height:,}')}"


def twins(subject: Subject) -> Iterator[Finding]:
    """facts: duplicates {exact (groups of equal bytes), near (pairs), compared (pairs of hashes),
    capped (whether some may be missed)}."""
    records = subject.records
    equal = _equal_pictures(subject)
    twice = {at for group in equal for at in group[1:]}
    marks = {
        at: sight.mark
        for at, sight in sorted(subject.sights.items())
        if sight.mark is not None and at not in twice
    }
    places = list(marks)
    told = duplicates.near(list(marks.values()))
    pairs = [(places[a], places[b]) for a, b in told.pairs]
    subject.facts["duplicates"] = {
        "exact": len(equal), "near": len(pairs), "compared": told.compared, "capped": told.capped,
    }  # fmt: skip
    least = "at least " if told.capped or subject.facts["pictures"]["sampled"] else ""
    if equal:
        yield Finding(
            "exact-duplicates",
            "warning",
            f"{sum(map(len, equal)):,} pictures are copies of {len(equal):,}, byte for byte",
            tuple(" = ".join(subject.short(at) for at in group) for group in equal),
            advice="they count twice; one record can hold several captions",
        )
    if across := [g for g in equal if len({records[at].split for at in g}) > 1]:
        yield Finding(
            "leak-picture",
            "warning",
            f"{len(across):,} {plural(across, 'picture')} in more than one split",
            tuple(subject.both(group) for group in across),
            advice="the scores on test are too good: leave the splits to Sensorium, or mend them",
        )
    apart = [(a, b) for a, b in pairs if records[a].split != records[b].split]
    if pairs:
        groups = duplicates.gathered(pairs)
        yield Finding(
            "near-duplicates",
            "note",
            f"{least}{sum(map(len, groups)):,} pictures are {len(groups):,} but for coding, size, "
            f"brightness or a detail",
            tuple(f"{_called(subject, a)} ~ {_called(subject, b)}" for a, b in pairs),
            advice="with different captions, each is wrongly a wrong answer for the other's words",
        )
    if apart:
        yield Finding(
            "leak-near-picture",
            "warning",
            f"{least}{len(apart):,} {plural(apart, 'pair')} of nearly equal pictures in "
            f"different splits",
            tuple(
                f"{_called(subject, a)} ({records[a].split}) ~ "
                f"{_called(subject, b)} ({records[b].split})"
                for a, b in apart
            ),
            advice="the same `group` (a column or JSON field) keeps both in one split",
        )


def _called(subject: Subject, at: int) -> str:
    """A record by key and first words: whether twins matter is seen by what they are called."""
    words = subject.words[at]
    return f"{subject.records[at].key} {clip(words[0], 30)}" if words else subject.records[at].key


def _equal_pictures(subject: Subject) -> list[list[int]]:
    """Groups of records whose pictures are equal byte for byte, among all of them.

    What was not decoded is read only where its size is another's too.
    """
    sizes: dict[int, list[int]] = {}
    for at, blob in subject.pictures.items():
        if (size := _size(blob)) is not None:
            sizes.setdefault(size, []).append(at)
    same: dict[tuple[int, bytes], list[int]] = {}
    for size, places in sizes.items():
        for at in places if len(places) > 1 else []:
            sight = subject.sights.get(at)
            own = sight.digest if sight is not None else _digest(subject.pictures[at])
            if own is not None:
                same.setdefault((size, own), []).append(at)
    return [group for group in same.values() if len(group) > 1]


def _size(blob: Blob) -> int | None:
    if blob.data is not None:
        return len(blob.data)
    if blob.size is not None or blob.file is None:
        return blob.size
    try:
        return blob.file.stat().st_size
    except OSError:
        return None


def _digest(blob: Blob) -> bytes | None:
    try:
        return duplicates.digest(blob.read())
    except DataError:
        return None
