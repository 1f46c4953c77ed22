"""What the peers have in common: their texts are found and listed as hits and facts of ours."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from typing import NamedTuple

from langchain_core.embeddings import Embeddings

from agentmem.errors import ConfigError
from agentmem.memory import Evidence, Fact, Hit, HitKind, Memory, Source, one_line
from agentmem.models.chat import get_chat_model
from agentmem.models.embed import Embedder
from agentmem.models.local import LocalChatModel
from agentmem.route import count_tokens
from agentmem.session import Session
from eval.errors import UnsupportedError
from eval.systems.base import BOTH, Context, UserMemory, numbered_id

WINDOW = 16_384
"""Context of a local model that writes memories: one add of mem0 sends about 8,500 tokens."""

MAX_TOKENS = 2000
"""Longest reply of a model that writes memories; mem0's own default."""


class Kept(NamedTuple):
    """One text that a peer keeps."""

    id: str
    text: str
    session: str
    turn: int | None
    """None when a model wrote the text: then only its session is known."""
    role: str = "user"
    score: float = 0.0


class Chat(NamedTuple):
    """An OpenAI-compatible server."""

    url: str
    key: str
    model: str


class AsEmbeddings(Embeddings):
    """Our embedder as LangChain's, so that all systems embed with the same weights on the same threads."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._embedder.encode(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self._embedder.encode([text])[0].tolist()


class PeerMemory(UserMemory):
    """A peer's memory of one user. Peers implement `_found` and `_all`, and what they can of the rest.

    With `infer` off a peer keeps every message as it was said, and what it finds are turns. With `infer` on a chat
    model writes memories from a whole session; a peer does not say from which message, so that a hit rests on all user
    turns of the session, in order, and a listed memory quotes none.
    """

    def __init__(self, name: str, infer: bool, k: int) -> None:
        self.name, self._infer, self._k = name, infer, k
        self._sessions: dict[str, Session] = {}

    def _found(self, query: str, k: int, at: date | None) -> Iterable[Kept]:
        """The k best texts, best first, of sessions not after `at`."""
        raise NotImplementedError

    def _all(self) -> Iterable[Kept]:
        """All texts, oldest first."""
        raise NotImplementedError

    def search(self, query: str, k: int, *, kinds: Collection[HitKind] = BOTH, at: date | None = None) -> Sequence[Hit]:
        own = "memory" if self._infer else "turn"
        if own not in kinds:
            raise UnsupportedError(f"{self.name} has nothing but {'memories' if self._infer else 'turns'} to search")
        return [self._hit(one) for one in self._found(query, k, at)]

    def memories(self) -> Sequence[Memory]:
        kept = [one for one in self._all() if one.role == "user" and one.text.strip()]
        return [self._fact(one, place) for place, one in enumerate(kept)]

    def context(self, request: str, *, budget: int | None = 2000) -> Context:
        lines, left = [], (budget or 10**9) - 5
        for one in self._found(request, self._k, None):
            line = f"- {one.text}"
            cost = count_tokens(line) + 1
            if cost > left:
                if left > 20:  # a text that is too long is cut, as the baselines' are
                    lines.append(line[: left * 3])
                break
            lines.append(line)
            left -= cost
        text = "Memories of the user:\n" + "\n".join(lines) if lines else ""
        return Context(text=text, tokens=count_tokens(text))

    def _hit(self, one: Kept) -> Hit:
        if one.turn is not None:
            source = Source(session=one.session, turn=one.turn)
            return Hit(kind="turn", id=f"{one.session}#{one.turn}", text=one.text, score=one.score, why=self.name,
                       sources=(source,))  # fmt: skip
        said = self._sessions[one.session].messages
        sources = tuple(Source(session=one.session, turn=turn) for turn, m in enumerate(said) if m.role == "user")
        return Hit(kind="memory", id=one.id, text=one.text, score=one.score, why=self.name, sources=sources)

    def _fact(self, one: Kept, place: int) -> Memory:
        session = self._sessions[one.session]
        if one.turn is None:
            return Fact(id=numbered_id("f", place), text=one_line(one.text), valid_at=session.date)
        said = Evidence(quote=one.text, session=one.session, turn=one.turn)
        return Fact(id=numbered_id("f", place), text=one_line(one.text), valid_at=session.date_of(one.turn),
                    evidence=(said,))  # fmt: skip


def said_turns(session: Session) -> list[tuple[int, str, str]]:
    """Turn, role and text of what the user and the assistant said."""
    return [
        (turn, message.role, message.content)
        for turn, message in enumerate(session.messages)
        if message.role in ("user", "assistant") and message.content.strip()
    ]


def day_number(day: date | None) -> int:
    """Days since year 1; undated counts as always."""
    return day.toordinal() if day else 0


def require(system: str, *packages: str) -> None:
    """Raises ConfigError when a package of the peers is missing."""
    if any(importlib.util.find_spec(package) is None for package in packages):
        raise ConfigError(f"system {system}: needs a package that is not installed: pip install 'agentmem[peers]'")


def local_model(name: str) -> LocalChatModel:
    """The local chat model called `name`, with room for the peers' prompts."""
    model = get_chat_model(name, max_tokens=MAX_TOKENS)
    assert isinstance(model, LocalChatModel)
    return model.model_copy(update={"context": WINDOW})


def chat_server(system: str, name: str) -> Chat:
    """Where the chat model `name` is served. A local model is served by this process, on 127.0.0.1.

    Raises ConfigError for a model that no OpenAI-compatible server is known for.
    """
    provider, _, model = name.partition(":")
    if provider == "local":
        return Chat(*local_model(name).endpoint(), model)
    if provider != "openai" or not model:
        raise ConfigError(f"system {system}: its chat model must be local:NAME or openai:NAME, not {name!r}")
    url, key = os.environ.get("OPENAI_BASE_URL"), os.environ.get("OPENAI_API_KEY")
    if not key:
        raise ConfigError(f"system {system}: set OPENAI_API_KEY (and OPENAI_BASE_URL for a server of your own)")
    return Chat(url or "https://api.openai.com/v1", key, model)


def add_usage(total: Counter[str], prompt: int, completion: int) -> None:
    """Count one call of the chat model."""
    total.update(calls=1, prompt_tokens=prompt, completion_tokens=completion)
