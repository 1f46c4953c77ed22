"""Builds the sample user of memories/sample with the real store: `python -m tests.sample_user` writes it anew."""

from __future__ import annotations

import random
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from agentmem.memory import Add, Close, Evidence, Fact, Kind, MemoryOp, Preference, StandingInstruction, Update, new_id
from agentmem.session import Session, make_session
from agentmem.store import MemoryStore

ROOT = Path(__file__).parent.parent / "memories"
USER = "sample"

TRIP = [
    ("user", "Hi! I live in Ghent and want to visit a friend in Ljubljana at Easter. How do I get there?"),
    ("assistant", "By air via Zagreb it is about five hours; by train it is a night and half a day."),
    ("user", "The train. I get sick on planes, so whenever we plan a trip, show me the train first."),
    (
        "assistant",
        "Understood. There is a sleeper from Brussels on Fridays. Shall I 1) list the stops or 2) give you the fare?",
    ),
    ("user", "2, and no tables please, they break on my phone"),
]
BREAD = [
    ("user", "My sourdough came out flat again. What am I doing wrong?"),
    (
        "assistant",
        "Four usual suspects: a young starter, a short proof, a cool kitchen, a heavy flour. Which flour is it?",
    ),
    ("user", "spelt, the whole grain one. grams not cups by the way, always"),
    ("assistant", "Then add 20 g of water per 100 g of flour and proof it an hour longer."),
    ("user", "perfect, exactly the kind of short answer I like. Now coffee, it is four o'clock, I never skip it"),
    ("assistant", "Happy baking!"),
]
MOVE = [
    ("user", "Big news: we moved to Antwerp last weekend, boxes everywhere"),
    ("assistant", "Congratulations! Do you need a hand with the paperwork?"),
    ("user", "Yes. And I gave up coffee, so stop suggesting coffee breaks, I drink rooibos now"),
]


def session(id: str, day: date, turns: list[tuple[str, str]]) -> Session:
    start = datetime(day.year, day.month, day.day, 18, 30, tzinfo=UTC)
    messages = [
        {"role": role, "content": text, "at": start + timedelta(minutes=place)}
        for place, (role, text) in enumerate(turns)
    ]
    return make_session(messages, id=id, date=day)


def quote(talk: Session, words: str, context: int | None = None) -> Evidence:
    [turn] = [turn for turn, one in enumerate(talk.messages) if one.role == "user" and words in one.content]
    return Evidence(quote=words, session=talk.id, turn=turn, context=context)


class Builder:
    """One store, one clock that only moves when told, one source of ids."""

    def __init__(self, root: Path) -> None:
        self.rng, self.now, self._taken = random.Random(20260302), datetime(2026, 3, 2, 18, 45, tzinfo=UTC), set[str]()
        self.store = MemoryStore(root, USER, clock=lambda: self.now, rng=self.rng)

    def id(self, kind: Kind) -> str:
        id = new_id(kind, self._taken, self.rng)
        self._taken.add(id)
        return id

    def observe(self, talk: Session, ops: list[MemoryOp]) -> None:
        assert talk.date is not None
        self.now = datetime(talk.date.year, talk.date.month, talk.date.day, 18, 45, tzinfo=UTC)
        self.store.save_session(talk)
        applied = self.store.apply(ops, policy="offline")
        assert not applied.refused
        self.store.mark_observed(talk.id, len(talk.messages))

    def edit(self, day: date, *changes: tuple[str, str]) -> None:
        """A person edits memory.md and saves it."""
        self.now = datetime(day.year, day.month, day.day, 9, 0, tzinfo=UTC)
        path = self.store.folder / "memory.md"
        text = path.read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_bytes(text.encode())
        self.store.load()


def build(root: Path) -> MemoryStore:
    """Write the sample user under `root`."""
    builder = Builder(root)
    home, coffee = _first_talks(builder)
    talk = session("2026-05-20-move", date(2026, 5, 20), MOVE)
    antwerp = Fact(
        id=builder.id("fact"),
        text="Lives in Antwerp.",
        evidence=(quote(talk, "we moved to Antwerp last weekend"),),
        confidence=0.95,
        valid_at=date(2026, 5, 16),
    )
    rooibos = Preference(
        id=builder.id("preference"),
        text="Drinks rooibos.",
        evidence=(quote(talk, "I drink rooibos now"),),
        confidence=0.9,
        valid_at=date(2026, 5, 20),
    )
    gave_up = quote(talk, "I gave up coffee")
    builder.observe(
        talk,
        [
            Update(replaces=(home,), memory=antwerp),
            Add(memory=rooibos),
            Close(id=coffee, on=date(2026, 5, 20), because="gave up coffee", evidence=gave_up),
        ],
    )
    builder.edit(
        date(2026, 6, 1), ("## About\n\n", "## About\n\n<!-- My sister reads this file too: keep it tidy. -->\n\n")
    )
    return builder.store


def _first_talks(builder: Builder) -> tuple[str, str]:
    """Two conversations and an edit by hand; returns the ids that change later."""
    trip = session("2026-03-02-trip", date(2026, 3, 2), TRIP)
    day = date(2026, 3, 2)
    home = Fact(id=builder.id("fact"), text="Lives in Ghent.", evidence=(quote(trip, "I live in Ghent"),), valid_at=day)
    train = StandingInstruction(
        id=builder.id("instruction"),
        when="planning a trip",
        text="Show the train first.",
        evidence=(quote(trip, "whenever we plan a trip, show me the train first"),),
        confidence=0.95,
        valid_at=day,
    )
    sick = Fact(
        id=builder.id("fact"),
        text="Gets sick on planes.",
        evidence=(quote(trip, "I get sick on planes"),),
        valid_at=day,
    )
    tables = Preference(
        id=builder.id("preference"),
        text="Wants no tables: they break on the phone.",
        evidence=(quote(trip, "no tables please, they break on my phone", context=3),),
        confidence=0.9,
        valid_at=day,
    )
    builder.observe(trip, [Add(memory=one) for one in (home, train, sick, tables)])

    bread = session("2026-04-11-bread", date(2026, 4, 11), BREAD)
    day = date(2026, 4, 11)
    grams = StandingInstruction(
        id=builder.id("instruction"),
        text="Use grams, not cups.",
        evidence=(quote(bread, "grams not cups by the way, always"),),
        confidence=0.95,
        valid_at=day,
    )
    short = Preference(
        id=builder.id("preference"),
        text="Likes short answers.",
        evidence=(
            quote(bread, "exactly the kind of short answer I like", context=3),
            quote(trip, "The train.", context=1),
        ),
        basis="inferred",
        confidence=0.7,
        valid_at=day,
    )
    coffee = Preference(
        id=builder.id("preference"),
        text="Drinks coffee at four.",
        evidence=(quote(bread, "Now coffee, it is four o'clock, I never skip it"),),
        basis="inferred",
        confidence=0.8,
        valid_at=day,
    )
    builder.observe(bread, [Add(memory=one) for one in (grams, short, coffee)])
    builder.edit(
        date(2026, 4, 12),
        ("Use grams, not cups.", "Use grams and degrees Celsius."),
        ("## About\n", "## Kitchen\n\n- Has no oven thermometer.\n\n## About\n"),
    )
    return home.id, coffee.id


if __name__ == "__main__":
    shutil.rmtree(ROOT / USER, ignore_errors=True)
    build(ROOT)
    (ROOT / USER / ".lock").unlink(missing_ok=True)
