"""Ops on the two files, as a pure function of their text; and any earlier version again out of the journal."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agentmem.markdown import Document, dumps, loads
from agentmem.memory import Add, Close, Forget, Memory, MemoryOp, Update
from agentmem.store.draft import Draft, blank_document
from agentmem.store.journal import Pair, Record
from agentmem.store.values import Snapshot

HISTORY_TITLE = "What no longer holds for {user}"


@dataclass(frozen=True, slots=True)
class Pages:
    """The two files of one user, read."""

    memory: Document
    history: Document

    @property
    def texts(self) -> Pair:
        return Pair(memory=dumps(self.memory), history=dumps(self.history))

    def snapshot(self, version: int) -> Snapshot:
        return Snapshot.model_construct(version=version, active=self.memory.memories, closed=self.history.memories)


def blank_pages(user: str) -> Pages:
    return Pages(blank_document(user), blank_document(user, title=HISTORY_TITLE))


class PagesDraft:
    """The two files while they are being changed."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self.memory, self.history = Draft(pages.memory), Draft(pages.history)
        self._touched: dict[str, int] = {}
        self._version = pages.memory.version

    def get(self, id: str) -> Memory | None:
        for draft in (self.memory, self.history):
            if id in draft:
                return draft.entry(id).memory
        return None

    def __contains__(self, id: str) -> bool:
        return id in self.memory or id in self.history

    def act(self, op: MemoryOp, version: int) -> None:
        """Carry out one op, checked against these pages, of the change that makes `version`."""
        self._version = version
        match op:
            case Add():
                self._put(op.memory)
            case Close():
                self._close(op)
            case Update():
                self._update(op)
            case Forget():
                for name, draft in (("memory", self.memory), ("history", self.history)):
                    if op.id is not None and op.id in draft:
                        draft.drop(op.id)
                        self._touched[name] = self._version

    def pages(self) -> Pages:
        """What they have become; a file that did not change keeps its version and its bytes."""
        memory, history = self._touched.get("memory"), self._touched.get("history")
        return Pages(
            self.memory.document(memory) if memory is not None else self._pages.memory,
            self.history.document(history) if history is not None else self._pages.history,
        )

    def _put(self, memory: Memory, instead_of: str | None = None) -> None:
        home, away = ("memory", "history") if memory.status == "active" else ("history", "memory")
        notes = None
        if memory.id in getattr(self, away):  # the person's notes under it move along
            notes = getattr(self, away).drop(memory.id).notes
            self._touched[away] = self._version
        getattr(self, home).put(memory, notes=notes, instead_of=instead_of)
        self._touched[home] = self._version

    def _close(self, op: Close) -> None:
        memory = self.memory.entry(op.id).memory
        evidence = memory.evidence + ((op.evidence,) if op.evidence else ())
        self._put(memory.model_copy(update={"invalid_at": op.on, "closed_because": op.because, "evidence": evidence}))

    def _update(self, op: Update) -> None:
        new = op.memory
        others = [id for id in op.replaces if id != new.id and id in self.memory]
        placed = new.id in op.replaces
        for id in others:
            old = self.memory.entry(id)
            closing = {"invalid_at": new.valid_at, "closed_because": f"replaced by ^{new.id}"}
            closed = old.memory.model_copy(update=closing)
            if not placed and new.status == "active" and closed.kind == new.kind:
                self._put(new, instead_of=id)  # the successor stands where the old line stood
                self.history.put(closed, notes=old.notes)
                self._touched["history"] = self._version
                placed = True
            else:
                self._put(closed)
        if new.id in op.replaces or not placed:
            self._put(new)


def act(pages: Pages, ops: Iterable[MemoryOp], version: int) -> Pages:
    """The pages after `ops`, which make `version`."""
    draft = PagesDraft(pages)
    for op in ops:
        draft.act(op, version)
    return draft.pages()


def read_pages(texts: Pair, user: str, rng: random.Random | None = None) -> Pages:
    """Parse the two texts; None stands for a blank file."""
    blank = blank_pages(user)
    return Pages(
        loads(texts.memory, "memory.md", rng=rng) if texts.memory is not None else blank.memory,
        loads(texts.history, "history.md", rng=rng) if texts.history is not None else blank.history,
    )


def pages_at(records: Sequence[Record], version: int, user: str) -> Pages | None:
    """The pages after the change that made `version`; None when the journal does not reach back to it."""
    known = [record for record in records if record.version <= version]
    if not known or known[-1].version != version:
        fresh = version == 0 and records and records[0].version == 1 and records[0].before == Pair()
        return blank_pages(user) if fresh else None
    start = len(known) - 1
    while start > 0 and not _is_whole(known[start].text):
        start -= 1
    if start == 0 and known[0].version != 1 and not _is_whole(known[0].text):
        return None
    draft = PagesDraft(blank_pages(user))
    for record in known[start:]:
        if record.text is None:
            for op in record.ops:
                draft.act(op, record.version)
            continue
        texts = draft.pages().texts
        memory, history = record.text.memory, record.text.history
        texts = Pair(memory=texts.memory if memory is None else memory,
                     history=texts.history if history is None else history)  # fmt: skip
        draft = PagesDraft(read_pages(texts, user))
    return draft.pages()


def _is_whole(text: Pair | None) -> bool:
    return text is not None and text.memory is not None and text.history is not None
