"""The verdict on two arms: better, worse, no difference larger than d, or cannot tell.

Exactly one of them, by rules that are fixed before the runs:

1. Neither arm, nor the positive control where there is one, is beyond the floor by its interval:
   *cannot tell: no arm learned*. A setting in which nothing is learned says nothing of arms.
2. The interval of level 1 − 2 alpha lies within ± margin: *no difference larger than d*, also
   where it excludes 0. The margin says, in advance, what does not matter.
3. The p value, after Holm over the family, is below alpha: *better* or *worse*.
4. Else *cannot tell: would need n seeds*.

Shares that differ by the same on every one of N items have an interval of no length; to them the
rule of three is applied (at 95 %, fewer than 3/N of other items differ), so that twenty items on
which all agree show no equality.

Holm adjusts the tests of a difference. The tests of equality are each at level alpha.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sensorium import draws
from sensorium.comparison import statistics
from sensorium.comparison.statistics import Difference, Spread, Values
from sensorium.comparison.threshold import Reached, SamplesDifference, log2_samples

Kind = Literal["better", "worse", "equal", "unknown"]
Kept = Literal["kept", "less than predicted", "more than predicted", "missed"]
Limits = tuple[float | None, float | None]

# unit -> (factor, decimals, word) as printed
UNITS = {
    "share": (100.0, 1, "points"),
    "nats": (1.0, 3, "nats"),
    "log2 samples": (1.0, 2, "doublings of samples"),
}


@dataclass(frozen=True)
class Question:
    """What the plan fixed about one pair of arms. Differences are `name` minus `against`.

    Numbers are in the outcome's unit, so 1.5 points of a share are .015.

    Args:
        name, against: the arms. outcome: as the plan writes it.
        margin: differences below it do not matter; above 0.
        unit: a key of `UNITS`. higher: whether larger is better.
        floor: the outcome with no skill, of the world or by chance; None: there is none.
        prediction: (low, high) of the difference. assumed: spread thought of before running.
    """

    name: str
    against: str
    outcome: str
    margin: float
    unit: str = "share"
    higher: bool = True
    alpha: float = 0.05
    floor: float | None = None
    prediction: tuple[float, float] | None = None
    assumed: Spread | None = None

    def __post_init__(self) -> None:
        assert self.margin > 0, "a margin of 0 can never be shown"
        assert self.unit in UNITS, self.unit
        assert 0 < self.alpha < 0.5, self.alpha


@dataclass(frozen=True)
class Arm:
    """One arm by itself: its mean and interval; of samples: runs that reached the threshold."""

    name: str
    mean: float | None
    interval: Limits
    reached: int | None = None


@dataclass(frozen=True)
class Evidence:
    """What was found about one question, before the family is known."""

    question: Question
    found: Difference | SamplesDifference
    arms: tuple[Arm, Arm]
    learned: bool


@dataclass(frozen=True)
class Verdict:
    """The answer to one question; numbers in the outcome's unit, None where open or not known.

    difference: the mean, or its bound where `flag` says so ("at least", "at most"; "between"
    and "none" have none). interval: of level `level`. interval_equal: of level 1 − 2 alpha, which
    shows equality where it lies within ± margin. each: (low, high) of every seed's difference.
    detectable_before, detectable_after: the smallest difference found with 80 % power, by the
    assumed and by the observed spread. needed_seeds: see `statistics.needed_seeds`; where this
    many have run already (20 % of such designs end undecided) the number that a higher chance
    takes. prediction: None where none was made, or nothing was learned.
    """

    kind: Kind
    words: str
    sentence: str
    name: str
    against: str
    outcome: str
    unit: str
    difference: float | None
    flag: str
    interval: Limits
    interval_equal: Limits
    level: float
    p: float
    p_equal: float
    p_holm: float
    family: int
    margin: float
    detectable_before: float | None
    detectable_after: float | None
    seeds: int
    items: int
    needed_seeds: int | None
    prediction: Kept | None
    each: tuple[Limits, ...]
    percentiles: Limits | None
    arms: tuple[Arm, Arm]

    def to_json(self) -> dict[str, Any]:
        """As plain dicts, lists, numbers, words and None."""
        return _plain(dataclasses.asdict(self))


def weigh(
    question: Question,
    first: Values,
    second: Values,
    key: tuple[draws.Key, ...] = (),
    control: Values | None = None,
) -> Evidence:
    """Evidence from outcomes.

    Args:
        first, second: of `name` and `against`, [seeds, items]; see `statistics.difference`.
        key: of the draws for percentiles; empty: none.
        control: of a positive control, [seeds, items]: an arm known to learn this where it can be.

    Raises:
        DataError: fewer than two seeds, shapes that differ, outcomes that are not finite.
    """
    level = 1 - question.alpha
    alone = [statistics.difference(values) for values in (first, second)]
    able = [*alone, *([] if control is None else [statistics.difference(control)])]
    arms = [
        Arm(name, one.mean, one.interval(level))
        for name, one in zip((question.name, question.against), alone, strict=True)
    ]
    return Evidence(
        question,
        statistics.difference(first, second, key),
        (arms[0], arms[1]),
        any(_beyond(one.interval(level), question) for one in able),
    )


def weigh_samples(
    question: Question,
    first: Sequence[Reached],
    second: Sequence[Reached],
    control: Sequence[Reached] = (),
) -> Evidence:
    """Evidence from samples to a threshold, one run a seed; fewer is better.

    Where no run of an arm or of the control reached the threshold, no arm learned.

    Raises:
        DataError: fewer than two seeds, or not as many of one as of the other.
    """
    assert question.unit == "log2 samples", question.unit
    assert not question.higher, "fewer samples are better"
    counts = [sum(math.isfinite(x.high) for x in runs) for runs in (first, second, control)]
    arms = [
        Arm(name, None, (None, None), count)
        for name, count in zip((question.name, question.against), counts, strict=False)
    ]
    return Evidence(question, log2_samples(first, second), (arms[0], arms[1]), any(counts))


def judge(family: Sequence[Evidence]) -> list[Verdict]:
    """The verdicts on all comparisons of a family; one alone is a family of one."""
    values = [evidence.found.p() for evidence in family]
    return [
        _verdict(evidence, p, adjusted, len(family))
        for evidence, p, adjusted in zip(family, values, statistics.holm(values), strict=True)
    ]


def _verdict(evidence: Evidence, p: float, p_holm: float, family: int) -> Verdict:
    question, found = evidence.question, evidence.found
    level = 1 - question.alpha
    interval, narrow = found.interval(level), found.interval(1 - 2 * question.alpha)
    value = found if isinstance(found, Difference) else found.value
    middle, flag, each = _measured(found)
    p_equal = found.p_equal(question.margin)
    kind: Kind = "unknown"
    needed = None
    doubt = _doubt(question, found)
    if not evidence.learned:
        words = "cannot tell: no arm learned"
    elif p_equal < question.alpha and (not doubt or abs(middle) + doubt < question.margin):
        kind, words = "equal", f"no difference larger than {_number(question.margin, question)}"
    elif p_holm < question.alpha and (not doubt or abs(middle) > doubt):
        kind = "better" if (_direction(found) > 0) == question.higher else "worse"
        words = kind
    elif value is None:
        words = "cannot tell: would need a larger budget"
    else:
        needed = None if doubt else _needed(question, value, family)
        words = (
            f"cannot tell: would need {needed} seeds"
            if needed
            else f"cannot tell: would need more items than {value.spread.items:,}, "
            "however many seeds"
        )
    kept = None
    if question.prediction and evidence.learned and flag != "none":
        kept = compared(question.prediction, interval, middle)
    return Verdict(
        kind=kind,
        words=words,
        sentence=_sentence(evidence, words, kind, narrow if kind == "equal" else interval),
        name=question.name,
        against=question.against,
        outcome=question.outcome,
        unit=question.unit,
        difference=None if flag in ("between", "none") else middle,
        flag=flag,
        interval=_limits(interval),
        interval_equal=_limits(narrow),
        level=level,
        p=p,
        p_equal=p_equal,
        p_holm=p_holm,
        family=family,
        margin=question.margin,
        detectable_before=(
            statistics.smallest_detectable(question.assumed, question.alpha)
            if question.assumed
            else None
        ),
        detectable_after=(
            statistics.smallest_detectable(value.spread, question.alpha) if value else None
        ),
        seeds=len(each),
        items=found.spread.items if isinstance(found, Difference) else 1,
        needed_seeds=needed,
        prediction=kept,
        each=tuple(_limits(x) for x in each),
        percentiles=found.percentiles if isinstance(found, Difference) else None,
        arms=evidence.arms,
    )


def compared(prediction: tuple[float, float], interval: tuple[float, float], middle: float) -> Kept:
    """How a prediction did.

    `kept`: the interval overlaps the predicted one, and the difference has its sign (a prediction
    that spans 0 has none). `missed`: the interval lies on the other side of 0, or the prediction
    spans 0 and does not overlap. Else `less than predicted` or `more than predicted`, in size. A
    wide interval keeps much: read it beside the verdict.
    """
    least, most = prediction
    low, high = interval
    if most <= 0 and least < 0:  # the same question, seen in a mirror
        least, most, low, high, middle = -most, -least, -high, -low, -middle
    signed = least >= 0
    overlaps = low <= most and high >= least
    if overlaps and (not signed or middle > 0 or least <= middle <= most):
        return "kept"
    if not signed or high < 0:
        return "missed"
    return "more than predicted" if low > most else "less than predicted"


def _doubt(question: Question, found: Difference | SamplesDifference) -> float:
    """By the rule of three: how far shares may be off where all items differ alike; else 0."""
    if question.unit != "share" or not isinstance(found, Difference) or found.error:
        return 0.0
    return 3 / found.spread.items


def _needed(question: Question, value: Difference, family: int) -> int | None:
    for wanted in (0.8, 0.9, 0.95, 0.99):
        needed = statistics.needed_seeds(
            question.margin, value.spread, question.alpha / family, wanted, question.alpha
        )
        if needed is None or needed > value.spread.seeds:
            return needed
    return value.spread.seeds + 1


def _beyond(interval: tuple[float, float], question: Question) -> bool:
    if question.floor is None:
        return True
    return interval[0] > question.floor if question.higher else interval[1] < question.floor


def _direction(found: Difference | SamplesDifference) -> int:
    """The sign of a difference that is there."""
    if isinstance(found, Difference):
        return 1 if found.mean > 0 else -1
    low, high = found.bounds
    if found.flag == "none":
        return 1 if found.more > found.fewer else -1
    if found.flag in ("value", "between"):
        return 1 if low + high > 0 else -1
    return 1 if found.flag == "at least" else -1


def _measured(
    found: Difference | SamplesDifference,
) -> tuple[float, str, list[tuple[float, float]]]:
    """The middle (or the one bound, or 0), what it is, and every seed's limits."""
    if isinstance(found, Difference):
        return found.mean, "value", [(x, x) for x in found.each]
    ends = [x for x in found.bounds if math.isfinite(x)]
    each = list(zip(found.lows, found.highs, strict=True))
    return (sum(ends) / len(ends) if ends else 0.0), found.flag, each


def _number(value: float, question: Question, unit: bool = True) -> str:
    factor, decimals, word = UNITS[question.unit]
    text = f"{factor * value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−") + (f" {word}" if unit else "")


def _span(interval: tuple[float, float], question: Question) -> str:
    low, high = interval
    if math.isfinite(low) and math.isfinite(high):
        return f"{_number(low, question, False)} to {_number(high, question, False)}"
    if math.isfinite(low):
        return f"above {_number(low, question, False)}"
    return f"below {_number(high, question, False)}" if math.isfinite(high) else "open"


def _sentence(evidence: Evidence, words: str, kind: Kind, interval: tuple[float, float]) -> str:
    question, found = evidence.question, evidence.found
    middle, flag, each = _measured(found)
    facts = []
    if not evidence.learned:
        told = [_number(x.mean, question, False) for x in evidence.arms if x.mean is not None]
        facts.append(" and ".join(told) or "no run reached the threshold")
        if told and question.floor is not None:
            facts.append(f"no skill {_number(question.floor, question)}")
    elif flag == "none":
        facts.append(f"fewer samples in {found.fewer}, more in {found.more}")  # type: ignore[union-attr]
    else:
        said = {"value": "", "between": "about "}.get(flag, f"{flag} ")
        facts.append(f"difference {said}{_number(middle, question)}")
    if evidence.learned and flag != "none":
        percent = 100 * (1 - (2 if kind == "equal" else 1) * question.alpha)
        facts.append(f"{percent:.4g} % interval {_span(interval, question)}")
    facts.append(f"{len(each)} seeds")
    pair = f"{question.name} against {question.against}, {question.outcome}"
    return f"{pair}: {words} ({', '.join(facts)})."


def _limits(interval: tuple[float, float]) -> Limits:
    low, high = (x if math.isfinite(x) else None for x in interval)
    return low, high


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(x) for name, x in value.items()}
    return [_plain(x) for x in value] if isinstance(value, list | tuple) else value
