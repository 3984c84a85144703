"""The command line. Each command loads what it needs when it runs: `--help` and mistakes are quick.

Exit codes: 0 well; 1 warnings (doctor) or a bug (with a traceback); 2 a mistake in what was given;
3 a loss was not finite; 75 stopped by a signal after saving.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sensorium import (
    __version__,
    commands_cache,
    commands_choose,
    commands_compare,
    commands_task,
    commands_world,
)
from sensorium.errors import UserError
from sensorium.options import (
    Data,
    Device,
    Fields,
    Json,
    Out,
    RunDir,
    Shelf,
    add_shelves,
    consoles,
    fields_of,
    print_json,
    settings,
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Multi-modal pre-training: every score beside its controls. Begin with: sensorium demo",
    epilog="Exit codes: 0 well; 1 warnings (doctor) or a bug; 2 a mistake in what was given; "
    "3 a loss was not finite; 75 stopped by a signal after saving.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(no_args_is_help=True, help="Data sets that Sensorium knows.")
app.add_typer(data_app, name="data")
app.add_typer(commands_cache.app, name="cache")
app.add_typer(commands_world.app, name="world")

_DATA_HELP = "CSV, TSV, Parquet, JSONL, COCO JSON, WebDataset, or a folder of pictures and texts"


def _version(value: bool) -> None:
    if value:
        print(f"sensorium {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Tracebacks of mistakes, all notes.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Results only.")] = False,
) -> None:
    settings.update(quiet=quiet, verbose=verbose)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Directory of the run.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Key of every draw.")] = 0,
    device: Device = "cpu",
) -> None:
    """The main job on the drawings that come along: examine, train, score, search, report."""
    from sensorium import devices

    devices.check(device)
    from sensorium.demo import run_demo

    console, err = consoles()
    run_demo(out, seed, device, console, err)


@app.command()
def doctor(
    data: Data,
    fields: Fields = None,
    recipe: Annotated[str, typer.Option(help="The recipe that would be trained on it.")] = "lit",
    json: Json = False,
) -> None:
    """Examine a data set: counts, damage, duplicates, leaks between splits, what to expect."""
    from sensorium.doctor import examine, show

    console, _ = consoles()
    diagnosis = examine(data, fields_of(fields), recipe)
    if json:
        print_json(diagnosis.to_json())
    else:
        show(diagnosis, console)
    raise typer.Exit(diagnosis.exit_code)


@app.command()
def pretrain(
    data: Data,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Recipe changes.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="lit, clip, ... or a YAML file.")] = "lit",
    size: Annotated[str, typer.Option(help="micro, tiny, small or published.")] = "tiny",
    budget: Annotated[
        str | None, typer.Option(help="2min, 20k-samples, 5-epochs, 300-steps.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Key of every draw.")] = None,
    out: Out = None,
    fields: Fields = None,
    tower: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[image=|text=]SOURCE",
            help="A frozen tower of another library: a folder, or hf:NAME. Repeat.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make batches.")] = 0,
    device: Device = "cpu",
    shelf: Shelf = None,
) -> None:
    """Train a model on paired data and score it beside its controls."""
    add_shelves(shelf)
    from sensorium import recipe as recipes

    # Mistakes in the recipe, the run directory and the data are answered before torch loads.
    chosen = recipes.load(recipe, size, overrides, budget=budget, seed=seed)
    from sensorium import devices, reading, taking
    from sensorium.run import refuse_used

    taking.wishes(chosen, tower or [])
    devices.check(device)

    if out is not None:
        refuse_used(out)
    needed = (*chosen.modalities, *chosen.targets)
    records = reading.read(data, fields_of(fields), train=needed)
    reading.refuse_missing(chosen, records)
    from sensorium.pretraining import pretrain as train
    from sensorium.terminal import Teller

    console, err = consoles()
    teller = Teller(err)
    run = train(
        records, chosen, out=out, tower=tower or (), workers=workers, device=device, watcher=teller
    )
    _finish(run, console, teller)


@app.command()
def resume(
    run: RunDir,
    device: Annotated[str | None, typer.Option(help="Another than it began on.")] = None,
    shelf: Shelf = None,
) -> None:
    """Continue an interrupted run, bit for bit as if it had not stopped."""
    add_shelves(shelf)
    from sensorium.run import Run

    Run.open(run, device or "cpu")
    from sensorium.pretraining import resume as go_on
    from sensorium.terminal import Teller

    console, err = consoles()
    teller = Teller(err)
    _finish(go_on(run, teller, device), console, teller)


def _finish(run, console, teller) -> None:
    """What the index holds, report, scores, verdict, next command."""
    if run.recipe.tune is not None:
        commands_task.finish(run, console)
        return
    from sensorium import store
    from sensorium.terminal import rail, score_lines, search_command, verdict_lines

    place = run.folder / "index"
    if run.compares:
        rows = store.read_facts(place / str(store.current(place)))["rows"]
        held = ", ".join(f"{count:,} {name}" for name, count in rows.items())
        teller.say("index", f"{sum(rows.values()):,} rows: {held}")
    page = run.report()
    scores = run.scores()
    for line in (*score_lines(scores, console), *verdict_lines(scores)):
        console.print(line)
    console.print(rail("report", str(page)))
    from sensorium.report.collecting import uses

    find = search_command(run.folder, run.example()) if run.compares else None
    console.print(rail("try", uses(run, {score["task"] for score in scores}, find)[0][1]))


commands_task.register(app)
commands_choose.register(app)
commands_compare.register(app)


@app.command()
def evaluate(
    run: RunDir,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    missing: Annotated[
        str | None,
        typer.Option(help="Its main score where such shares lack a modality: 0,0.25,0.5."),
    ] = None,
    json: Json = False,
    device: Device = "cpu",
    shelf: Shelf = None,
) -> None:
    """Every task that fits the run, with interval, protocol and controls."""
    add_shelves(shelf)
    from sensorium.run import Run

    if missing is not None:
        _missing(run, device, split, missing, json)
        return
    opened = Run.open(run, device)
    scores = opened.evaluate(split)
    if json:
        print_json(scores)
        return
    from sensorium.terminal import protocol_lines, score_lines, verdict_lines

    console, _ = consoles()
    for metric in dict.fromkeys(score["metric"] for score in scores):
        for line in score_lines(scores, console, metric):
            console.print(line)
    for line in (*protocol_lines(scores), *verdict_lines(scores)):
        console.print(line)


def _missing(folder: Path, device: str, split: str, text: str, json: bool) -> None:
    from sensorium import missing
    from sensorium.run import Run

    rates = missing.rates_of(text)
    run = Run.open(folder, device)
    scores = missing.evaluate(run, split, rates)
    if json:
        print_json(scores)
        return
    from sensorium.terminal import protocol_lines, rail, score_lines

    console, _ = consoles()
    for line in (*score_lines(missing.shown(scores), console), *protocol_lines(scores)):
        console.print(line)
    for note in missing.notes(scores):
        console.print(note, style="dim", markup=False)
    for sentence in missing.sentences(scores):
        console.print(sentence, style="bold", markup=False)
    console.print(rail("try", missing.report_command(run)))


@app.command()
def index(
    run: RunDir,
    data: Annotated[str | None, typer.Argument(metavar="[DATA]", help=_DATA_HELP)] = None,
    device: Device = "cpu",
    shelf: Shelf = None,
) -> None:
    """Embed a data set for search; adds only what is new."""
    add_shelves(shelf)
    from sensorium.run import Run
    from sensorium.terminal import rail, search_command

    console, _ = consoles()
    built = Run.open(run, device).index(data)
    console.print(
        rail(
            "index",
            f"{built.rows:,} rows: {built.new:,} new, {built.removed:,} gone, "
            f"{built.rejected:,} set aside",
        )
    )
    console.print(rail("try", search_command(run, "a red boat")))


@app.command()
def search(
    run: RunDir,
    words: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture to look for.")] = None,
    like: Annotated[str | None, typer.Option(metavar="KEY", help="An indexed record.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 10,
    where: Annotated[
        list[str] | None, typer.Option(help="FIELD=VALUE that results must have. Repeat.")
    ] = None,
    json: Json = False,
    device: Device = "cpu",
    shelf: Shelf = None,
) -> None:
    """Find records by words, by a picture, or like another record."""
    add_shelves(shelf)
    filters = {}
    for text in where or []:
        name, sign, value = text.partition("=")
        if not (sign and name):
            raise UserError("--where", expected="FIELD=VALUE", found=text)
        filters[name] = value
    from sensorium.run import Run

    opened = Run.open(run, device)
    results = opened.search(words, image=image, like=like, k=k, where=filters or None)
    if json:
        print_json(results)
        return
    from sensorium.terminal import rail, result_lines

    console, _ = consoles()
    for line in result_lines(results):
        console.print(line)
    if not results:
        console.print(rail("none", "no indexed record fits"))


@app.command()
def match(
    run: RunDir,
    file: Annotated[Path, typer.Argument(help="A picture.")],
    words: Annotated[str, typer.Argument(help="Words that may fit it.")],
    json: Json = False,
    device: Device = "cpu",
    shelf: Shelf = None,
) -> None:
    """How well a picture and words fit, beside pairs that are known to be right and wrong."""
    add_shelves(shelf)
    from sensorium.run import Run

    told = Run.open(run, device).match(file, words)
    if json:
        print_json(told)
        return
    from sensorium.terminal import rail

    console, _ = consoles()
    share = told["share_of_wrong_pairs_below"]
    console.print(rail("match", f"cosine {told['similarity']:+.3f}", "bold"))
    console.print(rail("", f"above {100 * share:.1f} % of wrong pairs ({told['pairs_from']})"))
    console.print(
        rail(
            "",
            f"median of wrong pairs {told['median_of_wrong_pairs']:+.3f}, "
            f"of right pairs {told['median_of_right_pairs']:+.3f}",
        )
    )


@app.command()
def report(run: RunDir, shelf: Shelf = None) -> None:
    """Write the run's report page again."""
    add_shelves(shelf)
    from sensorium.run import Run
    from sensorium.terminal import rail

    console, _ = consoles()
    console.print(rail("report", str(Run.open(run).report())))


@app.command()
def recipes(json: Json = False) -> None:
    """The recipes that come along."""
    from sensorium import recipe, shelf

    rows = [recipe.load(name) for name in shelf.names("recipes")]
    if json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    console, _ = consoles()
    from rich.markup import escape

    for name, row in zip(shelf.names("recipes"), rows, strict=True):
        console.print(f"[bold]{name:<18}[/bold] {escape(row.summary)}")
        console.print(f"{'':<18} [dim]{escape(row.source)}[/dim]")


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A recipe's name or YAML file, or a run's folder.")
    ],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...")] = None,
    size: Annotated[
        str | None, typer.Option(help="micro, tiny, small or published (the default).")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="What a step computes.")] = False,
    parameters: Annotated[bool, typer.Option("--parameters", help="Counts by part.")] = False,
    json: Json = False,
    shelf: Shelf = None,
) -> None:
    """A recipe or a run, what a step of it computes, and how many parameters it has."""
    add_shelves(shelf)
    from sensorium import summary

    run = summary.opened(name, size, overrides)
    from sensorium import recipe as recipes_

    chosen = run.recipe if run else recipes_.load(name, size or "published", overrides)
    facts: dict[str, Any] = {"recipe": chosen.model_dump(mode="json"), "hash": chosen.hash}
    if run:
        facts = summary.summary(run)
    if plan or parameters:
        import torch

        from sensorium import building

        fitted = run.modalities if run else None
        with torch.device("meta"):
            step = building.build(chosen, fitted)
        if plan:
            facts["plan"] = building.plan_lines(step)
        if parameters:
            facts["parameters"] = building.parameters(step)
    if json:
        print_json(facts)
        return
    console, _ = consoles()
    if run and not (plan or parameters):
        for line in summary.summary_lines(facts):
            console.print(line)
    elif not (plan or parameters):
        console.print(recipes_.to_yaml(chosen), markup=False, end="")
    for line in facts.get("plan", []):
        console.print(line, markup=False)
    for part, count in facts.get("parameters", {}).items():
        console.print(f"{part:<32}{count:>14,}", markup=False)


@app.command("list")
def list_shelf(
    kind: Annotated[str, typer.Argument(metavar="SHELF", help="objectives, encoders, ...")],
) -> None:
    """The members of a shelf."""
    from sensorium import recipe, shelf

    for name in shelf.names(kind):
        told = recipe.load(name).summary if kind == "recipes" else shelf.summary(kind, name)
        print(f"{name:<22}{told}".rstrip())


@data_app.command("list")
def data_list() -> None:
    """Data sets that can be named instead of a path."""
    from sensorium import shelf

    for name in shelf.names("datasets"):
        print(f"{name:<16}{shelf.summary('datasets', name)}")


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of: sensorium data list.")],
) -> None:
    """Fetch a data set into the cache; prints its licence."""
    from sensorium import shelf

    module = shelf.load("datasets", name)
    print(module.LICENCE)
    print(module.get())


def main(arguments: list[str] | None = None) -> None:
    """Runs a command (of the process's own arguments, or of others); a user's mistake becomes a few
    lines and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A caption or file name that the terminal's encoding lacks is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        app(arguments)
    except UserError as error:
        if settings["verbose"]:
            raise
        from sensorium.terminal import error_lines

        print("\n".join(error_lines(error)), file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
