"""The plan of a comparison: a question, one axis, its arms, and how the answer will be judged.

It is complete and hashed before the first run; the result names the hash. Reading one loads no
torch: whatever can be refused is refused at once, see `refusals`.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sensorium.comparison import arms, measure, refusals
from sensorium.comparison.measure import Measure
from sensorium.errors import PlanError, clip
from sensorium.recipe import Size, explained
from sensorium.recipe_yaml import plain, problem, read_yaml, safe_yaml

ANALYSIS = 1  # version of how results are judged; a change of it changes every plan's hash
LOOKS = 20  # times that a run is measured, evenly spaced, the last at its end
UNITS = ("samples", "tokens", "flops", "steps", "seconds")
Unit = Literal["samples", "tokens", "flops", "steps", "seconds"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=False)


class World(_Strict):
    """Data that the composed world makes for the comparison."""

    world: str = Field(description="a setting of the world, or the path of one")
    scenes: int = Field(ge=100, description="of the training split")
    seed: int = Field(0, ge=0)
    set: dict[str, Any] = Field(default_factory=dict, description="what differs from the setting")


class Budget(_Strict):
    """How long each run trains: an amount of one unit, the same for every arm."""

    amount: float = Field(gt=0, lt=1e24, allow_inf_nan=False)
    unit: Unit

    def __str__(self) -> str:
        return f"{self.amount:,.12g} {self.unit}"


class Prediction(_Strict):
    """What is expected before any run: the last arm minus the first, in the outcome's unit."""

    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    why: str = ""


class Sweep(_Strict):
    """Tried for every arm alike, chosen on validation; what is left out stays as the recipe has."""

    learning_rate: tuple[float, ...] = ()
    weight_decay: tuple[float, ...] = ()


class Plan(_Strict):
    """A comparison, complete. Seeds are paired: every arm runs with every one of them.

    Differences, margin and prediction are in the outcome's unit (`Measure.unit`), or in log2 of
    samples where `at` is `threshold`.
    """

    question: str = Field(min_length=1)
    data: str | World
    fields: dict[str, str] | None = Field(None, description="field -> modality; none: inferred")
    recipe: str = Field(description="a name on the shelf, or a YAML file")
    size: Size = "micro"
    set: dict[str, Any] = Field(
        default_factory=dict, description="path -> value, changed in all arms alike"
    )
    axis: str = Field(description="path of the recipe under which alone arms differ")
    arms: dict[str, Any] = Field(description="name -> value of the axis, or paths under it")
    seeds: tuple[int, ...]
    budget: Budget
    looks: int = Field(LOOKS, ge=1, le=1000, description="times that a run is measured")
    equal_parameters: str | None = Field(
        None, description="option that is scaled until all arms train equally many parameters"
    )
    outcome: str = Field(description="what is measured; see `measure`")
    also: tuple[str, ...] = Field(
        (), description="further outcomes, told beside the first with their intervals, not judged"
    )
    at: Literal["budget", "threshold"] = Field(
        "budget", description="judged: the outcome at the end, or log2 of samples to the threshold"
    )
    threshold: float | None = Field(
        None, description="outcome whose first reach is counted in samples; censored at the end"
    )
    margin: float = Field(0.02, description="differences below it do not matter")
    prediction: Prediction | None = None
    sweep: Sweep | None = None
    controls: tuple[str, ...] = Field(
        (), description="run beside the arms; see `refusals.CONTROLS`"
    )
    family: str | None = Field(None, description="plans of one family share one error rate (Holm)")
    alpha: float = Field(0.05, gt=0, lt=0.5, description="rate of false alarms")
    pinned: dict[str, str] = Field(
        default_factory=dict, description="arm -> hash of its complete recipe; written by us"
    )

    @property
    def measure(self) -> Measure:
        """The outcome, read."""
        return measure.read(self.outcome)

    @property
    def names(self) -> list[str]:
        """The arms, in the plan's order; the first is what the others are compared with."""
        return list(self.arms)

    @property
    def hash(self) -> str:
        """SHA-256, hexadecimal, of the plan and of the version of the analysis.

        What equals its default is left out, so that a later field changes no earlier hash. The
        arms' recipes enter by `pinned`, so a plan over a changed recipe is another plan.
        """
        content = {
            "analysis": ANALYSIS,
            "plan": self.model_dump(mode="json", exclude_defaults=True),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load(file: str | Path) -> Plan:
    """A plan from a YAML file, refused at once where it cannot give an answer.

    Raises:
        PlanError, RecipeError, DataError: what is wrong, with the line where it is written.
    """
    place = Path(file)
    return checked(read_yaml(place, "plan"), place)


def from_command(
    data: str,
    vary: str,
    recipe: str,
    size: str = "micro",
    seeds: int | list[int] = 5,
    budget: str = "30k-samples",
    overrides: list[str] | None = None,
    **others: Any,
) -> Plan:
    """A plan from the command line.

    Args:
        data: a data set's name or a path.
        vary: `fusion=merge_attention,co_attention`; values are YAML, a comma inside brackets does
            not divide, and the name of a member of the axis's shelf stands for `{use: NAME}`.
        recipe, size: as of `pretrain`.
        seeds: the seeds, or how many: 5 means 0, 1, 2, 3, 4.
        budget: `30k-samples`, `2m-tokens`, `3e12-flops`, `300-steps` or `90s`.
        overrides: `optimiser.batch=64`, changed in all arms alike.
        others: further fields of `Plan`; None leaves the default. The question and the outcome
            are worded from the axis and the recipe where they are not given.

    Raises:
        PlanError, RecipeError, DataError: as `load`.
    """
    axis, sign, written = vary.partition("=")
    axis = axis.strip()
    if not sign or not axis or not written.strip():
        raise PlanError(field="vary", expected="AXIS=ONE,OTHER", found=clip(vary))
    values = [_value(text, axis) for text in _divided(written)]
    content: dict[str, Any] = {
        "data": data,
        "recipe": recipe,
        "size": size,
        "axis": axis,
        "arms": _named(values, axis),
        "seeds": seeds,
        "budget": budget,
        "set": overrides or [],
        **{key: value for key, value in others.items() if value is not None},
    }
    content.setdefault("question", f"{axis}: {' or '.join(content['arms'])}?")
    if "outcome" not in content:
        content["outcome"] = arms.usual_outcome(recipe, size)
    return checked(content)


def checked(content: dict[str, Any], file: Path | None = None) -> Plan:
    """A typed plan from plain data, refused where it cannot give an answer, its recipes pinned.

    Raises:
        PlanError, RecipeError, DataError: what is wrong; with its line, if it is from a file.
    """
    content = dict(content)
    place = refusals.Place(file)
    if isinstance(content.get("data"), dict):
        content["data"] = _typed(World, content["data"], file, "data")
    if "budget" in content:
        content["budget"] = _budget(content["budget"], file)
    for key, kind in (("prediction", Prediction), ("sweep", Sweep)):
        if content.get(key) is not None:
            content[key] = _typed(kind, content[key], file, key)
    if isinstance(content.get("seeds"), int) and not isinstance(content["seeds"], bool):
        content["seeds"] = tuple(range(min(content["seeds"], 10_000)))
    if isinstance(content.get("set"), list):
        content["set"] = {
            path: _value(text, path) for path, text in map(place.change, content["set"])
        }
    plan = _typed(Plan, content, file)
    derived = refusals.refuse(plan, place)
    pinned = {arm.name: arm.recipe.hash for arm in derived}
    for name, known in plan.pinned.items():
        if pinned.get(name) != known:
            raise place.error(
                f"pinned.{name}",
                expected=f"the recipe that the plan was written with, {known[:12]}",
                found=f"another, {pinned.get(name, 'none')[:12]}",
            )
    return plan.model_copy(update={"pinned": pinned})


def _typed(kind: type[Any], content: Any, file: Path | None, prefix: str = "") -> Any:
    """The model from plain data.

    Raises:
        PlanError: pydantic's first complaint, in our words.
    """
    if not isinstance(content, dict):
        fields = ", ".join(kind.model_fields)
        raise PlanError(
            file=file, field=prefix, expected=f"a mapping of {fields}", found=clip(content)
        )
    try:
        return kind(**content)
    except ValidationError as error:
        raise explained(error, kind, file, prefix, PlanError) from None


_BUDGET = re.compile(
    r"\s*([\d.]+(?:e[+-]?\d+)?)\s*(k|m|g|t|p)?[\s-]*"
    r"(samples|tokens|flops|steps|s|sec|seconds|min|minutes|h|hours)\s*\Z",
    re.I,
)
_LARGE = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}
_SECONDS = {"s": 1, "sec": 1, "seconds": 1, "min": 60, "minutes": 60, "h": 3600, "hours": 3600}


def _budget(written: Any, file: Path | None) -> Budget:
    """`30k-samples`, `3e12-flops`, `2min`, or {amount: 30000, unit: samples}.

    Raises:
        PlanError: not of that form, or not positive.
    """
    if isinstance(written, Budget):
        return written
    if isinstance(written, dict):
        made: Budget = _typed(Budget, written, file, "budget")
        return made
    found = _BUDGET.match(str(written))
    try:
        amount = float(found[1]) if found else 0.0
    except ValueError:
        amount = 0.0
    if not found or not 0 < amount < 1e24:
        raise refusals.Place(file).error(
            "budget",
            expected="a positive amount of samples, tokens, flops, steps or seconds, such as "
            "30k-samples, 2m-tokens, 3e12-flops, 300-steps or 90s",
            found=clip(written),
        )
    unit = found[3].lower()
    amount *= _LARGE.get((found[2] or "").lower(), 1.0) * _SECONDS.get(unit, 1)
    return Budget(amount=amount, unit="seconds" if unit in _SECONDS else unit)  # type: ignore[arg-type]


def _divided(text: str) -> list[str]:
    """Split at commas that are in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _value(text: Any, path: str) -> Any:
    """A value written as YAML.

    Raises:
        PlanError: no YAML.
    """
    from ruamel.yaml.error import YAMLError

    try:
        return plain(safe_yaml().load(text), None, (path,))
    except (YAMLError, RecursionError) as error:
        raise PlanError(
            field=path, expected="a YAML value", found=f"{clip(text)}: {problem(error)}"
        ) from None


def _named(values: list[Any], axis: str) -> dict[str, Any]:
    """Arms called by their values.

    Raises:
        PlanError: two have the same name.
    """
    named: dict[str, Any] = {}
    for value in values:
        name = _word(value)
        if name in named:
            raise PlanError(field="arms", expected=f"{axis} in arms that differ",
                            found=f"{clip(name)} twice")  # fmt: skip
        named[name] = value
    return named


def _word(value: Any) -> str:
    """A short name of a value: of a member its own, of several all of theirs."""
    if isinstance(value, dict) and isinstance(value.get("use"), str):
        rest = [f"{key} {_word(item)}" for key, item in value.items() if key != "use"]
        return " ".join([value["use"], *rest])
    if isinstance(value, dict):
        return " ".join(f"{key} {_word(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " + ".join(map(_word, value))
    return "none" if value is None else str(value)
