"""What is kept on disk: list it, fetch towers, import other libraries' models, delete."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Towers, data sets and features kept on disk.")


@app.command("list")
def cache_list() -> None:
    """What is kept, how large it is, and the licence of weights."""
    from sensorium import cache, towers_imported

    licences = towers_imported.licences()
    for kind, name, size in cache.listing():
        known = f"  licence {licences[name]}" if kind == "towers" and name in licences else ""
        print(f"{kind:<10}{size / 1e6:>9.1f} MB  {name}{known}")
    print(cache.root())


@app.command("fetch")
def cache_fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Towers; all by default.")] = None,
) -> None:
    """Fetch the frozen towers."""
    from sensorium import towers

    for name in names or list(towers.TOWERS):
        if not towers.available(name):
            towers.fetch(name, lambda line: print(line, file=sys.stderr))
        print(f"{name:<20}{towers.TOWERS[name].licence}")


@app.command("import")
def cache_import(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A folder of transformers', or hf:NAME.")
    ],
    part: Annotated[
        str | None, typer.Option(help="image or text: that tower only. By default all there is.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also write the whole model as a run, to fine-tune.")
    ] = None,
) -> None:
    """Keep another library's towers, and the whole model where ours can be it; every layer is
    compared."""
    from sensorium.errors import UserError, unknown

    if part is not None and part not in ("image", "text"):
        raise unknown("part", part, ("image", "text"))
    if out is not None:
        from sensorium.run import refuse_used

        refuse_used(out)
        if part is not None:
            raise UserError("--out", expected="the whole model", found=f"--part {part}")
    from sensorium import importing

    alone = importing.parts(source)
    for name in [part] if part else alone:
        made = importing.tower(source, name)
        _print(made, f"{made.architecture}, the {name} tower, {made.width} values")
    if part is None:
        _whole(source, alone, out)


def _whole(source: str, alone: list[str], out: Path | None) -> None:
    """The whole model, or why there is none; a model without towers must be one, and so must one
    that becomes a run."""
    from sensorium import importing
    from sensorium.errors import UserError

    try:
        made = importing.whole(source)
    except UserError as error:
        if out is not None or not alone:
            raise
        if len(alone) > 1:
            print(f"not kept as a whole: {error.what}", file=sys.stderr)
        return
    modalities = " and ".join(made.recipe.modalities)
    _print(made, f"{made.architecture}, the whole model of {modalities}")
    if out is not None:
        from sensorium.errors import command
        from sensorium.importing_run import write

        print(f"  run       {write(made, out).folder}")
        print(f"  try       {command('finetune', out, 'DATA')}")


def _print(made: Any, what: str) -> None:
    """Licence, what it is, and the error of each layer."""
    print(made.name)
    print(f"  licence   {made.licence}")
    print(f"  what      {what}, from {made.source}")
    for note in made.notes:
        print(f"  note      {note}")
    print(f"  compared  {made.check.said}")
    for layer, absolute, relative in made.rows:
        print(f"    {layer:<24}{absolute:>10}{relative:>10}")


@app.command("clear")
def cache_clear(
    kind: Annotated[str | None, typer.Argument(help="towers, datasets or features.")] = None,
) -> None:
    """Delete what is kept."""
    from sensorium import cache

    print(f"{cache.clear(kind) / 1e6:.1f} MB freed")
