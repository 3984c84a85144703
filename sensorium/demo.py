"""The main job, start to end, on the drawings that come along: what `make demo` runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from sensorium import recipe as recipes
from sensorium import towers
from sensorium.errors import RunError, UserError, command
from sensorium.terminal import Teller, rail, score_lines, verdict_lines

if TYPE_CHECKING:
    from rich.console import Console

    from sensorium.run import Run

DATA = "emoji"
# Counted, not timed: a busy machine must not change what the demo shows.
BUDGET = {"lit": "16-epochs", "clip": "30-epochs"}
QUERIES = ("a boat on the sea", "a sad face", "something sweet to eat")


def run_demo(out: Path, seed: int, device: str, console: Console, err: Console) -> Run:
    """Examine, train, score, index, search, report; a finished demo there is only shown again.

    Where the towers cannot be had, says so and trains from scratch instead.

    Raises:
        RunError: `out` holds something that is not a demo.
    """
    from sensorium.doctor import examine
    from sensorium.pretraining import pretrain, resume
    from sensorium.run import Run

    teller = Teller(err)
    if (out / "run.json").exists():
        run = Run.open(out, device)
        if run.info["data"] != DATA:
            raise RunError(
                file=out, expected="a demo, or nothing", found=f"a run on {run.info['data']}"
            )
        teller.say("found", f"{out} is there already (delete it to train again)")
        if run.info.get("best_step") is None:
            run = resume(out, teller, device)
    else:
        name = _recipe(teller)
        diagnosis = examine(DATA, None, name)
        told = Counter(finding.severity for finding in diagnosis.findings)
        kinds = [f"{count} {kind}{'s' * (count > 1)}" for kind, count in sorted(told.items())]
        told_line = ", ".join(kinds) or "nothing to mend"
        teller.say("doctor", f"{told_line}  ({command('doctor', DATA)})")
        recipe = recipes.load(name, "tiny", seed=seed, budget=BUDGET[name])
        run = pretrain(DATA, recipe, out=out, device=device, watcher=teller)
    run.index()
    show(run, console)
    return run


def _recipe(teller: Teller) -> str:
    """`lit` where its towers can be had, else `clip` from scratch, saying why."""
    for name in recipes.load("lit").prepare.values():
        tower = name["use"]
        if towers.available(tower):
            continue
        try:
            towers.fetch(tower, lambda line: teller.say("fetch", line))
        except UserError as error:
            teller.say("fetch", "; ".join(error.lines))
            teller.say(
                "instead", "no frozen towers: training clip from scratch, expect far lower scores"
            )
            return "clip"
    return "lit"


def show(run: Run, console: Console) -> None:
    """Three searches, the scores, the verdict, the page, and what to try next."""
    for query in QUERIES:
        found = run.search(query, k=3)
        names = ", ".join(str(row.get("text") or row["key"]) for row in found)
        console.print(rail("search", f"{query:<24}{names}"))
    page = run.report()
    scores = run.scores()
    for line in (*score_lines(scores, console), *verdict_lines(scores)):
        console.print(line)
    console.print(rail("report", str(page)))
    console.print(rail("yours", command("doctor", "FOLDER")))
    console.print(rail("", command("pretrain", "FOLDER", "--out", "runs/mine")))
    console.print(rail("", command("search", "runs/mine", "a dog on a beach")))
