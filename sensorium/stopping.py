"""Asked to stop: SIGTERM and SIGINT set a flag, so that what runs can save before it ends."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def signals() -> Iterator[Callable[[], bool]]:
    """SIGTERM and SIGINT ask to stop instead of killing; a second one kills as usual.

    Gives what says whether it was asked. Outside the main thread it never is: signals belong to
    whoever runs that one.
    """
    told: list[int] = []
    wanted: list[int] = [signal.SIGTERM, signal.SIGINT]
    before: dict[int, Any] = {}

    def tell(number: int, frame: Any) -> None:
        told.append(number)
        signal.signal(number, before[number])

    try:
        for number in wanted:
            before[number] = signal.signal(number, tell)
    except ValueError:  # not the main thread
        pass
    try:
        yield lambda: bool(told)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
