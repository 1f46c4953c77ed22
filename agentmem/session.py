"""Conversations as they arrive: messages, sessions, and the three forms of message we accept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from agentmem.errors import SessionError

Role = Literal["system", "user", "assistant", "tool"]
Day = date  # inside Session the name `date` is the field

MAX_MESSAGE_CHARS = 200_000
"""A longer message is refused: it is a file, not something a person said."""

_ROLES: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "ai": "assistant",
    "tool": "tool", "function": "tool",
}  # fmt: skip


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    content: str
    at: datetime | None = None


class Session(BaseModel):
    """One conversation, in order. A turn is the 0-based place of a message in `messages`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    messages: tuple[Message, ...]
    date: Day | None = None
    """Day of the conversation, by its own account; None when it does not say."""

    def date_of(self, turn: int) -> Day | None:
        """Day on which `turn` was said: the message's own time, else the session's date."""
        at = self.messages[turn].at
        return at.date() if at is not None else self.date


def make_session(messages: Iterable[Any], id: str | None = None, date: date | None = None) -> Session:
    """Build a session from messages in any accepted form (see `as_message`).

    Without `id` one is derived from the date and the first message, so that the same conversation, also when it has
    grown, gets the same id. Raises SessionError naming the message (counted from 1).
    """
    own = tuple(as_message(message, place) for place, message in enumerate(messages, start=1))
    if not own:
        raise SessionError("the conversation has no messages")
    if date is None and own[0].at is not None:
        date = own[0].at.date()
    if id is None:
        digest = hashlib.sha256(f"{own[0].role}\0{own[0].content}".encode()).hexdigest()[:8]
        id = f"{date.isoformat()}-{digest}" if date else digest
    if not id.strip() or id != " ".join(id.split()):
        raise SessionError(f"session id {id!r}: must be one line, without surrounding blanks, and not empty")
    return Session(id=id, messages=own, date=date)


def as_message(message: Any, place: int = 1) -> Message:
    """Read one message: ours, an OpenAI-style mapping, or a LangChain message.

    Parts of a multi-part content that are not text (images, audio) are left out. Raises SessionError with `place`.
    """
    if isinstance(message, Message):
        own = message
    elif isinstance(message, Mapping):
        own = _from_fields(message.get("role", message.get("type")), message.get("content"),
                           message.get("at", message.get("timestamp")), place)  # fmt: skip
    elif hasattr(message, "type") and hasattr(message, "content"):  # LangChain's BaseMessage, without importing it
        kept = getattr(message, "additional_kwargs", {})
        own = _from_fields(kept.get("role", message.type), message.content, kept.get("at"), place)
    else:
        raise SessionError(f"message {place}: a {type(message).__name__}, not a message; give role and content")
    if len(own.content) > MAX_MESSAGE_CHARS:
        raise SessionError(f"message {place}: {len(own.content):,} characters, more than {MAX_MESSAGE_CHARS:,}; "
                           "split it or leave it out")  # fmt: skip
    return own


def _from_fields(role: Any, content: Any, at: Any, place: int) -> Message:
    if role not in _ROLES:
        raise SessionError(f"message {place}: role {role!r} is none of user, assistant, system, tool")
    try:
        return Message(role=_ROLES[role], content=_text_of(content, place), at=at)
    except ValidationError as error:
        first = error.errors()[0]
        raise SessionError(f"message {place}: {first['loc'][0]}: {first['msg']}") from error


def _text_of(content: Any, place: int) -> str:
    if isinstance(content, str):
        text = content
    elif content is None:  # an assistant turn that only calls a tool
        text = ""
    elif isinstance(content, Sequence):
        parts = [part if isinstance(part, str) else part.get("text", "") for part in content
                 if isinstance(part, str | Mapping)]  # fmt: skip
        text = "\n".join(part for part in parts if isinstance(part, str) and part)
    else:
        raise SessionError(f"message {place}: content is a {type(content).__name__}, not text")
    if "\x00" in text:
        raise SessionError(f"message {place}: contains binary data (a NUL byte); only text can be remembered")
    return text
