"""A run: one directory that holds all that was decided, learned and measured.

run.json         what was asked, on which data, how long; versions and machine
recipe.yaml      the complete recipe
splits.json      record key -> split, as it was when training began
rejected.jsonl   what was set aside, with reasons
modalities/      what reading learned from the training split, e.g. text/tokenizer.json
checkpoints/     the newest and the best step
source/, kept/   of a fine-tuned run: see `inheriting.py`
log.jsonl        losses and validation scores
evaluation/      scores by split, with controls
index/           vectors for search
report.html
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium import __version__, devices, files, integrity
from sensorium.errors import DataError, RecipeError, RunError, clip, command, nearest, unknown
from sensorium.integrity import read_json
from sensorium.layouts._header import Unusable, look
from sensorium.recipe import Recipe, check, to_yaml
from sensorium.records import SPLITS, Blob, Field, Record, Records, field_of

if TYPE_CHECKING:
    import numpy as np

    from sensorium.index import Built
    from sensorium.prepare import Column, Progress, Reader
    from sensorium.step import Step
    from sensorium.store import Index

FORMAT = 1


@dataclass
class Run:
    """An existing run directory. Opening one reads JSON only; the model loads when first used.

    `missing`: keys of the run's records that its data no longer has, known once it was read.
    """

    folder: Path
    recipe: Recipe
    info: dict[str, Any]
    device: str = "cpu"
    missing: list[str] = field(default_factory=list)
    _step: Step | None = field(default=None, repr=False)
    _readers: dict[str, Reader] = field(default_factory=dict, repr=False)
    _records: Records | None = field(default=None, repr=False)
    _index: Index | None = field(default=None, repr=False)

    # --- making and opening ------------------------------------------------------------------

    @classmethod
    def create(cls, folder: Path, recipe: Recipe, info: dict[str, Any]) -> Run:
        """Writes a new run's fixed files.

        Raises:
            RunError: the folder already holds something.
        """
        folder = Path(folder)
        refuse_used(folder)
        folder.mkdir(parents=True, exist_ok=True)
        info = {
            "format": FORMAT,
            "sensorium": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "recipe": recipe.model_dump(mode="json"),
            "recipe_hash": recipe.hash,
            **info,
        }
        run = cls(folder, recipe, info)
        run.note()
        files.write_bytes(folder / "recipe.yaml", to_yaml(recipe).encode())
        return run

    @classmethod
    def open(cls, folder: str | Path, device: str = "cpu") -> Run:
        """Opens a run directory.

        Raises:
            RunError: no run there, a newer format, or its files contradict each other.
            UserError: no such device.
        """
        folder = Path(folder)
        file = folder / "run.json"
        if not file.is_file():
            raise _no_run(folder)
        info = read_json(file, "a run's JSON")
        kinds = dict(format=int, recipe=dict, recipe_hash=str, data=str, fields=dict)
        for name, kind in kinds.items():
            if type(info.get(name)) is not kind:
                raise RunError(file=file, field=name, expected=kind.__name__,
                               found=clip(info[name]) if name in info else "nothing")  # fmt: skip
        if info["format"] > FORMAT:
            raise RunError(
                file=file,
                expected=f"run format up to {FORMAT}",
                found=f"{info['format']}, written by sensorium {info.get('sensorium')}",
                see="pip install --upgrade sensorium",
            )
        try:
            recipe = check(info["recipe"])
        except RecipeError as error:
            raise RunError(
                f"its recipe: {error.what}", file=file, expected=error.expected,
                found=error.found, nearest=error.nearest,
                see="--shelf PACKAGE, if the run was trained with shelves of your own",
            ) from None  # fmt: skip
        if recipe.hash != info["recipe_hash"]:
            raise RunError(
                file=file,
                expected=f"the recipe that the run began with ({info['recipe_hash'][:12]})",
                found=f"another one ({recipe.hash[:12]})",
            )
        return cls(folder, recipe, info, devices.check(device))

    def note(self, **facts: Any) -> None:
        """Adds facts to run.json."""
        self.info.update(facts)
        files.write_json(self.folder / "run.json", self.info)

    def withdraw(self) -> None:
        """Deletes what was written before training, for a run that could not begin; no more."""
        for name in ("run.json", "recipe.yaml", "splits.json", "contents.json", "rejected.jsonl"):
            (self.folder / name).unlink(missing_ok=True)
        for name in ("modalities", "source", ".source.tmp"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    # --- what it was trained on ---------------------------------------------------------------

    @property
    def fields(self) -> dict[str, str]:
        """modality -> the field that carries it in the run's data."""
        return {kind: name for name, kind in reversed(self.info["fields"].items())}

    def field(self, modality: str) -> Field:
        """What a modality or target reads of a record: its field, or several that are one."""
        return field_of(self.info["fields"], modality)

    def records(self) -> Records:
        """The run's data, read again, with the splits as they were.

        Raises:
            DataError: the data is not where it was, or cannot be read. RunError: it has none.
        """
        if self._records is None:
            from sensorium import reading

            if told := self.info.get("without_data"):
                raise RunError(file=self.folder, expected="records of its own", found=told)
            needed = (*self.recipe.modalities, *self.recipe.targets)
            records = reading.read(self.info["data"], self.info["fields"], train=needed)
            splits = read_json(self.folder / "splits.json", "record keys with their splits")
            found = {record.key: record for record in records}
            # In the order in which training began; records that came later are not this run's.
            records.records = [
                replace(found[key], split=split) for key, split in splits.items() if key in found
            ]
            self.missing = [key for key in splits if key not in found]
            self._records = records
        return self._records

    def remember(self, records: Records) -> None:
        """Stores splits and their order, once; and what was set aside, as far as it is known."""
        self._records = records
        if not (self.folder / "splits.json").exists():
            files.write_json(
                self.folder / "splits.json", {record.key: record.split for record in records}
            )
        lines = [
            {**vars(x.source), "key": x.key, "field": x.field, "reason": x.reason}
            for x in records.rejected
        ]
        told = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        files.write_bytes(self.folder / "rejected.jsonl", told.encode())

    # --- modules --------------------------------------------------------------------------------

    def reader(self, modality: str) -> Reader:
        """Who reads one modality, as fitted on this run's training split.

        Raises:
            RecipeError: the recipe has no such modality.
            RunError: what was fitted is damaged or gone.
        """
        if modality not in self._readers:
            if modality not in (*self.recipe.modalities, *self.recipe.targets):
                raise unknown("modality of this run", modality, self.recipe.modalities, RecipeError)
            integrity.check(self.folder, self.info, f"modalities/{modality}")
            from sensorium.prepare import Reader

            reader = Reader(self.recipe, modality, self.device)
            place = self.folder / "modalities" / modality
            if place.is_dir() or self._fitted(modality):
                reader.modality.load(place)
            self._readers[modality] = reader
        return self._readers[modality]

    def _fitted(self, modality: str) -> bool:
        """Whether reading a modality learned something, as recipe and run.json alone can tell."""
        options = self.recipe.modalities.get(modality, {"tokenizer": "trained"})  # else a target
        return "fitted" in self.info and options.get("tokenizer") == "trained"

    def fit_readers(self, records: Records) -> None:
        """Fits what reading learns (a tokenizer, classes) on the training split, and stores it; a
        fine-tuned run keeps the tokenizer of its source."""
        from sensorium.prepare import fitted_on

        train = [records[at] for at in records.positions("train")]
        fitted = (*([] if self.recipe.tune else self.recipe.modalities), *self.recipe.targets)
        for modality in fitted:
            where = fitted_on(self.recipe, records.fields, modality)
            self.reader(modality).modality.fit(train, where)
        self.keep_readers(fitted)

    def keep_readers(self, names: Sequence[str]) -> None:
        """Stores what the readers of some modalities or targets have learned."""
        for modality in names:
            for name, data in self.reader(modality).modality.state().items():
                place = self.folder / "modalities" / modality
                place.mkdir(parents=True, exist_ok=True)
                files.write_bytes(place / name, data)

    def build(self) -> Step:
        """The run's Step with initial weights."""
        from sensorium.building import build

        return build(self.recipe, self.modalities).to(self.device)

    @property
    def modalities(self) -> dict[str, Any]:
        """Modality or target -> the object that reads it, as fitted."""
        names = (*self.recipe.modalities, *self.recipe.targets)
        return {name: self.reader(name).modality for name in names}

    @property
    def columns(self) -> dict[str, tuple[str, Field]]:
        """What a batch is made of: modality, variant with a field of its own (`text#1`) or target
        -> (who reads it, which field)."""
        from sensorium.prepare import fields_read

        return fields_read(self.recipe, self.info["fields"])

    @property
    def compares(self) -> bool:
        """Whether its objectives compare vectors of pictures and texts, so that it can search."""
        if isinstance(known := self.info.get("compares"), bool):
            return known  # noted when it was trained, so that a mistake is told before torch loads
        from sensorium.building import compared

        return {"image", "text"} <= set(compared(self._step or self.build()))

    @property
    def best_step(self) -> int:
        """The step that validation chose.

        Raises:
            RunError: training has not finished.
        """
        best = self.info.get("best_step")
        if not isinstance(best, int):
            raise RunError(
                file=self.folder,
                expected="a finished run",
                found="one that has not finished training",
                see=command("resume", self.folder),
            )
        return best

    @property
    def step(self) -> Step:
        """The trained Step: weights of the best step on validation.

        Raises:
            RunError: no checkpoint yet, or it is damaged.
        """
        if self._step is None:
            best = self.best_step
            from sensorium import checkpoint

            kept = self.folder / "kept"  # what fine-tuning made of the checkpoint, where it did
            place = kept if kept.exists() else self.folder / "checkpoints"
            found = checkpoint.load(place, best, self.recipe.hash)
            self._step = self.build()
            self._step.load_state_dict(found.state["model"])
            self._step.eval()
        return self._step

    @step.setter
    def step(self, step: Step) -> None:
        """The Step that it is asked with from now on."""
        self._step = step

    @property
    def width(self) -> int:
        """Values of a stored vector."""
        return self.step.model.vector_width(next(iter(self.recipe.modalities)))

    def column(self, modality: str, records: list[Record], progress: Any = None) -> Column:
        """Prepared contents of one modality over some records; bad ones are absent."""
        from sensorium.prepare import column

        return column(self.reader(modality), records, self.field(modality), progress)[0]

    def embed(self, modality: str, column: Column) -> np.ndarray:
        """Vectors of all items of a prepared column, float32 [items, e], unit length."""
        from sensorium.embedding import embed

        return embed(self.step, self.recipe, self.reader(modality), column, self.device)

    def vector(self, modality: str, value: Any, name: str) -> np.ndarray:
        """The vector of one value, e.g. some words or a file; float32 [e].

        Raises:
            DataError: the value cannot be read as that modality.
        """
        from sensorium.prepare import one

        return self.embed(modality, one(self.reader(modality), value, name))[0]

    # --- what people ask of it ----------------------------------------------------------------

    def evaluate(self, split: str = "test") -> list[dict[str, Any]]:
        """Scores of one split with their controls; stored under evaluation/.

        Raises:
            RunError: no such split.
        """
        if split not in SPLITS:
            raise unknown("split", split, SPLITS, RunError)
        _ = self.best_step  # whether it is finished is told before torch loads,
        from sensorium.evaluation import evaluate

        _ = self.step  # and what is wrong with the weights before the data is read
        return evaluate(self, split)

    def scores(self, split: str = "test") -> list[dict[str, Any]]:
        """The stored scores of one split.

        Raises:
            RunError: they are missing or damaged.
        """
        try:
            file = self.folder / "evaluation" / f"{split}.json"
            scores = read_json(file, "scores", list)
            if not scores or not all(isinstance(score, dict) for score in scores):
                raise RunError(file=file, expected="scores", found=clip(scores))
            return scores
        except RunError as error:
            error.see = command("evaluate", self.folder, "--split", split)
            raise

    def index(
        self,
        data: str | Path | None = None,
        progress: Progress | None = None,
        fields: dict[str, str] | None = None,
        only: Container[str] | None = None,
    ) -> Built:
        """Indexes a data set (by default the run's own) for search; embeds only what is new.

        Raises:
            DataError: the data cannot be read, or nothing in it can be indexed.
            RunError: the run has not finished, or another process is indexing.
        """
        from sensorium.index import build

        return build(self, self.info["data"] if data is None else data, progress, fields, only)

    def search(
        self,
        words: str | None = None,
        *,
        image: str | Path | None = None,
        like: str | None = None,
        k: int = 10,
        where: dict[str, Any] | None = None,
        among: str | None = None,
    ) -> list[dict[str, Any]]:
        """The k indexed records nearest to words, a picture or a record; see `search.search`.

        Raises:
            DataError: none or several of words, image and like are given; an unreadable picture;
                an unknown key, field or modality.
            RunError: nothing is indexed yet, or it is the index of another run.
        """
        if image is not None:
            refuse_unreadable(image)  # before torch loads
        from sensorium.search import search

        return search(self, words=words, image=image, like=like, k=k, where=where, among=among)

    def match(self, file: str | Path, words: str) -> dict[str, Any]:
        """How well a picture and words fit, beside the run's own right and wrong pairs.

        Raises:
            DataError: the file is no picture, or there is nothing in the words.
        """
        refuse_unreadable(file)
        if not words.strip():
            raise DataError("match", expected="words", found="none")
        _ = self.best_step  # before torch loads
        from sensorium.evaluation import match

        return match(self, file, words)

    def predict(
        self, items: Sequence[Any], words: Any = None, top: int = 5, cells: Any = None
    ) -> list[dict[str, Any]]:
        """The likeliest classes of pictures, texts or tables; see `predicting.predict`."""
        from sensorium.finetuning.predicting import predict

        return predict(self, items, words, top, cells)

    def example(self) -> str:
        """A text, of the test split where it has one, to try a search with."""
        records = self.records()
        for record in (*(records[at] for at in records.positions("test")), *records):
            value = record.fields.get(self.fields["text"])
            for text in value if isinstance(value, list) else [value]:
                if text:
                    return str(text)
        return "a red boat"

    def report(self) -> Path:
        """Writes report.html and returns its path."""
        from sensorium.report.collecting import write

        return write(self)


def _no_run(folder: Path) -> RunError:
    """The error for a folder that is no run, with the nearest that is: beside it, or in runs/."""
    places = [folder.parent, *([Path("runs")] if folder.parent == Path() else [])]
    runs = {x.name: x for place in places for x in place.glob("*") if (x / "run.json").exists()}
    near = nearest(folder.name, runs)
    return RunError(
        file=folder,
        expected="a run directory (with run.json)",
        found="a folder without one" if folder.is_dir()
        else "a file" if folder.exists() else "nothing",
        nearest=None if near is None else str(runs[near]),
    )  # fmt: skip


def refuse_unreadable(file: str | Path | Blob) -> None:
    """Raises a DataError where a picture to ask with is missing (names the nearest file) or none.

    Looks at the header only; what is damaged behind it is told when it is decoded.
    """
    if isinstance(file, Blob):
        return
    path = Path(file)
    try:
        with open(path, "rb") as stream:
            look(stream)
    except Unusable as reason:
        raise DataError(str(reason), file=path) from None
    except OSError as error:
        beside = [x.name for x in path.parent.iterdir()] if path.parent.is_dir() else []
        near = nearest(path.name, beside) if isinstance(error, FileNotFoundError) else None
        raise DataError(
            file=path,
            expected="a picture",
            found=error.strerror or str(error),
            nearest=None if near is None else str(path.parent / near),
        ) from None


def refuse_used(folder: Path) -> None:
    """Raises a RunError where a new run would overwrite something."""
    if folder.exists() and (not folder.is_dir() or _contents(folder)):
        kind = "a run" if (folder / "run.json").exists() else "something"
        raise RunError(
            file=folder,
            expected="a new or empty folder to write the run to",
            found=f"{kind} already there; nothing was overwritten",
            see=command("resume", folder) if kind == "a run" else None,
        )


def _contents(folder: Path) -> list[Path]:
    """What a folder holds besides the claim of whoever is about to fill it."""
    return [x for x in folder.iterdir() if not x.name.startswith((".", "claim."))]
