"""What is said of a comparison: numbers with their unit, the verdict, the cost, the silence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sensorium.comparison import measure
from sensorium.comparison.findings import Findings
from sensorium.comparison.plan import Plan, World
from sensorium.comparison.verdict import UNITS
from sensorium.report.words import decimal, duration, share

Limits = Sequence[float | None]

COSTS = ("samples", "tokens", "flops", "steps", "parameters", "seconds")
NAMED = {"flops": "FLOPs"}  # units that are not written as they are called in files
_FAR, _NOISE = 0.02, 0.1  # costs that differ by less are told as equal; seconds are a measurement
_LONGEST = 48  # letters of an arm's name in a sentence
_LARGE = ((1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"))

# --- numbers -----------------------------------------------------------------------------------


def number(value: float, unit: str, sign: bool = False) -> str:
    """A difference as printed, without its unit: `−0.2`, `+46.1`; a zero has no sign."""
    factor, places, _ = UNITS[unit]
    text = decimal(factor * value, places)
    if float(text.replace("−", "-").replace(",", "")) == 0:
        return text.lstrip("−")
    return f"+{text}" if sign and value > 0 else text


def amount(value: float, unit: str) -> str:
    """A difference with its unit: `1.5 points`."""
    return f"{number(value, unit)} {UNITS[unit][2]}"


def span(limits: Limits, unit: str) -> str:
    """An interval of a difference; an end that is open is said so."""
    low, high = (None if x is None else number(x, unit, True) for x in limits)
    if low is None and high is None:
        return "open"
    if low is None:
        return f"below {high}"
    return f"above {low}" if high is None else f"{low} to {high}"


def level(value: float, unit: str) -> str:
    """An outcome of an arm: a share, or nats with two places."""
    return share(value) if unit == "share" else decimal(value)


def short(value: float) -> str:
    """A large amount in few letters: `1,280`, `29.3 k`, `42.2 G`."""
    for size, letter in _LARGE:
        if value >= max(size, 1e4):  # four digits are short enough
            return f"{value / size:.3g}{letter}"
    return f"{value:,.4g}"


# --- the verdict -------------------------------------------------------------------------------


def difference(verdict: dict[str, Any], sign: bool = True) -> str:
    """The difference, or its bound: `+46.1`, `at least +1.00`; a dash where it is not known."""
    if verdict["difference"] is None:
        return "–"
    text = number(verdict["difference"], verdict["unit"], sign)
    return text if verdict["flag"] in ("value", "") else f"{verdict['flag']} {text}"


def bounded(limits: Limits, unit: str) -> str:
    """What is known of one seed's difference: `+21.5`, `≥ +1.25`, `≈ +0.20`, or a dash."""
    low, high = limits
    if low is not None and high is not None:
        return ("" if low == high else "≈ ") + number((low + high) / 2, unit, True)
    if low is not None:
        return f"≥ {number(low, unit, True)}"
    return "–" if high is None else f"≤ {number(high, unit, True)}"


def signed(verdict: dict[str, Any]) -> str:
    """As `difference`, in few letters: `≥ +1.34`."""
    told = difference(verdict)
    for word, mark in (("at least", "≥"), ("at most", "≤")):
        told = told.replace(word, mark)
    return told


def headline(verdict: dict[str, Any]) -> str:
    """The verdict as a card says it: `Better by 46.1 points.`"""
    words = verdict["words"]
    if verdict["kind"] in ("better", "worse") and verdict["difference"] is not None:
        at_least = "at least " if verdict["flag"] in ("at least", "at most") else ""
        words += f" by {at_least}{amount(abs(verdict['difference']), verdict['unit'])}"
    return f"{words[:1].upper()}{words[1:]}."


def title(verdicts: Sequence[dict[str, Any]]) -> str:
    """The verdicts as one sentence; names that are very long are cut, tables have them whole."""
    parts = []
    for verdict in verdicts:
        told = headline(verdict)[:-1]
        name, against = (_cut(verdict[key]) for key in ("name", "against"))
        if verdict["kind"] in ("better", "worse"):
            by = told.partition(" by ")[2]
            parts.append(
                f"{name} is {verdict['words']} than {against}" + (f", by {by}" if by else "")
            )
        else:
            parts.append(f"{name} against {against}: {told[:1].lower()}{told[1:]}")
    return "; ".join(parts) + "."


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1].rstrip() + "…"


def kept(verdict: dict[str, Any], plan: Plan) -> str | None:
    """How the prediction did, or None where none was made."""
    if plan.prediction is None:
        return None
    limits = (plan.prediction.low, plan.prediction.high)
    did = verdict["prediction"] or "not tested, because nothing was learned"
    return f"Predicted {span(limits, verdict['unit'])}: {did}."


def detectable(verdict: dict[str, Any]) -> str | None:
    """The smallest difference that the design finds, by the spread that was observed."""
    size = verdict["detectable_after"]
    if size is None:
        return None
    return f"This design finds {amount(size, verdict['unit'])} in 8 of 10 trials."


def ends(verdict: dict[str, Any], plan: Plan) -> tuple[str, str]:
    """The arm that is better at the low, and at the high end of the difference's axis."""
    higher = plan.at == "budget" and plan.measure.better == "higher"
    low, high = str(verdict["against"]), str(verdict["name"])
    return (low, high) if higher else (high, low)


# --- the plan ----------------------------------------------------------------------------------


def outcome(text: str) -> str:
    """An outcome in words."""
    asked = measure.read(text)
    told = {
        "choice": f"forced choice against {asked.name}",
        "accuracy": f"accuracy on {asked.name}",
        "retrieval": f"{asked.source} to {asked.sought}, recall@{asked.first}"
        + (f" of {asked.name}" if asked.name else ""),
        "probe": f"linear probe of {asked.name}",
        "loss": f"{asked.name} loss",
    }[asked.kind].replace("_", " ")
    return told + (f", without {' and '.join(sorted(asked.absent))}" if asked.absent else "")


def judged(plan: Plan) -> str:
    """What differences are of."""
    if plan.at == "threshold" and plan.threshold is not None:
        reach = level(plan.threshold, plan.measure.unit)
        return f"log2 of samples until {outcome(plan.outcome)} is {reach}"
    return outcome(plan.outcome)


def data(plan: Plan) -> str:
    """What the data are."""
    if isinstance(plan.data, World):
        return f"world {plan.data.world}, {plan.data.scenes:,} scenes"
    return Path(plan.data).name


def seeds(plan: Plan, verdict: dict[str, Any] | None = None) -> str:
    """How many seeds, as a sentence begins."""
    count = len(plan.seeds) if verdict is None else verdict["seeds"]
    return f"{count} paired seeds"


def equal(plan: Plan) -> str:
    """In what the arms are held equal."""
    also = " and equal parameters" if plan.equal_parameters else ""
    return f"{plan.budget} each{also}"


def axis(plan: Plan) -> str:
    """What is varied, of what."""
    return plan.axis if plan.axis == "recipe" else f"{plan.axis} of {plan.recipe}"


# --- cost --------------------------------------------------------------------------------------


def ratios(found: Findings) -> dict[str, dict[str, float | None]]:
    """arm -> unit -> how many times what the first arm takes; None where it was not measured."""
    costs = found.costs
    first = costs[found.plan.names[0]]
    return {
        arm: {
            unit: costs[arm][unit] / first[unit] if first.get(unit) and unit in costs[arm] else None
            for unit in COSTS
        }
        for arm in found.plan.names
    }


def unit_named(unit: str) -> str:
    """A unit of cost as people write it."""
    return NAMED.get(unit, unit)


def cost(found: Findings, arm: str, called: Callable[[str], str] = str) -> str:
    """What an arm takes beside the first, in the units that differ.

    Args:
        called: how a name is written where there is little room.
    """
    told = [
        (f"{ratio:.2f}", unit_named(unit))
        for unit, ratio in ratios(found)[arm].items()
        if ratio is not None and abs(ratio - 1) >= (_NOISE if unit == "seconds" else _FAR)
    ]
    if not told:
        return f"{called(arm)} costs what {called(found.plan.names[0])} costs, within 2 %"
    first, *others = told
    rest = [f"{ratio} the {unit}" for ratio, unit in others]
    return ", ".join([f"{called(arm)} takes {first[0]} times the {first[1]}", *rest])


def estimate(seconds: float, workers: int) -> str:
    """A forecast of the time, in words."""
    where = "one process" if workers == 1 else f"{workers} processes"
    return f"about {duration(seconds)} of training on {where}; measuring comes on top"


# --- what is left out --------------------------------------------------------------------------


def unsaid(found: Findings) -> list[str]:
    """What a comparison does not say, each a sentence."""
    plan, told = found.plan, []
    told.append(f"Anything about other sizes than {plan.size}.")
    told.append(
        f"Anything about other data than {data(plan)}, or other budgets than {plan.budget}."
    )
    count = len(plan.seeds)
    told.append(
        f"How other draws of the start would do, beyond what {count} seeds tell; the interval "
        "holds for seeds and records drawn like these."
    )
    sizes = [arm["parameters"] or 1.0 for arm in ratios(found).values()]
    if max(sizes) > (1 + _FAR) * min(sizes):
        told.append("Which arm is better with equally many parameters: they have not.")
    if plan.sweep is None:
        told.append("How the arms do when each is tuned: no rate was; all ran with the recipe's.")
    else:
        told.append("How the arms do at rates outside of the small sweep, which was equal for all.")
    if not plan.controls:
        told.append("What is learned at all by a control's measure: no control was run.")
    if any(verdict["kind"] == "unknown" for verdict in found.verdicts):
        told.append("That there is no difference: not to find one is not to show that none is.")
    told.append("Whether a paper's result holds: its model was larger and its data were others.")
    return told
