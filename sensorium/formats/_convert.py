"""Their weights as ours, and back: what is missing, left over or of another shape is named."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sensorium.errors import UserError, nearest
from sensorium.formats._folder import Weights
from sensorium.formats._names import Names, matches, place


def prefix(weights: Weights, names: Names, ours: Mapping[str, torch.Tensor],
           candidates: tuple[str, ...]) -> str:  # fmt: skip
    """What stands before their names in this file: the candidate under which most are found."""
    wanted = [one for name in ours if (at := place(name, names)) for one in at.names]

    def found(text: str) -> int:
        return sum(text + name in weights.shapes for name in wanted)

    return max(candidates, key=found)


def to_ours(
    weights: Weights,
    names: Names,
    ours: Mapping[str, torch.Tensor],
    before: str = "",
    new: tuple[str, ...] = (),
) -> tuple[dict[str, torch.Tensor], set[str]]:
    """(our weights, the names of theirs that were read).

    Args:
        weights: of the file.
        names: our names -> theirs.
        ours: our weights as they are before, which tell names and shapes.
        before: stands before each of their names.
        new: patterns of ours that the file has nothing for.

    Raises:
        UserError: a weight is missing, or of another shape.
        ValueError: the table does not tell where a weight of ours is.
    """
    read: set[str] = set()
    made = {}
    for name, value in ours.items():
        where = place(name, names)
        if where is None:
            if matches(name, new):
                continue
            raise ValueError(f"the table says nothing about {name}")
        parts = []
        for theirs, shape in zip(where.names, where.shapes(value.shape), strict=True):
            full = before + theirs
            if full not in weights.shapes:
                raise UserError(
                    f"weight {full} is missing",
                    file=weights.files[0],
                    expected=str(list(shape)) if shape is not None else None,
                    nearest=nearest(full, weights.shapes),
                )
            if shape is not None and weights.shapes[full] != shape:
                raise UserError(
                    f"weight {full}",
                    file=weights.files[0],
                    expected=str(list(shape)),
                    found=str(list(weights.shapes[full])),
                )
            read.add(full)
            parts.append(weights.tensor(full))
        made[name] = where.to_ours(parts, value.shape)
    return made, read


def left_over(
    weights: Weights, read: set[str], left_out: Mapping[str, str], before: str = ""
) -> list[str]:
    """What is knowingly not read, a line a pattern: `classifier.** (2 weights): another task`.

    Raises:
        UserError: others are left over: the model is not what its config says.
    """
    counts: dict[str, int] = {}
    extra = []
    for name in sorted(weights.shapes.keys() - read):
        either = (name, name.removeprefix(before))
        found = [at for at in left_out if any(matches(one, (at,)) for one in either)]
        if found:
            counts[found[0]] = counts.get(found[0], 0) + 1
        else:
            extra.append(name)
    if extra:
        more = f" and {len(extra) - 3} more" if len(extra) > 3 else ""
        raise UserError(
            "weights that no part of ours has",
            file=weights.files[0],
            expected="none",
            found=", ".join(extra[:3]) + more,
        )
    return [
        f"{at} ({count} weight{'s' if count > 1 else ''}): {left_out[at]}"
        for at, count in counts.items()
    ]


def to_theirs(
    ours: Mapping[str, torch.Tensor], names: Names, new: tuple[str, ...] = ()
) -> dict[str, torch.Tensor]:
    """Their weights from ours: the inverse of `to_ours`.

    Raises:
        ValueError: the table does not tell where a weight of ours goes.
    """
    made: dict[str, torch.Tensor] = {}
    for name, value in ours.items():
        where = place(name, names)
        if where is None:
            if matches(name, new):
                continue
            raise ValueError(f"the table says nothing about {name}")
        made |= where.to_theirs(value.detach().cpu())
    return made
