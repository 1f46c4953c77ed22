"""sessions/*.jsonl: the conversations of one user, when the user keeps them."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agentmem.errors import SessionError
from agentmem.session import Message, Session
from agentmem.store import files

FORGOTTEN = "[forgotten]"
"""Stands where words were erased."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One conversation file, read."""

    path: Path
    id: str
    date: date | None
    messages: tuple[Message, ...]
    observed: int
    """Turns that have been observed."""
    end: int
    """Bytes of the file that are whole lines."""

    @property
    def session(self) -> Session:
        return Session(id=self.id, date=self.date, messages=self.messages)


class Conversations:
    """The folder of conversation files. Reading needs no lock, writing does."""

    def __init__(self, folder: Path, *, keep: bool = True) -> None:
        self.folder, self.keep = folder, keep
        self._read: dict[Path, tuple[tuple[int, int, int], Stored]] = {}

    def path_of(self, id: str) -> Path:
        """A name that any file system takes, another one for every id."""
        slug = re.sub(r"[^a-z0-9._-]+", "-", id.lower()).strip("-.")[:60]
        digest = hashlib.sha256(id.encode()).hexdigest()[:8]
        return self.folder / f"{slug or 'session'}-{digest}.jsonl"

    def paths(self) -> list[Path]:
        """Every conversation file, by name."""
        return sorted(self.folder.glob("[!.]*.jsonl")) if self.folder.is_dir() else []

    def find(self, id: str) -> Stored | None:
        """The stored conversation with this id. Raises SessionError when its file cannot be read."""
        return self.read(self.path_of(id))

    def read(self, path: Path) -> Stored | None:
        """Read one file, or what was read of it before if it has not changed. Raises SessionError with path:line."""
        stamp = files.stamp(path)
        if stamp is None:
            return None
        known = self._read.get(path)
        if known is None or known[0] != stamp:
            stored = _parse(path, files.read(path) or b"")
            if stored is None:
                return None
            known = self._read[path] = (stamp, stored)
        return known[1]

    def all(self) -> tuple[Stored, ...]:
        """Every stored conversation, by date, then id; undated ones first."""
        found = [stored for path in self.paths() if (stored := self.read(path)) is not None]
        return tuple(sorted(found, key=lambda one: (one.date or date.min, one.id)))

    def save(self, session: Session) -> int:
        """Store what is new of a conversation; returns its first turn not yet observed.

        Raises SessionError when an earlier message differs from the stored one.
        """
        stored = self.find(session.id)
        lines: list[dict[str, Any]] = []
        if stored is None:
            lines.append({"session": session.id, "date": session.date.isoformat() if session.date else None})
            known: tuple[Message, ...] = ()
        else:
            known = stored.messages
            _check_same(stored, session)
        if self.keep:
            lines += [_line(turn, message) for turn, message in enumerate(session.messages) if turn >= len(known)]
        self._append(session.id, lines, stored)
        return min(stored.observed if stored else 0, len(session.messages))

    def mark_observed(self, id: str, turns: int) -> None:
        """Note that the first `turns` turns have been observed. Raises SessionError for an unknown conversation."""
        stored = self.find(id)
        if stored is None:
            raise SessionError(f"no stored conversation {id!r}; save it before marking it as observed")
        if turns > stored.observed:
            self._append(id, [{"observed": turns}], stored)

    def _append(self, id: str, lines: list[dict[str, Any]], stored: Stored | None) -> None:
        if lines:
            path = self.path_of(id)
            with files.disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
            files.append(path, data, stored.end if stored else 0)


def dump(stored: Stored) -> bytes:
    """A whole conversation file."""
    lines: list[dict[str, Any]] = [{"session": stored.id, "date": stored.date.isoformat() if stored.date else None}]
    lines += [_line(turn, message) for turn, message in enumerate(stored.messages)]
    lines += [{"observed": stored.observed}] if stored.observed else []
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def _line(turn: int, message: Message) -> dict[str, Any]:
    at = message.at.isoformat() if message.at else None
    return {"turn": turn, "role": message.role, "content": message.content, "at": at}


def _check_same(stored: Stored, session: Session) -> None:
    for turn, (old, new) in enumerate(zip(stored.messages, session.messages, strict=False)):
        if old.role != new.role or not _same(old.content, new.content):
            raise SessionError(
                f"session {session.id!r}: message {turn + 1} differs from the stored conversation of this name; "
                "give the new conversation another session id"
            )


def _same(stored: str, given: str) -> bool:
    """Whether `given` is what was stored, also where words of it have been erased since."""
    if stored == given:
        return True
    first, *rest = stored.split(FORGOTTEN)
    if not rest or not given.startswith(first):
        return False
    place = len(first)
    for part in rest[:-1]:
        place = given.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return given.endswith(rest[-1]) and place <= len(given) - len(rest[-1])


def _parse(path: Path, data: bytes) -> Stored | None:
    """Read a file; a torn last line is left out, and None is a file without one whole line."""
    header: dict[str, Any] | None = None
    messages: list[Message] = []
    observed = end = 0
    lines = data.splitlines(keepends=True)
    for number, raw in enumerate(lines, start=1):
        try:
            line = json.loads(raw)
            if header is None:
                header = {"session": line["session"], "date": line["date"] and date.fromisoformat(line["date"])}
            elif "observed" in line:
                observed = max(observed, int(line["observed"]))
            elif line["turn"] != len(messages):
                raise SessionError(
                    f"{path}:{number}: turn {line['turn']} where {len(messages)} should stand; "
                    "put back a whole copy of the file, or move it away"
                )
            else:
                messages.append(Message(role=line["role"], content=line["content"], at=line["at"]))
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            if isinstance(error, SessionError):
                raise
            if number == len(lines) and not raw.endswith(b"\n"):
                break
            raise SessionError(
                f"{path}:{number}: not a line of a conversation; put back a whole copy of the file, or move it away"
            ) from error
        end += len(raw)
    if header is None:
        return None
    return Stored(path, header["session"], header["date"], tuple(messages), observed, end)
