"""memory.md and history.md: memories <-> Markdown. Knows no disk; memories/README.md is the specification.

A document is read into sections of entries (the memories) and lines of other text. Every byte is kept: an entry that
did not change is written as it stood, and text that means nothing to us stays where it is.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from pydantic import ValidationError

from agentmem.errors import MarkdownError
from agentmem.memory import ID_PATTERN, MEMORY, Evidence, Kind, Memory, StandingInstruction, new_id, one_line

FORMAT = "agentmem/1"
SECTIONS: dict[Kind, str] = {"instruction": "Standing instructions", "preference": "Preferences", "fact": "About"}
KIND_OF: dict[str, Kind] = {title.lower(): kind for kind, title in SECTIONS.items()}

_JSON_STRING = r'"(?:[^"\\]|\\.)*"'
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_HEADING = re.compile(r"(#{1,2})[ \t]+(.*?)[ \t]*#*[ \t]*:?[ \t]*")
_BULLET = re.compile(rf"[-*+][ \t]+(.*?)(?:(?<=[ \t])\^({ID_PATTERN}))?[ \t]*", re.DOTALL)
_CONTINUED_ID = re.compile(rf"(.*?)(?:(?<=[ \t])\^({ID_PATTERN}))?[ \t]*", re.DOTALL)
_RULE = re.compile(r"([-*+])(?:[ \t]*\1){2,}[ \t]*")
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})([^\r\n]*)")
_CONFLICT = re.compile(r"(?:<{7}|>{7}) ")
_EVIDENCE = re.compile(
    rf'[ \t]+[-*+][ \t]+({_JSON_STRING}) \(session ([^\s,()"]+|{_JSON_STRING}), turn (\d{{1,9}})'
    r"(?:, answering turn (\d{1,9}))?\)\s*"
)
_META = re.compile(r"[ \t]+[-*+][ \t]+(stated|inferred)(?=\s|$)")
_META_PART = re.compile(
    r"[ \t]*·[ \t]*(?:confidence[ \t]+(?P<confidence>\d(?:\.\d+)?)|since[ \t]+(?P<valid_at>\d{4}-\d\d-\d\d)"
    r"|until[ \t]+(?P<invalid_at>\d{4}-\d\d-\d\d)|edited[ \t]+(?P<edited_at>\d{4}-\d\d-\d\d)"
    r"|kind[ \t]+(?P<kind>preference|instruction|fact)"
    rf'|because[ \t]+(?P<closed_because>{_JSON_STRING}|[^\s"·](?:[^·\n]*[^\s·])?))(?=\s*$|[ \t]*·)'
)
_FRONT_KEY = re.compile(r"(format|user|version)[ \t]*:[ \t]*(.*?)[ \t]*(?:[ \t]#.*)?")
_DECODER = json.JSONDecoder(strict=False)
BARE_USER = re.compile(r"(?!(?:true|false|yes|no|null|on|off|y|n)$)[A-Za-z][A-Za-z0-9._@+-]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One memory as it stands in a file."""

    memory: Memory
    raw: str
    """Its lines, with their line ends."""
    notes: str = ""
    """Those of its lines that are the person's own."""
    has_id: bool = True
    """False for a line without id, or with one that an earlier line has: `memory.id` was made up."""
    has_details: bool = True
    """False when neither evidence nor the basis line is there: `memory` holds the defaults."""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Section:
    """A heading of level 1 or 2 and what follows it, up to the next; the first section may have no heading."""

    heading: str
    title: str
    units: tuple[Entry | str, ...]
    """Entries, and any other text: a line each, or a whole code block or comment."""

    @property
    def kind(self) -> Kind | None:
        return KIND_OF.get(self.title.lower())


@dataclass(frozen=True, slots=True)
class Document:
    """One file: `dumps` gives back every byte."""

    front: str
    user: str
    version: int
    sections: tuple[Section, ...]
    newline: str = "\n"
    ends_with_newline: bool = True

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(unit for section in self.sections for unit in section.units if isinstance(unit, Entry))

    @property
    def memories(self) -> tuple[Memory, ...]:
        return tuple(entry.memory for entry in self.entries)


def dumps(document: Document) -> str:
    """The text of a document, byte for byte as it was read where nothing changed."""
    parts = [document.front]
    for section in document.sections:
        parts.append(section.heading)
        parts.extend(unit if isinstance(unit, str) else unit.raw for unit in section.units)
    text = "".join(parts)
    if document.ends_with_newline:
        return text
    return text.removesuffix(document.newline if text.endswith(document.newline) else "\n")


def loads(
    text: str,
    where: str = "memory.md",
    *,
    user: str | None = None,
    rng: random.Random | None = None,
    taken: Collection[str] = (),
) -> Document:
    """Read a file's text.

    A memory line without an id, or with one that an earlier line has, gets a made-up one from `rng`
    that is not in `taken` (`Entry.has_id` is False; the text is left alone). With `user`, the file must be theirs.
    Raises MarkdownError ("path:line: what; fix").
    """
    ends = text.endswith("\n") or not text
    newline = "\r\n" if "\r\n" in text[:4096] else "\n"
    lines = _LINE.findall(text if ends else text + newline)
    start, keys = _read_front(lines, where)
    if keys["format"] != FORMAT:
        raise MarkdownError(f"{where}:2: format is {keys['format']!r}, this program reads {FORMAT!r}; update agentmem")
    if user is not None and keys["user"] != user:
        raise MarkdownError(f"{where}:3: belongs to user {keys['user']!r}, not {user!r}; move it to that user's folder")
    reader = _Reader(lines, where, rng or random.Random(), taken)
    return Document("".join(lines[:start]), keys["user"], int(keys["version"]), reader.sections(start), newline, ends)


def quoted(text: str) -> str:
    """A JSON string on one line, also for readers to whom U+2028 ends a line."""
    return json.dumps(text, ensure_ascii=False).translate({0x2028: "\\u2028", 0x2029: "\\u2029", 0x85: "\\u0085"})


def entry_of(memory: Memory, kind: Kind | None, newline: str = "\n", notes: str = "") -> Entry:
    """Write one memory for a section whose usual kind is `kind` (None: a section of the person's own)."""
    line = memory.text
    if isinstance(memory, StandingInstruction) and not (
        memory.when == "always" and kind == "instruction" and " => " not in line
    ):
        line = f"{memory.when} => {line}"
    lines = [f"- {line} ^{memory.id}"]
    for item in memory.evidence:
        session = item.session if re.fullmatch(r'[^\s,()"]+', item.session) else quoted(item.session)
        answering = f", answering turn {item.context}" if item.context is not None else ""
        lines.append(f"  - {quoted(item.quote)} (session {session}, turn {item.turn}{answering})")
    meta = [memory.basis, f"confidence {memory.confidence:g}"]
    meta += [f"since {memory.valid_at}"] if memory.valid_at else []
    meta += [f"until {memory.invalid_at}"] if memory.invalid_at else []
    if (because := memory.closed_because) is not None:
        bare = because and "·" not in because and because[0] != '"'
        meta.append(f"because {because if bare else quoted(because)}")
    meta += [f"edited {memory.edited_at}"] if memory.edited_at else []
    meta += [f"kind {memory.kind}"] if memory.kind != _usual_kind(kind, line) else []
    lines.append("  - " + " · ".join(meta))
    return Entry(memory, "".join(one + newline for one in lines) + notes, notes)


def _usual_kind(kind: Kind | None, line: str) -> Kind:
    return kind or ("instruction" if " => " in line else "preference")


def _read_front(lines: list[str], where: str) -> tuple[int, dict[str, str]]:
    """Where the body starts, and the three keys we know; others are kept unread."""
    fix = f"put the lines '---', 'format: {FORMAT}', 'user: NAME', 'version: 0', '---' at the top"
    if not lines or lines[0].removeprefix("\ufeff").rstrip() != "---":
        raise MarkdownError(f"{where}:1: no front matter; {fix}")
    keys: dict[str, str] = {}
    for number, line in enumerate(lines[1:], start=2):
        if line.rstrip() == "---":
            break
        found = _FRONT_KEY.fullmatch(line.rstrip("\r\n"))
        if found is None:
            continue
        if found[1] in keys:
            raise MarkdownError(f"{where}:{number}: a second '{found[1]}:' in the front matter; take one out")
        keys[found[1]] = _scalar(found[2])
    else:
        raise MarkdownError(f"{where}:1: the front matter is not closed; put a line '---' after 'version:'")
    for key in ("format", "user", "version"):
        if not keys.get(key):
            raise MarkdownError(f"{where}:1: the front matter has no '{key}:'; {fix}")
    if not re.fullmatch(r"[0-9]{1,9}", keys["version"]):
        raise MarkdownError(f"{where}:1: version is {keys['version']!r}, not a whole number; put back the number")
    return number, keys


def _scalar(value: str) -> str:
    if value[:1] == '"':
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == "'" else value


class _Parts(NamedTuple):
    """What stands under an entry's line."""

    evidence: list[Evidence]
    meta: dict[str, Any] | None
    notes: list[str]


class _Reader:
    """Reads the lines after the front matter; holds the place and the ids seen."""

    def __init__(self, lines: list[str], where: str, rng: random.Random, taken: Collection[str]) -> None:
        self._lines, self._where, self._rng = lines, where, rng
        self._seen: set[str] = set()
        # Ids further down count as taken when one is made up, so that a later line keeps its own.
        self._taken = {*taken, *re.findall(rf"\^({ID_PATTERN})[ \t\r]*$", "".join(lines), re.MULTILINE)}

    def sections(self, start: int) -> tuple[Section, ...]:
        heading, title, units = "", "", []
        done: list[Section] = []
        place = start
        while place < len(self._lines):
            line = self._lines[place]
            if line[0] in "-*+" and (entry := self._entry(place, KIND_OF.get(title.lower()))):
                units.append(entry[0])
                place = entry[1]
                continue
            if line[0] == "#" and (found := _HEADING.fullmatch(line.rstrip("\r\n"))):
                done.append(Section(heading, title, tuple(units)))
                heading, title, units = line, found[2] if len(found[1]) == 2 else "", []
                place += 1
                continue
            if _CONFLICT.match(line):
                raise self._error(place, "a conflict marker of a version control system; resolve the conflict")
            end = self._span_end(place)
            units.append("".join(self._lines[place:end]))
            place = end
        done.append(Section(heading, title, tuple(units)))
        return tuple(done)

    def _error(self, place: int, what: str) -> MarkdownError:
        return MarkdownError(f"{self._where}:{place + 1}: {what}")

    def _span_end(self, place: int) -> int:
        """First line after a code block or comment that starts here, else the next line.

        One that is never closed would hide all memories below it, which must not look like deleting them.
        """
        line = self._lines[place]
        body = line.lstrip(" \t")
        if body.startswith("<!--"):
            if "-->" in body[4:]:
                return place + 1
            for end in range(place + 1, len(self._lines)):
                if "-->" in self._lines[end]:
                    return end + 1
            raise self._error(place, "this comment is never closed; add '-->'")
        if (fence := _FENCE.match(line)) and not (fence[1][0] == "`" and "`" in fence[2]):
            closing = re.compile(rf"[ \t]*{fence[1][0]}{{{len(fence[1])},}}\s*")
            for end in range(place + 1, len(self._lines)):
                if closing.fullmatch(self._lines[end]):
                    return end + 1
            raise self._error(place, f"this code block is never closed; add {fence[1]!r}")
        return place + 1

    def _block_end(self, place: int) -> int:
        """First line after the indented lines under an entry; blank lines between them belong to it."""
        end = look = place + 1
        while look < len(self._lines):
            line = self._lines[look]
            if not line.strip():
                look += 1
            elif line[0] in " \t":
                end = look = self._span_end(look)
            else:
                break
        return end

    def _entry(self, place: int, kind: Kind | None) -> tuple[Entry, int] | None:
        first = self._lines[place].rstrip("\r\n")
        found = _BULLET.fullmatch(first)
        if found is None or _RULE.fullmatch(first) or not (found[1] or found[2]):
            return None
        end = self._block_end(place)
        text, id, below = found[1], found[2], place + 1
        if id is None:  # an editor may have wrapped the line, the id with it
            while below < end and self._lines[below].strip() and not re.match(r"[ \t]+[-*+] ", self._lines[below]):
                more = _CONTINUED_ID.fullmatch(self._lines[below].rstrip("\r\n"))
                assert more is not None  # matches any line
                text, id, below = f"{text} {more[1]}", more[2], below + 1
                if id is not None:
                    break
        if not one_line(text):
            raise self._error(place, f"the line of ^{id} has no text; write it again, or delete the whole line")
        parts = _read_details(self._lines[below:end])
        has_id = id is not None and id not in self._seen
        memory = self._memory(place, one_line(text), id if has_id else None, kind, parts)
        raw = "".join(self._lines[place:end])
        details = parts.meta is not None or bool(parts.evidence)
        return Entry(memory, raw, "".join(parts.notes), has_id, details, place + 1), end

    def _memory(self, place: int, line: str, id: str | None, usual: Kind | None, parts: _Parts) -> Memory:
        fields = dict(parts.meta or {})
        kind: Kind = fields.pop("kind", None) or _usual_kind(usual, line)
        if kind == "instruction":
            when, arrow, text = line.partition(" => ")
            fields |= {"when": when, "text": text} if arrow and "=>" not in when else {"text": line}
        else:
            fields["text"] = line
        if id is None:
            id = new_id(kind, self._taken, self._rng)
        self._seen.add(id)
        self._taken.add(id)
        try:
            return MEMORY.validate_python({"kind": kind, "id": id, "evidence": tuple(parts.evidence), **fields})
        except ValidationError as error:
            first = error.errors()[0]
            what = f"{'.'.join(str(part) for part in first['loc'][1:])}: {first['msg']}"
            raise self._error(place, f"{what}; correct the line") from error


def _read_details(lines: list[str]) -> _Parts:
    parts = _Parts([], None, [])
    meta: dict[str, Any] | None = None
    for line in lines:
        if (found := _EVIDENCE.fullmatch(line)) and (item := _read_evidence(found)):
            parts.evidence.append(item)
        elif meta is None and (read := _read_meta(line)) is not None:
            meta = read
        else:
            parts.notes.append(line)
    return parts._replace(meta=meta)


def _read_evidence(found: re.Match[str]) -> Evidence | None:
    try:
        session = _DECODER.decode(found[2]) if found[2][0] == '"' else found[2]
        return Evidence(
            quote=_DECODER.decode(found[1]),
            session=session,
            turn=int(found[3]),
            context=int(found[4]) if found[4] else None,
        )
    except ValueError:  # a broken escape: the line stays as the person's note
        return None


def _read_meta(line: str) -> dict[str, Any] | None:
    start = _META.match(line)
    if start is None:
        return None
    fields: dict[str, Any] = {"basis": start[1]}
    place, body = start.end(), line.rstrip()
    while place < len(body):
        part = _META_PART.match(body, place)
        name = part.lastgroup if part else None
        if part is None or name is None or name in fields:
            return None
        try:
            fields[name] = _META_VALUES[name](part[name])
        except ValueError:
            return None
        place = part.end()
    return fields if 0 <= fields.get("confidence", 1.0) <= 1 else None


_META_VALUES: dict[str, Any] = {
    "confidence": float,
    "valid_at": date.fromisoformat,
    "invalid_at": date.fromisoformat,
    "edited_at": date.fromisoformat,
    "kind": str,
    "closed_because": lambda text: _DECODER.decode(text) if text[0] == '"' else text,
}
