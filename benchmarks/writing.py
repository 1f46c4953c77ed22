"""Observe against embedding plus one fsync; bulk import against one memory after another."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from agentmem.agent import Agent
from agentmem.index import MemoryIndex
from agentmem.memory import Add, full_text
from agentmem.models.embed import Embedder
from agentmem.models.judges import shipped
from agentmem.session import Message, Session
from agentmem.store import MemoryStore
from benchmarks.data import memories
from benchmarks.timing import Row, milliseconds

_SAID = (
    "I love {} more than anything else on a weekend.", "From now on, keep answers about {} short, please.",
    "Could you tell me how {} works?", "My sister lives near {} and visits every month.", "Thanks, that helps with {}!",
    "I never eat {} because it makes me ill.",
)  # fmt: skip
_ASKED = "I've a question about the plan for Saturday, since the weather looks bad and the children are bored."
_ABOUT = ("sailing", "chess", "almonds", "opera", "the harbour", "yoga", "maps", "sushi", "trams", "roses")


def observe(folder: Path, embedder: Embedder, repeats: int) -> Iterator[Row]:
    """A new conversation of six user turns; the index catches up afterwards, outside the time."""
    agent = Agent(user="bench", root=folder, embedder=embedder, policy="offline")
    talks = [
        Session(id=f"t{n}", messages=tuple(message for said in _SAID for message in (
            Message(role="user", content=said.format(f"{_ABOUT[n % len(_ABOUT)]} number {n}")),
            Message(role="assistant", content="I see."))))
        for n in range(3 + repeats)
    ]  # fmt: skip

    judge = shipped("lines")

    def embed_and_fsync(talk: Session, learnt: list[str]) -> None:
        said = [message.content for message in talk.messages if message.role == "user"]
        embedder.encode(said + learnt)
        before = ["", *(f"{one} / I see." for one in said)]
        judge.probabilities(list(zip(said, before, strict=False)))
        with (folder / "one-line").open("ab") as file:
            file.write(b"x" * 2000 + b"\n")
            file.flush()
            os.fsync(file.fileno())

    own, base = [], []
    for talk in talks:
        before = set(agent.memories())
        own.append(milliseconds(lambda talk=talk: agent.observe(talk)))
        learnt = [full_text(memory) for memory in agent.memories() if memory not in before]
        agent.recall("ready?")  # waits for the index, so that its work is in neither time
        base.append(milliseconds(lambda talk=talk, learnt=learnt: embed_and_fsync(talk, learnt)))
    agent.close()
    yield Row("observe, 6 user turns, offline policy", median(own[3:]), "embedding, judging each turn once, fsync",
              median(base[3:]), 2.5)  # fmt: skip
    yield Row("observe, a conversation of 12 messages", median(own[3:]), "one second", 1000, 1.0)


def history(folder: Path, embedder: Embedder) -> Iterator[Row]:
    """33 conversations of ten messages, one after the other, as a history is imported."""
    agent = Agent(user="import", root=folder, embedder=embedder, policy="offline")
    rng = random.Random(5)
    talks = []
    for number in range(33):
        said = rng.sample(_SAID, 5)
        messages = [message for text in said for message in (
            Message(role="user", content=f"{_ASKED} {text.format(rng.choice(_ABOUT))}"),
            Message(role="assistant", content="Here is what I would do. " * 12))]  # fmt: skip
        talks.append(Session(id=f"h{number}", messages=tuple(messages)))

    def import_all() -> None:
        for talk in talks:
            agent.observe(talk)
        agent.recall("ready?")

    ms = milliseconds(import_all)
    agent.close()
    yield Row("import of 33 conversations, indexed", ms, "two minutes", 120_000, 1.0)


def bulk_import(folder: Path, embedder: Embedder, count: int, singles: int) -> Iterator[Row]:
    """Store and index `count` memories at once, and after that `singles` more one by one; per memory."""
    made = memories(count + singles, random.Random(1))
    store = MemoryStore(folder, "bulk")
    with MemoryIndex(store.folder / ".index", embedder) as index:

        def take_in(batch: list[Add]) -> None:
            snapshot = store.apply(batch).snapshot
            index.sync(snapshot.memories, (), snapshot.version)

        adds = [Add(memory=memory.model_copy(update={"evidence": ()})) for memory in made]
        whole = milliseconds(lambda: take_in(adds[:count])) / count
        single = median(milliseconds(lambda one=one: take_in([one])) for one in adds[count:])
    yield Row(f"bulk import of {count:,} memories, per memory", whole, "one by one", single, 10, faster=True)
