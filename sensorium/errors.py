"""What went wrong, said once: the place, what was expected, what was found, the nearest valid name.

A mistake in the user's input raises `UserError` (or one of its kinds); the command line prints it
without a traceback and exits with its `exit_code`. A programming error stays an ordinary exception.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable

EXIT_MISTAKE = 2  # the user's input: data, recipe, option, file
EXIT_STOPPED = 75  # stopped by SIGTERM or SIGINT after saving; `sensorium resume` goes on
EXIT_NUMERIC = 3  # a loss was not finite; nothing of that step was applied


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name closest to `name`, or None when nothing is close."""
    close = difflib.get_close_matches(str(name), list(valid), n=1, cutoff=0.5)
    return close[0] if close else None


def clip(value: object, limit: int = 80) -> str:
    """`repr` of a found value, short enough for one line."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def command(*words: object) -> str:
    """A command of ours as one line to print: `sensorium`, then each word as a shell must see it.

    For words that are the user's: a folder with blanks, a caption with quotes or `$(...)`.
    """
    return shlex.join(["sensorium", *map(str, words)])


class UserError(Exception):
    """One clear error about the user's input.

    `what` names the thing ("captions.csv row 88, field title"), or is built from `file`, `row`,
    `record` and `field`. `expected`, `found`, `nearest` and `see` (the next command) are optional
    and each is printed on its own line.
    """

    exit_code = EXIT_MISTAKE

    def __init__(
        self,
        what: str = "",
        *,
        file: object = None,
        row: int | None = None,
        record: str | None = None,
        field: str | None = None,
        expected: str | None = None,
        found: str | None = None,
        nearest: str | None = None,
        see: str | None = None,
    ) -> None:
        self.file = None if file is None else str(file)
        self.row, self.record, self.field = row, record, field
        self.expected, self.found, self.nearest, self.see = expected, found, nearest, see
        place = [] if self.file is None else [self.file]
        if row is not None:
            place.append(f"row {row}")
        if record is not None:
            place.append(f"record {record}")
        where = " ".join(place)
        if field is not None:
            where = f"{where}, field {field}" if where else f"field {field}"
        self.what = f"{where}: {what}" if where and what else (where or what)
        super().__init__(str(self))

    @property
    def lines(self) -> list[str]:
        """The message, line by line."""
        lines = [self.what]
        if self.expected is not None and self.found is not None:
            lines.append(f"expected {self.expected}, found {self.found}")
        elif self.expected is not None:
            lines.append(f"expected {self.expected}")
        elif self.found is not None:
            lines.append(f"found {self.found}")
        if self.nearest is not None:
            lines.append(f"nearest  {self.nearest}")
        if self.see is not None:
            lines.append(f"see      {self.see}")
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def __reduce__(self):
        # Exceptions cross process boundaries (loader workers); keyword-only fields would be lost.
        return (_rebuild, (type(self), self.__dict__))


def _rebuild(kind: type[UserError], state: dict) -> UserError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    Exception.__init__(error, str(error))
    return error


class DataError(UserError):
    """A record, field or file of the user's data."""


class RecipeError(UserError):
    """A recipe, or an option that changes one."""


class PlanError(UserError):
    """The plan of a comparison: what it asks, its arms, budget, seeds or outcome."""


class RunError(UserError):
    """A run directory: in use, incomplete, damaged, or of another recipe."""


class NonFinite(UserError):
    """A loss or gradient is not finite; raised before the update is applied."""

    exit_code = EXIT_NUMERIC


class Stopped(UserError):
    """The run was asked to stop and has saved; `sensorium resume` continues it."""

    exit_code = EXIT_STOPPED


class MissingExtra(UserError):
    """An optional library is absent; the message is its install line."""

    def __init__(self, what: str, needs: str, extra: str) -> None:
        super().__init__(f"{what} needs {needs}", see=f"pip install 'sensorium[{extra}]'")


def unknown(
    kind: str, name: str, valid: Iterable[str], error: type[UserError] = UserError, **place
) -> UserError:
    """The error for a name that does not exist: lists what does, and the nearest."""
    valid = sorted(valid)
    return error(
        f"no {kind} called {name!r}",
        expected="one of " + ", ".join(valid) if valid else f"a {kind}, but there is none",
        nearest=nearest(name, valid),
        **place,
    )
