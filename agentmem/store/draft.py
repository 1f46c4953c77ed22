"""A document while it is being changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from agentmem.markdown import BARE_USER, FORMAT, KIND_OF, SECTIONS, Document, Entry, Section, entry_of
from agentmem.memory import Kind, Memory


def blank_document(user: str, version: int = 0, title: str = "What agentmem remembers about {user}") -> Document:
    """A document with the three usual sections and no memory."""
    name = user if BARE_USER.fullmatch(user) else json.dumps(user)
    front = f"---\nformat: {FORMAT}\nuser: {name}\nversion: {version}\n---\n"
    head = Section("", "", ("\n",))
    top = Section(f"# {title.format(user=user)}\n", title, ("\n",))
    rest = tuple(Section(f"## {name}\n", name, ("\n",)) for name in SECTIONS.values())
    return Document(front, user, version, (head, top, *rest))


def from_memories(memories: Iterable[Memory], user: str, version: int = 0) -> Document:
    """A fresh document with these memories, each in the section of its kind."""
    draft = Draft(blank_document(user, version))
    for memory in memories:
        draft.put(memory)
    return draft.document()


def at_version(document: Document, version: int) -> Document:
    """The same document with another version number in its front matter."""
    front = re.sub(r"(?m)^(version[ \t]*:[ \t]*)\"?'?\d+\"?'?", rf"\g<1>{version}", document.front, count=1)
    return replace(document, front=front, version=version)


@dataclass
class _Page:
    """A section while it is being changed; removed units are None so that places stay."""

    heading: str
    title: str
    units: list[Entry | str | None]
    last: int = -1
    """Place of the last entry; new ones follow it."""
    kind: Kind | None = field(init=False)

    def __post_init__(self) -> None:
        self.kind = KIND_OF.get(self.title.lower())


class Draft:
    """A document while it is being changed; each change costs about the same however long the document is."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._pages = [_Page(one.heading, one.title, list(one.units)) for one in document.sections]
        self._places: dict[str, tuple[_Page, int]] = {}
        for page in self._pages:
            for place, unit in enumerate(page.units):
                if isinstance(unit, Entry):
                    self._places[unit.memory.id] = (page, place)
                    page.last = place

    def __contains__(self, id: str) -> bool:
        return id in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def entry(self, id: str) -> Entry:
        """The entry with this id; KeyError when there is none."""
        page, place = self._places[id]
        unit = page.units[place]
        assert isinstance(unit, Entry)
        return unit

    def put(
        self, memory: Memory, *, notes: str | None = None, instead_of: str | None = None, title: str | None = None
    ) -> None:
        """Write a memory: over the one with its id, or over `instead_of`, else at the end of a section.

        That is the section with `title`, else the one of its kind. Without `notes` those of the line it is written
        over stay under it when the id is the same.
        """
        newline = self._document.newline
        target = memory.id if memory.id in self._places else instead_of
        if target in self._places:
            page, place = self._places.pop(target)
            old = page.units[place]
            if notes is None:
                notes = old.notes if isinstance(old, Entry) and target == memory.id else ""
            page.units[place] = entry_of(memory, page.kind, newline, notes)
            self._places[memory.id] = (page, place)
            return
        page = self._page_of(memory.kind, title)
        place = self._room(page)
        page.units.insert(place, entry_of(memory, page.kind, newline, notes or ""))
        page.last = place
        self._places[memory.id] = (page, place)

    def drop(self, id: str) -> Entry:
        """Take an entry out, with the notes under it; KeyError when there is none."""
        entry = self.entry(id)
        page, place = self._places.pop(id)
        page.units[place] = None
        return entry

    def document(self, version: int | None = None) -> Document:
        """What it has become."""
        sections = tuple(
            Section(page.heading, page.title, tuple(unit for unit in page.units if unit is not None))
            for page in self._pages
        )
        done = replace(self._document, sections=sections)
        return done if version is None else at_version(done, version)

    def _page_of(self, kind: Kind, title: str | None) -> _Page:
        for page in self._pages:
            if title and page.title == title:
                return page
        for page in self._pages:
            if page.kind == kind:
                return page
        newline = self._document.newline
        last = self._pages[-1]
        if last.heading or last.units:
            last.units.append(newline)
        page = _Page(f"## {SECTIONS[kind]}{newline}", SECTIONS[kind], [newline])
        self._pages.append(page)
        return page

    def _room(self, page: _Page) -> int:
        """The place for a new entry: after the last one, else after the heading and a blank line.

        Never before indented text, which would then read as standing under the entry.
        """
        newline = self._document.newline
        if page.last >= 0:
            return page.last + 1
        if not page.units or not _is_blank(page.units[0]):
            page.units.insert(0, newline)
        place = 1
        for at, unit in enumerate(page.units):
            if isinstance(unit, str) and unit[:1] in " \t" and not _is_blank(unit):
                place = at + 1
            elif not _is_blank(unit):
                break
        if (place < len(page.units) or page is not self._pages[-1]) and not _is_blank(
            page.units[place] if place < len(page.units) else None
        ):
            page.units.insert(place, newline)
        return place


def _is_blank(unit: Entry | str | None) -> bool:
    return isinstance(unit, str) and not unit.strip()
