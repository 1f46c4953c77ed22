"""What the person wrote between the memories, when a file was saved from an older version: merged three ways."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import NamedTuple

from agentmem.markdown import Document, Entry, dumps, loads
from agentmem.store.conversations import FORGOTTEN


class Unit(NamedTuple):
    """One piece of a document: an entry ("e"), a heading ("h") or other text ("t")."""

    kind: str
    key: str
    text: str

    @property
    def name(self) -> tuple[str, str]:
        return (self.kind, self.key)

    @property
    def says_something(self) -> bool:
        return bool(self.key.strip())


def units_of(document: Document) -> list[Unit]:
    """The pieces in order; an entry is known by its id, anything else by its words."""
    units: list[Unit] = []
    for section in document.sections:
        if section.heading:
            units.append(Unit("h", section.heading.strip(), section.heading))
        for unit in section.units:
            if isinstance(unit, Entry):
                units.append(Unit("e", unit.memory.id if unit.has_id else unit.raw, unit.raw))
            else:
                units.append(Unit("t", unit.rstrip("\r\n"), unit))
    return units


def carry_text(
    base: Document | None,
    ours: Document,
    theirs: Document,
    *,
    crossed: bool,
    rng: random.Random,
    taken: Collection[str],
) -> Document:
    """`theirs`, which was made from `base`, with the text changes that `ours` made since.

    Entries are left as they are in `theirs`. Without a base nothing of `ours` counts as deleted by the person.
    `crossed`: a forget lies between; what it blanked in `base` stays blank. `taken`: ids not to be made up.
    """
    if base is ours:
        return theirs
    old, new, own = units_of(base) if base else None, units_of(ours), units_of(theirs)
    have = {unit.name for unit in own}
    if old is None:
        old = [unit for unit in new if unit.name in have]
    inserted, removed = _changes(old, new, own, have)
    if crossed:
        _keep_blanked(old, own, inserted, removed)
    front = _front(base.front if base else "", ours.front, theirs.front)
    if not inserted and not removed and front == theirs.front:
        return theirs
    parts = [front]
    for place, unit in enumerate(own):
        parts += inserted.get(place, [])
        if place not in removed:
            parts.append(unit.text)
    parts += inserted.get(len(own), [])
    merged = loads("".join(parts), "the merged file", rng=rng, taken=taken)
    return replace(merged, ends_with_newline=theirs.ends_with_newline, newline=theirs.newline)


def _opcodes(old: Sequence[Unit], new: Sequence[Unit]) -> Sequence[tuple[str, int, int, int, int]]:
    return SequenceMatcher(None, [unit.name for unit in old], [unit.name for unit in new]).get_opcodes()


def _changes(
    old: list[Unit], new: list[Unit], own: list[Unit], have: set[tuple[str, str]]
) -> tuple[dict[int, list[str]], set[int]]:
    """Where to insert which lines into `own`, and which of its places `new` has dropped."""
    place_of: dict[tuple[str, str], int] = {}
    for place, unit in enumerate(own):
        if unit.says_something:
            place_of.setdefault(unit.name, place)
    kept: dict[int, int] = {}  # places in `old` -> the same piece in `own`
    fresh: set[tuple[str, str]] = set()
    for tag, a, b, c, d in _opcodes(old, own):
        if tag == "equal":
            kept.update(zip(range(a, b), range(c, d), strict=True))
        else:
            fresh.update(unit.name for unit in own[c:d])
    inserted: dict[int, list[str]] = {}
    removed: set[int] = set()
    for tag, a, b, c, d in _opcodes(old, new):
        if tag == "equal":
            continue
        run = [unit for unit in new[c:d] if unit.kind == "t" or (unit.kind == "h" and unit.name not in have)]
        said = {unit.name for unit in run if unit.says_something}
        if said and not said <= fresh:  # else the person has it too: saved a second time from one buffer
            before = _after_anchor(new[:c], own, place_of)
            inserted.setdefault(before, []).extend(unit.text for unit in run)
        lost = (place for place in range(a, b) if old[place].kind == "t" and old[place].says_something)
        removed.update(kept[place] for place in lost if place in kept)
    return inserted, removed


def _after_anchor(above: list[Unit], own: list[Unit], place_of: dict[tuple[str, str], int]) -> int:
    """The place in `own` below the nearest piece that stands above in the other text too, and as many blank lines."""
    blanks, place = 0, 0
    for unit in reversed(above):
        if unit.name in place_of:
            place = place_of[unit.name] + 1
            break
        blanks = blanks + 1 if not unit.says_something else 0
    while blanks and place < len(own) and not own[place].says_something:
        blanks, place = blanks - 1, place + 1
    return place


def _keep_blanked(old: list[Unit], own: list[Unit], inserted: dict[int, list[str]], removed: set[int]) -> None:
    for tag, a, b, c, d in _opcodes(old, own):
        if tag == "replace" and any(FORGOTTEN in unit.text for unit in old[a:b]):
            inserted.setdefault(c, []).extend(unit.text for unit in old[a:b] if FORGOTTEN in unit.text)
            removed.update(place for place in range(c, d) if own[place].kind == "t")


def _front(base: str, ours: str, theirs: str) -> str:
    """The person's front matter with the keys that were added to ours since."""
    lines = theirs.splitlines(keepends=True)
    known = {*base.splitlines(), *theirs.splitlines()}
    new = [
        line for line in ours.splitlines(keepends=True)
        if line.rstrip("\r\n") not in known and not line.startswith(("version", "format", "user", "---"))
    ]  # fmt: skip
    return "".join([*lines[:-1], *new, *lines[-1:]])


def same_text(one: Document, other: Document) -> bool:
    """Whether two documents are the same but for the version number."""
    return dumps(replace(one, front="")) == dumps(replace(other, front="")) and _unnumbered(one) == _unnumbered(other)


def _unnumbered(document: Document) -> list[str]:
    return [line for line in document.front.splitlines() if not line.startswith("version")]
