"""LongMemEval: finding the sessions that answer a question, among dozens to hundreds of a user's sessions."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime

from agentmem.errors import SessionError
from agentmem.memory import Value
from agentmem.session import Session, make_session
from eval.errors import DataError
from eval.harness import Benchmark, Run, scored
from eval.metrics import unique_sessions
from eval.reading import Row, find_layout, read_json
from eval.settings import Settings
from eval.systems import UserMemory
from eval.values import Case, Outcome, Score, Unit

LAYOUTS = {
    "s": "longmemeval_s*.json",
    "m": "longmemeval_m*.json",
    "oracle": "longmemeval_oracle*.json",
    "ours": "one_instance.json",
}
"""The first of these that is there is read."""

CUTS = (5, 10)
HITS = (50, 200, 1000)
"""Hits asked for, one after the other, until they rest on 10 distinct sessions."""


class Haystack(Value):
    """The sessions of one question, in the order of their dates."""

    sessions: tuple[Session, ...]
    """With ids of our own: a session may be there twice."""
    names: dict[str, str]
    """The haystack's own id of each session, by ours."""


class LongMemEval(Benchmark):
    """A session is found when a hit rests on any of its turns, the user's or the assistant's.

    As officially, abstention questions and those that no user turn answers are left out. The authors index single user
    turns, of an answering session only those that hold the answer count for it, and the rest as another session;
    here, as in their index of whole sessions, every turn stands for its session.
    """

    name = "longmemeval"
    about = (
        "sessions that answer a question among about 50 (S) or 500 (M): recall_any, recall_all, ndcg_any at 5 and 10"
    )
    source = (
        "Get longmemeval_s.json (or _m, _oracle, _s_cleaned) from huggingface.co/datasets/xiaowu0162/longmemeval (MIT)."
    )
    folder = "longmemeval"
    metrics = ("recall@5", *(f"{name}@{k}" for k in CUTS for name in ("recall_any", "recall_all", "ndcg_any")))

    def load(self, settings: Settings) -> list[Unit]:
        """One unit and one case a question, stratified by its type."""
        layout, home = find_layout(settings.data, LAYOUTS, self.source, self.folder)
        path = sorted(home.glob(LAYOUTS[layout]))[0]
        values = read_json(path, self.source)
        if not isinstance(values, list):
            raise DataError(f"{path}: not a list of questions")
        units = [_unit(Row(value, f"{path}: [{place}]")) for place, value in enumerate(values)]
        return [unit for unit in units if "_abs" not in unit.id and unit.cases[0].gold]

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        """Observe the haystack, then ask."""
        memory = run.open()
        for session in unit.history.sessions:
            memory.observe(session)
        for case in unit.cases:
            found: list[str] = []
            scores = scored(self.metrics, lambda case=case, found=found: _scores(memory, unit.history, case, found))
            by_type = {f"{name}_{case.stratum}": score for name, score in scores.items() if name != "recall@5"}
            yield Outcome(
                case=case.id,
                group=case.group,
                scores=scores | by_type,
                detail={"question": case.input, "gold": case.gold, "found": found},
            )
        memory.close()


def ndcg_any(found: Sequence[str], gold: Collection[str], k: int) -> float:
    """Normalised discounted cumulative gain, where the second place counts as much as the first.

    That is the authors' form (src/retrieval/eval_utils.py): a hit at place i counts 1 / log2(i), the first one 1.
    """
    best = sum(_discount(place) for place in range(1, min(k, len(set(gold))) + 1))
    return sum(_discount(place) for place, one in enumerate(found[:k], start=1) if one in gold) / best


def _discount(place: int) -> float:
    return 1.0 if place == 1 else 1 / math.log2(place)


def _scores(memory: UserMemory, haystack: Haystack, case: Case, found: list[str]) -> dict[str, Score]:
    """The scores of one question; the sessions found are put into `found`."""
    ids: list[str] = []
    for hits in HITS:
        ids = unique_sessions(memory.search(case.input, hits))
        if len(ids) >= max(CUTS) or hits >= sum(len(session.messages) for session in haystack.sessions):
            break
    found += list(dict.fromkeys(haystack.names[id] for id in ids))[: max(CUTS)]
    gold = set(case.gold)
    values: dict[str, float] = {}
    for k in CUTS:
        values[f"recall_any@{k}"] = float(bool(gold & set(found[:k])))
        values[f"recall_all@{k}"] = float(gold <= set(found[:k]))
        values[f"ndcg_any@{k}"] = ndcg_any(found, gold, k)
    values["recall@5"] = values["recall_any@5"]
    return {name: Score(value=value) for name, value in values.items()}


# -- reading --------------------------------------------------------------------------------------------------------


def _unit(row: Row) -> Unit:
    id = row.get("question_id", type=str)
    haystack, answering = _haystack(row)
    case = Case(
        id=id,
        group=id,
        stratum=row.get("question_type", type=str).replace("-", "_"),
        input=row.get("question", type=str),
        gold=answering,
    )
    return Unit(id=id, cases=(case,), history=haystack)


def _haystack(row: Row) -> tuple[Haystack, list[str]]:
    """The sessions, and the ids of those in which a turn of the user's answers."""
    names, dates = row.texts("haystack_session_ids"), row.texts("haystack_dates")
    talks, wanted = row.get("haystack_sessions", type=list), row.texts("answer_session_ids")
    if not len(names) == len(dates) == len(talks):
        raise DataError(f"{row.where}: {len(names)} session ids, {len(dates)} dates and {len(talks)} sessions")
    said: list[tuple[datetime, str, Session]] = []
    answering: list[str] = []
    for place, (name, day, talk) in enumerate(zip(names, dates, talks, strict=True)):
        where = f"{row.where}: haystack_sessions[{place}]"
        if not isinstance(talk, list):
            raise DataError(f"{where}: a {type(talk).__name__}, not a list of messages")
        turns = [Row(turn, f"{where}[{number}]") for number, turn in enumerate(talk)]
        if name in wanted and any(_answers(turn) for turn in turns):
            answering.append(name)
        if turns:
            at = _time(day, f"{row.where}: haystack_dates[{place}]")
            said.append((at, name, _session(turns, f"s{place:03}", at.date(), where)))
    said.sort(key=lambda one: one[0])
    names_of = {session.id: name for _, name, session in said}
    return Haystack(sessions=tuple(session for _, _, session in said), names=names_of), sorted(set(answering))


def _answers(turn: Row) -> bool:
    return turn.get("role", type=str) == "user" and turn.value.get("has_answer") is True


def _session(turns: Sequence[Row], id: str, day: date, where: str) -> Session:
    messages = [{"role": turn.get("role", type=str), "content": turn.get("content", type=str)} for turn in turns]
    try:
        return make_session(messages, id=id, date=day)
    except SessionError as error:
        raise DataError(f"{where}: {error}") from error


def _time(text: str, where: str) -> datetime:
    """The time of "2023/05/20 (Sat) 02:21"."""
    try:
        day, _, hour = text.split()
        return datetime.strptime(f"{day} {hour}", "%Y/%m/%d %H:%M")
    except ValueError:
        raise DataError(f"{where}: {text!r} is no time of the form '2023/05/20 (Sat) 02:21'") from None
