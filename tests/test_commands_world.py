"""`sensorium world`: what it says, what it refuses, and that a made world trains as it is."""

import subprocess
import sys

import pytest
from commands import sensorium
from PIL import Image

from sensorium import reading
from sensorium.world import _setting


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds") / "spatial"
    told = sensorium("world", "make", "--setting", "spatial", "--scenes", 60, "--out", folder)
    assert told.code == 0, told.err
    return folder, told


def test_make_says_what_it_made_and_what_to_do_next(made):
    folder, told = made
    assert f"{folder} 48 train, 6 validation, 6 test" in told.words
    assert told.out.splitlines()[-1] == f"try      sensorium world show {folder}"


def test_show_draws_a_sheet_and_prints_counts_and_floors(made):
    folder, _ = made
    told = sensorium("world", "show", folder)
    assert told.code == 0
    assert "48 train, 6 validation, 6 test" in told.out
    row = next(line for line in told.out.splitlines() if "choice roles" in line)
    # Chance, majority, picture only, text only, a sum of both, all: twins are told apart by all.
    assert row.split()[2:] == [".500", ".500", ".500", ".500", ".500", "1.000"]
    assert max(map(len, told.out.splitlines())) <= 100 + len(str(folder))
    sheet = Image.open(folder / "sheet.png")
    assert sheet.width > 6 * 224
    assert str(folder / "sheet.png") in told.out


def test_show_prints_what_each_modality_tells_of_the_label(tmp_path):
    sensorium("world", "make", "--setting", "synergy", "--scenes", 10, "--out", tmp_path / "w")
    told = sensorium("world", "show", tmp_path / "w").words
    assert "1.000 in the label, 0.000 in the image, 0.000 in the text" in told
    assert "0.000 redundant, 0.000 only image, 0.000 only text, 1.000 synergy" in told
    assert '"bits"' in sensorium("world", "show", tmp_path / "w", "--json").out


def test_list_names_every_setting_and_what_it_tells():
    told = sensorium("world", "list")
    assert told.code == 0
    for name in _setting.names():
        assert f"{name} " in told.out
        assert " ".join(_setting.load(name).tells.split()[:5]) in told.words


def test_the_members_are_a_shelf():
    told = sensorium("list", "world")
    assert [line.split()[0] for line in told.out.splitlines()] == [
        "boxes", "caption", "graph", "image", "question", "table", "twins",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--setting", "bindign", "--scenes", "50"), "nearest binding"),
        (("--setting", "binding", "--scenes", "9"), "expected at least 10, found 9"),
        (("--setting", "binding", "--scenes", "50", "--set", "canvas=31"), "canvas"),
        (("--setting", "binding", "--scenes", "50", "--set", "canvas=225"), "canvas"),
        (("--setting", "binding", "--scenes", "50", "--set", "canvs=64"), "canvas"),
        (("--setting", "binding", "--scenes", "50", "--set", "emit=[image, captoin]"), "caption"),
        (("--setting", "nowhere.yaml", "--scenes", "50"), "nowhere.yaml"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(tmp_path, arguments, words):
    told = sensorium("world", "make", *arguments, "--out", tmp_path / "w")
    assert told.code == 2
    assert words in told.words
    assert told.err.startswith("error ")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    told = sensorium("world", "make", "--setting", "plain", "--scenes", 20, "--out", tmp_path)
    assert told.code == 2
    assert "nothing was overwritten" in told.words
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
    told = sensorium("world", "show", tmp_path)
    assert (told.code, "world.json" in told.words) == (2, True)


def test_neither_making_nor_showing_loads_torch(tmp_path):
    code = (
        "import sys\n"
        "from sensorium import cli\n"
        "for words in (['make', '--setting', 'languages', '--scenes', '12', '--out', sys.argv[1]],"
        " ['show', sys.argv[1]], ['list']):\n"
        "    try:\n"
        "        cli.main(['-q', 'world', *words])\n"
        "    except SystemExit as end:\n"
        "        assert not end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "w")], check=True)


@pytest.mark.parametrize("setting", _setting.names())
def test_a_made_world_is_read_without_any_option(tmp_path, setting):
    sensorium("world", "make", "--setting", setting, "--scenes", 40, "--out", tmp_path / "w")
    records = reading.read(tmp_path / "w")
    assert records.fields == {"image": "image", "caption": "text"}
    assert len(records) == 40
    assert not records.rejected
    assert {record.split for record in records} == {"train", "validation", "test"}


@pytest.mark.parametrize("setting", ["plain", "synergy", "binding"])
def test_doctor_has_no_warning_for_what_is_by_design(tmp_path, setting):
    """Plain captions recur between splits, for they leave the ground out; see the note."""
    sensorium("world", "make", "--setting", setting, "--scenes", 200, "--out", tmp_path / "w")
    told = sensorium("doctor", tmp_path / "w", "--recipe", "clip")
    assert told.code == 0, told.out
    assert not [line for line in told.out.splitlines() if line.startswith("warning")]
    if setting == "plain":
        assert "texts in more than one split" in told.words
        assert "by design" in told.words
        (tmp_path / "w" / "world.json").unlink()  # as if it had been collected
        assert sensorium("doctor", tmp_path / "w", "--recipe", "clip").code == 1


def test_pretraining_takes_a_made_world_as_it_is(made, tmp_path):
    folder, _ = made
    told = sensorium(
        "-q", "pretrain", folder, "--recipe", "clip", "--budget", "2-steps", "--size", "micro",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert told.code == 0, told.err
    assert "6 in the pool, test split" in told.words
