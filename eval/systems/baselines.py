"""Baselines: what was said is kept as it is, and searched. None of them writes, updates or closes a memory."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import snowballstemmer

from agentmem.errors import ConfigError
from agentmem.index.entries import telling_words
from agentmem.memory import Evidence, Fact, Hit, HitKind, Memory, Source, one_line, words
from agentmem.models.embed import Embedder, Remembering, get_embedder
from agentmem.policy import Observation, Proposal
from agentmem.route import count_tokens
from agentmem.session import Session
from eval.errors import UnsupportedError
from eval.systems.base import BOTH, Context, UserMemory, numbered_id

if TYPE_CHECKING:
    from eval.systems import SystemSpec

K1, B = 1.5, 0.75
"""BM25's usual constants (Robertson and Zaragoza 2009)."""

RRF = 60
"""Constant of reciprocal rank fusion (Cormack, Clarke and Büttcher 2009)."""


class Passage(NamedTuple):
    """What is searched: a turn, or a whole session."""

    id: str
    text: str
    said: date | None
    sources: tuple[Source, ...]


class Baseline:
    """A way of ranking passages, as a system."""

    def __init__(self, name: str, ranker: Ranker | None, unit: str, k: int) -> None:
        self.name, self._ranker, self._unit, self._k = name, ranker, unit, k

    @property
    def config(self) -> dict[str, object]:
        return {"unit": self._unit, "k": self._k}

    def open(self, folder: Path) -> UserMemory:
        return _Kept(self.name, self._ranker, self._unit, self._k)


def baseline(spec: SystemSpec) -> Baseline:
    """The baseline of a spec."""
    if spec.unit not in ("turn", "session"):
        raise ConfigError(f"unit {spec.unit!r}: choose turn or session")
    rankers = {"grep": Grep, "bm25": BM25}
    if spec.label in ("minilm", "hybrid"):
        dense = Dense(spec.embedder)
        return Baseline(spec.label, dense if spec.label == "minilm" else Fused((BM25(), dense)), spec.unit, spec.k)
    return Baseline(spec.label, rankers[spec.label]() if spec.label in rankers else None, spec.unit, spec.k)


# -- ranking --------------------------------------------------------------------------------------------------------


class Ranker:
    """Scores passages for a query; higher is better, None leaves one out."""

    def scores(self, query: str, texts: Sequence[str]) -> list[float | None]:
        """One score a text, in order."""
        raise NotImplementedError


class Grep(Ranker):
    """The number of the query's telling words that a text contains, as parts of words too, whatever the case."""

    def scores(self, query: str, texts: Sequence[str]) -> list[float | None]:
        wanted = telling_words(query)
        found = [sum(word in text.lower() for word in wanted) for text in texts]
        return [float(count) or None for count in found]


class BM25(Ranker):
    """Okapi BM25 (Robertson and Zaragoza 2009) over stems, without stop words; the idf of Lucene, never negative.

    As search engines do it: with bare words it finds a fifth less of LoCoMo's evidence.
    """

    def scores(self, query: str, texts: Sequence[str]) -> list[float | None]:
        counts = [_counts(text) for text in texts]
        sizes = [sum(own.values()) for own in counts]
        mean = sum(sizes) / max(1, len(sizes)) or 1.0
        total = [0.0] * len(texts)
        for word in set(_STEMMER.stemWords(telling_words(query))):
            having = [place for place, own in enumerate(counts) if word in own]
            idf = math.log(1 + (len(texts) - len(having) + 0.5) / (len(having) + 0.5))
            for place in having:
                tf = counts[place][word]
                total[place] += idf * tf * (K1 + 1) / (tf + K1 * (1 - B + B * sizes[place] / mean))
        return [score or None for score in total]


_STEMMER = snowballstemmer.stemmer("english")
_COUNTED: dict[str, Counter[str]] = {}


def _counts(text: str) -> Counter[str]:
    """How often each stem stands in a text; remembered, since every query reads all texts."""
    if text not in _COUNTED:
        if len(_COUNTED) > 50_000:
            _COUNTED.clear()
        kept = set(telling_words(text))
        _COUNTED[text] = Counter(_STEMMER.stemWords([word for word in words(text) if word in kept]))
    return _COUNTED[text]


class Dense(Ranker):
    """Cosine of embeddings."""

    def __init__(self, name: str) -> None:
        self._name = name

    @functools.cached_property
    def _embedder(self) -> Embedder:
        return Remembering(get_embedder(self._name), size=200_000)

    def scores(self, query: str, texts: Sequence[str]) -> list[float | None]:
        if not texts:
            return []
        cosine_N = self._embedder.encode(texts) @ self._embedder.encode([query])[0]
        return [float(cosine) for cosine in cosine_N]


class Fused(Ranker):
    """Reciprocal rank fusion: the sum of 1 / (60 + rank) over the rankings that have a text."""

    def __init__(self, rankers: Sequence[Ranker]) -> None:
        self._rankers = rankers

    def scores(self, query: str, texts: Sequence[str]) -> list[float | None]:
        total = np.zeros(len(texts))
        for ranker in self._rankers:
            own = ranker.scores(query, texts)
            ranked = sorted(
                (place for place, score in enumerate(own) if score is not None), key=lambda p: -(own[p] or 0)
            )
            for rank, place in enumerate(ranked, start=1):
                total[place] += 1 / (RRF + rank)
        return [float(score) or None for score in total]


# -- keeping --------------------------------------------------------------------------------------------------------


class _Kept(UserMemory):
    """The sessions as they were said."""

    def __init__(self, name: str, ranker: Ranker | None, unit: str, k: int) -> None:
        self.name, self._ranker, self._unit, self._k = name, ranker, unit, k
        self._sessions: list[Session] = []

    def observe(self, session: Session) -> None:
        self._sessions.append(session)

    def search(self, query: str, k: int, *, kinds: Collection[HitKind] = BOTH, at: date | None = None) -> Sequence[Hit]:
        if self.name == "no-memory":
            return []
        if "turn" not in kinds:
            raise UnsupportedError(f"{self.name} writes no memories to search")
        if self._ranker is None:
            raise UnsupportedError(f"{self.name} ranks nothing")
        return self._ranked(self._ranker, query, k, at)

    def _ranked(self, ranker: Ranker, query: str, k: int, at: date | None) -> list[Hit]:
        passages = [one for one in self._passages() if at is None or one.said is None or one.said <= at]
        scores = ranker.scores(query, [passage.text for passage in passages])
        # of two equals the newer one comes first
        ranked = sorted(((score, place) for place, score in enumerate(scores) if score is not None), reverse=True)
        return [
            Hit(kind="turn", id=passages[place].id, text=passages[place].text, score=score, why=self.name,
                sources=passages[place].sources)
            for score, place in ranked[:k]
        ]  # fmt: skip

    def memories(self) -> Sequence[Memory]:
        if self.name == "no-memory":
            return []
        said = [(s, turn) for s in self._sessions for turn, m in enumerate(s.messages)
                if m.role == "user" and m.content.strip()]  # fmt: skip
        made: list[Memory] = [_as_memory(session, turn, place) for place, (session, turn) in enumerate(said)]
        if self.name == "close-everything":
            return [_closed(one, after) for one, after in zip(made, made[1:], strict=False)] + made[-1:]
        return made

    def applicable(self, profile: Sequence[str], request: str) -> Sequence[str]:
        if self.name == "no-memory":
            return []
        if self._ranker is None:
            return list(profile)
        scores = self._ranker.scores(request, profile)
        ranked = sorted(((score, -place) for place, score in enumerate(scores) if score is not None), reverse=True)
        return [profile[-place] for _, place in ranked[:1]]

    def asks(self, known: Sequence[str], request: str) -> bool:
        return self.name == "full-context"  # the two trivial controls: the one always asks, the others never

    def propose(self, observation: Observation) -> Proposal:
        return Proposal() if self.name == "no-memory" else super().propose(observation)

    def context(self, request: str, *, budget: int | None = 2000) -> Context:
        if self.name == "no-memory":
            return Context(text="", tokens=0)
        if self._ranker is None:
            lines = [f"{m.role}: {m.content}" for s in reversed(self._sessions) for m in reversed(s.messages)]
        else:
            lines = [hit.text for hit in self._ranked(self._ranker, request, self._k, None)]
        kept = lines if budget is None else list(_within(lines, budget))
        if self._ranker is None:
            kept = kept[::-1]
        text = "Earlier conversations:\n" + "\n".join(kept) if kept else ""
        return Context(text=text, tokens=count_tokens(text))

    def fork(self, folder: Path) -> UserMemory:
        copy = _Kept(self.name, self._ranker, self._unit, self._k)
        copy._sessions = list(self._sessions)
        return copy

    def absorb(self, other: UserMemory, *, first: bool = False) -> None:
        assert isinstance(other, _Kept)
        own = self._sessions
        self._sessions = other._sessions + own if first else own + other._sessions

    def _passages(self) -> list[Passage]:
        if self._unit == "session":
            return [_whole(session) for session in self._sessions]
        return [
            Passage(f"{session.id}#{turn}", message.content, session.date_of(turn),
                    (Source(session=session.id, turn=turn),))
            for session in self._sessions
            for turn, message in enumerate(session.messages)
            if message.content.strip()
        ]  # fmt: skip


def _whole(session: Session) -> Passage:
    text = "\n".join(f"{message.role}: {message.content}" for message in session.messages)
    return Passage(session.id, text, session.date, (Source(session=session.id, turn=0),))


def _within(lines: Iterable[str], budget: int) -> Iterable[str]:
    """The first lines that fit; one that is too long by itself is cut."""
    left = budget - 5
    for line in lines:
        cost = count_tokens(line) + 1
        if cost > left:
            if left > 20:
                yield line[: left * 3]
            return
        yield line
        left -= cost


def _as_memory(session: Session, turn: int, place: int) -> Memory:
    """A user turn, taken for a memory."""
    said = session.messages[turn].content
    return Fact(id=numbered_id("f", place), text=one_line(said), valid_at=session.date_of(turn),
                evidence=(Evidence(quote=said, session=session.id, turn=turn),))  # fmt: skip


def _closed(memory: Memory, by: Memory) -> Memory:
    return memory.model_copy(update={"invalid_at": by.valid_at or date.max, "closed_because": "a later turn"})
