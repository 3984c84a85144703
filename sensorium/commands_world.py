"""The composed world: make one, look at one, list the settings. Loads no torch."""

from __future__ import annotations

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
    console.print(rail("tells", chosen.tells.strip()))
    console.print(rail("try", command("world", "show", out)))


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A made world.")],
    json: Json = False,
) -> None:
    """Draw the contact sheet of a world; print its counts, bits, floors and ceilings."""
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
    for line in _table("bits", facts["bits"]) + _table("score", facts["floors"]):
        console.print(line)
    console.print(rail("sheet", str(sheet)))
    console.print(rail("try", command("pretrain", folder, "--recipe", "clip")))


@app.command("list")
def list_settings() -> None:
    """The settings that come along, and what each can show."""
    from sensorium.world import _setting

    for name in _setting.names():
        print(f"{name:<16}{' '.join(_setting.load(name).tells.split())}")


def _counts(facts: dict[str, Any]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in facts["counts"].items())


def _table(title: str, values: dict[str, Any]) -> list[str]:
    """Names and numbers; one level of nesting becomes columns."""
    from sensorium.terminal import rail

    nested = {name: row for name, row in values.items() if isinstance(row, dict)}
    columns = list(dict.fromkeys(name for row in nested.values() for name in row))
    width = max([len(name) for name in values], default=0) + 2
    lines = []
    if columns:
        heads = "".join(f"{column.replace('_', ' '):>14}" for column in columns)
        lines.append(rail(title, " " * width + heads))
    for name, row in values.items():
        if isinstance(row, dict):
            cells = "".join(f"{_number(row.get(column)):>14}" for column in columns)
        else:
            cells = f"{_number(row):>14}"
        lines.append(rail(title if not lines else "", f"{name.replace('_', ' '):<{width}}{cells}"))
    return lines


def _number(value: Any) -> str:
    """Three places, without a leading zero below one."""
    if isinstance(value, float):
        text = f"{value:.3f}"
        return text.removeprefix("0") if 0 < value < 1 else text
    return "–" if value is None else str(value)
