"""How far a training run is, and how long it still takes: a bar, or a line now and then where nobody watches."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

RECENT = 20
"""Iterations that the pace is taken from: they slow down as memories grow."""


@contextmanager
def progress(total: int, start: int = 0, *, every: float = 60.0) -> Iterator[Callable[[str], None]]:
    """Follow a run on standard error.

    Args:
        total: iterations of the whole run.
        start: those that are done already, as in a resumed run.
        every: seconds between two lines where standard error is no terminal; the first and the last always come.

    Yields:
        `advance(description)`: one iteration more is done; the description is shown beside it.
    """
    from rich.console import Console

    console = Console(stderr=True)
    pace = _Pace(total, start)
    if console.is_terminal:
        yield from _bar(console, pace)
    else:
        yield _plain(pace, every)


class _Pace:
    """Counts iterations, and the seconds that those to come will take."""

    def __init__(self, total: int, start: int) -> None:
        self.total, self.done = total, start
        self._times = deque([time.monotonic()], maxlen=RECENT + 1)

    def advance(self) -> None:
        self.done += 1
        self._times.append(time.monotonic())

    @property
    def left(self) -> str:
        if self.done >= self.total or len(self._times) < 2:
            return ""
        seconds = (self._times[-1] - self._times[0]) / (len(self._times) - 1)
        return f"{spoken(seconds * (self.total - self.done))} left"


def spoken(seconds: float) -> str:
    """As "2 h 05 min", "12 min" or "40 s"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _bar(console: Console, pace: _Pace) -> Iterator[Callable[[str], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    # Own estimate: rich's forgets iterations that take longer than half a minute.
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, TextColumn("{task.description}", markup=False), console=console) as shown:
        task = shown.add_task("", total=pace.total, completed=pace.done, left="")

        def advance(description: str) -> None:
            pace.advance()
            shown.update(task, completed=pace.done, description=description, left=pace.left)

        yield advance


def _plain(pace: _Pace, every: float) -> Callable[[str], None]:
    said: float | None = None

    def advance(description: str) -> None:
        nonlocal said
        pace.advance()
        now = time.monotonic()
        if said is None or now - said >= every or pace.done == pace.total:
            said = now
            what = ", ".join(filter(None, (f"iteration {pace.done:,} of {pace.total:,}", description, pace.left)))
            print(what, file=sys.stderr, flush=True)

    return advance
