"""Routes and the token estimate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.memory import Fact
from agentmem.route import Route, choose_route, count_tokens
from agentmem.session import Message, Session

MEMORIES = [Fact(id=f"faaaa{n}", text="x" * 40) for n in "bcd"]  # 14 tokens each with the mark
TALK = Session(id="s", messages=(Message(role="user", content="y" * 400),))  # 104 tokens


@pytest.mark.parametrize(
    ("memory_budget", "history_budget", "expected"),
    [
        (42, 104, Route("full_history", 146)),
        (42, 103, Route("whole_memory", 42)),
        (41, 103, Route("retrieve", 0)),
        (41, 104, Route("retrieve", 0)),  # the conversations alone would leave memories out
        (0, 0, Route("retrieve", 0)),
    ],
)
def test_the_fullest_route_that_fits(memory_budget, history_budget, expected):
    assert choose_route(MEMORIES, [TALK], memory_budget=memory_budget, history_budget=history_budget) == expected


def test_no_sessions_is_no_history():
    assert choose_route(MEMORIES, [], memory_budget=99, history_budget=99) == Route("whole_memory", 42)


def test_nothing_stored_shows_nothing():
    assert choose_route([], [], memory_budget=0, history_budget=0) == Route("whole_memory", 0)


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("a", 1), ("Prefers window seats", 5), ("краткий", 4), ("简短的回答", 5), ("🎉🎉", 4)]
)
def test_token_estimate(text, tokens):
    assert count_tokens(text) == tokens


@given(st.text(max_size=50), st.text(max_size=50))
def test_more_text_is_never_fewer_tokens(left, right):
    assert max(count_tokens(left), count_tokens(right)) <= count_tokens(left + right) <= 2 * len(left + right)


@given(st.integers(0, 60), st.integers(0, 200), st.integers(0, 3))
def test_what_is_shown_fits_the_budgets(memory_budget, history_budget, kept):
    route = choose_route(MEMORIES[:kept], [TALK], memory_budget=memory_budget, history_budget=history_budget)
    assert route.tokens <= memory_budget + history_budget
