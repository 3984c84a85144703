"""The command: mistakes are one sentence each and cost no torch; what the terminal shows."""

import subprocess
import sys

import pytest

CODE = """
import sys
from sensorium import cli
try:
    cli.main(sys.argv[1:])
except SystemExit as end:
    print("exit", end.code, "torch" in sys.modules)
"""


def said(*arguments):
    """Exit code, whether torch was loaded, and what was printed as one line."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, "choose", *arguments], capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr, done.stderr
    code, torch = done.stdout.split()[-2:]
    return int(code), torch == "True", " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["nowhere", "--budget", "1h"], "no data at nowhere"),
        (["emoji", "--budget", "5s"], "at least about"),
        (["emoji", "--budget", "300-steps"], "a time such as 1h"),
        (["emoji", "--budget", "soon"], "a positive amount"),
        (["emoji", "--budget", "1h", "--field", "text=text"], "pictures and texts, or --label"),
        (["emoji", "--budget", "1h", "--field", "txt=text"], "nearest text"),
        (["emoji", "--budget", "1h", "--label", "categry"], "nearest category"),
        (["emoji", "--budget", "1h", "--label", "text_zh"], "classes that several records share"),
    ],
)
def test_a_mistake_is_one_sentence_before_torch(arguments, wanted, tmp_path):
    code, torch, text = said(*arguments, "--out", str(tmp_path / "out"))
    assert code == 2
    assert not torch
    assert wanted in text
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_is_refused_before_torch(tmp_path):
    (tmp_path / "letters.txt").write_text("dear", "utf-8")
    code, torch, text = said("emoji", "--budget", "1h", "--out", str(tmp_path))
    assert (code, torch) == (2, False)
    assert "letters.txt" in text


def test_the_terminal_ends_with_the_next_command_and_keeps_to_its_width():
    from choosing_truth import answer

    from sensorium.commands_choose import lines

    result = answer({"lit": 0.4, "clip": 0.2, "shuffled": 0.01}, label=None)
    told = lines(result, "choices/x/report.html", "choices/x")
    assert told[0] == result["title"]
    assert told[-1] == "try      sensorium pretrain things --recipe lit --size micro"
    assert max(map(len, told)) <= 100
    for answer_ in result["answers"]:
        assert answer_["sentence"].split()[0] in " ".join(told)


def test_with_a_label_the_next_command_names_the_kept_recipe_and_its_fields():
    from choosing_truth import labelled

    from sensorium.choosing.wording import next_command

    told = next_command(labelled(0.3, 0.3, 0.4, 0.7), "choices/my data")
    assert "'choices/my data/recipes/tells.yaml'" in told
    assert told.endswith("--field image=image --field caption=text --field kind=label")
