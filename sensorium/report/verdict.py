"""The verdict: a run's scores in words that a stranger repeats, and no more than they show.

Skill is what lies beyond every control that knows nothing of the single record: luck, the most
frequent word, class or caption, untrained weights. Of words and classes the surprise in nats must
lie beyond them too: a top guess that is often right is no skill where probabilities are worse than
frequencies. Against the other controls a sentence claims only what the paired difference shows, or
where that is unknown the two intervals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sensorium.report.words import (
    AMOUNTS,
    IDLE,
    WORDS,
    ZERO_SHOT,
    decimal,
    direction_words,
    figure,
    idle,
    in_hundred,
    label,
    lower,
)

Scores = Mapping[str, Any]
FURTHER = 3  # tasks beside the title's that get a sentence
_NOTHING = {
    "chance": "luck",
    "unigram": "the most frequent word",
    "majority": "the most frequent class",
    "constant": "the most frequent caption",
    "untrained": "untrained weights",
}


@dataclass(frozen=True)
class Verdict:
    """The page's title, the sentences under it, and whether there is skill beyond luck."""

    title: str
    lines: list[str]
    skill: bool


def verdict(scores: list[dict[str, Any]]) -> Verdict:
    """A run's scores as a title and a few sentences: of the task that the title speaks of, and one
    of each of at most `FURTHER` others.

    Args:
        scores: as evaluation gives them; the task of the first is what the title speaks of.
    """
    task = scores[0]["task"]
    ranked = sorted(
        (score for score in scores if score["task"] == task),
        key=lambda s: (
            (s["metric"] != "recall@1", s["direction"] != "text_to_image")
            if task == "retrieval"
            else (0, 0)
        ),
    )
    score = ranked[0]
    counted, surprise = skilled(score), _surprise(score, scores)
    sure = surprise is None or skilled(surprise)
    skill = counted and sure
    said, value = _sentence(score), _amount(score, score["value"])
    nothing = idle(score)
    if nothing is None:
        title = f"{said} {value}."
    elif skill:
        title = f"{said} {value}. {_luck(score, nothing)}"
    elif counted and surprise is not None:
        title = f"{said} {value}, but {_by_nats(surprise)}."
    else:
        title = (
            f"No better than {_NOTHING[nothing]} yet: {said[0].lower()}{said[1:]} {value}, "
            f"{_NOTHING[nothing]} {_plain(score, score['controls'][nothing]['value'])}."
        )
    lines = [_where(score["protocol"])]
    if score["interval"] is None:
        lines.append(f"No interval: {score['protocol']['interval'].removeprefix('none: ')}.")
    if not counted and nothing is not None:
        lines += _held(score, nothing)
        if surprise is not None and idle(surprise) is not None:
            told = _by_nats(surprise)
            lines.append(f"{told[0].upper()}{told[1:]}.")
    elif score["interval"] is not None:
        lines += _against(score)
    lines += _pictures(score)
    for other in ranked[1:]:
        if other["metric"] == score["metric"]:
            lines.append(_also(other, scores, skill))
    further = dict.fromkeys(s["task"] for s in scores if s["task"] != task)
    for name in list(further)[:FURTHER]:  # the rest is in the tables
        lines.append(_further(next(s for s in scores if s["task"] == name), scores))
    return Verdict(title, lines, skill)


def skilled(score: Scores) -> bool:
    """Whether a score lies beyond every control that knows nothing of the single record."""
    return _unbeaten(score) is None


def _unbeaten(score: Scores) -> str | None:
    """The strongest of those controls that a score does not lie beyond, or None."""
    sign = -1 if lower(score) else 1
    found = [
        (sign * given["value"], name)
        for name, given in score["controls"].items()
        if name in IDLE and given.get("value") is not None and not _beyond(score, given)
    ]
    return max(found)[1] if found else None


def _surprise(score: Scores, scores: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The nats of the same answers, for a score that counts how often words or classes are right.

    None for other tasks, and where there are no nats.
    """
    if score["metric"].startswith("nats"):
        return None

    def of(one: Scores) -> tuple[Any, ...]:
        return one["task"], one["direction"], one["protocol"].get("objective")

    return next((x for x in scores if x["metric"].startswith("nats") and of(x) == of(score)), None)


def _beyond(score: Scores, given: Scores) -> bool:
    sign = -1 if lower(score) else 1
    apart, own = given.get("difference_interval"), score["interval"]
    if apart is not None:
        return min(sign * bound for bound in apart) > 0
    worst = score["value"] if own is None else (own[1] if lower(score) else own[0])
    return sign * worst > sign * given["value"]


# --- sentences ---------------------------------------------------------------------------------


def _sentence(score: Scores) -> str:
    """What was done, to be followed by how often or how much."""
    direction, metric = score["direction"], score["metric"]
    query, _, pool = direction.partition("_to_")
    kind = re.sub(r"_\d+\Z", "", direction)
    match score["task"]:
        case "retrieval":
            subject = (
                WORDS[query][0]
                if query in WORDS
                else f"{query.replace('_', ' ').capitalize()} finds"
            )
            wanted = WORDS[pool][1] if pool in WORDS else pool.replace("_", " ")
            k = metric.partition("@")[2]
            place = "first" if k in ("1", "") else f"among the first {k}"
            return f"{subject} the right {wanted} {place}"
        case "matching":
            own = WORDS[pool][1] if pool in WORDS else pool
            hard = " of its nearest" if "hard" in metric else ""
            verb = "tell" if query == "text" else "tells"
            asked = {"text": "Words", "image": "A picture"}.get(query, query)
            return f"{asked} {verb} the own {own} from a wrong one{hard}"
        case "prediction":
            what = {"masked_tokens": "a hidden word", "generation": "the next word"}
            return f"Its first guess of {what.get(kind, 'a word')} is right"
        case "classification":
            return f"It names the right {direction_words(direction, score['protocol'])}"
        case "captioning":
            return f"Its captions reach a {metric} of"
    return f"Its loss ({direction_words(direction)}) is"


def _plain(score: Scores, value: float) -> str:
    """A value in a sentence: `38 times`, `2.10`."""
    if score["metric"] in AMOUNTS:
        return decimal(value)
    return f"{in_hundred(value)} times"


def _amount(score: Scores, value: float) -> str:
    """A value in the sentence that says what it is of: `38 times in 100`, `2.10`."""
    told = _plain(score, value)
    return told if score["metric"] in AMOUNTS else f"{told} in 100"


def _luck(score: Scores, nothing: str) -> str:
    value = _plain(score, score["controls"][nothing]["value"])
    if score["task"] == "retrieval":
        return f"Luck finds it {value}."
    name = _NOTHING[nothing]
    return f"{name[0].upper()}{name[1:]}: {value}."


def _by_nats(surprise: Scores) -> str:
    """How the nats stand to the strongest control that they do not beat, or to the strongest."""
    name = _unbeaten(surprise)
    if name is None:
        name, how = idle(surprise), "better than"
    else:
        apart = surprise["controls"][name].get("difference_interval") or [
            bound - surprise["controls"][name]["value"]
            for bound in surprise["interval"] or [surprise["value"]]
        ]
        how = "worse than" if min(apart) > 0 else "no better than"
    assert name is not None, "asked only where something knows nothing"
    against = surprise["controls"][name]["value"]
    return f"by nats it is {how} {_NOTHING[name]}: {decimal(surprise['value'])} against " + decimal(
        against
    )


def _also(score: Scores, scores: list[dict[str, Any]], beside: bool) -> str:
    """Another direction in one sentence; whether it has skill is said where it is another answer
    than that of the title."""
    told = f"{_sentence(score)} {_amount(score, score['value'])}"
    counted, surprise = skilled(score), _surprise(score, scores)
    sure = surprise is None or skilled(surprise)
    if counted and surprise is not None and not sure:
        told += f", but {_by_nats(surprise)}"
    elif (counted and sure) != beside:
        told += ", which is no better than luck" if beside else ", which is beyond luck"
    return told + "."


def _further(score: Scores, scores: list[dict[str, Any]]) -> str:
    """Another task in one short sentence, beside the strongest that knows nothing of a record."""
    told = f"{_sentence(score)} {_amount(score, score['value'])}"
    unbeaten, nothing, surprise = _unbeaten(score), idle(score), _surprise(score, scores)

    if unbeaten is not None:
        value = _plain(score, score["controls"][unbeaten]["value"])
        return f"{told}, no better than {_NOTHING[unbeaten]} ({value})."
    if nothing is not None:
        told += f" ({_NOTHING[nothing]}: {_plain(score, score['controls'][nothing]['value'])})"
    if surprise is not None and not skilled(surprise):
        return f"{told}, but {_by_nats(surprise)}."
    return told + ("; no use of pictures is shown." if _pictures(score) else ".")


def _where(protocol: Scores) -> str:
    n, split = f"{protocol['records']:,} records", protocol["split"]
    if split == "test":
        return f"{n} of the test split, kept from training and from choosing."
    return (
        f"{n} of the {split} split, which also chose the step: expect less on new data. "
        "The test split is not scored yet."
    )


def _held(score: Scores, nothing: str) -> list[str]:
    """Why there is no skill: where the interval, or that of the difference, lies."""
    luck, own = score["controls"][nothing], score["interval"]
    apart = luck.get("difference_interval")
    if apart is not None:
        told = " to ".join(_difference(score, bound) for bound in apart)
        return [f"The 95 % interval of the paired difference from it is {told}."]
    if own is None:
        return []
    low, high = own
    reaches = low <= luck["value"] if lower(score) else high >= luck["value"]
    holds = "holds what luck gives" if reaches else f"lies {_side(score)} what luck gives"
    bounds = f"{figure(score['metric'], low)} to {figure(score['metric'], high)}"
    return [f"The 95 % interval, {bounds}, {holds} ({figure(score['metric'], luck['value'])})."]


def _side(score: Scores) -> str:
    return "above" if lower(score) else "below"


def _pictures(score: Scores) -> list[str]:
    """Whether what it sees beside the words is used at all."""
    shuffled = score["controls"].get("partner_shuffled", {})
    apart = shuffled.get("difference_interval")
    if score["task"] in ("retrieval", "matching") or apart is None:
        return []
    used = apart[1] < 0 if lower(score) else apart[0] > 0
    if used:
        return []
    against = (
        f"{figure(score['metric'], score['value'])} against "
        f"{figure(score['metric'], shuffled['value'])}; "
        f"{_difference(score, apart[0])} to {_difference(score, apart[1])}{_unit(score)}"
    )
    what = direction_words(score["direction"], score["protocol"])
    doing = {
        "prediction": f"in guessing {what}",
        "classification": f"in naming the {what}",
        "captioning": "in writing captions",
    }.get(score["task"], f"in its loss ({what})")
    return [
        f"No use of pictures is shown {doing}: with another record's it does as well ({against})."
    ]


def _against(score: Scores) -> list[str]:
    """The strongest control if it is beaten; every one that is not; those that are missing.

    By the paired interval of the difference where it was computed, else by the two intervals.
    """
    metric, value, interval = score["metric"], score["value"], score["interval"]
    sign = -1 if lower(score) else 1
    measured = [
        (_in_sentence(name), given["value"], given["interval"], given.get("difference_interval"))
        for name, given in score["controls"].items()
        if given.get("value") is not None
        and isinstance(given.get("interval"), list | tuple)
        # What is said of pictures anyway is not said twice.
        and not (name == "partner_shuffled" and _pictures(score))
    ]
    lines, level, paired = [], [], False
    for at, (told, other, (low, high), apart_by) in enumerate(
        sorted(measured, key=lambda m: -sign * m[1])
    ):
        against = f"{figure(metric, value)} against {figure(metric, other)}"
        if apart_by is not None:
            least, most = apart_by
            overlaps = least <= 0 <= most
            worse = sign * most < 0 if sign > 0 else least > 0
            how = (
                "95 % interval of the paired difference "
                f"{_difference(score, least)} to {_difference(score, most)}"
            )
        else:
            overlaps = interval[0] <= high and low <= interval[1]
            worse = sign * other > sign * value
            how = "the 95 % intervals lie apart"
        if overlaps:
            paired = paired or apart_by is not None
            level.append(
                f"{told}, {figure(metric, low)} to {figure(metric, high)}"
                if apart_by is None
                else f"{told} ({against}; {_difference(score, apart_by[0])} to "
                f"{_difference(score, apart_by[1])}{_unit(score)})"
            )
        elif worse:
            lines.append(f"It does worse than {told}: {against}; {how}.")
        elif at == 0:
            gain = _difference(score, abs(value - other))
            lines.append(f"It beats {told} by {gain}{_unit(score)} ({against}; {how}).")
    if level and paired:
        lines.append(f"These records do not tell it apart from {'; nor from '.join(level)}.")
    elif level:
        of, apart = ("that", "the two") if len(level) == 1 else ("those", "them")
        lines.append(
            f"Its interval, {figure(metric, interval[0])} to {figure(metric, interval[1])}, "
            f"overlaps {of} of {'; of '.join(level)}: these records do not tell {apart} apart."
        )
    for name, given in score["controls"].items():
        if given.get("value") is None:
            said = (
                f"{_in_sentence(name)} was not measured: {given.get('reason', 'no reason given')}"
            )
            lines.append(said[0].upper() + said[1:] + ".")
    return lines


def _difference(score: Scores, difference: float) -> str:
    """A difference of shares in points, of amounts as it is."""
    return decimal(difference) if score["metric"] in AMOUNTS else decimal(100 * difference, 1)


def _unit(score: Scores) -> str:
    if score["metric"] not in AMOUNTS:
        return " points"
    return " nats" if "nats" in score["metric"] else ""


def _in_sentence(control: str) -> str:
    """A control's label without a comma that would break a sentence: `ConSE (nothing trained)`."""
    if control in _NOTHING and control != "chance":
        return _NOTHING[control]
    if control.startswith(ZERO_SHOT):
        return control
    name, comma, rest = label(control).partition(", ")
    return f"{name} ({rest})" if comma else name
