"""Which recipe for these data: a budget, four answers, a page."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

from sensorium.options import Data, Fields, Json, consoles, fields_of, print_json


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(choose)


def choose(
    data: Data,
    budget: Annotated[str, typer.Option(help="Wall clock for all of it: 1h, 20min, 600s.")],
    fields: Fields = None,
    label: Annotated[
        str | None, typer.Option(help="A field with classes: which recipe tells it best?")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the choice, new or empty.")] = None,
    seeds: Annotated[int, typer.Option(min=2, max=100, help="Runs of every recipe.")] = 3,
    workers: Annotated[int | None, typer.Option(min=1, help="Runs at a time.")] = None,
    json: Json = False,
) -> None:
    """Which recipe fits these data, what each modality gives, whether more records would help."""
    # Mistakes in the budget, the data and the label are answered before torch loads.
    import os

    from sensorium.choosing import candidates, deciding
    from sensorium.errors import UserError, clip
    from sensorium.recipe import parse_budget

    amount = parse_budget(budget)
    if amount.unit != "seconds":
        raise UserError("--budget", expected="a time such as 1h, 20min or 600s", found=clip(budget))
    told = fields_of(fields)
    subject = candidates.examine(data, told, label)
    taking, notes = candidates.of(subject)
    at_once = workers or max(1, os.cpu_count() or 1)
    deciding.refuse_small(amount.amount, len(taking), seeds, at_once)
    folder = out or Path("choices") / _named(data)
    request = deciding.Request(str(data), told, label, amount.amount, seeds)
    if folder.exists():
        deciding.known(folder.absolute(), request)

    from sensorium.choosing.conducting import REPORT
    from sensorium.choosing.conducting import choose as conduct
    from sensorium.terminal import Teller

    console, err = consoles()
    teller = Teller(err)
    result = conduct(request, subject, taking, folder, notes, at_once, teller)
    teller.close()
    if json:
        print_json(result)
        return
    for line in lines(result, folder / REPORT, folder):
        console.print(line, markup=False)


def _named(data: str) -> str:
    """A folder's name for some data."""
    return re.sub(r"[^\w.+-]", "_", Path(data).name) or "data"


def lines(result: dict[str, Any], page: Path, folder: Path) -> list[str]:
    """What the terminal shows: a sentence an answer, the page, the next command."""
    from sensorium.choosing.wording import next_command
    from sensorium.terminal import RAIL, WIDTH, rail

    words = {"which": "recipe", "earns": "parts", "information": "kind", "more": "more"}
    made = [result["title"]]
    for answer in result["answers"]:
        told = textwrap.wrap(answer["sentence"], WIDTH - RAIL)
        made += [rail("" if at else words[answer["key"]], line) for at, line in enumerate(told)]
    for note in result["notes"]:
        made += [rail("" if at else "note", line)
                 for at, line in enumerate(textwrap.wrap(note, WIDTH - RAIL))]  # fmt: skip
    made.append(rail("report", str(page)))
    made.append(rail("try", next_command(result, folder)))
    return made


__all__ = ["choose", "lines", "register"]
