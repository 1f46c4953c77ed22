"""The small models that ship: each reads two texts together and says which of a few things holds."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agentmem.models.embed import Embedder, Remembering
from agentmem.models.pairs import Pair, PairModel, SlotEncoder
from agentmem.models.tags import Tagger, TagModel

APPLICABILITY = ("irrelevant", "applies", "overridden")
"""What a standing instruction is to a request, or to another instruction that is followed."""

RELATIONS = ("unrelated", "repeats", "closes")
"""What the user now says is to an old memory."""

CHANGES = ("keeps", "changes")
"""What a sentence of a dialogue does with a memory."""

ELICITATION = ("answer", "ask")
"""What to do with a request, given what is known of the user."""

FORGETTING = ("keep", "forget")
"""What a request to forget wants done with a memory."""

ADAPTERS = Path(__file__).parent / "adapters"


def joined(memories: Iterable[str]) -> str:
    """Several memories as one text, as the judge of elicitation reads them."""
    return " / ".join(memories)


class Judge(Protocol):
    """Reads two texts together."""

    def probabilities(self, pairs: Sequence[Pair], /) -> NDArray[np.float32]:
        """(len(pairs), number of labels). Raises ModelError."""
        ...


@functools.cache
def shipped(name: str) -> Judge:
    """The judge `name`, loaded at its first pair."""
    return PairModel(ADAPTERS / f"{name}.safetensors")


@functools.cache
def shipped_tagger(cache: Path | None = None, device: str | None = None) -> Tagger:
    """The tagger of sentences worth writing down, loaded at its first text."""
    return TagModel(ADAPTERS / "tags.safetensors", cache, device)


@functools.cache
def shipped_slots() -> Embedder:
    """The encoder of slots, loaded at its first text; it keeps the vectors of the memories it has seen."""
    return Remembering(SlotEncoder(ADAPTERS / "slots.safetensors"))


class Sight:
    """What the judge of relations and the encoder of slots see of a statement and old memories, together.

    A logistic regression over the cosine of the slots and the judge's log-odds of `closes` against both other labels,
    fitted by `python -m agentmem.train.judges.joins sight`, which also prints what each part is worth alone.
    """

    SLOT, OVER_UNRELATED, OVER_REPEATS, BIAS = 3.04, 0.32, 0.35, -2.87

    NEAR = 0.2
    """Cosine of the slots below which nothing is closed, and the judge is not asked: reading takes time."""

    def __init__(self, judge: Judge, slots: Embedder) -> None:
        self._judge, self._slots = judge, slots

    @classmethod
    def shipped(cls) -> Sight:
        return cls(shipped("relations"), shipped_slots())

    def closes(self, said: str, olds: Sequence[str]) -> NDArray[np.float32]:
        """(len(olds),): probability that `said` closes each old memory. Raises ModelError."""
        vectors = self._slots.encode([said, *olds])
        cosine_N = vectors[1:] @ vectors[0]
        found_N = np.zeros(len(olds), np.float32)
        near = np.flatnonzero(cosine_N >= self.NEAR)
        if len(near):
            chance_N3 = self._judge.probabilities([(said, olds[place]) for place in near.tolist()])
            found_N[near] = self.joined(cosine_N[near], chance_N3)
        return found_N

    @classmethod
    def features(cls, cosine_N: NDArray[np.float32], chance_N3: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 3): what the regression joins."""
        unrelated, repeats, closes = np.log(np.clip(chance_N3, 1e-4, 1)).T
        return np.stack([cosine_N, closes - unrelated, closes - repeats], axis=1)

    @classmethod
    def joined(cls, cosine_N: NDArray[np.float32], chance_N3: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,) probabilities."""
        logit_N = cls.features(cosine_N, chance_N3) @ np.array([cls.SLOT, cls.OVER_UNRELATED, cls.OVER_REPEATS])
        return (1 / (1 + np.exp(-logit_N - cls.BIAS))).astype(np.float32)


class Bearing:
    """What the judge of applicability and the cosine of the embedder say together of a request and instructions.

    A cross-encoder of this size tells what is overridden, and is poor at telling what is about something else, which
    the cosine sees. A multinomial logistic regression joins them, fitted by
    `python -m agentmem.train.judges.joins bearing`.
    """

    WEIGHTS = np.array([[-4.8, -0.05, -0.31, 1.72], [0.39, 0.53, -0.28, -1.25], [4.41, -0.48, 0.59, -0.47]], np.float32)
    """(APPLICABILITY, features)"""
    BIAS = np.array([1.75, -0.09, -1.66], np.float32)

    def __init__(self, judge: Judge, embedder: Embedder) -> None:
        self._judge, self._embedder = judge, embedder

    def probabilities(self, pairs: Sequence[Pair], /) -> NDArray[np.float32]:
        """(len(pairs), APPLICABILITY). Raises ModelError."""
        logits_N3 = self.features(pairs) @ self.WEIGHTS.T + self.BIAS
        grown = np.exp(logits_N3 - logits_N3.max(1, keepdims=True))
        return (grown / grown.sum(1, keepdims=True)).astype(np.float32)

    def features(self, pairs: Sequence[Pair]) -> NDArray[np.float32]:
        """(len(pairs), 4): cosine, log-odds of applies and of overridden against irrelevant, cosine squared."""
        first, second = ([pair[side] for pair in pairs] for side in (0, 1))
        cosine_N = (self._embedder.encode(first) * self._embedder.encode(second)).sum(1)
        log_N3 = np.log(np.clip(self._judge.probabilities(pairs), 1e-4, 1))
        return np.stack([cosine_N, log_N3[:, 1] - log_N3[:, 0], log_N3[:, 2] - log_N3[:, 0], cosine_N**2], axis=1)
