"""What `sensorium doctor` answers: findings with their ids, facts; as JSON and on a terminal."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from sensorium.doctor.languages import name as language
from sensorium.records import SPLITS
from sensorium.terminal import RAIL, WIDTH

FORMAT = 1  # of the JSON; raised when a key changes its meaning
Severity = Literal["note", "warning", "unusable"]
_SHOWN = {"unusable": 5, "warning": 3, "note": 1}  # places printed; JSON has all
_STYLES = {"unusable": "red", "warning": "yellow", "note": "dim", "error": "red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        id: stable, e.g. `near-duplicates`.
        severity: `note` (know it), `warning` (scores or training suffer), `unusable`.
        what: one sentence without its full stop.
        where: files, rows, keys or pairs, each once; empty where it concerns the whole.
        expected, found: as in errors, where they say more than `what`.
        advice: what to do, or the next command.
    """

    id: str
    severity: Severity
    what: str
    where: tuple[str, ...] = ()
    expected: str | None = None
    found: str | None = None
    advice: str | None = None


@dataclass
class Diagnosis:
    """All that was found in a data set.

    `facts` are what was counted and measured, whether or not it is remarkable. Where the data could
    not be read, only the facts that are known are there. Keys: records, fields, notes, set_aside,
    splits, groups, pictures, duplicates, texts, lengths, languages, negatives, balance, plan;
    each is described where it is counted.
    """

    data: str
    recipe: str
    facts: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 clean (notes at most), 1 warnings, 2 unusable."""
        severities = {finding.severity for finding in self.findings}
        return 2 if "unusable" in severities else int("warning" in severities)

    def to_json(self) -> dict[str, Any]:
        """Plain data with stable keys.

        {format: 1, data, recipe, exit_code, facts: {...}, findings: [{id, severity, what,
        where: [...], expected, found, advice}]}; what does not apply is null.
        """
        return {
            "format": FORMAT,
            "data": self.data,
            "recipe": self.recipe,
            "exit_code": self.exit_code,
            "facts": self.facts,
            "findings": [{**asdict(x), "where": list(x.where)} for x in self.sorted()],
        }

    def sorted(self) -> list[Finding]:
        """The findings, the gravest first."""
        order = ("unusable", "warning", "note")
        return sorted(self.findings, key=lambda finding: order.index(finding.severity))


def show(diagnosis: Diagnosis, console: Console) -> None:
    """Prints a diagnosis: one screen where the data are healthy."""
    for rail, text, style in _rows(diagnosis):
        line = Text(f"{rail:<{RAIL}}", style=_STYLES.get(rail, ""))
        console.print(line.append(text, style=style), soft_wrap=True, highlight=False)


def lines(diagnosis: Diagnosis) -> list[str]:
    """What `show` prints, as plain lines of at most 100 columns."""
    return [f"{rail:<{RAIL}}{text}".rstrip() for rail, text, _ in _rows(diagnosis)]


def _rows(diagnosis: Diagnosis) -> Iterator[tuple[str, str, str]]:
    """(rail, text, style), each fitting the width."""
    for rail, text, style in (*_facts(diagnosis), *_findings(diagnosis), *_end(diagnosis)):
        # A command is pasted: it stays on one line.
        fitted = [printable(text)] if rail == "try" else wrapped(printable(text), WIDTH - RAIL)
        for at, line in enumerate(fitted):
            yield "" if at else rail, line, style


def _facts(diagnosis: Diagnosis) -> Iterator[tuple[str, str, str]]:
    facts = diagnosis.facts
    if "records" not in facts:
        return
    aside = facts["set_aside"]["records"]
    taking = [f"{name}={x['modality']}" for name, x in facts["fields"].items() if x["modality"]]
    others = len(facts["fields"]) - len(taking)
    yield "data", "   ".join(filter(None, (
        f"{facts['records']:,} records", ", ".join(taking),
        f"{others} other {_plural(others, 'field')}" if others else "",
        f"{aside:,} set aside" if aside else "",
    ))), "bold"  # fmt: skip
    for note in facts["notes"][:4]:
        yield "", note, "dim"
    yield "splits", _splits(facts), ""
    if "pictures" in facts:
        yield "pictures", _pictures(facts["pictures"]), ""
    if "texts" in facts:
        yield "texts", _texts(facts), ""
    if "languages" in facts:
        yield "language", _languages(facts["languages"]), ""
    for name, balance in list(facts.get("balance", {}).items())[:2]:
        yield "classes", (
            f"{name}: {balance['distinct']} values, as good as {balance['effective']:.1f} equal "
            f"ones; most frequent {balance['majority']} ({_percent(balance['majority_share'])})"
        ), ""  # fmt: skip
    if "negatives" in facts:
        told = facts["negatives"]
        shares = [(told["equal"], "the same text"), (told["near_equal"], "nearly the same text")]
        some = " and ".join(f"{count:.2g} others have {what}" for count, what in shares if count)
        yield "batch", f"of {told['batch']:,}: {some or 'no text comes twice'}", ""
    if "plan" in facts:
        yield from (("plan" if not at else "", x, "") for at, x in enumerate(_plan(facts["plan"])))


def _splits(facts: dict[str, Any]) -> str:
    counts = "   ".join(f"{facts['splits'][name]:,} {name}" for name in SPLITS)
    groups = facts["groups"]
    how = {True: "drawn by group", False: "as the data states"}[groups["drawn"]]
    known = f" ({groups['stated']:,} groups stated)" if groups["stated"] else ""
    return f"{counts}   {how}{known}"


def _pictures(told: dict[str, Any]) -> str:
    if told["readable"] == 0:
        return f"none of {told['decoded']:,} readable"
    part = f"{told['decoded']:,} decoded"
    if told["sampled"]:
        part = f"{told['decoded']:,} of {told['total']:,} decoded (a keyed sample)"
    formats = ", ".join(
        kind if len(told["formats"]) == 1 else f"{kind} {count:,}"
        for kind, count in told["formats"].items()
    )
    sides = [f"{a:,}" if a == b else f"{a:,} to {b:,}" for a, b in (told["width"], told["height"])]
    return f"{part}   {formats}   {sides[0]} x {sides[1]} pixels"


def _texts(facts: dict[str, Any]) -> str:
    told, lengths = facts["texts"], facts["lengths"]
    each = (
        f"{told['each'][0]} a picture"
        if told["each"][0] == told["each"][1]
        else f"{told['each'][0]} to {told['each'][1]} a picture"
    )
    parts = [f"{each}, {told['distinct']:,} different"]
    parts.append(
        f"{lengths['least']} {lengths['unit']}"
        if lengths["least"] == lengths["most"]
        else f"{lengths['least']} to {lengths['most']} {lengths['unit']} "
        f"(median {lengths['median']})"
    )
    if lengths["truncated"]:
        least = "" if lengths["unit"] == "tokens" else "at least "
        parts.append(f"{least}{_percent(lengths['truncated'])} cut at {lengths['limit']}")
    return "   ".join(parts)


def _languages(told: dict[str, Any]) -> str:
    known = {tag: share for tag, share in told["shares"].items() if tag != "und-Latn"}
    shown = [tag for at, (tag, share) in enumerate(known.items()) if at == 0 or share >= 0.01][:4]
    parts = [f"{language(tag)} {_percent(known[tag])}" for tag in shown]
    if rest := sum(share for tag, share in known.items() if tag not in shown):
        parts.append(f"others {_percent(rest)}")
    if unsure := told["shares"].get("und-Latn"):
        parts.append(f"Latin script, too short to tell {_percent(unsure)}")
    return "   ".join(parts)


def _plan(told: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{told['recipe']}: {told['steps_an_epoch']:,} {_plural(told['steps_an_epoch'], 'step')} "
        f"of {told['batch']:,} an epoch; budget {told['budget']}; reading about "
        f"{_duration(told['seconds_reading'])} of one core (estimated)"
    )
    if told["records_within_budget"] is not None:
        yield (
            f"about {told['records_within_budget']:,} records can be read within the budget: "
            f"fewer will be trained on, chosen by key, unless it is raised"
        )
    missing = [x for x in told["towers"].values() if not x["cached"]]
    size = sum(x["bytes"] for x in missing)
    yield (
        f"memory about {told['memory_bytes'] / 1e9:.1f} GB (estimated); towers "
        + ("in the cache" if not missing else f"to be fetched: {size / 1e6:.0f} MB")
        if told["towers"]
        else f"memory about {told['memory_bytes'] / 1e9:.1f} GB (estimated); no towers"
    )


def _findings(diagnosis: Diagnosis) -> Iterator[tuple[str, str, str]]:
    for finding in diagnosis.sorted():
        rail = "error" if finding.id == "unreadable-data" else finding.severity
        yield rail, finding.what, "bold" if finding.severity != "note" else ""
        if finding.expected is not None or finding.found is not None:
            told = (("expected", finding.expected), ("found", finding.found))
            yield "", ", ".join(f"{word} {value}" for word, value in told if value), ""
        most = _SHOWN[finding.severity]
        # One line more costs what "and 1 more" would.
        places = finding.where if len(finding.where) == most + 1 else finding.where[:most]
        for place in places:
            yield "", clipped(printable(place), WIDTH - RAIL), "dim"
        if left := len(finding.where) - len(places):
            yield "", f"… and {left:,} more (--json lists all)", "dim"
        if finding.advice:
            yield "", finding.advice, ""


def _end(diagnosis: Diagnosis) -> Iterator[tuple[str, str, str]]:
    count = sum(finding.severity == "warning" for finding in diagnosis.findings)
    if diagnosis.exit_code == 2:
        if "records" in diagnosis.facts:
            yield "", "Not usable as it is.", "bold"
        return
    warned = f"Usable, with {count} {_plural(count, 'warning')}." if count else "Fit to train on."
    yield "", warned, "bold"
    recipe = "" if diagnosis.recipe == "lit" else f" --recipe {shlex.quote(diagnosis.recipe)}"
    yield "try", f"sensorium pretrain {shlex.quote(diagnosis.data)}{recipe}", ""


def _plural(count: int, word: str) -> str:
    return word if count == 1 else word + "s"


def _percent(share: float) -> str:
    """`12 %`; a share that is there never rounds to nothing, nor one that is not all to all."""
    if 0 < share < 0.01:
        return "under 1 %"
    return f"{min(99, round(100 * share)) if share < 1 else 100} %"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def printable(text: str) -> str:
    """A stranger's text, fit for a terminal: what is no printed letter is written as its code."""
    return "".join(map(_safe, text))


def _safe(letter: str) -> str:
    kind = unicodedata.category(letter)[0]
    if kind == "Z":
        return " "
    # Joiners belong to letters and emoji.
    joiner = letter in "\u200c\u200d"
    return letter if kind != "C" or joiner else letter.encode("unicode_escape").decode()


def clipped(text: str, width: int) -> str:
    """The text within `width` terminal cells, `…` for what is left out."""
    if cell_len(text) <= width:
        return text
    kept = text[:width]
    while cell_len(kept) > width - 1:
        kept = kept[:-1]
    return kept.rstrip() + "…"


def wrapped(text: str, width: int) -> Iterable[str]:
    """Lines of at most `width` cells, broken at spaces where there are any."""
    line = ""
    for word in text.split(" "):
        trial = f"{line} {word}" if line else word
        if cell_len(trial) <= width:
            line = trial
            continue
        if line:
            yield line.rstrip()
        while cell_len(word) > width:
            head = word[:width]
            while cell_len(head) > width:
                head = head[:-1]
            yield head
            word = word[len(head) :]
        line = word
    yield line.rstrip()
