"""What the data hold, and the few recipes that fit them and can be compared on one outcome.

Without a label: recipes that put pictures and texts into one space, judged by how often the right
picture comes first. With a label: classifiers from each modality alone and from all together, once
where modalities can interact and once where they only add up. Loads no torch.
"""

from __future__ import annotations

import dataclasses
import io
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sensorium import reading, recipe, towers
from sensorium.errors import DataError, clip, nearest
from sensorium.recipe import Recipe
from sensorium.records import Blob, Records

SIZE = "micro"  # of what is trained from scratch: a first answer, not the last one
ASKED = 4000  # test records that an outcome is measured on, at most
LABEL = "label"
SINGLE, ADDITIVE, JOINT = " alone", "joint, additive", "joint"
_READS = {"image": "pictures", "text": "texts", "table": "table"}
_MODALITIES: dict[str, dict[str, Any]] = {
    "image": {"use": "image", "size": 64, "patch": 8},
    "table": {"use": "table"},
    "text": {"use": "text", "tokenizer": "trained", "length": 64, "vocabulary": 8000},
}
_WIDE = {"width": 96, "depth": 2, "heads": 3}
_ENCODERS: dict[str, dict[str, Any]] = {
    "image": {"use": "vision_transformer", **_WIDE},
    "table": {"use": "tabular", **_WIDE, "depth": 1},
    "text": {"use": "transformer", **_WIDE},
}
_OPTIMISER = {"learning_rate": 1e-3, "weight_decay": 0.05, "beta1": 0.9, "beta2": 0.98,
              "warmup": 0.1, "batch": 128}  # fmt: skip
# With a shared space, so that all answer the same question; albef is the one that also fuses.
_PAIRED = ("lit", "plain_projections", "clip", "albef")


@dataclass(frozen=True)
class Subject:
    """The data that a choice is about.

    data: its name or path. fields: field -> modality, of all that take part. label: the field that
    is told, or None. train, test: records; test: those that are asked. luck: the outcome without
    skill: the commonest class's share of the test split, or 1 of the gallery. classes: how many,
    0 without a label. could_be: fields that would do as a label. pixels: the larger side of most
    pictures, 0 without.
    """

    data: str
    name: str
    fields: dict[str, str]
    label: str | None
    train: int
    test: int
    luck: float
    classes: int
    could_be: tuple[str, ...]
    pixels: int

    @classmethod
    def known(cls, content: dict[str, Any]) -> Subject:
        """From what `dataclasses.asdict` made of one, also after JSON."""
        return cls(**{**content, "could_be": tuple(content["could_be"])})

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that take part, in a fixed order; the label is none."""
        held = set(self.fields.values())
        return tuple(name for name in _MODALITIES if name in held)

    @property
    def outcome(self) -> str:
        """What every run is judged by; see `comparison.measure`."""
        return "retrieval:text_to_image@1" if self.label is None else "accuracy"


@dataclass(frozen=True)
class Candidate:
    """A recipe that takes part. shipped: its name on the shelf is all that a command needs."""

    name: str
    recipe: Recipe
    shipped: bool


def examine(data: str, fields: dict[str, str] | None = None, label: str | None = None) -> Subject:
    """Reads the data and refuses what no choice can be made for.

    Args:
        data: a data set's name or a path.
        fields: field -> modality; None infers one picture and one text.
        label: the field that is to be told, if any.

    Raises:
        DataError: the data cannot be read; no such field, with the nearest; one modality alone; a
            label with one class, or with as many as there are records.
    """
    found = reading.read(data, fields, need=())
    told = _fields(found, fields, label)
    kinds = [kind for kind in dict.fromkeys(told.values()) if kind in _MODALITIES]
    if len(kinds) < 2 or (label is None and not {"image", "text"} <= set(kinds)):
        held = ", ".join(f"{name} ({kind})" for name, kind in told.items() if kind != LABEL)
        raise DataError(
            file=found.name,
            expected="two modalities or more" if label else "pictures and texts, or --label FIELD",
            found=held or "none",
            see="--field NAME=table makes a column take part",
        )
    whole = (*kinds, *([LABEL] if label else ()))
    records = reading.read(data, told, train=whole)
    test = [records[at] for at in records.positions("test")]
    asked = min(len(test), ASKED)
    luck, classes = (1 / asked if asked else 0.0), 0
    if label is not None:
        classes = _classes(records, label)
        counts = Counter(str(record.fields[label]) for record in test)
        luck = counts.most_common(1)[0][1] / len(test)
    return Subject(
        str(data), records.name, told, label, len(records.positions("train")), asked, luck, classes,
        () if label else _could_be(records), _pixels(records),
    )  # fmt: skip


def _fields(found: Records, fields: dict[str, str] | None, label: str | None) -> dict[str, str]:
    """What takes part, with the label's field, which is no caption."""
    if label is None:
        return dict(found.fields)
    held = list(dict.fromkeys(name for record in found for name in record.fields))
    if label not in held:
        raise DataError(file=found.name, field=label, expected="one of " + ", ".join(held),
                        found="no such field", nearest=nearest(label, held))  # fmt: skip
    if fields is not None:
        return {name: kind for name, kind in fields.items() if name != label} | {label: LABEL}
    bare = [
        dataclasses.replace(x, fields={k: v for k, v in x.fields.items() if k != label})
        for x in found
    ]
    return reading.infer(Records(found.name, bare)) | {label: LABEL}


def _classes(records: Records, label: str) -> int:
    """How many classes the label has.

    Raises:
        DataError: one, or so many that they are names.
    """
    counts = Counter(str(record.fields[label]) for record in records)
    if len(counts) < 2:
        raise DataError(file=records.name, field=label, expected="two classes or more",
                        found=f"only {clip(next(iter(counts), None))}")  # fmt: skip
    if len(counts) > len(records) / 2:
        raise DataError(
            file=records.name, field=label, expected="classes that several records share",
            found=f"{len(counts):,} different values in {len(records):,} records",
        )  # fmt: skip
    return len(counts)


def _could_be(records: Records) -> tuple[str, ...]:
    """Fields that take no part and have 2 to 50 values, each for several records."""
    names = dict.fromkeys(name for record in records for name in record.fields)
    good = []
    for name in names:
        values = [record.fields.get(name) for record in records]
        plain = [x for x in values if isinstance(x, str | int | bool)]
        most = min(50, len(records) / 5)
        if name not in records.fields and len(plain) == len(values) and 2 <= len(set(plain)) < most:
            good.append(name)
    return tuple(good[:3])


def _pixels(records: Records) -> int:
    """The larger side of most of the first pictures."""
    from PIL import Image, UnidentifiedImageError

    if "image" not in records.fields.values():
        return 0
    sides: Counter[int] = Counter()
    for record in records.records[:20]:
        value = record.fields.get(records.field_of("image"))
        for blob in value if isinstance(value, list) else [value]:
            if isinstance(blob, Blob):
                try:
                    with Image.open(io.BytesIO(blob.read())) as picture:
                        sides[max(picture.size)] += 1
                except (UnidentifiedImageError, OSError, DataError):
                    continue
    return sides.most_common(1)[0][0] if sides else 0


def of(subject: Subject, fetch: bool = True) -> tuple[list[Candidate], list[str]]:
    """The candidates for some data, and why others are not among them.

    Args:
        fetch: whether towers that are not in the cache may be had.
    """
    if subject.label is not None:
        return _telling(subject), []
    made, notes = [], []
    for name in _PAIRED:
        content = recipe.load(name, SIZE)
        absent = [x["use"] for x in content.prepare.values() if not towers.available(x["use"])]
        if absent and not fetch:
            notes.append(f"{name} was left out: {', '.join(absent)} is not in the cache "
                         "(sensorium cache fetch)")  # fmt: skip
            continue
        made.append(Candidate(name, content, True))
    return made, notes


def _telling(subject: Subject) -> list[Candidate]:
    """Classifiers: each modality alone, all without interaction, all with."""
    names = subject.modalities
    made = [_classifier(_READS[x] + SINGLE, (x,), {"use": "none"}, subject) for x in names]
    heads = {"depth": 2, "heads": 3}
    for name, fusion in ((ADDITIVE, "additive"), (JOINT, "merge_attention")):
        made.append(_classifier(name, names, {"use": fusion, **heads}, subject))
    return made


def _classifier(
    name: str, modalities: tuple[str, ...], fusion: dict[str, Any], subject: Subject
) -> Candidate:
    reads = {x: dict(_MODALITIES[x]) for x in modalities}
    if "image" in reads and 0 < subject.pixels <= 40:
        reads["image"]["size"] = 32
    content = {
        "name": name.replace(",", "").replace(" ", "_"),
        "summary": f"tells {subject.label} from {' and '.join(modalities)}",
        "source": "our own",
        "size": SIZE,
        "modalities": reads,
        "encoders": {x: dict(_ENCODERS[x]) for x in modalities},
        "targets": {LABEL: {"use": LABEL}},
        "fusion": fusion,
        "space": 96,
        "objectives": [{"use": "classification"}],
        "optimiser": dict(_OPTIMISER),
        "choose": "loss",
    }
    return Candidate(name, recipe.check(content), False)


def single_of(modality: str) -> str:
    """The name of the candidate that reads one modality."""
    return _READS[modality] + SINGLE
