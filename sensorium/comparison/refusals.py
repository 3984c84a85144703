"""What a plan is refused for, before anything runs and before torch loads: one sentence each."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium.comparison import arms, contents, measure
from sensorium.comparison.arms import Arm
from sensorium.comparison.contents import Contents
from sensorium.comparison.measure import Measure
from sensorium.errors import DataError, PlanError, RecipeError, clip, nearest
from sensorium.recipe import Recipe
from sensorium.recipe_yaml import line_of

if TYPE_CHECKING:
    from sensorium.comparison.plan import Plan

# Run beside the arms: partners dealt out anew; fusion in which modalities only add up; the model
# as it is drawn; and `only:MODALITY`, every other modality absent.
CONTROLS = ("shuffled", "additive", "untrained")


@dataclass(frozen=True)
class Place:
    """Where a plan is written: a file, or the command line (None)."""

    file: Path | None = None

    def error(self, path: str, what: str = "", **told: Any) -> PlanError:
        """A mistake in one field, with its line; where it is not written, that of its owner."""
        keys = [int(x) if x.isdigit() else x for x in path.split(".")]
        row = None
        while keys and row is None:
            row = line_of(self.file, tuple(keys))
            keys.pop()
        return PlanError(what, file=self.file and self.file.name, row=row, field=path, **told)

    def change(self, text: Any) -> tuple[str, str]:
        """`optimiser.batch=64` as path and value.

        Raises:
            PlanError: not of that form.
        """
        path, sign, value = str(text).partition("=")
        if not sign or not path.strip():
            raise self.error("set", expected="key.path=value", found=clip(text))
        return path.strip(), value


def refuse(plan: Plan, place: Place | None = None) -> list[Arm]:
    """Refuses a plan that cannot give an answer; gives its arms where it can.

    Raises:
        PlanError: the plan, with the line where it is written.
        DataError: the data: not there, unreadable, or without a modality that the recipe reads.
    """
    place = place or Place()
    _seeds(plan, place)
    if len(plan.arms) < 2:
        raise place.error("arms", expected="at least two arms",
                          found=f"{len(plan.arms)}: {', '.join(plan.arms) or 'none'}")  # fmt: skip
    try:
        asked = [measure.read(text) for text in (plan.outcome, *plan.also)]
        made = arms.derive(plan)
    except PlanError as error:
        if error.row is not None or error.field is None or place.file is None:
            raise
        what = error.what.partition(": ")[2]
        raise place.error(error.field, what, expected=error.expected, found=error.found,
                          nearest=error.nearest) from None  # fmt: skip
    for arm in made:
        for at, one in enumerate(asked):
            _outcome(one, arm, place, "also" if at else "outcome")
        _ends_early(arm, place)
        _scalable(plan, arm, place)
    _scale(plan, asked[0], place)
    _prediction(plan, asked[0], place)
    _sweep(plan, place)
    _controls(plan, made, place)
    _budget(plan, made, place)
    _data(plan, asked, made, place)
    return made


def _seeds(plan: Plan, place: Place) -> None:
    if len(plan.seeds) < 2:
        raise place.error("seeds", expected="at least two seeds: one tells no spread",
                          found=f"{len(plan.seeds)}")  # fmt: skip
    if twice := [seed for seed, times in Counter(plan.seeds).items() if times > 1]:
        raise place.error("seeds", expected="each seed once", found=f"{twice[0]} twice")
    if min(plan.seeds) < 0:
        raise place.error("seeds", expected="seeds of at least 0", found=str(min(plan.seeds)))


def _ends_early(arm: Arm, place: Place) -> None:
    if arm.recipe.patience is not None:
        raise place.error(f"arms.{arm.name}", "patience",
                          expected="none: every arm trains to the end of its budget",
                          found=str(arm.recipe.patience))  # fmt: skip


def _scalable(plan: Plan, arm: Arm, place: Place) -> None:
    """The option that makes sizes equal is a number of every arm."""
    path = plan.equal_parameters
    if path is None:
        return
    value = arms.reach(arms.complete(arm.recipe), path)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise place.error("equal_parameters", expected="the path of a number in every arm",
                          found=f"{path}, which is {clip(value)} in {arm.name}")  # fmt: skip


def _outcome(asked: Measure, arm: Arm, place: Place, field: str) -> None:
    """The arm's recipe has what the outcome is about."""
    recipe = arm.recipe
    uses = _objectives(recipe)
    valid: list[str] = []
    name, what = asked.name, ""
    if asked.kind == "loss":
        valid, what = uses, "an objective of every arm"
    elif asked.kind == "accuracy":
        valid, what = list(recipe.targets), "a target of every arm"
    elif asked.kind == "retrieval":
        valid, what = list(recipe.modalities), "a modality of every arm"
        name = next((x for x in (asked.source, asked.sought) if x not in valid), asked.source)
    for absent in asked.absent:
        if absent not in recipe.modalities:
            name, valid, what = absent, list(recipe.modalities), "a modality of every arm"
    if what and name not in valid:
        raise place.error(
            field,
            expected=f"{what}: {', '.join(valid) or 'but there is none'}",
            found=f"{clip(name)}, which {arm.name} lacks",
            nearest=nearest(str(name), valid),
        )


def _objectives(recipe: Recipe) -> list[str]:
    """The objectives' names, as a run calls them: a second of one kind is contrastive_1."""
    names: list[str] = []
    for at, item in enumerate(recipe.objectives):
        names.append(item["use"] if item["use"] not in names else f"{item['use']}_{at}")
    return names


def _scale(plan: Plan, asked: Measure, place: Place) -> None:
    """Margin and threshold lie on the outcome's scale."""
    log2 = plan.at == "threshold"
    wanted = "a positive difference" + (", in log2 of samples" if log2 else f" in {asked.unit}s")
    if not math.isfinite(plan.margin) or plan.margin <= 0:
        raise place.error("margin", expected=wanted, found=f"{plan.margin:g}")
    if not log2 and asked.unit == "share" and plan.margin >= 1:
        raise place.error("margin", expected="a share below 1: 0.02 is two points",
                          found=f"{plan.margin:g}")  # fmt: skip
    if plan.threshold is None:
        if log2:
            raise place.error("threshold", expected="a value of the outcome, for at is threshold",
                              found="none")  # fmt: skip
        return
    reach = plan.threshold
    if asked.unit == "nats":
        if not math.isfinite(reach) or reach <= 0:
            raise place.error("threshold", expected="a loss above 0, which none goes below",
                              found=f"{reach:g}, never reached")  # fmt: skip
        return
    if not reach <= 1:
        hint = ": 0.9 is 90 %" if reach <= 100 else ""
        raise place.error("threshold", expected=f"a share of at most 1{hint}",
                          found=f"{reach:g}, never reached")  # fmt: skip
    refuse_chance(plan, asked.chance or 0.0, place)


def refuse_chance(plan: Plan, chance: float, place: Place) -> None:
    """Refuses a threshold that no skill already reaches.

    Raises:
        PlanError: names the chance.
    """
    if plan.threshold is not None and plan.threshold <= chance:
        raise place.error(
            "threshold",
            expected=f"a share above chance, {chance:.3g}",
            found=f"{plan.threshold:g}, reached without learning",
        )


def _prediction(plan: Plan, asked: Measure, place: Place) -> None:
    told = plan.prediction
    if told is None:
        return
    if told.low > told.high:
        raise place.error("prediction", expected="low at most high",
                          found=f"low {told.low:g}, high {told.high:g}")  # fmt: skip
    far = max(abs(told.low), abs(told.high))
    if plan.at == "budget" and asked.unit == "share" and far > 1:
        raise place.error("prediction", expected="shares, -1 to 1: 0.5 is 50 points",
                          found=f"low {told.low:g}, high {told.high:g}")  # fmt: skip


def _sweep(plan: Plan, place: Place) -> None:
    if plan.sweep is None:
        return
    tried = {key: values for key, values in plan.sweep.model_dump().items() if values}
    if not tried:
        raise place.error("sweep", expected="values of learning_rate or weight_decay to try",
                          found="nothing")  # fmt: skip
    for key, values in tried.items():
        least = 0 if key == "weight_decay" else math.nextafter(0, 1)
        for value in values:
            if not math.isfinite(value) or value < least:
                raise place.error(f"sweep.{key}", expected="positive numbers", found=f"{value:g}")
        if len(set(values)) < len(values):
            raise place.error(f"sweep.{key}", expected="each value once", found=clip(list(values)))
        if plan.axis in ("optimiser", f"optimiser.{key}"):
            raise place.error(f"sweep.{key}", expected=f"what is not the axis, {plan.axis}",
                              found="it, tuned away")  # fmt: skip


def _controls(plan: Plan, made: list[Arm], place: Place) -> None:
    modalities = list(made[0].recipe.modalities)
    alone = [f"only:{name}" for name in modalities] if len(modalities) > 1 else []
    valid = [*CONTROLS, *alone]
    for name in plan.controls:
        if name not in valid:
            raise place.error("controls", expected="some of " + ", ".join(valid),
                              found=clip(name), nearest=nearest(name, valid))  # fmt: skip
    if len(set(plan.controls)) < len(plan.controls):
        raise place.error("controls", expected="each control once",
                          found=", ".join(plan.controls))  # fmt: skip


def _budget(plan: Plan, made: list[Arm], place: Place) -> None:
    """The budget buys every arm a step to be measured after; two where a threshold is waited for.

    FLOPs and seconds of a step are known once it is built; see `costs.steps_for`.
    """
    amount, unit = plan.budget.amount, plan.budget.unit
    needed = 2 if plan.at == "threshold" else 1
    for arm in made:
        batch = arm.recipe.optimiser.batch
        # A record holds at least a token.
        each = {"steps": 1, "samples": batch, "tokens": batch}.get(unit, 0)
        if amount < needed * each:
            raise place.error(
                "budget",
                expected=f"at least {needed * each:,} {unit}: {needed} "
                f"step{'s' * (needed > 1)} of {arm.name} ({batch:,} records) before a look",
                found=str(plan.budget),
            )


def _data(plan: Plan, asked: list[Measure], made: list[Arm], place: Place) -> None:
    """The data have what every arm reads, what the outcomes are about, and room for the threshold.

    Raises:
        PlanError, DataError: what is not there.
    """
    held = _contents(
        plan, tuple(dict.fromkeys(x for arm in made for x in _read_by(arm.recipe))), place
    )
    for arm in made:
        for modality, variants in arm.recipe.variants.items():
            for variant in variants:
                if variant.field is not None and variant.field not in held.fields:
                    raise DataError(
                        file=held.name, field=variant.field, found="no such field",
                        expected=f"the field that {arm.name} reads as a variant of {modality}",
                        nearest=nearest(variant.field, held.fields),
                    )  # fmt: skip
    for at, one in enumerate(asked):
        field = one.name if one.kind in ("choice", "probe", "retrieval") else None
        if field is not None and field not in held.fields:
            raise place.error("also" if at else "outcome",
                              expected=f"a field of {held.name}: {', '.join(held.fields)}",
                              found=clip(field), nearest=nearest(field, held.fields))  # fmt: skip
    if plan.threshold is None or asked[0].unit != "share":
        return
    chance, best = held.bounds(asked[0])
    refuse_chance(plan, chance, place)
    if plan.threshold > best + 1e-9:
        raise place.error("threshold", expected=f"a share of at most {best:.3g}, the best possible",
                          found=f"{plan.threshold:g}, never reached")  # fmt: skip


def bounds(plan: Plan, made: list[Arm]) -> tuple[float, float] | None:
    """What no skill gives and the best possible, on the test split; None of an outcome in nats.

    Raises:
        PlanError, DataError: the data cannot be read.
    """
    if plan.measure.unit != "share":
        return None
    needed = tuple(dict.fromkeys(x for arm in made for x in _read_by(arm.recipe)))
    return _contents(plan, needed, Place()).bounds(plan.measure)


def _contents(plan: Plan, needed: tuple[str, ...], place: Place) -> Contents:
    if isinstance(plan.data, str):
        return contents.of_data(plan.data, plan.fields, needed)
    told = plan.data
    try:
        return contents.of_world(told.world, told.scenes, told.set, plan.fields, needed)
    except RecipeError as error:
        raise place.error("data", error.what, expected=error.expected, found=error.found,
                          nearest=error.nearest) from None  # fmt: skip


def _read_by(recipe: Recipe) -> list[str]:
    """The modalities and targets that a recipe reads."""
    return [*recipe.modalities, *recipe.targets]
