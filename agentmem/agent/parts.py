"""What the nodes work with: one user's files, index, policy and models, each made when it is first needed."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Collection
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from agentmem.config import Config
from agentmem.errors import AgentMemError, ModelError, SearchError
from agentmem.memory import Hit, HitKind
from agentmem.policy import MemoryPolicy, get_policy
from agentmem.retrieve import recall
from agentmem.route import Route, choose_route
from agentmem.store import MemoryStore

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from agentmem.index import MemoryIndex
    from agentmem.models.embed import Embedder
    from agentmem.models.rerank import Reranker

IDLE_SECONDS = 0.5
"""Pause after an observe before the index follows."""

_log = logging.getLogger("agentmem")


class Parts:
    """One user's store, index, policy, embedder and chat model. Heavy ones are loaded on first use, once."""

    def __init__(
        self,
        config: Config,
        *,
        model: BaseChatModel | None = None,
        policy: MemoryPolicy | None = None,
        embedder: Embedder | None = None,
        seed: int | None = None,
    ) -> None:
        self.config = config
        self.rng = random.Random(seed)
        self.store = MemoryStore(config.root, config.user, keep_sessions=config.keep_sessions, rng=self.rng)
        self._given_model, self._given_policy, self._given_embedder = model, policy, embedder
        self._index: MemoryIndex | None = None
        self._index_lock = threading.Lock()
        self._timer: threading.Timer | None = None

    @cached_property
    def embedder(self) -> Embedder:
        from agentmem.models.embed import Remembering, get_embedder

        return Remembering(self._given_embedder or get_embedder(self.config.embedder, device=self.config.device))

    @cached_property
    def reranker(self) -> Reranker | None:
        from agentmem.models.rerank import get_reranker

        try:
            return get_reranker(self.config.reranker, self.config.cache)
        except ModelError as error:  # a search without it is better than none
            _log.warning('searching without the reranker; set reranker to "none" to silence this: %s', error)
            return None

    @cached_property
    def model(self) -> BaseChatModel:
        from agentmem.models.chat import get_chat_model

        config = self.config
        return self._given_model or get_chat_model(
            config.model,
            base_url=config.base_url,
            max_tokens=config.max_reply_tokens,
            temperature=config.temperature,
            cache=config.cache,
        )

    @property
    def policy_model(self) -> str:
        """Name of the model behind the policy, for the journal; empty where the policy has none or its own."""
        if self._given_policy is not None or self.policy.name != "prompted":
            return ""
        return self.config.model if self._given_model is None else type(self._given_model).__name__

    @cached_property
    def policy(self) -> MemoryPolicy:
        return self._given_policy or get_policy(
            self.config.policy,
            embedder=lambda: self.embedder,
            model=lambda: self.model,
            cache=self.config.cache,
            device=self.config.device,
        )

    def today(self) -> date:
        return datetime.now().astimezone().date()

    # -- the index, which may be a little behind --------------------------------------------------------------------

    def fresh_index(self) -> MemoryIndex:
        """The index, caught up with the files. Raises SearchError when it cannot be brought up to date."""
        self._cancel()
        with self._index_lock:
            return self._synced()

    def index_later(self) -> None:
        """Catch the index up once nothing has been observed for a moment: embedding would slow the next observe."""
        self._cancel()
        self._timer = threading.Timer(IDLE_SECONDS, self._catch_up)
        self._timer.daemon = True
        self._timer.start()

    def _catch_up(self) -> None:
        try:
            with self._index_lock:
                self._synced()
        except AgentMemError as error:
            _log.warning("the search index stays behind until the next search: %s", error)

    def _cancel(self) -> bool:
        """Stop a waiting catch-up; returns whether there was one."""
        waiting, self._timer = self._timer, None
        if waiting is None:
            return False
        waiting.cancel()
        return True

    def search(
        self,
        query: str,
        *,
        at: date | None = None,
        k: int | None = None,
        without: str | None = None,
        kinds: Collection[HitKind] = ("memory", "turn"),
    ) -> list[Hit]:
        """The best hits for a query; an index found broken on the way is made anew, once."""
        k = self.config.k if k is None else k

        def look() -> list[Hit]:
            others = {without} if without else ()
            return recall(self.fresh_index(), query, k, at=at, without=others, kinds=kinds, reranker=self.reranker)

        try:
            return look()
        except SearchError:
            return look()

    def rebuild_index(self) -> None:
        """Write the index anew, trusting nothing of the old one."""
        self._cancel()
        with self._index_lock:
            snapshot = self.store.load()
            self._open().rebuild(snapshot.memories, self.store.sessions(), snapshot.version)

    def close(self) -> None:
        """Let the index follow if it is behind, and let go of its files."""
        if self._cancel():
            self._catch_up()
        with self._index_lock:  # a catch-up that has begun ends first
            if self._index is not None:
                self._index.close()
                self._index = None

    def _open(self) -> MemoryIndex:
        if self._index is None:
            from agentmem.index import open_index

            self._index = open_index(self.store.folder / ".index", self.embedder)
        return self._index

    def _synced(self) -> MemoryIndex:
        index, snapshot = self._open(), self.store.load()
        index.sync(snapshot.memories, self.store.sessions(), snapshot.version)
        return index

    def check_index(self) -> list[str]:
        """How the index differs from the files, a line each; that it is merely behind is no fault, and mended."""
        with self._index_lock:
            snapshot = self.store.load()
            if self._open().version not in (None, snapshot.version):
                self._synced()
            return self._open().check(snapshot.memories, self.store.sessions())

    def choose_route(self, without: str | None = None) -> Route:
        """How to read the memory, by the size of what is stored; `without` the conversation going on."""
        sessions = [session for session in self.store.sessions() if session.id != without]
        return choose_route(
            self.store.load().active,
            sessions,
            memory_budget=self.config.memory_budget,
            history_budget=self.config.history_limit(self._given_model._llm_type if self._given_model else ""),
        )

    def history_lines(self, without: str | None = None) -> list[str]:
        """What was said in the stored conversations but `without`, "role: text" a turn, oldest first."""
        return [
            f"{message.role}: {message.content}"
            for session in self.store.sessions()
            if session.id != without
            for message in session.messages
        ]
