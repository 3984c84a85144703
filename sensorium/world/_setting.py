"""A setting: what a composed world is made of, which knobs are turned, and what its label is.

Every factor is uniform and independent of the others, save where things must differ (`distinct`)
and where a label is held at one half (`equality`). Knobs are in bits, so that what each modality
tells of the label is known before anything is drawn.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sensorium import tables
from sensorium.errors import RecipeError, clip, nearest
from sensorium.recipe_changes import override
from sensorium.recipe_yaml import line_of, read_yaml
from sensorium.world._kinds import DRAWINGS
from sensorium.world._scene import COLOURS, GROUNDS, PLACES, RELATIONS, SHAPES, SIZES, STRIPES

FOLDER = Path(__file__).parent / "settings"
LANGUAGES = ("en", "zh", "de", "fr", "c1", "c2", "c3", "c4")  # c1 ...: ciphers, no word shared
WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")  # values of `word`
SPLITS = ("train", "validation", "test", "unseen")
MODALITIES = ("image", "text", "table")
Member = Literal["image", "boxes", "graph", "caption", "question", "table", "twins"]
Language = Literal["en", "zh", "de", "fr", "c1", "c2", "c3", "c4"]
# Which factors carry a knob; where a part is hidden, it is the last of them.
CARRIERS = {
    "redundancy": ("colour_1",),
    "unique_image": ("ground",),
    "unique_text": ("word",),
    "synergy": ("colour_2", "named_colour"),
}
Share = Field(default=0.0, ge=0, lt=1)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bits(_Strict):
    """What the two modalities tell of the label, in bits.

    A whole number k is a component with 2^k equally likely values; what is left of a fraction is a
    visible erasure: of the next whole number, so much is hidden in a drawn share of the scenes.
    """

    redundancy: float = Field(
        default=0.0, ge=0, le=2, description="by picture and text alike: colour_1"
    )
    unique_image: float = Field(default=0.0, ge=0, le=2, description="by the picture alone: ground")
    unique_text: float = Field(default=0.0, ge=0, le=2, description="by the text alone: word")
    synergy: float = Field(
        default=0.0, ge=0, le=2, description="by both together: colour_2 seen, named_colour read"
    )


class Label(_Strict):
    """What is to be told of a scene.

    `factor`: the value of one factor. `equality`: yes or no, whether two factors have the same
    index, each in half of the scenes. `bits`: the tuple of the components of `Setting.bits`.
    """

    rule: Literal["factor", "equality", "bits"]
    of: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _as_many(self):
        wanted = {"factor": 1, "equality": 2, "bits": 0}[self.rule]
        if len(self.of) != wanted:
            raise ValueError(f"the rule {self.rule} takes {wanted} factors in `of`")
        return self


class TableColumn(_Strict):
    """One field of the table: a factor's value, right with probability `reliability`.

    Where it is wrong it is one of the other values, each equally likely. A share `blank` of its
    cells is empty, whatever they would have held.
    """

    of: str
    reliability: float = Field(1.0, ge=0, le=1)
    form: Literal["category", "number", "boolean", "text"] = "category"
    blank: float = Share


class Translations(_Strict):
    """Texts of further train scenes in two languages, given beside every record.

    The columns are `translation_a` and `translation_b`. Each pair is one scene in two different
    languages; `pairs` is how many distinct ones there are (None: a fresh one for every record).
    """

    languages: tuple[Language, ...] = Field(min_length=2)
    pairs: int | None = Field(None, ge=1)


class Missing(_Strict):
    """Share of the records, drawn one by one, that lack a modality."""

    image: float = Share
    text: float = Share
    table: float = Share


class Split(_Strict):
    """Which combinations a split holds: the sum of the indices of some factors, modulo a number.

    Remainder 0 is test, 1 is validation, the others are train.
    """

    over: tuple[str, ...] = Field(min_length=1)
    modulo: int = Field(8, ge=3)


class Setting(_Strict):
    """A composed world: its factors, what tells them, and what is asked."""

    name: str
    summary: str = Field(description="one sentence")
    tells: str = Field(description="what a comparison in this setting can show")
    tells_not: str = Field(description="and what it cannot")
    canvas: int = Field(32, ge=32, le=224, description="pixels, both ways")
    things: Literal[1, 2] = 1
    draw: Literal["emoji", "shapes"] = "emoji"
    kinds: int = Field(16, ge=2, description="how many kinds of things are in use")
    colours: int = Field(4, ge=1, le=len(COLOURS))
    sizes: int = Field(1, ge=1, le=len(SIZES))
    relations: Literal[0, 1, 2, 4] = Field(
        0,
        description="of things[0] to things[1]: 0: they stand anywhere and none is told; 1: always "
        "left_of, so that the picture says which is the first; 2: left and right; or all four",
    )
    places: Literal[0, 9] = Field(0, description="cells of a grid for one thing; 0: anywhere")
    grounds: int = Field(1, ge=1, le=len(GROUNDS))
    stripes: int = Field(1, ge=1, le=len(STRIPES), description="kinds of faint pattern; 1: none")
    words: int = Field(1, ge=1, le=len(WORDS), description="values of a factor only texts carry")
    named_colours: int = Field(
        0, ge=0, le=len(COLOURS), description="the text names a colour of its own; 0: it does not"
    )
    distinct: bool = Field(True, description="two things differ in kind and in colour")
    unseen_kinds: int = Field(0, ge=0, description="further kinds, only in the split unseen")
    mentions: tuple[str, ...] = Field(description="factors that the caption tells")
    languages: dict[Language, float] = Field(
        {"en": 1.0}, description="share of each in the column caption"
    )
    also: tuple[Language, ...] = Field((), description="columns caption_LANGUAGE beside it")
    wordings: int = Field(1, ge=1, le=4, description="ways to word a caption; 1: always the same")
    translations: Translations | None = None
    label: Label | None = None
    bits: Bits = Bits()
    table: dict[str, TableColumn] = Field(default_factory=dict)
    wrong_pairs: float = Field(0.0, ge=0, lt=1, description="train records with another's text")
    missing: Missing = Missing()
    emit: tuple[Member, ...] = ("image", "caption")
    split: Split

    @functools.cached_property
    def factors(self) -> dict[str, tuple[str, ...]]:
        """Factor -> its values, in the order of their indices; not what the setting lacks."""
        every: tuple[str, ...] = tuple(DRAWINGS) if self.draw == "emoji" else SHAPES
        found: dict[str, tuple[str, ...]] = {}
        for at in range(1, self.things + 1):
            found[f"kind_{at}"] = every[: self.kinds]
            found[f"colour_{at}"] = COLOURS[: self.colours]
            found[f"size_{at}"] = SIZES[-self.sizes :]
        found["relation"] = RELATIONS[: self.relations]
        found["place_1"] = PLACES[: self.places]
        found["ground"] = GROUNDS[: self.grounds]
        found["stripes"] = STRIPES[: self.stripes]
        found["word"] = WORDS[: self.words] if self.words > 1 else ()
        found["named_colour"] = COLOURS[: self.named_colours]
        return {name: values for name, values in found.items() if values}

    @functools.cached_property
    def components(self) -> dict[str, tuple[tuple[str, ...], int]]:
        """Knob above 0 -> (the factors whose indices are summed, modulo how many)."""
        return {knob: (CARRIERS[knob], 2 ** math.ceil(bits)) for knob, bits in self.bits if bits}

    @functools.cached_property
    def hiding(self) -> dict[str, float]:
        """Factor -> in which share of the scenes it is visibly hidden: 1 - bits / whole bits."""
        return {
            CARRIERS[knob][-1]: 1 - bits / math.ceil(bits)
            for knob, bits in self.bits
            if bits and bits != math.ceil(bits)
        }

    @property
    def unseen(self) -> tuple[str, ...]:
        """The kinds that only the split `unseen` shows."""
        every: tuple[str, ...] = tuple(DRAWINGS) if self.draw == "emoji" else SHAPES
        return every[self.kinds : self.kinds + self.unseen_kinds]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that can be made."""
        return SPLITS if self.unseen_kinds else SPLITS[:3]

    @property
    def shown(self) -> tuple[str, ...]:
        """The factors that the picture shows."""
        return tuple(name for name in self.factors if name not in ("word", "named_colour"))

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 of all fields, hexadecimal."""
        return _digest(self.model_dump(mode="json"))

    @functools.cached_property
    def scenes_hash(self) -> str:
        """SHA-256 of the fields that scenes depend on: other knobs may turn, the scenes stay."""
        return _digest(self.model_dump(mode="json", exclude=_TOLD))


# Columns that a field of the table cannot be called; nor as captions, translations or facts begin.
_COLUMNS = {"key", "split", "label", "image", "boxes", "graph", "question", "answer"}
# What is said of a scene, and to whom; nothing that it consists of.
_TOLD = {
    *("name", "summary", "tells", "tells_not", "mentions", "languages", "also", "wordings"),
    *("translations",),
    *("table", "wrong_pairs", "missing", "emit"),
}


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@functools.cache
def names() -> tuple[str, ...]:
    """The shipped settings, sorted."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.yaml")))


def load(name: str | Path, overrides: list[str] | None = None) -> Setting:
    """A setting by its name, or from a YAML file, with some fields set.

    Args:
        name: `binding` (also `ignored-factor`), or a path that ends in .yaml or .yml.
        overrides: `translations.pairs=60`; values are YAML.

    Raises:
        RecipeError: no such setting, an unknown key or a wrong value; names the nearest.
    """
    text = str(name)
    if text.endswith((".yaml", ".yml")):
        file = Path(name)
    else:
        text = text.replace("-", "_")
        if text not in names():
            raise RecipeError(
                f"no setting called {clip(str(name))}", expected="one of " + ", ".join(names()),
                nearest=nearest(text, names()),
            )  # fmt: skip
        file = FOLDER / f"{text}.yaml"
    content = read_yaml(file)
    for change in overrides or []:
        override(content, change, Setting.model_fields)
    return check(content, file)


def check(content: dict[str, Any], file: Path | None = None) -> Setting:
    """A setting from plain data.

    Raises:
        RecipeError: an unknown key, a wrong value, a factor that the setting does not have.
    """
    try:
        setting = Setting(**content)
    except ValidationError as error:
        raise _explained(error, file) from None
    _whole(setting, file)
    return setting


def _explained(error: ValidationError, file: Path | None) -> RecipeError:
    first = error.errors()[0]
    path = tuple(first["loc"])
    row = line_of(file, path)
    place: dict[str, Any] = {
        "file": file.name if file else None, "row": row, "field": ".".join(map(str, path)),
    }  # fmt: skip
    if first["type"] == "extra_forbidden":
        owner: Any = Setting
        for part in path[:-1]:
            owner = {
                "split": Split, "bits": Bits, "label": Label, "translations": Translations,
                "missing": Missing, "table": TableColumn,
            }.get(str(part), owner)  # fmt: skip
        valid = list(owner.model_fields)
        return RecipeError(
            expected="one of " + ", ".join(valid), found=clip(path[-1]),
            nearest=nearest(str(path[-1]), valid), **place,
        )  # fmt: skip
    found = "nothing" if first["type"] == "missing" else clip(first["input"])
    expected = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return RecipeError(expected=expected, found=found, **place)


def _whole(setting: Setting, file: Path | None) -> None:
    """What no single field can know.

    Raises:
        RecipeError: an unknown factor, more kinds than there are, knobs without their factors.
    """

    def wrong(field: str, expected: str, found: object, near: str | None = None) -> RecipeError:
        return RecipeError(
            file=file and file.name, row=line_of(file, tuple(field.split("."))), field=field,
            expected=expected, found=clip(found), nearest=near,
        )  # fmt: skip

    factors = setting.factors
    used = [
        *(("mentions", name) for name in setting.mentions),
        *(("split.over", name) for name in setting.split.over),
        *(("label.of", name) for name in (setting.label.of if setting.label else ())),
        *((f"table.{key}.of", column.of) for key, column in setting.table.items()),
    ]
    for field, name in used:
        if name not in factors:
            valid = "a factor of the setting: " + ", ".join(factors)
            raise wrong(field, valid, name, nearest(name, factors))
    most = len(DRAWINGS) if setting.draw == "emoji" else len(SHAPES)
    if setting.kinds + setting.unseen_kinds > most:
        raise wrong("kinds", f"at most {most} kinds, those of the split unseen among them",
                    setting.kinds + setting.unseen_kinds)  # fmt: skip
    if setting.relations and setting.things != 2:
        raise wrong("relations", "0, for a relation needs two things", setting.relations)
    if setting.places and setting.things != 1:
        raise wrong("places", "0, for a grid has places for one thing", setting.places)
    if setting.things == 2 and setting.distinct and setting.colours < 2:
        raise wrong("colours", "at least 2, for the two things differ", setting.colours)
    if abs(sum(setting.languages.values()) - 1) > 1e-9 or min(setting.languages.values()) <= 0:
        raise wrong("languages", "shares above 0 that add up to 1", setting.languages)
    if setting.translations and len(set(setting.translations.languages)) < 2:
        raise wrong("translations.languages", "two different languages",
                    setting.translations.languages)  # fmt: skip
    if ("table" in setting.emit) != bool(setting.table):
        raise wrong("table", "columns if and only if `emit` has table", list(setting.table))
    for key, column in setting.table.items():
        if key in _COLUMNS or key.startswith((tables.CAPTION, "translation_", tables.FACT)):
            raise wrong(f"table.{key}", "a name that no other column has", key)
        if column.form == "boolean" and len(factors[column.of]) != 2:
            raise wrong(f"table.{key}.of", "a factor of two values, for its form is boolean",
                        column.of)  # fmt: skip
        if column.reliability < 1 and len(factors[column.of]) < 2:
            raise wrong(f"table.{key}.reliability", "1, for the factor has one value",
                        column.reliability)  # fmt: skip
    counts = {len(factors[name]) for name in setting.split.over}
    if not any(count % setting.split.modulo == 0 for count in counts):
        raise wrong("split.modulo", "a divisor of the number of values of one of " +
                    ", ".join(setting.split.over), setting.split.modulo)  # fmt: skip
    if setting.label and setting.label.rule == "equality":
        first, second = (factors[name] for name in setting.label.of)
        if first != second or len(first) < 2:
            raise wrong("label.of", "two factors with the same values, at least 2",
                        list(setting.label.of))  # fmt: skip
    asked = {key: value for key, value in setting.bits if value}
    if asked and not (setting.label and setting.label.rule == "bits"):
        raise wrong("bits", "label: {rule: bits} with it", asked)
    if setting.label and setting.label.rule == "bits":
        _carried(setting, wrong)


def _carried(setting: Setting, wrong: Callable[..., RecipeError]) -> None:
    """Whether every knob has factors that carry it, where they should be and nowhere else."""
    if not setting.components:
        raise wrong("bits", "at least one knob above 0", dict(setting.bits))
    if setting.distinct and setting.things == 2:
        raise wrong("distinct", "false, for the components are independent", True)
    for knob, (carriers, modulo) in setting.components.items():
        for name in carriers:
            count = len(setting.factors.get(name, ()))
            if not count or count % modulo:
                raise wrong(f"bits.{knob}", f"a multiple of {modulo} values of {name}", count)
    if setting.things == 2 and setting.relations != 1:
        raise wrong("relations", "1, so that the picture shows which thing is the first",
                    setting.relations)  # fmt: skip
    told = {"redundancy": ("colour_1",), "unique_text": ("word",), "synergy": ("named_colour",)}
    for knob, names_told in told.items():
        if knob in setting.components and not set(names_told) <= set(setting.mentions):
            raise wrong("mentions", f"{names_told[0]}, which carries {knob}", setting.mentions)
    for knob, name in (("unique_image", "ground"), ("synergy", "colour_2")):
        if knob in setting.components and name in setting.mentions:
            raise wrong("mentions", f"nothing of {name}, which {knob} leaves to the picture", name)
