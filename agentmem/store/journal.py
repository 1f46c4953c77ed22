"""journal.jsonl: every change of one user's files, one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from agentmem.errors import StoreError
from agentmem.memory import MemoryOp, Value
from agentmem.store import files
from agentmem.store.values import Change


class Pair(Value):
    """One thing for each of the two files: a hash or a whole text; None where there is no file, or no change."""

    memory: str | None = None
    history: str | None = None


class Record(Value):
    """One line of the journal."""

    version: int
    at: datetime
    author: str
    policy: str = ""
    model: str = ""
    ops: tuple[MemoryOp, ...] = ()
    before: Pair | None = None
    """Hashes of the files that the change found; None where a later forget has blanked them."""
    after: Pair | None = None
    text: Pair | None = None
    """Whole files after the change, where the ops alone do not say every byte: edits by hand, checkpoints."""
    undoes: int | None = None
    """Version whose change this one took back."""
    forgot: tuple[str, ...] | None = None
    """Ids that were erased: the tombstones. Not None marks a forget."""
    redacted: int = 0
    """How many ops a later forget has taken out."""

    @property
    def change(self) -> Change:
        return Change(
            version=self.version,
            at=self.at,
            author=self.author,
            policy=self.policy,
            model=self.model,
            ops=self.ops,
        )

    def line(self) -> bytes:
        empty = {name for name in ("policy", "model", "redacted") if not getattr(self, name)}
        return self.model_dump_json(exclude_none=True, exclude=empty).encode() + b"\n"


class Journal:
    """The journal of one user. Reading needs no lock, writing does."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def last(self) -> tuple[Record | None, int]:
        """The last whole record and the length of the file up to its end; what follows is a torn line."""
        data = files.read(self.path) or b""
        end = len(data)
        while end:
            start = data.rfind(b"\n", 0, end - 1) + 1
            record = _parse(data[start:end])
            if record is not None:
                return record, end
            if end != len(data):  # only the very last line can be torn
                raise self._corrupt(data.count(b"\n", 0, start) + 1)
            end = start
        return None, 0

    def records(self) -> list[Record]:
        """Every record, oldest first; a torn last line is left out. Raises StoreError naming a corrupt line."""
        lines = (files.read(self.path) or b"").splitlines(keepends=True)
        found: list[Record] = []
        for number, line in enumerate(lines, start=1):
            record = _parse(line)
            if record is None and number < len(lines):
                raise self._corrupt(number)
            if record is not None:
                if found and record.version <= found[-1].version:
                    raise StoreError(
                        f"{self.path}:{number}: version {record.version} after {found[-1].version}; "
                        "put back a whole copy of this file, or move it away (that costs only undo)"
                    )
                found.append(record)
        return found

    def append(self, record: Record, end: int) -> None:
        """Add a record after the first `end` bytes, safe on the disk. Raises StoreError, the journal as it was."""
        files.crash_hook("journal")
        files.append(self.path, record.line(), end)

    def truncate(self, end: int) -> None:
        """Take back an `append` whose files could not be written."""
        files.append(self.path, b"", end)

    def dump(self, records: Iterable[Record]) -> bytes:
        return b"".join(record.line() for record in records)

    def _corrupt(self, number: int) -> StoreError:
        return StoreError(
            f"{self.path}:{number}: not a journal record; put back a whole copy of this file, "
            "or move it away (that costs only undo)"
        )


def _parse(line: bytes) -> Record | None:
    try:
        return Record.model_validate_json(line)
    except ValidationError:
        return None
