"""The documentation is run: its blocks in order, its commands and options, its names of files.

A block ```` ```bash ```` or ```` ```python ```` is executed in a folder of the document's own; one
whose info string goes on with a path, ```` ```csv table/captions.csv ````, is written there; every
other kind (`console`, `text`) is only shown. Commands that are shown must exist with their options.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from sensorium import shelf
from sensorium.cli import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.M | re.S)
RUN = [
    "tutorial.md",
    "bring-your-own-data.md",
    "fine-tune.md",
    "add-an-objective.md",
    "add-a-recipe.md",
    "claim-few-labels.md",
    "compare.md",
    "world.md",
]
COMMANDS = typer.main.get_command(app)


def blocks(text):
    """(language, path or "", content, first line) of each fenced block."""
    for found in BLOCK.finditer(text):
        yield found[1], found[2] or "", found[3], text[: found.start()].count("\n") + 2


@pytest.mark.parametrize("name", RUN)
def test_a_document_does_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(shelf, "_packages", ["sensorium"])
    # No towers there: nothing is fetched, and ConSE is not measured.
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / ".cache"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    before = set(sys.modules)
    shared: dict = {"__name__": "__main__"}
    for language, path, content, line in blocks((ROOT / "docs" / name).read_text("utf-8")):
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(content, "utf-8")
        elif language == "python":
            code = "\n" * (line - 1) + content  # so that a traceback names the document's line
            exec(compile(code, str(ROOT / "docs" / name), "exec", dont_inherit=True), shared)
        elif language == "bash":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", content], capture_output=True, text=True
            )
            assert done.returncode == 0, f"{name}:{line}\n{content}\n{done.stdout}{done.stderr}"
    for module in set(sys.modules) - before:  # a document's own package is no other test's
        if getattr(sys.modules[module], "__file__", None) and str(tmp_path) in str(
            sys.modules[module].__file__
        ):
            del sys.modules[module]


def shown_commands():
    """(document, line, words) of each `sensorium ...` in a block of any language."""
    for document in DOCUMENTS:
        for language, path, content, start in blocks(document.read_text("utf-8")):
            if path or language not in ("bash", "console"):
                continue
            joined = content.replace("\\\n", "  ")
            for at, line in enumerate(joined.splitlines()):
                words = shlex.split(line.removeprefix("$ "), comments=True)
                while words and re.match(r"[A-Z_]+=", words[0]):
                    del words[0]
                if words[:3] == ["python", "-m", "sensorium"]:
                    del words[:2]
                if words[:1] == ["sensorium"]:
                    yield pytest.param(words[1:], id=f"{document.name}:{start + at}")


@pytest.mark.parametrize("words", list(shown_commands()))
def test_a_command_that_is_shown_exists(words):
    command, names = COMMANDS, []
    while words and hasattr(command, "commands"):
        if words[0].startswith("-"):
            break
        assert words[0] in command.commands, f"no command {words[0]}"
        command = command.commands[words[0]]
        names.append(words.pop(0))
    options = {option for part in command.params for option in part.opts} | {"-h", "--help"}
    for word in words:
        if re.match(r"--?[a-z]", word):
            assert word.split("=")[0] in options, f"sensorium {' '.join(names)} has no {word}"


def test_make_has_every_target_that_is_shown():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    for document in DOCUMENTS:
        for _, path, content, _ in blocks(document.read_text("utf-8")):
            if not path:
                for name in re.findall(r"^(?:[A-Z_]+=\S+ )*make ([a-z]+)", content, re.M):
                    assert name in targets, f"{document.name}: make {name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text("utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} -> {target}"


def test_the_architecture_page_names_every_file_once():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    told = re.findall(r"^- `([a-z_]+\.py)`:? ", text, re.M)
    there = sorted(file.name for file in (ROOT / "sensorium").glob("*.py"))
    assert sorted(told) == there


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_of_the_package_that_are_named_exist(document):
    text = document.read_text("utf-8")
    for name in re.findall(r"`((?:sensorium|tests|docs|benchmarks)/[a-z0-9_./]+)`", text):
        assert (ROOT / name).exists(), f"{document.name} names {name}"


def test_the_walk_is_named_in_its_order():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    walk = ["records", "tokens", "views", "nodes", "model", "step", "training"]
    places = [text.index(f"\n- `{name}.py`") for name in walk]
    assert places == sorted(places)


def test_the_glossary_has_each_word_once_in_order():
    text = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    words = re.findall(r"^\*\*([^*]+)\*\*", text, re.M)
    assert len(words) == len(set(words)) > 20
    assert words == sorted(words, key=str.lower)
