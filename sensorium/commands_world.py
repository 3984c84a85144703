"""The composed world: make one, look at one, list the settings. Loads no torch."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

from sensorium.options import Json, consoles, print_json

app = typer.Typer(
    no_args_is_help=True, help="Composed scenes of known factors, with exact floors and ceilings."
)


@app.command()
def make(
    setting: Annotated[str, typer.Option(help="binding, synergy, ... or a YAML file.")],
    scenes: Annotated[int, typer.Option(help="Of train, validation and test together.")],
    out: Annotated[Path, typer.Option(help="Folder of the world, new or empty.")],
    seed: Annotated[int, typer.Option(help="Key of every draw.")] = 0,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the setting. Repeat."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw.")] = 0,
) -> None:
    """Make a world: Parquet that pretrain reads as it is, its facts, its datasheet."""
    from sensorium.errors import command
    from sensorium.terminal import Teller, rail
    from sensorium.world import _making, _setting

    chosen = _setting.load(setting, changes)
    _making.refuse(scenes, out)
    console, err = consoles()
    teller = Teller(err)
    facts = _making.make(
        chosen,
        scenes,
        seed,
        out,
        workers,
        lambda done, total: teller.progress("world", done, total),
    )
    teller.close()
    console.print(rail("world", f"{out}  {_counts(facts)}"))
    for line in _wrapped("tells", chosen.tells):
        console.print(line)
    console.print(rail("try", command("world", "show", out)))


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A made world.")],
    json: Json = False,
) -> None:
    """Draw the contact sheet of a world; print counts, bits, floors and ceilings (of test)."""
    from sensorium.errors import command
    from sensorium.terminal import rail
    from sensorium.world import _making, _sheet

    facts = _making.read_facts(folder)
    if json:
        print_json(facts)
        return
    sheet = _sheet.sheet(folder)
    console, _ = consoles()
    console.print(rail("world", f"{facts['setting']['name']}, seed {facts['seed']}", "bold"))
    console.print(rail("scenes", _counts(facts)))
    for line in _wrapped("tells", facts["setting"]["tells"]):
        console.print(line)
    # Of the test split: the others differ only where they are balanced otherwise.
    for line in _bits(facts["bits"]["test"]) if "test" in facts["bits"] else []:
        console.print(line)
    for line in _scores(facts["floors"].get("test", {})):
        console.print(line)
    console.print(rail("sheet", str(sheet)))
    console.print(rail("try", command("pretrain", folder, "--recipe", "clip")))


@app.command("list")
def list_settings() -> None:
    """The settings that come along, and what each can show."""
    from sensorium.world import _setting

    for name in _setting.names():
        told = textwrap.wrap(_setting.load(name).tells, 100 - 16)
        print("\n".join(f"{'' if at else name:<16}{line}" for at, line in enumerate(told)))


def _wrapped(word: str, text: str) -> list[str]:
    """A paragraph in the rail."""
    from sensorium.terminal import RAIL, WIDTH, rail

    lines = textwrap.wrap(text, WIDTH - RAIL)
    return [rail("" if at else word, line) for at, line in enumerate(lines)]


def _counts(facts: dict[str, Any]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in facts["counts"].items())


def _bits(told: dict[str, Any]) -> list[str]:
    """What each modality tells of the label; of two together the four parts (BROJA)."""
    from sensorium.terminal import rail

    lines = [f"{_number(told['label'])} in the label"]
    parts = {name: value for name, value in told.items() if name != "label"}
    for name, value in parts.items():
        if isinstance(value, dict):
            first, second = name.split(" and ")
            names = {"redundancy": "redundant", "unique_first": f"only {first}",
                     "unique_second": f"only {second}", "synergy": "synergy"}  # fmt: skip
            split = ", ".join(f"{_number(value['broja'][key])} {of}" for key, of in names.items())
            lines.append(f"{name}: {split}")
        else:
            lines[0] += f", {_number(value)} in the {name}"
    return [rail("" if at else "bits", line) for at, line in enumerate(lines)]


# The columns of the table of floors: in `world.json` -> over the column.
_FLOORS = {
    "chance": "chance",
    "majority": "majority",
    "best_image_only": "image",
    "best_text_only": "text",
    "best_table_only": "table",
    "best_sum": "sum",
    "best_sum_at_most": "sum ≤",
    "best_sum_fitted": "fitted",
    "best_possible": "best",
}


def _scores(told: dict[str, dict[str, float]]) -> list[str]:
    """A row a question, a column a floor; a column that no question has is left out."""
    from sensorium.terminal import rail

    if not told:
        return [rail("floors", "none: there are too many combinations to count")]
    columns = [name for name in _FLOORS if any(name in scores for scores in told.values())]
    names = {question: question.removeprefix("retrieval:") for question in told}
    names = {question: re.sub("[_:]", " ", name) for question, name in names.items()}
    width = max(map(len, names.values()), default=0) + 1
    heads = [_FLOORS[column] for column in columns]
    lines = [" " * width + "".join(f"{head:>{max(8, len(head) + 1)}}" for head in heads)]
    for question, name in names.items():
        cells = [_number(told[question].get(column)) for column in columns]
        lines.append(
            f"{name:<{width}}"
            + "".join(
                f"{cell:>{max(8, len(head) + 1)}}" for cell, head in zip(cells, heads, strict=True)
            )
        )
    return [rail("" if at else "floors", line) for at, line in enumerate(lines)]


def _number(value: float | None) -> str:
    """Three places, without a leading zero below one."""
    if value is None:
        return "–"
    text = f"{abs(round(value, 3)):.3f}"
    return text if text == "0.000" else text.removeprefix("0")
