"""report.html: one page that holds all of a run, so that no number stands alone.

This file collects what is shown, as plain data; `words` says it, `charts` draws it,
`page` writes it as HTML. Whatever is missing (scores, data that moved, a tower that is not
in the cache) becomes a sentence on the page with the command that fills it, never a blank.
"""

from __future__ import annotations

import shlex
from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sensorium import comparing, files, integrity, shelf, towers, towers_imported, zero_shot
from sensorium.errors import UserError
from sensorium.finetuning.predicting import asked
from sensorium.recipe import load, to_yaml
from sensorium.records import SPLITS
from sensorium.report import answers, examples
from sensorium.report.charts import curves
from sensorium.report.facts import Block, Examples, Facts, Gap, Row, Shown, Weights
from sensorium.report.verdict import Verdict, verdict
from sensorium.report.words import label
from sensorium.terminal import search_command

if TYPE_CHECKING:
    from sensorium.run import Run


def write(run: Run) -> Path:
    """Writes RUN/report.html, atomically, and returns its path.

    The page needs nothing else: it opens from the file, without network and without script.

    Raises:
        RunError: a file of the run is damaged, the disk is full, or it is a model that was imported
            and has nothing to report.
    """
    from sensorium.report.page import page

    if "without_data" in run.info:
        run.records()  # says so
    path = run.folder / "report.html"
    # A file name may hold bytes that are no UTF-8; they show as `?` instead of stopping the page.
    files.write_bytes(path, page(collect(run)).encode("utf-8", "replace"))
    return path


def collect(run: Run) -> Facts:
    """Everything that a run's report shows."""
    info, recipe = run.info, run.recipe
    integrity.check(run.folder, info, "modalities")
    scores, split = _scores(run)
    log = files.read_lines(run.folder / "log.jsonl")
    looks = _evaluation(run, "validation")
    shown, examples = _answers(run, scores, split or "test")
    counts = _counts(run)
    records = run._records
    facts = Facts(
        place=_place(run.folder),
        info=info,
        verdict=verdict(scores) if scores else _unscored(info, log),
        split=split,
        blocks=blocks(scores) if scores else _no_scores(run),
        curves=curves(log, info, looks) or Gap("No curve", "nothing was logged yet"),
        log=[line for line in log if line["split"] == "validation"],
        shown=shown,
        examples=examples,
        counts=counts,
        about=_about(str(info["data"])),
        licence=records.licence if records else None,
        unused=sorted({f for r in records for f in r.fields} - set(info["fields"]))
        if records
        else [],
        rejected=files.read_lines(run.folder / "rejected.jsonl"),
        recipe=to_yaml(recipe),
        name=recipe.name,
        size=recipe.size,
        seed=recipe.seed,
        source=recipe.source,
        departures=recipe.departures,
        weights=_weights(run, scores),
        doubts=[],
        missing=_evaluation(run, f"missing-{split or 'test'}"),
    )
    facts.doubts = _doubts(facts)
    facts.commands = _commands(run, facts)
    return facts


def _place(folder: Path) -> str:
    """The run's path as one types it here."""
    try:
        return str(folder.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return str(folder)


# --- scores ------------------------------------------------------------------------------------


def _scores(run: Run) -> tuple[list[dict[str, Any]], str | None]:
    """The test split's scores, else validation's, and which of them it is."""
    for split in ("test", "validation"):
        if scores := _evaluation(run, split):
            return scores, split
    return [], None


def _evaluation(run: Run, split: str) -> list[dict[str, Any]]:
    file = run.folder / "evaluation" / f"{split}.json"
    return run.scores(split) if file.exists() else []


def blocks(scores: list[dict[str, Any]]) -> list[Block]:
    """Scores by task and direction; every key of their `controls` is a row, luck the last."""
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for score in scores:
        grouped.setdefault((score["task"], score["direction"]), []).append(score)
    made = []
    for (task, direction), group in grouped.items():
        metrics = [score["metric"] for score in group]
        names = list(dict.fromkeys(name for score in group for name in score["controls"]))
        names.sort(key=lambda name: name == "chance")
        rows = [Row("this run", "run", {score["metric"]: score for score in group})]
        for name in names:
            given = {s["metric"]: s["controls"][name] for s in group if name in s["controls"]}
            kind = "luck" if name == "chance" else "control"
            rows.append(Row(label(name), kind, given))
        made.append(Block(task, direction, metrics, rows, group[0]["protocol"]))
    return made


def _answers(
    run: Run, scores: list[dict[str, Any]], split: str
) -> tuple[Shown | Gap | None, list[Examples | Gap]]:
    """What the model finds, where it compares anything, and what else it says."""
    see = f"sensorium resume {_typed(run)}"
    if "best_step" not in run.info:
        return Gap("No pictures yet", "the run has not finished", see), []
    found = {score["task"] for score in scores}
    shown = None
    if "retrieval" in found or (not scores and run.compares):
        shown = answers.shown(run, split)
    return shown, examples.examples(run, scores, split)


def _unscored(info: Mapping[str, Any], log: list[dict[str, Any]]) -> Verdict:
    if "best_step" in info:
        return Verdict("Trained, not scored yet.", [], False)
    done = max((line["step"] for line in log), default=0)
    steps = info.get("plan", {}).get("steps")
    of = f"{done:,} of {steps:,} steps" if steps else "it stopped before its first step"
    return Verdict(f"Training has not finished: {of}.", [], False)


def _no_scores(run: Run) -> Gap:
    if "best_step" in run.info:
        return Gap("No scores", "no split was evaluated yet", f"sensorium evaluate {_typed(run)}")
    return Gap("No scores", "the run has not finished", f"sensorium resume {_typed(run)}")


# --- data and surroundings ---------------------------------------------------------------------


def _counts(run: Run) -> dict[str, int]:
    file = run.folder / "splits.json"
    begun = file.exists() or "best_step" in run.info
    given = integrity.read_json(file, "record keys with their splits") if begun else {}
    found = list(given.values())
    return {split: found.count(split) for split in SPLITS}


def _about(data: str) -> list[str]:
    """What a data set of the shelf says of itself: its first line, and the paragraph after it."""
    if data not in shelf.names("datasets"):
        return []
    whole = (shelf.load("datasets", data).__doc__ or "").strip().split("\n\n")
    return [" ".join(part.split()) for part in whole[:2]]


def _weights(run: Run, scores: list[dict[str, Any]]) -> list[Weights]:
    """The weights from elsewhere that took part, each with what it was used for."""
    used, taken = {}, []
    for kind, member in run.recipe.prepare.items():
        use = f"reads the {kind}, frozen"
        if member["use"] in towers.TOWERS:
            used[member["use"]] = use
        elif member["use"] == towers_imported.USE:
            taken.append(_imported(member, use))
    if began := run.info.get("imported"):
        name = began["architecture"]
        taken.append(_imported({"name": name, **began}, "the weights that training began with"))
    measured = {
        name
        for score in scores
        for name, control in score["controls"].items()
        if control.get("value") is not None
    }
    if "conse" in measured:
        from sensorium import conse

        for name in conse.TOWERS:
            used.setdefault(name, "in the control ConSE only")
    for told in zero_shot.models():
        if zero_shot.label(told) in measured:
            taken.append(_imported(told, "in the zero-shot row only"))
    fetched = [
        Weights(tower.name, f"{tower.package} {tower.version}", tower.licence, tower.evidence,
                tower.card, use)
        for tower, use in ((towers.TOWERS[name], use) for name, use in used.items())
    ]  # fmt: skip
    return fetched + taken


def _imported(told: Mapping[str, Any], use: str) -> Weights:
    """An imported model, by its facts or by the options that name it in a recipe."""
    return Weights(
        told["name"],
        told["source"],
        told["licence"],
        "its model card, or the first line of its licence file",
        "imported: what it was trained on, its authors say; if on your data, no score of it is "
        "zero-shot",
        use,
    )


def _doubts(facts: Facts) -> list[str]:
    """What this page does not say: size, pool, seed, data."""
    said = [
        f"One run, seed {facts.seed}. The intervals cover which records were asked, not another "
        "training: a second seed may differ."
    ]
    ranked = [
        block
        for block in (facts.blocks if isinstance(facts.blocks, list) else [])
        if block.task == "retrieval"
    ]
    if ranked:
        pool = ranked[0].protocol["pool"]
        said.append(
            f"Recall depends on the pool: {pool:,} here. In a larger one it is lower, so it does "
            "not stand beside published figures over 1,000 or 5,000."
        )
    trained = facts.counts.get("train", 0)
    said.append(
        f"Size {facts.size}, {trained:,} records to train on: nothing here ranks a paper, or says "
        "how the method does at the scale of its source."
    )
    if len(facts.about) > 1:
        said.append(f"The data set says of itself: {facts.about[1]}")
    said += [weights.card for weights in facts.weights]
    return said


def _typed(run: Run) -> str:
    return shlex.quote(_place(run.folder))


def _commands(run: Run, facts: Facts) -> list[tuple[str, str]]:
    """(what for, command) to try next."""
    place, data = _typed(run), shlex.quote(str(run.info["data"]))
    if "best_step" not in run.info:
        return [("Go on from the newest checkpoint", f"sensorium resume {place}")]
    again = f"sensorium pretrain {data} --recipe {_same_recipe(run)} --size {facts.size}"
    tuned = run.recipe.tune is not None  # begun from another run: not to be had by pretraining
    if not facts.verdict.skill:
        longer = [] if tuned else [("Train longer", f"{again} --budget 10min")]
        return [("Look for what is wrong with the data", f"sensorium doctor {data}"), *longer]
    find = None
    if isinstance(facts.shown, Shown):
        asked = [answer.query for answer in sorted(facts.shown.gallery, key=lambda a: a.rank)]
        short = (text for text in asked if len(text) <= 40 and text.isprintable())
        find = search_command(_place(run.folder), next(short, "a red boat"))
        if not (run.folder / "index").is_dir():
            find = f"sensorium index {place}\n{find}"
    tasks = {b.task for b in facts.blocks} if isinstance(facts.blocks, list) else set()
    tried = uses(run, tasks, find)
    if not tuned:
        tried.append(("See whether another seed agrees", f"{again} --seed {facts.seed + 1}"))
    return tried


def uses(run: Run, tasks: Container[str], find: str | None = None) -> list[tuple[str, str]]:
    """(what for, command) for what a run can do.

    Args:
        tasks: that it has scores of.
        find: the command that searches, where it can search.
    """
    place = _typed(run)
    data = "DATA" if "without_data" in run.info else shlex.quote(str(run.info["data"]))
    tried = [("Find pictures by words", find)] if find else []
    if "classification" in tasks and run.recipe.name.endswith("_answering"):
        tried.append(("Ask about a picture", f"sensorium answer {place} FILE QUESTION"))
    elif "classification" in tasks:
        what = " ".join(asked(run.recipe))
        tried.append(("Name the class of something new", f"sensorium predict {place} {what}"))
    if "captioning" in tasks:
        tried.append(("Write about a picture", f"sensorium caption {place} FILE"))
    if not tried:
        tune = f"sensorium finetune {place} {data} --task"
        if comparing.can_learn(run.recipe):
            tried.append(("Make it find pictures by words", f"{tune} retrieval"))
        tried.append(("Make it tell classes, where a field holds them", f"{tune} classification"))
    return tried


def _same_recipe(run: Run) -> str:
    """What to type for this run's recipe: its name, or its file where options were changed."""
    recipe = run.recipe
    try:
        plain = load(recipe.name, recipe.size, budget=recipe.budget, seed=recipe.seed)
        if plain.hash == recipe.hash:
            return shlex.quote(recipe.name)
    except UserError:
        pass  # a recipe of the user's own is on no shelf
    return shlex.quote(_place(run.folder / "recipe.yaml"))
