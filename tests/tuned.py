"""A table of drawn shapes, and fine-tuned runs on it, for tests of fine-tuning."""

from conftest import SHAPES
from miniature import csv_of

from sensorium.finetuning.tuning import finetune

FAST = ["optimiser.learning_rate=0.005"]
KINDS = [(s, c, f) for s in ("small", "large") for c in ("red", "green", "blue") for f in SHAPES]


def tuned(source, tiles, out, method="full", budget="60-steps", **more):
    options = dict(label="colour", fields={"photo": "image"}, overrides=FAST) | more
    return finetune(source, tiles, "classification", method, out=out, budget=budget, **options)


def table_beside(tiles, name, **columns):
    """A further table of the same 72 pictures: column -> what it holds, by row."""
    rows = [
        {"photo": f"{at // 24}{at % 24:02d}.png", **{k: str(of(at)) for k, of in columns.items()}}
        for at in range(72)
    ]
    return csv_of(tiles.parent / f"{name}.csv", rows)


def weights(run):
    return {name: p.detach() for name, p in run.step.named_parameters()}
