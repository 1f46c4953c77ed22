"""What is remembered: frozen values, no behaviour that touches a disk or a model."""

from __future__ import annotations

import random
import re
from collections.abc import Collection
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

Kind = Literal["preference", "instruction", "fact"]
Basis = Literal["stated", "inferred"]
Status = Literal["active", "closed"]

ID_PATTERN = r"[pif][0-9a-z]{5}"
"""First letter of the kind, then five random characters: a tombstone says nothing about the content."""

_ID_ALPHABET = "23456789abcdefghjkmnpqrstvwxyz"  # no characters that look alike


class Value(BaseModel):
    """Base of all values: frozen, and closed against misspelt fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def one_line(text: str) -> str:
    """Collapse every run of white space, line breaks included, into one blank."""
    return " ".join(text.split())


class Evidence(Value):
    """The user's own words that a memory rests on."""

    quote: str
    """Verbatim substring of a user message."""
    session: str
    turn: int = Field(ge=0)
    """0-based place of the message in its session."""
    context: int | None = Field(default=None, ge=0)
    """An assistant turn that the quote answers ("option 2"); context, never proof."""

    @field_validator("session")
    @classmethod
    def _one_line_session(cls, session: str) -> str:
        if not session or session != one_line(session):
            raise ValueError("a session id is one line without surrounding blanks, and not empty")
        return session


class _Memory(Value):
    id: str = Field(pattern=f"^{ID_PATTERN}$")
    text: str = Field(min_length=1)
    """One sentence in plain words, without line breaks."""
    evidence: tuple[Evidence, ...] = ()
    basis: Basis = "stated"
    confidence: float = Field(default=1.0, ge=0, le=1)
    valid_at: date | None = None
    """First day on which it holds, by the conversation's own dates."""
    invalid_at: date | None = None
    """First day on which it no longer holds; None while active."""
    closed_because: str | None = None
    edited_at: date | None = None
    """Day on which the person last wrote this line by hand; inference never overwrites such a line."""

    @field_validator("text")
    @classmethod
    def _one_line_text(cls, text: str) -> str:
        if not (text := one_line(text)):
            raise ValueError("a memory cannot be blank")
        return text

    @field_validator("closed_because")
    @classmethod
    def _one_line_reason(cls, reason: str | None) -> str | None:
        return one_line(reason) if reason is not None else None

    @field_validator("confidence")
    @classmethod
    def _two_decimals(cls, confidence: float) -> float:
        return round(confidence, 2)

    @property
    def status(self) -> Status:
        return "active" if self.invalid_at is None else "closed"

    def holds_on(self, day: date) -> bool:
        """Whether this was true on `day`: valid_at <= day < invalid_at; an unknown start counts as always."""
        started = self.valid_at is None or self.valid_at <= day
        return started and (self.invalid_at is None or day < self.invalid_at)


class Preference(_Memory):
    """What the user likes, dislikes or is used to."""

    kind: Literal["preference"] = "preference"


class StandingInstruction(_Memory):
    """What to do from now on whenever `when` applies."""

    kind: Literal["instruction"] = "instruction"
    when: str = Field(default="always", min_length=1)
    """The condition, in words; "always" for an unconditional one."""

    @field_validator("when")
    @classmethod
    def _one_line_when(cls, when: str) -> str:
        if not (when := one_line(when)):
            raise ValueError("a condition cannot be blank")
        if "=>" in when:
            raise ValueError("a condition cannot contain '=>'")
        return when


class Fact(_Memory):
    """Something true of the user or the people in their life."""

    kind: Literal["fact"] = "fact"


Memory = Annotated[Preference | StandingInstruction | Fact, Field(discriminator="kind")]
MEMORY: TypeAdapter[Preference | StandingInstruction | Fact] = TypeAdapter(Memory)


def full_text(memory: Memory) -> str:
    """The memory as one string to embed or show: `when => text` for instructions, else the text."""
    if isinstance(memory, StandingInstruction) and memory.when != "always":
        return f"{memory.when} => {memory.text}"
    return memory.text


def new_id(kind: Kind, taken: Collection[str], rng: random.Random) -> str:
    """A fresh id of `kind` that is not in `taken`."""
    while True:
        candidate = kind[0] + "".join(rng.choices(_ID_ALPHABET, k=5))
        if candidate not in taken:
            return candidate


class Add(Value):
    """A new memory."""

    op: Literal["add"] = "add"
    memory: Memory


class Update(Value):
    """A memory takes the place of one or several others.

    With the id of a replaced memory it corrects that one in place (the journal keeps the old words); with a
    fresh id it succeeds them: the old ones are closed on the new one's valid_at and stay in the history.
    """

    op: Literal["update"] = "update"
    replaces: tuple[str, ...] = Field(min_length=1)
    memory: Memory


class Close(Value):
    """A memory stops being true; it moves to the history."""

    op: Literal["close"] = "close"
    id: str
    on: date
    """First day on which it no longer holds."""
    because: str
    evidence: Evidence | None = None


class Forget(Value):
    """A memory is erased without a trace; only its id stays behind, as a tombstone."""

    op: Literal["forget"] = "forget"
    id: str | None
    """None: nothing was stored as a memory; the quote of `evidence` says what to erase from the conversations."""
    evidence: Evidence | None = None
    """The request; erased with the memory."""


MemoryOp = Annotated[Add | Update | Close | Forget, Field(discriminator="op")]
MEMORY_OPS: TypeAdapter[tuple[Add | Update | Close | Forget, ...]] = TypeAdapter(tuple[MemoryOp, ...])


HitKind = Literal["memory", "turn"]


class Source(Value):
    """Where in the conversations something was said."""

    session: str
    turn: int = Field(ge=0)


class Hit(Value):
    """One thing found for a query."""

    kind: HitKind
    id: str
    """A memory's id, or SESSION#TURN."""
    text: str
    score: float
    """Higher is better; comparable within one search only."""
    why: str
    """In words: which searches found it."""
    sources: tuple[Source, ...] = ()


WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


def words(text: str) -> list[str]:
    """Lower-case words of a text, in order; the one tokenisation used wherever words are compared."""
    return WORD.findall(text.lower())
