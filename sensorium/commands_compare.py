"""Compare arms of a recipe, and look at comparisons: one command, told apart by its first word."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.errors import MissingExtra, Stopped, UserError, clip, command, unknown
from sensorium.options import Fields, Json, Shelf, add_shelves, consoles, fields_of, print_json

if TYPE_CHECKING:
    from sensorium.comparison.plan import Plan

WHERE = ("processes", "ray", "submitit")  # as in `pool.WHERE`, which loads torch
_RATES = {"lr": "learning_rate", "wd": "weight_decay"}
_LOOKING = {"show": ("data", "rest", "json", "sql"), "list": ("data", "rest", "json")}
# Of a plan in a file: how it is carried out, and nothing that it says itself.
_CARRYING = ("data", "rest", "out", "on", "workers", "assume", "json", "shelf")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(compare)


def compare(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="A data set's name or path, or a plan.yaml; or: show, list."
        ),
    ],
    rest: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY.PATH=VALUE]...", help="Recipe changes, in all arms alike; DIR of show."
        ),
    ] = None,
    vary: Annotated[
        str | None, typer.Option(metavar="AXIS=ONE,OTHER", help="What differs, and its values.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="clip, visualbert, ... or a YAML file.")] = "clip",
    size: Annotated[str, typer.Option(help="micro, tiny, small or published.")] = "micro",
    seeds: Annotated[str, typer.Option(help="How many, or which: 101,102,103.")] = "5",
    budget: Annotated[
        str, typer.Option(help="Of each run: 30k-samples, 2m-tokens, 3t-flops, 300-steps, 90s.")
    ] = "30k-samples",
    out: Annotated[Path | None, typer.Option(help="Folder of the comparison.")] = None,
    outcome: Annotated[
        str | None,
        typer.Option(help="accuracy, choice:FIELD, probe:FIELD, retrieval:..., loss:..."),
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option(help="A further outcome, told and not judged. Repeat.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Judge the samples until the outcome is this.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Differences below it do not matter; .02 is two points.")
    ] = None,
    predict: Annotated[
        str | None, typer.Option(metavar="LOW,HIGH", help="Later arm minus first, as expected.")
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option("--sweep", metavar="lr=..;wd=..", help="Rates to try, for each arm alike."),
    ] = None,
    no_sweep: Annotated[bool, typer.Option("--no-sweep", help="Tune nothing.")] = False,
    controls: Annotated[
        str | None, typer.Option(help="Of shuffled, untrained, additive, only:image, ...")
    ] = None,
    no_controls: Annotated[bool, typer.Option("--no-controls", help="Run none.")] = False,
    on: Annotated[str, typer.Option(help="processes, ray or submitit (Slurm).")] = "processes",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; by default one a core.")
    ] = None,
    assume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Earlier comparison whose spread to expect.")
    ] = None,
    fields: Fields = None,
    sql: Annotated[
        str | None, typer.Option(help="With show: a query over the tables runs and timings.")
    ] = None,
    json: Json = False,
    shelf: Shelf = None,
) -> None:
    """Vary one thing of a recipe, hold all else, and judge by rules that were fixed before.

    compare DATA --vary AXIS=ONE,OTHER --out DIR, or compare PLAN.yaml --out DIR. By default rates
    are tuned alike for each arm, and controls are run. The same command goes on where it stopped.

    compare show DIR prints a finished one again; compare list [FOLDER] names those in a folder
    (comparisons, by default). A data set with such a name is ./show.
    """
    if importlib.util.find_spec("scipy") is None:
        raise MissingExtra("compare", "the library scipy", "compare")
    words = list(rest or [])
    if data == "show":
        _only(context, "compare show", _LOOKING["show"])
        return _show(words, json, sql)
    if data == "list":
        _only(context, "compare list", _LOOKING["list"])
        return _list(words, json)
    if sql is not None:
        raise UserError("--sql", expected="compare show DIR --sql ...", found=f"compare {data}")
    add_shelves(shelf)
    # All mistakes of a plan, its data and its folder are answered before torch loads.
    if data.lower().endswith((".yaml", ".yml")):
        _only(context, f"a plan, {data}", _CARRYING)
        if words:
            raise UserError(clip(words[0]), expected=f"what {data} does not say, in it",
                            found="a change beside it")  # fmt: skip
        from sensorium.comparison import plan as plans

        plan = plans.load(data)
    else:
        told = {
            "outcome": outcome,
            "also": tuple(also) if also else None,
            "threshold": threshold,
            "at": "threshold" if threshold is not None else None,
            "margin": margin,
            "prediction": _prediction(predict),
            "fields": fields_of(fields),
        }
        if vary is None:
            raise UserError("--vary", expected="AXIS=ONE,OTHER, e.g. "
                            "fusion=merge_attention,co_attention", found="nothing")  # fmt: skip
        plan = _plan(data, vary, recipe, size, seeds, budget, words, told,
                     _sweep(sweep, no_sweep), _controls(controls, no_controls))  # fmt: skip
    _carry_out(plan, out, on, workers, assume, json)
    return None


def _only(context: typer.Context, what: str, allowed: tuple[str, ...]) -> None:
    """Refuses options that have no part in what was asked.

    Raises:
        UserError: names the option.
    """
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE" and name not in allowed:
            option = "--field" if name == "fields" else "--" + name.replace("_", "-")
            more = ", ".join("--" + x for x in allowed if x not in ("data", "rest"))
            raise UserError(option, expected=f"options of {what}: {more}", found="one that is not")


# --- what is asked -----------------------------------------------------------------------------


def _plan(
    data: str, vary: str, recipe: str, size: str, seeds: str, budget: str, changes: list[str],
    told: dict[str, Any], sweep: dict[str, list[float]] | None, controls: list[str] | None,
) -> Plan:  # fmt: skip
    """The plan; None of a sweep or of controls stands for the usual ones."""
    from sensorium.comparison import usual
    from sensorium.comparison.plan import from_command

    for text in changes:
        key, sign, _ = text.partition("=")
        if not sign or not key:
            raise UserError(clip(text), expected="KEY.PATH=VALUE after the data",
                            found="something else")  # fmt: skip
    first = from_command(data, vary, recipe, size, _seeds(seeds), budget, changes, **told)
    if sweep is None:
        sweep = usual.sweep(first)
    if controls is None:
        controls = usual.controls(first)
    told |= {"sweep": sweep or None, "controls": tuple(controls) or None}
    return from_command(data, vary, recipe, size, _seeds(seeds), budget, changes, **told)


def _seeds(text: str) -> int | list[int]:
    """`5`, or `101,102,103`.

    Raises:
        UserError: not of that form.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise UserError(
            "--seeds", expected="how many, or which: 5 or 101,102,103", found=clip(text)
        )
    return int(parts[0]) if len(parts) == 1 else [int(part) for part in parts]


def _prediction(text: str | None) -> dict[str, float] | None:
    """`LOW,HIGH`.

    Raises:
        UserError: not two numbers.
    """
    if text is None:
        return None
    limits = _numbers(text)
    if limits is None or len(limits) != 2:
        raise UserError("--predict", expected="LOW,HIGH, e.g. -0.02,0.05", found=clip(text))
    return {"low": limits[0], "high": limits[1]}


def _sweep(text: str | None, none: bool) -> dict[str, list[float]] | None:
    """`lr=3e-4,1e-3;wd=0,0.1` as rate -> values; empty: none; None: the usual one.

    Raises:
        UserError: not of that form, or both a sweep and none.
    """
    if text is None:
        return {} if none else None
    if none:
        raise UserError("--sweep", expected="it or --no-sweep", found="both")
    made: dict[str, list[float]] = {}
    for part in filter(None, text.split(";")):
        key, sign, written = part.partition("=")
        name = _RATES.get(key.strip(), key.strip())
        values = _numbers(written)
        if not sign or name not in _RATES.values() or values is None or name in made:
            raise UserError("--sweep", expected="lr=3e-4,1e-3;wd=0,0.1, or one of the two",
                            found=clip(text))  # fmt: skip
        made[name] = values
    if not made:
        raise UserError("--sweep", expected="lr=3e-4,1e-3;wd=0,0.1, or --no-sweep", found="nothing")
    return made


def _controls(text: str | None, none: bool) -> list[str] | None:
    """`shuffled,untrained`; empty: none; None: the usual ones."""
    if text is None:
        return [] if none else None
    if none:
        raise UserError("--controls", expected="it or --no-controls", found="both")
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str) -> list[float] | None:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return None


# --- carrying out ------------------------------------------------------------------------------


def _carry_out(
    plan: Plan, out: Path | None, on: str, workers: int | None, assume: Path | None, json: bool
) -> None:
    from sensorium.comparison import findings

    if out is None:
        raise UserError("--out", expected="a folder for the comparison, e.g. comparisons/x",
                        found="none")  # fmt: skip
    if on not in WHERE:
        raise unknown("executor", on, WHERE)
    if on != "processes" and importlib.util.find_spec(on) is None:
        raise MissingExtra(f"--on {on}", f"the library {on}", "cluster")
    spread = None if assume is None else findings.spread(_assumed(assume, plan))
    findings.refuse_other(out, plan)
    from sensorium.comparison import terminal
    from sensorium.terminal import Teller

    err = consoles()[1]
    for line in terminal.design_lines(plan, spread, f"of {assume}" if assume else ""):
        err.print(line)
    try:
        from sensorium.comparison.conduct import compare as conduct

        teller = Teller(err)
        try:
            conduct(plan, out, on, workers, teller)
        finally:
            teller.close()
    except KeyboardInterrupt:
        raise Stopped("stopped; what is done is kept, the same command goes on") from None
    _tell(out, json)


def _assumed(folder: Path, plan: Plan) -> Any:
    """An earlier comparison in the plan's unit.

    Raises:
        RunError: none is there. UserError: it is in another unit.
    """
    from sensorium.comparison import findings, terminal

    found = findings.read(folder)
    unit, wanted = terminal.unit_of(found.plan), terminal.unit_of(plan)
    if unit != wanted:
        raise UserError("--assume", expected=f"a comparison in {wanted}", found=f"one in {unit}")
    return found


# --- looking -----------------------------------------------------------------------------------


def _show(words: list[str], json: bool, sql: str | None) -> None:
    if len(words) != 1:
        raise UserError("compare show", expected="DIR, the folder of a comparison",
                        found=" ".join(words) or "nothing")  # fmt: skip
    folder = Path(words[0])
    if sql is None:
        return _tell(folder, json)
    from sensorium.comparison import findings, table

    findings.begun(folder)
    names, rows = table.ask(folder, sql)
    if json:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
        return None
    console, _ = consoles()
    cells = [names, *([_cell(x) for x in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(names))]
    for at, row in enumerate(cells):
        line = "  ".join(f"{x:<{wide}}" for x, wide in zip(row, widths, strict=True)).rstrip()
        console.print(line, style=None if at else "dim", markup=False)
    return None


def _cell(value: Any) -> str:
    return "–" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _tell(folder: Path, json: bool) -> None:
    """A finished comparison, as it is printed at its end."""
    from sensorium.comparison import findings, terminal

    found = findings.read(folder)
    if json:
        plan = found.plan.model_dump(mode="json")
        print_json({"folder": str(folder), "plan": plan, "hash": found.plan.hash, **{
            key: value for key, value in found.result.items() if key != "plan"
        }, "costs": found.costs})  # fmt: skip
        return
    console, _ = consoles()
    for line in terminal.lines(found, console):
        console.print(line)


def _list(words: list[str], json: bool) -> None:
    from sensorium.comparison import findings, terminal
    from sensorium.comparison import words as told

    if len(words) > 1:
        raise UserError("compare list", expected="one folder at most", found=" ".join(words))
    folder = Path(words[0] if words else "comparisons")
    rows = []
    for place in findings.below(folder):
        plan, known = findings.begun(place)
        row: dict[str, Any] = {"folder": str(place), "plan": known, "question": plan.question}
        if (place / findings.RESULT).is_file():
            found = findings.read(place)
            row |= {"finished": True, "told": told.title(found.verdicts),
                    "kinds": [x["kind"] for x in found.verdicts]}  # fmt: skip
        else:
            done = findings.carried(place)
            all_ = sum(terminal.counts(plan))
            row |= {"finished": False, "told": f"not finished: {done} of {all_} runs are done"}
        rows.append(row)
    if json:
        print_json(rows)
        return
    console, _ = consoles()
    for line in terminal.list_lines(rows):
        console.print(line)
    if not rows:
        from sensorium.terminal import rail

        console.print(rail("none", f"no comparison in {folder}"))
        console.print(rail("see", command("compare", "--help")))
