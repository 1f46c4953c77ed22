"""A person's edit of the files, as ops: what they saw (base), what is there now (ours), what they saved (theirs)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from agentmem.markdown import Document, Entry, Section
from agentmem.memory import MEMORY, Add, Close, Forget, Memory, MemoryOp, Update
from agentmem.store.carry import carry_text, same_text
from agentmem.store.conversations import FORGOTTEN
from agentmem.store.draft import Draft, at_version
from agentmem.store.replay import Pages
from agentmem.store.rules import DELETED

MOVED = "moved to the history by hand"
_REOPENED = {"invalid_at": None, "closed_because": None}


@dataclass(frozen=True, slots=True)
class Base:
    """What the person's editor had read; None for a file whose version the journal does not know."""

    memory: Document | None
    history: Document | None
    crossed: bool = False
    """Whether a forget lies between it and now."""


@dataclass(frozen=True, slots=True)
class Merged:
    pages: Pages
    ops: tuple[MemoryOp, ...]


def merge(base: Base, ours: Pages, theirs: Pages, *, today: date, gone: frozenset[str], rng: random.Random) -> Merged:
    """The files as they should become, and the person's changes of the memories.

    A line that was not in `base` never counts as deleted; a line they deleted is closed; a line they changed wins over
    what happened to it since. `gone` are the ids of forgotten memories, which do not come back.
    """
    taken = {*gone, *(one.id for pages in (ours, theirs) for one in pages.snapshot(0).memories)}
    theirs = Pages(
        carry_text(base.memory, ours.memory, theirs.memory, crossed=base.crossed, rng=rng, taken=taken),
        carry_text(base.history, ours.history, theirs.history, crossed=base.crossed, rng=rng, taken=taken),
    )
    sides = _Sides(base, ours, theirs, gone)
    wanted = {id: memory for id in sides.ids if (memory := _wanted(id, sides, today)) is not None}
    active = {id: memory for id, memory in wanted.items() if memory.invalid_at is None}
    closed = {id: memory for id, memory in wanted.items() if memory.invalid_at is not None}
    pages = Pages(
        _laid_out(theirs.memory, ours.memory, base.memory, active, sides),
        _laid_out(theirs.history, ours.history, base.history, closed, sides),
    )
    return Merged(pages, tuple(changes(sides.now.values(), wanted.values())))


def changes(before: Iterable[Memory], after: Iterable[Memory]) -> list[MemoryOp]:
    """The ops that lead from one set of memories to another. One that is no longer there at all is a Forget."""
    old, new = {memory.id: memory for memory in before}, {memory.id: memory for memory in after}
    ops: list[MemoryOp] = [Forget(id=id) for id in old if id not in new]
    for id, memory in new.items():
        was = old.get(id)
        if was is None:
            ops.append(Add(memory=memory))
        elif was != memory:
            closing = {"invalid_at": memory.invalid_at, "closed_because": memory.closed_because}
            if memory.invalid_at and was.invalid_at is None and was.model_copy(update=closing) == memory:
                ops.append(Close(id=id, on=memory.invalid_at, because=memory.closed_because or ""))
            else:
                ops.append(Update(replaces=(id,), memory=memory))
    return ops


def adopted(pages: Pages, today: date) -> Merged:
    """Files without a journal, taken as they are: only what lacks an id or stands in the wrong file is put right."""
    memory, history = Draft(pages.memory), Draft(pages.history)
    ops: list[MemoryOp] = []
    for entry in pages.memory.entries:
        one = entry.memory if entry.has_id else entry.memory.model_copy(update={"edited_at": today})
        if one.id in history:  # in both files: a cut and paste, or a crash; the active one counts
            history.drop(one.id)
        if one.invalid_at is not None:
            history.put(one, notes=memory.drop(one.id).notes)
        elif not entry.has_id:
            memory.put(one, notes=entry.notes)
        ops += [] if entry.has_id and one.invalid_at is None else [Add(memory=one)]
    for entry in pages.history.entries:
        if entry.memory.id in history and (entry.memory.invalid_at is None or not entry.has_id):
            one = entry.memory.model_copy(update={"invalid_at": entry.memory.invalid_at or today})
            history.put(one, notes=entry.notes)
            ops.append(Add(memory=one))
    return Merged(Pages(memory.document(), history.document()), tuple(ops))


def renumbered(pages: Pages, version: int, like: Pages | None = None) -> Pages:
    """The pages with `version` on each file that is not the same as in `like`."""
    if like is None:
        return Pages(at_version(pages.memory, version), at_version(pages.history, version))
    return Pages(
        like.memory if same_text(pages.memory, like.memory) else at_version(pages.memory, version),
        like.history if same_text(pages.history, like.history) else at_version(pages.history, version),
    )


class _Sides:
    """Who has which memory, by id, for each of the two files."""

    def __init__(self, base: Base, ours: Pages, theirs: Pages, gone: frozenset[str]) -> None:
        self.crossed, self.gone = base.crossed, gone
        self.now_entries = {entry.memory.id: entry for doc in (ours.memory, ours.history) for entry in doc.entries}
        self.now = {id: entry.memory for id, entry in self.now_entries.items()}
        named = {entry.memory.id for doc in (theirs.memory, theirs.history) for entry in doc.entries if entry.has_id}
        self._lost: dict[tuple[str, str, str], list[str]] = {}
        for id, memory in self.now.items():
            if id not in named:
                self._lost.setdefault(_line_of(memory), []).append(id)
        self.id_of: dict[str, str] = {}
        """For a line without id that says what a missing line said: the id of that one."""
        self.their_memory, self.their_history = self._named(theirs.memory), self._named(theirs.history)
        self.base_memory = self._base(base.memory, self.their_memory)
        self.base_history = self._base(base.history, self.their_history)
        self.ids = list(dict.fromkeys([*self.their_memory, *self.their_history, *self.now]))

    def _named(self, document: Document) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for entry in document.entries:
            id = entry.memory.id
            if not entry.has_id and (same := self._lost.get(_line_of(entry.memory))):
                self.id_of[id] = id = same.pop(0)
            found[id] = entry
        return found

    def _base(self, document: Document | None, theirs: Mapping[str, Entry]) -> dict[str, Memory]:
        if document is not None:
            return {memory.id: memory for memory in document.memories}
        return {id: self.now[id] for id in theirs if id in self.now}


def _line_of(memory: Memory) -> tuple[str, str, str]:
    return (memory.kind, getattr(memory, "when", ""), memory.text)


def _wanted(id: str, sides: _Sides, today: date) -> Memory | None:
    """The memory as the person wants it and nothing else has changed it; None when it is not to be there."""
    if id in sides.gone:
        return None
    now = sides.now.get(id)
    here, there = sides.their_memory.get(id), sides.their_history.get(id)
    was_here, was_there = sides.base_memory.get(id), sides.base_history.get(id)
    if here is not None:
        changed = _changed(here, was_here, sides.crossed)
        if was_here is None or changed:
            return _active(here, was_here or was_there, now, today, sides.crossed)
    if there is not None:
        changed = _changed(there, was_there, sides.crossed)
        if (was_there is None and (was_here is None or here is None)) or (was_there is not None and changed):
            return _closed(there, was_there or was_here, now, today, sides.crossed)
    if was_here is not None and here is None and now is not None and now.invalid_at is None:
        return now.model_copy(update={"invalid_at": today, "closed_because": DELETED})
    return now


def _active(entry: Entry, saw: Memory | None, now: Memory | None, today: date, crossed: bool) -> Memory:
    """A line they wrote or changed in memory.md, or brought back from the history; an end they typed closes it."""
    memory = _with_changes(entry, saw, now, today, crossed)
    typed = entry.memory.invalid_at if entry.has_details else None
    if typed is None or (now is not None and now.invalid_at == typed):
        return memory.model_copy(update=_REOPENED)
    return memory.model_copy(update={"invalid_at": typed, "closed_because": entry.memory.closed_because or MOVED})


def _closed(entry: Entry, saw: Memory | None, now: Memory | None, today: date, crossed: bool) -> Memory:
    """A line they wrote, changed or moved in history.md."""
    memory = _with_changes(entry, saw, now, today, crossed)
    if now is not None and now.invalid_at is None and saw is not None and saw.invalid_at is not None:
        return memory.model_copy(update=_REOPENED)  # it holds again since they read it
    ended = memory.invalid_at or (now.invalid_at if now else None) or today
    because = memory.closed_because or (now.closed_because if now else None) or MOVED
    return memory.model_copy(update={"invalid_at": ended, "closed_because": because})


def _changed(entry: Entry, saw: Memory | None, crossed: bool) -> dict[str, Any]:
    """The fields that the person changed in a line they had read."""
    if saw is None:
        return {}
    fields = ["kind", "text", *(["when"] if "when" in (entry.memory.model_fields_set | saw.model_fields_set) else [])]
    if entry.has_details:
        fields += ["evidence", "basis", "confidence", "valid_at", "invalid_at", "closed_because", "edited_at"]
    new = {name: getattr(entry.memory, name, None) for name in fields}
    if crossed:  # what a forget took away is not brought back by an older buffer
        new["evidence"] = tuple(item for item in entry.memory.evidence if item in saw.evidence)
        if not entry.has_details or new["evidence"] == saw.evidence:
            new["evidence"] = saw.evidence
        if FORGOTTEN in saw.text:
            new["text"] = saw.text
    return {name: value for name, value in new.items() if value != getattr(saw, name, None)}


def _with_changes(entry: Entry, saw: Memory | None, now: Memory | None, today: date, crossed: bool) -> Memory:
    """Theirs where they changed something, ours elsewhere."""
    if saw is None and now is None:
        return entry.memory.model_copy(update={"edited_at": today})
    changed = _changed(entry, saw or now, crossed)
    if not changed:
        return now or entry.memory
    if changed.keys() & {"kind", "text", "when"}:
        changed = {"basis": "stated", "confidence": 1.0} | changed
    fields = (now or entry.memory).model_dump() | changed
    fields["edited_at"] = changed.get("edited_at", today) or (None if changed.keys() == {"edited_at"} else today)
    if fields["kind"] != "instruction":
        fields.pop("when", None)
    elif fields.get("when") is None:
        fields["when"] = "always"
    return MEMORY.validate_python(fields)


def _laid_out(
    theirs: Document, ours: Document, base: Document | None, wanted: dict[str, Memory], sides: _Sides
) -> Document:
    """The person's file with the wanted memories: lines that are right stay as they stand, others are rewritten."""
    draft = Draft(theirs)
    was = {entry.memory.id: entry.notes for entry in (base or ours).entries}
    now = {entry.memory.id: entry.notes for entry in ours.entries}
    placed: set[str] = set()
    for entry in theirs.entries:
        id = sides.id_of.get(entry.memory.id, entry.memory.id)
        if id not in wanted:
            draft.drop(entry.memory.id)
            continue
        placed.add(id)
        notes = _notes(was.get(id), now.get(id), entry.notes)
        if not entry.has_id or wanted[id] != entry.memory or notes != entry.notes:
            draft.put(wanted[id], notes=notes, instead_of=entry.memory.id)
    titles = _titles(ours.sections)
    for id, memory in wanted.items():
        if id not in placed:
            entry = sides.now_entries.get(id) or sides.their_memory.get(id) or sides.their_history.get(id)
            draft.put(memory, notes=entry.notes if entry else "", title=titles.get(id))
    return draft.document()


def _titles(sections: Iterable[Section]) -> dict[str, str]:
    return {unit.memory.id: one.title for one in sections for unit in one.units if isinstance(unit, Entry)}


def _notes(was: str | None, now: str | None, theirs: str) -> str:
    """Notes under one line, merged: theirs, unless only ours changed; if both did, all of them."""
    if now is None or now in (was, theirs):
        return theirs
    if theirs == was or FORGOTTEN in now:
        return now
    added = [line for line in now.splitlines(keepends=True) if line not in theirs]
    return theirs + "".join(added)
