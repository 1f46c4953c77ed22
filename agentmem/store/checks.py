"""Checks of one user's folder: is everything well, and is what was forgotten really gone?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from agentmem.errors import AgentMemError, SessionError, StoreError
from agentmem.markdown import Document, loads
from agentmem.store import files
from agentmem.store.content import Content, plain_words
from agentmem.store.conversations import Conversations
from agentmem.store.journal import Journal, Record
from agentmem.store.replay import pages_at


def doctor(folder: Path, user: str) -> list[str]:
    """Problems of the files, "file:line: what; fix" each; an edit by hand that is yet to be read is not one."""
    problems: list[str] = []
    documents = {name: _document(folder / name, user, problems) for name in (files.MEMORY, files.HISTORY)}
    problems += _id_problems(folder, documents)
    try:
        records = Journal(folder / files.JOURNAL).records()
        problems += _journal_problems(folder, user, records, documents)
    except StoreError as error:
        problems.append(str(error))
    conversations = Conversations(folder / files.SESSIONS)
    for path in conversations.paths():
        try:
            stored = conversations.read(path)
        except (SessionError, StoreError) as error:
            problems.append(str(error))
            continue
        if stored is None:
            problems.append(f"{path}:1: no conversation in it; delete the file")
        elif path != conversations.path_of(stored.id):
            wanted = conversations.path_of(stored.id).name
            problems.append(f"{path}:1: holds session {stored.id!r}, which belongs in {wanted}; rename the file")
    return problems


def verify_forgotten(folder: Path, user: str, content: Iterable[str]) -> list[str]:
    """What speaks against everything forgotten being gone: ids in use, unredacted records, `content` in any file."""
    problems: list[str] = []
    try:
        records = Journal(folder / files.JOURNAL).records()
    except StoreError as error:
        return [str(error)]
    gone = {id for record in records for id in record.forgot or ()}
    last = max((place for place, record in enumerate(records) if record.forgot is not None), default=-1)
    for place, record in enumerate(records):
        named = set(re.findall(r'"id":"([pif][0-9a-z]{5})"', _ops_json(record)))
        if record.forgot is None and named & gone:
            problems.append(f"{folder / files.JOURNAL}:{place + 1}: still names a forgotten memory; forget it again")
        if place <= last and (record.before is not None or (place < last and record.after is not None)):
            problems.append(f"{folder / files.JOURNAL}:{place + 1}: was not redacted; forget it again")
    for path in every_file(folder):
        data = files.read(path) or b""
        for number, line in enumerate(data.split(b"\n"), start=1):
            if path.name != files.JOURNAL and any(b"^" + id.encode() in line for id in gone):
                problems.append(f"{path}:{number}: names a forgotten memory; delete the line")
    needles = [one.strip() for one in content if one.strip()]
    problems += [
        f"{place}: holds text that should be forgotten; delete it there" for place in found_in(folder, needles)
    ]
    return problems


def every_file(folder: Path) -> Iterator[Path]:
    """Every file of a user, but the index, which is derived."""
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file() and files.INDEX not in path.relative_to(folder).parts[:-1]:
            yield path


def found_in(folder: Path, texts: Iterable[str]) -> list[str]:
    """Every "file:line" in which one of `texts` stands: as it is or JSON-escaped, in UTF-8 or UTF-16, any case."""
    needles = {
        form.lower().encode(encoding)
        for text in texts
        for form in (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
        for encoding in ("utf-8", "utf-16-le", "utf-16-be")
        if form
    }
    found: list[str] = []
    for path in every_file(folder):
        name = path.relative_to(folder).as_posix().lower().encode()
        data = files.read(path) or b""
        # Both folds: bytes.lower() knows ASCII only but works on any encoding, str.lower() knows all letters.
        lowered = [data.lower(), data.decode("utf-8", errors="replace").lower().encode()]
        for needle in needles:
            where = next((text.find(needle) for text in lowered if needle in text), None)
            if where is not None:
                found.append(f"{path}:{data.count(bytes([10]), 0, where) + 1}")
                break
            if needle in name:
                found.append(f"{path}:0")
                break
    return found


def leftovers(folder: Path, content: Content) -> list[str]:
    """Where the content still stands after it was erased: what no program may rewrite, such as an editor's backup."""
    phrases = [text for text in (*content.texts, *content.quotes) if len(plain_words(text)) > 1]
    words = [word for word in content.telling if len(word) > 3]
    return [
        f"{place}: still says what was forgotten; change or delete it by hand"
        for place in found_in(folder, [*phrases, *words])
    ]


def _document(path: Path, user: str, problems: list[str]) -> Document | None:
    try:
        data = files.read(path)
        return loads(files.decode(data, path), str(path), user=user) if data is not None else None
    except AgentMemError as error:
        problems.append(str(error))
        return None


def _id_problems(folder: Path, documents: dict[str, Document | None]) -> list[str]:
    seen: dict[str, str] = {}
    problems: list[str] = []
    for name, document in documents.items():
        lines: dict[str, int] = {}
        for entry in document.entries if document else ():
            shown = re.search(r"\^([pif][0-9a-z]{5})[ \t]*\r?$", entry.raw, re.MULTILINE)
            id = shown[1] if shown else entry.memory.id
            if id in seen:
                problems.append(
                    f"{folder / name}:{entry.line}: ^{id} stands in {seen[id]} too; the next load gives this line "
                    "a new id, or delete one of the two"
                )
            seen.setdefault(id, f"{name}:{entry.line}")
            lines[id] = entry.line
    return problems


def _journal_problems(
    folder: Path, user: str, records: list[Record], documents: dict[str, Document | None]
) -> list[str]:
    journal = folder / files.JOURNAL
    if not records:
        missing = any(document is not None for document in documents.values())
        return [f"{journal}:1: missing; nothing can be undone before the next change"] if missing else []
    last = records[-1]
    problems: list[str] = []
    try:
        pages = pages_at(records, last.version, user)
    except StoreError as error:
        return [f"{journal}: cannot be replayed ({error}); move it away (that costs only undo)"]
    if pages is None:
        return [f"{journal}:1: its beginning is missing; put back a whole copy, or move it away (that costs only undo)"]
    for name in ("memory", "history"):
        path = folder / f"{name}.md"
        wanted, data = getattr(last.after, name, None), files.read(path)
        if data is None:
            problems.append(f"{path}:1: missing; the next load restores it from the journal")
        elif wanted is not None and files.sha(getattr(pages.texts, name).encode()) != wanted:
            problems.append(f"{journal}:{len(records)}: replaying it does not give {name}.md; move it away")
        elif wanted is not None and files.sha(data) == getattr(last.before, name, None) != wanted:
            problems.append(f"{path}:1: change {last.version} was interrupted; the next load finishes it")
        elif wanted is not None and files.sha(data) != wanted:
            problems.append(f"{path}:1: was edited by hand since version {last.version}; the next load takes it in")
    return problems


def _ops_json(record: Record) -> str:
    return record.model_copy(update={"text": None}).model_dump_json()
