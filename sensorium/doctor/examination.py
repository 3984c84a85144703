"""The examination: reads the data as `pretrain` would, runs every check, gathers what they say."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sensorium import reading, towers
from sensorium.doctor import balance, forecast, negatives, pictures, texts
from sensorium.doctor.diagnosis import Diagnosis, Finding
from sensorium.doctor.subject import LIMIT, Progress, Subject, plural
from sensorium.errors import UserError
from sensorium.recipe import Recipe, load
from sensorium.records import SPLITS, Records, Rejected

MOST_PICTURES = 2000  # decoded; of larger data a keyed sample
# Of a composed world, which is drawn and not collected.
_BY_DESIGN = {
    *("exact-duplicates", "near-duplicates", "leak-picture", "leak-near-picture", "leak-text"),
    *("repeated-text", "equal-texts", "near-equal-texts", "class-imbalance"),
}


def examine(
    data: str | Path | Records,
    fields: dict[str, str] | None = None,
    recipe: str | Path | Recipe = "lit",
    progress: Progress | None = None,
    *,
    most: int | None = MOST_PICTURES,
) -> Diagnosis:
    """Looks at a data set as `pretrain` would take it, and says what is wrong with it.

    Args:
        data: as for `pretrain`: a name, a folder, a table, tars; or records already read.
        fields: field -> modality where the inferred ones are wrong.
        recipe: whose tokenizer, towers, picture size and batch count; a name is taken at size
            `tiny`, as `pretrain` does.
        progress: called with ("pictures", done, total).
        most: pictures to decode; None decodes all.

    Returns:
        The diagnosis. Data that cannot be read give one with the finding `unreadable-data` and
        exit code 2, not an exception.

    Raises:
        RecipeError: the recipe is not as expected.
    """
    if not isinstance(recipe, Recipe):
        recipe = load(recipe, "tiny")
    name = data.name if isinstance(data, Records) else str(data)
    diagnosis = Diagnosis(name, recipe.name)
    if isinstance(data, Records):
        records = data
    else:
        try:
            # How many are set aside is a finding here, so reading does not stop for it.
            records = reading.read(data, fields, limit=1.0)
        except UserError as error:
            diagnosis.findings += _unreadable(error, data, fields)
            return diagnosis
    subject = Subject(records, recipe, most, progress, diagnosis.facts)
    if not subject.texts or not subject.pictures:
        what = "text" if subject.pictures else "picture"
        diagnosis.findings.append(
            Finding("unreadable-data", "unusable", name, (), f"a {what}", "none in any record")
        )
        return diagnosis
    for check in _CHECKS:
        diagnosis.findings += check(subject)
    if not isinstance(data, Records) and reading.is_composed(Path(data)):
        diagnosis.findings = [_composed(finding) for finding in diagnosis.findings]
    return diagnosis


def _composed(finding: Finding) -> Finding:
    """What is a fault of collected data, and no fault of a composed world (`sensorium world make`):
    scenes that look alike, or are told alike because a caption leaves factors out."""
    if finding.severity != "warning" or finding.id not in _BY_DESIGN:
        return finding
    advice = "a composed world: no combination of factors is in two splits, so this is by design"
    return dataclasses.replace(finding, severity="note", advice=advice)


def _unreadable(
    error: UserError, data: str | Path, fields: dict[str, str] | None
) -> Iterator[Finding]:
    advice = None
    if error.nearest is not None:
        advice = f"nearest  {error.nearest}"
    elif error.see is not None and not error.see.startswith("sensorium doctor"):
        advice = f"see      {error.see}"
    what = error.what.splitlines()[0] if error.what else "the data cannot be read"
    yield Finding("unreadable-data", "unusable", what, (), error.expected, error.found, advice)
    # What was set aside is most often the reason, and reading for less than training goes on.
    for need in (("image", "text"), ()):
        try:
            records = reading.read(data, fields, limit=1.0, need=need)
        except UserError:
            continue
        if records.rejected:
            yield _aside(records)
        return


def _aside(records: Records, recipe: Recipe | None = None) -> Finding:
    """What was set aside; unusable if too much of it is wrong.

    Absent is not wrong in a composed world, nor where the recipe tells a label from what is there.
    """
    refused, total, advice = records.rejected, len(records) + len(records.rejected), None
    wrong = list(refused)
    if reading.is_composed(Path(records.name)):
        wrong = [item for item in refused if not reading.lacks(item)]
        advice = "a composed world: what is absent is so by its setting, and nothing is wrong"
    if recipe is not None and "label" in recipe.targets:
        wrong = [item for item in refused if not reading.lacks(item)]
        advice = "training keeps what has a picture, a text or cells, for a label is told from one"
    share = len(wrong) / total
    return Finding(
        "set-aside",
        "unusable" if share > LIMIT else "warning" if wrong else "note",
        f"{len(refused):,} of {total:,} records are set aside: {_reasons(refused)}",
        tuple(map(str, refused)),
        f"at most {LIMIT:.0%}" if share > LIMIT else None,
        f"{share:.0%}" if share > LIMIT else None,
        advice if len(wrong) < len(refused) else None,
    )


def _reasons(refused: Sequence[Rejected]) -> str:
    """The kinds of reasons, the most frequent first."""
    kinds = Counter(_shape(item.reason) for item in refused).most_common()
    told = "; ".join(f"{count:,} {kind}" for kind, count in kinds[:3])
    return told + (f"; {sum(count for _, count in kinds[3:]):,} other" if kinds[3:] else "")


def _shape(reason: str) -> str:
    """A reason without the name of its file and its numbers, so that equal ones can be counted."""
    reason = re.sub(r"(['\"]).*?\1", "…", reason)
    reason = re.sub(r"\S*[\w)]\.\w{2,5}\b|\S+/\S+", "…", reason)
    return re.sub(r"\d[\d,.]*", "n", reason)


def _read(subject: Subject) -> Iterator[Finding]:
    """facts: records; notes (what reading decided); set_aside {records, reasons: {kind: count}};
    fields {name: {kind, modality or null}}."""
    records, facts = subject.records, subject.facts
    facts["records"] = len(records)
    facts["notes"] = list(records.notes)
    facts["set_aside"] = {
        "records": len(records.rejected),
        "reasons": dict(Counter(_shape(x.reason) for x in records.rejected).most_common()),
    }
    kinds = reading.kinds_of(records)
    facts["fields"] = {
        name: {"kind": kind, "modality": records.fields.get(name)} for name, kind in kinds.items()
    }
    if records.rejected:
        yield _aside(records, subject.recipe)


def _splits(subject: Subject) -> Iterator[Finding]:
    """facts: splits {train, validation, test}; groups {stated (different ones), records (that
    state one), drawn (by us, rather than stated by the data)}."""
    records = subject.records
    counts = Counter(record.split for record in records)
    subject.facts["splits"] = {name: counts[name] for name in SPLITS}
    stated: dict[str, list[int]] = {}
    for at, record in enumerate(records):
        if record.group is not None:
            stated.setdefault(record.group, []).append(at)
    subject.facts["groups"] = {
        "stated": len(stated),
        "records": sum(map(len, stated.values())),
        "drawn": forecast.drawn(records),
    }
    across = [at for at in stated.values() if len({records[i].split for i in at}) > 1]
    if across:
        yield Finding(
            "leak-group",
            "warning",
            f"{len(across):,} stated {plural(across, 'group')} in more than one split",
            tuple(f"{records[at[0]].group}: {subject.both(at)}" for at in across),
            advice="splits go by group: the scores on test are too good",
        )


def _plan(subject: Subject) -> Iterator[Finding]:
    """facts: plan, as `forecast.plan` says."""
    plan = forecast.plan(
        subject.recipe,
        len(subject.records),
        len(subject.texts),
        len(subject.records.positions("train")),
        subject.facts["pictures"]["seconds_each"],
    )
    subject.facts["plan"] = plan
    if missing := [name for name, tower in plan["towers"].items() if not tower["cached"]]:
        size = sum(towers.TOWERS[name].size for name in missing)
        yield Finding(
            "towers-missing",
            "note",
            f"{' and '.join(missing)} not in the cache: a download of {size / 1e6:.0f} MB",
            advice=f"pretrain fetches them; now: sensorium cache fetch {' '.join(missing)}",
        )


# In the order of their facts: a later one may use those of an earlier one.
_CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    _read, _splits, pictures.pictures, pictures.twins, texts.texts, texts.lengths, texts.spoken,
    negatives.negatives, balance.balance, _plan,
)  # fmt: skip
