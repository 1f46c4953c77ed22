"""Fixed lists of runs: what `make eval`, `make eval-full`, `make eval-peers` and `make eval-ablations` run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from agentmem.config import DEFAULT_MODEL
from agentmem.errors import AgentMemError
from eval.benchmarks import get_benchmark
from eval.errors import MissingDataError
from eval.harness import evaluate
from eval.settings import Settings
from eval.systems import SystemSpec
from eval.systems.ablations import MECHANISMS

BASELINES = ("no-memory", "full-context", "grep", "bm25", "minilm", "hybrid")
WITH_TRAINED = ("agentmem", "agentmem:trained", *BASELINES)
"""Where what is written decides: the offline policy, which "agentmem" is in evaluations, and the one that ships."""


class Entry(NamedTuple):
    """One benchmark of a suite, with its subset and the systems that run on it."""

    benchmark: str
    limit: int | None
    systems: Sequence[str] = ("agentmem", *BASELINES)
    settings: dict[str, Any] = {}  # noqa: RUF012  never changed
    model: str = DEFAULT_MODEL
    """Of systems whose memories are written by a chat model."""


QUICK = (
    Entry("tiny", None),
    Entry("personabench", None, WITH_TRAINED),
    Entry("prefeval-retrieval", 240),
    Entry("prefeval-implicit", 240, WITH_TRAINED),
    Entry("stale", 6, (*WITH_TRAINED, "close-everything")),
    Entry("nlsi", None),
    Entry("locomo", 400, settings={"groups": 4}),
    Entry("longmemeval", None),
    Entry("convomem", None),
    Entry("forget", 60, ("agentmem", "agentmem:trained", "no-memory", "bm25")),
    Entry("elicit", None, ("agentmem", "no-memory", "full-context")),
    Entry("dialogues", None, ("agentmem", "agentmem:trained", "no-memory")),
    Entry("router", 30, ("agentmem", "agentmem:full_history", "agentmem:whole_memory", "agentmem:retrieve")),
    # A reader on two cores reads about 140 tokens a second: every system gets the same short context.
    Entry("prefeval-mcq", 24, settings={"budget": 600}),
    Entry("personamem", 16, settings={"budget": 600, "full_context_tokens": 1024}),
)
"""Seeded subsets, reader included."""

WHOLE: dict[str, Entry] = {
    "prefeval-retrieval": Entry("prefeval-retrieval", None, settings={"exact_runs": 30}),
    "personamem": Entry("personamem", 100_000),  # without a limit it keeps to its own 60
}
FULL = tuple(WHOLE.get(entry.benchmark, entry._replace(limit=None, settings={})) for entry in QUICK)
"""All cases, and the verification of prefeval-retrieval's union."""

STORES = ("mem0", "langmem")
WRITERS = ("mem0:infer", "langmem:infer", "agentmem:prompted")
"""Their memories are written by the local chat model: minutes a conversation, so the subset and the model are small."""
SMALL = "local:qwen2.5-coder-0.5b"

PEERS = (
    *(
        entry._replace(systems=STORES)
        for entry in QUICK
        if entry.benchmark not in ("tiny", "nlsi", "convomem", "elicit", "dialogues", "prefeval-mcq", "personamem")
    ),
    Entry("tiny", None, STORES),
    Entry("tiny", 6, WRITERS, model=SMALL),
)
"""Without nlsi, since they select no standing instructions; convomem, whose talks are not there; dialogues, since they
propose no edits; and the readers: without a model they remember the messages as they are and find them by MiniLM, as
the baseline minilm does."""


def _without(entry: Entry) -> Entry:
    """The entry with agentmem as it is, and without each mechanism that is meant for this benchmark."""
    names = [name for name, mechanism in MECHANISMS.items() if entry.benchmark in mechanism.benchmarks]
    return entry._replace(systems=("agentmem", *(f"without:{name}" for name in names)))


ABLATIONS = tuple(own for own in map(_without, QUICK) if len(own.systems) > 1)
"""What each mechanism is worth, on the subsets of QUICK."""

SUITES: dict[str, tuple[Entry, ...]] = {"quick": QUICK, "full": FULL, "peers": PEERS, "ablations": ABLATIONS}


def run_suite(
    name: str,
    data: Path,
    out: Path,
    *,
    jobs: int,
    only: str,
    fresh: bool,
    progress: Callable[[str], AbstractContextManager[Callable[[int, int], None]]],
    say: Callable[[str], object],
) -> int:
    """Run every entry of a suite, one report each in `out`; returns how many runs failed.

    A benchmark whose data is not in `data` is skipped, and said; a run that fails is said, and the others go on.
    """
    failed = 0
    for entry in SUITES[name]:
        if only not in entry.benchmark:
            continue
        benchmark = get_benchmark(entry.benchmark)
        settings = Settings(data=data, limit=entry.limit, **entry.settings)
        for system in entry.systems:
            spec = SystemSpec(label=system, model=entry.model)
            path = out / f"{entry.benchmark}--{system.replace(':', '-')}.json"
            try:
                with progress(f"{entry.benchmark} {system}") as bar:
                    evaluate(benchmark, spec, settings, path, jobs=jobs, fresh=fresh, progress=bar)
            except MissingDataError as error:
                say(f"skipped {entry.benchmark}: {error}")
                break
            except AgentMemError as error:
                say(f"failed {entry.benchmark} {system}: {error}")
                failed += 1
    return failed
