"""Sensorium: multi-modal pre-training, every score beside its controls.

    run = sensorium.pretrain("photos/", budget="2min")
    run.search("a dog on a beach")
    run.evaluate()

Importing this package imports neither torch nor numpy; what needs them loads when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sensorium.errors import UserError
    from sensorium.finetuning.tuning import finetune
    from sensorium.pretraining import pretrain, resume
    from sensorium.reading import read
    from sensorium.run import Run

__all__ = ["Run", "UserError", "__version__", "finetune", "open_run", "pretrain", "read", "resume"]

_HOMES = {
    "UserError": "errors",
    "finetune": "finetuning.tuning",
    "pretrain": "pretraining",
    "resume": "pretraining",
    "read": "reading",
    "Run": "run",
}


def open_run(folder: str, device: str = "cpu") -> Run:
    """Opens a finished run directory, e.g. `open_run("runs/demo").search("a red boat")`.

    Raises:
        RunError: no run is there, or its files contradict each other.
    """
    from sensorium.run import Run

    return Run.open(folder, device)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"sensorium.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sensorium' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
