"""Recall against the embedder's own time for the query: large users, many users, warm and cold."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from agentmem.config import Config
from agentmem.index import MAX_OPEN, MemoryIndex, open_index
from agentmem.memory import Memory
from agentmem.models.embed import Embedder
from agentmem.models.rerank import get_reranker
from agentmem.retrieve import READ, recall
from agentmem.session import Session
from benchmarks.data import QUERIES, memories, sessions
from benchmarks.timing import Row, medians

K = 8
TARGET = 1.5
AGAINST = "embedding the query"


def one_user(folder: Path, embedder: Embedder, sizes: Sequence[int], repeats: int) -> Iterator[Row]:
    """One user with that many memories (and at most 2,000 turns); the index is warm, and synced before each recall."""
    for size in sizes:
        rng = random.Random(size)
        own, talks = memories(size, rng), sessions(min(size, 1000), rng)
        with MemoryIndex(folder / f"user-{size}", embedder) as index:
            index.sync(own, talks, 1)
            for query in QUERIES:
                recall(index, query, K)
            ms, base = _against_embedding(embedder, [(query, index) for query in QUERIES * repeats], own, talks)
        target = TARGET if size <= 10_000 else None
        yield Row(f"recall, 1 user, {size:,} memories", ms, AGAINST, base, target)


def reranked(folder: Path, embedder: Embedder, size: int, repeats: int) -> Iterator[Row]:
    """Recall with the default reranker against embedding the query and reranking READ texts of the same lengths."""
    reranker = get_reranker(Config().reranker)
    assert reranker is not None
    rng = random.Random(size)
    own, talks = memories(size, rng), sessions(min(size, 1000), rng)
    with MemoryIndex(folder / f"user-{size}", embedder) as index:
        index.sync(own, talks, 1)
        texts = {query: [hit.text for hit in recall(index, query, READ)] for query in QUERIES}

        def alone(query: str) -> None:
            embedder.encode([query])
            reranker.scores(query, texts[query])

        for query in QUERIES:
            recall(index, query, K, reranker=reranker)
        ms, base = medians(QUERIES * repeats, lambda query: recall(index, query, K, reranker=reranker), alone)
    yield Row(f"recall with reranker, {size:,} memories", ms, f"embedding the query, reranking {READ} texts", base, 1.3)


def many_users(folder: Path, embedder: Embedder, users: int, repeats: int) -> Iterator[Row]:
    """Users with 20 memories and 40 turns each, asked in random order (cold), then again (warm)."""
    rng = random.Random(7)
    own, talks = memories(20, rng), sessions(20, rng)
    with MemoryIndex(folder / "u0", embedder) as first:
        first.sync(own, talks, 1)
    for user in range(1, users):  # what the users say does not matter to the time, only that each has files
        shutil.copytree(folder / "u0", folder / f"u{user}")

    count = min(users, 10 * repeats)
    cold = rng.sample(range(users), count)
    for what, asked in (("first question of a user", cold), ("of the last 8", rng.choices(cold[-8:], k=count))):
        questions = [(rng.choice(QUERIES), folder / f"u{user}") for user in asked]
        ms, base = _against_embedding(embedder, questions, own, talks)
        yield Row(f"recall, {users:,} users, {what}", ms, AGAINST, base, TARGET)
    for user in cold[-MAX_OPEN:]:
        open_index(folder / f"u{user}", embedder).close()


def _against_embedding(
    embedder: Embedder,
    questions: Sequence[tuple[str, Path | MemoryIndex]],
    own: Sequence[Memory],
    talks: Sequence[Session],
) -> tuple[float, float]:
    """Median ms of a recall, with the check that the index is up to date, and of embedding the same query."""

    def ask(question: tuple[str, Path | MemoryIndex]) -> None:
        query, where = question
        index = where if isinstance(where, MemoryIndex) else open_index(where, embedder)
        index.sync(own, talks, 1)
        recall(index, query, K)

    return medians(questions, ask, lambda question: embedder.encode([question[0]]))
