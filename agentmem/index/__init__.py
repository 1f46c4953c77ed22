"""MemoryIndex: search in one user's memories and stored conversations. Derived: deleting its folder loses nothing.

    root/<user>/.index/state.json     what is indexed, and which generation is current; written last
    root/<user>/.index/<n>/           one generation: texts.sqlite and chroma/
    root/<user>/.index/lock           held while one process writes

Whatever vanishes from the files (forget, undo) makes a new generation, so that not a byte of it stays behind in free
pages or write-ahead logs.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from filelock import FileLock

from agentmem.errors import SearchError
from agentmem.index.entries import SHELVES, Entry, Shelf, entries_of, match_of
from agentmem.index.generation import BATCH, Generation
from agentmem.memory import Memory
from agentmem.session import Session

if TYPE_CHECKING:
    from agentmem.models.embed import Embedder

__all__ = ["MAX_OPEN", "Entry", "MemoryIndex", "Rankings", "open_index"]

FORMAT = 1
"""Raised when the files change shape; an index of another format is rebuilt."""

_log = logging.getLogger("agentmem")


class Rankings(NamedTuple):
    """What two searches found, best first, each with its score."""

    dense: Sequence[tuple[Entry, float]]
    """By meaning; the score is the cosine."""
    lexical: Sequence[tuple[Entry, float]]
    """By words; the score is bm25, higher is better."""


class _State(NamedTuple):
    format: int
    embedder: str
    dim: int
    generation: int
    version: int
    memories: int
    turns: int

    def fits(self, embedder: Embedder) -> bool:
        """Whether this code and this embedder can read the index."""
        return (self.format, self.embedder, self.dim) == (FORMAT, embedder.name, embedder.dim)


Vectors = dict[str, np.ndarray]
"""Unit vectors (dim,) by text."""

Progress = Callable[[int, int], None] | None
"""Called with (entries done, entries in all)."""


class MemoryIndex:
    """The search index of one user. Safe to share between threads; one process writes at a time.

    Files are opened on first use; `close` only lets go of them, a closed index may be used again.
    """

    def __init__(self, folder: Path | str, embedder: Embedder) -> None:
        self.folder = Path(folder)
        self.embedder = embedder
        self._mutex = threading.RLock()
        self._generation: Generation | None = None
        self._state: _State | None = None
        self._seen: tuple[int, int] | None = None  # inode and time of the state.json that was read

    # ------------------------------------------------------------------ keeping it current

    def sync(
        self,
        memories: Sequence[Memory],
        sessions: Sequence[Session],
        version: int,
        *,
        known: Mapping[str, np.ndarray] | None = None,
        progress: Progress = None,
    ) -> int:
        """Bring the index up to these memories and sessions; returns how many entries were written.

        Costs two file stats when nothing changed. Only new texts are embedded. A missing, foreign or broken index is
        made anew. A sync that is interrupted is taken up by the next.

        Args:
            memories: all of them, active and closed.
            sessions: the stored conversations.
            version: the store's version of the memories.
            known: unit vectors by text that the caller has already; they are not computed again.
            progress: called with (entries done, entries in all) after each batch.

        Raises:
            SearchError: the folder cannot be written.
        """
        target = self._target(memories, sessions, version)
        with self._mutex:
            self._refresh()
            if self._state is not None and self._state._replace(generation=0) == target and not self._left_over():
                return 0
            with self._writing():
                return self._update(entries_of(memories, sessions), target, dict(known or {}), progress)

    def rebuild(
        self,
        memories: Sequence[Memory],
        sessions: Sequence[Session],
        version: int,
        *,
        progress: Progress = None,
    ) -> int:
        """Make the index anew, trusting nothing of the old one; no byte of the old one stays. As `sync` otherwise."""
        with self._mutex, self._writing():
            return self._renew(entries_of(memories, sessions), self._target(memories, sessions, version), {}, progress)

    def check(self, memories: Sequence[Memory], sessions: Sequence[Session]) -> list[str]:
        """How the index differs from these memories and sessions, a line each; empty when it agrees."""
        wanted = entries_of(memories, sessions)
        with self._mutex:
            try:
                held, vectors = self._current().entries(), self._vector_ids()
            except SearchError as error:
                return [str(error)]
        problems = [f"{id}: missing" for id in wanted.keys() - held.keys()]
        problems += [f"{id}: stale" for id in wanted.keys() & held.keys() if wanted[id] != held[id]]
        problems += [f"{id}: not in the files any more" for id in held.keys() - wanted.keys()]
        placed = {(entry.shelf, entry.id) for entry in held.values()}
        problems += [f"{id}: no vector" for _, id in placed - vectors]
        problems += [f"{id}: vector of nothing" for _, id in vectors - placed]
        problems += [f"{path}: an old generation, not erased" for path in self._left_over()]
        return sorted(problems)

    @property
    def version(self) -> int | None:
        """The version of the memories that was indexed last; None when there is no readable index."""
        with self._mutex:
            self._refresh()
            return None if self._state is None else self._state.version

    def close(self) -> None:
        """Let go of all files."""
        with self._mutex:
            if self._generation is not None:
                self._generation.close()
            self._generation = self._state = self._seen = None

    def __enter__(self) -> MemoryIndex:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ------------------------------------------------------------------ search

    def embed(self, query: str) -> np.ndarray:
        """The query as a unit vector (dim,), for both searches."""
        return self.embedder.encode([query])[0]

    def search_memories(
        self, query: str, k: int, *, at: date | None = None, vector: np.ndarray | None = None
    ) -> Rankings:
        """Active memories, or with `at` those that held on that day, closed ones too.

        Args:
            query: any text; FTS5 operators in it mean nothing.
            k: length of each ranking at most.
            at: as of this day.
            vector: the query's unit vector (dim,), if the caller has it.

        Raises:
            SearchError: there is no index or it cannot be read; the next sync makes it anew.
        """
        shelves: tuple[Shelf, ...] = ("memories",) if at is None else ("memories", "history")
        return self._search(shelves, query, k, at, vector)

    def search_turns(self, query: str, k: int, *, at: date | None = None, vector: np.ndarray | None = None) -> Rankings:
        """Stored turns of user and assistant, long ones in pieces; with `at` those said up to that day. As above."""
        return self._search(("turns",), query, k, at, vector)

    def _search(
        self, shelves: Sequence[Shelf], query: str, k: int, at: date | None, vector: np.ndarray | None
    ) -> Rankings:
        if not query.strip() or k <= 0:
            return Rankings((), ())
        if vector is None:
            vector = self.embed(query)
        match, day = match_of(query), at.isoformat() if at is not None else None

        def look(generation: Generation) -> Rankings:
            dense = [hit for shelf in shelves for hit in generation.dense(shelf, vector, k, day)]
            lexical = [hit for shelf in shelves for hit in generation.lexical(shelf, match, k, day)] if match else []
            return Rankings(_best(dense, k), _best(lexical, k))

        with self._mutex:
            return self._read(look)

    def _read(self, look: Callable[[Generation], Rankings]) -> Rankings:
        """Look into the current generation. One that cannot be read is marked, so that the next sync makes it anew."""
        generation, seen = self._current(), self._seen
        try:
            return look(generation)
        except SearchError:
            self.close()
            if self._stamp() == seen:  # not merely erased under us by another process that had made a new one
                with suppress(OSError):
                    self._state_file.unlink()
                raise
        return look(self._current())

    def _current(self) -> Generation:
        self._refresh()
        if self._state is None:
            raise SearchError(f"{self.folder}: no index yet; sync makes it, or run 'agentmem doctor'")
        if not self._state.fits(self.embedder):
            made = f"{self.folder}: made with embedder {self._state.embedder!r}, not {self.embedder.name!r}"
            raise SearchError(f"{made}; sync makes it anew, or run 'agentmem doctor'")
        return self._opened(self._state.generation)

    def _vector_ids(self) -> set[tuple[Shelf, str]]:
        return {(shelf, id) for shelf in SHELVES for id in self._current().chroma_ids(shelf)}

    # ------------------------------------------------------------------ writing

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One writing process at a time, with everything that the last one wrote in view."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / "lock"):
                self._refresh()
                yield
        except OSError as error:
            raise SearchError(f"{self.folder}: cannot write the index: {error.strerror or error}") from error

    def _update(self, wanted: dict[str, Entry], state: _State, known: Vectors, progress: Progress) -> int:
        held = self._held()
        if held is None:
            return self._renew(wanted, state, known, progress)
        generation = self._current()
        same_text = [id for id, entry in wanted.items() if id in held and held[id].text == entry.text]
        if _vanished(held, wanted) or not self._mirrored(generation):
            known = known | _by_text(wanted, generation.vectors(same_text))
            return self._renew(wanted, state, known, progress)
        changed = [entry for id, entry in wanted.items() if held.get(id) != entry]
        moved = [id for id in same_text if held[id] != wanted[id]]
        self._fill(generation, changed, known | _by_text(wanted, generation.vectors(moved)), progress)
        self._keep(state._replace(generation=int(generation.folder.name)))
        self._sweep()
        return len(changed)

    def _held(self) -> dict[str, Entry] | None:
        """What the current generation holds; None when there is none, it is foreign or it cannot be read."""
        if self._state is None:
            return None
        try:
            return self._current().entries()
        except SearchError as error:
            _log.warning("search index is made anew: %s", error)
            return None

    def _mirrored(self, generation: Generation) -> bool:
        """Whether Chroma has what SQLite has; a writer may have been stopped between the two."""
        try:
            if generation.complete():
                return True
            reason = f"{generation.folder}: texts and vectors differ"
        except SearchError as error:
            reason = str(error)
        _log.warning("search index is made anew: %s", reason)
        return False

    def _renew(self, wanted: dict[str, Entry], state: _State, known: Vectors, progress: Progress) -> int:
        """Write a new generation, make it the current one and erase the others."""
        number = 1 + max((int(path.name) for path in self._generations()), default=0)
        generation = Generation(self.folder / str(number), self.embedder.dim)
        try:
            generation.create()
            self._fill(generation, list(wanted.values()), known, progress)
        finally:
            generation.close()
        self.close()
        self._keep(state._replace(generation=number))
        self._sweep()
        return len(wanted)

    def _fill(self, generation: Generation, entries: Sequence[Entry], known: Vectors, progress: Progress) -> None:
        for start in range(0, len(entries), BATCH):
            batch = entries[start : start + BATCH]
            fresh = list(dict.fromkeys(entry.text for entry in batch if entry.text not in known))
            vectors = known | dict(zip(fresh, self.embedder.encode(fresh), strict=True)) if fresh else known
            generation.write(batch, np.stack([vectors[entry.text] for entry in batch]))
            if progress is not None:
                progress(start + len(batch), len(entries))

    def _generations(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if path.name.isdigit()] if self.folder.is_dir() else []

    def _left_over(self) -> list[Path]:
        """Generations that are not the current one: a writer was stopped before it could erase them."""
        current = str(self._state.generation) if self._state is not None else ""
        return [path for path in self._generations() if path.name != current]

    def _sweep(self) -> None:
        for path in self._left_over():
            shutil.rmtree(path)

    # ------------------------------------------------------------------ state

    @property
    def _state_file(self) -> Path:
        return self.folder / "state.json"

    def _target(self, memories: Sequence[Memory], sessions: Sequence[Session], version: int) -> _State:
        """The state that a sync with these arguments ends in, but for the generation."""
        turns = sum(len(session.messages) for session in sessions)
        return _State(FORMAT, self.embedder.name, self.embedder.dim, 0, version, len(memories), turns)

    def _refresh(self) -> None:
        """Read state.json again if another process wrote it, and let go of the files that were open."""
        seen = self._stamp()
        if seen is not None and seen == self._seen:
            return
        self.close()
        if seen is None:
            return
        try:
            self._state = _State(**json.loads(self._state_file.read_text("utf-8")))
            self._seen = seen
        except OSError:
            return  # gone since: as if it had never been there
        except (ValueError, TypeError):
            _log.warning("search index is made anew: %s cannot be read", self._state_file)

    def _stamp(self) -> tuple[int, int] | None:
        """Inode and time of state.json, which change with each writing; None when it is not there."""
        try:
            stat = self._state_file.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns

    def _keep(self, state: _State) -> None:
        beside = self._state_file.with_suffix(".new")
        beside.write_text(json.dumps(state._asdict()), "utf-8")
        beside.replace(self._state_file)
        self._state, self._seen = state, self._stamp()

    def _opened(self, number: int) -> Generation:
        if self._generation is None:
            self._generation = Generation(self.folder / str(number), self.embedder.dim)
        return self._generation


def _best(found: list[tuple[Entry, float]], k: int) -> list[tuple[Entry, float]]:
    return sorted(found, key=lambda hit: -hit[1])[:k]


def _by_text(entries: Mapping[str, Entry], vectors: Mapping[str, np.ndarray]) -> Vectors:
    return {entries[id].text: unit_D for id, unit_D in vectors.items()}


def _vanished(held: Mapping[str, Entry], wanted: Mapping[str, Entry]) -> bool:
    """Whether something left the files for good: a memory that is gone, or a turn that is gone or reads otherwise."""
    return any(
        id not in wanted or (entry.shelf == "turns" and wanted[id].text != entry.text) for id, entry in held.items()
    )


_OPEN: OrderedDict[tuple[Path, str], MemoryIndex] = OrderedDict()
_OPEN_LOCK = threading.Lock()

MAX_OPEN = 8
"""Indexes whose files stay open at once: one that was written to holds about 17 file handles, and 256 is a common
limit."""


def open_index(folder: Path | str, embedder: Embedder) -> MemoryIndex:
    """The index in `folder`, the same object each time while it is among the MAX_OPEN last used.

    One that is pushed out is closed; it may still be used and then opens its files again.
    """
    key = (Path(folder).resolve(), embedder.name)
    with _OPEN_LOCK:
        index = _OPEN.pop(key, None) or MemoryIndex(key[0], embedder)
        _OPEN[key] = index
        oldest = _OPEN.popitem(last=False)[1] if len(_OPEN) > MAX_OPEN else None
    if oldest is not None:
        oldest.close()
    return index
