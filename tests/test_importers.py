"""Conversations out of files: every layout, and every way in which a file can be wrong."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.errors import SessionError
from agentmem.importers import read_sessions, stream
from agentmem.session import MAX_MESSAGE_CHARS

DATA = Path(__file__).parent / "data"
TODAY = date(2024, 7, 1)
HELLO = {"role": "user", "content": "I live in Lyon."}


def read(path, **options):
    return list(read_sessions(path, today=TODAY, **options))


def wrong(tmp_path: Path, text: str | bytes, name: str = "chat.json") -> str:
    """What is said about a file with this content, without the folder."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SessionError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{tmp_path}/", "")


# Layouts


def test_openai_list_keeps_every_turn_in_place():
    (session,) = read(DATA / "openai.json")
    assert [message.role for message in session.messages] == [
        "system", "user", "assistant", "user", "assistant", "tool", "assistant"]  # fmt: skip
    assert session.messages[3].content == "A bicycle. I like steel frames best."
    assert session.messages[4].content == ""


def test_messages_one_a_line_are_one_conversation_with_their_own_days():
    (session,) = read(DATA / "messages.jsonl")
    assert len(session.messages) == 3
    assert session.date == date(2024, 3, 1)
    assert session.date_of(2) == date(2024, 3, 2)


def test_conversations_one_a_line():
    trip, dinner, night = read(DATA / "conversations.jsonl")
    assert (trip.id, trip.date) == ("trip", date(2024, 5, 1))
    assert (dinner.id, dinner.date) == ("dinner", date(2024, 5, 3))
    assert night.messages[0].content == "I work night shifts as a nurse."
    assert night.date is None


@pytest.mark.parametrize("name", ["langchain_dict.json", "langchain_dumps.json"])
def test_langchain_dumps(name):
    (session,) = read(DATA / name)
    said = [(message.role, message.content) for message in session.messages]
    assert ("user", "I play the cello.") in said
    assert ("assistant", "Lovely!") in said
    if name == "langchain_dict.json":
        assert said[-1] == ("user", "On Sundays I rehearse with a quartet.")


def test_what_langchain_itself_writes():
    from langchain_core.load import dumps
    from langchain_core.messages import AIMessage, HumanMessage, messages_to_dict

    messages = [HumanMessage("I play the cello."), AIMessage("Lovely!")]
    forms = [json.dumps(messages_to_dict(messages)), dumps(messages), dumps({"messages": messages}),
             json.dumps([message.model_dump() for message in messages])]  # fmt: skip
    read_back = [read_text(form) for form in forms]
    assert all(sessions == read_back[0] for sessions in read_back)
    assert [message.role for message in read_back[0][0].messages] == ["user", "assistant"]


def test_chatgpt_export_follows_the_branch_last_seen():
    (session,) = read(DATA / "chatgpt.json")  # the second conversation has no text and is left out
    assert session.id == "0b1f7d2e-1111-4222-8333-444455556666"
    assert [(message.role, message.content) for message in session.messages] == [
        ("user", "I bake sourdough with rye every Saturday."),
        ("assistant", "Rye ferments faster."),
        ("user", "Like this? Grams only, please."),
    ]
    assert session.date == date(2024, 3, 1)
    assert session.date_of(2) == date(2024, 3, 2)


def test_claude_export():
    (session,) = read(DATA / "claude.json")
    assert session.id == "5f1c2b3a-aaaa-4bbb-8ccc-ddddeeeeffff"
    assert [(message.role, message.content) for message in session.messages] == [
        ("user", "I run three times a week, never on Mondays."),
        ("assistant", "Here is a plan."),
        ("user", "Use kilometres, not miles."),
    ]
    assert session.date_of(2) == date(2024, 6, 11)


@pytest.mark.parametrize("name", ["chatgpt.json", "claude.json"])
def test_zip_as_downloaded(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("user.json", "{}")
        archive.write(DATA / name, "export/conversations.json")
    assert read(tmp_path / "export.zip") == read(DATA / name)


def test_zip_with_the_conversations_in_parts(tmp_path):
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.write(DATA / "claude.json", "conversations-001.json")
        archive.write(DATA / "chatgpt.json", "conversations-000.json")
    assert [session.id[:4] for session in read(tmp_path / "export.zip")] == ["0b1f", "5f1c"]


def read_text(text: str):
    """Read through standard input."""
    stdin, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(text.encode()))
    try:
        return read("-")
    finally:
        sys.stdin = stdin


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)
conversations = st.lists(st.lists(words, min_size=1, max_size=4), min_size=1, max_size=4)


@given(conversations, st.sampled_from([None, 1]), st.integers(min_value=8, max_value=64))
def test_every_layout_gives_the_same_conversations(texts, indent, chunk):
    chunk, stream.CHUNK = stream.CHUNK, chunk  # so small that values are cut in the middle
    wrapped = [{"id": f"s{place}", "messages": [{"role": "user", "content": text} for text in said]}
               for place, said in enumerate(texts)]  # fmt: skip
    try:
        as_list = read_text(json.dumps(wrapped, indent=indent, ensure_ascii=False))
        as_lines = read_text("\n".join(json.dumps(one) for one in wrapped))
    finally:
        stream.CHUNK = chunk
    assert as_list == as_lines
    assert [[message.content for message in session.messages] for session in as_list] == texts


def test_large_archives_are_read_as_they_come(tmp_path):
    path = tmp_path / "big.json"
    path.write_text("[" + ",\n".join(json.dumps({"id": str(n), "messages": [HELLO] * 50}) for n in range(400)) + ", {")
    sessions = read_sessions(path)
    assert next(sessions).id == "0"  # though the end of the file is broken
    with pytest.raises(SessionError, match=r"big.json:400: ends in the middle of a value"):
        list(sessions)


# What can be wrong


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"role": "user", "content": ', "is broken JSON"),
        ('{"role": "user", "content": "hi', "is broken JSON"),
        ('{"role": "user", "content": "hi"', "is broken JSON"),
        ("garbage", "is broken JSON"),
        ('{"role": "robot", "content": "hi"}', "message 57: role 'robot'"),
        ('{"role": "user", "content": 5}', "message 57: content is a"),
        ('{"role": "user", "content": "hi", "at": "2031-01-01"}', "message 57: is dated 2031-01-01"),
        ('{"role": "user", "content": "' + "a" * (MAX_MESSAGE_CHARS + 1) + '"}', "message 57: 200,001 characters"),
    ],
)
def test_line_57_is_named(tmp_path, line, said):
    lines = [json.dumps(HELLO)] * 80
    lines[56] = line
    message = wrong(tmp_path, "\n".join(lines), "chat.jsonl")
    assert message.startswith(f"chat.jsonl:57: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "chat.json: is empty; expected OpenAI-style JSON"),
        (" \n\n", "chat.json: is empty"),
        ("[]", "chat.json: no conversation in it has a word of the user"),
        ('[{"role": "assistant", "content": "Hi"}]', "chat.json: no conversation in it has a word of the user"),
        ("hello there", "chat.json:1: is not JSON"),
        ('"hello"', "chat.json:1: is a text, neither"),
        ('[\n{"foo": 1}\n]', "chat.json:2: is an object, neither"),
        ("[1, 2]", "chat.json:1: is a number, neither"),
        ('[\n{"role": "user", "content": "a"},\n{"role": "user", "content": "b",}\n]', "chat.json:3: is broken JSON"),
        ('[{"role": "user", "content": "a"} {}]', "chat.json:1: is broken JSON (expecting ',' or ']')"),
        ('[{"role": "user", "content": "a"}', "chat.json:1: ends in the middle of a list; is the file complete?"),
        ('{"messages": [', "chat.json:1: ends in the middle of a value; is the file complete?"),
        ("[" * 100_000, "chat.json:1: is nested too deeply"),
        (b"\x89PNG\x00\x01", "chat.json: is a binary file"),
        (b"\x80\x04\x95.", "chat.json:1: is not UTF-8 text; save it as UTF-8"),
        ('[\n{"role": "user", "content": "café"}]'.encode("latin-1"), "chat.json:2: is not UTF-8 text"),
        ('[{"role": "user", "content": "a"}]'.encode("utf-16"), "chat.json: is UTF-16 text; save it as UTF-8"),
        (b"PK\x03\x04 and no more", "chat.json: is a zip archive that cannot be opened"),
        ('{"date": "yesterday", "messages": [{"role": "user", "content": "a"}]}', "chat.json:1: date 'yesterday'"),
        ('{"date": "2031-01-01", "messages": [{"role": "user", "content": "a"}]}',
         "chat.json:1: is dated 2031-01-01, which is in the future; correct the date"),
        ('{"messages": [{"role": "user", "content": "a\\u0000b"}]}', "chat.json:1: message 1: contains binary data"),
        ('{"chat_messages": ["hello"]}', "chat.json:1: message 1: is a text, not a message"),
        ('{"chat_messages": [{"sender": "me", "text": "hello"}]}', "chat.json:1: message 1: role 'me'"),
    ],
)  # fmt: skip
def test_one_line_says_where_and_what(tmp_path, text, said):
    assert wrong(tmp_path, text).startswith(said)


def test_pickles_are_never_loaded(tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    wrong(tmp_path, pickle.dumps([Bomb()]))
    wrong(tmp_path, pickle.dumps([Bomb()], protocol=0))
    assert not (tmp_path / "exploded").exists()


def test_paths_that_are_no_file(tmp_path):
    with pytest.raises(SessionError, match="there is no such file"):
        read(tmp_path / "nothing.json")
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "conversations.json").write_text("[]")
    with pytest.raises(SessionError, match=r"is a folder; give a file, such as .*export/conversations\.json"):
        read(tmp_path)


def test_zips_that_cannot_be_used(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("photo.jpg", "x")
    with pytest.raises(SessionError, match=r"other\.zip: has no conversations\.json"):
        read(tmp_path / "other.zip")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conversations.json", b"[" + b" " * 40_000_000)
    with pytest.raises(SessionError, match=r"bomb\.zip: conversations\.json would unpack to 38 MiB"):
        read(tmp_path / "bomb.zip")
    whole = (DATA / "chatgpt.json").read_bytes()
    with zipfile.ZipFile(tmp_path / "torn.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("conversations.json", whole)
    torn = bytearray((tmp_path / "torn.zip").read_bytes())
    torn[200] ^= 0xFF
    (tmp_path / "torn.zip").write_bytes(torn)
    with pytest.raises(SessionError, match=r"torn\.zip"):
        read(tmp_path / "torn.zip")


def test_skip_leaves_out_what_cannot_be_used_and_says_so(tmp_path):
    path = tmp_path / "chat.json"
    path.write_text(json.dumps([{"id": "a", "messages": [HELLO]},
                                {"id": "b", "messages": [{"role": "robot", "content": "x"}]},
                                {"id": "c", "messages": [HELLO]}], indent=0))  # fmt: skip
    left_out: list[SessionError] = []
    assert [session.id for session in read(path, skip=left_out.append)] == ["a", "c"]
    assert "conversation 2: message 1: role 'robot'" in str(left_out[0])


def test_half_an_emoji_is_mended():
    (session,) = read_text('[{"role": "user", "content": "so happy \\ud83d"}]')
    assert session.messages[0].content == "so happy \N{REPLACEMENT CHARACTER}"


def test_tomorrow_is_allowed_for_other_time_zones():
    (session,) = read_text(json.dumps({"date": "2024-07-02", "messages": [HELLO]}))
    assert session.date == date(2024, 7, 2)


def test_unix_times_are_utc():
    (session,) = read_text(json.dumps([HELLO | {"timestamp": 1709287200}]))
    assert session.messages[0].at == datetime.fromisoformat("2024-03-01T10:00:00+00:00")
