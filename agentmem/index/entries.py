"""What the index holds: one entry for each memory and for each stored turn, long turns in pieces."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Literal, NamedTuple, get_args

from agentmem.memory import Memory, Source, full_text, words
from agentmem.session import Session

Shelf = Literal["memories", "history", "turns"]
"""Active memories, closed memories, stored turns: each is searched by itself."""

SHELVES: tuple[Shelf, ...] = get_args(Shelf)

MAX_CHUNK = 1000
"""Characters; an embedder reads about 256 tokens and silently ignores the rest."""

ALWAYS, NEVER = "", "9999-12-31"
"""Bounds of an unknown first day and of something that still holds, in the order of ISO dates."""

MAX_QUERY_WORDS = 64
"""Distinct words of a query that are searched lexically; a pasted document is no better a query for its length."""

_STOP_WORDS = frozenset(
    words(
        "a about am an and any are as at be been but by can could did do does for from had has have he her his how i "
        "i'm if in is it it's its just like me my of on or our she should so some than that the their them then there "
        "these they this to us was we were what when where which who why will with would you your"
    )
)

_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+|\n+")


class Entry(NamedTuple):
    """One searchable text. Equal entries need no new work; equal texts need no new embedding.

    Quotes are left out: what the index does not hold, forget need not look for.
    """

    id: str
    """A memory's id, or SESSION#TURN, or SESSION#TURN.CHUNK."""
    shelf: Shelf
    text: str
    sources: str
    """JSON [[session, turn], ...]: a memory's evidence, or the turn itself."""
    since: str
    """First day (ISO) on which it held or was said."""
    until: str
    """First day (ISO) on which it no longer held."""

    def origins(self) -> tuple[Source, ...]:
        """`sources` as values."""
        return tuple(Source(session=session, turn=turn) for session, turn in json.loads(self.sources))


def entries_of(memories: Iterable[Memory], sessions: Iterable[Session]) -> dict[str, Entry]:
    """Every entry that an index of these memories and sessions holds, by id."""
    entries = {memory.id: memory_entry(memory) for memory in memories}
    for session in sessions:
        entries.update((entry.id, entry) for entry in turn_entries(session))
    return entries


def memory_entry(memory: Memory) -> Entry:
    """The entry of one memory, on the shelf of its status."""
    shelf: Shelf = "memories" if memory.status == "active" else "history"
    origins = dict.fromkeys((evidence.session, evidence.turn) for evidence in memory.evidence)
    return Entry(memory.id, shelf, full_text(memory), json.dumps(list(origins)),
                 _day(memory.valid_at, ALWAYS), _day(memory.invalid_at, NEVER))  # fmt: skip


def turn_entries(session: Session) -> Iterator[Entry]:
    """The entries of what the user and the assistant said in one session; a blank turn has none."""
    for turn, message in enumerate(session.messages):
        if message.role not in ("user", "assistant"):
            continue
        since = _day(session.date_of(turn), ALWAYS)
        pieces = chunks(message.content)
        for place, piece in enumerate(pieces):
            # A session id may itself hold '#': what follows the last '#' is never ambiguous.
            id = f"{session.id}#{turn}" if len(pieces) == 1 else f"{session.id}#{turn}.{place}"
            yield Entry(id, "turns", piece, json.dumps([[session.id, turn]]), since, NEVER)


def chunks(text: str, limit: int = MAX_CHUNK) -> list[str]:
    """Cut a text into pieces of at most `limit` characters, at sentence ends where there are any.

    Only white space at the cuts is lost. A blank text has no pieces.
    """
    text = text.strip()
    if len(text) <= limit:
        return [text] if text else []
    ends = [match.end() for match in _SENTENCE_END.finditer(text)] + [len(text)]
    pieces, start, best = [], 0, 0
    for end in ends:
        while end - start > limit:
            cut = best if best > start else _hard_cut(text, start, limit)
            pieces.append(text[start:cut].strip())
            start = cut
        best = end
    pieces.append(text[start:].strip())
    return [piece for piece in pieces if piece]


def _hard_cut(text: str, start: int, limit: int) -> int:
    """Where to cut a sentence that is longer than `limit`: at its last blank, else in the middle of a word."""
    blank = text.rfind(" ", start + 1, start + limit)
    return blank + 1 if blank > start else start + limit


def _day(day: date | None, unknown: str) -> str:
    return day.isoformat() if day is not None else unknown


def telling_words(query: str) -> list[str]:
    """The distinct words of a text without the commonest ones, unless it has no others."""
    said = list(dict.fromkeys(words(query)))
    return [word for word in said if word not in _STOP_WORDS] or said


def match_of(query: str) -> str:
    """An FTS5 query for any of the telling words of a text; empty when it has none."""
    return " OR ".join(f'"{word}"' for word in telling_words(query)[:MAX_QUERY_WORDS])
