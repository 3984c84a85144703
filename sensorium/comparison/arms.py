"""Arms from a plan: complete recipes that differ under the plan's axis, and nowhere else.

A comparison of two things that differ in a third says nothing about the first two. So every path
of the complete recipes is compared, defaults included; what lies outside the axis is refused by
name. Torch is not loaded.
"""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium import shelf
from sensorium.errors import PlanError, UserError, clip, nearest
from sensorium.recipe import Optimiser, Recipe, load, members

if TYPE_CHECKING:
    from sensorium.comparison.plan import Plan

WHOLE = "recipe"  # the axis of whole recipes
# Said about a recipe, not done by it; two arms may say different things.
FACTS = ("name", "summary", "source", "survey", "departures", "published")
HELD = ("seed", "budget", "size")  # of a plan, equal in all arms; no axis
_PLANS = ("data", "fields", "seeds", "set", "outcome", "looks", "threshold", "at", "sweep")
_BY_MODALITY = ("modalities", "encoders", "prepare", "order", "variants", "modality_dropout")
# Of these an arm says what differs; any other mapping it replaces.
_MERGED = ("encoders", "prepare", "modalities", "targets", "optimiser", "head")
_SHELF = {
    "fusion": "fusion",
    "objectives": "objectives",
    "encoders": "encoders",
    "prepare": "encoders",
    "modalities": "modalities",
    "targets": "modalities",
}


@dataclass(frozen=True)
class Arm:
    """One of the things compared: its name in the plan, and its complete recipe.

    Its seed and budget are the recipe's own and are replaced by the plan's for each run.
    """

    name: str
    recipe: Recipe


def derive(plan: Plan) -> list[Arm]:
    """The arms of a plan, in its order.

    Raises:
        PlanError: the recipe or what is set in it is not as expected, the axis does not exist, a
            value is no member or no option, arms are equal, or they differ outside the axis; names
            every differing path.
    """
    held = [_assigned(path, value) for path, value in plan.set.items()]
    if plan.axis == WHOLE:
        made = [_whole(name, value, plan.size, held) for name, value in plan.arms.items()]
    else:
        with _told_of("recipe"):
            load(plan.recipe, plan.size)
        with _told_of("set"):
            base = load(plan.recipe, plan.size, held)
        refuse_axis(base, plan.axis)
        made = [_arm(plan, name, value, held) for name, value in plan.arms.items()]
    refuse_differences(made, plan.axis, tuned(plan))
    return made


def tuned(plan: Plan) -> tuple[str, ...]:
    """Paths that the plan's sweep chooses for each arm by itself."""
    sweep = plan.sweep.model_dump() if plan.sweep is not None else {}
    return tuple(f"optimiser.{name}" for name, values in sweep.items() if values)


def _whole(name: str, value: Any, size: str, held: list[str]) -> Arm:
    """The arm of a comparison of whole recipes."""
    if not isinstance(value, str):
        raise PlanError(field=f"arms.{name}", expected="the name of a recipe", found=clip(value))
    with _told_of(f"arms.{name}"):
        return Arm(name, load(value, size, held))


def _arm(plan: Plan, name: str, value: Any, held: list[str]) -> Arm:
    """One arm: the plan's recipe with its value of the axis put in."""
    with _told_of(f"arms.{name}"):
        further: dict[str, Any] = {}
        if isinstance(value, dict):
            own = _own_keys(plan, value)
            further = {key: item for key, item in value.items() if key not in own}
            value = {key: value[key] for key in own}
        for key in further:
            if key in _PLANS:
                raise PlanError(
                    f"{key} is the plan's, and the same for all arms",
                    expected=f"an arm that differs in {plan.axis} alone",
                    found=f"{key}: {clip(further[key])}",
                )
        recipe = str(further.pop(WHOLE, plan.recipe))
        size = str(further.pop("size", plan.size))
        base = load(recipe, size, held)
        values = {plan.axis: value} if value or not further else {}
        changes = [
            x for path, item in (values | further).items() for x in _changes(base, path, item)
        ]
        return Arm(name, load(recipe, size, held + changes))


def _own_keys(plan: Plan, value: dict[str, Any]) -> list[str]:
    """Keys of an arm's value that are the axis's own; the others are paths of the recipe."""
    paths = (*Recipe.model_fields, *_PLANS, WHOLE)
    inner: set[str] = set()
    if plan.axis == "optimiser":
        inner = set(Optimiser.model_fields)
    elif kind := member_shelf(plan.axis):
        uses = [value.get("use")] if value.get("use") in shelf.names(kind) else shelf.names(kind)
        inner = {key for use in uses for key in shelf.options(kind, str(use))}
    return [
        key for key in value if key in inner or not ("." in key or key == plan.axis or key in paths)
    ]


def member_shelf(path: str) -> str | None:
    """The shelf whose member, or list of members, stands at a path; None where none does."""
    keys = path.split(".")
    kind = _SHELF.get(keys[0])
    if keys[0] == "objectives" and len(keys) in (3, 4) and keys[2] == "edits":
        return "edits"
    depth = 1 if keys[0] == "fusion" else 2
    return kind if len(keys) == depth or path == "objectives" else None


def _changes(base: Recipe, path: str, value: Any) -> list[str]:
    """What `recipe.load` is told to set so that a recipe has `value` at `path`.

    Of the options of a member that is replaced those stay that the new one has too.

    Raises:
        PlanError: a name that is no member of the path's shelf.
    """
    kind = member_shelf(path)
    now = reach(base.model_dump(mode="json"), path)
    if kind and (path == "objectives" or path.endswith(".edits")):
        listed = value if isinstance(value, list) else [value]
        known = {item["use"]: item for item in now or [] if isinstance(item, dict)}
        content = [
            known.get(item, {"use": item}) if isinstance(item, str) else item for item in listed
        ]
        for item in content:
            _refuse_stranger(kind, item.get("use") if isinstance(item, dict) else item, path)
        return [_assigned(path, content)]
    if kind and value == {}:
        return []  # as the recipe has it
    if kind and not isinstance(value, dict):
        value = {"use": value}
    if kind and "use" in value:
        _refuse_stranger(kind, value["use"], path)
        if not isinstance(now, dict):
            return [_assigned(path, value)]
        rest = {key: item for key, item in value.items() if key != "use"}
        return [
            _assigned(f"{path}.{key}", item)
            for key, item in {
                "use": value["use"],
                **_unfit(kind, value["use"], now),
                **rest,
            }.items()
        ]
    if isinstance(value, dict) and isinstance(now, dict) and (kind or path in _MERGED):
        return [x for key, item in value.items() for x in _changes(base, f"{path}.{key}", item)]
    return [_assigned(path, value)]


def _unfit(kind: str, use: str, now: dict[str, Any]) -> dict[str, Any]:
    """option -> the new member's default, where it knows the option but not the choice made."""
    usual = shelf.defaults(kind, use)
    changed = {}
    for key, written in shelf.options(kind, use).items():
        if key in now and key in usual and key != "use" and written.startswith("Literal["):
            with contextlib.suppress(ValueError):  # choices that are computed
                if now[key] not in ast.literal_eval(f"({written[8:-1]},)"):
                    changed[key] = usual[key]
    return changed


def _refuse_stranger(kind: str, use: Any, path: str) -> None:
    valid = shelf.names(kind)
    if use not in valid:
        raise PlanError(
            field=path,
            expected="one of " + ", ".join(valid),
            found=clip(use),
            nearest=nearest(str(use), valid),
        )


def _assigned(path: str, value: Any) -> str:
    return f"{path}={json.dumps(value)}"


def reach(content: Any, path: str) -> Any:
    """What stands at a path of plain data, or None."""
    for key in path.split("."):
        if isinstance(content, list) and key.isdigit() and int(key) < len(content):
            content = content[int(key)]
        elif isinstance(content, dict):
            content = content.get(key)
        else:
            return None
    return content


@contextlib.contextmanager
def _told_of(field: str) -> Iterator[None]:
    """Names the plan's field in a mistake that is found inside."""
    try:
        yield
    except UserError as error:
        raise PlanError(
            error.what,
            field=field,
            expected=error.expected,
            found=error.found,
            nearest=error.nearest,
        ) from None


def complete(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain data in which every option of every member is written out."""
    content: dict[str, Any] = recipe.model_dump(mode="json")
    for kind, path, options in members(recipe):
        node = reach(content, path)
        known = json.loads(json.dumps(shelf.defaults(kind, options["use"])))
        for key, value in known.items():
            node.setdefault(key, value)
    return content


def leaves(content: Any, path: str = "") -> dict[str, Any]:
    """path -> value of everything in plain data that holds nothing further."""
    if isinstance(content, dict) and content:
        pairs = [(str(key), item) for key, item in content.items()]
    elif isinstance(content, list) and content:
        pairs = [(str(at), item) for at, item in enumerate(content)]
    else:
        return {path: content}
    return {
        inner: value
        for key, item in pairs
        for inner, value in leaves(item, f"{path}.{key}" if path else key).items()
    }


def differences(one: Recipe, other: Recipe) -> list[str]:
    """Every path at which two complete recipes differ, facts about them aside, in their order.

    `teacher.momentum` differs also where one of them has no teacher.
    """
    first, second = leaves(complete(one)), leaves(complete(other))
    absent = object()
    return [
        path
        for path in dict.fromkeys([*first, *second])
        if first.get(path, absent) != second.get(path, absent)
        and path.split(".")[0] not in FACTS
        # An empty place in one is filled in the other: the other's paths say so.
        and not any(x.startswith(f"{path}.") for x in (second if path in first else first))
    ]


def refuse_differences(made: list[Arm], axis: str, aside: tuple[str, ...] = ()) -> None:
    """Refuses arms that are equal, and arms that differ in more than the axis.

    Args:
        made: at least two.
        axis: a path; what lies under it may differ. Of an axis `fusion.use` so may options that
            only one of the two members has.
        aside: paths that are tuned for each arm.

    Raises:
        PlanError: names both arms, and every path outside the axis with both values.
    """
    for at, arm in enumerate(made):
        for before in made[:at]:
            found = [x for x in differences(before.recipe, arm.recipe) if x not in aside]
            if not [x for x in found if not (axis == WHOLE and x in HELD)]:
                raise PlanError(
                    field="arms",
                    expected="arms that differ",
                    found=f"{before.name} and {arm.name}, the same recipe",
                )
    first = made[0]
    for arm in made[1:]:
        also = [
            path
            for path in differences(first.recipe, arm.recipe)
            if path not in aside and not _covered(path, axis, first.recipe, arm.recipe)
        ]
        if also:
            one, other = leaves(complete(first.recipe)), leaves(complete(arm.recipe))
            told = [f"{x} ({_shown(one, x)}, {_shown(other, x)})" for x in also]
            raise PlanError(
                field=f"arms.{arm.name}",
                expected=f"a difference from {first.name} in {axis} alone",
                found="differences in " + ", ".join(told),
            )


def _covered(path: str, axis: str, one: Recipe, other: Recipe) -> bool:
    """Whether an axis covers a path in which two recipes differ."""
    if axis == WHOLE:
        return path != "size"
    if path == axis or path.startswith(f"{axis}."):
        return True
    owner, _, last = axis.rpartition(".")
    if last == "use" and path.startswith(f"{owner}."):
        kind = member_shelf(owner)
        option = path.removeprefix(f"{owner}.").split(".")[0]
        uses = [reach(x.model_dump(mode="json"), axis) for x in (one, other)]
        return not all(option in shelf.options(str(kind), use) for use in uses)
    return False


def _shown(values: dict[str, Any], path: str) -> str:
    return json.dumps(values[path]) if path in values else "none"


def refuse_axis(base: Recipe, axis: str) -> None:
    """Refuses an axis that the recipe has no place for.

    Raises:
        PlanError: names what stands where the path leaves the recipe, and the nearest.
    """
    keys = axis.split(".")
    if keys[0] in HELD or keys[0] in FACTS:
        raise PlanError(
            field="axis",
            expected="a path of the recipe that changes what is trained",
            found=f"{keys[0]}, which is the same for all arms"
            if keys[0] in HELD
            else f"{keys[0]}, which only says something about the recipe",
        )
    node: Any = complete(base)
    for depth, key in enumerate(keys):
        valid = _valid(base, node, keys[:depth])
        if key not in valid:
            raise PlanError(
                field="axis",
                expected="one of " + ", ".join(valid) + (
                    f" after {'.'.join(keys[:depth])}" if depth else ""
                ),
                found=clip(key),
                nearest=nearest(key, valid),
            )  # fmt: skip
        node = node[int(key)] if isinstance(node, list) else node.get(key)
        if node is None and depth + 1 < len(keys) - 1:
            break


def _valid(base: Recipe, node: Any, keys: list[str]) -> list[str]:
    """The keys that may follow some keys of a recipe."""
    if not keys:
        return [x for x in Recipe.model_fields if x not in FACTS + HELD] + [WHOLE]
    kind = member_shelf(".".join(keys))
    if isinstance(node, list):
        return [str(at) for at in range(len(node))]
    if kind and isinstance(node, dict) and "use" in node:
        return list(shelf.options(kind, node["use"]))
    if keys[0] in _BY_MODALITY and len(keys) == 1:
        return list(base.modalities)
    if isinstance(node, dict):
        return list(node)
    if len(keys) == 1:  # not set in this recipe: its fields, where it is a mapping
        inner = Recipe.model_fields[keys[0]].annotation
        for part in (inner, *getattr(inner, "__args__", ())):
            if hasattr(part, "model_fields"):
                return list(part.model_fields)
    return []


def usual_outcome(recipe: str | Path, size: str = "micro") -> str:
    """What is measured where nobody says: how well classes are told, else whether a text is found
    by its picture and the picture by its text, else the first objective's loss."""
    made = load(recipe, size)
    uses = [str(item.get("use")) for item in made.objectives]
    if "classification" in uses:
        return "accuracy"
    if "contrastive" in uses and {"image", "text"} <= set(made.modalities):
        return "retrieval:text_to_image@1"
    return f"loss:{uses[0]}"
