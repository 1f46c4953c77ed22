"""python -m benchmarks [--quick] [--large] [--peers] [--only WORD] [--out FILE]: ratios as a table, and as JSON."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch: ratios, not the number of cores
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agentmem.errors import ConfigError
from agentmem.models.embed import Embedder, get_embedder
from benchmarks import recall, start, writing
from benchmarks.timing import Row

Benchmark = Callable[[Path, Embedder], Iterator[Row]]


def suite(quick: bool, large: bool) -> dict[str, Benchmark]:
    """The benchmarks by name."""
    repeats = 5 if quick else 20
    sizes = [1000] if quick else [1000, 10_000]
    users = 200 if quick else 10_000
    if large:
        sizes, users = [*sizes, 30_000, 100_000], 100_000
    bulk = (1000, 15) if quick else (10_000, 25)
    return {
        "start": lambda folder, embedder: start.help_text(repeats),
        "one-user": lambda folder, embedder: recall.one_user(folder, embedder, sizes, repeats),
        "rerank": lambda folder, embedder: recall.reranked(folder, embedder, 1000, 2 if quick else 5),
        "many-users": lambda folder, embedder: recall.many_users(folder, embedder, users, repeats),
        "observe": lambda folder, embedder: writing.observe(folder, embedder, 10 * repeats),
        "history": lambda folder, embedder: writing.history(folder, embedder),
        "bulk": lambda folder, embedder: writing.bulk_import(folder, embedder, *bulk),
    }


def beside_peers(quick: bool) -> dict[str, Benchmark]:
    """agentmem side by side with the peers, which must be installed."""
    from benchmarks import peers

    sizes, repeats = ([1000], 30) if quick else ([1000, 10_000], 100)
    return {
        f"peers-{size}": lambda folder, embedder, size=size: peers.side_by_side(folder, embedder, size, repeats)
        for size in sizes
    }


def main() -> int:
    """Run them, show the table, write the JSON; 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, about a minute")
    parser.add_argument("--large", action="store_true", help="also 100,000 memories and users (35 GB of disk)")
    parser.add_argument("--peers", action="store_true", help="only: side by side with mem0 and langmem (extra: peers)")
    parser.add_argument("--only", default="", help="only benchmarks whose name holds this")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks.json"), help="where the JSON goes")
    asked = parser.parse_args()
    console, rows = Console(), []
    embedder = get_embedder("minilm", "cpu")
    chosen = beside_peers(asked.quick) if asked.peers else suite(asked.quick, asked.large)
    for name, benchmark in chosen.items():
        if asked.only in name:
            try:
                with tempfile.TemporaryDirectory(prefix="agentmem-bench-") as folder, console.status(name):
                    rows += benchmark(Path(folder), embedder)
            except ConfigError as error:
                console.print(f"{name}: not run. {error}", markup=False)
                return 1
    console.print(_table(rows))
    facts = {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "embedder": embedder.name,
        "quick": asked.quick,
    }
    lines = [{**row._asdict(), "ratio": round(row.ratio, 3), "met": row.met} for row in rows]
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps({**facts, "rows": lines}, indent=1) + "\n", "utf-8")
    return int(any(row.met is False for row in rows))


def _table(rows: list[Row]) -> Table:
    table = Table(title="agentmem benchmarks (medians; ratios inside this run)")
    for heading in ("what", "ms", "against", "ms", "ratio", "target", ""):
        table.add_column(heading, justify="right" if heading in ("ms", "ratio", "target") else "left")
    for row in rows:
        target = "" if row.target is None else f"{'≥' if row.faster else '≤'} {row.target:g}"
        verdict = {True: "met", False: "missed", None: ""}[row.met]
        table.add_row(
            row.what, f"{row.ms:.2f}", row.against, f"{row.baseline_ms:.2f}", f"{row.ratio:.2f}x", target, verdict
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
