"""Does pre-training help where labels are few, or drawn with a bias? Three corpora, equal encoders.

    python -m benchmarks.few_labels             five seeds; some 25 minutes of CPU, on two cores
    python -m benchmarks.few_labels --quick     one seed, a few steps: does it run? writes nothing
    python -m benchmarks.few_labels --page      the page's tables and picture from the result file

The claim is the survey's: a model that was pre-trained generalises better than a small one that is
trained on few, biased labels. Arms, all with one encoder of pictures (equal architecture, equal
initial weights for a seed, equal order of records):

    scratch             the encoder and a linear layer, trained on the labels alone
    scratch, longer     the same with as many more steps as pre-training had pictures; 100 labels
    pictures            pre-trained on the training split's pictures alone (recipe `simclr`)
    captions            pre-trained on pictures with captions (recipe `slip` without its picture
                        branch, which is CLIP's contrast)
    both                pre-trained by recipe `slip`
    untrained           initial weights; a floor for what a linear layer finds
    towers              frozen EfficientNet-Lite0 (ImageNet-1k): not of equal data, nor size

Each pre-trained encoder is used twice: `full` trains everything on, `linear` fits a linear layer to
what it pools. Fashion-MNIST has no captions, only names of classes, which would be the labels; so
there the encoders with captions come from the emoji, beside one from the emoji's pictures alone.

Nothing is chosen on a test split, and nothing on validation during the measurement: last weights,
one fixed setting for all. Labels are dealt evenly to the classes. `biased`: the labels of a class
come from the brighter half of its pictures alone or from the darker half, in turn by class, so that
brightness goes with the class in training and not in test.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import few_labels_statistics as statistics
from benchmarks.few_labels_statistics import dealt, linear, sided
from benchmarks.machine import write_result
from sensorium import optimiser, reading, recipe
from sensorium.budgeting import keyed_subset
from sensorium.building import augmented, build, modality
from sensorium.loading import Batches, gather
from sensorium.nodes import Encode, Read
from sensorium.prepare import Column, Reader, column
from sensorium.recipe import Recipe
from sensorium.records import Record, Records
from sensorium.step import Step, views
from sensorium.tokens import Batch
from sensorium.training import take
from sensorium.views import View

# One encoder of pictures in every arm: 32 x 32 pixels, 16 patches, 3 layers of width 64.
PICTURE = (
    "modalities.image.size=32", "modalities.image.patch=8", "encoders.image.width=64",
    "encoders.image.depth=3", "encoders.image.heads=2",
)  # fmt: skip
TEXT = (
    "modalities.text.length=16", "modalities.text.vocabulary=1000", "encoders.text.width=64",
    "encoders.text.depth=2", "encoders.text.heads=2",
)  # fmt: skip
SPACE = ("space=64", "optimiser.batch=128", "optimiser.learning_rate=0.001")
EARLIER = ("pictures", "captions", "both")
FEWEST = 20  # training pictures of a Tux Paint category that takes part
CAPTIONED = "emoji"  # whose pre-trained encoders Fashion-MNIST is asked with


@dataclass(frozen=True)
class Settings:
    """All that decides a measurement, besides this file."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    budgets: tuple[int, ...] = (10, 100, 1000)
    biased: int = 100  # labels of the biased condition, where all classes have so many
    pretraining: int = 120  # steps of 128 pictures
    batch: int = 32
    fewest_steps: int = 100
    passes: int = 12
    rate: float = 1e-3  # of scratch
    tuning_rate: float = 3e-4  # of what was pre-trained
    pool: int = 3000  # of Fashion-MNIST: training pictures, without labels
    asked: int = 1000  # of Fashion-MNIST: test pictures
    split: str = "test"

    def steps(self, labels: int) -> int:
        """Of a fit to so many labels."""
        return max(self.fewest_steps, round(self.passes * labels / min(self.batch, labels)))


QUICK = Settings(seeds=(0,), pretraining=4, fewest_steps=4, passes=1, pool=600, asked=100)


# --- corpora ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Corpus:
    """Records with a class, or None, of those that take part; who trains and who is asked.

    columns: of all records: `image` as the encoders see it, `towers`, `text` where there is one.
    brightness: float64 [records], the mean of the pixels. truth: int64 [records], -1 without class.
    """

    name: str
    records: list[Record]
    classes: tuple[str, ...]
    truth: NDArray[np.int64]
    columns: dict[str, Column]
    brightness: NDArray[np.float64]
    train: list[int]
    asked: list[int]
    seconds_of_towers: float

    @property
    def labelled(self) -> list[int]:
        """Training records that have a class."""
        return [at for at in self.train if self.truth[at] >= 0]

    def conditions(self, settings: Settings) -> dict[str, tuple[int, bool]]:
        """Name -> (labels, whether biased); a budget above what is there is what is there."""
        there = Counter(self.truth[self.labelled].tolist())
        most = sum(there.values())
        told = {f"{min(n, most)}": (min(n, most), False) for n in settings.budgets}
        # The half of the smallest class must reach for its share.
        biased = min(settings.biased, len(there) * (min(there.values()) // 2) // 10 * 10)
        return told | {f"{biased}": (biased, False), f"{biased}, biased": (biased, True)}


@lru_cache
def corpus(name: str, settings: Settings) -> Corpus:
    """One corpus, read and prepared: pictures at 32 x 32, and the towers' features."""
    found = reading.read(name)
    if name == "fashion_mnist":
        found = keyed_subset(found, {"train": settings.pool, settings.split: settings.asked}, 0)
    labels = [_label(name, record) for record in found]
    in_training = Counter(labels[at] for at in found.positions("train"))
    classes = sorted(x for x, n in in_training.items() if x and n >= FEWEST)
    records = [
        replace(record, fields={**record.fields, "label": label if label in classes else None})
        for record, label in zip(found, labels, strict=True)
    ]
    truth = np.array([classes.index(x) if x in classes else -1 for x in labels], np.int64)
    made = earlier("captions", 0)
    columns = {
        "image": column(Reader(made, "image"), records, "image")[0],
        "text": column(Reader(made, "text"), records, "text")[0],
        "label": column(Reader(classifier(0, 2, settings), "label"), records, "label")[0],
    }
    tower = Reader(recipe.load("lit"), "image")
    columns["towers"] = column(tower, records, "image")[0]
    pixels = columns["image"].items
    assert isinstance(pixels, np.ndarray)
    whole = Records(name, records, found.fields)
    return Corpus(
        name=name,
        records=records,
        classes=tuple(classes),
        truth=truth,
        columns=columns,
        brightness=pixels.reshape(len(pixels), -1).mean(axis=1, dtype=np.float64),
        train=whole.positions("train"),
        asked=[at for at in whole.positions(settings.split) if truth[at] >= 0],
        seconds_of_towers=_seconds_of(tower, records) * len(records),
    )


def _seconds_of(tower: Reader, records: list[Record]) -> float:
    """CPU seconds that one picture takes a frozen tower, past the cache, measured on 32 of them."""
    some = [records[at].fields["image"] for at in range(0, len(records), len(records) // 32)][:32]
    tower.encode([tower.read(some[0], "image")])  # loads and warms it
    began = time.process_time()
    tower.encode([tower.read(picture, "image") for picture in some])
    return (time.process_time() - began) / len(some)


def _label(name: str, record: Record) -> str:
    if name == "tuxpaint":
        return record.key.split("/")[0]
    return str(record.fields["category" if name == "emoji" else "text"])


# --- recipes and fits ---------------------------------------------------------------------------


def earlier(arm: str, seed: int) -> Recipe:
    """The recipe of a pre-training: `pictures`, `captions` or `both`."""
    if arm == "pictures":
        return recipe.load("simclr", "tiny", [*PICTURE, *SPACE], seed=seed)
    made = recipe.load("slip", "tiny", [*PICTURE, *TEXT, *SPACE], seed=seed)
    if arm == "both":
        return made
    content = made.model_dump(mode="json")
    content |= {"variants": {}, "objectives": content["objectives"][:1]}
    return recipe.check(content)


def classifier(seed: int, batch: int, settings: Settings, tuned: bool = False) -> Recipe:
    """The recipe of a fit to labels: the same encoder of pictures and a linear layer."""
    content = earlier("pictures", seed).model_dump(mode="json")
    content |= {
        "variants": {},
        "objectives": [{"use": "classification"}],
        "targets": {"label": {"use": "label"}},
    }
    content["optimiser"] |= {
        "batch": batch,
        "learning_rate": settings.tuning_rate if tuned else settings.rate,
    }
    return recipe.check(content)


def trained(
    made: Recipe, about: Corpus, positions: list[int], steps: int, source: Step | None = None
) -> Step:
    """A Step after so many updates on some records: the last weights, nothing is chosen.

    Args:
        source: whose encoder of pictures it begins with; by default the recipe's initial weights.
    """
    names = (*made.modalities, *made.targets)
    modalities = {name: modality(made, name) for name in names}
    for name in set(names) - {"image"}:
        modalities[name].fit([about.records[at] for at in positions], name)
    step = build(made, modalities)
    if source is not None:
        weights = source.model.encoders["image"].state_dict()
        step.model.encoders["image"].load_state_dict(weights)
    adam = optimiser.build(step, made.optimiser)
    batches = Batches(
        about.records, {name: about.columns[name] for name in names}, modalities, positions,
        made.optimiser.batch, made.seed, augmented(made), views(step.objectives),
    )  # fmt: skip
    for at in range(steps):
        take(step, adam, batches[at], made, at, steps)
    return step.eval()


def asked(about: Corpus, positions: Sequence[int]) -> Iterator[Batch]:
    """Batches of pictures, in order."""
    made = about.columns["image"]
    image = modality(earlier("pictures", 0), "image")
    for start in range(0, len(positions), 256):
        some = positions[start : start + 256]
        yield gather(
            [about.records[at] for at in some],
            {"image": made},
            {"image": image},
            {"image": [made.index[at][0] for at in some]},
        )


@torch.no_grad()
def pooled(step: Step, about: Corpus, positions: Sequence[int]) -> NDArray[np.float32]:
    """What the encoder of pictures pools, float32 [positions, d]."""
    read = Read(Encode(View("image")), "pooled")
    return np.concatenate([step.read(read, batch).numpy() for batch in asked(about, positions)])


@torch.no_grad()
def answers(step: Step, about: Corpus, positions: Sequence[int]) -> NDArray[np.int64]:
    """The class that a fitted Step gives each record, by the corpus's numbers."""
    told = step.objectives["classification"]
    logits = [
        told.logits({name: step.read(node, batch) for name, node in told.needs().items()}, batch)
        for batch in asked(about, positions)
    ]
    return torch.cat(logits).argmax(1).numpy()


# --- one seed of one corpus ---------------------------------------------------------------------


Times = dict[str, list[float]]  # CPU seconds of this process: a busy machine changes little


def _clock(times: Times, name: str, began: float) -> None:
    times.setdefault(name, []).append(time.process_time() - began)


def measured(name: str, seed: int, settings: Settings) -> list[dict[str, Any]]:
    """All arms of one seed, over one corpus; of the emoji, over Fashion-MNIST too.

    Returns:
        Per corpus {corpus, seed, answers {condition: {arm: [class]}}, labels {condition: {class:
        count}}, seconds {what: [seconds]}}.
    """
    torch.set_num_threads(1)
    about = corpus(name, settings)
    clock: Times = {}
    sources = {arm: _pretrained(arm, about, seed, settings, clock) for arm in EARLIER}
    told = [_fits(about, sources, seed, settings, clock)]
    if name == CAPTIONED:
        other, clock = corpus("fashion_mnist", settings), {}
        carried = {f"{name} {arm}": sources[arm] for arm in ("pictures", "captions")}
        own = {"pictures": _pretrained("pictures", other, seed, settings, clock)}
        told.append(_fits(other, own | carried, seed, settings, clock))
    return told


def _pretrained(arm: str, about: Corpus, seed: int, settings: Settings, clock: Times) -> Step:
    began = time.process_time()
    step = trained(earlier(arm, seed), about, about.train, settings.pretraining)
    _clock(clock, f"pre-training, {arm}", began)
    return step


def _fits(
    about: Corpus, sources: dict[str, Step], seed: int, settings: Settings, clock: Times
) -> dict[str, Any]:
    own = about.labelled
    states: dict[str, NDArray[np.float32]] = {}  # of every record that is trained on or asked
    everyone = [*own, *about.asked]
    made = classifier(seed, settings.batch, settings)
    untrained = trained(made, about, own, 0)
    for arm, step in {"untrained": untrained, **sources}.items():
        states[arm] = pooled(step, about, everyone)
    features = about.columns["towers"]
    assert isinstance(features.items, np.ndarray)
    states["towers"] = features.items[[features.index[at][0] for at in everyone], 0]
    place = {at: row for row, at in enumerate(everyone)}
    told: dict[str, Any] = {"corpus": about.name, "seed": seed, "answers": {}, "labels": {}}
    for condition, (count, biased) in about.conditions(settings).items():
        chosen = labelled(about, seed, count, biased)
        told["labels"][condition] = Counter(about.classes[about.truth[at]] for at in chosen)
        given = told["answers"][condition] = {}
        steps = settings.steps(count)
        for arm, source in {"scratch": None, **sources}.items():
            began = time.process_time()
            made = classifier(seed, min(settings.batch, count), settings, source is not None)
            given[f"{arm}, full"] = _asked_of(made, about, chosen, steps, source)
            _clock(clock, f"full, {count} labels", began)
        if count == settings.biased and not biased:
            more = settings.pretraining * earlier("pictures", 0).optimiser.batch
            made = classifier(seed, min(settings.batch, count), settings)
            longer = steps + more // made.optimiser.batch
            given["scratch, longer"] = _asked_of(made, about, chosen, longer)
        rows = [place[at] for at in chosen]
        for arm, state in states.items():
            began = time.process_time()
            found = linear(state[rows], about.truth[chosen], len(about.classes))
            given[f"{arm}, linear"] = found(state[len(own) :]).tolist()
            _clock(clock, f"linear, {count} labels", began)
    return told | {"seconds": clock}


def _asked_of(
    made: Recipe, about: Corpus, chosen: list[int], steps: int, source: Step | None = None
) -> list[int]:
    step = trained(made, about, chosen, steps, source)
    # A fit numbers the classes that its labels have, in the order of the names.
    known = sorted({int(about.truth[at]) for at in chosen})
    return [known[at] for at in answers(step, about, about.asked)]


def labelled(about: Corpus, seed: int, count: int, biased: bool) -> list[int]:
    """The records whose labels are shown, dealt evenly to the classes."""
    pool = about.labelled
    if biased:
        light = sided(about.brightness, about.truth, pool)
        pool = [at for at in pool if light[at] == ((about.truth[at] + seed) % 2 == 0)]
    keys = [about.records[at].key for at in pool]
    places = dealt(about.truth[pool].tolist(), keys, count, seed, "labels")
    return [pool[at] for at in places]


# --- the whole ----------------------------------------------------------------------------------

JOBS = ("emoji", "tuxpaint")


def told(found: list[dict[str, Any]], settings: Settings, write: bool) -> dict[str, Any]:
    """The result file's content, from what the jobs gave so far; written or not."""
    result: dict[str, Any] = {
        "settings": asdict(settings),
        "encoder of pictures": _parameters(),
        "seconds are": "CPU seconds of one thread",
    }
    for name in dict.fromkeys(x["corpus"] for x in found):
        about = corpus(name, settings)
        seeds = sorted((x for x in found if x["corpus"] == name), key=lambda x: x["seed"])
        truth = about.truth[about.asked]
        light = sided(about.brightness, about.truth, about.labelled)[about.asked]
        trained_on = Counter(about.truth[about.labelled].tolist())
        result[name] = {
            "training pictures": len(about.train),
            "of them with a class": len(about.labelled),
            "test pictures": len(about.asked),
            "classes": {x: trained_on[at] for at, x in enumerate(about.classes)},
            "test pictures by class": {
                x: int((truth == at).sum()) for at, x in enumerate(about.classes)
            },
            "captions that say the class": _telling(about),
            "luck": {
                "accuracy, the most frequent class in training": float(
                    (truth == trained_on.most_common(1)[0][0]).mean()
                ),
                "accuracy, a class at random": 1 / len(about.classes),
                "mean class accuracy, either": 1 / len(about.classes),
            },
            "seconds": statistics.seconds(seeds)
            | {"towers' features, all pictures": round(about.seconds_of_towers, 1)},
            **statistics.compared(seeds, truth, light),
        }
    if write:
        write_result("few_labels", result)
    return result


def _parameters() -> dict[str, Any]:
    encoder = build(earlier("pictures", 0)).model.encoders["image"]
    count = sum(p.numel() for p in encoder.parameters())
    return {"parameters": count, "overrides": PICTURE, "pre-training": [*TEXT, *SPACE]}


def _telling(about: Corpus) -> str:
    """How many training captions contain a word of their class's name."""
    told = [
        any(word in str(about.records[at].fields["text"]).casefold().split()
            for word in about.classes[about.truth[at]].casefold().split() if word != "and")
        for at in about.labelled
    ]  # fmt: skip
    return f"{sum(told)} of {len(told)}"


def mark(settings: Settings) -> str:
    """Names a measurement: settings and this code. A journal of another one is not gone on with."""
    code = b"".join(Path(x).read_bytes() for x in (__file__, statistics.__file__))
    return hashlib.sha256(repr(settings).encode() + code).hexdigest()[:16]


def run(
    settings: Settings, workers: int, journal: Path | None, write: bool, only: Sequence[str] = ()
) -> dict[str, Any]:
    """All jobs, the result file written anew after each.

    Args:
        only: the jobs to do, e.g. `emoji:0`; all by default.
        journal: JSON lines of what is done already; what is there for this code is not done again.
    """
    found, own = [], mark(settings)
    if journal is not None and journal.exists():
        lines = [json.loads(line) for line in journal.read_text().splitlines()]
        found = [line for line in lines if line["mark"] == own]
    done = {(x["corpus"], x["seed"]) for x in found}
    jobs = [(name, seed) for name in JOBS for seed in settings.seeds if (name, seed) not in done]
    jobs = [job for job in jobs if not only or f"{job[0]}:{job[1]}" in only]
    for name in (*JOBS, "fashion_mnist"):
        print(name, len(corpus(name, settings).records), "records read", flush=True)
    result = {}
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(measured, *job, settings): job for job in jobs}
        for ready in as_completed(waiting):
            for one in ready.result():
                found.append(one | {"mark": own})
                if journal is not None:
                    with journal.open("a") as stream:
                        stream.write(json.dumps(found[-1]) + "\n")
            print(*waiting[ready], "done", time.strftime("%H:%M:%S"), flush=True)
            result = told(found, settings, write)
    return result or told(found, settings, write)


def main(arguments: list[str]) -> None:
    """Measures and writes benchmarks/results/few_labels.json, or the page from it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a look whether it runs")
    parser.add_argument("--page", action="store_true", help="tables and picture of the page")
    parser.add_argument("--workers", type=int, default=2, help="of one thread each")
    parser.add_argument("--journal", type=Path, help="a file of what is done, to go on from")
    parser.add_argument("--only", nargs="*", default=(), help="jobs, e.g. emoji:0; for a journal")
    options = parser.parse_args(arguments)
    if options.page:
        from benchmarks import few_labels_page

        few_labels_page.write()
        return
    settings = QUICK if options.quick else Settings()
    write = not options.quick and not options.only
    result = run(settings, options.workers, options.journal, write, options.only)
    for name in (x for x in result if "luck" in result[x]):
        for condition, arms in result[name]["conditions"].items():
            means = {a: round(x["mean class accuracy"]["mean"], 3) for a, x in arms.items()}
            print(name, condition, means)


if __name__ == "__main__":
    main(sys.argv[1:])
