"""router: what an answer's prompt costs, and whether it tells what is needed, as the history grows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from agentmem.memory import Source
from agentmem.session import Session
from eval.benchmarks.locomo import Conversation, LoCoMo
from eval.benchmarks.prefeval import FORMS, SOURCE, filler_session, load_fillers, load_pairs
from eval.benchmarks.prefeval_retrieval import observed_union
from eval.errors import MissingDataError, UnsupportedError
from eval.harness import Benchmark, Run, scored
from eval.settings import Settings
from eval.systems import UserMemory
from eval.values import Case, Outcome, Score, Unit

FILLERS = (10, 30, 100, 300)
"""Filler turns after a preference dialogue."""

SESSIONS = (3, 6, 12, 19)
"""Sessions of a LoCoMo conversation, which have about 20 messages each."""


class Asked(NamedTuple):
    """One question, and what has to be known for it."""

    text: str
    needs: tuple[Source, ...]
    """Messages of the user; of a persona dialogue any one, of a LoCoMo question all."""
    any_of: bool
    last: int = 0
    """LoCoMo: sessions after which everything needed has been said."""


class Router(Benchmark):
    """told_N and tokens_N: whether the prompt of an answer tells what is needed, and what its memory part costs.

    Run with agentmem, which chooses how to read its memory, and with agentmem:full_history, agentmem:whole_memory and
    agentmem:retrieve, which always read it one way: the curves of a route against the size of the history. What is
    needed counts as told when the message itself is in the prompt, or a memory written of it. What a reader makes of a
    prompt is not measured here (prefeval-mcq does, and convomem has published accuracies); a full history tells
    everything, and a weak reader loses it in there.

    prefeval_N is after N filler turns (10 to 300), locomo_N after N sessions of some 20 messages.
    """

    name = "router"
    about = "tokens of the memory in a prompt, and whether it tells what is needed, by the size of the history"
    source = SOURCE
    metrics = ()  # a case has those of its data

    def load(self, settings: Settings) -> list[Unit]:
        """A unit a preference dialogue, and a unit a LoCoMo conversation; whichever data is there."""
        units: list[Unit] = []
        missing: list[MissingDataError] = []
        for part in (_prefeval, _locomo):
            try:
                units += part(settings)
            except MissingDataError as error:
                missing.append(error)
        if not units:
            raise missing[0]
        return units

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        """Ask for the prompt's memory at each size."""
        if isinstance(unit.history, Conversation):
            yield from _of_conversation(unit, run)
        else:
            for case in unit.cases:
                scores: dict[str, Score] = {}
                alone = run.open()
                alone.observe(unit.history)
                for n in FILLERS:
                    names = [f"told_prefeval_{n}", f"tokens_prefeval_{n}"]
                    scores |= scored(
                        names,
                        lambda case=case, n=n, names=names, alone=alone: _scores(
                            observed_union(run, unit.history, n, lambda: alone), [unit.history], case.input, names
                        ),
                    )
                alone.close()
                yield Outcome(case=case.id, group=case.group, scores=scores, detail={"question": case.input.text})


def _of_conversation(unit: Unit, run: Run) -> Iterator[Outcome]:
    """One memory that grows; every question that can be answered by then, at each size."""
    conversation: Conversation = unit.history
    sessions = conversation.seen_by(conversation.speakers[0])
    memory = run.open()
    found: dict[str, dict[str, Score]] = {case.id: {} for case in unit.cases}
    done = 0
    for size in SESSIONS:
        for session in sessions[done:size]:
            memory.observe(session)
        done = size
        names = [f"told_locomo_{size}", f"tokens_locomo_{size}"]
        for case in unit.cases:
            if case.input.last <= size <= len(sessions):
                found[case.id] |= scored(names, lambda c=case, names=names: _scores(memory, sessions, c.input, names))
    memory.close()
    for case in unit.cases:
        yield Outcome(case=case.id, group=case.group, scores=found[case.id], detail={"question": case.input.text})


def _scores(memory: UserMemory, sessions: Sequence[Session], asked: Asked, names: Sequence[str]) -> dict[str, Score]:
    context = memory.context(asked.text, budget=None)
    told = [_tells(context.text, memory, sessions, need) for need in asked.needs]
    value = float(any(told) if asked.any_of else all(told))
    return dict(zip(names, (Score(value=value), Score(value=context.tokens)), strict=True))


def _tells(text: str, memory: UserMemory, sessions: Sequence[Session], need: Source) -> bool:
    """Whether a prompt holds a message, or a memory that rests on it."""
    said = next(session for session in sessions if session.id == need.session).messages[need.turn].content
    if said in text:
        return True
    try:
        written = memory.memories()
    except UnsupportedError:
        return False
    return any(
        one.text in text and any((seen.session, seen.turn) == (need.session, need.turn) for seen in one.evidence)
        for one in written
    )


# -- loading ---------------------------------------------------------------------------------------------------------


def _prefeval(settings: Settings) -> list[Unit]:
    filler_session(load_fillers(settings), max(FILLERS))  # said now if there are too few
    return [
        Unit(
            id=f"{pair.id}/{form}",
            cases=(
                Case(
                    id=f"prefeval/{pair.id}/{form}",
                    group=pair.id,
                    stratum="prefeval",
                    input=Asked(
                        pair.question,
                        tuple(Source(session=pair.dialogues[form].id, turn=turn) for turn in pair.keys[form]),
                        any_of=True,
                    ),
                ),
            ),
            history=pair.dialogues[form],
        )
        for pair in load_pairs(settings)
        for form in FORMS
    ]


def _locomo(settings: Settings) -> list[Unit]:
    """Questions whose evidence the first speaker said: the memory is that speaker's."""
    units = []
    for unit in LoCoMo().load(settings):
        conversation: Conversation = unit.history
        sessions = conversation.seen_by(conversation.speakers[0])
        places = {
            line.id: (Source(session=talk.id, turn=turn), number)
            for number, talk in enumerate(conversation.talks, start=1)
            for turn, line in enumerate(talk.lines)
            if line.speaker == conversation.speakers[0]
        }
        cases = []
        for case in unit.cases:
            evidence = case.gold["evidence"]
            if evidence and all(line in places for line in evidence) and len(sessions) >= min(SESSIONS):
                needs, numbers = zip(*(places[line] for line in evidence), strict=True)
                asked = Asked(case.input, needs, any_of=False, last=max(numbers))
                cases.append(Case(id=f"locomo/{case.id}", group=unit.id, stratum="locomo", input=asked))
        if cases:
            units.append(Unit(id=f"locomo/{unit.id}", cases=tuple(cases), history=conversation))
    return units
