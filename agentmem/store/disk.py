"""UserFiles: memory.md, history.md and their journal as one thing on the disk, always brought back to one state.

A write is a journal record and two renames. What a crash left half done is finished, and what a person changed by hand
is merged, before anything else happens.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agentmem.errors import StoreError
from agentmem.markdown import Document, loads
from agentmem.memory import MemoryOp
from agentmem.store import files, merge
from agentmem.store.journal import Journal, Pair, Record
from agentmem.store.replay import Pages, blank_pages, pages_at


@dataclass(frozen=True, slots=True)
class State:
    """The files as they are at one moment."""

    pages: Pages
    version: int
    hashes: Pair
    """Of the bytes on the disk."""
    end: int = 0
    """Bytes of the journal that are whole lines."""
    journalled: bool = True
    """Whether the journal's last record made these bytes."""


class UserFiles:
    """The two files of one user and their journal. `settled` and `write` want the lock to be held."""

    def __init__(self, folder: Path, user: str, *, now: Callable[[], datetime], rng: random.Random) -> None:
        self.folder, self.user, self.now = folder, user, now
        self._rng = rng
        self.journal = Journal(folder / files.JOURNAL)
        self.paths = {"memory": folder / files.MEMORY, "history": folder / files.HISTORY}
        self._cached: tuple[tuple[object, ...], State] | None = None

    def reread(self) -> None:
        """Look at the disk next time, whatever is known."""
        self._cached = None

    def record(self, version: int, author: str, ops: tuple[MemoryOp, ...], **rest: object) -> Record:
        """A record of now."""
        fields = {"version": version, "at": self.now(), "author": author, "ops": ops, **rest}
        return Record.model_validate(fields)

    def _stamp(self) -> tuple[object, ...]:
        return tuple(files.stamp(path) for path in (*self.paths.values(), self.journal.path))

    def state(self) -> State:
        """The state; takes the lock only when something is to be finished or merged. Raises StoreError."""
        stamp = self._stamp()
        if self._cached is not None and self._cached[0] == stamp:
            return self._cached[1]
        state = self._read()
        if state is None:
            try:
                with files.locked(self.folder):
                    return self.settled()
            except StoreError as error:
                if not isinstance(error.__cause__, OSError):
                    raise
                state = self._merged(*self._disk())[0]  # nothing can be written here: what it would be
        self._cached = (stamp, state)
        return state

    def _disk(self) -> tuple[dict[str, bytes | None], Record | None, int]:
        last, end = self.journal.last()
        return {name: files.read(path) for name, path in self.paths.items()}, last, end

    def _read(self) -> State | None:
        """The state when the files are what the journal says; None when there is something to finish or to merge."""
        data, last, end = self._disk()
        if last is None and not any(data.values()):
            return State(blank_pages(self.user), 0, Pair(), end)
        hashes = Pair(memory=files.sha(data["memory"]), history=files.sha(data["history"]))
        if last is None or last.after != hashes:
            return None
        return State(self._parsed(data), last.version, hashes, end)

    def _parsed(self, data: dict[str, bytes | None], taken: Iterable[str] = ()) -> Pages:
        """Read the files; None stands for a blank one. Ids made up for lines without one are none of `taken`."""
        read, used = {"memory": blank_pages(self.user).memory, "history": blank_pages(self.user).history}, {*taken}
        for name, text in data.items():
            if text is not None:
                path = self.paths[name]
                read[name] = loads(files.decode(text, path), str(path), user=self.user, rng=self._rng, taken=used)
                used.update(memory.id for memory in read[name].memories)
        return Pages(**read)

    def settled(self) -> State:
        """The state, after an interrupted write was finished and an edit by hand merged. The lock is held."""
        stamp = self._stamp()
        state = self._cached[1] if self._cached is not None and self._cached[0] == stamp else self._read()
        if state is None:
            state, record = self._merged(*self._disk())
            if record is None and state.hashes == hashes_of(state.pages):
                self._cached = (stamp, state)
            else:
                state = self.write(state, state.pages, record)
        return state

    def _merged(self, data: dict[str, bytes | None], last: Record | None, end: int) -> tuple[State, Record | None]:
        """What the files should become, and the record to write with them; None when they only need finishing.

        `hashes` of the state are those of the files as they are.
        """
        hashes = Pair(memory=files.sha(data["memory"]), history=files.sha(data["history"]))
        records = self.journal.records()
        ours = pages_at(records, last.version, self.user) if last is not None else None
        if last is None or ours is None:
            return self._adopted(data, last.version if last else 0, hashes, end)
        edited = [
            name
            for name, known in data.items()
            if known is not None
            and getattr(hashes, name) not in (getattr(last.after, name, None), getattr(last.before, name, None))
        ]
        state = State(ours, last.version, hashes, end)
        if not edited:
            if last.after in (None, hashes_of(ours)):
                return state, None
            # Written by another version of this program, which set the same memories in other bytes.
            version = last.version + 1
            pages = merge.renumbered(ours, version)
            return State(pages, version, hashes, end), self.record(version, "repair", (), text=pages.texts)
        return self._taken_in(state, records, {name: data[name] for name in edited})

    def _taken_in(
        self, state: State, records: list[Record], edited: dict[str, bytes | None]
    ) -> tuple[State, Record | None]:
        """The edited files merged into the state of the journal."""
        ours = state.pages
        forgotten = [record for record in records if record.forgot is not None]
        gone = frozenset(id for record in forgotten for id in record.forgot or ())
        known = gone.union(memory.id for memory in ours.snapshot(0).memories)
        theirs = self._parsed(edited, known)
        theirs = Pages(*(getattr(theirs if name in edited else ours, name) for name in ("memory", "history")))
        base = merge.Base(
            self._base(records, ours, theirs, "memory"),
            self._base(records, ours, theirs, "history"),
            crossed=any(record.version > getattr(theirs, name).version for record in forgotten for name in edited),
        )
        merged = merge.merge(base, ours, theirs, today=self.now().date(), gone=gone, rng=self._rng)
        version = state.version + 1
        pages = merge.renumbered(merged.pages, version, like=ours)
        if pages.memory is ours.memory and pages.history is ours.history:
            return state, None
        texts = pages.texts
        text = Pair(
            memory=None if pages.memory is ours.memory else texts.memory,
            history=None if pages.history is ours.history else texts.history,
        )
        record = self.record(version, "person", merged.ops, text=text)
        return State(pages, version, state.hashes, state.end), record

    def _base(self, records: list[Record], ours: Pages, theirs: Pages, name: str) -> Document | None:
        mine, version = getattr(ours, name), getattr(theirs, name).version
        if version == mine.version:
            return mine
        pages = pages_at(records, version, self.user)
        return getattr(pages, name) if pages is not None else None

    def _adopted(
        self, data: dict[str, bytes | None], version: int, hashes: Pair, end: int
    ) -> tuple[State, Record | None]:
        """Files without a (whole) journal, taken as they are."""
        found = self._parsed(data)
        version = max(version, found.memory.version, found.history.version)
        merged = merge.adopted(found, self.now().date())
        if not merged.ops and None not in data.values():
            return State(found, version, hashes, end, journalled=False), None
        pages = merge.renumbered(merged.pages, version + 1)
        record = self.record(version + 1, "person", merged.ops, text=pages.texts)
        return State(pages, version + 1, hashes, end), record

    def write(self, state: State, pages: Pages, record: Record | None) -> State:
        """Bring `pages` onto the disk: new files beside the old, then the journal's record, then the renames.

        The new files are written first so that a full disk is noticed while nothing has happened yet; once the record
        is on the disk the change counts, and a crash before the renames is finished by the next load.
        """
        texts, hashes = pages.texts, hashes_of(pages)
        contents = {
            self.paths[name]: getattr(texts, name).encode()
            for name in ("history", "memory")
            if getattr(hashes, name) != getattr(state.hashes, name)
        }
        files.prepare(contents)
        version = state.version
        if record is not None:
            version = record.version
            text = record.text
            if text is None and (not state.journalled or _is_checkpoint(texts, state.end, len(record.line()))):
                text = texts
            record = record.model_copy(update={"before": state.hashes, "after": hashes, "text": text})
            try:
                self.journal.append(record, state.end)
            except StoreError:
                files.discard(contents)
                raise
        try:
            files.put_in_place(contents)
        except StoreError:
            if record is not None and all(files.temporary(path).exists() for path in contents):
                self.journal.truncate(state.end)  # nothing was renamed: as if it had not been tried
                files.discard(contents)
            raise
        end = state.end if record is None else self.journal.path.stat().st_size
        done = State(pages, version, hashes, end, journalled=record is not None or state.journalled)
        self._cached = (self._stamp(), done)
        return done


def hashes_of(pages: Pages) -> Pair:
    texts = pages.texts
    return Pair(memory=files.sha((texts.memory or "").encode()), history=files.sha((texts.history or "").encode()))


def _is_checkpoint(texts: Pair, end: int, size: int) -> bool:
    """Whether the journal has grown enough since the last whole files in it to afford them again.

    So a replay reads about four times the files at most, and they make up a fifth of the journal.
    """
    span = 4 * (len(texts.memory or "") + len(texts.history or "")) + 2**18
    return end // span != (end + size) // span
