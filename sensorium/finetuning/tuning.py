"""`finetune`: a trained run learns a task on new data; before and after of both tasks are told.

    run = finetune("runs/clip-1", "tiles.csv", "classification", label="colour")
    run.predict(["a.png", "b.png"])

The new run is a run like any other: it resumes, evaluates, reports and searches, and needs its
source no more. What is taken over is in `inheriting.py`, what trains in `adapting.py`, the recipe
in `deriving.py`, which records may test it in `splitting.py`, the table of before and after in
`forgetting.py`.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from sensorium import devices, reading
from sensorium.errors import RecipeError, UserError, command
from sensorium.finetuning import deriving, splitting
from sensorium.finetuning.deriving import Wish
from sensorium.records import Records
from sensorium.run import Run, refuse_used

if TYPE_CHECKING:
    from sensorium.pretraining import Watcher
    from sensorium.recipe import Recipe

UNUSED = "validation chose step 0: nothing of the tuning is used"


def finetune(
    run: str | Path | Run,
    data: str | Path,
    task: str,
    method: str = "full",
    *,
    out: str | Path | None = None,
    budget: str | None = None,
    seed: int | None = None,
    label: str | None = None,
    fields: dict[str, str] | None = None,
    rank: int = 8,
    interpolate: float | None = None,
    overrides: list[str] | None = None,
    workers: int = 0,
    device: str = "cpu",
    watcher: Watcher | None = None,
) -> Run:
    """Trains a finished run further, on a task and data of its own, into a new run.

    Args:
        run: the source, finished; it is not changed.
        data: as for `pretrain`.
        task: `classification` (a field holds the class), `answering` (a picture, a question, and
            answers from a closed set), `captioning` (words are written about a picture), or
            `retrieval` (contrast on the new data).
        method: `full`, `linear` (the head alone), `freeze` (all but the encoders) or `lora`.
        out: the new run's directory, new or empty; `runs/RECIPE_TASK-N` by default.
        budget: as for `pretrain`; `2min`, and at most 20 epochs of it, by default.
        seed: of every draw; the source's by default.
        label: the field with the classes or answers, where it is not plain which.
        fields: field -> modality; of pictures and texts, those given by hand are all that take
            part.
        rank: of LoRA's updates.
        interpolate: WiSE-FT: the share of the tuned weights in what is kept, 0 to 1.
        overrides: `optimiser.learning_rate=1e-4`.
        workers: processes that make batches ahead; changes no draw.
        device: `cpu`, `cuda`, `mps`.
        watcher: who is told how it goes.

    Raises:
        UserError: the source, the data, the task or an option is not as expected. A run that could
            not begin leaves no files.
        Stopped: SIGTERM or SIGINT; everything is saved, `resume` goes on.
    """
    began = time.monotonic()
    devices.check(device)
    wish = Wish(
        task, method, label, fields, rank, interpolate, budget, seed, tuple(overrides or ())
    )
    recipe, records = prepared(run, data, wish, out)
    from sensorium import pretraining
    from sensorium.recipe import member, members

    watcher = watcher or pretraining.Silent()
    for kind, path, options in members(recipe):
        member(kind, path, options)
    place = Path(out) if out is not None else pretraining.fresh(recipe.name)
    for note in recipe.departures:
        watcher.say("note", note)
    for line in _unknown(records):
        watcher.say("classes", line)
    seen = splitting.overlap(run if isinstance(run, Run) else Run.open(run), records)
    if seen["records"] != 0:
        watcher.say("overlap", splitting.overlap_line(seen))
    facts = {"seen_by_source": seen}
    return pretraining.carry_out(place, recipe, records, watcher, began, workers, device, facts)


def prepared(
    run: str | Path | Run, data: str | Path, wish: Wish, out: str | Path | None = None
) -> tuple[Recipe, Records]:
    """The new run's recipe, and its data as read. Loads no torch.

    Raises:
        UserError: as `finetune`.
    """
    source = run if isinstance(run, Run) else Run.open(run)
    _ = source.best_step
    deriving.refuse(source.recipe, wish)
    if out is not None:
        refuse_used(Path(out))
    found = reading.read(data, wish.fields or None, need=())
    columns = [name for name, kind in source.info["fields"].items() if kind == "table"]
    taken = deriving.fields(source.recipe, wish, found, columns)
    why = deriving.why_label(wish, found) if wish.labelled else ""
    deriving.refuse_empty(found, taken, why)
    recipe = deriving.derive(source, wish, taken)
    records = reading.read(data, taken, train=(*recipe.modalities, *recipe.targets))
    records = splitting.as_before(source, records)
    deriving.refuse_classes(records, why)
    return recipe, records


def _unknown(records: Records) -> list[str]:
    """What must be said of classes that training has no record of: none of those can be right."""
    if "label" not in records.fields.values():
        return []
    field = records.field_of("label")

    def classes(split: str) -> Counter[str]:
        return Counter(str(records[at].fields.get(field)) for at in records.positions(split))

    known, lines = classes("train"), []
    for split in ("validation", "test"):
        strange = {name: n for name, n in classes(split).items() if name not in known}
        if strange:
            names = ", ".join(sorted(strange)[:5]) + (", …" if len(strange) > 5 else "")
            lines.append(
                f"{len(strange):,} of the {split} split are not in training ({names}): none of "
                f"their {sum(strange.values()):,} records can be right"
            )
    return lines


def refuse_unasked(run: Run, what: str) -> None:
    """Raises a UserError where a run cannot do what is asked of it; reads run.json alone.

    Args:
        what: `predict`, `answer` or `caption`.

    Raises:
        RunError: it has not finished.
    """
    _ = run.best_step
    recipe, uses = run.recipe, [x["use"] for x in run.recipe.objectives]
    task, able = {
        "predict": ("classification", "classification" in uses),
        "answer": (
            "answering",
            "classification" in uses and {"image", "text"} <= set(recipe.modalities),
        ),
        "caption": ("captioning", "generation" in uses and deriving.writes(recipe)),
    }[what]
    if not able:
        learned = ", ".join(dict.fromkeys(uses))
        see: str | None = command("finetune", run.folder, "DATA", "--task", task)
        try:
            deriving.refuse(recipe, Wish(task))
        except RecipeError as error:  # this run cannot learn it either
            see = error.see
        raise UserError(
            f"{run.folder} cannot {what}",
            expected=f"a run that learned {task}",
            found=f"recipe {recipe.name}, which learned {learned}",
            see=see,
        )
