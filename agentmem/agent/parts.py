"""What the nodes work with: one user's files, index, policy and models, each made when it is first needed."""

from __future__ import annotations

import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from agentmem.config import Config
from agentmem.policy import MemoryPolicy, get_policy
from agentmem.store import MemoryStore

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from agentmem.index import MemoryIndex
    from agentmem.models.embed import Embedder


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
        self._behind: Future[None] | None = None
        self._worker: ThreadPoolExecutor | None = None

    @cached_property
    def embedder(self) -> Embedder:
        from agentmem.models.embed import get_embedder

        return self._given_embedder or get_embedder(self.config.embedder, device=self.config.device)

    @cached_property
    def model(self) -> BaseChatModel:
        from agentmem.models.chat import get_chat_model

        config = self.config
        return self._given_model or get_chat_model(
            config.model, base_url=config.base_url, max_tokens=config.max_reply_tokens,
            temperature=config.temperature, cache=config.cache,
        )  # fmt: skip

    @cached_property
    def policy(self) -> MemoryPolicy:
        return self._given_policy or get_policy(self.config.policy, embedder=lambda: self.embedder,
                                                model=lambda: self.model)  # fmt: skip

    def today(self) -> date:
        return datetime.now().astimezone().date()

    # -- the index, which may be a little behind --------------------------------------------------------------------

    def fresh_index(self) -> MemoryIndex:
        """The index, caught up with the files. Raises SearchError when it cannot be brought up to date."""
        self.wait()
        with self._index_lock:
            return self._synced()

    def index_later(self) -> None:
        """Catch the index up in the background; what fails there is tried again, aloud, by `fresh_index`."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="agentmem-index")
        if self._behind is None or self._behind.done():
            self._behind = self._worker.submit(self._catch_up)

    def _catch_up(self) -> None:
        with self._index_lock:
            self._synced()

    def wait(self) -> None:
        """Wait for the background; a failure there is not raised, since catching up again will raise it."""
        if self._behind is not None:
            self._behind.exception()
            self._behind = None

    def rebuild_index(self) -> None:
        """Write the index anew into a fresh folder and delete the old one, so that nothing forgotten stays."""
        self.wait()
        with self._index_lock:
            snapshot = self.store.load()
            self._open().rebuild(snapshot.memories, self.store.sessions(), snapshot.version)

    def close(self) -> None:
        """Finish background work and close the index."""
        self.wait()
        if self._worker is not None:
            self._worker.shutdown()
            self._worker = None
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
        """Differences between the files and the index as it stands, one line each."""
        self.wait()
        with self._index_lock:
            snapshot = self.store.load()
            return self._open().check(snapshot.memories, self.store.sessions())

    def history_lines(self, without: str | None = None) -> list[str]:
        """What was said in the stored conversations but `without`, "role: text" a turn, oldest first."""
        return [f"{message.role}: {message.content}" for session in self.store.sessions()
                if session.id != without for message in session.messages]  # fmt: skip
