"""PersonaBench: personal facts scattered over a person's chats and purchases, found again and kept up to date."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from agentmem.errors import AgentMemError
from agentmem.memory import Memory, full_text, words
from agentmem.session import Message, Session
from eval.errors import DataError
from eval.harness import Benchmark, Run, scored
from eval.metrics import unique_sessions, within
from eval.reading import Row, find_layout, read_json
from eval.settings import Settings
from eval.systems import UserMemory
from eval.values import Case, Outcome, Score, Unit, unscored

LAYOUTS = {
    "ours": "*_noise*.json",
    "repository": "eval_data/eval_data_v1/synthetic_data/*/eval_info/eval_info_all.json",
    "data": "synthetic_data/*/eval_info/eval_info_all.json",
}
"""Our files, one a person and noise; the authors' repository; its folder eval_data_v1 alone."""

KINDS = ("conversation", "user_ai_interaction", "purchase_history")
"""The types of documents, which are also the names of their content."""

SUFFIXES = {0.5: "", 0.0: "_noise0"}
"""What the metrics of each noise level are called; the authors' other levels (0.3, 0.7) are not read."""

CUT = 5
"""Documents that are looked at, as in the paper."""
HITS = 40
"""Hits asked for, so that enough of them lie in different documents."""

_TIME = "%Y/%b/%d/%I:%M %p"


class Found(NamedTuple):
    """Official retrieval scores of a question."""

    recall: float
    ndcg: float


class PersonaBench(Benchmark):
    """Questions about one person at one noise level are a unit; a document is a session.

    Two retrieval metrics are the authors'. Two more look at the written memory: how many of the gold values it holds,
    and how many values it still holds that are no longer true.
    """

    name = "personabench"
    about = "personal facts in chats and purchases: documents found (recall@5, ndcg@5), values held, outdated ones left"
    source = (
        "Get the folder eval_data/eval_data_v1 from github.com/SalesforceAIResearch/personabench "
        "(CC BY-NC-SA 4.0, for research only)."
    )
    folder = "personabench"
    metrics = ("recall@5", "ndcg@5", "value_recall")
    counts = frozenset(f"outdated_active{suffix}" for suffix in SUFFIXES.values())

    def load(self, settings: Settings) -> list[Unit]:
        """A unit a person and noise level. `Subjective` questions are no cases, as officially."""
        layout, home = find_layout(settings.data, LAYOUTS, self.source, self.folder)
        if layout == "ours":
            return [unit for path in sorted(home.glob("*_noise*.json")) for unit in _ours(path, self.source)]
        root = home / "eval_data/eval_data_v1" if layout == "repository" else home
        communities = sorted(path for path in (root / "synthetic_data").iterdir() if (path / "eval_info").is_dir())
        return [unit for community in communities for unit in _upstream(community, self.source)]

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        """Observe the person's documents in the order of their times, then search for each question."""
        memory = run.open()
        try:
            for session in unit.history:
                memory.observe(session)
        except AgentMemError as error:
            for case in unit.cases:
                yield Outcome(
                    case=case.id,
                    group=case.group,
                    scores=_named(unscored(self.metrics, str(error), retry=True), case),
                    detail={"error": str(error)},
                )
            return
        for case in unit.cases:
            yield _outcome(memory, case, run)
        memory.close()


# -- scoring --------------------------------------------------------------------------------------------------------


def best_match(found: Sequence[str], gold: Mapping[str, Sequence[str]], k: int) -> Found:
    """Recall and NDCG at k, each at its best over all choices of one gold document a value.

    As the authors' scripts/evaluation/eval.py: a document that was chosen for two values counts once, and each of
    the two scores has a best choice of its own. Equal to trying every choice, but those that cannot matter are left
    out: a document that is neither found nor good for another value is as good as any other such document, and
    worse than one that was found.

    Args:
        found: documents, best first.
        gold: by value, the documents that tell it.
        k: how many of the found are looked at.
    """
    ranks = {document: rank for rank, document in reversed(list(enumerate(found[:k], start=1)))}
    uses = Counter(document for documents in gold.values() for document in set(documents))
    chosen: set[frozenset[str]] = {frozenset()}
    for documents in gold.values():
        options = {document for document in documents if document in ranks or uses[document] > 1}
        if not options & ranks.keys():
            options |= set(sorted(document for document in documents if uses[document] == 1)[:1])
        chosen = {before | {document} for before in chosen for document in options}
    choices = [choice for choice in chosen if choice]
    if not choices:  # a value without documents leaves nothing to choose
        return Found(0.0, 0.0)
    return Found(
        max(len(choice & ranks.keys()) / len(choice) for choice in choices),
        max(_ndcg([ranks[document] for document in choice & ranks.keys()], len(choice), k) for choice in choices),
    )


def _ndcg(ranks: Iterable[int], wanted: int, k: int) -> float:
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, wanted) + 1))
    return sum(1 / math.log2(rank + 1) for rank in ranks) / best


def tells(memory: Memory, value: Sequence[str]) -> bool:
    """Whether the text of a memory (not its quotes) tells a gold value.

    The value's words stand in it one after the other, as whole words. Case and punctuation do not count, nor does a
    last "s" of a word: "salads" tells "salad", but "painting" does not tell "paint". Other wordings of the same
    ("5 feet 8" for 5'8", "Seattle" for "Seattle, Washington") do not count. A pair such as eye color: blue is told
    where the value stands beside a word of its name ("blue eyes"), or where it holds a digit, which needs no name.

    So a perfect memory does not reach 1. In the data the gold documents themselves tell 75 % of the gold values in
    this sense, message by message, and the person's own messages 60 %; many values are only implied.

    Args:
        memory: any.
        value: the value; of a pair its name first.
    """
    said = _stems(full_text(memory))
    *name, wanted = value
    if not _stands(_stems(wanted), said):
        return False
    return not name or any(letter.isdigit() for letter in wanted) or bool(set(_stems(name[0])) & set(said))


def _stands(wanted: Sequence[str], said: Sequence[str]) -> bool:
    size = len(wanted)
    return size > 0 and any(said[place : place + size] == wanted for place in range(len(said) - size + 1))


def _stems(text: str) -> list[str]:
    """The words of a text without a last "s"; "5'8" keeps its mark."""
    found = [word.replace("’", "'") for word in words(text)]
    return [word[:-1].rstrip("'") if len(word) > 3 and word.endswith("s") else word for word in found]


def value_scores(memories: Sequence[Memory], gold: Mapping[str, Any], budget: int) -> dict[str, Score]:
    """value_recall and outdated_active of one question.

    value_recall is the share of the gold values that the active memory of at most `budget` tokens tells, all values
    of a run together. outdated_active counts the outdated values that some active memory tells, over those that any
    memory, active or closed, tells; a question without any is not scored.
    """
    shown = within(memories, budget)
    values = gold["values"]
    scores = {"value_recall": Score(value=_told(shown, values), weight=len(values))}
    stored = [value for value in gold["outdated"] if _told(memories, [value])]
    if stored:
        active = [memory for memory in memories if memory.status == "active"]
        scores["outdated_active"] = Score(value=_told(active, stored), weight=len(stored))
    return scores


def _told(memories: Sequence[Memory], values: Sequence[Sequence[str]]) -> int:
    return sum(any(tells(memory, value) for memory in memories) for value in values)


def _outcome(memory: UserMemory, case: Case, run: Run) -> Outcome:
    detail: dict[str, Any] = {"question": case.input, "gold": case.gold}

    def retrieved() -> dict[str, Score]:
        found = unique_sessions(memory.search(case.input, HITS), CUT)
        detail["found"] = found
        best = best_match(found, case.gold["documents"], CUT)
        both = {"recall@5": Score(value=best.recall), "ndcg@5": Score(value=best.ndcg)}
        return both | {f"{name}_{case.gold['kind']}": score for name, score in both.items()}

    scores = scored(("recall@5", "ndcg@5"), retrieved)
    scores |= scored(("value_recall",), lambda: value_scores(memory.memories(), case.gold, run.settings.budget))
    return Outcome(case=case.id, group=case.group, scores=_named(scores, case), detail=detail)


def _named(scores: Mapping[str, Score], case: Case) -> dict[str, Score]:
    """The scores under the names of the case's noise level."""
    suffix = SUFFIXES[float(case.id.split("/")[1].removeprefix("noise"))]
    return {f"{name}{suffix}": score for name, score in scores.items()}


# -- reading --------------------------------------------------------------------------------------------------------


def _ours(path: Path, source: str) -> Iterator[Unit]:
    row = Row(read_json(path, source), str(path))
    noise = row.get("noise", type=float)
    if noise in SUFFIXES:
        person = row.get("name", type=str)
        documents = [(one.get("type", type=str), one) for one in row.rows("documents")]
        golds = [one.row("gold_segments") for one in row.rows("qa")]
        yield _unit(person, noise, documents, zip(row.rows("qa"), golds, strict=True))


def _upstream(community: Path, source: str) -> Iterator[Unit]:
    """The people of a community whose documents are there, at each noise level."""
    people = _named_rows(community / "eval_info" / "eval_info_all.json", source)
    for noise in SUFFIXES:
        path = community / "eval_info" / f"qa_gt_context_all_noise_{noise}.json"
        golds = {one.get("q_id", type=str): one.row("segment_id") for one in _list(path, source)}
        data = {
            kind: _named_rows(community / "private_data" / f"noise_{noise}" / f"{kind}_data_all.json", source)
            for kind in KINDS
        }
        for person, row in people.items():
            if person in data["conversation"]:
                documents = [(kind, one) for kind in KINDS if person in data[kind]
                             for one in _documents(data[kind][person], kind)]  # fmt: skip
                asked = row.row("Eval_Info").rows("qa")
                yield _unit(person, noise, documents, ((one, _gold(golds, one, path)) for one in asked))


def _documents(row: Row, kind: str) -> Iterator[Row]:
    """The documents of a person; conversations lie one level deeper, by the person talked to."""
    for one in row.rows("Data"):
        yield from one.rows("Conversations") if kind == "conversation" else [one]


def _gold(golds: Mapping[str, Row], question: Row, path: Path) -> Row:
    id = question.get("q_id", type=str)
    if id not in golds:
        raise DataError(f"{path}: no entry for question {id} of {question.where}")
    return golds[id]


def _unit(person: str, noise: float, documents: Iterable[tuple[str, Row]], asked: Iterable[tuple[Row, Row]]) -> Unit:
    dated = sorted(((_time(row), place, kind, row) for place, (kind, row) in enumerate(documents)), key=lambda d: d[:2])
    history = tuple(_session(person, kind, row, at.date()) for at, _, kind, row in dated)
    cases = (_case(person, noise, question, gold) for question, gold in asked
             if question.get("type", type=str) != "Subjective")  # fmt: skip
    return Unit(id=f"{person}/noise{noise}", cases=tuple(cases), history=history)


def _case(person: str, noise: float, row: Row, gold: Row) -> Case:
    kind = row.get("type", type=str).lower().replace(" ", "_")
    if kind == "preference":  # the authors' split; other types have none
        kind += f"_{row.get('difficulty', type=str)}"
    if "answer" not in row.value:
        raise DataError(f"{row.where}: field answer is missing")
    return Case(
        id=f"{person}/noise{noise}/{row.get('q_id', type=str)}",
        group=person,
        stratum=f"{noise} {kind}",
        input=row.get("question", type=str),
        gold={
            "documents": {value: gold.texts(value) for value in gold.value},
            "values": _values(row.value["answer"]),
            "outdated": _values(row.value.get("outdated_value") or []),
            "kind": kind,
        },
    )


def _values(answer: Any) -> list[list[str]]:
    """The values of an answer: a text, a number, a pair, or a list of these. Of a pair the name comes first."""
    if isinstance(answer, list):
        return [value for one in answer for value in _values(one)]
    if isinstance(answer, dict):
        return [[str(name), str(value)] for name, value in answer.items()]
    return [[str(answer)]]


def _session(person: str, kind: str, row: Row, day: date) -> Session:
    """A document as a conversation of the person: what they say is the user's, what others say the assistant's."""
    id = row.get("segment_id", type=str)
    if kind not in KINDS:
        raise DataError(f"{row.where}: field type is {json.dumps(kind)}, none of {', '.join(KINDS)}")
    if kind == "purchase_history":
        bought = "\n".join(_purchase(one) for one in row.rows(kind))
        return Session(id=id, date=day, messages=(Message(role="user", content=f"I bought:\n{bought}"),))
    turns = [(one.get("role", type=str), one.get("content", type=str)) for one in row.rows(kind)]
    own = "user" if kind == "user_ai_interaction" else _own_role([role for role, _ in turns], person)
    return Session(id=id, date=day, messages=tuple(_message(role, content, own) for role, content in turns))


def _own_role(roles: Sequence[str], person: str) -> str:
    """The speaker that is the person: names are spelled in several ways ("Dr. Ann Lee", "Ann")."""
    name = set(words(person))
    return max(dict.fromkeys(roles), key=lambda role: len(name & set(words(role))), default=person)


def _message(role: str, content: str, own: str) -> Message:
    """Another person's words begin with their name: who said it is part of what was said."""
    if role == own:
        return Message(role="user", content=content)
    return Message(role="assistant", content=content if role == "assistant" else f"{role}: {content}")


def _purchase(row: Row) -> str:
    categories = ", ".join(row.texts("categories"))
    return f"- {row.get('title', type=str)}, by {row.get('brand', type=str)} ({categories})"


def _time(row: Row) -> datetime:
    text = row.get("time", type=str)
    try:
        return datetime.strptime(text, _TIME)
    except ValueError:
        raise DataError(f"{row.where}: field time is {json.dumps(text)}, not like 2024/Oct/14/07:18 AM") from None


def _list(path: Path, source: str) -> list[Row]:
    values = read_json(path, source)
    if not isinstance(values, list):
        raise DataError(f"{path}: not a list")
    return [Row(value, f"{path}: [{place}]") for place, value in enumerate(values)]


def _named_rows(path: Path, source: str) -> dict[str, Row]:
    return {row.get("Name", type=str): row for row in _list(path, source)}
