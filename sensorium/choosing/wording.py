"""Words that the answers of a choice share, in the terminal and on the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sensorium.errors import command
from sensorium.report.words import in_hundred

SHUFFLED = "shuffled"
PARTNERS = "shuffled partners"  # as people read it


def modalities_of(subject: Mapping[str, Any]) -> list[str]:
    """Those that take part, in a fixed order."""
    kinds = dict.fromkeys(subject["fields"].values())
    return [x for x in ("image", "table", "text") if x in kinds]


def does(result: Mapping[str, Any]) -> str:
    """What a recipe is counted by, as a verb."""
    if result["subject"]["label"] is None:
        return "finds the right picture first"
    return f"tells {result['subject']['label']} right"


def called(name: str) -> str:
    """An arm as people read it."""
    return PARTNERS if name == SHUFFLED else name


def points(value: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def span(interval: Sequence[float]) -> str:
    """An interval of a difference, in points."""
    return f"95 % interval {points(interval[0])} to {points(interval[1])}"


def size(result: Mapping[str, Any]) -> str:
    """On how much it rests."""
    return f"{result['seeds']} seeds, {result['items']:,} test records"


def mean(result: Mapping[str, Any], name: str) -> float:
    """An arm's score on test."""
    return next(x["mean"] for x in result["scores"] if x["name"] == name)


def title(result: Mapping[str, Any]) -> str:
    """The recommendation, in words a stranger repeats; none where nothing was learned."""
    best, following, luck = result["best"], result["next"], in_hundred(result["luck"])
    score = in_hundred(mean(result, best))
    if not result["learned"]:
        return f"Cannot tell yet: {best} {does(result)} {score} times in 100, luck {luck}."
    told = f"Use {best}. It {does(result)} {score} times in 100"
    if following is not None:
        other = mean(result, following)
        # Chosen on validation: on test another may be level with it, or a little ahead.
        name = "the next best" if other < mean(result, best) else following
        told += f"; {name} {in_hundred(other)}"
    return f"{told}; luck {luck}."


def amount(verdict: Mapping[str, Any]) -> str:
    """The difference of a verdict with its interval."""
    return f"{points(verdict['difference'])} points ({span(verdict['interval'])})"


def compared(verdict: Mapping[str, Any]) -> str:
    """A verdict in a few words, with its difference."""
    return f"{verdict['words']}, {amount(verdict)}"


def give(result: Mapping[str, Any]) -> str:
    """How to give a label, with fields that would do."""
    fields = result["subject"]["could_be"]
    named = " or ".join(f"--label {name}" for name in fields) or "--label FIELD"
    return f"Give a field with classes: {named}."


def next_command(result: Mapping[str, Any], folder: object) -> str:
    """The next command: the recommended recipe, trained for as long as one likes; where none is
    recommended, the same question with four times the budget."""
    request, fields = result["request"], result["subject"]["fields"]
    if not result["learned"]:
        label = ("--label", request["label"]) if request["label"] else ()
        own = (x for name, kind in (request["fields"] or {}).items()
               for x in ("--field", f"{name}={kind}"))  # fmt: skip
        budget = f"{math.ceil(4 * request['budget'] / 60)}min"
        return command("choose", request["data"], "--budget", budget, *label, *own,
                       "--out", f"{folder}-longer")  # fmt: skip
    recipe = result["best"]
    if request["label"] is not None:
        recipe = f"{folder}/recipes/{result['recipe']}.yaml"
    told = [f"{name}={kind}" for name, kind in fields.items()]
    if request["fields"] is None and request["label"] is None:
        told = []
    return command("pretrain", request["data"], "--recipe", recipe, "--size", "micro",
                   *(word for field in told for word in ("--field", field)))  # fmt: skip
