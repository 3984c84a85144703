"""Damaged files of a run: deleted, cut in half, another JSON, random bytes, or other contents of
the same kind. Each command that reads the file tells it in one error, or makes the file again."""

import json
import random
import shutil

import pytest
from commands import sensorium
from conftest import COLOURS, SHAPES
from miniature import csv_of

from sensorium import integrity
from sensorium.errors import EXIT_MISTAKE, RunError
from sensorium.run import Run

DAMAGES = {
    "deleted": lambda data: None,
    "half": lambda data: data[: len(data) // 2],
    "list": lambda data: b"[]",
    "random": lambda data: random.Random(7).randbytes(200),
}
TEXTS, CLASSES = "modalities/text/tokenizer.json", "modalities/label/classes.json"
SCORES, LOOKS = "evaluation/test.json", "evaluation/validation.json"
BEFORE = "evaluation/before_and_after.json"

COMMANDS = {
    "evaluate": lambda run, file: ["evaluate", run],
    "resume": lambda run, file: ["resume", run],
    "report": lambda run, file: ["report", run],
    "show": lambda run, file: ["show", run],
    "index": lambda run, file: ["index", run],
    "search": lambda run, file: ["search", run, "a red circle"],
    "match": lambda run, file: ["match", run, file, "a red circle"],
    "predict": lambda run, file: ["predict", run, file, "--words", "what colour is it?"],
    "answer": lambda run, file: ["answer", run, file, "what colour is it?"],
    "finetune": lambda run, file: [
        "finetune", run, file.parent / "asked.csv", "--task", "answering", "--out", run / "next",
    ],
}  # fmt: skip

# (run, file) -> the commands that read it.
READ = {
    ("trained", "run.json"): "evaluate resume report show index search match",
    ("trained", "splits.json"): "evaluate report show index match",
    ("trained", SCORES): "resume report show",
    ("trained", LOOKS): "resume report",
    ("trained", TEXTS): "evaluate resume report index search match",
    ("tuned", "run.json"): "predict answer evaluate",
    ("tuned", "splits.json"): "evaluate report show",
    ("tuned", TEXTS): "predict answer evaluate report resume",
    ("tuned", CLASSES): "predict answer evaluate report resume",
    ("tuned", "source/run.json"): "finetune",
    ("tuned", "source/splits.json"): "finetune",
    ("tuned", f"source/{TEXTS}"): "finetune",
    ("begun", "contents.json"): "resume",
    ("begun", "splits.json"): "resume",
    ("begun", TEXTS): "resume",
}
# What is derived and gone is made again, or said to be missing.
WELL = {
    ("trained", SCORES, "deleted"),
    ("trained", LOOKS, "deleted"),
    ("begun", "contents.json", "deleted"),
}
CASES = [
    (run, file, damage, command)
    for (run, file), commands in READ.items()
    for command in commands.split()
    for damage in DAMAGES
    if (run, file, damage) != ("begun", "splits.json", "deleted")  # drawn again, the same
]


@pytest.fixture(scope="module")
def kept(tiny_run, tiny_data, tmp_path_factory):
    """`trained` and indexed; `begun`: the same before its scores; `tuned` to answer questions."""
    from sensorium.finetuning.tuning import finetune

    place = tmp_path_factory.mktemp("damage")
    rows = []
    for at, (colour, form) in enumerate((c, f) for _ in range(2) for c in COLOURS for f in SHAPES):
        shutil.copy(tiny_data / f"{at:02d}.png", place)
        question, told = (("what colour is it?", colour), ("what is it?", form))[at % 2]
        rows.append({"photo": f"{at:02d}.png", "question": question, "answer": told})
    table = csv_of(place / "asked.csv", rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(place / "cache"))
        shutil.copytree(tiny_run.folder, place / "trained")
        Run.open(place / "trained").index()
        shutil.copytree(tiny_run.folder, place / "begun")
        begun = Run.open(place / "begun")
        del begun.info["best_step"]
        begun.note()
        finetune(place / "trained", table, "answering", budget="2-steps", out=place / "tuned")
        yield place


@pytest.fixture
def copy(kept, tmp_path):
    """A function: a copy of one of the runs, with one file damaged."""

    def made(name, file=None, damage=None):
        folder = shutil.copytree(kept / name, tmp_path / name)
        if file is not None:
            data = DAMAGES[damage]((folder / file).read_bytes())
            (folder / file).unlink() if data is None else (folder / file).write_bytes(data)
        return folder

    return made


def told_as_damaged(told, folder, file):
    """One error that names the file, what was expected and found, and what to do."""
    assert told.code == EXIT_MISTAKE, told.out + told.err
    assert told.err.count("error ") == 1
    where = folder if file.endswith("run.json") else folder / file  # without it there is no run
    assert str(where) in told.err
    assert "expected" in told.words
    assert "found" in told.words
    if not file.endswith("run.json"):
        assert " see " in told.words


@pytest.mark.parametrize(("run", "file", "damage", "command"), CASES)
def test_a_damaged_file_is_told_or_made_again(kept, copy, run, file, damage, command):
    folder = copy(run, file, damage)
    told = sensorium(*COMMANDS[command](folder, kept / "00.png"))
    if (run, file, damage) in WELL:
        assert told.code == 0, told.err
        if command == "resume":
            assert json.loads((folder / file).read_bytes()) == json.loads(
                (kept / run / file).read_bytes()
            )
    else:
        told_as_damaged(told, folder, file)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["log.jsonl", "rejected.jsonl"])
def test_lines_that_no_answer_rests_on(copy, file, damage):
    """A log may lack its end, as a kill leaves it; a line before the end that is none is told."""
    told = sensorium("report", copy("trained", file, damage))
    assert told.code == (EXIT_MISTAKE if damage == "random" else 0)
    assert damage != "random" or f"{file} row 1" in told.words


@pytest.mark.parametrize("command", ["predict", "answer", "evaluate", "report"])
def test_other_classes_are_not_taken_for_the_learned_ones(kept, copy, command):
    """Two classes exchanged: a whole file, and every answer wrong."""
    folder = copy("tuned")
    first, second, *rest = json.loads((folder / CLASSES).read_bytes())
    (folder / CLASSES).write_text(json.dumps([second, first, *rest]))
    told_as_damaged(sensorium(*COMMANDS[command](folder, kept / "00.png")), folder, CLASSES)


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_table_of_before_and_after_is_made_again(kept, copy, damage):
    folder = copy("tuned", BEFORE, damage)
    assert sensorium("resume", folder).code == 0
    was, now = (json.loads((x / BEFORE).read_bytes()) for x in (kept / "tuned", folder))
    assert now == was


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["splits.json", TEXTS])
def test_the_table_is_not_made_from_a_damaged_copy_of_the_source(copy, file, damage):
    folder = copy("tuned", f"source/{file}", damage)
    (folder / BEFORE).unlink()
    told_as_damaged(sensorium("resume", folder), folder, f"source/{file}")


def test_what_does_not_read_the_copy_of_the_source_goes_on(kept, copy):
    folder = copy("tuned", "source/run.json", "half")
    asked = [sensorium("predict", x, kept / "00.png", "--words", "?", "--json").out
             for x in (kept / "tuned", folder)]  # fmt: skip
    assert asked[0] == asked[1] != ""


def older(folder):
    """The run as a version before the hashes would have left it."""
    run = Run.open(folder)
    del run.info[integrity.FIELD]
    run.note()
    return folder


def test_a_run_without_hashes_opens_as_before(kept, copy):
    folder = older(copy("tuned"))
    asked = [sensorium(*COMMANDS["answer"](x, kept / "00.png"), "--json").out
             for x in (kept / "tuned", folder)]  # fmt: skip
    assert asked[0] == asked[1] != ""


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", [TEXTS, CLASSES])
def test_damage_in_a_run_without_hashes_is_told(kept, copy, file, damage):
    folder = older(copy("tuned", file, damage))
    told = sensorium(*COMMANDS["predict"](folder, kept / "00.png"))
    assert told.code == EXIT_MISTAKE
    assert str(folder / file) in told.err


def test_a_folder_that_is_gone_without_hashes_is_told(kept, copy):
    folder = older(copy("tuned"))
    shutil.rmtree(folder / "modalities")
    told = sensorium(*COMMANDS["predict"](folder, kept / "00.png"))
    assert told.code == EXIT_MISTAKE
    assert str(folder / "modalities") in told.err


def test_hashes_are_of_the_files_themselves(tmp_path):
    (tmp_path / "modalities" / "text").mkdir(parents=True)
    (tmp_path / "modalities" / "checkpoints").mkdir()
    (tmp_path / "modalities" / "checkpoints" / "x").touch()
    (tmp_path / TEXTS).write_bytes(b"abc")  # the example of FIPS 180-2, appendix B.1
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert integrity.hashes(tmp_path, "modalities", "source") == {TEXTS: known}
    integrity.check(tmp_path, {"sha256": {TEXTS: known}}, "modalities")
    integrity.check(tmp_path, {"sha256": {"source/x": known}}, "modalities")  # another part
    with pytest.raises(RunError) as caught:
        integrity.check(tmp_path, {"sha256": {TEXTS: known[::-1]}}, "modalities")
    assert caught.value.found == f"SHA-256 {known}"
    with pytest.raises(RunError, match="the hashes of files"):
        integrity.check(tmp_path, {"sha256": 5}, "modalities")
