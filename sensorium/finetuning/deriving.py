"""From a trained run and a task to the recipe of its fine-tuning, and which fields take part.

Reads JSON and recipes only and loads no torch: what cannot work is answered at once. The source
keeps its modalities, encoders, fusion, towers and reading; only what is asked of it is new.
"""

from __future__ import annotations

import ast
import dataclasses
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from sensorium import reading, shelf, tables
from sensorium import recipe as recipes
from sensorium.errors import DataError, RecipeError, UserError, clip, nearest, unknown
from sensorium.finetuning import splitting
from sensorium.recipe_changes import override
from sensorium.records import SPLITS, Blob, Records
from sensorium.tables import LABELS

if TYPE_CHECKING:
    from sensorium.recipe import Recipe
    from sensorium.run import Run

TASKS = ("classification", "retrieval", "captioning", "answering")
METHODS = ("full", "linear", "lora", "freeze")
# Learning rate over the source's. Full: 1/5, as ALBEF tunes at 2e-5 what it trained at 1e-4
# (arXiv 2107.07651, section 3.4 and appendix A); what moves fewer parameters may move them faster.
RATES = {"full": 0.2, "freeze": 0.5, "lora": 1.0, "linear": 2.0}
UNDECAYED = ("linear", "lora")  # methods that train without weight decay
BATCH = 64  # records at most where no contrast needs the others as negatives
EPOCHS = 20  # bound on a time budget


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the user asked for; see `finetuning.finetune`."""

    task: str
    method: str = "full"
    label: str | None = None
    fields: dict[str, str] | None = None
    rank: int = 8
    interpolate: float | None = None
    budget: str | None = None
    seed: int | None = None
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise unknown("task", self.task, TASKS)
        if self.method not in METHODS:
            raise unknown("method", self.method, METHODS)
        if self.rank < 1:
            raise UserError(field="rank", expected="1 or more", found=str(self.rank))
        if self.interpolate is not None and not 0 <= self.interpolate <= 1:
            raise UserError(
                field="interpolate",
                expected="a share of the tuned weights from 0 to 1",
                found=str(self.interpolate),
            )
        if self.budget is not None:
            recipes.parse_budget(self.budget)

    @property
    def labelled(self) -> bool:
        """Whether it needs a class for each record."""
        return self.task in ("classification", "answering")


def refuse(source: Recipe, wish: Wish) -> None:
    """Raises a RecipeError where a model of that recipe cannot learn the task, whatever the data;
    names the recipes that can."""
    both = {"image", "text"} <= set(source.modalities)
    blocks = all(source.encoders[m].get("depth") != 0 for m in source.modalities)
    if wish.task == "captioning" and not writes(source):
        expected = "a fusion in which words see the picture, and an encoder of word ids"
        found = f"fusion {source.fusion['use']}, text by {_text_of(source)}"
        able = writes
    elif wish.task == "answering" and not both:
        expected, found = "a model of pictures and texts", " and ".join(source.modalities)
        able = _both
    elif wish.task == "retrieval" and not (both and blocks):
        expected = "encoders of pictures and of texts that work alone"
        found = " and ".join(source.modalities) if not both else "encoders without blocks"
        able = _alone
    elif wish.task == "captioning" and wish.method == "linear" and not source.head.transform:
        raise RecipeError(
            f"method linear trains nothing of recipe {source.name} for captioning",
            field="method",
            expected="a head with parameters of its own",
            found="one that is the table of words itself, which belongs to the encoder",
            see="--method freeze, lora or full",
        )
    else:
        _refuse_rank(source, wish)
        return
    raise RecipeError(
        f"recipe {source.name} cannot learn {wish.task}",
        expected=expected,
        found=found,
        see="a run of " + ", ".join(_recipes(able)),
    )


def _refuse_rank(source: Recipe, wish: Wish) -> None:
    """An update of a rank above a matrix's smaller side would be that matrix trained in full."""
    sides = {
        f"the {name} encoder": int(encoder["width"])
        for name, encoder in source.encoders.items()
        if "width" in encoder and encoder.get("depth") != 0
    }
    if wish.method != "lora" or not sides:
        return
    least = min(sides, key=sides.__getitem__)
    if wish.rank > sides[least]:
        raise RecipeError(
            field="rank",
            expected=f"{sides[least]} or less, the width of {least}",
            found=str(wish.rank),
            see="--method full",
        )


def accepts(recipe: Recipe, task: str) -> bool:
    """Whether a model of a recipe can learn a task, whatever the data."""
    try:
        refuse(recipe, Wish(task))
    except RecipeError:
        return False
    return True


def writes(recipe: Recipe) -> bool:
    """Whether a model of the recipe can write about pictures: words see them, ids come out."""
    return (
        {"image", "text"} <= set(recipe.modalities)
        and "text" not in recipe.prepare
        and recipe.encoders["text"].get("use") == "transformer"
        and _says(recipe.fusion, "meets")
        and _says(recipe.fusion, "decodes")
    )


def _text_of(recipe: Recipe) -> str:
    if "text" not in recipe.modalities:
        return "nothing"
    return str({**recipe.encoders, **recipe.prepare}["text"]["use"])


def _both(recipe: Recipe) -> bool:
    return {"image", "text"} <= set(recipe.modalities)


def _alone(recipe: Recipe) -> bool:
    return _both(recipe) and all(x.get("depth") != 0 for x in recipe.encoders.values())


def _recipes(able: Any) -> list[str]:
    return [name for name in shelf.names("recipes") if able(recipes.load(name))]


def _says(fusion: dict[str, Any], what: str) -> bool:
    """A fact that a fusion's class states about itself, read from its source."""
    tree = ast.parse(shelf.path("fusion", str(fusion["use"])).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Fusion":
            for item in node.body:
                if isinstance(item, ast.Assign) and getattr(item.targets[0], "id", "") == what:
                    return bool(ast.literal_eval(item.value))
    return False


# --- which fields take part -------------------------------------------------------------------


def fields(
    source: Recipe, wish: Wish, found: Records, columns: Collection[str] = ()
) -> dict[str, str]:
    """field -> modality or `label`, of what takes part.

    Fields of pictures and texts that are given by hand are all that take part; else the first
    picture and the likeliest text, without the field of the class, and for a model of tables what
    is left. Of its table a model reads the columns that it knows.

    Args:
        found: the data, read with nothing needed.
        columns: those of the table that the model learned.

    Raises:
        DataError: no such field, a column of the table that the model does not know, no field for
            the class or several, or nothing that the model reads.
    """
    held = list(dict.fromkeys(name for record in found for name in record.fields))
    told = dict(wish.fields or {})
    for name in told:
        if name not in held:
            raise _no_field(found, name, held)
    why = ""
    if wish.labelled and "label" not in told.values():
        name, why = _label(wish, found, held)
        if name in told:
            raise _taken_twice(found, name, told[name], why)
        told[name] = "label"
    if wish.task == "answering" and "question" in held and "text" not in told.values():
        if told.get("question") == "label":
            raise _taken_twice(found, "question", "question", why)
        told["question"] = "text"
    _refuse_pictures(found, told)
    by_hand = bool({"image", "text"} & set(told.values())) and wish.task != "answering"
    if not by_hand:
        rest = [
            dataclasses.replace(
                record, fields={k: v for k, v in record.fields.items() if k not in told}
            )
            for record in found.records[: reading.SAMPLE]
        ]
        for name, kind in reading.infer(Records(found.name, rest)).items():
            if kind in source.modalities and kind not in told.values():
                told[name] = kind
        if "table" in source.modalities:
            inferred = tables.infer(Records(found.name, found.records, dict(told)))
            told |= {name: kind for name, kind in inferred.items() if name in columns}
    for name, kind in told.items():
        if kind == "table" and name not in columns:
            raise DataError(
                file=found.name, field=name, found="another",
                expected="a column of the model's table: " + (", ".join(columns) or "it has none"),
                nearest=nearest(name, columns),
            )  # fmt: skip
    wanted = [m for m in source.modalities if m in told.values()]
    if not wanted or (wish.task != "classification" and len(wanted) < len(source.modalities)):
        lacking = [m for m in source.modalities if m not in wanted]
        raise DataError(
            file=found.name,
            expected=("fields for " if len(lacking) > 1 else "a field for ")
            + (" and " if wish.task != "classification" else " or ").join(lacking)
            + f", which recipe {source.name} reads",
            found=(_held(found) or "no fields") + _spent(told, why),
            see="--field FIELD=" + lacking[0],
        )
    return {name: kind for name, kind in told.items() if kind in (*wanted, "label")}


def _taken_twice(found: Records, name: str, other: str, why: str) -> DataError:
    return DataError(
        file=found.name,
        field=name,
        expected="one field for the class and another for the " + other,
        found=f"{name} for both" + (f" (the class {why})" if why else ""),
        see="--label FIELD",
    )


def _refuse_pictures(found: Records, told: dict[str, str]) -> None:
    for name, kind in told.items():
        if kind == "label" and reading.kinds_of(found).get(name) == "image":
            raise DataError(
                file=found.name,
                field=name,
                expected="a field of words or numbers, for it was taken as the class",
                found="pictures",
                see="--label FIELD",
            )


def _spent(told: dict[str, str], why: str) -> str:
    """Which field was taken as the class, so that it can be nothing else."""
    spent = [name for name, kind in told.items() if kind == "label"]
    return f"; {spent[0]} was taken as the class {why}".rstrip() if spent else ""


def why_label(wish: Wish, found: Records) -> str:
    """What made a field the class: `as --label says`, `for its name`, or that its values repeat."""
    if "label" in (wish.fields or {}).values():
        return "as --field says"
    held = list(dict.fromkeys(name for record in found for name in record.fields))
    return _label(wish, found, held)[1]


def _held(found: Records) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in reading.kinds_of(found).items())


def _no_field(found: Records, name: str, held: list[str]) -> DataError:
    return DataError(
        file=found.name,
        field=name,
        expected="one of " + ", ".join(held),
        found="no such field",
        nearest=nearest(name, held),
    )


def _label(wish: Wish, found: Records, held: list[str]) -> tuple[str, str]:
    """The field with the classes, and why: as told, by its name, or the only one whose values
    repeat."""
    if wish.label is not None:
        if wish.label not in held:
            raise _no_field(found, wish.label, held)
        return wish.label, "as --label says"
    named = [name for name in held if name.lower() in LABELS]
    if wish.task == "answering" and "answer" in named:
        return "answer", "for its name"
    counts = {name: _classes(found, name) for name in held}
    repeated = [name for name, count in counts.items() if 1 < 2 * count <= len(found)]
    if len(named or repeated) == 1:
        if named:
            return named[0], "for its name"
        return repeated[0], "as the only one whose values repeat"
    candidates = ", ".join(f"{name} ({counts[name]:,} different)" for name in named or repeated)
    raise DataError(
        file=found.name,
        field="label",
        expected="one field with the classes: --label FIELD",
        found=f"candidates {candidates}" if candidates else "fields " + (_held(found) or "none"),
    )


def _classes(found: Records, name: str) -> int:
    """How many different texts or numbers a field holds."""
    return len(Counter(_texts(found, name)))


def _texts(found: Records, name: str) -> list[str]:
    values = (record.fields.get(name) for record in found)
    return [str(v).strip() for v in values if v is not None and not isinstance(v, Blob | list)]


def refuse_classes(records: Records, why: str = "") -> None:
    """Raises a DataError where classes cannot be learned or asked: fewer than two in training, most
    values of the field found once, or none of training's classes in validation or test.

    Args:
        why: what made the field the class.
    """
    if "label" not in records.fields.values():
        return
    name = records.field_of("label")
    of = {split: _split_texts(records, name, split) for split in SPLITS}
    see = f"{name} was taken as the class {why}; --label FIELD takes another" if why else None
    known = set(of["train"])
    if len(known) < 2:
        raise DataError(
            file=records.name,
            field=name,
            expected="at least two classes in the training split",
            found=f"only {clip(known.pop())}" if known else "empty cells only",
            see=see,
        )
    times = Counter(text for texts in of.values() for text in texts)
    once = sum(count == 1 for count in times.values())
    if 2 * once > times.total():
        raise DataError(
            file=records.name,
            field=name,
            expected="classes: values that most records share with others",
            found=f"{once:,} of {times.total():,} records with a value that no other has",
            see=see,
        )
    for split in ("validation", "test"):
        if not known & set(of[split]):
            raise DataError(
                file=records.name,
                field=name,
                expected=f"{split} records of a class that training has",
                found=f"{len(of[split]):,} {split} records with a class, none of them of those",
                see=see,
            )


def _split_texts(records: Records, name: str, split: str) -> list[str]:
    part = Records(records.name, [records[at] for at in records.positions(split)])
    return [text for text in _texts(part, name) if text]


def refuse_empty(found: Records, taken: dict[str, str], why: str = "") -> None:
    """Raises a DataError where a field that takes part holds nothing at all.

    Args:
        why: what made a field the class.
    """
    for name, kind in taken.items():
        values = [record.fields.get(name) for record in found]
        if not any(value not in (None, "", []) and str(value).strip() for value in values):
            what = {"label": "classes", "text": "texts", "image": "pictures"}.get(kind, kind)
            raise DataError(
                file=found.name,
                field=name,
                expected=what,
                found="empty cells only",
                see=f"it was taken as the class {why}; --label FIELD takes another"
                if kind == "label" and why
                else None,
            )


# --- the recipe -------------------------------------------------------------------------------


def derive(source: Run, wish: Wish, taken: dict[str, str]) -> Recipe:
    """The complete recipe of the new run.

    Args:
        source: a finished run.
        taken: field -> modality or `label`, of what takes part.

    Raises:
        RecipeError: the model cannot do it with these modalities, or an override is wrong.
    """
    old = source.recipe
    content: dict[str, Any] = old.model_dump(mode="json")
    kept = [m for m in old.modalities if m in taken.values()]
    notes = _narrow(content, old, kept)
    if wish.labelled and len(kept) > 1 and content["fusion"]["use"] == "none":
        content["fusion"] = {"use": "concatenate"}
        notes.append("fusion concatenate, untrained, joins what the source never let meet")
    options = content["optimiser"]
    options["learning_rate"] = _base_rate(source) * RATES[wish.method]
    options["weight_decay"] = 0.0 if wish.method in UNDECAYED else _base_decay(source)
    if wish.task != "retrieval":
        options["batch"] = min(options["batch"], BATCH)
    content.update(
        name=f"{old.name}_{wish.task}",
        summary=f"{wish.task}, fine-tuned ({wish.method}) from a run of {old.name}",
        survey=None,
        variants={},
        targets={"label": {"use": "label"}} if wish.labelled else {},
        teacher=content["teacher"] if wish.task == "retrieval" else None,
        tune=dict(
            run=str(source.folder.resolve()),
            method=wish.method,
            rank=wish.rank,
            interpolate=wish.interpolate,
        ),
        start="random",  # the source's weights take its place
        objectives=[_objective(old, wish, kept)],
        budget=wish.budget or "2min",
        most_epochs=EPOCHS,
        choose="rank" if wish.task == "retrieval" else "loss",
        seed=old.seed if wish.seed is None else wish.seed,
        departures=notes,
        published={},
    )
    for text in wish.overrides:
        override(content, text, recipes.Recipe.model_fields)
    return recipes.check(content)


def _base_rate(source: Run) -> float:
    """The learning rate that the first run of a chain was trained at: shares are not compounded."""
    *_, first = splitting.lineage(source)
    rate = first.recipe.optimiser.learning_rate
    tune = first.recipe.tune
    return rate if tune is None else rate / RATES[tune.method]  # what it came from is gone


def _base_decay(source: Run) -> float:
    """The weight decay of the first run of a chain: that some method went without is not kept."""
    for run in reversed([*splitting.lineage(source)]):  # the first may be gone
        if run.recipe.tune is None or run.recipe.tune.method not in UNDECAYED:
            return run.recipe.optimiser.weight_decay
    return recipes.Optimiser().weight_decay


def _narrow(content: dict[str, Any], old: Recipe, kept: list[str]) -> list[str]:
    """Leaves only some modalities in a recipe's plain data; says what that means."""
    if kept == list(old.modalities):
        return []
    for part in ("modalities", "prepare", "encoders", "order"):
        content[part] = {m: x for m, x in content[part].items() if m in kept}
    gone = ", ".join(m for m in old.modalities if m not in kept)
    if empty := [m for m in kept if old.encoders[m].get("depth") == 0]:
        raise RecipeError(
            f"recipe {old.name} with {' and '.join(kept)} alone",
            expected=f"{gone} too, for its blocks are all in fusion {old.fusion['use']}",
            found=f"an encoder of {empty[0]} without blocks",
            see="a run of " + ", ".join(_recipes(_alone)),
        )
    if len(kept) == 1:
        content["fusion"] = {"use": "none"}
    return [f"the data has no {gone}: that part of the source takes no part"]


def _objective(old: Recipe, wish: Wish, kept: list[str]) -> dict[str, Any]:
    if wish.labelled:
        return {"use": "classification"}
    use = {"retrieval": "contrastive", "captioning": "generation"}[wish.task]
    return next((dict(x) for x in old.objectives if x["use"] == use), {"use": use})
