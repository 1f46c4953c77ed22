"""Stored conversations: append only, safe names, torn lines, and nothing kept when the user does not want it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.errors import SessionError
from agentmem.session import Message, Session, make_session
from agentmem.store import MemoryStore
from agentmem.store.conversations import Conversations

AT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
TALK = Session(
    id="2026-03-02-a",
    date=date(2026, 3, 2),
    messages=(
        Message(role="user", content="Hi, I live in Lyon.\nPlease be brief.", at=AT),
        Message(role="assistant", content="“Sure”\u2028 🙂"),
        Message(role="user", content="Thanks"),
    ),
)


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    return MemoryStore(tmp_path, "alice")


def file_of(store: MemoryStore) -> Path:
    [path] = (store.folder / "sessions").glob("*.jsonl")
    return path


def test_a_conversation_comes_back_as_it_was(store: MemoryStore) -> None:
    assert store.save_session(TALK) == 0
    assert store.session(TALK.id) == TALK and store.sessions() == (TALK,)
    assert MemoryStore(store.folder.parent, "alice").session(TALK.id) == TALK
    lines = [json.loads(line) for line in file_of(store).read_text().split("\n") if line]
    assert lines[0] == {"session": "2026-03-02-a", "date": "2026-03-02"}
    assert lines[1] == {"turn": 0, "role": "user", "content": TALK.messages[0].content, "at": AT.isoformat()}


def test_saving_is_idempotent_and_a_conversation_may_grow(store: MemoryStore) -> None:
    short = TALK.model_copy(update={"messages": TALK.messages[:2]})
    assert store.save_session(short) == 0
    before = file_of(store).read_bytes()
    assert store.save_session(short) == 0 and file_of(store).read_bytes() == before
    store.mark_observed(TALK.id, 2)
    assert store.save_session(short) == 2
    assert store.save_session(TALK) == 2 and store.session(TALK.id) == TALK
    assert file_of(store).read_bytes().startswith(before)
    store.mark_observed(TALK.id, 3)
    store.mark_observed(TALK.id, 1)  # going back is no news
    assert store.save_session(TALK) == 3 and store.save_session(short) == 2


def test_another_conversation_of_the_same_name_is_refused(store: MemoryStore) -> None:
    store.save_session(TALK)
    other = TALK.model_copy(update={"messages": (Message(role="user", content="Hello"), *TALK.messages[1:])})
    with pytest.raises(SessionError, match="message 1 differs from the stored conversation .* give the new .* another"):
        store.save_session(other)
    assert store.session(TALK.id) == TALK


def test_messages_are_not_kept_when_the_user_does_not_want_it(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, "alice", keep_sessions=False)
    assert store.save_session(TALK) == 0
    store.mark_observed(TALK.id, 3)
    assert store.save_session(TALK) == 3 and store.sessions() == ()
    assert file_of(store).read_text() == '{"session": "2026-03-02-a", "date": "2026-03-02"}\n{"observed": 3}\n'


def test_a_torn_last_line_is_left_out_and_written_again(store: MemoryStore) -> None:
    store.save_session(TALK)
    path = file_of(store)
    whole = path.read_bytes()
    for cut in range(len(whole) - 30, len(whole)):
        path.write_bytes(whole[:cut])
        again = MemoryStore(store.folder.parent, "alice")
        assert again.save_session(TALK) == 0 and again.session(TALK.id) == TALK
        assert again.doctor() == []


def test_a_broken_line_is_named(store: MemoryStore) -> None:
    store.save_session(TALK)
    lines = file_of(store).read_text().split("\n")
    file_of(store).write_text("\n".join([lines[0], "garbage", *lines[2:]]))
    with pytest.raises(SessionError, match=r"2026-03-02-a-\w+\.jsonl:2: not a line of a conversation; put back"):
        store.sessions()
    assert ".jsonl:2: not a line of a conversation" in store.doctor()[0]
    file_of(store).write_text("\n".join([lines[0], *lines[2:]]))
    with pytest.raises(SessionError, match=r":2: turn 1 where 0 should stand"):
        store.sessions()


def test_an_unknown_conversation(store: MemoryStore) -> None:
    with pytest.raises(SessionError, match="no stored conversation 'nope'"):
        store.session("nope")
    with pytest.raises(SessionError, match="no stored conversation 'nope'"):
        store.mark_observed("nope", 1)


names = st.text(min_size=1, max_size=300)


@given(names, names)
def test_any_name_becomes_a_safe_file_name_of_its_own(one: str, other: str) -> None:
    conversations = Conversations(Path("sessions"))
    path = conversations.path_of(one)
    assert path.parent == Path("sessions") and len(path.name) < 90 and path.name.isascii()
    assert not path.name.startswith((".", "-")) and "/" not in path.name and "\\" not in path.name
    assert (path == conversations.path_of(other)) == (one == other)


@pytest.mark.parametrize("id", ["../../etc/passwd", "a/b", "CON", "🙂", "x" * 5000, "a b, c (d)"])
def test_odd_names_work(store: MemoryStore, id: str) -> None:
    session = TALK.model_copy(update={"id": id})
    store.save_session(session)
    assert store.session(id) == session and file_of(store).parent == store.folder / "sessions"


def test_conversations_come_in_the_order_of_their_dates(store: MemoryStore) -> None:
    for day in (5, 1, 3):
        store.save_session(make_session([{"role": "user", "content": f"day {day}"}], date=date(2026, 3, day)))
    assert [session.date.day for session in store.sessions() if session.date] == [1, 3, 5]
