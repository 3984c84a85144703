"""The report's words: how numbers are written, what things are called, the verdict."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LABELS = {
    "conse": "ConSE, nothing trained",
    "plain_projections": "plain projections",
    "partner_shuffled": "partner shuffled",
    "chance": "no skill",
}
# modality -> (what asks, at the head of a sentence; what is asked for; what a pool holds)
WORDS = {
    "text": ("Words find", "words", "texts"),
    "image": ("Pictures find", "picture", "pictures"),
}

# --- numbers -----------------------------------------------------------------------------------


def share(value: float) -> str:
    """A proportion as printed: three places, no leading zero; never a zero that is not one."""
    if 0 < value < 0.0005:
        return "<.001"
    if 0.9995 <= value < 1:
        return ">.999"
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0") else text


def in_hundred(value: float) -> str:
    """A share as so many times in 100: whole numbers where they are exact enough to repeat."""
    times = 100 * value
    if times in (0, 100) or 9.95 <= times < 99:
        return str(math.floor(times + 0.5))
    if times >= 99:
        return f"{min(times, 99.9):.1f}"
    return f"{times:.1f}" if times >= 0.05 else f"{times:.1g}"


def decimal(value: float, places: int = 2) -> str:
    """A number with a true minus."""
    return f"{value:,.{places}f}".replace("-", "−")


def duration(seconds: float) -> str:
    """`38 s`, `1 min 24 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def odds(value: float) -> str:
    """What a chance is one in, where that is a whole number (`1 in 174`); else the share."""
    if value > 0 and abs(1 / value - round(1 / value)) < 1e-6 / value and value < 0.5:
        return f"1 in {round(1 / value):,}"
    return share(value)


def logarithm(value: float) -> str:
    """A no-skill loss with its origin where it is the logarithm of a count: `ln 256 = 5.55`."""
    count = math.exp(value) if value < 30 else 0.0
    if count > 1.5 and abs(count - round(count)) < 1e-3 * count:
        return f"ln {round(count):,} = {decimal(value)}"
    return decimal(value)


# --- names -------------------------------------------------------------------------------------


def label(control: str) -> str:
    """What people call a control."""
    return LABELS.get(control, control.replace("_", " "))


def direction_words(direction: str) -> str:
    """`text_to_image` -> `words to picture`."""
    query, _, pool = direction.partition("_to_")
    names = {"text": "words", "image": "picture"}
    return " to ".join(names.get(x, x.replace("_", " ")) for x in (query, pool) if x)


# --- the verdict -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """The page's title, the sentences under it, and whether there is skill beyond luck."""

    title: str
    lines: list[str]
    skill: bool


def verdict(scores: list[dict[str, Any]]) -> Verdict:
    """A run's scores in words that a stranger repeats.

    Skill is an interval that lies above luck. Against a control the sentence claims only what the
    two intervals show: apart, overlapping, or the control ahead.
    """
    ranked = sorted(
        scores, key=lambda s: (s["metric"] != "recall@1", s["direction"] != "text_to_image")
    )
    score = ranked[0]
    controls, protocol = score["controls"], score["protocol"]
    value, (low, high) = score["value"], score["interval"]
    luck = controls.get("chance", {}).get("value") or 0.0
    said, skill = _sentence(score), low > luck
    if skill:
        title = f"{said} {in_hundred(value)} times in 100. Luck finds it {in_hundred(luck)} times."
    else:
        title = (
            f"No better than luck yet: {said[0].lower()}{said[1:]} {in_hundred(value)} times in "
            f"100, luck {in_hundred(luck)} times."
        )
    lines = [_where(protocol)]
    if not skill:
        holds = "holds what luck gives" if high >= luck else "lies below what luck gives"
        lines.append(f"The 95 % interval, {share(low)} to {share(high)}, {holds} ({share(luck)}).")
    else:
        lines += _against(value, (low, high), controls)
    for other in ranked[1:]:
        if other["metric"] == score["metric"] and other["task"] == score["task"]:
            beyond = other["interval"][0] > (other["controls"].get("chance", {}).get("value") or 0)
            told = f"{_sentence(other)} {in_hundred(other['value'])} times in 100"
            if beyond != skill:
                told += ", which is beyond luck" if beyond else ", which is no better than luck"
            lines.append(told + ".")
    return Verdict(title, lines, skill)


def _sentence(score: Mapping[str, Any]) -> str:
    """`Words find the right picture first`, `... among the first 5`."""
    query, _, pool = score["direction"].partition("_to_")
    subject = WORDS[query][0] if query in WORDS else f"{query.replace('_', ' ').capitalize()} finds"
    wanted = WORDS[pool][1] if pool in WORDS else pool.replace("_", " ")
    k = score["metric"].partition("@")[2]
    place = "first" if k in ("1", "") else f"among the first {k}"
    return f"{subject} the right {wanted} {place}"


def _where(protocol: Mapping[str, Any]) -> str:
    n, split = f"{protocol['records']:,} records", protocol["split"]
    if split == "test":
        return f"{n} of the test split, kept from training and from choosing."
    return (
        f"{n} of the {split} split, which also chose the step: expect less on new data. "
        "The test split is not scored yet."
    )


def _against(value: float, interval: tuple[float, float], controls: Mapping[str, Any]) -> list[str]:
    """The strongest control if it is beaten; every one that is not; those that are missing.

    By the paired interval of the difference where it was computed, else by the two intervals.
    """
    measured = [
        (_in_sentence(name), given["value"], given["interval"], given.get("difference_interval"))
        for name, given in controls.items()
        if given.get("value") is not None and isinstance(given.get("interval"), list | tuple)
    ]
    lines, level, paired = [], [], False
    for at, (told, other, (low, high), apart_by) in enumerate(
        sorted(measured, key=lambda m: -m[1])
    ):
        against = f"{share(value)} against {share(other)}"
        if apart_by is not None:
            least, most = apart_by
            overlaps, worse = least <= 0 <= most, most < 0
            how = f"95 % interval of the paired difference {_points(least)} to {_points(most)}"
        else:
            overlaps, worse = interval[0] <= high and low <= interval[1], other > value
            how = "the 95 % intervals lie apart"
        if overlaps:
            paired = paired or apart_by is not None
            level.append(f"{told}, {share(low)} to {share(high)}" if apart_by is None else
                         f"{told} ({against}; {_points(apart_by[0])} to {_points(apart_by[1])} "
                         "points)")  # fmt: skip
        elif worse:
            lines.append(f"It does worse than {told}: {against}; {how}.")
        elif at == 0:
            gain = decimal(100 * (value - other), 1)
            lines.append(f"It beats {told} by {gain} points ({against}; {how}).")
    if level and paired:
        lines.append(f"These records do not tell it apart from {'; nor from '.join(level)}.")
    elif level:
        of, apart = ("that", "the two") if len(level) == 1 else ("those", "them")
        lines.append(
            f"Its interval, {share(interval[0])} to {share(interval[1])}, overlaps {of} of "
            f"{'; of '.join(level)}: these records do not tell {apart} apart."
        )
    for name, given in controls.items():
        if given.get("value") is None:
            said = (
                f"{_in_sentence(name)} was not measured: {given.get('reason', 'no reason given')}"
            )
            lines.append(said[0].upper() + said[1:] + ".")
    return lines


def _points(difference: float) -> str:
    """A difference of shares in points."""
    return decimal(100 * difference, 1)


def _in_sentence(control: str) -> str:
    """A control's label without a comma that would break a sentence: `ConSE (nothing trained)`."""
    name, comma, rest = label(control).partition(", ")
    return f"{name} ({rest})" if comma else name


# --- languages ---------------------------------------------------------------------------------

_SCRIPTS = (("HIRAGANA", "ja"), ("KATAKANA", "ja"), ("HANGUL", "ko"), ("CJK", "zh"), ("THAI", "th"),
            ("DEVANAGARI", "hi"), ("ARABIC", "ar"), ("HEBREW", "he"), ("GREEK", "el"))  # fmt: skip
_NAMED = re.compile(r"[_-](zh|ja|ko|fr|de|es|pt|it|nl|ru|uk|pl|ar|hi|sw|tr|vi|id|en)(?:[_-]\w+)?\Z")


def language(text: str, name: str = "") -> str | None:
    """The language of a text where its field's name (`text_fr`) or its script tells; else None."""
    if named := _NAMED.search(name):
        return named[1]
    letters = [unicodedata.name(c, "") for c in text if c.isalpha()]
    for script, code in _SCRIPTS:
        found = sum(letter.startswith(script) for letter in letters)
        # One kana among Chinese characters is Japanese; other scripts must be most of the text.
        if found and (code in ("ja", "ko") or found > math.floor(len(letters) / 2)):
            return code
    return None
