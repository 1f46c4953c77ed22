"""What the authors of ConvoMem published, read through agentmem's router: which way to read a memory, at which size.

Nothing is run here. For each size of history there are a published accuracy of a model that reads all conversations
(long_context) and one of a model that reads what mem0 finds; agentmem's own rule (agentmem/route.py) says which of the
two ways it would go at that size. Its route full_history stands for long_context; whole_memory and retrieve, which show
written memories, stand for mem0. So the curve judges the router's thresholds, not agentmem's memories.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from agentmem.memory import Fact, Value
from agentmem.route import MESSAGE_TOKENS, Route, choose_route
from agentmem.session import Message, Session
from eval.errors import DataError
from eval.reading import Row, read_csv, read_json
from eval.systems.base import numbered_id

LONG, MEMORY = "long_context", "mem0"
"""The published systems that are compared."""

MEMORY_TOKENS = 150
"""Tokens of memory that a conversation leaves behind: an assumption. What mem0 put into prompts grew by about 135 a
conversation between 1 and 10 conversations (published avg_input_tokens), beyond which its search limits it."""

CSV = "src/main/resources/evaluation_results"
"""Where the authors' repository keeps its results: CATEGORY/MEMORY/MODEL/[HELPER/]N_evidence.csv."""


class Point(Value):
    """One size of history in one published series."""

    category: str
    model: str
    evidence: str
    """Number of messages that a question needs."""
    size: int
    """Conversations."""
    tokens: float
    """Prompt tokens when all of them are read, on average."""
    accuracy: dict[str, float]
    """Of long_context and mem0, from 0 to 1."""

    @property
    def series(self) -> str:
        return f"{self.category} {self.model} {self.evidence}"


def route_at(size: int, tokens: float, *, memory_budget: int, history_budget: int) -> Route:
    """The route that agentmem would take with `size` conversations of `tokens` tokens together."""
    said = Message(role="user", content="x" * (4 * max(1, round(tokens / size) - MESSAGE_TOKENS)))
    kept = "x" * (4 * (MEMORY_TOKENS - MESSAGE_TOKENS))
    return choose_route(
        (Fact(id=numbered_id("f", place), text=kept) for place in range(size)),
        (Session(id=f"c{place}", messages=(said,)) for place in range(size)),
        memory_budget=memory_budget,
        history_budget=history_budget,
    )


def stands_for(route: Route) -> str:
    """The published system that reads as this route does."""
    return LONG if route.name == "full_history" else MEMORY


def read_points(home: Path, source: str) -> list[Point]:
    """The published points that have both systems, from our file or from the results in the authors' repository."""
    path = home / "published_results.json"
    found: dict[tuple[str, str, str], dict[str, dict[int, tuple[float, float]]]] = {}
    for series, memory, points in _published(path, source) if path.is_file() else _results(home / CSV, source):
        if memory in (LONG, MEMORY):
            found.setdefault(series, {})[memory] = points
    return [
        Point(
            category=series[0],
            model=series[1],
            evidence=series[2],
            size=size,
            tokens=own[LONG][size][1],
            accuracy={memory: round(own[memory][size][0] / 100, 6) for memory in (LONG, MEMORY)},
        )
        for series, own in sorted(found.items())
        if len(own) == 2
        for size in sorted(own[LONG].keys() & own[MEMORY].keys())
    ]


_Series = tuple[tuple[str, str, str], str, dict[int, tuple[float, float]]]
"""(category, model, evidence), memory system, and by size (accuracy in percent, prompt tokens)."""


def _published(path: Path, source: str) -> Iterator[_Series]:
    """Our file: by_context_size holds (size, accuracy in percent, correct, n, prompt tokens, milliseconds)."""
    for row in Row(read_json(path, source), f"{path}").rows("results"):
        if row.has("helper"):
            continue
        series = tuple(row.get(name, type=str) for name in ("category", "model", "evidence_messages"))
        points = {
            int(_number(row, point, 0)): (_number(row, point, 1), _number(row, point, 4))
            for point in row.get("by_context_size", type=list)
        }
        yield (series[0], series[1], series[2]), row.get("memory", type=str), points


def _number(row: Row, point: object, place: int) -> float:
    values = {str(number): value for number, value in enumerate(point if isinstance(point, list) else ())}
    return Row(values, f"{row.where}: by_context_size").get(str(place), type=float)


def _results(home: Path, source: str) -> Iterable[_Series]:
    for path in sorted(home.glob("*/*/*/*_evidence.csv")):
        category, memory, model = path.relative_to(home).parts[:3]
        points = {
            int(_column(row, "context_size")): (_column(row, "success_rate_percent"), _column(row, "avg_input_tokens"))
            for row in read_csv(path, source)
        }
        yield (category, model, path.name.partition("_")[0]), memory, points


def _column(row: Row, name: str) -> float:
    text = row.get(name, type=str)
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{row.where}: field {name} is {text!r}, not a number") from None
