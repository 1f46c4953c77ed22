"""The small models that ship: each reads two texts together and says which of a few things holds."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agentmem.models.embed import Embedder
from agentmem.models.pairs import Pair, PairModel, SlotEncoder

APPLICABILITY = ("irrelevant", "applies", "overridden")
"""What a standing instruction is to a request, or to another instruction that is followed."""

RELATIONS = ("unrelated", "repeats", "closes")
"""What the user now says is to an old memory."""

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


class Encoder(Protocol):
    """Places texts by the slot of a person's life that they fill."""

    def encode(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Unit vectors (len(texts), dim). Raises ModelError."""
        ...


@functools.cache
def shipped_slots() -> Encoder:
    """The encoder of slots, loaded at its first text."""
    return SlotEncoder(ADAPTERS / "slots.safetensors")


class Sight:
    """What the judge of relations and the encoder of slots see of a statement and old memories, together.

    A logistic regression over the two joins them: on held-out families of agentmem/train/data it finds 54 % of what
    closes at 6 % of what does not, where the judge alone finds 51 % at that price, and on other people's wording
    (STALE-Chain) 28 % at 0.7 % against 12 % at 0.4 % (LOG.md, 2026-11-25).
    """

    SLOT, OVER_UNRELATED, OVER_REPEATS, BIAS = 3.28, 0.33, 0.36, -3.04

    def __init__(self, judge: Judge, slots: Encoder) -> None:
        self._judge, self._slots = judge, slots

    @classmethod
    def shipped(cls) -> Sight:
        return cls(shipped("relations"), shipped_slots())

    def read(self, said: str, olds: Sequence[str]) -> tuple[list[float], list[float]]:
        """Probability that `said` closes each old memory, and that it repeats it. Raises ModelError."""
        chances = np.clip(self._judge.probabilities([(said, old) for old in olds]), 1e-4, 1)
        unrelated, repeats, closes = np.log(chances).T
        vectors = self._slots.encode([said, *olds])
        logit = self.SLOT * (vectors[1:] @ vectors[0]) + self.OVER_UNRELATED * (closes - unrelated)
        logit += self.OVER_REPEATS * (closes - repeats) + self.BIAS
        return (1 / (1 + np.exp(-logit))).tolist(), chances[:, RELATIONS.index("repeats")].tolist()


class Bearing:
    """What the judge of applicability and the cosine of the embedder say together of a request and instructions.

    A cross-encoder of this size tells what is overridden, and is poor at telling what is about something else, which
    the cosine sees. The multinomial logistic regression that joins them was fitted on held-out families of
    agentmem/train/data; on NLSI (468 requests) it selects exactly the right set for .226, the judge alone for .171.
    """

    WEIGHTS = np.array(
        [[-4.76, -0.06, -0.31, 1.82], [0.43, 0.53, -0.28, -1.26], [4.33, -0.47, 0.59, -0.56]], np.float32
    )
    """(APPLICABILITY, 4): cosine, log-odds of applies and of overridden against irrelevant, cosine squared."""
    BIAS = np.array([1.69, -0.11, -1.58], np.float32)

    def __init__(self, judge: Judge, embedder: Embedder) -> None:
        self._judge, self._embedder = judge, embedder

    def probabilities(self, pairs: Sequence[Pair], /) -> NDArray[np.float32]:
        """(len(pairs), APPLICABILITY). Raises ModelError."""
        if not pairs:
            return np.zeros((0, len(APPLICABILITY)), np.float32)
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        place = {text: row for row, text in enumerate(texts)}
        vectors = self._embedder.encode(texts)
        first, second = ([place[pair[side]] for pair in pairs] for side in (0, 1))
        cosine_N = (vectors[first] * vectors[second]).sum(1)
        log_N3 = np.log(np.clip(self._judge.probabilities(pairs), 1e-4, 1))
        seen_N4 = np.stack([cosine_N, log_N3[:, 1] - log_N3[:, 0], log_N3[:, 2] - log_N3[:, 0], cosine_N**2], axis=1)
        logits_N3 = seen_N4 @ self.WEIGHTS.T + self.BIAS
        grown = np.exp(logits_N3 - logits_N3.max(1, keepdims=True))
        return (grown / grown.sum(1, keepdims=True)).astype(np.float32)
