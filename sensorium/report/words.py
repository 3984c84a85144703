"""The report's words: how numbers are written, and what things are called."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

LABELS = {
    "conse": "ConSE, nothing trained",
    "plain_projections": "plain projections",
    "partner_shuffled": "partner shuffled",
    "chance": "no skill",
    "unigram": "most frequent word",
    "majority": "most frequent class",
    "constant": "most frequent caption",
    "retrieved": "nearest caption",
    "image_alone": "picture alone",
    "text_alone": "words alone",
    "vectors": "its vectors alone",
    "untrained": "untrained weights",
    # Where a modality is missing: what else one could do.
    "impute": "filled in",
    "drop": "left out",
    "drop_as_wrong": "left out, as wrong",
    "complete": "nothing missing",
    "without_image": "without the picture",
    "without_text": "without the words",
    "without_table": "without the table",
    "table_alone": "table alone",
    # Of a made world, by counting: nobody who sees as much can do better.
    "best_image_only": "best by picture alone",
    "best_text_only": "best by words alone",
    "best_table_only": "best by table alone",
    "best_sum": "best sum of scores",
    "best_sum_at_most": "best sum, at most",
    "best_sum_fitted": "best fitted sum",
    "best_possible": "best possible",
}
ZERO_SHOT = "zero-shot "  # of an imported model; its name and licence follow
# What knows nothing of the single record. A run that does not beat all of them has no skill yet.
IDLE = ("chance", "unigram", "majority", "constant", "untrained")
# Metrics that are no shares: printed with two places, and the axis goes beyond 1.
AMOUNTS = ("nats per token", "nats per record", "loss", "CIDEr-D")
TASKS = {
    "retrieval": "Retrieval",
    "classification": "Classes",
    "matching": "Matching",
    "prediction": "Words",
    "captioning": "Captions",
    "loss": "Loss",
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


def figure(metric: str, value: float) -> str:
    """A score as printed: a share, or an amount with two places."""
    return decimal(value) if metric in AMOUNTS else share(value)


def luck_of(metric: str, value: float) -> str:
    """What luck gives, with its origin: `1 in 174`, `ln 4,000 = 8.29`."""
    return logarithm(value) if metric in AMOUNTS else odds(value)


def lower(score: Mapping[str, Any]) -> bool:
    """Whether less is better of a score."""
    return score.get("better") == "lower"


def idle(score: Mapping[str, Any]) -> str | None:
    """The strongest control that knows nothing of the single record, or None."""
    known = [
        (given["value"], name)
        for name, given in score["controls"].items()
        if name in IDLE and given.get("value") is not None
    ]
    if not known:
        return None
    return (min if lower(score) else max)(known, key=lambda one: one[0])[1]


# --- names -------------------------------------------------------------------------------------


def label(control: str) -> str:
    """What people call a control."""
    if control.startswith(ZERO_SHOT):
        return control
    return LABELS.get(control, control.replace("_", " "))


def direction_words(direction: str, protocol: Mapping[str, Any] | None = None) -> str:
    """`text_to_image` -> `words to picture`; an objective's name -> what it asks for.

    A class is called as its field, where the score's protocol tells it; what is missing is said.
    """
    if protocol and "missing" in protocol:
        rest = {name: x for name, x in protocol.items() if name != "missing"}
        return f"{direction_words(direction, rest)}, {protocol['missing']}"
    if protocol and "field" in protocol:
        return str(protocol["field"]).replace("_", " ")
    kind = re.sub(r"_\d+\Z", "", direction)
    if kind in ASKED:
        return ASKED[kind]
    query, _, pool = direction.partition("_to_")
    names = {"text": "words", "image": "picture"}
    return " to ".join(names.get(x, x.replace("_", " ")) for x in (query, pool) if x)


ASKED = {
    "masked_tokens": "hidden words",
    "generation": "next words",
    "image_self_supervision": "two views of a picture",
    "translation_contrast": "text with text",
}

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
