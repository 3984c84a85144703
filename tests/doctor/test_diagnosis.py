import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from sensorium.doctor.diagnosis import Diagnosis, Finding, clipped, lines, printable, show, wrapped
from sensorium.terminal import RAIL, WIDTH


def _one(severity, places=0, **more):
    where = tuple(f"file {at}" for at in range(places))
    return Finding(f"some-{severity}", severity, "something is so", where, **more)


@pytest.mark.parametrize(
    ("severities", "code"),
    [
        ([], 0),
        (["note"], 0),
        (["note", "warning"], 1),
        (["warning", "unusable", "note"], 2),
    ],
)
def test_exit_codes(severities, code):
    diagnosis = Diagnosis("x", "lit", {}, [_one(severity) for severity in severities])
    assert diagnosis.exit_code == code
    assert diagnosis.to_json()["exit_code"] == code


def test_the_gravest_comes_first():
    diagnosis = Diagnosis("x", "lit", {}, [_one("note"), _one("unusable"), _one("warning")])
    told = [finding["severity"] for finding in diagnosis.to_json()["findings"]]
    assert told == ["unusable", "warning", "note"]


@pytest.mark.parametrize(("places", "shown"), [(3, 3), (4, 4), (5, 3), (15, 3)])
def test_long_lists_are_cut_and_json_has_all(places, shown):
    diagnosis = Diagnosis("x", "lit", {}, [_one("warning", places, advice="mend it")])
    told = lines(diagnosis)
    assert sum("file " in line for line in told) == shown
    more = [line for line in told if "--json lists all" in line]
    assert more == (
        [f"         … and {places - 3} more (--json lists all)"] if shown < places else []
    )
    assert "         mend it" in told
    assert len(diagnosis.to_json()["findings"][0]["where"]) == places


def test_an_error_looks_like_one():
    error = Finding("unreadable-data", "unusable", "a.csv", (), "a header", "nothing", "see      x")
    assert lines(Diagnosis("a.csv", "lit", {}, [error])) == [
        "error    a.csv", "         expected a header, found nothing", "         see      x",
    ]  # fmt: skip


def test_lines_fit_the_width_whatever_they_hold():
    wide = "一只狗在沙滩上奔跑" * 20
    finding = Finding("x", "warning", f"{wide} and {'word ' * 60}", (wide, "x" * 300, "\x1b[31m"))
    told = lines(Diagnosis("x", "lit", {}, [finding]))
    assert all(cell_len(line) <= WIDTH for line in told)
    assert all(line[:RAIL].strip() in ("warning", "", "try") for line in told)
    assert not any("\x1b" in line for line in told)
    assert r"\x1b[31m" in told[told.index(next(x for x in told if "xxx" in x)) + 1]


def test_a_command_is_never_broken_and_is_quoted():
    path = "/data/" + "long/" * 30 + "my photos"
    last = lines(Diagnosis(path, "clip"))[-1]
    assert last == f"try      sensorium pretrain '{path}' --recipe clip"


def test_show_prints_what_lines_say_markup_or_not():
    finding = Finding("x", "warning", "[bold]not markup[/bold]", ("[red]", ":smile:"))
    diagnosis = Diagnosis("x", "lit", {}, [finding])
    out = io.StringIO()
    show(diagnosis, Console(file=out, width=60, highlight=False))
    assert [line.rstrip() for line in out.getvalue().splitlines()] == lines(diagnosis)


def test_printable():
    assert printable("a\tb\u00a0c") == r"a\tb c"
    assert printable("👨‍👩‍👧 é\u202e") == "👨‍👩‍👧 é\\u202e"


def test_clipped_and_wrapped():
    assert clipped("abc", 3) == "abc"
    assert clipped("abcd", 3) == "ab…"
    assert clipped("一二三", 5) == "一二…"
    assert list(wrapped("aa bb cc", 5)) == ["aa bb", "cc"]
    assert list(wrapped("abcdefgh ij", 4)) == ["abcd", "efgh", "ij"]
    assert list(wrapped("", 4)) == [""]
