"""Read conversations from files: OpenAI-style JSON and JSONL, LangChain dumps, ChatGPT and Claude exports, our own.

What a file is shows in its structure, never in its name. Nothing is executed or unpickled. A file is a stream of JSON
values, read one at a time, so that a large archive is neither held in memory nor waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from agentmem.errors import SessionError
from agentmem.importers.forms import called, chatgpt, claude, langchain
from agentmem.importers.stream import FORMS, Found, JsonStream, streams
from agentmem.session import Message, Session, as_message, make_session

_DAY_KEYS = ("date", "created_at", "create_time")
_TIME_KEYS = ("at", "timestamp", "created_at", "create_time", "date")
_ID_KEYS = ("id", "session", "session_id", "conversation_id", "thread_id", "uuid")


class _MessageError(SessionError):
    """A message that stands on a line of its own cannot be used."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def read_sessions(
    source: str | Path, *, skip: Callable[[SessionError], None] | None = None, today: date | None = None
) -> Iterator[Session]:
    """The conversations of a file in their order, one at a time; those without a word of the user are left out.

    Args:
        source: a path, or "-" for standard input.
        skip: called with what is wrong with a conversation that cannot be used, which is then left out; by default
            that error is raised. A file that is no JSON always raises, after the conversations before that place.
        today: a conversation dated more than a day later is refused; by default the day on this machine.

    Raises:
        SessionError: "file:line: what is wrong; what to do".
    """
    latest = (today or datetime.now().date()) + timedelta(days=1)
    unnamed: dict[str, list[Session]] = {}
    met = 0
    for text in streams(source):
        for place, found in enumerate(_conversations(text), start=1):
            try:
                session = _session(found, latest)
            except SessionError as error:
                which = "" if place == 1 else f"conversation {place}: "
                line = error.line if isinstance(error, _MessageError) else found.line
                located = SessionError(f"{text.name}:{line}: {which}{error}")
                if skip is None:
                    raise located from error
                skip(located)
                met += 1
            else:
                if session is not None:
                    named = isinstance(found.value, Mapping) and any(found.value.get(key) for key in _ID_KEYS)
                    yield session if named else _told_apart(session, unnamed)
                    met += 1
    if not met:
        name = "standard input" if str(source) == "-" else source
        raise SessionError(f"{name}: no conversation in it has a word of the user; expected {FORMS}")


def _conversations(text: JsonStream) -> Iterator[Found]:
    """Each conversation: a value of its own, an array of messages, or all the messages that stand one a line."""
    while text.peek():
        yield from _grouped(_elements(text) if text.peek() == "[" else _lines(text))


def _lines(text: JsonStream) -> Iterator[Found]:
    while text.peek() not in ("", "["):
        yield text.value()


def _elements(text: JsonStream) -> Iterator[Found]:
    text.skip("[")
    if text.skip("]"):
        return
    while True:
        yield text.value()
        if text.skip("]"):
            return
        if not text.skip(","):
            wrong = "is broken JSON (expecting ',' or ']')" if text.peek() else "ends in the middle of a list"
            raise SessionError(f"{text.name}:{text.line()}: {wrong}; is the file complete?")


def _grouped(values: Iterable[Found]) -> Iterator[Found]:
    """Conversations as they are; loose messages that follow each other become one.

    A line that only names a session begins one, as in our own files, whose other lines count what was observed.
    """
    head: Found | None = None
    loose: list[Found] = []
    for found in values:
        if _is_message(found.value):
            loose.append(found)
            continue
        if loose:
            yield _together(head, loose)
            head, loose = None, []
        if isinstance(found.value, Mapping) and found.value.keys() == {"session", "date"}:
            head = found
        elif not (isinstance(found.value, Mapping) and found.value.keys() == {"observed"}):
            yield found
    if loose:
        yield _together(head, loose)


def _together(head: Found | None, messages: list[Found]) -> Found:
    return Found((head or messages[0]).line, {**(head.value if head else {}), "messages": messages})


def _is_message(value: Any) -> bool:
    if not isinstance(value, Mapping) or {"messages", "mapping", "chat_messages"} & value.keys():
        return False
    return bool({"role", "content"} & value.keys()) or langchain(value) is not None


def _session(found: Found, latest: date) -> Session | None:
    """One conversation in any of the forms; None when the user says nothing in it."""
    value, id, day = found.value, None, None
    if isinstance(value, Mapping):
        value = value.get("kwargs", value.get("values", value)) if "messages" not in value else value
        id = next((str(value[key]) for key in _ID_KEYS if value.get(key)), None)
        day = _day(next((value[key] for key in _DAY_KEYS if value.get(key)), None))
        value = _messages_of(value)
    if not isinstance(value, list):
        raise SessionError(f"is {called(value)}, neither a message with role and content nor a conversation with "
                           f"messages; expected {FORMS}")  # fmt: skip
    messages = [_message(one, place, latest) for place, one in enumerate(value, start=1)]
    if not any(message.role == "user" and message.content.strip() for message in messages):
        return None
    _refuse_future(day, latest)
    return make_session(messages, id=" ".join(id.split()) if id else None, date=day)


def _told_apart(session: Session, unnamed: dict[str, list[Session]]) -> Session:
    """The session under a name of its own: one that is made of its first message may fit several conversations.

    A conversation that continues an earlier one of the file keeps its name.
    """
    alike = unnamed.setdefault(session.id, [])
    for number, other in enumerate(alike, start=1):
        shorter = min(len(other.messages), len(session.messages))
        if other.messages[:shorter] == session.messages[:shorter]:
            alike[number - 1] = max(other, session, key=lambda one: len(one.messages))
            return session if number == 1 else session.model_copy(update={"id": f"{session.id}-{number}"})
    alike.append(session)
    return session if len(alike) == 1 else session.model_copy(update={"id": f"{session.id}-{len(alike)}"})


def _messages_of(value: Mapping[str, Any]) -> Any:
    if isinstance(value.get("mapping"), Mapping):
        return chatgpt(value)
    if isinstance(value.get("chat_messages"), list):
        return claude(value["chat_messages"])
    return value.get("messages", value)


def _message(value: Any, place: int, latest: date) -> Message:
    if isinstance(value, Found):  # a message that is a value of its own
        try:
            return _message(value.value, place, latest)
        except SessionError as error:
            raise _MessageError(str(error), value.line) from error
    if isinstance(value, Mapping):
        value = langchain(value) or value
        at = next((value[key] for key in _TIME_KEYS if value.get(key)), None)
        value = {"role": value.get("role", value.get("type")), "content": _mended(value.get("content")), "at": at}
    message = as_message(value, place)
    _refuse_future(message.at.date() if message.at else None, latest, f"message {place}: ")
    return message


def _mended(content: Any) -> Any:
    """Half a surrogate pair, left where an export cut an emoji, cannot be written as UTF-8: becomes U+FFFD."""
    if not isinstance(content, str):
        return content
    return content.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _day(value: Any) -> date | None:
    try:
        if value is None:
            return None
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC).date()
        return datetime.fromisoformat(value).date()
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise SessionError(f"date {value!r} cannot be read; write it as YYYY-MM-DD") from error


def _refuse_future(day: date | None, latest: date, where: str = "") -> None:
    if day is not None and day > latest:
        raise SessionError(f"{where}is dated {day}, which is in the future; correct the date")
