"""Give a trained run a task, and ask it: finetune, predict, answer, caption, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
)

if TYPE_CHECKING:
    from sensorium.run import Run

Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="Pictures.")]
Top = Annotated[int, typer.Option("-k", min=1, help="How many classes are told.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file, in the order in which people come to them."""
    for command in (finetune, predict, answer, caption, export):
        app.command()(command)


def finetune(
    run: RunDir,
    data: Data,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Recipe changes.")
    ] = None,
    task: Annotated[
        str, typer.Option(help="classification, answering, captioning or retrieval.")
    ] = "classification",
    method: Annotated[
        str, typer.Option(help="full, linear (the head), freeze (all but encoders) or lora.")
    ] = "full",
    out: Out = None,
    label: Annotated[
        str | None, typer.Option(help="The field with the classes or answers.")
    ] = None,
    fields: Fields = None,
    budget: Annotated[
        str | None, typer.Option(help="2min, 20k-samples, 5-epochs, 300-steps.")
    ] = None,
    interpolate: Annotated[
        float | None, typer.Option(help="WiSE-FT: share of the tuned weights, 0 to 1.")
    ] = None,
    rank: Annotated[int, typer.Option(help="Of LoRA's updates.")] = 8,
    seed: Annotated[int | None, typer.Option(help="Key of every draw.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make batches.")] = 0,
    device: Device = "cpu",
    shelf: Shelf = None,
) -> None:
    """Train a finished run further on a task; scores of the new and the old task, before and
    after."""
    add_shelves(shelf)
    from sensorium import devices
    from sensorium.finetuning.tuning import Wish, prepared

    # Mistakes in task, source, data and run directory are answered before torch loads.
    devices.check(device)
    told = fields_of(fields)
    changes = tuple(overrides or ())
    prepared(
        run, data, Wish(task, method, label, told, rank, interpolate, budget, seed, changes), out
    )
    from sensorium.finetuning.tuning import finetune as tune
    from sensorium.terminal import Teller

    console, err = consoles()
    made = tune(
        run, data, task, method, out=out, budget=budget, seed=seed, label=label, fields=told,
        rank=rank, interpolate=interpolate, overrides=overrides, workers=workers, device=device,
        watcher=Teller(err),
    )  # fmt: skip
    finish(made, console)


def finish(run: Run, console: Any) -> None:
    """Scores with their controls, verdict, before and after, report, next command."""
    from sensorium.terminal import rail, score_lines, verdict_lines

    page, scores = run.report(), run.scores()
    for line in (*score_lines(scores, console), *verdict_lines(scores)):
        console.print(line)
    console.print()
    for line in table_lines(run):
        console.print(line, markup=False)
    console.print(rail("report", str(page)))
    console.print(rail("try", try_command(run)))


def try_command(run: Run) -> str:
    """The next command for a fine-tuned run."""
    from sensorium.errors import command

    task = run.recipe.name.rpartition("_")[2]
    if task == "classification":
        from sensorium.finetuning.predicting import asked

        return command("predict", run.folder, *asked(run.recipe))
    if task == "answering":
        return command("answer", run.folder, "FILE", "QUESTION")
    if task == "captioning":
        return command("caption", run.folder, "FILE")
    return command("evaluate", run.folder)


def table_lines(run: Run) -> list[str]:
    """Before and after of both tasks, one line a metric, losses and shares as numbers."""
    from sensorium.finetuning.tuning import UNUSED
    from sensorium.report.words import label

    rows = run.info.get("before_and_after", [])
    mixed = any("tuned" in row for row in rows)
    wide = max([36, *(len(_named(row)) + 2 for row in rows if "metric" in row)])
    head = f"{'':<{wide}}{'before':>9}" + (f"{'tuned':>9}" if mixed else "")
    lines = [f"{head}{'after':>9}  difference, 95 %"]
    for row in rows:
        if "reason" in row:
            lines.append(f"{row['which']}  {row['reason']}")
            continue
        told = f"{_named(row):<{wide}}{row['before']:>9.3f}" + (
            f"{row['tuned']:>9.3f}" if mixed else ""
        )
        interval = row["difference_interval"]
        sure = "too few to say" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}"
        lines.append(f"{told}{row['after']:>9.3f}  {row['difference']:+.3f} ({sure})")
        shot = row.get("zero_shot")
        if shot and shot["value"] is not None:
            by = ", ".join(f'"{prompt}"' for prompt in shot["prompts"])
            lines.append(
                f"{'     zero-shot, by class names':<{wide}}{shot['value']:>9.3f}  as {by}"
            )
        for control, value in row.get("controls", {}).items():
            lines.append(f"     {label(control):<{wide - 5}}{'':>{9 * (1 + mixed)}}{value:>9.3f}")
    records: dict[str, int] = {}
    for row in rows:  # captions are written for fewer
        records[row["which"]] = max(records.get(row["which"], 0), row.get("records", 0))
    asked = ", ".join(f"{count:,} {which}" for which, count in records.items() if count)
    lines.append(f"test split: {asked} records; before: new heads as drawn; old: the source's task")
    if run.best_step == 0:
        lines.append(UNUSED)
    if (seen := run.info.get("seen_by_source")) and seen["records"] != 0:
        from sensorium.finetuning.splitting import overlap_line

        lines.append(overlap_line(seen))
    return lines


def _named(row: dict[str, Any]) -> str:
    """What a row of before and after is called."""
    return f"{row['which']}  {row['metric']}" + (" (lower)" if row["better"] == "lower" else "")


def predict(
    run: RunDir,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Pictures; texts or cells for a run of these."),
    ],
    words: Annotated[
        str | None, typer.Option(help="The text beside the pictures, for a run that reads both.")
    ] = None,
    cells: Annotated[
        str | None, typer.Option(help='The table beside them, as JSON: {"price": 120}.')
    ] = None,
    k: Top = 3,
    json: Json = False,
    device: Device = "cpu",
    shelf: Shelf = None,
) -> None:
    """Tell the class of pictures, texts or tables, with probability and runners-up."""
    add_shelves(shelf)
    from sensorium.run import Run

    rows = Run.open(run, device).predict(files, words, k, cells)
    if json:
        print_json(rows)
        return
    from sensorium.terminal import plain, rail

    console, _ = consoles()
    for row in rows:
        others = ", ".join(f"{x['class']} {x['probability']:.2f}" for x in row["runners_up"])
        what = plain(row.get("file") or row.get("text") or row["cells"])
        console.print(f"{what}  {row['class']} {row['probability']:.2f}", markup=False)
        if others:
            console.print(rail("", f"then {others}"), style="dim")


def answer(
    run: RunDir,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A picture.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What is asked about it.")],
    k: Top = 3,
    json: Json = False,
    device: Device = "cpu",
    shelf: Shelf = None,
) -> None:
    """Answer a question about a picture, from the answers that the run learned."""
    add_shelves(shelf)
    from sensorium.finetuning.predicting import answer as answers
    from sensorium.run import Run

    rows = answers(Run.open(run, device), file, question, k)
    if json:
        print_json(rows)
        return
    console, _ = consoles()
    for row in rows:
        console.print(f"{row['probability']:>8.2f}  {row['answer']}", markup=False)


def caption(
    run: RunDir,
    files: Files,
    json: Json = False,
    device: Device = "cpu",
    shelf: Shelf = None,
) -> None:
    """Write a caption for each picture, beside the nearest caption of the training data."""
    add_shelves(shelf)
    from sensorium.finetuning.tuning import refuse_unasked
    from sensorium.run import Run, refuse_unreadable

    opened = Run.open(run, device)
    refuse_unasked(opened, "caption")
    for file in files:
        refuse_unreadable(file)
    from sensorium.writing import caption as write

    written = write(opened, files)
    found, how = _found(opened, files)
    rows = [
        {"file": row["file"], "generated": row["caption"], "retrieved": text}
        for row, text in zip(written, found, strict=True)
    ]
    if json:
        print_json(rows)
        return
    from sensorium.terminal import rail

    console, _ = consoles()
    for row in rows:
        console.print(row["file"], markup=False, style="bold")
        console.print(rail("written", row["generated"]))
        console.print(rail("found", row["retrieved"] or "nothing"))
    console.print(rail("", f"found: {how}"), style="dim")


def _found(run: Run, files: list[str]) -> tuple[list[str | None], str]:
    """The training caption nearest to each picture, and how it was found or why it was not."""
    from sensorium.errors import UserError
    from sensorium.finetuning.predicting import pictures
    from sensorium.recalling import captions

    try:
        found, how = captions(run, pictures(run, files))
    except UserError as error:  # the run's data is gone; what was written still holds
        return [None] * len(files), error.what
    return [*found], how


def export(
    run: RunDir,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty.")],
    to: Annotated[str, typer.Option(help="safetensors, hf or onnx.")] = "safetensors",
    device: Device = "cpu",
    shelf: Shelf = None,
) -> None:
    """Write the trained model for other programs; outputs are compared after."""
    add_shelves(shelf)
    from sensorium.exporting import export as write
    from sensorium.run import Run
    from sensorium.terminal import rail

    console, err = consoles()
    made = write(Run.open(run, device), to, folder, lambda line: err.print(rail("export", line)))
    for name, size in made.files.items():
        console.print(rail("file", f"{made.folder / name}  {size:,} bytes"))
    console.print(rail("check", made.check.said))
    for note in made.notes:
        console.print(rail("note", note))
