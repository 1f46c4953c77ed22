"""agentmem train check: leaks in the data, and whether there is anything to learn from it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from agentmem.errors import TrainingDataError
from agentmem.route import count_tokens
from agentmem.train.answerers import Answerer
from agentmem.train.histories import History, Probe
from agentmem.train.rewards import BUDGET

LEAST = 0.2
"""Gain of the gold memory over none, in accuracy, below which there is nothing to learn from."""


class Ground(NamedTuple):
    """What an answerer gets right with each memory; over the same probes."""

    gold: float
    """With what a careful person would remember; where that is not given, with what the user said, the newest first."""
    empty: float
    shuffled: float
    """With another user's."""
    probes: int
    chance: float

    @property
    def enough(self) -> bool:
        return self.gold - self.empty >= LEAST

    def lines(self) -> list[str]:
        """For people."""
        told = [f"accuracy of the answerer on {self.probes} probes (chance {self.chance:.2f}): gold memory "
                f"{self.gold:.2f}, none {self.empty:.2f}, another user's {self.shuffled:.2f}"]  # fmt: skip
        if not self.enough:
            told.append(
                f"the memory gains {self.gold - self.empty:+.2f}, less than {LEAST}: there is nothing to learn from; "
                "use a larger answerer (--answerer qwen2.5-coder-1.5b), or one by embeddings (--answerer embeddings)"
            )
        return told


def ground(histories: Sequence[History], answerer: Answerer, limit: int = 100, seed: int = 0) -> Ground:
    """Ask probes with options with the gold memory, with none, and with another user's.

    Args:
        histories: of two users or more.
        answerer: as in the run.
        limit: probes at most, drawn at random.
        seed: of the draw.

    Raises:
        TrainingDataError: no probes with options, or one user only.
        ModelError: the answerer failed.
    """
    asked = [(history, probe) for history in histories for probe in history.probes if probe.right is not None]
    users = {history.user for history in histories}
    if not asked or len(users) < 2:
        raise TrainingDataError("asking needs probes with options, of two users or more")
    rng = random.Random(seed)
    drawn = rng.sample(asked, min(limit, len(asked)))
    right: dict[str, list[float]] = {"gold": [], "empty": [], "shuffled": []}
    for history, probe in drawn:
        other = rng.choice([one for one in histories if one.user != history.user])
        for name, memory in (("gold", gold_memory(history)), ("empty", ""), ("shuffled", gold_memory(other))):
            right[name].append(_right(answerer, memory, probe))
    chance = float(np.mean([1 / len(probe.options) for _, probe in drawn]))
    gold, empty, shuffled = (float(np.mean(values)) for values in right.values())
    return Ground(gold, empty, shuffled, len(drawn), chance)


def gold_memory(history: History) -> str:
    """What a careful person would remember, else what the user said, the newest first within a memory's budget."""
    if history.memory:
        return "\n".join(f"- {line}" for line in history.memory)
    left, lines = BUDGET, []
    for session in reversed(history.sessions):
        for message in reversed(session.messages):
            cost = count_tokens(message.content)
            if message.role == "user" and cost <= left:
                left -= cost
                lines.append(f"- {message.content}")
    return "\n".join(reversed(lines))


def _right(answerer: Answerer, memory: str, probe: Probe) -> float:
    return float(int(answerer.likelihoods(memory, [probe.question], probe.options).argmax()) == probe.right)
