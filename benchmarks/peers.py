"""agentmem beside mem0 (on Chroma and on Qdrant, infer off) and langmem's store: adding a memory, answering a query.

All embed with the same MiniLM on one thread, keep what they keep in folders of the same disk (langmem keeps it only in
memory), and are timed in turns, so that they see the same machine. Before that each is filled in bulk, the fastest way
its interface has, with vectors made once; only single adds and searches are timed, and those embed their text. An add
ends when the memory can be found: agentmem's writes the Markdown files, the journal and the index.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from agentmem.index import MemoryIndex
from agentmem.memory import Add, Memory, full_text
from agentmem.models.embed import BATCH, Embedder
from agentmem.retrieve import recall
from agentmem.store import MemoryStore
from benchmarks.data import memories, sessions
from benchmarks.timing import Row, milliseconds
from eval.systems.langmem import open_store, put_all
from eval.systems.mem0 import USER, close_mem0, fill, open_mem0
from eval.systems.peers import require

K = 8
OWN = "agentmem"
WARM_UP = 3
"""Calls of each kind before those that are timed."""


class Timed(NamedTuple):
    """A memory that is filled already."""

    add: Callable[[Memory], object]
    search: Callable[[str], object]
    close: Callable[[], object]


class Known:
    """An embedder that was given the vectors of some texts, and makes those of all others each time."""

    def __init__(self, embedder: Embedder, texts: Sequence[str]) -> None:
        self._embedder = embedder
        # in parts, so that the longest text of all does not pad every batch
        parts = [embedder.encode(texts[begin : begin + BATCH]) for begin in range(0, len(texts), BATCH)]
        self._vectors = dict(zip(texts, np.concatenate(parts), strict=True))
        self.name, self.dim = embedder.name, embedder.dim

    def encode(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        if texts and all(text in self._vectors for text in texts):
            return np.stack([self._vectors[text] for text in texts])
        return self._embedder.encode(texts)


def side_by_side(folder: Path, embedder: Embedder, size: int, repeats: int) -> Iterator[Row]:
    """p50 and p95 of adding to, and searching in, that many memories; ratios are peer / agentmem.

    Raises ConfigError when the peers are not installed.
    """
    require("peers", "mem0", "qdrant_client", "langmem")
    torch.set_num_threads(1)
    rng = random.Random(size)
    made = [one.model_copy(update={"evidence": ()}) for one in memories(size + WARM_UP + repeats, rng)]
    bulk, singles = made[:size], made[size:]
    talks = sessions(WARM_UP + repeats, rng)
    asked = [message.content for talk in talks for message in talk.messages if message.role == "user"]
    known = Known(embedder, [full_text(one) for one in bulk])
    systems = {name: begin(folder / name, known, bulk) for name, begin in SYSTEMS.items()}
    systems["embedding alone"] = _embedding(embedder)
    adds = _in_turns({name: one.add for name, one in systems.items()}, singles)
    searches = _in_turns({name: one.search for name, one in systems.items()}, asked)
    for one in systems.values():
        one.close()
    yield from _rows(f"add to {size:,}", adds)
    yield from _rows(f"search in {size:,}", searches)


def _in_turns(calls: dict[str, Callable[[Any], object]], items: Sequence[Any]) -> dict[str, list[float]]:
    """Milliseconds of each call, by system; every item goes to all systems, in changing order."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for place, item in enumerate(items):
        for name in names:
            times[name].append(milliseconds(lambda name=name, item=item: calls[name](item)))
        names = names[1:] + names[:1]
        if place + 1 == WARM_UP:
            times = {name: [] for name in calls}
    return times


def _rows(what: str, times: dict[str, list[float]]) -> Iterator[Row]:
    for quantile in (50, 95):
        own = float(np.percentile(times[OWN], quantile))
        for name, measured in times.items():
            if name != OWN:
                yield Row(f"{what}, p{quantile}: {name}", float(np.percentile(measured, quantile)), OWN, own)


# -- the systems ----------------------------------------------------------------------------------------------------


def _agentmem(folder: Path, embedder: Embedder, bulk: Sequence[Memory]) -> Timed:
    """Its store and its index, one memory an `apply`, then the index up to date."""
    store = MemoryStore(folder, "bench")
    index = MemoryIndex(store.folder / ".index", embedder)
    state = {"snapshot": store.load()}

    def put(batch: Sequence[Memory]) -> None:
        state["snapshot"] = store.apply([Add(memory=memory) for memory in batch]).snapshot
        index.sync(state["snapshot"].memories, (), state["snapshot"].version)

    def search(query: str) -> Sequence[object]:
        index.sync(state["snapshot"].memories, (), state["snapshot"].version)  # the check that a recall always makes
        return recall(index, query, K)

    put(bulk)
    return Timed(lambda memory: put([memory]), search, index.close)


def _mem0(store: str) -> Callable[[Path, Embedder, Sequence[Memory]], Timed]:
    """mem0.add and mem0.search; filled through its vector store, with the payloads that its `add` writes."""

    def begin(folder: Path, embedder: Embedder, bulk: Sequence[Memory]) -> Timed:
        memory = open_mem0(folder, embedder, store=store)
        texts = [full_text(one) for one in bulk]
        fill(memory, texts, [_payload(text) for text in texts], embedder)

        def add(one: Memory) -> object:
            return memory.add(full_text(one), user_id=USER, infer=False)

        def search(query: str) -> Sequence[object]:
            return memory.search(query, filters={"user_id": USER}, top_k=K)["results"]

        return Timed(add, search, lambda: close_mem0(memory))

    return begin


def _payload(text: str) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    return {"data": text, "hash": digest, "created_at": now, "updated_at": now, "text_lemmatized": text,
            "user_id": USER, "role": "user"}  # fmt: skip


def _langmem(folder: Path, embedder: Embedder, bulk: Sequence[Memory]) -> Timed:
    """The store that langmem's tools write to; nothing of it reaches the disk."""
    store = open_store(embedder)
    place = ("memories", USER)
    put_all(store, [(one.id, {"content": full_text(one)}) for one in bulk], place)

    def add(one: Memory) -> None:
        store.put(place, one.id, {"content": full_text(one)})

    return Timed(add, lambda query: store.search(place, query=query, limit=K), lambda: None)


def _embedding(embedder: Embedder) -> Timed:
    """No memory at all: the least that any add or search takes."""
    return Timed(lambda one: embedder.encode([full_text(one)]), lambda query: embedder.encode([query]), lambda: None)


SYSTEMS: dict[str, Callable[[Path, Embedder, Sequence[Memory]], Timed]] = {
    OWN: _agentmem,
    "mem0 on Chroma": _mem0("chroma"),
    "mem0 on Qdrant": _mem0("qdrant"),
    "langmem's store": _langmem,
}
"""How to open and fill each."""
