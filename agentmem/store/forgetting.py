"""Erasing: the same content taken out of the pages, the journal and the conversations, as pure functions of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentmem.errors import MarkdownError
from agentmem.markdown import Document, Entry, Section, dumps, entry_of, loads
from agentmem.memory import Add, Close, Evidence, Forget, Memory, MemoryOp, Update, full_text
from agentmem.session import Message
from agentmem.store.content import Content, overlap, sentences
from agentmem.store.conversations import FORGOTTEN, Stored
from agentmem.store.journal import Pair, Record
from agentmem.store.replay import Pages

REPLACED = "replaced by a memory that was forgotten"


@dataclass(frozen=True)
class Erasure:
    """What is to go."""

    ids: frozenset[str]
    content: Content
    quotes: tuple[Evidence, ...]
    """The evidence of the forgotten memories."""
    requests: tuple[Evidence, ...] = ()
    """Messages that asked for it: erased whole."""

    def hits(self, evidence: Evidence) -> bool:
        """Whether evidence of another memory must go too: it repeats the content, or is the same words."""
        place = (evidence.session, evidence.turn)
        if place in {(one.session, one.turn) for one in self.requests} or self.content.in_text(evidence.quote):
            return True
        return any(
            place == (one.session, one.turn) and (one.quote in evidence.quote or evidence.quote in one.quote)
            for one in self.quotes
        )

    def blank(self, text: str) -> str:
        """A text with every sentence that repeats the content replaced."""
        return blanked(text, [span for span in sentences(text) if self.content.in_sentence(text[slice(*span)])])


def plan(ops: Sequence[Forget], pages: Pages, records: Iterable[Record], text: str | None) -> Erasure:
    """Gather everything that the memories to forget say and ever said, and what other memories only repeat it."""
    ids = {op.id for op in ops if op.id is not None}
    known = (*pages.memory.memories, *pages.history.memories)
    versions = [memory for memory in known if memory.id in ids]
    closings: list[Evidence] = []
    for record in records:
        for op in record.ops:
            if isinstance(op, Add | Update) and op.memory.id in ids:
                versions.append(op.memory)
            elif isinstance(op, Close) and op.id in ids and op.evidence is not None:
                closings.append(op.evidence)
    requests = tuple(op.evidence for op in ops if op.evidence is not None)
    asked = tuple(op.evidence.quote for op in ops if op.id is None and op.evidence is not None)
    quotes = tuple(dict.fromkeys([*(item for memory in versions for item in memory.evidence), *closings]))
    texts = [*(memory.text for memory in versions), *([text] if text else [])]
    wholes = [full_text(memory) for memory in versions]  # a condition alone says nothing of the user
    # what a request says is mostly what it is about: also where the memory it was taken to mean is another one
    heard = (item.quote for item in requests if item.quote not in asked)
    said = [*wholes, *(item.quote for item in quotes), *heard]
    content = Content(tuple(dict.fromkeys(texts)), tuple(dict.fromkeys(said)), asked)
    repeated = {memory.id for memory in known if content.makes_up(memory.text)}
    if repeated - ids:
        more = [Forget(id=id) for id in sorted(repeated - ids)]
        return plan([*ops, *more], pages, records, text)
    return Erasure(frozenset(ids), content, quotes, requests)


# -- pages ----------------------------------------------------------------------------------------------------------


def erased_pages(pages: Pages, erasure: Erasure) -> Pages:
    return Pages(erased_document(pages.memory, erasure), erased_document(pages.history, erasure))


def erased_document(document: Document, erasure: Erasure) -> Document:
    """The document without the forgotten memories, and with the person's own text blanked where it repeats them."""
    sections = []
    for section in document.sections:
        units: list[Entry | str] = []
        for unit in section.units:
            if isinstance(unit, str):
                units.append(_erased_unit(unit, erasure))
            elif unit.memory.id not in erasure.ids:
                units.append(_erased_entry(unit, section, document.newline, erasure))
        heading = section.heading
        if heading and section.kind is None and not heading.startswith("# ") and erasure.content.in_text(section.title):
            heading = heading.replace(section.title, FORGOTTEN)
        sections.append(Section(heading, section.title, tuple(units)))
    front = "".join(
        line
        for line in document.front.splitlines(keepends=True)
        if line.startswith(("---", "format", "user", "version")) or not erasure.content.in_text(line)
    )
    return replace(document, front=front, sections=tuple(sections))


def _erased_unit(unit: str, erasure: Erasure) -> str:
    blank = erasure.blank(unit)
    if blank == unit:
        return unit
    body = unit.lstrip()
    if body.startswith("<!--"):  # its end must not be lost
        return f"<!-- {FORGOTTEN} -->\n"
    return f"{FORGOTTEN}\n" if body.startswith(("```", "~~~")) else blank


def _erased_entry(entry: Entry, section: Section, newline: str, erasure: Erasure) -> Entry:
    memory = erased_memory(entry.memory, erasure)
    notes = "".join(_erased_note(line, erasure) for line in entry.notes.splitlines(keepends=True))
    if memory == entry.memory and notes == entry.notes:
        return entry
    return entry_of(memory, section.kind, newline, notes)


def _erased_note(line: str, erasure: Erasure) -> str:
    if erasure.blank(line) == line:
        return line
    margin, end = re.match(r"\s*(?:[-*+] )?", line), line[len(line.rstrip("\r\n")) :]
    return (margin[0] if margin else "") + FORGOTTEN + end


def erased_memory(memory: Memory, erasure: Erasure) -> Memory:
    """Another memory, without the evidence and the reason that repeat what is forgotten."""
    evidence = tuple(item for item in memory.evidence if not erasure.hits(item))
    because = memory.closed_because
    if because is not None and any(f"^{id}" in because for id in erasure.ids):
        because = REPLACED
    elif because is not None and erasure.content.in_text(because):
        because = FORGOTTEN
    if evidence == memory.evidence and because == memory.closed_because:
        return memory
    return memory.model_copy(update={"evidence": evidence, "closed_because": because})


# -- journal --------------------------------------------------------------------------------------------------------


def erased_record(record: Record, erasure: Erasure) -> Record:
    """A record that can still be replayed, but for what is forgotten; its hashes go, they could confirm a guess."""
    ops = tuple(one for op in record.ops for one in _erased_op(op, erasure))
    text = record.text
    if text is not None:
        text = Pair(memory=_erased_text(text.memory, erasure), history=_erased_text(text.history, erasure))
    gone = len(record.ops) - len(ops)
    return record.model_copy(
        update={"ops": ops, "text": text, "before": None, "after": None, "redacted": record.redacted + gone}
    )


def _erased_text(text: str | None, erasure: Erasure) -> str | None:
    if text is None:
        return None
    try:
        return dumps(erased_document(loads(text), erasure))
    except MarkdownError:  # written by an older program; the version is lost as a base, the words are not kept
        return None


def _erased_op(op: MemoryOp, erasure: Erasure) -> list[MemoryOp]:
    ids = erasure.ids
    match op:
        case Add():
            return [] if op.memory.id in ids else [Add(memory=erased_memory(op.memory, erasure))]
        case Close():
            if op.id in ids:
                return []
            changed: dict[str, Any] = {}
            if op.evidence is not None and erasure.hits(op.evidence):
                changed["evidence"] = None
            if erasure.content.in_text(op.because):
                changed["because"] = FORGOTTEN
            return [op.model_copy(update=changed)]
        case Update():
            replaces = tuple(id for id in op.replaces if id not in ids)
            if op.memory.id in ids:
                on = op.memory.valid_at
                return [Close(id=id, on=on, because=REPLACED) for id in replaces if on is not None]
            memory = erased_memory(op.memory, erasure)
            return [Update(replaces=replaces, memory=memory) if replaces else Add(memory=memory)]
        case Forget():
            return [] if op.id in ids or op.id is None else [op]


# -- conversations --------------------------------------------------------------------------------------------------


def erased_conversation(stored: Stored, erasure: Erasure, kept: Mapping[tuple[str, int], Sequence[str]]) -> Stored:
    """A conversation without the requests, the quotes, and every sentence that repeats them.

    `kept` holds, by session and turn, the quotes of memories that stay: they are not cut out of a sentence.
    """
    messages = tuple(
        _erased_message(message, stored.id, turn, erasure, kept.get((stored.id, turn), ()))
        for turn, message in enumerate(stored.messages)
    )
    return replace(stored, messages=messages)


def _erased_message(message: Message, session: str, turn: int, erasure: Erasure, kept: Sequence[str]) -> Message:
    text = message.content
    if any((one.session, one.turn) == (session, turn) for one in erasure.requests):
        return message.model_copy(update={"content": FORGOTTEN})
    quoted = [
        span
        for one in erasure.quotes
        if (one.session, one.turn) == (session, turn)
        for span in _places(text, one.quote)
    ]
    spans = [
        span for span in sentences(text) if overlap(quoted, *span) or erasure.content.in_sentence(text[slice(*span)])
    ] + quoted
    if not spans:
        return message
    protected = [span for quote in kept for span in _places(text, quote) if not overlap(quoted, *span)]
    return message.model_copy(update={"content": blanked(text, spans, protected)})


def _places(text: str, quote: str) -> list[tuple[int, int]]:
    found, start = [], text.find(quote) if quote else -1
    while start >= 0:
        found.append((start, start + len(quote)))
        start = text.find(quote, start + len(quote))
    return found


def blanked(text: str, spans: Iterable[tuple[int, int]], protected: Iterable[tuple[int, int]] = ()) -> str:
    """`text` with each run of the characters in `spans`, but not in `protected`, replaced by one marker."""
    gone = bytearray(len(text))
    for start, end in spans:
        gone[start:end] = b"\1" * (end - start)
    for start, end in protected:
        gone[start:end] = b"\0" * (end - start)
    parts: list[str] = []
    place = 0
    while place < len(text):
        end = place
        while end < len(text) and gone[end] == gone[place]:
            end += 1
        run = text[place:end]
        if not gone[place]:
            parts.append(run)
        elif run.strip():
            lead, trail = len(run) - len(run.lstrip()), len(run.rstrip())
            parts.append(run[:lead] + FORGOTTEN + run[trail:])
        else:
            parts.append(run)
        place = end
    return "".join(parts)
