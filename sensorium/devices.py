"""Where a model runs: cpu, cuda, cuda:1, mps. A name that cannot work here is answered at once."""

from __future__ import annotations

import re

from sensorium.errors import UserError, clip, nearest

NAMES = ("cpu", "cuda", "mps")
MEANT = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps", "apple": "mps"}  # what people call them
_NAME = re.compile(r"(cpu|mps|cuda(:\d{1,4})?)\Z")


def check(device: str) -> str:
    """The device's name, if this machine has it. `cpu` and misspelt names need no torch.

    Raises:
        UserError: no such name, or not on this machine; says what is available.
    """
    if not _NAME.match(device):
        word = device.lower().partition(":")[0]
        raise UserError(
            field="device",
            expected="cpu, cuda, cuda:1 or mps",
            found=clip(device),
            nearest=MEANT.get(word) or nearest(word, NAMES),
        )
    if device != "cpu" and device not in (here := available()):
        raise UserError(
            field="device",
            expected="one that this machine has: " + ", ".join(here),
            found=device,
            see=_advice(device),
        )
    return device


def available() -> list[str]:
    """The devices of this machine that torch can use; `cuda` is the first of its GPUs."""
    import torch

    found = ["cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{at}" for at in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def _advice(device: str) -> str | None:
    """Why CUDA may be absent where there is a GPU: this torch was built without it."""
    import torch

    if device.startswith("cuda") and torch.version.cuda is None:
        return "this torch is built without CUDA: https://pytorch.org/get-started/locally"
    return None
