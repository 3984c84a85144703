"""An imported whole model as a run: what training would have left, without data and without scores.

Fine-tuning, indexing, search and export then take it like any other run. It has no splits: what
asks for the run's own records is told that there are none.
"""

from __future__ import annotations

from pathlib import Path

from sensorium import checkpoint, files, integrity
from sensorium.formats._kept import TOKENIZER, Whole, verified
from sensorium.run import Run, refuse_used


def write(made: Whole, out: str | Path) -> Run:
    """Writes a run directory whose best step is 0: the model as it was imported.

    Args:
        made: as `importing.whole` gives it.
        out: new or empty.

    Raises:
        RunError: the folder holds something. The kept weights are damaged.
    """
    from sensorium.pretraining import environment

    out = Path(out)
    refuse_used(out)
    step = made.step  # what is wrong with the weights is told before anything is written
    known = ("source", "architecture", "licence", "weight_hash", "left_out", "new", "notes")
    with files.claim(out):
        run = Run.create(
            out,
            made.recipe,
            {
                "data": "none",
                "without_data": f"a model imported from {made.source}, without data",
                "fields": {name: name for name in made.recipe.modalities},
                "notes": list(made.notes),
                "workers": 0,
                "environment": environment("cpu"),
                "imported": {name: getattr(made, name) for name in known},
            },
        )
        files.write_json(out / "splits.json", {})
        if (made.folder / TOKENIZER).is_file():
            place = out / "modalities" / "text"
            place.mkdir(parents=True)
            files.write_bytes(place / TOKENIZER, verified(made.folder, TOKENIZER))
        checkpoint.save(out / "checkpoints", 0, {"model": step.state_dict()}, run.recipe.hash)
        run.note(fitted=True, best_step=0, sha256=integrity.hashes(out, "modalities"))
    return run
