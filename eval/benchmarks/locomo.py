"""LoCoMo: finding, in months of talk between two people, the messages that answer a question about them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime
from typing import Any

from agentmem.errors import AgentMemError
from agentmem.memory import HitKind, Source, Value
from agentmem.session import Message, Session
from eval.answers import Answer, ask
from eval.benchmarks.locomo_answers import ADVERSARIAL, answer_score
from eval.errors import DataError
from eval.harness import Benchmark, Run, scored
from eval.metrics import unique_sources
from eval.prompts import render
from eval.reading import Row, find_layout, read_json
from eval.settings import Settings
from eval.systems import BOTH, UserMemory
from eval.values import Case, Outcome, Score, Unit, unscored

LAYOUTS = {"upstream": "locomo10.json", "ours": "locomo_dev.json"}
"""The same form under two names."""

CATEGORIES = {1: "multi_hop", 2: "temporal", 3: "open_domain", 4: "single_hop", 5: "adversarial"}
CUTS = (5, 10, 25)
KINDS: dict[str, tuple[HitKind, ...]] = {"": BOTH, "_memory": ("memory",), "_turns": ("turn",)}
"""Suffix of a metric, and what its hits may be."""

RRF = 60
"""Constant of reciprocal rank fusion (Cormack, Clarke and Büttcher 2009)."""

HITS = 60
"""Hits asked of each speaker's memory: enough for 25 unique messages, since few memories share their evidence."""

MAX_TOKENS = 40
"""Longest answer of the reader: the authors ask for a short phrase."""


class Line(Value):
    """One message of a conversation."""

    id: str
    """The dia_id, which evidence names."""
    speaker: str
    text: str
    """With the caption of a shared picture in brackets."""


class Talk(Value):
    """One session of a conversation."""

    id: str
    date: date
    lines: tuple[Line, ...]


class Conversation(Value):
    """All that two people said to each other."""

    speakers: tuple[str, str]
    talks: tuple[Talk, ...]

    def seen_by(self, speaker: str) -> list[Session]:
        """The sessions as that speaker's assistant sees them: the speaker's own lines are the user's.

        The other's lines begin with the other's name, since questions name people; the user's own lines are left as
        they were said, since a memory reads them.
        """
        return [
            Session(
                id=talk.id,
                date=talk.date,
                messages=tuple(
                    Message(role="user", content=line.text)
                    if line.speaker == speaker
                    else Message(role="assistant", content=f"{line.speaker}: {line.text}")
                    for line in talk.lines
                ),
            )
            for talk in self.talks
        ]

    def line_of(self, source: Source) -> str:
        """The dia_id of a place in the sessions."""
        return next(talk for talk in self.talks if talk.id == source.session).lines[source.turn].id


class LoCoMo(Benchmark):
    """Each speaker is a user; what both memories find is merged by rank.

    As officially, evidence that is not in the conversation is never found, and a question without evidence counts 1.
    """

    name = "locomo"
    about = "messages that answer questions about two people (recall@k); with --generate also answers (f1, abstention)"
    source = "Get locomo10.json from github.com/snap-research/locomo, folder data (CC BY-NC 4.0)."
    folder = "locomo"
    metrics = tuple(f"recall@{k}{suffix}" for suffix in KINDS for k in CUTS)

    def load(self, settings: Settings) -> list[Unit]:
        """One unit, and one group, a conversation; one case a question, stratified by category."""
        layout, home = find_layout(settings.data, LAYOUTS, self.source, self.folder)
        path = home / LAYOUTS[layout]
        values = read_json(path, self.source)
        if not isinstance(values, list):
            raise DataError(f"{path}: not a list of conversations")
        return [_unit(Row(value, f"{path}: [{place}]")) for place, value in enumerate(values)]

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        """Observe the conversation once for each speaker, then ask every question of both."""
        conversation: Conversation = unit.history
        memories = [run.open() for _ in conversation.speakers]
        for memory, speaker in zip(memories, conversation.speakers, strict=True):
            for session in conversation.seen_by(speaker):
                memory.observe(session)
        for case in unit.cases:
            yield _outcome(conversation, memories, case, run)
        for memory in memories:
            memory.close()


# -- running and scoring --------------------------------------------------------------------------------------------


def fused(rankings: Sequence[Sequence[Source]]) -> list[Source]:
    """The places of all rankings, best first: the sum of 1 / (60 + rank) over the rankings that have a place."""
    scores: dict[Source, float] = {}
    for ranking in rankings:
        for rank, source in enumerate(ranking, start=1):
            scores[source] = scores.get(source, 0.0) + 1 / (RRF + rank)
    return sorted(scores, key=lambda source: -scores[source])  # stable: of two equals the first speaker's comes first


def evidence_recall(found: Sequence[str], evidence: Sequence[str], k: int) -> float:
    """Share of the evidence among the first k messages found; 1 without evidence, as officially."""
    if not evidence:
        return 1.0
    return sum(one in found[:k] for one in evidence) / len(evidence)


def _outcome(conversation: Conversation, memories: Sequence[UserMemory], case: Case, run: Run) -> Outcome:
    gold, category = case.gold, CATEGORIES[case.gold["category"]]
    detail: dict[str, Any] = {"question": case.input, "gold": gold}

    def recalled(suffix: str, kinds: Collection[HitKind]) -> dict[str, Score]:
        rankings = [unique_sources(memory.search(case.input, HITS, kinds=kinds)) for memory in memories]
        found = [conversation.line_of(source) for source in fused(rankings)[: max(CUTS)]]
        detail[f"found{suffix}"] = found
        return {f"recall@{k}{suffix}": Score(value=evidence_recall(found, gold["evidence"], k)) for k in CUTS}

    scores: dict[str, Score] = {}
    for suffix, kinds in KINDS.items():
        names = [f"recall@{k}{suffix}" for k in CUTS]
        scores |= scored(names, lambda suffix=suffix, kinds=kinds: recalled(suffix, kinds))
    scores |= {f"recall@{k}_{category}": scores[f"recall@{k}"] for k in CUTS}
    answer = Answer("", 0, 0)
    if run.settings.generate:
        name = "abstention" if gold["category"] == ADVERSARIAL else "f1"
        try:
            answer = _answer(conversation, memories, case.input, run)
            own = {name: Score(value=answer_score(answer.text, gold["answer"], gold["category"]))}
        except AgentMemError as error:
            own = unscored([name], str(error))
        scores |= own | ({f"f1_{category}": own[name]} if name == "f1" else {})
        detail["answer"] = answer.text
    return Outcome(
        case=case.id,
        group=case.group,
        scores=scores,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        detail=detail,
    )


def _answer(conversation: Conversation, memories: Sequence[UserMemory], question: str, run: Run) -> Answer:
    """What the reader answers from what both memories show, each within half of the budget."""
    contexts = [memory.context(question, budget=run.settings.budget // 2).text for memory in memories]
    shown = [
        f"# {speaker} and what was said to {speaker}\n\n{context}"
        for speaker, context in zip(conversation.speakers, contexts, strict=True)
    ]
    speakers = " and ".join(conversation.speakers)
    prompt = render("locomo_answer", memory="\n\n".join(shown), speakers=speakers, question=question)
    return ask(run, prompt, max_tokens=MAX_TOKENS)


# -- reading --------------------------------------------------------------------------------------------------------


def _unit(row: Row) -> Unit:
    id = row.get("sample_id", type=str)
    cases = tuple(_case(id, place, question) for place, question in enumerate(row.rows("qa")))
    return Unit(id=id, cases=cases, history=_conversation(row.row("conversation")))


def _case(group: str, place: int, row: Row) -> Case:
    category = row.get("category", type=int)
    if category not in CATEGORIES:
        raise DataError(f"{row.where}: field category is {category}, not one of {', '.join(map(str, CATEGORIES))}")
    if category != ADVERSARIAL and not row.has("answer"):
        raise DataError(f"{row.where}: field answer is missing")
    return Case(
        id=f"{group}#{place:03}",
        group=group,
        stratum=CATEGORIES[category],
        input=row.get("question", type=str),
        # some answers are numbers
        gold={"category": category, "evidence": row.texts("evidence"), "answer": str(row.value.get("answer", ""))},
    )


def _conversation(row: Row) -> Conversation:
    names = [name for name in row.value if re.fullmatch(r"session_\d+", name)]
    names.sort(key=lambda name: int(name.split("_")[1]))
    return Conversation(
        speakers=(row.get("speaker_a", type=str), row.get("speaker_b", type=str)),
        talks=tuple(
            Talk(
                id=name,
                date=_day(row.get(f"{name}_date_time", type=str), f"{row.where}: {name}_date_time"),
                lines=tuple(_line(line) for line in row.rows(name)),
            )
            for name in names
            if row.value[name]
        ),
    )


def _line(row: Row) -> Line:
    text = row.get("text", type=str)
    if row.has("blip_caption"):
        text = f"{text} [shares {row.get('blip_caption', type=str)}]".strip()
    return Line(id=row.get("dia_id", type=str), speaker=row.get("speaker", type=str), text=text)


def _day(text: str, where: str) -> date:
    """The day of "1:56 pm on 8 May, 2023"."""
    try:
        return datetime.strptime(text.rpartition(" on ")[2].strip(), "%d %B, %Y").date()
    except ValueError:
        raise DataError(f"{where}: {text!r} is no time of the form '1:56 pm on 8 May, 2023'") from None
