"""mem0 (open source, in this process), offline: Qdrant in the memory's folder, our embedder, no telemetry.

What differs from its defaults, and why: the embedder and the chat model are those of every other system in the run;
`search` is asked without mem0's threshold of 0.1, since recall counts ranks; keyword search and entities are off, since
they need models that are fetched at run time (its extras `nlp` and `extras`). With infer off both roles are added, as
its documentation does, one message an add, so that a hit names its turn; with infer on, one add a session.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings

from agentmem.errors import ConfigError
from agentmem.models.embed import Embedder, Remembering, get_embedder
from agentmem.session import Session
from eval.errors import SystemFailedError
from eval.systems.base import UserMemory
from eval.systems.peers import (
    MAX_TOKENS,
    AsEmbeddings,
    Chat,
    Kept,
    PeerMemory,
    add_usage,
    chat_server,
    day_number,
    require,
    said_turns,
)

USER = "user"
EVERYTHING = 1_000_000
"""More memories than any benchmark makes: what `top_k` is set to for all of them."""

NOWHERE = Chat("http://127.0.0.1:9/v1", "unused", "none")
"""The chat model when infer is off; never called."""

_EMPTY = re.compile(r'"memory"\s*:\s*(\[\s*\]|\[.*"text")', re.DOTALL)
"""A reply for which nothing new is a fair result: no memories, or some that were known already."""


class Mem0System:
    """mem0, with its memories written by a chat model (`infer`) or not."""

    def __init__(self, spec) -> None:  # noqa: ANN001  SystemSpec, which imports this module
        if spec.policy not in ("", "infer"):
            raise ConfigError(f"system {spec.label!r}: choose mem0 or mem0:infer")
        require(spec.label, "mem0", "qdrant_client")
        self.name, self._k, self._infer = spec.label, spec.k, spec.policy == "infer"
        self._model = spec.model if self._infer else ""
        self._chat = chat_server(spec.label, spec.model) if self._infer else NOWHERE
        if self._infer and "OPENROUTER_API_KEY" in os.environ:
            raise ConfigError("system mem0: with OPENROUTER_API_KEY set it sends conversations there; unset it")
        self._embedder = Remembering(get_embedder(spec.embedder), size=200_000)
        self.usage: Counter[str] = Counter()
        """Calls of the chat model, and their prompt_tokens and completion_tokens."""

    @property
    def config(self) -> dict[str, object]:
        return {"infer": self._infer, "model": self._model, "vector_store": "qdrant", "embedder": self._embedder.name}

    def open(self, folder: Path) -> UserMemory:
        def make(folder: Path) -> _Mem0Memory:
            return _Mem0Memory(self, make, folder)

        return make(folder)

    def connect(self, folder: Path, replied: Callable[[Any, Any, Any], None]) -> Any:
        """mem0's own Memory, kept in `folder`."""
        return open_mem0(folder, self._embedder, self._chat, replied=replied)


def open_mem0(
    folder: Path,
    embedder: Embedder,
    chat: Chat = NOWHERE,
    *,
    store: str = "qdrant",
    replied: Callable[[Any, Any, Any], None] | None = None,
) -> Any:
    """mem0's Memory with everything it keeps in `folder`; store is qdrant or chroma."""
    mem0 = import_mem0()
    folder.mkdir(parents=True, exist_ok=True)
    where: dict[str, Any] = {"collection_name": "memories", "path": str(folder / store)}
    if store == "qdrant":
        where |= {"embedding_model_dims": embedder.dim, "on_disk": True}
    embeddings: Embeddings = AsEmbeddings(embedder)
    llm = {"model": chat.model, "api_key": chat.key, "openai_base_url": chat.url, "temperature": 0.0,
           "max_tokens": MAX_TOKENS, "response_callback": replied}  # fmt: skip
    return mem0.Memory.from_config(
        {
            "vector_store": {"provider": store, "config": where},
            "embedder": {"provider": "langchain", "config": {"model": embeddings}},
            "llm": {"provider": "openai", "config": llm},
            "history_db_path": str(folder / "history.db"),
        }
    )


def import_mem0() -> Any:
    """The package, with nothing of it going out or into the home directory. Raises ConfigError when it is too late."""
    os.environ["MEM0_TELEMETRY"] = "False"  # read once, when mem0 is imported
    os.environ.setdefault("MEM0_DIR", str(Path(tempfile.gettempdir()) / "mem0"))  # else ~/.mem0
    logging.getLogger("mem0").setLevel(logging.ERROR)  # it warns of the extras that are not there
    mem0 = import_module("mem0")
    if import_module("mem0.memory.telemetry").MEM0_TELEMETRY:
        raise ConfigError("system mem0: mem0 was imported before with its telemetry on; set MEM0_TELEMETRY=False")
    return mem0


def close_mem0(memory: Any) -> None:
    """mem0's `close` leaves the vector store open, and Qdrant's folder locked."""
    memory.close()
    if hasattr(memory.vector_store.client, "close"):
        memory.vector_store.client.close()


def fill(memory: Any, texts: Sequence[str], payloads: Sequence[dict[str, Any]], embedder: Embedder) -> list[str]:
    """Insert many at once through mem0's vector store, as its own bulk path does; the history table is left out.

    Returns the new ids.
    """
    ids = [str(uuid.uuid4()) for _ in texts]
    for begin in range(0, len(texts), 1000):
        part = slice(begin, begin + 1000)
        memory.vector_store.insert(embedder.encode(texts[part]).tolist(), list(payloads[part]), ids[part])
    return ids


class _Mem0Memory(PeerMemory):
    def __init__(self, system: Mem0System, make: Callable[[Path], _Mem0Memory], folder: Path) -> None:
        super().__init__(system.name, system._infer, system._k)
        self._system, self._make, self._folder = system, make, folder
        self._replies: list[str] = []
        self._memory = system.connect(folder, self._replied)

    def _replied(self, llm: Any, response: Any, params: Any) -> None:
        self._replies.append(response.choices[0].message.content or "")
        usage = response.usage
        add_usage(self._system.usage, usage.prompt_tokens if usage else 0, usage.completion_tokens if usage else 0)

    def observe(self, session: Session) -> None:
        self._sessions[session.id] = session
        said = said_turns(session)
        if self._infer:
            self._read(session, [{"role": role, "content": text} for _, role, text in said])
            return
        for turn, role, text in said:
            about = {"session": session.id, "turn": turn, "day": day_number(session.date_of(turn))}
            with _no_logged_errors():
                self._memory.add([{"role": role, "content": text}], user_id=USER, metadata=about, infer=False)

    def _read(self, session: Session, messages: list[dict[str, str]]) -> None:
        """One add by the chat model. Raises SystemFailedError for a reply that mem0 takes for "nothing to remember"."""
        if not messages:
            return
        self._replies.clear()
        about = {"session": session.id, "day": day_number(session.date)}
        with _no_logged_errors():
            made = self._memory.add(messages, user_id=USER, metadata=about, infer=True)["results"]
        if not made and not (self._replies and _EMPTY.search(self._replies[-1])):
            raise SystemFailedError(f"{self.name}: the model's reply has no list of memories, and mem0 dropped it")

    def _found(self, query: str, k: int, at: date | None) -> Iterable[Kept]:
        until = {"day": {"lte": at.toordinal()}} if at else {}
        with _no_logged_errors():
            found = self._memory.search(query, filters={"user_id": USER, **until}, top_k=k, threshold=0.0)["results"]
        return [_kept(one) for one in found]

    def _all(self) -> Iterable[Kept]:
        every = self._memory.get_all(filters={"user_id": USER}, top_k=EVERYTHING)["results"]
        return [_kept(one) for one in sorted(every, key=lambda one: one["created_at"])]

    def applicable(self, profile: Sequence[str], request: str) -> Sequence[str]:
        """The profile is put before mem0's own search, as another user's memories; the best one is taken."""
        other = {"user_id": f"profile-{uuid.uuid4()}", "created_at": "", "updated_at": ""}
        ids = fill(self._memory, profile, [{"data": said, **other} for said in profile], self._system._embedder)
        asked = {"user_id": other["user_id"]}
        found = self._memory.search(request, filters=asked, top_k=1, threshold=0.0)["results"]
        for id in ids:
            self._memory.vector_store.delete(id)
        return [one["memory"] for one in found]

    def fork(self, folder: Path) -> UserMemory:
        copy = self._make(folder)
        copy.absorb(self)
        return copy

    def absorb(self, other: UserMemory, *, first: bool = False) -> None:
        assert isinstance(other, _Mem0Memory)
        self._sessions |= other._sessions
        rows = other._memory.vector_store.list(filters={"user_id": USER}, top_k=EVERYTHING)[0]
        payloads = [row.payload for row in rows]
        fill(self._memory, [payload["data"] for payload in payloads], payloads, self._system._embedder)
        scope = f"user_id={USER}"  # the messages that mem0 shows its model beside the new ones
        self._memory.db.save_messages(other._memory.db.get_last_messages(scope), scope)

    def root(self) -> Path:
        return self._folder

    def close(self) -> None:
        close_mem0(self._memory)


def _kept(one: dict[str, Any]) -> Kept:
    about = one["metadata"]
    return Kept(one["id"], one["memory"], about["session"], about.get("turn"), one.get("role", "user"),
                one.get("score") or 0.0)  # fmt: skip


@contextmanager
def _no_logged_errors() -> Iterator[None]:
    """mem0 logs some failures and goes on with an empty result: here they are SystemFailedError."""
    heard: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: heard.append(record.getMessage())
    logger = logging.getLogger("mem0")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    if heard:
        raise SystemFailedError(f"mem0: {heard[0].splitlines()[0]}")
