"""prefeval-implicit: whether what is written of a dialogue identifies the preference that it only implies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from agentmem.memory import Memory, Value, full_text
from agentmem.models.embed import Embedder, Remembering, get_embedder
from agentmem.session import Session
from eval.benchmarks import prefeval
from eval.benchmarks.prefeval import Form, Pair, load_filler_conversations, load_pairs
from eval.harness import Benchmark, Run, scored
from eval.metrics import first_said
from eval.settings import Settings
from eval.systems import UserMemory
from eval.values import Case, Outcome, Score, Unit

IMPLICIT: tuple[Form, ...] = ("choice", "persona")

MOST = 3
"""Memories of a dialogue that are looked at: whoever writes down everything would be right by number alone."""

FILLERS = "fillers"
"""The unit of the filler conversations."""


class Wanted(Value):
    """The gold of a case."""

    preference: str
    topic: str


class PrefEvalImplicit(Benchmark):
    """identification@1 and mrr: the preference is ranked among all of its topic by what was written of the dialogue.

    A candidate's score is the best cosine with any of the memories' texts, conditions included and quotes not, by
    all-MiniLM-L6-v2 whatever embedder the system has. Of a dialogue at most the 3 active memories with the highest
    confidence count, of equals the older ones. A preference that another of the topic ties with ranks behind it. A
    dialogue of which nothing was written is a miss: 0 in both.

    Beside them, by the same measure and for every system alike: ceiling, with the data's own `explanation` as the
    memory (a reference: the preference itself would score 1), and control, with the user's own turn as the memory: the
    selection of a choice dialogue, the best turn of a persona dialogue.

    false_memories counts what the same system writes of filler conversations, each observed from empty, per 100 user
    turns: whoever writes nothing has none, whoever writes everything identifies much. Read it with the others. Their
    cases are in every run, beyond the limit.
    """

    name = "prefeval-implicit"
    about = "whether the memory written of a dialogue tells the implied preference from the others of its topic"
    source = prefeval.SOURCE
    folder = prefeval.FOLDER
    metrics = ()  # a case has those of its form: see `_names`

    def load(self, settings: Settings) -> list[Unit]:
        """One unit, and one case, a dialogue; and one unit of the filler conversations, one case each."""
        dialogues = [_unit(pair, form) for pair in load_pairs(settings) for form in IMPLICIT]
        return [*dialogues, _fillers(settings)]

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        """Observe the dialogue from empty, and rank the preferences by what was written."""
        for case in unit.cases:
            yield _false_memories(case, run) if unit.id == FILLERS else _identified(unit.history, case, run)


# -- the dialogues --------------------------------------------------------------------------------------------------


def _identified(pair: Pair, case: Case, run: Run) -> Outcome:
    form: Form = case.input
    gold: Wanted = case.gold
    candidates = _topics(run)[gold.topic]
    embedder: Embedder = run.once("the fixed MiniLM", lambda: Remembering(get_embedder("minilm"), size=100_000))
    detail: dict[str, Any] = {"gold": gold.preference}

    def score(prefix: str, texts: Sequence[str]) -> dict[str, Score]:
        rank = rank_of(gold.preference, candidates, texts, embedder)
        detail[f"{prefix}rank"] = rank
        return dict(zip(_names(prefix, form), _by_rank(rank), strict=True))

    def memory() -> dict[str, Score]:
        texts = [full_text(one) for one in foremost(_written(run, pair.dialogues[form]))]
        detail["memories"] = texts
        return score("", texts)

    said = [pair.dialogues[form].messages[turn].content for turn in pair.keys[form]]
    scores = scored(_names("", form), memory)
    scores |= scored(_names("ceiling", form), lambda: score("ceiling", [pair.explanation]))
    scores |= scored(_names("control", form), lambda: score("control", said))
    return Outcome(case=case.id, group=case.group, scores=scores, detail=detail)


def _names(prefix: str, form: Form) -> list[str]:
    """The names of identification and reciprocal rank: of the memory, the ceiling or the control."""
    return [f"{prefix}@1_{form}", f"{prefix}_mrr_{form}"] if prefix else [f"identification@1_{form}", f"mrr_{form}"]


def rank_of(gold: str, candidates: Sequence[str], texts: Sequence[str], embedder: Embedder) -> int | None:
    """The rank of `gold` among the candidates by their best cosine with any text; None without a text.

    Args:
        gold: one of the candidates.
        candidates: distinct.
        texts: what was written.
        embedder: fixed, so that systems are compared by their texts alone.
    """
    if not texts:
        return None
    cosine_TC = embedder.encode(texts) @ embedder.encode(candidates).T
    best_C = np.round(cosine_TC.max(0), 6)  # equal texts have equal cosines, whatever the batch they were embedded in
    return int((best_C >= best_C[candidates.index(gold)]).sum())


def _by_rank(rank: int | None) -> tuple[Score, Score]:
    """Whether it is the first, and the reciprocal rank; 0 where there is none."""
    return Score(value=float(rank == 1)), Score(value=1 / rank if rank else 0.0)


def foremost(memories: Sequence[Memory]) -> list[Memory]:
    """The active memories that count: the most confident, of equals those that were said first."""
    active = [memory for memory in memories if memory.status == "active"]
    return sorted(active, key=lambda memory: (-memory.confidence, first_said(memory)))[:MOST]


def _written(run: Run, session: Session) -> Sequence[Memory]:
    memory: UserMemory = run.open()
    memory.observe(session)
    written = memory.memories()
    memory.close()
    return written


def _topics(run: Run) -> dict[str, list[str]]:
    """The distinct preferences of each topic, in the order of the data."""

    def read() -> dict[str, list[str]]:
        topics: dict[str, dict[str, None]] = {}
        for pair in load_pairs(run.settings):
            topics.setdefault(pair.topic, {})[pair.preference] = None
        return {topic: list(own) for topic, own in topics.items()}

    return run.once("the preferences of each topic", read)


def _unit(pair: Pair, form: Form) -> Unit:
    """A unit of its own for each form: shuffled golds then come from other pairs."""
    case = Case(
        id=f"{pair.id}/{form}",
        group=pair.id,
        stratum=form,
        input=form,
        gold=Wanted(preference=pair.preference, topic=pair.topic),
    )
    return Unit(id=case.id, cases=(case,), history=pair)


# -- the fillers ----------------------------------------------------------------------------------------------------


def _false_memories(case: Case, run: Run) -> Outcome:
    session: Session = case.input
    detail: dict[str, Any] = {}
    turns = sum(message.role == "user" for message in session.messages)

    def count() -> dict[str, Score]:
        written = _written(run, session)
        detail["memories"] = [full_text(memory) for memory in written]
        return {"false_memories": Score(value=len(written), weight=turns / 100)}

    scores = scored(["false_memories"], count)
    return Outcome(case=case.id, group=case.group, scores=scores, detail=detail)


def _fillers(settings: Settings) -> Unit:
    talks = [
        Session(id=f"{FILLERS}/{place:02}", messages=messages)
        for place, messages in enumerate(load_filler_conversations(settings))
    ]
    cases = tuple(Case(id=talk.id, group=talk.id, stratum=FILLERS, always=True, input=talk) for talk in talks)
    return Unit(id=FILLERS, cases=cases)
