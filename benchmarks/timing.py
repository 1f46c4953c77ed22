"""Timing: medians of repeated calls, and a ratio of two calls timed alternately in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Row(NamedTuple):
    """One line of the table."""

    what: str
    ms: float
    """Median milliseconds of one call."""
    against: str
    baseline_ms: float
    target: float | None = None
    """Highest allowed `ratio`; lowest where `faster`; None for a curve."""
    faster: bool = False
    """The ratio says how many times faster than the baseline, instead of how many times its time."""

    @property
    def ratio(self) -> float:
        return self.baseline_ms / self.ms if self.faster else self.ms / self.baseline_ms

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.ratio >= self.target if self.faster else self.ratio <= self.target


def milliseconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def medians(items: Iterable[T], call: Callable[[T], object], baseline: Callable[[T], object]) -> tuple[float, float]:
    """Median ms of `call` and of `baseline` over the items, alternating, so that both see the same machine."""
    own, base = [], []
    for item in items:
        base.append(milliseconds(lambda item=item: baseline(item)))
        own.append(milliseconds(lambda item=item: call(item)))
    return statistics.median(own), statistics.median(base)
