"""What a comparison measures, as written in its plan, and the scale that it lives on.

`choice:FIELD` the text or its twin in FIELD; `accuracy[:target]` of a classification;
`retrieval:text_to_image@10[:field]` the right one among the first ten; `probe:FIELD` a linear probe
of FIELD on frozen states; `loss:OBJECTIVE` an objective's own loss. A choice or an accuracy may end
in ` without table`: that modality is absent when asked. Reading these loads no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from sensorium.errors import PlanError, clip, nearest

FORMS = {
    "choice": "choice:FIELD",
    "accuracy": "accuracy or accuracy:TARGET",
    "retrieval": "retrieval:text_to_image@10 or retrieval:text_to_image@10:FIELD",
    "probe": "probe:FIELD",
    "loss": "loss:OBJECTIVE",
}
WITHOUT = " without "
ABSENCE = ("choice", "accuracy")  # what can be asked with a modality absent
_DIRECTION = re.compile(r"(\w+?)_to_(\w+)@(\d+)\Z")


@dataclass(frozen=True)
class Measure:
    """An outcome, read.

    kind: a key of `FORMS`. name: the field, target or objective it is of; None for a retrieval
    of the recipe's own text. source, sought, first: of a retrieval: asked with, looked for, rank.
    absent: modalities that are taken away before it is asked.
    """

    kind: str
    name: str | None = None
    source: str | None = None
    sought: str | None = None
    first: int | None = None
    absent: tuple[str, ...] = ()

    @property
    def better(self) -> str:
        """`higher` or `lower`."""
        return "lower" if self.kind == "loss" else "higher"

    @property
    def unit(self) -> str:
        """Of a difference: `share` (0.01 is a point) or `nats`."""
        return "nats" if self.kind == "loss" else "share"

    @property
    def chance(self) -> float | None:
        """The value with no skill where the outcome alone says it: half of all forced choices."""
        return 0.5 if self.kind == "choice" else None

    @property
    def ceiling(self) -> float | None:
        """The best value: 1 for shares, 0 for a loss."""
        return 0.0 if self.kind == "loss" else 1.0


def read(text: str) -> Measure:
    """An outcome as written: `choice:caption_colours`.

    Raises:
        PlanError: no such kind, or not of its form.
    """
    asked, without, absent = str(text).partition(WITHOUT)
    kind, sign, rest = asked.partition(":")
    if without:
        gone = tuple(name.strip() for name in absent.split(","))
        if kind not in ABSENCE or not all(gone) or WITHOUT in absent:
            raise PlanError(
                field="outcome",
                expected=" or ".join(f"{FORMS[x]}{WITHOUT}MODALITY" for x in ABSENCE),
                found=clip(text),
            )
        return replace(read(asked), absent=gone)
    if kind not in FORMS:
        raise PlanError(
            field="outcome",
            expected="one of " + ", ".join(FORMS.values()),
            found=clip(text),
            nearest=nearest(kind, FORMS),
        )
    wrong = PlanError(field="outcome", expected=FORMS[kind], found=clip(text))
    if kind == "accuracy":
        if sign and not rest:
            raise wrong
        return Measure(kind, rest or "label")
    if kind != "retrieval":
        if not rest or ":" in rest:
            raise wrong
        return Measure(kind, rest)
    direction, sign, field = rest.partition(":")
    found = _DIRECTION.match(direction)
    if not found or (sign and not field) or int(found[3]) < 1 or found[1] == found[2]:
        raise wrong
    return Measure(kind, field or None, found[1], found[2], int(found[3]))
