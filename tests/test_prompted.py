"""Prompts, and the policy that asks a chat model."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

import agentmem.prompts
from agentmem.errors import ConfigError, ModelError, OutputError
from agentmem.memory import Fact
from agentmem.models.embed import get_embedder
from agentmem.models.fake import FakeChatModel, FakeEmbedder
from agentmem.policy import Observation, PromptedPolicy, get_policy
from agentmem.policy.edits import format_edits
from agentmem.policy.prompted import CHUNK_TOKENS
from agentmem.policy.resolve import aliases_of, render_observation
from agentmem.prompts import render
from agentmem.route import count_tokens
from agentmem.session import make_session

LYON = '+ fact: Lives in Lyon. | "I live in Lyon"'


def observation(*said: str, start: int = 0) -> Observation:
    session = make_session([{"role": "user", "content": text} for text in said], id="s")
    return Observation(
        memories=(Fact(id="f23456", text="Has a cat."),), session=session, start=start, today=date(2026, 1, 1)
    )


def test_every_template_names_a_missing_and_an_unused_value() -> None:
    with pytest.raises(ConfigError, match=r"reply\.md: no value for \{earlier\}"):
        render("reply", memory="x", today="y")
    with pytest.raises(ConfigError, match=r"observe\.md: has no \{mood\}"):
        render("observe", mood="good")
    with pytest.raises(ConfigError, match="no such template"):
        render("nothing")
    assert "{" not in render("reply", memory="x", today="y", earlier="")


def test_the_prompt_of_one_observe_costs_at_most_600_tokens_besides_memory_and_messages() -> None:
    model = FakeChatModel(["="])
    PromptedPolicy(model).propose([observation("hello")])
    [prompt] = model.calls
    assert sum(count_tokens(str(message.content)) for message in prompt) <= 600  # the estimate is on the high side
    assert len(list(Path(agentmem.prompts.__file__).parent.glob("*.md"))) == 7


def test_the_model_sees_memory_and_messages_and_its_edits_come_back() -> None:
    model = FakeChatModel([LYON])
    [proposal] = PromptedPolicy(model).propose([observation("I live in Lyon")])
    assert "f1: Has a cat." in str(model.calls[0][-1].content)
    assert "user: I live in Lyon" in str(model.calls[0][-1].content)
    assert [edit.text for edit in proposal.edits] == ["Lives in Lyon."]
    assert proposal.raw == LYON


def test_several_observations_keep_their_order() -> None:
    model = FakeChatModel(lambda messages: LYON if "Lyon" in str(messages[-1].content) else "=")
    first, second, third = PromptedPolicy(model).propose(
        [observation("hi"), observation("I live in Lyon"), observation("yo")]
    )
    assert (len(first.edits), len(second.edits), len(third.edits)) == (0, 1, 0)


def test_an_unreadable_answer_is_asked_for_again_with_the_reason_and_then_raises() -> None:
    model = FakeChatModel(["I found that she lives in Lyon!", LYON])
    [proposal] = PromptedPolicy(model).propose([observation("I live in Lyon")])
    assert len(proposal.edits) == 1
    assert "begins with none of" in str(model.calls[1][-1].content)
    with pytest.raises(OutputError) as caught:
        PromptedPolicy(FakeChatModel(["No.", "Still no."])).propose([observation("hi")])
    assert caught.value.raw == "Still no."
    with pytest.raises(ModelError):
        PromptedPolicy(FakeChatModel([])).propose([observation("hi")])


def test_a_long_conversation_is_read_in_pieces_and_each_turn_once() -> None:
    said = [f"message {n}: " + "word " * 800 for n in range(20)]
    model = FakeChatModel(lambda messages: "=")
    PromptedPolicy(model).propose([observation(*said, start=2)])
    assert len(model.calls) > 1
    shown = "\n".join(str(call[-1].content) for call in model.calls)
    assert all(f"user: message {n}:" in shown for n in range(2, 20))
    assert "user: message 0:" not in shown
    assert all(count_tokens(str(call[-1].content)) < CHUNK_TOKENS + 2500 for call in model.calls)


def test_one_very_long_message_is_read_in_parts_and_nothing_of_it_is_left_out() -> None:
    numbered = " ".join(f"word{n}" for n in range(9000))
    model = FakeChatModel(lambda messages: "=")
    PromptedPolicy(model).propose([observation(numbered)])
    shown = "\n".join(str(call[-1].content) for call in model.calls)
    assert len(model.calls) > 1
    assert set(re.findall(r"word\d+", numbered)) == set(re.findall(r"word\d+", shown))
    assert all(count_tokens(str(call[-1].content)) < CHUNK_TOKENS + 3000 for call in model.calls)


INVENTED = '+ fact: Lives in Rome. | "I live in Rome"'


def test_an_answer_refused_as_a_whole_is_asked_for_again_with_the_reasons() -> None:
    model = FakeChatModel([INVENTED, LYON])
    [proposal] = PromptedPolicy(model).propose([observation("I live in Lyon")])
    assert [edit.text for edit in proposal.edits] == ["Lives in Lyon."]
    assert "the quote is in no message of the user" in str(model.calls[1][-1].content)
    assert len(model.calls) == 2


@pytest.mark.parametrize(
    ("answers", "retries", "calls", "text"),
    [
        ([INVENTED], 0, 1, "Lives in Rome."),  # kept, so that to_ops reports the refusal
        ([INVENTED, "I am sorry."], 1, 2, "Lives in Rome."),
        ([INVENTED + "\n" + LYON], 1, 1, "Lives in Rome."),  # one good line is enough
    ],
)
def test_a_readable_answer_is_never_lost_to_the_retry(answers: list[str], retries: int, calls: int, text: str) -> None:
    model = FakeChatModel(answers)
    [proposal] = PromptedPolicy(model, retries=retries).propose([observation("I live in Lyon")])
    assert proposal.edits[0].text == text
    assert len(model.calls) == calls


def test_a_memory_that_was_not_shown_cannot_be_changed() -> None:
    ids = [f"f22{a}{b}{c}" for a in "abcd" for b in "abcdefg" for c in "abcde"]
    known = tuple(Fact(id=id, text="Has a cat and " + "oak " * 30) for id in ids)
    whole = observation("hello").model_copy(update={"memories": known})
    shown = render_observation(whole)[1]
    hidden = next(alias for alias in aliases_of(whole) if alias not in shown)
    model = FakeChatModel([f'- {hidden} | "hello"'])
    [proposal] = PromptedPolicy(model, retries=0).propose([whole])
    assert proposal.edits == ()
    assert proposal.problems == (f"no memory called {hidden} was shown",)


def test_policies_by_name() -> None:
    fake = FakeChatModel(["="])
    assert get_policy("prompted", embedder=FakeEmbedder, model=lambda: fake).name == "prompted"
    with pytest.raises(ConfigError, match="policy 'magic': choose one of auto, offline, trained, prompted"):
        get_policy("magic", embedder=FakeEmbedder, model=lambda: fake)


@pytest.mark.parametrize(
    ("said", "answer", "edits"),
    [
        ("Please forget that I have a cat.", "=", 'x f1 | "Please forget that I have a cat."'),
        ("Please forget that I have a cat.", 'x f1 | "forget that I have a cat"', 'x f1 | "forget that I have a cat"'),
        ("Don't forget that I have a cat.", "=", "="),
        ("I live in Lyon", LYON, LYON),
        ("I live in Lyon. Forget that I have a cat, please.", LYON,
         LYON + '\nx f1 | "Forget that I have a cat, please."'),
    ],
)  # fmt: skip
def test_what_is_plainly_to_be_forgotten_is_forgotten_also_when_the_model_does_not_say_so(
    said: str, answer: str, edits: str
) -> None:
    policy = get_policy("prompted", embedder=lambda: get_embedder("minilm"), model=lambda: FakeChatModel([answer]))
    [proposal] = policy.propose([observation(said)])
    assert format_edits(proposal.edits) == edits
    if "x" not in answer:
        assert proposal.raw.strip().removeprefix("=\n") == edits
