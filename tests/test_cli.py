"""The command line beside its mistakes: what loads when, help, quiet, JSON, exit codes."""

import ast
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import typer
from commands import Place, pretrain, sensorium

from sensorium import __version__, cli, commands_task, errors, options, shelf
from sensorium.errors import NonFinite, RunError, Stopped

COMMANDS = typer.main.get_command(cli.app)


def paths(command=COMMANDS, path=()):
    """Every command and group, as typed."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, (*path, name))


PATHS = list(paths())


@pytest.fixture(scope="module")
def place(tiny_run, tmp_path_factory):
    """A folder with runs/mine, finished and indexed, and a picture. Read only."""
    folder = tmp_path_factory.mktemp("cli")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        made = Place(folder, lambda: tiny_run.folder, patch)
        made.run()
        assert sensorium("index", "runs/mine").code == 0
        yield made


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty working directory with an empty cache beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path.with_name(tmp_path.name + "-cache")))
    return Place(tmp_path, None, monkeypatch)


# --- what loads when ------------------------------------------------------------------------------


def loaded_by(code: str) -> set[str]:
    """Which heavy libraries a fresh interpreter has loaded after some code."""
    heavy = ["torch", "numpy", "PIL", "pyarrow", "tokenizers", "safetensors", "ruamel.yaml"]
    tail = f"\nimport sys; print(*[m for m in {heavy} if m in sys.modules])"
    told = subprocess.run(
        [sys.executable, "-c", code + tail], capture_output=True, text=True, check=True
    )
    return set(told.stdout.split("\n")[-2].split())


def test_importing_sensorium_loads_nothing():
    assert loaded_by("import sensorium; sensorium.__version__; dir(sensorium)") == set()


def test_names_of_the_package_load_when_first_used():
    assert "torch" not in loaded_by("import sensorium; sensorium.read; sensorium.Run")
    assert "torch" in loaded_by("import sensorium; sensorium.pretrain")
    with pytest.raises(AttributeError, match="pretrian"):
        cli.__class__.__getattribute__(sys.modules["sensorium"], "pretrian")


RUN_ALL = """
import contextlib, io
from sensorium import cli
for arguments in {all}:
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            cli.main(list(arguments))
        except SystemExit as end:
            assert not end.code, (arguments, end.code)
"""


def test_help_and_version_load_nothing_heavy():
    asked = [(*path, "--help") for path in PATHS] + [("--version",), ("-h",)]
    assert loaded_by(RUN_ALL.format(all=asked)) == set()


def test_lists_load_no_torch(tmp_path, monkeypatch):
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path))
    asked = [("recipes",), ("show", "clip"), ("data", "list"), ("cache", "list"),
             *(("list", kind) for kind in shelf.SHELVES)]  # fmt: skip
    assert "torch" not in loaded_by(RUN_ALL.format(all=asked))


# --- help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_says_what_everything_is_for(path):
    told = sensorium(*path, "--help")
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith("Usage:")
    command = COMMANDS
    for name in path:
        command = command.commands[name]
    assert command.help, f"{path} has no docstring"
    assert command.help.split("\n")[0][:30] in told.out
    for parameter in command.params:
        for option in parameter.opts:
            if option.startswith("--"):
                assert option in told.out
                assert parameter.help, f"{' '.join(path)} {option} has no help"


def test_bare_names_of_groups_show_their_help():
    for path in ((), ("data",), ("cache",)):
        told = sensorium(*path)
        assert "Commands:" in told.out + told.err


def test_version():
    assert sensorium("--version").out == f"sensorium {__version__}\n"


def test_exit_codes_are_documented_where_people_look():
    told = " ".join(sensorium("--help").out.split())
    documented = set(map(int, re.findall(r"(?:: |; )(\d+) ", told[told.index("Exit codes:") :])))
    assert documented == {
        0, 1, errors.EXIT_MISTAKE, errors.EXIT_NUMERIC, errors.EXIT_STOPPED,
    }  # fmt: skip
    for code in documented:
        assert re.search(rf"\b{code} ", cli.__doc__)


def test_every_command_imports_late():
    """The modules of commands import typer, errors, each other and the standard library only."""
    for module in (cli, commands_task, options):
        imports_late(module)


def imports_late(module):
    tree = ast.parse(inspect.getsource(module))
    names = {
        name.split(".")[0] if not name.startswith("sensorium") else name
        for node in tree.body
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    ours = {name for name in names if name.startswith("sensorium")}
    own = ("commands_task", "errors", "options")
    assert ours <= {"sensorium", *(f"sensorium.{name}" for name in own)}
    assert names - ours - set(sys.stdlib_module_names) == {"typer"}


# --- misspelt -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "right"),
    [("pretrain x --recpie lit", "--recipe"), ("pretrain x --budgt 2min", "--budget"),
     ("search x --imge y", "--image"), ("evaluate x --spilt test", "--split"),
     ("show lit --parametres", "--parameters"), ("serch x", "search"), ("cache clea", "clear"),
     ("data gte emoji", "get"), ("--verison", "--version")],
)  # fmt: skip
def test_a_misspelt_option_or_command_suggests_the_right_one(typed, right):
    told = sensorium(*typed.split())
    assert told.code == errors.EXIT_MISTAKE
    assert right in told.err
    assert told.out == ""


# --- exit codes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [(RunError("x"), 2), (NonFinite("objective contrastive", expected="a finite loss"), 3),
     (Stopped("stopped at step 3 of 9; saved", see="sensorium resume run"), 75)],
)  # fmt: skip
def test_each_kind_of_end_has_its_code(fresh, tiny_data, error, code):
    from sensorium import pretraining

    def end(*_, **__):
        raise error

    fresh.patch.setattr(pretraining, "train", end)
    told = sensorium(*pretrain(tiny_data))
    assert told.code == code
    for line in error.lines:
        assert line in told.err


def test_verbose_shows_where_a_mistake_arose(fresh):
    with pytest.raises(RunError):
        sensorium("-v", "report", "nowhere")


def test_a_bug_is_no_mistake_of_the_users(fresh):
    from sensorium import run

    def bug(*_):
        raise ZeroDivisionError

    fresh.patch.setattr(run.Run, "open", bug)
    with pytest.raises(ZeroDivisionError):
        sensorium("report", "nowhere")


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    code = "import sys; sys.argv[1:] = ['list', 'layouts']; sys.stdout.close = lambda: None\n"
    done = subprocess.run(
        f'{sys.executable} -c "{code}from sensorium.cli import main; main()" | true',
        shell=True, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert "Traceback" not in done.stderr


# --- quiet ----------------------------------------------------------------------------------------


def test_quiet_shows_results_only(fresh, tiny_data):
    told = sensorium("-q", *pretrain(tiny_data))
    assert (told.code, told.err) == (0, "")
    assert "recall@1" in told.out
    assert "sensorium search run" in told.out, "the next command is a result"


def test_progress_goes_to_stderr_and_results_to_stdout(fresh, tiny_data):
    told = sensorium(*pretrain(tiny_data))
    assert told.code == 0
    assert told.err.startswith("data     40 records  ")
    for word in ("train", "index"):
        assert f"\n{word}" in told.err
        assert f"\n{word}" not in told.out
    assert told.out.splitlines()[-1].startswith("try      sensorium search run ")
    assert sensorium("search", "run", "a circle", "-k", "2").code == 0, "the next command works"


def test_quiet_does_not_hide_a_mistake(fresh):
    told = sensorium("-q", "report", "nowhere")
    assert told.code == 2
    assert "nowhere" in told.err


# --- JSON -----------------------------------------------------------------------------------------


def parsed(*arguments):
    told = sensorium(*arguments)
    assert (told.code, told.err) == (0, "")
    return json.loads(told.out)


def test_search_as_json(place):
    found = parsed("search", "runs/mine", "a red circle", "-k", "3", "--json")
    assert [row["rank"] for row in found] == [1, 2, 3]
    for row in found:
        assert {"rank", "key", "score", "modality", "source", "fields", "text", "file"} <= set(row)
        assert -1.001 <= row["score"] <= 1.001
    assert parsed("search", "runs/mine", "--like", found[0]["key"], "--json")
    only = parsed("search", "runs/mine", "a", "--where", "split=test", "--json")
    assert {row["fields"]["split"] for row in only} == {"test"}


def test_match_as_json(place, tiny_data):
    told = parsed("match", "runs/mine", tiny_data / "00.png", "a small red circle", "--json")
    assert {"similarity", "share_of_wrong_pairs_below", "median_of_wrong_pairs",
            "median_of_right_pairs", "pairs_from"} <= set(told)  # fmt: skip
    assert 0 <= told["share_of_wrong_pairs_below"] <= 1


def test_scores_as_json(place):
    scores = parsed("evaluate", "runs/mine", "--split", "validation", "--json")
    assert {(s["direction"], s["metric"]) for s in scores} == {
        (direction, f"recall@{k}")
        for direction in ("text_to_image", "image_to_text")
        for k in (1, 5, 10)
    }
    for score in scores:
        assert {"task", "value", "interval", "protocol", "controls"} <= set(score)
        assert {"split", "pool", "ties", "interval", "chosen_on"} <= set(score["protocol"])
        assert score["protocol"]["split"] == "validation"
        assert {"chance", "partner_shuffled", "conse"} <= set(score["controls"])
        for control in score["controls"].values():
            assert control["value"] is not None or control["reason"]


def test_recipes_as_json():
    from sensorium.recipe import Recipe

    told = parsed("recipes", "--json")
    assert [row["name"].removesuffix("_patches") for row in told] == shelf.names("recipes")
    assert all(Recipe(**row).name for row in told)
    shown = parsed("show", "clip", "--size", "tiny", "--json", "seed=3")
    assert shown["recipe"]["seed"] == 3
    assert Recipe(**shown["recipe"]).hash == shown["hash"]


def test_plan_and_parameters_as_json():
    told = parsed("show", "clip", "--plan", "--parameters", "--json")
    assert told["plan"]
    assert sum(v for k, v in told["parameters"].items() if k != "all") == told["parameters"]["all"]


def test_the_plan_is_readable():
    assert sensorium("show", "clip", "--plan").out.splitlines() == [
        "embed  image", "encode image", "read   vector of image",
        "embed  text (causal)", "encode text (causal)", "read   vector of text (causal)",
    ]  # fmt: skip


# --- commands to copy -----------------------------------------------------------------------------

HOSTILE = [
    """it's "a [/bold] cat" $(touch x) `id` \\ ! :cat: *""",
    "-50% off; rm -rf ~",
    "[bold]\\",
    "",
    "a\nb\t\x1b[31mred",
    "word " * 40,
    "x" * 200,
]


def argv(line):
    """What a shell makes of a printed line of the rail."""
    return shlex.split(line.split(" ", 1)[1], comments=True)


@pytest.mark.parametrize("caption", HOSTILE)
def test_the_next_command_is_safe_to_copy(place, tmp_path, monkeypatch, capsys, caption):
    """A caption is a stranger's, a folder is the user's; both reach the search as they are."""
    from sensorium.run import Run
    from sensorium.terminal import Teller, consoles, plain

    folder = tmp_path / "my runs [x] $HOME" / "it's one"
    shutil.copytree("runs/mine", folder)
    monkeypatch.setattr(Run, "example", lambda self: caption)
    monkeypatch.setattr(Run, "report", lambda self: folder / "report.html")
    monkeypatch.setattr(Run, "scores", lambda self, split="test": SCORES)
    run = Run.open(folder)
    console, err = consoles(False)
    cli._finish(run, console, Teller(err))
    told = capsys.readouterr()
    assert "index    80 rows: 40 text, 40 image\n" in told.err
    given = argv(told.out.splitlines()[-1])
    assert given[:3] == ["sensorium", "search", str(folder)]
    words = [x for x in given[3:] if x != "--"]
    assert len(words) == 1
    assert plain(caption).startswith(words[0])
    assert words[0] == plain(caption) or 30 < len(words[0]) <= 60
    assert ("--" in given) == caption.startswith("-")
    found = sensorium(*given[1:])
    assert found.code == (0 if words[0] else 2)


SCORES = [{
    "task": "retrieval", "direction": "text_to_image", "metric": "recall@1", "value": 1.0,
    "interval": [0.44, 1.0],
    "protocol": {"split": "test", "pool": 3, "queries": 3, "records": 3, "step": 20,
                 "ties": "lost", "interval": "Wilson"},
    "controls": {
        "plain_projections": {"value": 0.667, "interval": [0.2, 0.94], "difference": 0.333,
                              "difference_interval": [0.0, 1.0]},
        "chance": {"value": 0.333, "interval": "exact"},
    },
}]  # fmt: skip


def test_the_verdict_says_what_it_does_not_tell_apart(place, monkeypatch):
    from sensorium.run import Run

    monkeypatch.setattr(Run, "evaluate", lambda self, split: SCORES)
    lines = sensorium("evaluate", "runs/mine").out.splitlines()
    at = next(i for i, line in enumerate(lines) if "times in 100" in line)
    rest = " ".join(lines[at + 1 :])
    assert rest.startswith("3 records of the test split")
    assert "do not tell it apart from plain projections" in rest
    assert all(len(line) <= 100 for line in lines)


def test_hints_in_errors_are_safe_to_copy(fresh):
    name = "two words; $(id)"
    fresh.folder_of(3, name)
    told = sensorium(*pretrain(name))
    assert told.code == 2
    (hint,) = [line for line in told.err.splitlines() if line.split()[:1] == ["see"]]
    assert argv(hint.strip()) == ["sensorium", "doctor", name]


# --- what is printed where the terminal knows few letters -----------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_captions_that_the_terminal_lacks(fresh, encoding):
    """Piped on Windows, stdout has a small alphabet: no traceback, and JSON stays JSON."""
    fresh.write("r.yaml", "extends: clip\nname: r\nsummary: ein Körbchen 小船\n")
    for more in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-X", "utf8=0", "-m", "sensorium", "show", "r.yaml", *more],
            capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.decode(encoding))["recipe"]["summary"] == "ein Körbchen 小船"
