from __future__ import annotations

import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from agentmem.errors import ModelError
from agentmem.models.fake import FakeChatModel


def test_replies_come_in_order_and_calls_are_kept() -> None:
    model = FakeChatModel(["one", "two"])
    assert model.invoke("first").content == "one"
    assert model.invoke([SystemMessage("be brief"), HumanMessage("second")]).content == "two"
    assert [message.content for message in model.calls[1]] == ["be brief", "second"]


def test_a_function_answers_from_the_messages() -> None:
    model = FakeChatModel(lambda messages: str(messages[-1].content).upper())
    assert [reply.content for reply in model.batch(["a", "b"], {"max_concurrency": 1})] == ["A", "B"]


def test_an_exhausted_list_says_which_call_and_what_was_asked() -> None:
    model = FakeChatModel(["only"])
    model.invoke("x")
    with pytest.raises(ModelError, match="call 2, but it was given 1 replies.*'why this one'"):
        model.invoke("why this one")


@pytest.mark.parametrize("text", ["", "word", "  two\n\nlines of text \n", "\n"])
def test_streamed_pieces_join_to_the_reply(text: str) -> None:
    pieces = [str(chunk.content) for chunk in FakeChatModel([text]).stream("go")]
    assert "".join(pieces) == text


def test_streaming_gives_more_than_one_piece() -> None:
    chunks = [str(chunk.content) for chunk in FakeChatModel(["one two three"]).stream("go")]
    assert [piece for piece in chunks if piece] == ["one", " two", " three"]


def test_stop_cuts_and_bound_arguments_are_kept() -> None:
    model = FakeChatModel(["= END more"])
    assert model.bind(grammar="root ::= x").invoke("go", stop=[" END"]).content == "="
    assert model.settings == [{"stop": [" END"], "grammar": "root ::= x"}]


def test_tokens_are_words_and_need_no_network() -> None:
    assert FakeChatModel().get_num_tokens("three words here") == 3
