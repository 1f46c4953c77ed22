"""ConvoMem: finding the messages that answer, in histories of 1 to 300 conversations; and when to read all of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agentmem.errors import SessionError
from agentmem.session import Session, make_session
from eval.benchmarks.convomem_router import CSV, LONG, MEMORY, Point, read_points, route_at, stands_for
from eval.errors import DataError, UnsupportedError
from eval.harness import Benchmark, Run, scored
from eval.metrics import unique_sources
from eval.reading import Row, find_layout, read_json
from eval.settings import Settings
from eval.systems import UserMemory
from eval.values import Case, Outcome, Score, Unit, unscored

LAYOUTS = {
    "mixed": "core_benchmark/pre_mixed_testcases/*/*_evidence/*.json",
    "evidence": "core_benchmark/evidence_questions/*/*_evidence/*.json",
    "published": "published_results.json",
    "results": f"{CSV}/*/*/*/*_evidence.csv",
}
"""Test cases as published; evidence and fillers, to be mixed here; the authors' results, in our file and in theirs."""

FILLERS = "core_benchmark/filler_conversations/*.json"

CATEGORIES = {
    "user_evidence": "user_facts",
    "assistant_facts_evidence": "assistant_facts",
    "changing_evidence": "changing",
    "abstention_evidence": "abstention",
    "preference_evidence": "preferences",
    "implicit_connection_evidence": "implicit_connection",
}
"""The results' names of the categories, by folder."""

CUTS = (5, 10)
SIZES = (10, 50)
"""Sizes that evidence is mixed to with fillers, beside its own conversations alone."""

HITS = 40
BUDGETS = (8_000, 32_000, 128_000)
"""Tokens: the router is also read with both of its budgets set to these."""

RECALL = tuple(f"recall@{k}" for k in CUTS)
PUBLISHED = ("best_accuracy", "long_context_accuracy", "mem0_accuracy")
ROUTER = ("router_accuracy", *(f"router_accuracy_{budget}" for budget in BUDGETS))


class ConvoMem(Benchmark):
    """Two things: recall of the evidence messages, without a judge; and the router's curve over published numbers.

    router_accuracy is the published accuracy of the system that stands for the route agentmem would take (see
    convomem_router), best_accuracy that of the better of the two: no model answers anything here.

    Questions that name no evidence message have nothing to be found, and are left out of recall.
    """

    name = "convomem"
    about = "messages that answer, among N conversations (recall@k_N); and the router's choice on published accuracies"
    source = (
        "Get core_benchmark (pre_mixed_testcases: a few files of it; or evidence_questions and filler_conversations) "
        "from huggingface.co/datasets/Salesforce/ConvoMem (CC BY-NC 4.0 by its card, as reported); the published "
        "results from github.com/SalesforceAIResearch/ConvoMem (Apache-2.0)."
    )
    folder = "convomem"
    metrics = RECALL

    def load(self, settings: Settings) -> list[Unit]:
        """The test cases that are there (else one that says so), and a unit for each published series."""
        _, home = find_layout(settings.data, LAYOUTS, self.source, self.folder)
        units = list(_mixed(home, self.source)) or list(_mixed_here(home, self.source, settings.seed))
        if not units:
            absent = Case(id="conversations", group="conversations", always=True)
            units = [Unit(id=absent.id, cases=(absent,))]
        return units + _curves(read_points(home, self.source))

    def run(self, unit: Unit, run: Run) -> Iterator[Outcome]:
        """Observe the conversations and ask; or read the router's choice off a published series."""
        if unit.id == "conversations":
            reason = f"the conversations are not there. {self.source}"
            yield Outcome(case=unit.id, group=unit.id, scores=unscored(RECALL, reason), detail={"error": reason})
        elif isinstance(unit.cases[0].input, Point):
            for case in unit.cases:
                yield _routed(case, run.system.config)
        else:
            memory = run.open()
            for session in unit.history:
                memory.observe(session)
            for case in unit.cases:
                yield _recalled(memory, unit.history, case)
            memory.close()


# -- recall ---------------------------------------------------------------------------------------------------------


def found_share(found: Sequence[str], evidence: Sequence[str]) -> float:
    """Share of the evidence texts that stand in one of the messages found, whatever the case and the blanks."""
    texts = [_plain(text) for text in found]
    return sum(any(_plain(one) in text for text in texts) for one in evidence) / len(evidence)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _recalled(memory: UserMemory, history: Sequence[Session], case: Case) -> Outcome:
    detail: dict[str, Any] = {"question": case.input["question"], "gold": case.gold}
    messages = {session.id: session.messages for session in history}

    def scores() -> dict[str, Score]:
        places = unique_sources(memory.search(case.input["question"], HITS), max(CUTS))
        detail["found"] = found = [messages[place.session][place.turn].content for place in places]
        return {f"recall@{k}": Score(value=found_share(found[:k], case.gold)) for k in CUTS}

    own = scored(RECALL, scores)
    suffixes = ("", f"_{len(history)}", f"_{case.input['category']}")
    named = {f"{name}{suffix}": score for suffix in suffixes for name, score in own.items()}
    return Outcome(case=case.id, group=case.group, scores=named, detail=detail)


# -- the router -----------------------------------------------------------------------------------------------------


def _curves(points: Sequence[Point]) -> list[Unit]:
    """A unit for each series: a case for each size, in every subset, since they cost nothing."""
    units: dict[str, list[Case]] = {}
    for point in points:
        case = Case(
            id=f"published {point.series} {point.size}",
            group=point.series,
            input=point.model_copy(update={"accuracy": {}}),
            gold=point.accuracy,
            always=True,
        )
        units.setdefault(point.series, []).append(case)
    return [Unit(id=f"published {series}", cases=tuple(cases)) for series, cases in units.items()]


def _routed(case: Case, config: dict[str, object]) -> Outcome:
    point: Point = case.input
    published = {"best_accuracy": max(case.gold.values()), "long_context_accuracy": case.gold[LONG],
                 "mem0_accuracy": case.gold[MEMORY]}  # fmt: skip
    detail: dict[str, Any] = {**point.model_dump(exclude={"accuracy"}), "published": case.gold}

    def routed() -> dict[str, Score]:
        memory, history = config.get("memory_budget"), config.get("history_budget")
        if not isinstance(memory, int) or not isinstance(history, int):
            raise UnsupportedError("this system has no router: its config names no memory_budget and history_budget")
        budgets = [(memory, history), *((budget, budget) for budget in BUDGETS)]
        routes = [route_at(point.size, point.tokens, memory_budget=own[0], history_budget=own[1]) for own in budgets]
        detail["routes"] = dict(zip(ROUTER, (route.name for route in routes), strict=True))
        return {name: Score(value=case.gold[stands_for(route)]) for name, route in zip(ROUTER, routes, strict=True)}

    scores = {name: Score(value=value) for name, value in published.items()} | scored(ROUTER, routed)
    shown = ("router_accuracy", *PUBLISHED)
    by_category = {f"{name}_{point.category}": scores[name] for name in shown}
    return Outcome(case=case.id, group=case.group, scores=scores | by_category, detail=detail)


# -- reading --------------------------------------------------------------------------------------------------------


def _mixed(home: Path, source: str) -> Iterator[Unit]:
    """Test cases as published: a file is a list of {contextSize, evidenceItems, conversations}."""
    for path in sorted(home.glob(LAYOUTS["mixed"])):
        values = read_json(path, source)
        if not isinstance(values, list):
            raise DataError(f"{path}: not a list of test cases")
        for place, value in enumerate(values):
            row = Row(value, f"{path}: [{place}]")
            id = f"{'/'.join(path.parts[-3:])} {place}"
            history = _sessions(row.rows("conversations"))
            cases = [_case(f"{id} {number}", item, path) for number, item in enumerate(row.rows("evidenceItems"))]
            if kept := tuple(case for case in cases if case.gold):
                yield Unit(id=id, cases=kept, history=history)


def _mixed_here(home: Path, source: str, seed: int) -> Iterator[Unit]:
    """Evidence among fillers of the same person: alone, and at each of SIZES that the fillers suffice for."""
    fillers: dict[str, list[Row]] = {}
    for path in sorted(home.glob(FILLERS)):
        for item in Row(read_json(path, source), f"{path}").rows("evidence_items"):
            fillers.setdefault(_person(item, path), []).extend(item.rows("conversations"))
    for path in sorted(home.glob(LAYOUTS["evidence"])):
        for place, item in enumerate(Row(read_json(path, source), f"{path}").rows("evidence_items")):
            own, others = item.rows("conversations"), fillers.get(_person(item, path), [])
            for size in (len(own), *SIZES):
                id = f"{'/'.join(path.parts[-3:])} {place} {size}"
                case = _case(id, item, path)
                if case.gold and len(own) <= size <= len(own) + len(others):
                    mixed = _among(own, others, size, random.Random(f"{seed}/{id}"))
                    yield Unit(id=id, cases=(case,), history=_sessions(mixed))


def _among(own: Sequence[Row], others: Sequence[Row], size: int, rng: random.Random) -> list[Row]:
    """`size` conversations, the evidence in its order at random places."""
    places = set(rng.sample(range(size), len(own)))
    evidence, rest = iter(own), iter(rng.sample(list(others), size - len(own)))
    return [next(evidence) if place in places else next(rest) for place in range(size)]


def _person(item: Row, path: Path) -> str:
    return item.get("personId", type=str) if item.has("personId") else path.stem.partition("_")[0]


def _case(id: str, item: Row, path: Path) -> Case:
    folder = path.parts[-3]
    category = CATEGORIES.get(folder, folder)
    return Case(
        id=id,
        group=_person(item, path),
        stratum=category,
        input={"question": item.get("question", type=str), "category": category},
        gold=[one.get("text", type=str) for one in item.rows("message_evidences") if one.get("text", type=str).strip()],
    )


def _sessions(rows: Sequence[Row]) -> list[Session]:
    return [_session(row, f"c{place:03}") for place, row in enumerate(rows) if row.rows("messages")]


def _session(row: Row, id: str) -> Session:
    messages = [
        {"role": one.get("speaker", type=str).lower(), "content": one.get("text", type=str)}
        for one in row.rows("messages")
    ]
    try:
        return make_session(messages, id=id)
    except SessionError as error:
        raise DataError(f"{row.where}: {error}") from error
