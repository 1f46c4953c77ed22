"""What an evaluation is made of, in the words of Inspect: cases, outcomes, scores, reports. Frozen values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from agentmem.memory import Value


class Case(Value):
    """One question, or one item, with the answer that counts as right."""

    id: str
    """Unique in its benchmark, and the same in every run: runs are compared by it."""
    group: str
    """Cases of one group are not independent (one person, one chain); the bootstrap resamples groups."""
    stratum: str = ""
    """A subset (`--limit`) keeps the proportions of the strata."""
    always: bool = False
    """Part of every run, whatever its limit, and not counted against it: what another metric must be read with."""
    input: Any = None
    """What is asked, as the benchmark needs it."""
    gold: Any = None
    """What is right. Scoring looks nowhere else, so that a run with shuffled golds must fall to chance."""


class Unit(Value):
    """Cases that are run together because they ask about one history, which is observed once."""

    id: str
    cases: tuple[Case, ...]
    history: Any = None
    """What is observed before the questions, as the benchmark needs it."""


class Score(Value):
    """One metric of one case. A metric of a run is the sum of its values over the sum of its weights."""

    value: float | None
    """None: could not be scored, for `reason`. Never a number that stands for a failure."""
    weight: float = 1.0
    """What the value counts against: 1 for a mean, user turns / 100 for a rate per 100 turns, …"""
    reason: str = ""
    retry: bool = False
    """It failed, and might not another time: the case is run again when the run is taken up."""


class Outcome(Value):
    """What a system did with one case: one line of a run's JSONL."""

    case: str
    group: str
    scores: dict[str, Score] = Field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    detail: dict[str, Any] = Field(default_factory=dict)
    """Whatever helps to read a failure: what was asked, found, answered, and what would have been right."""


class Metric(Value):
    """One number of a report, with its 95 % bootstrap interval."""

    value: float | None
    ci95: tuple[float, float] | None
    n: int
    """Cases that were scored."""
    unscored: int


class Cost(Value):
    """What a run took, all cases together."""

    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Report(Value):
    """One run: a benchmark, a system, and what came out."""

    benchmark: str
    system: str
    n: int
    """Cases in the run."""
    seed: int
    metrics: dict[str, Metric]
    cost: Cost
    config: dict[str, Any]


def unscored(names: Iterable[str], reason: str, *, retry: bool = False) -> dict[str, Score]:
    """The same reason for each of these metrics."""
    return {name: Score(value=None, reason=reason, retry=retry) for name in names}
