"""Run a benchmark over a system: in several processes, resumable, failures kept and never counted as 0."""

from __future__ import annotations

import os
import random
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from agentmem.errors import AgentMemError, ConfigError
from eval.errors import DataError, SystemFailedError, UnsupportedError
from eval.runs import RunFile, fingerprint, write_whole
from eval.settings import Settings
from eval.stats import metrics_of
from eval.systems import Guarded, System, SystemSpec, UserMemory, make_system, usage_of
from eval.values import Case, Cost, Metric, Outcome, Report, Score, Unit, unscored


class Benchmark:
    """A set of cases, and how a system is run and scored on them. Base of all benchmarks."""

    name: str = ""
    about: str = ""
    """One line: what it measures."""
    source: str = ""
    """Where to get the data, and under which licence."""
    folder: str = ""
    """Name of its folder in our layout of the data."""
    metrics: Sequence[str] = ()
    """The metrics that every case has: what a failed case leaves unscored."""
    counts: Set[str] = frozenset()
    """Metrics that are a sum over the cases."""
    guarded: Set[str] = frozenset()
    """How the names of shares begin whose denominator may be nothing: None unless its interval excludes 0."""
    serial: bool = False
    """Whether units are run in one process: a large reader does not fit twice."""

    def load(self, settings: Settings) -> Sequence[Unit]:
        """All units, in a fixed order. Raises DataError."""
        raise NotImplementedError

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        """Observe the unit's history and score its cases."""
        raise NotImplementedError

    def derived(self, outcomes: Sequence[Outcome], settings: Settings) -> dict[str, Metric]:
        """Metrics of the whole run that are no sum over its cases."""
        return {}


@dataclass
class Run:
    """What a benchmark works with while it runs one unit."""

    system: System
    settings: Settings
    folder: Path
    """Empty, and gone after the unit."""
    shared: dict[str, Any] = field(default_factory=dict)
    """Kept between the units of one process: a filler memory, a reader, an embedder."""
    shared_folder: Path = Path()
    """Kept as long as `shared`."""
    _opened: int = 0

    def open(self) -> UserMemory:
        """The empty memory of a new user."""
        self._opened += 1
        return Guarded(self.system.open(self.folder / f"user{self._opened}"), self.system.name)

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, made once a process."""
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]


@contextmanager
def timed() -> Iterator[list[float]]:
    """A list whose only element is, afterwards, the seconds that passed."""
    passed = [0.0]
    started = time.perf_counter()
    try:
        yield passed
    finally:
        passed[0] = time.perf_counter() - started


def scored(names: Sequence[str], score: Callable[[], dict[str, Score]]) -> dict[str, Score]:
    """The scores, or these names unscored with the reason why it failed.

    Raises ConfigError: a wrong setting is not about one case.
    """
    try:
        return score()
    except ConfigError:
        raise
    except AgentMemError as error:
        return unscored(names, str(error), retry=not isinstance(error, UnsupportedError))


# -- choosing cases -------------------------------------------------------------------------------------------------


def chosen(units: Sequence[Unit], settings: Settings) -> list[Unit]:
    """The units with the cases of this run: golds shuffled if asked, a stratified seeded subset if limited."""
    if settings.groups is not None:
        names = sorted({case.group for unit in units for case in unit.cases if not case.always})
        kept_groups = set(random.Random(settings.seed).sample(names, min(settings.groups, len(names))))
        units = [unit for unit in units if any(case.always or case.group in kept_groups for case in unit.cases)]
    if settings.shuffle_gold:
        units = with_shuffled_golds(units, random.Random(settings.seed))
    if settings.limit is None:
        return list(units)
    cases = [case for unit in units for case in unit.cases]
    kept = _subset([case for case in cases if not case.always], settings.limit, settings.seed)
    kept |= {case.id for case in cases if case.always}
    cut = [unit.model_copy(update={"cases": tuple(case for case in unit.cases if case.id in kept)}) for unit in units]
    return [unit for unit in cut if unit.cases]


def _subset(cases: Sequence[Case], limit: int, seed: int) -> set[str]:
    """Ids of `limit` cases, the strata in proportion. A larger limit contains the smaller one's choice, nearly."""
    strata: dict[str, list[Case]] = {}
    for case in cases:
        strata.setdefault(case.stratum, []).append(case)
    ranked: list[tuple[float, str]] = []
    for stratum, own in sorted(strata.items()):
        random.Random(f"{seed}/{stratum}").shuffle(own)
        # the place of a case in its stratum, as a share of it: taking the lowest shares takes all strata in proportion
        ranked += [((place + 0.5) / len(own), case.id) for place, case in enumerate(own)]
    return {id for _, id in sorted(ranked)[:limit]}


def with_shuffled_golds(units: Sequence[Unit], rng: random.Random) -> list[Unit]:
    """Every case with the gold of another case: of the same unit where it has several, else of another unit."""
    alone = [case for unit in units if len(unit.cases) == 1 for case in unit.cases]
    golds = dict(zip((case.id for case in alone), _moved([case.gold for case in alone], rng), strict=True))
    others = [case.gold for unit in units for case in unit.cases if case not in alone]
    if len(alone) == 1 and others:  # nothing to change places with
        golds = {alone[0].id: rng.choice(others)}
    for unit in units:
        if len(unit.cases) > 1:
            own = _moved([case.gold for case in unit.cases], rng)
            golds |= zip((case.id for case in unit.cases), own, strict=True)
    return [
        unit.model_copy(
            update={"cases": tuple(case.model_copy(update={"gold": golds[case.id]}) for case in unit.cases)}
        )
        for unit in units
    ]


def _moved(golds: list[Any], rng: random.Random) -> list[Any]:
    """The golds in an order in which none keeps its place (if there are two or more)."""
    order = list(range(len(golds)))
    rng.shuffle(order)
    moved = list(golds)
    for here, there in zip(order, order[1:] + order[:1], strict=True):
        moved[here] = golds[there]
    return moved


# -- running --------------------------------------------------------------------------------------------------------

Progress = Callable[[int, int], None]
"""Called with (cases done, cases in all)."""


def evaluate(
    benchmark: Benchmark,
    spec: SystemSpec,
    settings: Settings,
    out: Path,
    *,
    jobs: int = 1,
    fresh: bool = False,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Run, or take up, an evaluation; writes `out` and, beside it, a line a case (`out` with .jsonl).

    A run that was stopped goes on where it stopped when it is started again with the same settings.

    Raises:
        DataError: the data is missing or cannot be read.
        ConfigError: the system cannot be made, or `out` holds cases of a run with other settings.
    """
    system = make_system(spec)  # a wrong name is said before any data is read
    units = chosen(benchmark.load(settings), settings)
    if not units:
        raise DataError(f"{benchmark.name}: no cases in {settings.data}")
    wanted = {case.id for unit in units for case in unit.cases}
    lines = RunFile(out.with_suffix(".jsonl"), fingerprint(benchmark.name, spec, settings), fresh)
    kept = [outcome for outcome in lines.read() if outcome.case in wanted]
    done = {outcome.case: outcome for outcome in kept if not any(score.retry for score in outcome.scores.values())}
    todo = [unit for unit in units if any(case.id not in done for case in unit.cases)]
    progress(len(done), len(wanted))
    started = time.perf_counter()
    with lines:
        try:
            for fresh_ones in _run_all(benchmark, spec, settings, todo, jobs):
                lines.write(fresh_ones)
                done |= {outcome.case: outcome for outcome in fresh_ones}
                progress(len(done), len(wanted))
        finally:  # also of a run that is stopped
            seconds = lines.add_seconds(time.perf_counter() - started)
    config = {
        "date": time.strftime("%Y-%m-%d"),
        "system": {**spec.model_dump(mode="json"), **system.config},
        **settings.model_dump(mode="json", exclude={"data", "seed"}),
    }
    outcomes = [done[id] for id in sorted(wanted)]
    metrics = metrics_of(outcomes, counts=benchmark.counts, guarded=benchmark.guarded, seed=settings.seed)
    report = Report(
        benchmark=benchmark.name,
        system=spec.label,
        n=len(outcomes),
        seed=settings.seed,
        metrics=metrics | benchmark.derived(outcomes, settings),
        cost=_cost(outcomes, seconds),
        config=config,
    )
    write_whole(out, report.model_dump_json(indent=1) + "\n")
    return report


def _cost(outcomes: Sequence[Outcome], seconds: float) -> Cost:
    return Cost(
        seconds=round(seconds, 1),
        prompt_tokens=sum(outcome.prompt_tokens for outcome in outcomes),
        completion_tokens=sum(outcome.completion_tokens for outcome in outcomes),
    )


def _run_all(
    benchmark: Benchmark, spec: SystemSpec, settings: Settings, units: Sequence[Unit], jobs: int
) -> Iterator[list[Outcome]]:
    """The outcomes of each unit, as they are ready."""
    if benchmark.serial or jobs <= 1 or len(units) <= 1:
        worker = _Worker(benchmark, spec, settings)
        try:
            for unit in units:
                yield worker.outcomes(unit)
        finally:
            worker.close()
        return
    # spawn: a process forked after torch has started threads hangs
    pool = ProcessPoolExecutor(
        min(jobs, len(units)), get_context("spawn"), initializer=_begin, initargs=(benchmark, spec, settings)
    )
    try:
        waiting: set[Future[list[Outcome]]] = {pool.submit(_outcomes, unit) for unit in units}
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    except BrokenProcessPool as error:
        raise SystemFailedError(
            f"{spec.label}: a process died, for want of memory perhaps; the same command with --jobs 1 goes on"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class _Worker:
    """Runs units in this process, one after the other."""

    def __init__(self, benchmark: Benchmark, spec: SystemSpec, settings: Settings) -> None:
        self._benchmark, self._settings = benchmark, settings
        self._system = make_system(spec)
        self._scratch = tempfile.TemporaryDirectory(prefix="agentmem-eval-", ignore_cleanup_errors=True)
        self._shared: dict[str, Any] = {}

    def outcomes(self, unit: Unit) -> list[Outcome]:
        """An outcome for each case of the unit, whatever fails."""
        home = Path(self._scratch.name)
        shared = home / "shared"
        shared.mkdir(exist_ok=True)
        found: dict[str, Outcome] = {}
        reason, trace = "", ""
        before = usage_of(self._system)
        with tempfile.TemporaryDirectory(dir=home, ignore_cleanup_errors=True) as folder, timed() as passed:
            run = Run(self._system, self._settings, Path(folder), self._shared, shared)
            try:
                for outcome in self._benchmark.run(unit, run):
                    found[outcome.case] = outcome
            except ConfigError:  # a wrong setting is not about one case
                raise
            except AgentMemError as error:
                reason, trace = str(error), "" if isinstance(error, UnsupportedError) else traceback.format_exc()
        rest = [case for case in unit.cases if case.id not in found]
        assert reason or not rest, f"{self._benchmark.name}: no outcome for {rest[0].id}"
        for case in rest:
            detail = {"error": reason, **({"traceback": trace} if trace else {})}
            scores = unscored(self._benchmark.metrics, reason, retry=bool(trace))
            found[case.id] = Outcome(case=case.id, group=case.group, scores=scores, detail=detail)
        share, used = passed[0] / len(unit.cases), usage_of(self._system) - before
        first = found[unit.cases[0].id]  # what writing the memory took is of the unit: counted with its first case
        found[first.case] = first.model_copy(
            update={name: getattr(first, name) + used[name] for name in ("prompt_tokens", "completion_tokens")}
        )
        return [
            outcome if outcome.seconds else outcome.model_copy(update={"seconds": round(share, 4)})
            for outcome in (found[case.id] for case in unit.cases)
        ]

    def close(self) -> None:
        for one in self._shared.values():
            if isinstance(one, UserMemory):
                one.close()
        self._scratch.cleanup()


_worker: _Worker | None = None


def _begin(benchmark: Benchmark, spec: SystemSpec, settings: Settings) -> None:
    global _worker  # one a process; the pool gives its tasks nothing else to hold on to
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _worker = _Worker(benchmark, spec, settings)


def _outcomes(unit: Unit) -> list[Outcome]:
    assert _worker is not None
    return _worker.outcomes(unit)
