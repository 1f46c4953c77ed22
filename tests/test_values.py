"""Messages, sessions, memories and errors: the values everything else is made of."""

from __future__ import annotations

import pickle
import random
import re
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import ValidationError

from agentmem.errors import AgentMemError, ConfigError, ModelError, OutputError, SessionError, StoreError, boundary
from agentmem.memory import (
    ID_PATTERN,
    MEMORY,
    MEMORY_OPS,
    Add,
    Close,
    Evidence,
    Fact,
    Preference,
    StandingInstruction,
    full_text,
    new_id,
    words,
)
from agentmem.session import MAX_MESSAGE_CHARS, Message, as_message, make_session


@pytest.mark.parametrize(
    "given_",
    [
        {"role": "user", "content": "hello"},
        {"role": "human", "content": [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": "x"}]},
        {"type": "human", "content": ["hello"]},
        HumanMessage("hello"),
        Message(role="user", content="hello"),
    ],
)
def test_every_accepted_form_becomes_the_same_message(given_: object) -> None:
    assert as_message(given_) == Message(role="user", content="hello")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"role": "robot", "content": "x"}, "message 7: role 'robot' is none of"),
        ({"content": "x"}, "message 7: role None is none of"),
        ({"role": "user", "content": 3}, "message 7: content is a int, not text"),
        ({"role": "user", "content": "a\x00b"}, "message 7: contains binary data"),
        (
            {"role": "user", "content": "x" * (MAX_MESSAGE_CHARS + 1)},
            "message 7: 200,001 characters, more than 200,000",
        ),
        ({"role": "user", "content": "x", "at": "yesterday-ish"}, "message 7: at: "),
        ("just text", "message 7: a str, not a message"),
    ],
)
def test_what_is_no_message_is_named_with_its_place(wrong: object, says: str) -> None:
    with pytest.raises(SessionError, match=re.escape(says)):
        as_message(wrong, 7)


def test_an_assistant_turn_that_only_calls_a_tool_is_empty_text() -> None:
    assert as_message({"role": "assistant", "content": None}).content == ""


def test_a_grown_conversation_keeps_its_id() -> None:
    short = make_session([{"role": "user", "content": "hi"}], date=date(2026, 1, 2))
    grown = make_session([{"role": "user", "content": "hi"}, AIMessage("hello")], date=date(2026, 1, 2))
    assert short.id == grown.id
    assert short.id.startswith("2026-01-02-")
    assert make_session([{"role": "user", "content": "ho"}], date=date(2026, 1, 2)).id != short.id


def test_the_day_of_a_turn_is_its_own_else_the_sessions() -> None:
    session = make_session(
        [{"role": "user", "content": "a", "at": "2026-01-02T23:00:00"}, {"role": "user", "content": "b"}]
    )
    assert (session.date_of(0), session.date_of(1)) == (date(2026, 1, 2), date(2026, 1, 2))
    assert session.messages[0].at == datetime(2026, 1, 2, 23)


@pytest.mark.parametrize("id", ["", "  ", "two\nlines", " padded "])
def test_a_session_id_is_one_clean_line(id: str) -> None:
    with pytest.raises(SessionError, match="session id"):
        make_session([{"role": "user", "content": "hi"}], id=id)


def test_holds_from_valid_at_until_the_day_before_invalid_at() -> None:
    fact = Fact(id="f23456", text="Lives in Lyon.", valid_at=date(2026, 1, 10), invalid_at=date(2026, 2, 1))
    assert [fact.holds_on(date(2026, *day)) for day in [(1, 9), (1, 10), (1, 31), (2, 1)]] == [False, True, True, False]
    assert fact.status == "closed"
    assert Fact(id="f23456", text="x").holds_on(date(1900, 1, 1))


def test_texts_are_single_lines_and_conditions_have_no_arrow() -> None:
    assert Preference(id="p23456", text=" two\n lines ").text == "two lines"
    with pytest.raises(ValidationError, match="=>"):
        StandingInstruction(id="i23456", when="a => b", text="c")
    with pytest.raises(ValidationError):
        Preference(id="q23456", text="wrong letter")
    with pytest.raises(ValidationError):
        Evidence(quote="x", session="two\nlines", turn=0)


def test_full_text_shows_the_condition() -> None:
    assert full_text(StandingInstruction(id="i23456", when="booking", text="Aisle.")) == "booking => Aisle."
    assert full_text(StandingInstruction(id="i23456", text="In French.")) == "In French."


@given(st.sets(st.sampled_from(["p22222", "p22223", "p22224"])), st.integers())
def test_new_ids_are_fresh_and_well_formed(taken: set[str], seed: int) -> None:
    id = new_id("preference", taken, random.Random(seed))
    assert re.fullmatch(ID_PATTERN, id)
    assert id not in taken


def test_ops_survive_json() -> None:
    evidence = Evidence(quote="I live in Lyon", session="s", turn=0, context=None)
    ops = (
        Add(memory=Fact(id="f23456", text="Lives in Lyon.", evidence=(evidence,), confidence=0.953)),
        Close(id="f23456", on=date(2026, 1, 1), because="moved"),
    )
    assert MEMORY_OPS.validate_json(MEMORY_OPS.dump_json(ops)) == ops
    assert ops[0].memory.confidence == 0.95
    assert MEMORY.validate_python(ops[0].memory.model_dump()) == ops[0].memory


def test_words_keep_contractions_and_numbers() -> None:
    assert words("I don’t like Crohn's 2nd_floor!") == ["i", "don’t", "like", "crohn's", "2nd", "floor"]


def test_errors_are_picklable_and_keep_the_raw_answer() -> None:
    error = pickle.loads(pickle.dumps(OutputError("no edits", raw="Sure! Here you go")))
    assert (str(error), error.raw) == ("no edits", "Sure! Here you go")
    assert issubclass(ConfigError, ValueError)
    assert all(issubclass(kind, AgentMemError) for kind in (ConfigError, SessionError, StoreError, ModelError))


def test_boundary_turns_foreign_failures_into_one_line_and_passes_ours() -> None:
    with pytest.raises(ModelError, match="^chat: first line$"), boundary(ModelError, "chat"):
        raise RuntimeError("first line\nsecond line")
    with pytest.raises(StoreError), boundary(ModelError, "chat"):
        raise StoreError("ours")
    with pytest.raises(KeyboardInterrupt), boundary(ModelError, "chat"):
        raise KeyboardInterrupt
