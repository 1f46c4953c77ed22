"""What training costs: python -m benchmarks.training [--base smollm2-135m] [--quick] [--only WORD] [--out FILE].

step: iterations of a real run (real histories, sampling, rewards, both credits), by phase, and its peak of memory.
trl:  tokens/s of our policy update and of a plain step of TRL's GRPOTrainer on the same rows, taking turns.
oprl: an iteration with step rewards (OPRL) over one without, on the same rollouts, taking turns; its peaks of memory
      in processes of their own.

Everything runs in new processes, so that a peak is one part's own. Ratios are medians of pairs; the spread is their
least and greatest.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch: ratios, not the number of cores
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import functools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

HISTORIES = Path(__file__).parent.parent / "examples" / "training" / "histories.jsonl"
KINDS = ("outcome", "oprl")
NOT_SLOWER, TIME, MEMORY = 1.0, 1.6, 1.2
"""Goals: at least TRL's tokens/s; OPRL in at most so many times the time and memory of outcome-only."""


class Sizes(NamedTuple):
    """Of what is trained; the defaults of a recipe, but fewer and shorter rollouts."""

    base: str = "smollm2-135m"
    histories: int = 2
    group: int = 8
    max_tokens: int = 64
    tokens: int = 4096
    iterations: int = 2
    repeats: int = 5
    threads: int = 1

    @classmethod
    def quick(cls, base: str) -> Sizes:
        """Fewer and shorter rollouts."""
        return cls(base, histories=1, group=4, max_tokens=32, iterations=1, repeats=3)


class Line(NamedTuple):
    """One line of the table."""

    what: str
    value: float
    unit: str
    against: str = ""
    other: float | None = None
    ratio: float | None = None
    """As the goal counts it: of value over other."""
    spread: tuple[float, float] | None = None
    """Least and greatest ratio of a pair."""
    goal: float | None = None
    more: bool = False
    """More is better, so the goal is the least ratio allowed."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None or self.ratio is None:
            return None
        return self.ratio >= self.goal if self.more else self.ratio <= self.goal


def compared(
    what: str, unit: str, values: Sequence[float], against: str, others: Sequence[float], goal: float,
    more: bool = False,
) -> Line:  # fmt: skip
    """A line of values that were taken in turns: medians, and the median and the ends of the ratios of the pairs."""
    ratios = [own / other for own, other in zip(values, others, strict=True)]
    return Line(what, statistics.median(values), unit, against, statistics.median(others), statistics.median(ratios),
                (min(ratios), max(ratios)), goal, more)  # fmt: skip


# -- the parts, each in its own process ------------------------------------------------------------------------------


@functools.cache
def run(part: str, sizes: Sizes, **options: str) -> dict[str, Any]:
    """What a part found, made in a new process (once), and `peak_mb`, the most memory it held.

    Raises CalledProcessError, with what the part said on its way out.
    """
    with tempfile.TemporaryDirectory(prefix="agentmem-bench-") as folder:
        found = Path(folder) / "found.json"
        asked = {"part": part, "sizes": sizes._asdict(), "options": options, "found": str(found)}
        environment = {**os.environ, "OMP_NUM_THREADS": str(sizes.threads)}
        subprocess.run([sys.executable, "-m", "benchmarks.training", "--part", json.dumps(asked)], check=True,
                       cwd=HISTORIES.parents[2], env=environment)  # fmt: skip
        return json.loads(found.read_text("utf-8"))


def part(asked: dict[str, Any]) -> None:
    """Do a part in this process, and write what it found."""
    import torch

    from benchmarks import training_parts

    sizes = Sizes(**asked["sizes"])
    torch.set_num_threads(sizes.threads)
    found = getattr(training_parts, asked["part"])(sizes, **asked["options"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    Path(asked["found"]).write_text(json.dumps({**found, "peak_mb": peak}), "utf-8")


def steps(sizes: Sizes) -> Iterator[Line]:
    """Iterations of a real run with each kind of credit."""
    for kind in KINDS:
        found = run("iterations", sizes, credit=kind)
        for name, value in found["phases"].items():
            yield Line(f"{kind}: seconds of {name}", value, "s")
        yield Line(f"{kind}: tokens sampled", found["sampled"], "tokens/s")
        yield Line(f"{kind}: tokens trained, rollouts left out", found["trained"], "tokens/s")
        yield Line(f"{kind}: peak of the process", found["peak_mb"], "MB")


def beside_trl(sizes: Sizes) -> Iterator[Line]:
    """Our update of the policy and TRL's, without generation on either side."""
    found = run("beside_trl", sizes)
    yield compared("policy update, rollouts given", "tokens/s", found["ours"], "TRL's GRPOTrainer", found["trl"],
                   NOT_SLOWER, more=True)  # fmt: skip


def oprl(sizes: Sizes) -> Iterator[Line]:
    """Time and memory of OPRL over outcome-only, of the update alone and with rollouts."""
    found = run("both_kinds", sizes)
    rollout = found["rollout"]
    for what, added in (("update", [0.0] * len(rollout)), ("iteration with rollouts", rollout)):
        times = {kind: [a + b for a, b in zip(found[kind], added, strict=True)] for kind in KINDS}
        yield compared(f"oprl: {what}", "s", times["oprl"], "outcome", times["outcome"], TIME)
    for what, name in (("update", "updates"), ("iteration with rollouts", "iterations")):
        peaks = {kind: run(name, sizes, credit=kind)["peak_mb"] for kind in KINDS}
        yield compared(f"oprl: peak memory, {what}", "MB", [peaks["oprl"]], "outcome", [peaks["outcome"]], MEMORY)


PARTS = {"step": steps, "trl": beside_trl, "oprl": oprl}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them, show the table, write the JSON; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default=Sizes().base, help="name, folder or GGUF file of the model")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rollouts")
    parser.add_argument("--only", default="", help="only parts whose name holds this: step, trl, oprl")
    parser.add_argument("--set", default="{}", help="JSON of other sizes, such as {\"group\": 4}")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("runs/training.json"), help="where the JSON goes")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.part:
        part(json.loads(asked.part))
        return 0
    sizes = Sizes.quick(asked.base) if asked.quick else Sizes(asked.base)
    sizes = sizes._replace(**json.loads(asked.set))
    console, lines = Console(width=None if sys.stdout.isatty() else 150), []
    for name, benchmark in PARTS.items():
        if asked.only in name:
            with console.status(name):
                lines += benchmark(sizes)
    console.print(_table(lines))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    rows = [{**line._asdict(), "met": line.met} for line in lines]
    asked.out.write_text(json.dumps({**sizes._asdict(), "rows": rows}, indent=1) + "\n", "utf-8")
    return int(any(line.met is False for line in lines))


def _table(lines: Sequence[Line]) -> Table:
    table = Table(title="what training costs (medians; ratios inside this run)")
    for heading in ("what", "value", "unit", "against", "its value", "ratio", "spread", "goal", ""):
        table.add_column(heading, justify="left" if heading in ("what", "unit", "against", "") else "right")
    for line in lines:
        spread = "" if line.spread is None else f"{line.spread[0]:.2f}-{line.spread[1]:.2f}"
        goal = "" if line.goal is None else f"{'≥' if line.more else '≤'} {line.goal:g}x"
        table.add_row(
            line.what, f"{line.value:,.1f}", line.unit, line.against,
            "" if line.other is None else f"{line.other:,.1f}",
            "" if line.ratio is None else f"{line.ratio:.2f}x", spread, goal,
            {True: "reached", False: "missed", None: ""}[line.met],
        )  # fmt: skip
    return table


if __name__ == "__main__":
    sys.exit(main())
