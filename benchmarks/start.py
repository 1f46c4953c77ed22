"""How long the command line takes to start."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.timing import Row, milliseconds


def help_text(repeats: int) -> Iterator[Row]:
    """`agentmem --help`, in a new process each time; the target is half a second."""
    command = [str(Path(sys.executable).with_name("agentmem")), "--help"]

    def run() -> None:
        subprocess.run(command, check=True, capture_output=True)

    run()
    ms = statistics.median(milliseconds(run) for _ in range(repeats))
    yield Row("agentmem --help", ms, "half a second", 500, 1.0)
