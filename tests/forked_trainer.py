"""Trains, kills and resumes in forks of one process that has torch loaded.

    python forked_trainer.py DATA WORK KILLS SEED [SETTING=VALUE ...]

SETTING is `recipe`, `budget`, `workers`, of `combined` a path such as `fusion.depth`, or `task` and
`method`: then a run of the recipe is the source, trained once and not killed, and what is killed is
its fine-tuning. Prints one JSON object per finished run: {"kills": n, "state": SHA-256 of weights
and optimiser, "order": ...}; the first is the uninterrupted run. Run by test_resume.py.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # a fork must not inherit a pool of threads

import torch

torch.set_num_threads(1)

from conftest import TINY  # noqa: E402
from recipe_data import classes_for, data_for  # noqa: E402
from small_recipe import combined, shrunk  # noqa: E402

from sensorium import checkpoint, training  # noqa: E402
from sensorium.finetuning.tuning import finetune  # noqa: E402
from sensorium.pretraining import pretrain, resume  # noqa: E402
from sensorium.recipe import Recipe, load  # noqa: E402
from sensorium.run import Run  # noqa: E402

BATCH = "optimiser.batch=16"
CHANGES = {
    "clip": TINY,
    # The main recipe with few anchors: dropout, closed forms, both trained controls.
    "lit": [f"encoders.{m}.{x}" for m in ("image", "text") for x in ("anchors=16", "components=8")]
    + [BATCH],
    "plain_projections": [BATCH],
}
# Every step is saved, so that most resumes begin in the midst of training: what a checkpoint leaves
# out, e.g. a queue, then shows. By itself so short a run saves where validation improves, no more.
training.SAVE_EVERY = 0.0
SOURCE = "source"  # the run that is tuned
PER_RUN = 6  # kills of one run before it may finish


def recipe_of(options: dict[str, str]) -> Recipe:
    """A small recipe: one of the shelf, or all that recipes do in one, `combined`."""
    name, budget = options.get("recipe", "clip"), f"budget={options['budget']}"
    if name in CHANGES:
        return load(name, "tiny", [*CHANGES[name], budget])
    if name == "combined":
        more = [f"{path}={value}" for path, value in options.items() if "." in path]
        return combined(BATCH, budget, *more, width=32)
    return shrunk(name, BATCH, budget, width=32)


def work(data: Path, out: Path, options: dict[str, str]) -> None:
    """Begins the run, or goes on with it; what a user would type after a crash."""
    if (out / "run.json").exists():
        resume(out)
    elif "task" in options and out.name != SOURCE:
        labelled = options["task"] == "classification"
        finetune(
            out.parent / SOURCE, classes_for(data, out.parent / "data") if labelled else data,
            options["task"], options["method"], out=out, budget=options["budget"],
            label="form" if labelled else None, interpolate=0.5, overrides=[BATCH],
        )  # fmt: skip
    else:
        recipe, workers = recipe_of(options), int(options.get("workers", 0))
        fields = {name: name for name in (*recipe.modalities, *recipe.targets)}
        told = fields if recipe.targets else None  # classes are never guessed
        pretrain(data, recipe, out=out, fields=told, workers=workers)


def forked(data: Path, out: Path, options: dict[str, str]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work(data, out, options)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def told(out: Path) -> dict:
    """What must be equal to the bit."""
    run = Run.open(out)
    steps = run.info["plan"]["steps"]
    found = checkpoint.load(out / "checkpoints", steps)
    digest = hashlib.sha256()

    def add(value) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(str((value.dtype, tuple(value.shape))).encode())
            digest.update(value.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                digest.update(str(key).encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            for item in value:
                add(item)
        else:
            digest.update(repr(value).encode())

    add(found.state["model"])
    add(found.state["optimiser"])
    for name, control in sorted(run.info["controls"].items()):
        best = checkpoint.load(out / "controls" / name / "checkpoints", control["best_step"])
        add(best.state["model"])
    return {
        "state": digest.hexdigest(),
        "order": run.info["order"],
        "best_step": run.info["best_step"],
        "log": [json.loads(x) for x in (out / "log.jsonl").read_text().splitlines()],
        "scores": json.loads((out / "evaluation" / "test.json").read_text()),
        "before_and_after": run.info.get("before_and_after"),
    }


def main() -> None:
    data, place, kills, seed = Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:5])
    options = dict(pair.split("=", 1) for pair in sys.argv[5:])
    (place / "data").mkdir()
    data = data_for(recipe_of(options), data, place / "data")
    rng = random.Random(seed)
    # The first fork loads what is loaded late; the second is as long as those that are killed.
    for name in (*([SOURCE] if "task" in options else []), "whole", "warm"):
        start = time.monotonic()
        _, status = os.waitpid(forked(data, place / name, options), 0)
        length = time.monotonic() - start
        assert status == 0, f"the uninterrupted run {name} failed with {status}"
    print(json.dumps({"kills": 0, **told(place / "whole")}), flush=True)
    number = total = 0
    while total < kills:
        out, done = place / f"killed-{number}", 0
        while True:
            child = forked(data, out, options)
            if done < PER_RUN and total < kills:
                # Instants over the whole life of a run: reading, steps, saving, scoring.
                time.sleep(rng.random() * length / 2)
                os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            if status == 0:
                break
            assert os.WIFSIGNALED(status), f"run {number} failed by itself with {status}"
            done += 1
            total += 1
        print(json.dumps({"kills": done, **told(out)}), flush=True)
        number += 1


if __name__ == "__main__":
    main()
