"""STALE-Chain: an attribute of the user that changes three to five times, and what a memory makes of the changes."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

from agentmem.errors import AgentMemError
from agentmem.memory import Memory, Value, full_text
from agentmem.route import MESSAGE_TOKENS, count_tokens
from agentmem.session import Message, Session
from eval.errors import DataError
from eval.harness import Benchmark, Run, scored
from eval.metrics import within
from eval.reading import Row, find_layout, read_json, read_jsonl
from eval.settings import Settings
from eval.systems import UserMemory
from eval.values import Case, Outcome, Score, Unit, unscored

LAYOUTS = {"ours": "chains.jsonl", "repository": "data/stale_chain_*.json", "data": "stale_chain_*.json"}
"""Our file; the authors' repository; its folder data alone."""

PARTS = ("full", "confirm")
"""The authors' two files of chains."""

LABELS = Path(__file__).with_name("stale_labels.json")

OF_MEMORY = ("current_active", "stale_closed", "chain_correct", "memory_tokens")
OF_SEARCH = ("point_in_time", "premise", "current_rank1")
_QUERIES = {
    "ours": {"current": "current", "premise": "premise_mid", "point_in_time": "point_in_time"},
    "upstream": {"current": "dim1_current", "premise": "dim2_premise_mid", "point_in_time": "dim4_point_in_time"},
}
"""The names of the queries in both layouts. Trajectories need a judge, and are not asked."""

_TURN = re.compile(r"\{'role': '(user|assistant)', 'content': (['\"])(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)


class State(Value):
    """A value of the chain and the day on which the user says it."""

    value: str
    date: date


class Gold(Value):
    """What is right about one chain."""

    chain: tuple[State, ...]
    """In order; the last one is true at the end."""
    answers: dict[str, str]
    """The value that each query asks for."""
    lasting: tuple[tuple[int, int], ...]
    """Session and turn of what was labelled as lasting and unrelated; empty for most chains."""


class Query(Value):
    """A question, as of a day if it names one."""

    text: str
    at: date | None = None


class Stale(Benchmark):
    """A chain is a unit and a case. Chains of one slot tell similar stories, so the bootstrap draws whole slots.

    What is current is read from the written memory, without a judge. Controls:
    store-everything (bm25, or any other baseline, keeps every user turn active) and close-everything.
    """

    name = "stale"
    about = "an attribute that changes: the last value active and the earlier ones closed, nothing else closed"
    source = (
        "Get data/stale_chain_full.json and data/stale_chain_confirm.json from github.com/jeremyz12/qvf_withcontroller "
        "(the file states CC BY 4.0; the repository has no licence file)."
    )
    folder = "stale_chain"
    metrics = OF_MEMORY + OF_SEARCH

    def load(self, settings: Settings) -> list[Unit]:
        """One unit a chain, in the order of the files."""
        layout, home = find_layout(settings.data, LAYOUTS, self.source, self.folder)
        labels = _labels()
        if layout == "ours":
            rows = read_jsonl(home / "chains.jsonl", self.source)
            return [_unit(row, labels, "ours") for row in rows]
        folder = home / "data" if layout == "repository" else home
        files = [path for part in PARTS if (path := folder / f"stale_chain_{part}.json").is_file()]
        if not files:
            raise DataError(f"{folder}: none of stale_chain_{{{','.join(PARTS)}}}.json is there. {self.source}")
        return [_unit(row, labels, "upstream") for path in files for row in _list(path, self.source)]

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        """Observe the sessions in the order of their dates, then look at the memory and ask the queries."""
        case = unit.cases[0]
        names = OF_MEMORY + OF_SEARCH + (("overclosed",) if case.gold.lasting else ())
        detail: dict[str, Any] = {"chain": [f"{state.date} {state.value}" for state in case.gold.chain]}
        memory = run.open()
        try:
            for session in unit.history:
                memory.observe(session)
        except AgentMemError as error:
            yield Outcome(
                case=case.id,
                group=case.group,
                scores=unscored(names, str(error), retry=True),
                detail={"error": str(error)},
            )
            return
        of_memory = OF_MEMORY + (("overclosed",) if case.gold.lasting else ())
        scores = scored(of_memory, lambda: _of_memory(memory.memories(), case.gold, run.settings.budget, detail))
        for name, query in case.input.items():
            metric = "current_rank1" if name == "current" else name
            scores |= scored(
                (metric,), lambda m=metric, n=name, q=query: {m: _rank1(memory, q, case.gold.answers[n], detail, n)}
            )
        memory.close()
        yield Outcome(case=case.id, group=case.group, scores=scores, detail=detail)


# -- scoring --------------------------------------------------------------------------------------------------------


def says_value(text: str, value: str) -> bool:
    """Whether a value stands in a text as whole words.

    The case counts where the value is one word that begins with a capital letter: "Go" is a language, "go" is not.
    (One value of the data's 297, a mobile carrier, is written only in lower case by its user: it is told by memories
    that spell it as a name.)
    """
    pattern = r"\s+".join(re.escape(word) for word in value.split())
    exact = len(value.split()) == 1 and value[:1].isupper()
    return re.search(rf"(?<!\w){pattern}(?!\w)", text, 0 if exact else re.IGNORECASE) is not None


def state_of(text: str, chain: Sequence[State]) -> int | None:
    """Which value of the chain a text tells: the last one it says. "Moved from Ruby to Go" tells Go."""
    said = [place for place, state in enumerate(chain) if says_value(text, state.value)]
    return max(said, default=None)


def chain_scores(memories: Sequence[Memory], chain: Sequence[State], budget: int) -> dict[str, Score]:
    """current_active, stale_closed and chain_correct of one chain.

    - current_active: an active memory tells the last value, among those that fit into `budget` tokens.
    - stale_closed: the share of the earlier values that were stored and are closed: none of the memories that tell
      the value is active, and the last of them was closed on or after the day of the next value (earlier means it
      was closed by mistake). A value that was never stored is a miss. Values of all chains count alike.
    - chain_correct: the last value is active and all earlier ones are closed in this sense.

    Args:
        memories: all, active and closed.
        chain: the values in order.
        budget: tokens.
    """
    shown = [state_of(full_text(memory), chain) for memory in within(memories, budget)]
    current = len(chain) - 1 in shown
    telling: dict[int, list[Memory]] = {}
    for memory in memories:
        place = state_of(full_text(memory), chain)
        if place is not None:
            telling.setdefault(place, []).append(memory)
    earlier = len(chain) - 1
    closed = sum(_closed_in_time(telling.get(place, []), chain[place + 1].date) for place in range(earlier))
    return {
        "current_active": Score(value=float(current)),
        "stale_closed": Score(value=closed, weight=earlier),
        "chain_correct": Score(value=float(current and closed == earlier)),
    }


def _closed_in_time(memories: Sequence[Memory], successor: date) -> bool:
    """Whether there are any, none is active, and the last one was closed on or after `successor`."""
    ends = [memory.invalid_at for memory in memories]
    return bool(ends) and None not in ends and max(end for end in ends if end) >= successor


def overclosed(memories: Sequence[Memory], lasting: Iterable[tuple[int, int]]) -> Score:
    """The share of the memories resting on labelled turns that were closed though nothing ended them.

    A closed memory that a later one has taken over (two were merged, one was reworded) is not lost and does not count
    as closed: an active memory rests on all of its evidence, and on more or since the closing. Chains of a run count by
    their memories. Unscored where no memory rests on such a turn, as of a system that gives no evidence.

    Args:
        memories: all, active and closed.
        lasting: session and turn of the labelled turns.
    """
    labelled = {(session_id(session), turn) for session, turn in lasting}
    resting = [one for one in memories if labelled & {(said.session, said.turn) for said in one.evidence}]
    if not resting:
        return Score(value=None, reason="no memory rests on a labelled turn")
    lost = [one for one in resting if one.status == "closed" and not any(_took_over(other, one) for other in memories)]
    return Score(value=len(lost), weight=len(resting))


def _took_over(new: Memory, old: Memory) -> bool:
    """Whether an active memory holds what a closed one rested on, since its closing or with more evidence."""
    if new.status != "active" or not set(old.evidence) <= set(new.evidence):
        return False
    later = bool(new.valid_at and old.invalid_at and new.valid_at >= old.invalid_at)
    return later or len(set(new.evidence)) > len(set(old.evidence))


def _of_memory(memories: Sequence[Memory], gold: Gold, budget: int, detail: dict[str, Any]) -> dict[str, Score]:
    active = [full_text(memory) for memory in memories if memory.status == "active"]
    tokens = sum(count_tokens(text) + MESSAGE_TOKENS for text in active)
    scores = chain_scores(memories, gold.chain, budget) | {"memory_tokens": Score(value=tokens)}
    if gold.lasting:
        scores["overclosed"] = overclosed(memories, gold.lasting)
    detail["memories"] = [
        f"{memory.valid_at} to {memory.invalid_at or 'now'}: {full_text(memory)[:160]}"
        for memory in memories
        if state_of(full_text(memory), gold.chain) is not None
    ]
    return scores


def _rank1(memory: UserMemory, query: Query, answer: str, detail: dict[str, Any], name: str) -> Score:
    """1 when the first hit says the right value."""
    hits = memory.search(query.text, 1, at=query.at)
    detail[name] = {"query": query.text, "gold": answer, "found": [f"{hit.kind}: {hit.text[:200]}" for hit in hits]}
    return Score(value=float(any(says_value(hit.text, answer) for hit in hits)))


# -- reading --------------------------------------------------------------------------------------------------------


def session_id(place: int) -> str:
    """Id of the session at a place, counted from 0."""
    return f"s{place:02}"


def _unit(row: Row, labels: Mapping[str, Sequence[tuple[int, int]]], layout: Literal["ours", "upstream"]) -> Unit:
    id = row.get("id" if layout == "ours" else "uid", type=str)
    chain = tuple(State(value=one.get("value", type=str), date=_day(one)) for one in row.rows("chain"))
    if len(chain) < 2:
        raise DataError(f"{row.where}: field chain has {len(chain)} values, not two or more")
    asked = row.row("queries" if layout == "ours" else "probing_queries")
    queries = {name: asked.row(own) for name, own in _QUERIES[layout].items() if asked.has(own)}
    history = sorted(enumerate(row.rows("sessions")), key=lambda one: (_day(one[1]), one[0]))
    case = Case(
        id=id,
        group=row.get("slot", type=str),
        always=bool(labels.get(id)),  # what was wrongly closed is read beside what was rightly closed
        stratum=id.rpartition("-")[0].rstrip("0123456789"),
        input={
            name: Query(text=query.get("q", type=str), at=_day(query) if name == "point_in_time" else None)
            for name, query in queries.items()
        },
        gold=Gold(
            chain=chain,
            answers={name: query.get("gold", type=str) for name, query in queries.items()},
            lasting=tuple(labels.get(id, ())),
        ),
    )
    return Unit(id=id, cases=(case,), history=tuple(_session(place, one) for place, one in history))


def _session(place: int, row: Row) -> Session:
    turns = [_turn(turn, f"{row.where}: turns[{number}]") for number, turn in enumerate(row.get("turns", type=list))]
    return Session(id=session_id(place), date=_day(row), messages=tuple(turns))


def _turn(turn: Any, where: str) -> Message:
    """A turn of either layout.

    Upstream a turn of a chain's own session is the user's bare text, and a filler turn is the text of a Python
    dictionary that was cut at 400 characters.
    """
    if not isinstance(turn, str):
        row = Row(turn, where)
        role = row.get("role", type=str)
        if role not in ("user", "assistant"):
            raise DataError(f"{where}: field role is {json.dumps(role)}, neither user nor assistant")
        return Message(role=role, content=row.get("content", type=str))
    found = _TURN.fullmatch(turn)
    if found is None:
        return Message(role="user", content=turn)
    quote, content = found[2], found[3].removesuffix(f"{found[2]}}}")
    whole = content != found[3]
    return Message(role="user" if found[1] == "user" else "assistant", content=_unescaped(content, quote, whole))


def _unescaped(content: str, quote: str, whole: bool) -> str:
    """The text between the quotes of a Python literal; an escape that the cut went through is dropped."""
    if not whole:
        content = re.sub(r"(?<!\\)((?:\\\\)*)\\(?:x[0-9a-fA-F]?|u[0-9a-fA-F]{0,3}|U[0-9a-fA-F]{0,7})?$", r"\1", content)
    return _ESCAPE.sub(lambda escape: str(ast.literal_eval(f"'{escape[0]}'")), content)


def _day(row: Row) -> date:
    text = row.get("date", type=str)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise DataError(f"{row.where}: field date is {json.dumps(text)}, not like 2025-01-18") from None


def _labels() -> dict[str, list[tuple[int, int]]]:
    """By chain, session and turn of what is lasting; made by hand, see the note in the file."""
    turns = json.loads(LABELS.read_text("utf-8"))["turns"]
    return {chain: [(session, turn) for session, turn in own] for chain, own in turns.items()}


def _list(path: Path, source: str) -> list[Row]:
    values = read_json(path, source)
    if not isinstance(values, list):
        raise DataError(f"{path}: not a list of chains")
    return [Row(value, f"{path}: [{place}]") for place, value in enumerate(values)]
