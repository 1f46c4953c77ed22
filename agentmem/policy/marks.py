"""Which of the user's sentences are worth writing down: what a detector marks, a policy that is asked only of them.

A reader of single sentences (MiniLM with an adapter of 2.7 MB) is small enough to read every message, and learns from
every sentence of a conversation; a language model learns one decision a conversation, and was not able to make it
(LOG.md, 2026-11-26, "Trained default").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from agentmem.memory import full_text
from agentmem.models.embed import Embedder, Remembering, get_embedder
from agentmem.models.judges import Judge, shipped
from agentmem.models.pairs import Pair
from agentmem.policy.base import Observation
from agentmem.policy.edits import Edit
from agentmem.policy.lines import CONTEXT, context_of
from agentmem.policy.spans import is_play, statements

Worth = Literal["none", "fact", "preference", "inferred", "instruction", "replace", "close", "forget"]
WORTHS: tuple[Worth, ...] = get_args(Worth)
"""What a sentence calls for: nothing, an addition of some kind, or a change of what is known."""

KNOWN = 2
"""Memories that are read with a sentence: those nearest to it."""
KNOWN_CHARS = 160
CONTEXT_CHARS = 300
SECOND = 0.3


class Sentence(NamedTuple):
    """A sentence of a new message of the user's."""

    turn: int
    start: int
    end: int
    text: str
    context: str
    """What was said before it."""


class Mark(NamedTuple):
    """A sentence that was read."""

    sentence: Sentence
    worth: float
    """Probability that something is to be written down."""


def sentences_of(observation: Observation) -> list[Sentence]:
    """What the user says of themselves in what is new: no code, pasted text or fiction."""
    messages = [{"role": one.role, "content": one.content} for one in observation.session.messages]
    found: list[Sentence] = []
    for turn, message in enumerate(observation.session.messages):
        if message.role != "user":
            continue
        if is_play(message.content):
            break
        if turn >= observation.start:
            found += [Sentence(turn, span.start, span.end, message.content[span.start : span.end],
                               context_of(messages, turn, span.start, CONTEXT_CHARS))
                      for span in statements(message.content)]  # fmt: skip
    return found


def worths(observation: Observation, edits: Sequence[Edit], sentences: Sequence[Sentence]) -> list[Worth]:
    """What each of the sentences calls for, if these are the right edits: what the first does that quotes of it."""
    quoted = [(turn, place, place + len(quote), edit) for edit in edits for quote in edit.quotes
              for turn, message in enumerate(observation.session.messages)
              if message.role == "user" and (place := message.content.find(quote)) >= 0]  # fmt: skip
    found: list[Worth] = []
    for one in sentences:
        hits = (edit for turn, start, end, edit in quoted if turn == one.turn and start < one.end and one.start < end)
        edit = next(hits, None)
        found.append("none" if edit is None else _worth(edit))
    return found


def _worth(edit: Edit) -> Worth:
    if edit.sign == "+":
        return "inferred" if edit.inferred and edit.kind == "preference" else edit.kind or "fact"
    return _CHANGES[edit.sign]


_CHANGES: dict[str, Worth] = {"~": "replace", "-": "close", "x": "forget"}


def pairs(
    observations: Sequence[Observation], sentences: Sequence[Sequence[Sentence]], embedder: Embedder
) -> list[list[Pair]]:
    """What the detector reads of each observation: its sentences, with what is known near them and was said before."""
    told = [[full_text(memory) for memory in observation.memories] for observation in observations]
    texts = list(dict.fromkeys([one.text for own in sentences for one in own] + [text for own in told for text in own]))
    vectors = dict(zip(texts, embedder.encode(texts), strict=True))
    return [[(one.text, _beside(one, own, vectors)) for one in some]
            for some, own in zip(sentences, told, strict=True)]  # fmt: skip


def _beside(sentence: Sentence, known: Sequence[str], vectors: dict[str, NDArray[np.float32]]) -> str:
    near = sorted(known, key=lambda text: -float(vectors[text] @ vectors[sentence.text]))[:KNOWN]
    return f"{' '.join(near)[:KNOWN_CHARS] or 'nothing known'} / {sentence.context}".strip()


class Marker:
    """Marks sentences.

    Args:
        judge: (n, WORTHS) probabilities of `pairs`.
        embedder: finds the memories near a sentence.
        at: probability of being worth something from which on a sentence is marked.
        second: a reader that isn't shown the memories, its first label "none" too. It errs otherwise: together they
            tell conversations apart with an AUC of .882, in place of .863 (`python -m agentmem.train.judges marks
            --look`).
        share: of the second reader in the mean of both log-odds.
    """

    def __init__(
        self, judge: Judge, embedder: Embedder, at: float, second: Judge | None = None, share: float = SECOND
    ) -> None:
        self._judge, self._second, self._embedder, self.at, self._share = judge, second, embedder, at, share

    def read(self, observations: Sequence[Observation], /) -> list[list[Mark]]:
        """All sentences of each observation, in order, with what they are worth. Raises ModelError."""
        sentences = [sentences_of(observation) for observation in observations]
        found = [pair for own in pairs(observations, sentences, self._embedder) for pair in own]
        odds = _odds(self._judge, found)
        if self._second is not None:
            alone = [(one.text, one.context[-CONTEXT:]) for own in sentences for one in own]
            odds = (1 - self._share) * odds + self._share * _odds(self._second, alone)
        worth = iter((1 / (1 + np.exp(-odds))).tolist())
        return [[Mark(sentence, next(worth)) for sentence in own] for own in sentences]

    def mark(self, observations: Sequence[Observation], /) -> list[Observation]:
        """The observations with their marks, as a policy is shown them."""
        marks = [tuple(one.sentence.text for one in own if one.worth >= self.at) for own in self.read(observations)]
        return [one.model_copy(update={"marks": own}) for one, own in zip(observations, marks, strict=True)]


def _odds(judge: Judge, found: Sequence[Pair]) -> NDArray[np.float32]:
    """(n,) log-odds of anything but the first label."""
    none = np.clip(judge.probabilities(found)[:, 0], 1e-4, 1 - 1e-4)
    return np.log(1 - none) - np.log(none)


def shipped_marker(at: float) -> Marker:
    """The detector that ships; its weights are loaded when it first reads something."""
    return Marker(shipped("marks"), Remembering(get_embedder("minilm")), at, shipped("lines"))
