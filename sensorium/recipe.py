"""A recipe: all that a run does, typed, complete in one place, unknown keys refused.

Shipped recipes state the published size; `--size` derives the others by the one rule in `SIZES`.
Reading a recipe imports no torch: a misspelt key is answered at once. What a member of a shelf
(an encoder, an objective) accepts is read from its source here, and checked in full by its own
`Spec` when the run is built.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from sensorium import shelf
from sensorium.errors import RecipeError, UserError, clip, nearest
from sensorium.recipe_changes import merged, override
from sensorium.recipe_yaml import line_of, read_yaml

SIZES: dict[str, dict[str, int]] = {
    # Upper bounds, applied to modalities that no frozen tower prepares. heads = width / 32;
    # a picture that shrinks is cut into patches of so many pixels: 4 x 4 of them at micro, else
    # 8 x 8.
    "micro": {
        **dict(size=32, patch=8, width=96, depth=2, length=32, vocabulary=1000, space=96),
        **dict(fusion=2, queries=16, queue=512, hidden=192),
    },
    "tiny": {
        **dict(size=64, patch=8, width=128, depth=4, length=32, vocabulary=4000, space=128),
        **dict(fusion=2, queries=16, queue=1024, hidden=256),
    },
    "small": {
        **dict(size=128, patch=16, width=256, depth=6, length=48, vocabulary=8000, space=256),
        **dict(fusion=3, queries=64, queue=8192, hidden=1024),
    },
}
SIZE_NAMES = (*SIZES, "published")
Size = Literal["micro", "tiny", "small", "published"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Optimiser(_Strict):
    """AdamW (Loshchilov and Hutter 2019) with linear warm-up and cosine decay."""

    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.98, ge=0, lt=1)
    epsilon: float = Field(default=1e-6, gt=0)
    warmup: float = Field(default=0.05, ge=0, lt=1, description="share of all steps")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="how the learning rate goes on after the warm-up"
    )
    floor: float = Field(
        default=0.0, ge=0, le=1, description="share of the learning rate that is left"
    )
    clip: float | None = Field(default=1.0, gt=0, description="largest norm of the whole gradient")
    batch: int = Field(default=256, ge=2, description="records a step")


class Variant(_Strict):
    """A further view of a modality in each batch: another field, or a keyed augmentation."""

    field: str | None = Field(None, description="the field that it is read from")
    augment: bool = Field(False, description="a drawn augmentation of the plain item")

    @model_validator(mode="after")
    def _one_of_them(self):
        if (self.field is None) == (not self.augment):
            raise ValueError("a variant has either a field or augment: true")
        return self


class Teacher(_Strict):
    """A copy of the model that follows it as a moving average."""

    momentum: float = Field(0.995, ge=0, le=1)


class Head(_Strict):
    """The head over a vocabulary: BERT's transform before the tied table, or the table alone."""

    transform: bool = True


class Tune(_Strict):
    """What of an earlier run is trained further."""

    run: str = Field(description="the run that the weights come from")
    method: Literal["full", "linear", "lora", "freeze"] = "full"
    rank: int = Field(8, ge=1, description="of LoRA's update")
    interpolate: float | None = Field(
        None, ge=0, le=1, description="WiSE-FT: share of the tuned weights in what is kept"
    )


class Recipe(_Strict):
    """Everything a run does. `use` in a member names a file of its shelf."""

    name: str
    summary: str
    source: str
    survey: str | None = Field(None, description="row of the survey's model tables")
    size: Size = "published"
    modalities: dict[str, dict[str, Any]]
    prepare: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="frozen towers, run once before views"
    )
    encoders: dict[str, dict[str, Any]]
    order: dict[str, Literal["full", "causal"]] = Field(default_factory=dict)
    variants: dict[str, list[Variant]] = Field(
        default_factory=dict, description="further views of a modality, numbered from 1"
    )
    modality_dropout: dict[str, float] = Field(
        default_factory=dict,
        description="modality -> share of the training records, drawn each epoch, that lack it",
    )
    targets: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="classes to be told, e.g. {label: {use: label}}"
    )
    fusion: dict[str, Any] = Field(default_factory=lambda: {"use": "none"})
    space: int = Field(512, ge=2, description="width of the shared space")
    project: bool = Field(True, description="a linear layer from each encoder into the space")
    prior: float = Field(
        0.0,
        ge=0,
        description="weight of what encoders know untrained, beside 1 for what they learn",
    )
    head: Head = Field(default_factory=Head)
    teacher: Teacher | None = None
    tune: Tune | None = None
    start: Literal["random", "cca"] = Field(
        "random", description="projections: random, or canonical directions in closed form"
    )
    objectives: list[dict[str, Any]] = Field(min_length=1)
    optimiser: Optimiser = Field(default_factory=Optimiser)
    budget: str = "2min"
    most_epochs: int | None = Field(
        None, ge=0, description="bound on a time budget: more passes only memorise"
    )
    choose: Literal["rank", "loss"] = Field(
        "rank",
        description="what is best on validation: mean reciprocal rank, or loss (less noisy on few)",
    )
    patience: int | None = Field(
        None, ge=1, description="stop after so many looks at validation without a better one"
    )
    seed: int = Field(0, ge=0)
    departures: list[str] = Field(default_factory=list)
    published: dict[str, Any] = Field(default_factory=dict)

    @property
    def hash(self) -> str:
        """SHA-256 of all that differs from the defaults, hexadecimal.

        A field that a later version adds, with the old behaviour as its default, changes no hash:
        runs of before can still be opened.
        """
        content = self.model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Budget(_Strict):
    """How long a run trains: an amount of one unit."""

    amount: float
    unit: Literal["seconds", "samples", "epochs", "steps"]


_BUDGET = re.compile(
    r"\s*(-?[\d.]+)\s*(k|m)?[\s-]*(s|sec|seconds|min|minutes|h|hours|samples|epochs?|steps)\s*\Z",
    re.I,
)
_LONGEST = 1e12  # of any unit; what is longer was not meant
_SECONDS = {"s": 1, "sec": 1, "seconds": 1, "min": 60, "minutes": 60, "h": 3600, "hours": 3600}


def parse_budget(text: str) -> Budget:
    """`2min`, `90s`, `1h`, `20k-samples`, `5-epochs`, `300-steps`.

    Raises:
        RecipeError: not of that form, or not positive.
    """
    wanted = "a positive amount such as 2min, 20k-samples, 5-epochs or 300-steps"
    found = _BUDGET.match(str(text))
    try:
        amount = float(found[1]) if found else -1.0
    except ValueError:
        amount = -1.0
    if not found or not 0 < amount < _LONGEST:
        raise RecipeError(field="budget", expected=wanted, found=clip(text))
    amount *= {"k": 1_000, "m": 1_000_000}.get((found[2] or "").lower(), 1)
    unit = found[3].lower()
    if unit in _SECONDS:
        return Budget(amount=amount * _SECONDS[unit], unit="seconds")
    kind = {"epoch": "epochs"}.get(unit, unit)
    return Budget(amount=amount, unit=kind)  # type: ignore[arg-type]


def load(
    name: str | Path,
    size: str = "published",
    overrides: list[str] | None = None,
    **fields: Any,
) -> Recipe:
    """A recipe by its name on the shelf, or from the user's YAML file.

    Args:
        name: `lit`, or a path that ends in .yaml or .yml.
        size: a key of `SIZES`, or `published`.
        overrides: `optimiser.learning_rate=3e-4`; values are YAML.
        fields: top-level fields to set, e.g. seed=1 (None: leave as is).

    Raises:
        RecipeError: no such recipe, broken YAML, an unknown key or a wrong value; names the file,
            the line and the nearest valid key.
    """
    if size not in SIZE_NAMES:
        raise RecipeError(
            field="size",
            expected="one of " + ", ".join(SIZE_NAMES),
            found=clip(size),
            nearest=nearest(size, SIZE_NAMES),
        )
    file = Path(name) if str(name).endswith((".yaml", ".yml")) else shelf.path("recipes", str(name))
    content = read_yaml(file)
    if base := content.pop("extends", None):
        parent = read_yaml(shelf.path("recipes", str(base)))
        if "extends" in parent:
            raise RecipeError(file=file, field="extends", expected="a recipe that extends nothing",
                              found=f"{base}, which extends {parent['extends']}")  # fmt: skip
        content = merged(parent, content)
    try:
        content = sized(content, size)
    except (TypeError, AttributeError, KeyError):
        check(content, file)  # tells what is no number, or is missing
        raise
    for text in overrides or []:
        override(content, text, Recipe.model_fields)
    content.update({key: value for key, value in fields.items() if value is not None})
    return check(content, file)


def check(content: dict[str, Any], file: Path | str | None = None) -> Recipe:
    """A typed recipe from plain data.

    Raises:
        RecipeError: an unknown key, a wrong value, a member that does not exist.
    """
    place = None if file is None else Path(file)
    try:
        recipe = Recipe(**content)
    except ValidationError as error:
        raise explained(error, Recipe, place) from None
    for part in ("prepare", "encoders", "order", "variants", "modality_dropout"):
        for modality in getattr(recipe, part):
            if modality in recipe.modalities:
                continue
            raise RecipeError(
                file=place and place.name, field=f"{part}.{modality}",
                expected="a modality of the recipe: " + ", ".join(recipe.modalities),
                found=modality, nearest=nearest(modality, recipe.modalities),
            )  # fmt: skip
    if missing := [name for name in recipe.modalities if name not in recipe.encoders]:
        raise RecipeError(
            file=place and place.name, field=f"encoders.{missing[0]}",
            expected=f"an encoder for the modality {missing[0]}", found="none",
        )  # fmt: skip
    for modality, share in recipe.modality_dropout.items():
        if not 0 <= share <= 1:
            raise RecipeError(
                file=place and place.name, field=f"modality_dropout.{modality}",
                expected="a share from 0 to 1", found=f"{share:g}",
            )  # fmt: skip
    for modality, variants in recipe.variants.items():
        if modality in recipe.prepare and any(variant.augment for variant in variants):
            raise RecipeError(
                file=place and place.name, field=f"variants.{modality}",
                expected=f"fields, for {modality} is features of a frozen tower (prepare)",
                found="augment, which needs what was read itself",
            )  # fmt: skip
    for modality, options in recipe.modalities.items():
        if options.get("use") != modality and isinstance(options.get("use"), str):
            raise RecipeError(
                file=place and place.name, field=f"modalities.{modality}",
                expected="a modality called as its member: a second field is a variant",
                found=f"use: {options['use']}", nearest=options["use"],
            )  # fmt: skip
    for kind, path, member in members(recipe):
        use = member.get("use")
        if not isinstance(use, str):
            raise RecipeError(file=place and place.name, field=f"{path}.use",
                              expected="one of " + ", ".join(shelf.names(kind)),
                              found=clip(use))  # fmt: skip
        valid = shelf.options(kind, use)
        for key in member:
            if key not in valid:
                at = tuple(int(x) if x.isdigit() else x for x in (*path.split("."), key))
                row = line_of(place, at)
                raise RecipeError(
                    file=place.name if place and row else None, row=row, field=f"{path}.{key}",
                    expected=f"an option of {use}: " + ", ".join(valid),
                    found=clip(key), nearest=nearest(key, valid),
                )  # fmt: skip
        _check_types(member, valid, path, place)
    parse_budget(recipe.budget)
    return recipe


_PLAIN: dict[str, Any] = {"int": int, "float": float, "bool": bool}


def _check_types(
    member: dict[str, Any], written: dict[str, str], path: str, place: Path | None
) -> None:
    """Numbers, switches and choices of one member, told at once; its `Spec`, whose module loads
    torch, checks everything when the run is built.

    Raises:
        RecipeError: a value of another type, or none of the choices.
    """
    types = {}
    for key in member:
        text = written[key]
        if text.startswith("Literal["):
            with contextlib.suppress(ValueError):  # choices that are computed: the Spec knows them
                types[key] = Literal[ast.literal_eval(f"({text[8:-1]},)")]
        elif text in _PLAIN:
            types[key] = _PLAIN[text]
    model = create_model("Options", **{key: (kind, ...) for key, kind in types.items()})  # type: ignore[call-overload]
    try:
        model(**{key: member[key] for key in types})
    except ValidationError as error:
        raise explained(error, model, place, path) from None


def members(recipe: Recipe) -> list[tuple[str, str, dict[str, Any]]]:
    """(shelf, path in the recipe, options) of all members."""
    return [
        *(("modalities", f"modalities.{m}", x) for m, x in recipe.modalities.items()),
        *(("modalities", f"targets.{m}", x) for m, x in recipe.targets.items()),
        *(("encoders", f"prepare.{m}", x) for m, x in recipe.prepare.items()),
        *(("encoders", f"encoders.{m}", x) for m, x in recipe.encoders.items()),
        ("fusion", "fusion", recipe.fusion),
        *(("objectives", f"objectives.{at}", x) for at, x in enumerate(recipe.objectives)),
        *(
            ("edits", f"objectives.{at}.edits.{number}", edit)
            for at, x in enumerate(recipe.objectives)
            for number, edit in enumerate(x.get("edits", ()))
        ),
    ]


def member(kind: str, path: str, content: dict[str, Any]) -> tuple[Any, Any]:
    """The module and the checked `Spec` of one member, e.g. ("encoders", "encoders.text", {...}).

    An objective's edits come as the frozen edits themselves, ready to be part of a view.

    Raises:
        RecipeError: an option has a wrong value.
    """
    module = shelf.load(kind, content["use"])
    try:
        spec = module.Spec(**content)
    except ValidationError as error:
        raise explained(error, module.Spec, None, path) from None
    edits: tuple[Any, ...] = getattr(spec, "edits", ())
    if kind == "objectives" and edits:
        made = tuple(
            member("edits", f"{path}.edits.{at}", edit)[1] for at, edit in enumerate(edits)
        )
        spec = spec.model_copy(update={"edits": made})
    return module, spec


def sized(content: dict[str, Any], size: str) -> dict[str, Any]:
    """The recipe's plain data at another size: the bounds of `SIZES` on what is trained."""
    content = json.loads(json.dumps(content)) | {"size": size}
    if size == "published":
        return content
    bounds = SIZES[size]
    prepared = content.get("prepare", {})
    for modality, options in content.get("modalities", {}).items():
        if modality in prepared:
            continue
        if "size" in options and options["size"] > bounds["size"]:
            options |= {"size": bounds["size"], "patch": bounds["patch"]}
        for key in ("length", "vocabulary"):
            if key in options:
                options[key] = min(options[key], bounds[key])
        encoder = content["encoders"].get(modality, {})
        for key in ("width", "depth", "queries"):
            if key in encoder:
                encoder[key] = min(encoder[key], bounds[key])
        if "heads" in encoder:
            encoder["heads"] = max(1, min(encoder["heads"], encoder["width"] // 32))
    fusion = content.get("fusion", {})
    for key, bound in (("depth", "fusion"), ("inner", "width")):
        if key in fusion:
            fusion[key] = min(fusion[key], bounds[bound])
    heads = bounds["width"] // 32
    if "heads" in fusion:
        fusion["heads"] = min(fusion["heads"], heads)
    if "own_heads" in fusion:
        fusion["own_heads"] = {m: min(own, heads) for m, own in fusion["own_heads"].items()}
    for objective in content.get("objectives", []):
        for key in ("queue", "hidden"):
            if key in objective:
                objective[key] = min(objective[key], bounds[key])
    if len(prepared) < len(content.get("modalities", {})):
        content["space"] = min(content.get("space", 512), bounds["space"])
    return content


def to_yaml(recipe: Recipe) -> str:
    """The complete recipe as YAML."""
    import io

    from ruamel.yaml import YAML

    stream = io.StringIO()
    writer = YAML()
    writer.default_flow_style = False
    writer.width = 100
    writer.dump(recipe.model_dump(mode="json"), stream)
    return stream.getvalue()


def explained(
    error: ValidationError,
    model: type[BaseModel],
    file: Path | None,
    prefix: str = "",
    kind: type[UserError] = RecipeError,
) -> UserError:
    """Pydantic's first complaint in our words: path, line, expected, found, nearest.

    An unknown key comes before a missing one, which may be what it was meant to be.
    """
    told = error.errors()
    first = next((x for x in told if x["type"] == "extra_forbidden"), told[0])
    path = tuple(first["loc"])
    owner = model
    for key in path[:-1]:
        inner = owner.model_fields.get(str(key))
        if inner and isinstance(inner.annotation, type) and issubclass(inner.annotation, BaseModel):
            owner = inner.annotation
    dotted = ".".join(str(x) for x in ([prefix] if prefix else []) + list(path))
    outer = (int(x) if x.isdigit() else x for x in prefix.split(".") if x)
    row = line_of(file, (*outer, *path))
    place: dict[str, Any] = {
        "file": file.name if file and row else None,
        "row": row,
        "field": dotted,
    }
    if first["type"] == "extra_forbidden":
        valid = list(owner.model_fields)
        return kind(expected="one of " + ", ".join(valid), found=clip(path[-1]),
                           nearest=nearest(str(path[-1]), valid), **place)  # fmt: skip
    if first["type"] == "missing":
        return kind(expected="a value", found="nothing", **place)
    if first["type"] == "value_error":  # of two options that do not go together: a sentence
        return kind(first["msg"].removeprefix("Value error, "), **place)
    message = first["msg"].removeprefix("Input should be ")
    message = message.split(", unable to parse")[0]
    near = None
    if first["type"] == "literal_error":
        choices = re.findall(r"'([^']+)'", first["msg"])
        near = nearest(str(first["input"]), choices)
    return kind(expected=message, found=clip(first["input"]), nearest=near, **place)
