"""What the terminal shows: a nine-column rail of words, measured marks, errors in three lines.

Progress goes to stderr, results to stdout. Without a terminal: one plain line every ten seconds.
Colours are few (bold results, dim asides, yellow luck and warnings, red errors) and `NO_COLOR`
turns them off.
"""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Iterable
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sensorium.errors import UserError, command
from sensorium.report.charts import steps_of
from sensorium.report.verdict import verdict
from sensorium.report.words import AMOUNTS, direction_words, figure, label, lower, share

__all__ = [
    "Teller", "consoles", "error_lines", "protocol_lines", "rail", "result_lines", "score_lines",
    "search_command", "verdict", "verdict_lines",
]  # fmt: skip

RAIL = 9
WIDTH = 100
AXIS = 30  # cells between 0 and the end of the score table's axis
_PLAIN_EVERY = 10.0  # seconds


def consoles(quiet: bool) -> tuple[Console, Console]:
    """stdout for results, stderr for progress."""
    width = None if sys.stdout.isatty() else WIDTH
    # Without emoji codes: ":cat:" in a caption is five letters, also in a command to copy.
    out = Console(highlight=False, width=width, soft_wrap=True, emoji=False)
    err = Console(stderr=True, highlight=False, quiet=quiet, soft_wrap=True, emoji=False)
    return out, err


def rail(word: str, text: str, style: str = "") -> str:
    """One line: the word in the rail, then the text (plain, escaped)."""
    body = f"[{style}]{escape(text)}[/{style}]" if style else escape(text)
    return f"{word:<{RAIL - 1}} {body}"


def error_lines(error: UserError) -> list[str]:
    """`error` in the rail, the message beside it, the rest beneath; paths and commands unbroken."""
    lines: list[str] = []
    for line in "\n".join(error.lines).splitlines() or [type(error).__name__]:
        line = "".join(c if c.isprintable() else "�" for c in line)
        if line.startswith(("expected ", "found ")):
            lines += textwrap.wrap(
                line, WIDTH - RAIL, subsequent_indent="  ",
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
        else:
            lines.append(line)
    return [f"{'' if at else 'error':<{RAIL}}{line}" for at, line in enumerate(lines)]


class Teller:
    """A watcher that draws: bars on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._what = ""
        self._spoken = time.monotonic()

    def say(self, what: str, text: str) -> None:
        """A line that stays."""
        self.close()
        self.console.print(rail(what, text))

    def progress(self, what: str, done: int, total: int, note: str = "") -> None:
        """How far one stage is."""
        if not self.console.is_terminal:
            now = time.monotonic()
            if now - self._spoken >= _PLAIN_EVERY or (done == total and what != self._what):
                self.console.print(rail(what, f"{done:,}/{total:,}  {note}".rstrip()))
                self._spoken = now
                self._what = what if done == total else ""
            return
        if self._progress is None or what != self._what:
            self.close()
            self._progress = Progress(
                TextColumn(f"{what:<{RAIL}.{RAIL - 1}}"),
                BarColumn(bar_width=24, style="dim", complete_style="", finished_style=""),
                TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
                TextColumn("{task.fields[note]}", markup=False),
                TimeElapsedColumn(),
                console=self.console,
            )
            self._progress.start()
            self._task = self._progress.add_task(what, total=total, note=note)
            self._what = what
        assert self._task is not None
        self._progress.update(self._task, completed=done, total=total, note=note)
        if done >= total:
            self.close()

    def close(self) -> None:
        """Leaves the last bar standing."""
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._task = None


def plain(text: object) -> str:
    """Text on one line, without anything that a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def fit(text: object, cells: int, more: str = "…") -> str:
    """`plain` text in at most so many cells; Chinese letters take two."""
    told = plain(text)
    return told if cell_len(told) <= cells else set_cell_size(told, cells - 1).rstrip() + more


def search_command(folder: object, words: str) -> str:
    """The command that searches a run for words, or for the first of them: a line has an end."""
    told = plain(words)
    told = textwrap.shorten(told, 60, placeholder="") or told[:60]
    # Words that begin like an option come after the sign that ends the options.
    return command("search", folder, *(["--"] if told.startswith("-") else []), told)


def _marks(console: Console) -> dict[str, str]:
    encoding = (console.encoding or "utf-8").lower()
    if encoding.startswith("utf"):
        return {"dot": "●", "line": "━", "hollow": "○", "thin": "─", "dash": "–", "more": "…"}
    return {"dot": "*", "line": "=", "hollow": "o", "thin": "-", "dash": "-", "more": "~"}


def score_lines(scores: list[dict[str, Any]], console: Console, metric: str | None = None):
    """The score table: per direction the run, its controls, luck, on one axis.

    Of one metric, or by default of the first of each task.
    """
    picked: dict[str, list[dict[str, Any]]] = {}
    first: dict[str, str] = {}
    for score in scores:
        wanted = first.setdefault(score["task"], metric or score["metric"])
        if score["metric"] == wanted:
            picked.setdefault(score["task"], []).append(score)
    for group in picked.values():
        yield from _table(group, _marks(console))


def _table(picked: list[dict[str, Any]], marks: dict[str, str]):
    metric = picked[0]["metric"]
    highest = max(
        high
        for score in picked
        for row in (score, *score["controls"].values())
        if row["value"] is not None
        for high in (row["value"], row["interval"][1] if _measured(row) else 0.0)
    )
    if metric in AMOUNTS:
        ticks = steps_of(0, max(highest, 0.01))
    else:
        steps = round(min(1.0, max(0.2, -(-highest // 0.2) * 0.2)) / 0.2)
        ticks = [at / 5 for at in range(steps + 1)]
    top, cells = ticks[-1], AXIS

    def at(value: float) -> int:
        return min(cells - 1, int(value / top * (cells - 1) + 0.5))

    axis = [" "] * (cells + 3)
    for tick in ticks:
        written = f"{tick:g}" if metric in AMOUNTS else share(tick).rstrip("0").rstrip(".")
        for offset, letter in enumerate(written or "0"):
            axis[min(at(tick) + offset, cells + 2)] = letter
    yield f"[dim]{escape(metric):<26}value  95 %         {''.join(axis).rstrip()}[/dim]"
    long: dict[str, None] = {}  # names that are cut, in full below
    for score in picked:
        protocol = score["protocol"]
        pool = (
            f"{protocol['pool']:,} in the pool" if "pool" in protocol else
            f"{protocol['records']:,} records"
        )  # fmt: skip
        less = "; less is better" if lower(score) else ""
        direction = escape(fit(direction_words(score["direction"], protocol), 40, marks["more"]))
        yield f"{direction}  [dim]{pool}, {protocol['split']} split{less}[/dim]"
        chance = score["controls"].get("chance")
        luck = None if chance is None else at(chance["value"])
        rows = [("this run", score, True)]
        rows += [(label(k), c, False) for k, c in score["controls"].items()]
        for name, row, own in rows:
            if cell_len(plain(name)) > 23:
                long[plain(name)] = None
            name = f"{fit(name, 23, marks['more']):<24}"
            if row["value"] is None:
                why = escape(fit(f"not measured: {row['reason']}", WIDTH - 33, marks["more"]))
                yield f"[dim]  {escape(name)}{marks['dash']:>5}  {why}[/dim]"
                continue
            line = [" "] * cells
            if luck is not None:
                line[luck] = ":"
            interval = ""
            if _measured(row):
                low, high = row["interval"]
                interval = f"{figure(metric, low)}{marks['dash']}{figure(metric, high)}"
                for cell in range(at(low), at(high) + 1):
                    line[cell] = marks["line" if own else "thin"]
            if _measured(row) or row is not chance:
                line[at(row["value"])] = marks["dot" if own else "hollow"]
            picture = escape("".join(line).rstrip())
            text = f"  {escape(name)}{figure(metric, row['value']):>5}  {interval:<12} {picture}"
            style = "bold" if own else "yellow" if row is chance else "dim"
            yield f"[{style}]{text}[/{style}]"
    for name in long:
        yield f"[dim]  {escape(name)}[/dim]"


def protocol_lines(scores: list[dict[str, Any]]):
    """How ties and intervals are meant, per task and metric, and which step was asked."""
    told = dict.fromkeys(
        f"{score['task']}: {score['protocol']['ties']}; {score['protocol']['interval']}; "
        f"step {score['protocol']['step']:,} chosen on validation"
        for score in scores
    )
    told |= dict.fromkeys(
        f"not asked: {why}" for score in scores for why in score["protocol"].get("not_asked", [])
    )
    for line in told:
        yield f"[dim]{escape(line)}[/dim]"


def verdict_lines(scores: list[dict[str, Any]]):
    """The verdict: its sentence, then what it rests on and what it does not tell apart."""
    told = verdict(scores)
    yield f"[bold]{escape(plain(told.title))}[/bold]"
    for line in textwrap.wrap(" ".join(told.lines), WIDTH, break_long_words=False):
        yield f"[dim]{escape(line)}[/dim]"


def _measured(row: dict[str, Any]) -> bool:
    return row["value"] is not None and isinstance(row.get("interval"), list)


def result_lines(results: Iterable[dict[str, Any]]):
    """Search results, one line each."""
    for row in results:
        key = fit(row["key"], 40)
        what = fit(row.get("text") or row.get("file") or "", WIDTH - RAIL - 10 - cell_len(key))
        yield (
            f"{row['rank']:>{RAIL - 2}}  {row['score']:+.3f}  [bold]{escape(key)}[/bold]  "
            f"[dim]{escape(what)}[/dim]"
        )
