"""tiny: eight made-up users, written for agentmem. For trying a system, not for comparing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from agentmem.memory import Source, full_text
from agentmem.route import count_tokens
from agentmem.session import Session, make_session
from agentmem.train.measures import held
from eval.errors import UnsupportedError
from eval.harness import Benchmark, Run, scored
from eval.metrics import recall, unique_sources, within
from eval.reading import Row, read_jsonl
from eval.settings import Settings
from eval.systems import UserMemory
from eval.values import Case, Outcome, Score, Unit

CHATTER = "chatter"
"""The first record of the file: conversations with nothing to remember, which every user has after the own ones."""

FILE = Path(__file__).parent.parent / "data" / "tiny.jsonl"


class Tiny(Benchmark):
    """recall@5: the message that answers is among the first five found; value_recall: the active memory says the value.

    memory_tokens is what that memory costs, and false_memories what it should not have kept: whoever keeps everything
    remembers every value.
    """

    name = "tiny"
    about = "whether the telling message is found, and what it says is remembered; eight made-up users"
    source = "Ships with agentmem (eval/data/tiny.jsonl), Apache-2.0; --data may name another file of this form."
    metrics = ("recall@5", "value_recall", "memory_tokens", "false_memories")

    def load(self, settings: Settings) -> list[Unit]:
        """One unit a user."""
        path = settings.data if settings.data.is_file() else FILE
        chatter, *users = read_jsonl(path, self.source)
        return [_unit(row, chatter) for row in users]

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        """Observe the user's conversations, then ask each question."""
        memory = run.open()
        for session in unit.history:
            memory.observe(session)
        wrong = scored(["false_memories"], lambda: _false_memories(memory, unit.history))
        for place, case in enumerate(unit.cases):
            outcome = _outcome(case, memory, run.settings.budget)
            # a rate of the user: counted once, with the first question
            yield outcome if place else outcome.model_copy(update={"scores": outcome.scores | wrong})
        memory.close()


def _outcome(case: Case, memory: UserMemory, budget: int) -> Outcome:
    value, turns = case.gold
    found: list[Source] = []

    def search() -> dict[str, Score]:
        found.extend(unique_sources(memory.search(case.input, 20), 5))
        return {"recall@5": Score(value=recall(found, turns, 5))}

    def read() -> dict[str, Score]:
        active = within(memory.memories(), budget)
        tokens = sum(count_tokens(full_text(one)) for one in active)
        return {"value_recall": Score(value=float(held(active, value))), "memory_tokens": Score(value=tokens)}

    return Outcome(
        case=case.id,
        group=case.group,
        scores={**scored(["recall@5"], search), **scored(["value_recall", "memory_tokens"], read)},
        detail={"question": case.input, "gold": value, "found": [f"{one.session}#{one.turn}" for one in found]},
    )


def _false_memories(memory: UserMemory, talks: Sequence[Session]) -> dict[str, Score]:
    """Memories that rest on the chatter, in which there is nothing to remember, per 100 user turns of it."""
    ids = {session.id for session in talks if session.id.startswith(CHATTER)}
    turns = sum(message.role == "user" for session in talks if session.id in ids for message in session.messages)
    written = memory.memories()
    if any(not one.evidence for one in written):
        raise UnsupportedError(f"{memory.name} does not say what its memories rest on")
    wrong = [one for one in written if any(evidence.session in ids for evidence in one.evidence)]
    return {"false_memories": Score(value=len(wrong), weight=turns / 100)}


def _unit(row: Row, chatter: Row) -> Unit:
    id = row.get("id", type=str)
    cases = [
        Case(
            id=question.get("id", type=str),
            group=id,
            input=question.get("question", type=str),
            gold=(question.get("value", type=str), [_source(turn) for turn in question.texts("turns")]),
        )
        for question in row.rows("questions")
    ]
    return Unit(
        id=id,
        cases=tuple(cases),
        history=[_session(session) for one in (row, chatter) for session in one.rows("sessions")],
    )


def _session(row: Row) -> Session:
    return make_session(
        row.get("turns", type=list), id=row.get("id", type=str), date=date.fromisoformat(row.get("date", type=str))
    )


def _source(turn: str) -> Source:
    session, _, number = turn.rpartition("#")
    return Source(session=session, turn=int(number))
