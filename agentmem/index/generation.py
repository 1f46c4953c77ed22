"""One generation of an index on disk: texts, words and vectors in SQLite, and the vectors again in Chroma.

SQLite (FTS5, bm25) answers lexical searches and compares a small shelf exactly, which is faster than opening Chroma
and needs none of its file handles; Chroma answers for a shelf that has outgrown EXACT_LIMIT. Chroma is written first
and SQLite is what a later sync compares with, so a crash in between is made good by the next sync.
"""

# ruff: noqa: S608  (the SQL is put together from our own constants; values are always bound)
from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agentmem.errors import SearchError, boundary
from agentmem.index.entries import SHELVES, Entry, Shelf

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

EXACT_LIMIT = 10_000
"""Entries of a shelf that are compared exactly: 0.2-0.6 ms for 10,000 (15 MB once read, 20 ms to read). A query of
Chroma takes 0.6 ms when it is hot and 2-5 ms between two embeddings, and 10-50 ms to open."""

BATCH = 1000
"""Entries written at once; Chroma takes at most about 5,000."""

_HEADER = struct.Struct("<IQQQQ")
"""Start of Chroma's header.bin (hnswlib): format, offset, room, entries in use, bytes an entry."""

_COLUMNS = "id, shelf, text, sources, since, until"

_SCHEMA = f"""
CREATE TABLE entry(row INTEGER PRIMARY KEY, id TEXT UNIQUE, shelf TEXT, text TEXT, sources TEXT,
                   since TEXT, until TEXT);
CREATE INDEX entry_shelf ON entry(shelf);
CREATE TABLE vector(row INTEGER PRIMARY KEY, unit BLOB);
{
    "".join(
        f'''CREATE VIRTUAL TABLE words_{shelf} USING fts5(
    text, content='entry', content_rowid='row', tokenize='porter unicode61 remove_diacritics 2');'''
        for shelf in SHELVES
    )
}
"""


class Generation:
    """The files of one generation; opened on first use, closed by `close`."""

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder = folder
        self.dim = dim
        self._database: sqlite3.Connection | None = None
        self._client: ClientAPI | None = None
        self._collections: dict[Shelf, Collection] = {}
        self._matrix: dict[Shelf, tuple[list[int], np.ndarray]] = {}
        self._counts: dict[Shelf, int] = {}
        self._complete = False

    def create(self) -> None:
        """Make the empty files."""
        self.folder.mkdir(parents=True)
        self._database = self._connect()
        self._database.execute("PRAGMA journal_mode = WAL")  # stays with the file
        self._database.executescript(_SCHEMA)
        self._open_chroma(create=True)

    def close(self) -> None:
        """Let go of every file."""
        if self._database is not None:
            self._database.close()
        if self._client is not None:
            with boundary(SearchError, f"{self.folder}: closing Chroma"):
                self._client.close()  # pyright: ignore[reportAttributeAccessIssue]  missing in the declared type only
        self._database = self._client = None
        self._scrub()
        self._collections = {}
        self._complete = False
        self._forget_cached()

    # ------------------------------------------------------------------ writing

    def write(self, entries: Sequence[Entry], vectors_ND: np.ndarray) -> None:
        """Add or replace entries with their unit vectors, in batches that are each complete."""
        self._forget_cached()
        self._complete = False  # until a later look, should this be stopped half-way
        for start in range(0, len(entries), BATCH):
            batch, vectors_BD = entries[start : start + BATCH], vectors_ND[start : start + BATCH]
            self._write_chroma(batch, vectors_BD)
            with boundary(SearchError, str(self._path)), self.database as database:
                self._drop_rows(database, [entry.id for entry in batch])
                self._insert_rows(database, batch, vectors_BD)
        self._scrub()
        self._complete = True

    def _scrub(self) -> None:
        """Zero what Chroma's files hold beyond their content.

        Chroma sizes its vector files ahead and fills them with whatever its heap held before: pieces of other users'
        files, and of what was just forgotten, have been found there.
        """
        for header in self.folder.glob("chroma/*/header.bin"):
            data = header.read_bytes()
            if len(data) < _HEADER.size:
                continue
            _, _, _, used, size = _HEADER.unpack_from(data)
            for name, end in (("data_level0.bin", used * size), ("length.bin", used * 4)):
                _zero_from(header.with_name(name), end)

    def _write_chroma(self, batch: Sequence[Entry], vectors_BD: np.ndarray) -> None:
        standing = dict(self._select_in("SELECT id, shelf FROM entry WHERE id", [entry.id for entry in batch]))
        for shelf in SHELVES:
            own = [place for place, entry in enumerate(batch) if entry.shelf == shelf]
            moved = [entry.id for entry in batch if entry.shelf != shelf == standing.get(entry.id)]
            with boundary(SearchError, f"{self.folder}: Chroma"):
                if moved:
                    self.chroma(shelf).delete(ids=moved)
                if own:
                    self.chroma(shelf).upsert(ids=[batch[place].id for place in own], embeddings=vectors_BD[own])

    def _drop_rows(self, database: sqlite3.Connection, ids: Sequence[str]) -> None:
        for row, shelf, text in self._select_in("SELECT row, shelf, text FROM entry WHERE id", ids):
            # An external-content FTS table must be told the old text to take its words out again.
            database.execute(
                f"INSERT INTO words_{shelf}(words_{shelf}, rowid, text) VALUES('delete', ?, ?)", (row, text)
            )
            database.execute("DELETE FROM vector WHERE row = ?", (row,))
            database.execute("DELETE FROM entry WHERE row = ?", (row,))

    def _insert_rows(self, database: sqlite3.Connection, batch: Sequence[Entry], vectors_BD: np.ndarray) -> None:
        for entry, unit_D in zip(batch, vectors_BD, strict=True):
            row = database.execute(f"INSERT INTO entry({_COLUMNS}) VALUES(?,?,?,?,?,?)", entry).lastrowid
            database.execute(f"INSERT INTO words_{entry.shelf}(rowid, text) VALUES(?, ?)", (row, entry.text))
            database.execute("INSERT INTO vector VALUES(?, ?)", (row, unit_D.astype("<f4").tobytes()))

    # ------------------------------------------------------------------ reading

    def entries(self) -> dict[str, Entry]:
        """Everything it holds, by id."""
        rows = self._select(f"SELECT {_COLUMNS} FROM entry")
        return {row[0]: Entry(*row) for row in rows}

    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Unit vectors (dim,) by entry id; an unknown id is left out."""
        rows = self._select_in("SELECT id, unit FROM entry JOIN vector USING(row) WHERE id", ids)
        return {id: np.frombuffer(unit, dtype="<f4") for id, unit in rows}

    def dense(self, shelf: Shelf, vector_D: np.ndarray, k: int, at: str | None = None) -> list[tuple[Entry, float]]:
        """The k entries nearest in meaning, best first, with their cosine."""
        allowed = None if at is None else self._rows_at(shelf, at)
        size = self.count(shelf) if allowed is None else len(allowed)
        if not size:
            return []
        if size <= EXACT_LIMIT:
            return self._exact(shelf, vector_D, k, allowed)
        ids = None
        if allowed is not None:
            ids = [id for _, id in self._select_in("SELECT row, id FROM entry WHERE row", allowed)]
        with boundary(SearchError, f"{self.folder}: Chroma"):
            found = self.chroma(shelf).query(query_embeddings=vector_D[None], n_results=min(k, size), ids=ids,
                                             include=["distances"])  # fmt: skip
        cosines = [1.0 - distance for distance in (found["distances"] or [[]])[0]]
        return self._with_entries("id", found["ids"][0], cosines)

    def lexical(self, shelf: Shelf, match: str, k: int, at: str | None = None) -> list[tuple[Entry, float]]:
        """The k entries that share most with an FTS5 query, best first, with bm25 (higher is better)."""
        days = "" if at is None else "AND rowid IN (SELECT row FROM entry WHERE since <= ? AND ? < until) "
        rows = self._select(
            f"SELECT rowid, -rank FROM words_{shelf} WHERE words_{shelf} MATCH ? {days}ORDER BY rank LIMIT ?",
            (match, *([at, at] if at is not None else []), k),
        )
        return self._with_entries("row", [row for row, _ in rows], [score for _, score in rows])

    def count(self, shelf: Shelf) -> int:
        """Entries on a shelf."""
        if shelf not in self._counts:
            self._counts[shelf] = self._select("SELECT count(*) FROM entry WHERE shelf = ?", (shelf,))[0][0]
        return self._counts[shelf]

    def chroma_ids(self, shelf: Shelf) -> set[str]:
        """Ids of the vectors that Chroma holds."""
        with boundary(SearchError, f"{self.folder}: Chroma"):
            return set(self.chroma(shelf).get(include=[])["ids"])

    def complete(self) -> bool:
        """Whether Chroma and SQLite hold equally many entries of each shelf; looked up once after opening."""
        if not self._complete:
            with boundary(SearchError, f"{self.folder}: Chroma"):
                self._complete = all(self.chroma(shelf).count() == self.count(shelf) for shelf in SHELVES)
        return self._complete

    def _exact(
        self, shelf: Shelf, vector_D: np.ndarray, k: int, allowed: Sequence[int] | None
    ) -> list[tuple[Entry, float]]:
        if allowed is not None:
            rows, vectors_ND = self._matrix_of("row", allowed)
        else:
            if shelf not in self._matrix:
                self._matrix[shelf] = self._matrix_of("shelf", [shelf])
            rows, vectors_ND = self._matrix[shelf]
        cosine_N = vectors_ND @ vector_D
        top = np.argpartition(-cosine_N, k)[:k] if k < len(rows) else np.arange(len(rows))
        best = top[np.argsort(-cosine_N[top], kind="stable")]
        return self._with_entries("row", [rows[place] for place in best], [float(cosine_N[place]) for place in best])

    def _matrix_of(self, column: str, values: Sequence[Any]) -> tuple[list[int], np.ndarray]:
        found = self._select_in(f"SELECT row, unit FROM entry JOIN vector USING(row) WHERE {column}", values)
        flat = np.frombuffer(b"".join(unit for _, unit in found), dtype="<f4")
        with boundary(SearchError, f"{self.folder}: vectors"):
            return [row for row, _ in found], flat.reshape(len(found), self.dim)

    def _rows_at(self, shelf: Shelf, at: str) -> list[int]:
        rows = self._select("SELECT row FROM entry WHERE shelf = ? AND since <= ? AND ? < until", (shelf, at, at))
        return [row for (row,) in rows]

    def _with_entries(self, column: str, keys: Sequence[Any], scores: Sequence[float]) -> list[tuple[Entry, float]]:
        rows = self._select_in(f"SELECT {column}, {_COLUMNS} FROM entry WHERE {column}", keys)
        known = {row[0]: Entry(*row[1:]) for row in rows}
        return [(known[key], score) for key, score in zip(keys, scores, strict=True) if key in known]

    def _forget_cached(self) -> None:
        self._matrix.clear()
        self._counts.clear()

    # ------------------------------------------------------------------ the two files

    @property
    def database(self) -> sqlite3.Connection:
        """The open SQLite file; as a context manager it is one transaction."""
        if self._database is None:
            if not self._path.is_file():
                raise SearchError(f"{self._path}: missing; run 'agentmem doctor' to rebuild the index")
            self._database = self._connect()
        return self._database

    @property
    def _path(self) -> Path:
        return self.folder / "texts.sqlite"

    def _connect(self) -> sqlite3.Connection:
        with boundary(SearchError, str(self._path)):
            database = sqlite3.connect(self._path, check_same_thread=False)  # MemoryIndex holds a lock round every use
            database.execute("PRAGMA synchronous = NORMAL")
            return database

    def _select(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        database = self.database
        with boundary(SearchError, str(self._path)):
            return database.execute(sql, tuple(values)).fetchall()

    def _select_in(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run `sql` + " IN (…)" over any number of values (SQLite takes a limited number at once)."""
        found: list[tuple[Any, ...]] = []
        for part in _parts(values, 500):
            found += self._select(f"{sql} IN ({','.join('?' * len(part))})", part)
        return found

    def chroma(self, shelf: Shelf) -> Collection:
        """The Chroma collection of a shelf."""
        if self._client is None:
            self._open_chroma(create=False)
        return self._collections[shelf]

    def _open_chroma(self, *, create: bool) -> None:
        path = self.folder / "chroma"
        if not create and not (path / "chroma.sqlite3").is_file():  # the client would make an empty one
            raise SearchError(f"{path}: missing; run 'agentmem doctor' to rebuild the index")
        with boundary(SearchError, f"{path}: Chroma"):
            import chromadb
            from chromadb.config import Settings

            client = chromadb.PersistentClient(str(path), Settings(anonymized_telemetry=False))
            self._client = client
            for shelf in SHELVES:
                if create:
                    self._collections[shelf] = client.create_collection(
                        shelf, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
                    )
                else:
                    self._collections[shelf] = client.get_collection(shelf, embedding_function=None)


def _zero_from(path: Path, end: int) -> None:
    """Overwrite a file with zeros from `end` on, where it is not zero already."""
    if not path.is_file() or path.stat().st_size <= end:
        return
    with path.open("r+b") as file:
        file.seek(end)
        if any(file.read()):
            file.seek(end)
            file.write(bytes(path.stat().st_size - end))


def _parts(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))
