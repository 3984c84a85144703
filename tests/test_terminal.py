"""What the terminal shows: marks stand where their values are, lines fit, nothing else is said."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from sensorium import terminal
from sensorium.errors import UserError
from sensorium.terminal import (
    AXIS,
    RAIL,
    WIDTH,
    Teller,
    consoles,
    error_lines,
    rail,
    result_lines,
    score_lines,
    verdict,
)

BEGIN = 46  # the column of the axis's zero


def score(value, interval, luck=0.1, direction="text_to_image", **controls):
    """One score as evaluation stores it."""
    return {
        "task": "retrieval",
        "direction": direction,
        "metric": "recall@1",
        "value": value,
        "interval": list(interval),
        "protocol": {"split": "test", "pool": 1543, "records": 154, "ties": "against us"},
        "controls": {**controls, "chance": {"value": luck, "interval": "exact"}},
    }


def measured(value, low, high):
    return {"value": value, "interval": [low, high]}


def shown(scores, encoding="utf-8", **more) -> list[str]:
    """The table's lines as they stand on a terminal of some encoding, without colours."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    console = Console(file=file, width=WIDTH, highlight=False, soft_wrap=True)
    for line in score_lines(scores, console, **more):
        console.print(line)
    file.seek(0)
    return file.read().splitlines()


def row(lines: list[str], name: str) -> str:
    return next(line for line in lines if line.startswith(f"  {name}"))


# --- the score table ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.2, 0.4, 0.6, 0.8])
def test_a_mark_stands_under_its_tick(value):
    lines = shown([score(value, (value - 0.05, min(1.0, value + 0.05)))])
    axis = lines[0]
    assert axis[BEGIN] == "0"
    assert row(lines, "this run").index("●") == axis.index(f".{value * 10:.0f}", BEGIN)


@settings(max_examples=150, deadline=None)
@given(
    run=st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted),
    control=st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted),
    luck=st.floats(0, 1),
)
def test_positions_are_values_on_one_axis(run, control, luck):
    (low, value, high), (under, other, over) = run, control
    lines = shown([score(value, (low, high), luck, partner_shuffled=measured(other, under, over))])
    axis = lines[0][BEGIN:]
    last = max((at for at in range(1, 6) if f".{2 * at}" in axis), default=0)
    top = 1.0 if axis.rstrip().endswith("1") else last / 5
    assert top >= max(high, over, luck) - 1e-9, "the axis holds everything"

    def near(column: int, wanted: float) -> bool:
        return abs(column - wanted / top * (AXIS - 1)) <= 0.5 + 1e-6

    own, beside = row(lines, "this run")[BEGIN:], row(lines, "partner shuffled")[BEGIN:]
    assert near(own.index("●"), value)
    assert near(beside.index("○"), other)
    for line, marks, first, final in ((own, "●━", low, high), (beside, "○─", under, over)):
        columns = [at for at, letter in enumerate(line) if letter in marks]
        assert near(columns[0], first)
        assert near(columns[-1], final)
        assert columns == list(range(columns[0], columns[-1] + 1)), "one unbroken line"
    for line in (own, beside, row(lines, "no skill")[BEGIN:]):
        for at in [at for at, letter in enumerate(line) if letter == ":"]:
            assert near(at, luck)
    assert ":" in row(lines, "no skill")


def test_luck_is_one_column_in_every_row():
    lines = shown([score(0.6, (0.5, 0.7), 0.1, partner_shuffled=measured(0.3, 0.25, 0.35))])
    columns = {line.index(":", BEGIN) for line in lines if ":" in line[BEGIN:]}
    assert len(columns) == 1
    assert sum(":" in line[BEGIN:] for line in lines) == 3


def test_rows_come_run_first_luck_last_with_their_numbers():
    conse = {"value": None, "reason": "no towers"}
    lines = shown(
        [score(0.384, (0.335, 0.437), 0.006, conse=conse,
               partner_shuffled=measured(0.007, 0.001, 0.021))]
    )  # fmt: skip
    assert lines[0].split()[:4] == ["recall@1", "value", "95", "%"]
    assert lines[1] == "words to picture  1,543 in the pool, test split"
    names = [line[2:26].strip() for line in lines[2:]]
    assert names == ["this run", "ConSE, nothing trained", "partner shuffled", "no skill"]
    assert lines[2].split()[2:4] == [".384", ".335–.437"]
    assert lines[3].endswith("–  not measured: no towers")
    assert lines[5].split()[2] == ".006"


def test_both_directions_share_the_axis():
    both = [score(0.9, (0.8, 0.95)), score(0.45, (0.4, 0.5), direction="image_to_text")]
    lines = shown(both)
    assert sum("recall@1" in line for line in lines) == 1
    first, second = (line.index("●") - BEGIN for line in lines if "●" in line)
    assert abs(first - 2 * second) <= 1


def test_another_metric_and_none():
    assert shown([score(0.5, (0.4, 0.6))], metric="recall@5") == []
    assert shown([score(0.5, (0.4, 0.6)) | {"metric": "recall@5"}], metric="recall@5")


def test_ascii_where_the_terminal_has_no_more():
    lines = shown([score(0.4, (0.3, 0.5), partner_shuffled=measured(0.1, 0.05, 0.15))], "ascii")
    assert all(line.isascii() for line in lines)
    assert "==*==" in row(lines, "this run")
    assert "-o-" in row(lines, "partner shuffled")
    assert "\\u" not in "".join(lines)


def test_every_line_fits():
    long = {"value": None, "reason": "a very long reason " * 20}
    odd = {"a control whose name nobody has shortened yet": measured(0.999, 0.9, 1.0)}
    for encoding in ("utf-8", "ascii"):
        lines = shown([score(1.0, (0.9996, 1.0), 0.0001, conse=long, **odd)], encoding)
        assert max(map(cell_len, lines)) <= WIDTH
    assert row(shown([score(0.5, (0.4, 0.6), **odd)]), "a control")[BEGIN:].strip()


# --- colours --------------------------------------------------------------------------------------


def coloured(monkeypatch, capsys, **environment) -> str:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **environment}.items():
        monkeypatch.setenv(name, value)
    console, _ = consoles(quiet=False)
    for line in score_lines([score(0.5, (0.4, 0.6))], console):
        console.print(line)
    return capsys.readouterr().out


def test_luck_is_yellow_on_a_terminal_and_nothing_elsewhere(monkeypatch, capsys):
    assert "\x1b[33m" in coloured(monkeypatch, capsys, FORCE_COLOR="1")
    assert "\x1b" not in coloured(monkeypatch, capsys)


def test_no_color_turns_colours_off(monkeypatch, capsys):
    told = coloured(monkeypatch, capsys, FORCE_COLOR="1", NO_COLOR="1")
    assert "\x1b[33m" not in told
    assert "●" in told


# --- rail, errors, results ------------------------------------------------------------------------


def printed(*lines: str) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=WIDTH, highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("word", ["", "data", "finished", "longer than the rail"])
def test_the_rail_leaves_a_gap(word):
    (line,) = printed(rail(word, "x [bold]y[/bold] [/]", "bold"))
    assert line.endswith(" x [bold]y[/bold] [/]"), "users' text is not markup"
    assert line.startswith(word)
    assert len(word) >= RAIL or line.index("x") == RAIL


def test_an_error_stands_in_the_rail():
    lines = error_lines(
        UserError(
            file="captions.csv", row=88, field="title", expected="text", found="an empty cell",
            nearest="titel", see="sensorium doctor captions.csv",
        )
    )  # fmt: skip
    assert lines == [
        "error    captions.csv row 88, field title",
        "         expected text, found an empty cell",
        "         nearest  titel",
        "         see      sensorium doctor captions.csv",
    ]


def test_a_long_error_is_wrapped_but_no_path_is_broken():
    path = "/a/very/long/path/" + "x" * 120 + ".csv"
    lines = error_lines(UserError(file=path, expected="one of " + ", ".join(map(str, range(90))),
                                  found="none", see=f"sensorium doctor {path}"))  # fmt: skip
    assert lines[0] == f"error    {path}"
    assert lines[-1].endswith(path)
    assert all(len(line) <= WIDTH for line in lines[1:-1])
    assert len(lines) > 4


def test_an_error_moves_no_cursor():
    told = "\n".join(error_lines(UserError("a\x1b[2Jb\rc", found="\x07", see="d\te")))
    assert not any(letter in told for letter in "\x1b\r\x07\t")
    assert error_lines(UserError())[0].startswith("error")


def result(**more):
    return {"rank": 1, "score": 0.25, "key": "a.png", "text": "a boat", **more}


def test_results_are_one_line_each():
    lines = printed(*result_lines([result(), result(rank=2, score=-0.5, text=None, file="/x/b.png"),
                                   result(rank=3, key="k[bold]", text="x\ny\x1b[31m " * 40),
                                   result(rank=4, text="一只红色的小船" * 20)]))  # fmt: skip
    assert len(lines) == 4
    assert lines[0].split() == ["1", "+0.250", "a.png", "a", "boat"]
    assert "-0.500" in lines[1]
    assert "/x/b.png" in lines[1]
    assert "k[bold]" in lines[2]
    assert "\x1b" not in lines[2]
    assert all(cell_len(line) <= WIDTH for line in lines)


# --- the verdict ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (score(0.384, (0.335, 0.437), 0.006), "Words find the right picture first 38 times"),
        (score(0.25, (0.05, 0.7), 0.25), "No better than luck yet: words find the right picture"),
        (score(0.25, (0.2501, 0.7), 0.25), "Words find the right picture first 25 times"),
        (score(0.3, (0.25, 0.7), 0.25), "No better than luck yet"),
        (score(0.0, (0.0, 0.02), 0.1), "No better than luck yet"),
        (score(0.004, (0.003, 0.006), 0.0001), "first 0.4 times in 100. Luck finds it 0.01 times."),
    ],
)  # fmt: skip
def test_the_verdict_is_a_sentence_with_luck_in_it(given, words):
    title = verdict([given]).title
    assert words in title
    assert "luck" in title.lower()
    assert title.endswith(".")
    assert len(title) <= WIDTH


def test_the_verdict_speaks_of_words_to_picture_first():
    other = score(0.9, (0.8, 0.95), direction="image_to_text")
    assert verdict([other, score(0.5, (0.4, 0.6))]).title.startswith("Words find")


# --- progress -------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves."""
    now = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_one_plain_line_every_ten_seconds(clock):
    file = io.StringIO()
    teller = Teller(Console(file=file, width=WIDTH, highlight=False))
    for done in range(1, 101):
        clock[0] += 1.0
        teller.progress("train", done, 100, f"loss {done}")
    assert [line.split()[1] for line in file.getvalue().splitlines()] == [
        f"{done}/100" for done in range(10, 101, 10)
    ]


def test_a_short_stage_says_only_that_it_is_done(clock):
    file = io.StringIO()
    teller = Teller(Console(file=file, width=WIDTH, highlight=False))
    for name in ("image", "text"):
        for done in range(1, 41):
            teller.progress(name, done, 40)
    teller.say("index", "80 rows")
    assert file.getvalue().splitlines() == [
        "image    40/40", "text     40/40", "index    80 rows",
    ]  # fmt: skip


def test_on_a_terminal_the_bar_stays_when_it_is_done():
    file = io.StringIO()
    teller = Teller(Console(file=file, width=WIDTH, force_terminal=True, _environ={}))
    teller.progress("train", 1, 2, "loss [1]")
    teller.progress("train", 2, 2, "loss [0]")
    assert teller._progress is None
    assert "2/2" in file.getvalue()
    assert "loss [0]" in file.getvalue()


def test_quiet_is_quiet_on_stderr_only(capsys):
    out, err = consoles(quiet=True)
    Teller(err).say("data", "x")
    out.print("y")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("y\n", "")
