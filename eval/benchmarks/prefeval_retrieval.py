"""prefeval-retrieval: whether the message that reveals a preference is found by a question, among filler turns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from agentmem.memory import HitKind, Source, Value
from agentmem.session import Session
from eval.benchmarks import prefeval
from eval.benchmarks.prefeval import FORMS, Form, Pair, filler_session, load_fillers, load_pairs
from eval.errors import UnsupportedError
from eval.harness import Benchmark, Run, chosen, scored
from eval.metrics import unique_sources
from eval.settings import Settings
from eval.systems import BOTH, Guarded, UserMemory
from eval.values import Case, Outcome, Score, Unit

FILLERS = (10, 100, 300)
"""Filler turns (user and assistant), of those that the authors report."""

K = 5
"""Messages, as in the authors' baseline of retrieval."""

DEPTH = 20
"""Hits that are asked for: several may rest on one message, and a memory on several."""

KINDS: Mapping[str, Collection[HitKind]] = {"": BOTH, "_memory": ("memory",), "_turns": ("turn",)}
"""What is searched, by the suffix of the metric."""


class Asked(Value):
    """The input of a case."""

    form: Form
    question: str
    exact: bool = False
    """Whether it is also run exactly, the union being a short cut."""


class PrefEvalRetrieval(Benchmark):
    """recall@5 of the key message: hits are expanded in order into the messages they rest on, each once, cut at 5.

    Bare names are of hits from memories and turns together; _memory of written memories alone, _turns of turns alone.
    A persona dialogue counts as found with any of its user turns.

    A memory is stateful, and 300 filler turns cannot be observed anew for each of 2,000 dialogues. So each dialogue is
    observed from empty, the fillers are observed once, and what is searched is the *union*: a copy of the fillers'
    memory that takes over the dialogue's. What a system would have made of the fillers while knowing the dialogue
    (closing it, merging it) is not seen. `exact_runs` verifies this: that many dialogues a form are also observed
    first and the fillers after them, as the authors order them; recall@5_…_300_exact, and union_gap_…_300 is the union
    minus the exact run on the same dialogues. A system that cannot be copied is always run exactly.

    The bootstrap resamples pairs: the forms of a pair share its preference and its question.
    """

    name = "prefeval-retrieval"
    about = "recall@5 of the message that reveals a preference, after 10, 100 and 300 filler turns"
    source = prefeval.SOURCE
    folder = prefeval.FOLDER
    metrics = tuple(f"recall@5_{form}_{n}" for form in FORMS for n in FILLERS)

    def load(self, settings: Settings) -> list[Unit]:
        """One unit a pair, one case a form."""
        filler_session(load_fillers(settings), max(FILLERS))
        units = [_unit(pair) for pair in load_pairs(settings)]
        if not settings.exact_runs:
            return units
        # the first of the same seeded order by which the harness chooses a subset: a limited run holds them too
        few = settings.model_copy(update={"limit": settings.exact_runs * len(FORMS), "shuffle_gold": False})
        exact = {case.id for unit in chosen(units, few) for case in unit.cases}
        return [
            unit.model_copy(update={"cases": tuple(_marked(case) if case.id in exact else case for case in unit.cases)})
            for unit in units
        ]

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        """Search for the key message of each form, at each number of fillers."""
        for case in unit.cases:
            yield _outcome(unit.history, case, run)


def _outcome(pair: Pair, case: Case, run: Run) -> Outcome:
    asked: Asked = case.input
    search = _Search(case)
    scores: dict[str, Score] = {}
    with _Dialogue(run, pair.dialogues[asked.form]) as dialogue:
        for n in FILLERS:
            names = [f"recall@5_{asked.form}_{n}{suffix}" for suffix in KINDS]
            scores |= scored(names, lambda n=n: search.recalls(dialogue.union(n), n))
    if asked.exact:
        scores |= _exact(run, pair, case, scores)
    detail = {"question": asked.question, "key": [turn.turn for turn in case.gold], "found": search.found}
    return Outcome(case=case.id, group=case.group, scores=scores, detail=detail)


class _Search:
    """The searches of one case; keeps what was found, for the reader of a failure."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self.found: dict[str, list[str]] = {}

    def recalls(self, memory: UserMemory, n: int) -> dict[str, Score]:
        """recall@5 for each kind of hit. A kind that a system cannot search alone is unscored."""
        scores: dict[str, Score] = {}
        for suffix, kinds in KINDS.items():
            name = f"recall@5_{self._case.input.form}_{n}{suffix}"
            scores |= scored([name], lambda name=name, kinds=kinds: self._recall(memory, name, kinds))
        memory.close()
        return scores

    def _recall(self, memory: UserMemory, name: str, kinds: Collection[HitKind]) -> dict[str, Score]:
        found = unique_sources(memory.search(self._case.input.question, DEPTH, kinds=kinds), K)
        self.found[name] = [f"{source.session}#{source.turn}" for source in found]
        return {name: Score(value=found_any(found, self._case.gold))}


def found_any(found: Sequence[Source], gold: Sequence[Source]) -> float:
    """1 if any of the gold messages was found, else 0."""
    return float(any(source in gold for source in found))


class _Dialogue:
    """A preference dialogue, observed from empty the first time it is needed; and its union with fillers."""

    def __init__(self, run: Run, session: Session) -> None:
        self._run, self._session = run, session
        self._memory: UserMemory | None = None

    def __enter__(self) -> _Dialogue:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._memory is not None:
            self._memory.close()

    def union(self, n: int) -> UserMemory:
        """A memory that holds the dialogue and n filler turns. Raises AgentMemError."""
        return observed_union(self._run, self._session, n, self._observed)

    def _observed(self) -> UserMemory:
        if self._memory is None:
            self._memory = self._run.open()
            self._memory.observe(self._session)
        return self._memory


def observed_union(run: Run, dialogue: Session, n: int, observed: Callable[[], UserMemory]) -> UserMemory:
    """A memory that holds what `observed` made of the dialogue, and n filler turns after it. Raises AgentMemError."""
    fillers: UserMemory = run.once(f"fillers {n}", lambda: _observed_fillers(run, n))
    try:
        union = fillers.fork(run.folder / f"{dialogue.id.replace('/', '-')}-{n}")
        union.absorb(observed(), first=True)  # as the authors order them
    except UnsupportedError:
        return observed_in_order(run, dialogue, n)
    return union


def _observed_fillers(run: Run, n: int) -> UserMemory:
    """The memory of the fillers alone, made once a process."""
    memory = Guarded(run.system.open(run.shared_folder / f"fillers{n}"), run.system.name)
    memory.observe(_fillers(run, n))
    with contextlib.suppress(UnsupportedError):
        memory.search("index", 1)  # searched once, so that the copies need not index the fillers
    return memory


def observed_in_order(run: Run, dialogue: Session, n: int) -> UserMemory:
    """A memory that has observed the dialogue and then n filler turns, as the authors order them."""
    memory = run.open()
    memory.observe(dialogue)
    memory.observe(_fillers(run, n))
    return memory


def _fillers(run: Run, n: int) -> Session:
    return filler_session(run.once("filler messages", lambda: load_fillers(run.settings)), n)


def _exact(run: Run, pair: Pair, case: Case, union: Mapping[str, Score]) -> dict[str, Score]:
    """recall@5 of the exact run with the most fillers, and how much higher the union's is."""
    n, form = max(FILLERS), case.input.form
    exact, gap = f"recall@5_{form}_{n}_exact", f"union_gap_{form}_{n}"

    def score() -> dict[str, Score]:
        memory = observed_in_order(run, pair.dialogues[form], n)
        value = found_any(unique_sources(memory.search(case.input.question, DEPTH), K), case.gold)
        memory.close()
        other = union[f"recall@5_{form}_{n}"]
        if other.value is None:
            return {exact: Score(value=value), gap: Score(value=None, reason=other.reason)}
        return {exact: Score(value=value), gap: Score(value=other.value - value)}

    return scored([exact, gap], score)


def _unit(pair: Pair) -> Unit:
    cases = tuple(
        Case(
            id=f"{pair.id}/{form}",
            group=pair.id,
            stratum=form,
            input=Asked(form=form, question=pair.question),
            gold=tuple(Source(session=pair.dialogues[form].id, turn=turn) for turn in pair.keys[form]),
        )
        for form in FORMS
    )
    return Unit(id=pair.id, cases=cases, history=pair)


def _marked(case: Case) -> Case:
    return case.model_copy(update={"input": case.input.model_copy(update={"exact": True})})
