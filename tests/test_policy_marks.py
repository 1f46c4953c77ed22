"""What is worth writing down: the sentences that a detector reads, with what, and who is asked of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pytest

from agentmem.memory import Evidence, Fact
from agentmem.models.embed import get_embedder
from agentmem.policy import Observation, TrainedPolicy
from agentmem.policy.actions import EditLines, actions_of, get_actions, keep_actions
from agentmem.policy.edits import parse_edits
from agentmem.policy.marks import WORTHS, Marker, pairs, sentences_of, shipped_marker, worths
from agentmem.policy.resolve import render_observation
from agentmem.session import Message, Session

DAY = date(2026, 5, 1)


def seen(*messages: str, known: Sequence[str] = (), start: int = 0) -> Observation:
    """User and assistant in turn; the user begins."""
    own = [Message(role="assistant" if turn % 2 else "user", content=text) for turn, text in enumerate(messages)]
    facts = [Fact(id=f"f{place:05}", text=text, evidence=(Evidence(quote="so", session="s", turn=0),))
             for place, text in enumerate(known)]  # fmt: skip
    return Observation(memories=tuple(facts), session=Session(id="s", messages=tuple(own)), start=start, today=DAY)


class Liking:
    """Finds worth in what says love."""

    def __init__(self) -> None:
        self.read: list[tuple[str, str]] = []

    def probabilities(self, pairs: Any, /) -> Any:
        self.read += pairs
        return np.array([[0.1, 0.9, *[0.0] * 6] if "love" in said else [1.0, *[0.0] * 7] for said, _ in pairs],
                        np.float32).reshape(-1, len(WORTHS))  # fmt: skip


class Echo:
    """Writes that the user loves tea, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def write(self, prompts: Sequence[Sequence[Mapping[str, str]]], aliases: Sequence[Sequence[str]], /) -> list[str]:
        self.asked += [messages[-1]["content"] for messages in prompts]
        return ['+ preference: Loves tea. | "I love tea."' for _ in prompts]


def test_sentences_are_those_of_new_user_messages_without_code_and_fiction() -> None:
    chat = seen("Old news here.", "Yes?", "I love tea. See `x = 1`.\n```\nlove = 2\n```", "Fine.",
                "Let's role-play: you are a pirate and I am the parrot. I love crackers.", "Arr.", "I love rum.",
                start=2)  # fmt: skip
    assert [one.text for one in sentences_of(chat)][0] == "I love tea."
    assert all("love = 2" not in one.text and "rum" not in one.text for one in sentences_of(chat))
    for one in sentences_of(chat):
        assert chat.session.messages[one.turn].content[one.start : one.end] == one.text


def test_a_sentence_is_read_with_the_memories_near_it_and_what_came_before() -> None:
    known = ["Drinks tea in the morning.", "Owns a red bicycle.", "Drinks tea at night."]
    chat = seen("A green one?", "Why not.", "I drink tea now.", known=known, start=2)
    [[(said, beside)]] = pairs([chat], [sentences_of(chat)], get_embedder("hash"))
    assert said == "I drink tea now."
    assert "tea in the morning" in beside and "tea at night" in beside and "bicycle" not in beside
    assert beside.endswith("A green one? / Why not.")


def test_only_marked_sentences_are_asked_of_and_without_any_the_model_is_not() -> None:
    judge, writer = Liking(), Echo()
    policy = TrainedPolicy(writer, actions=EditLines(marks=0.5), marker=Marker(judge, get_embedder("hash"), 0.5))
    chats = [
        seen("What time is it?"),
        seen("It rains again.", "Oh.", "I love tea. And rain is wet."),
        seen("Hm, well."),
    ]
    proposals = policy.propose(chats)
    assert [len(one.edits) for one in proposals] == [0, 1, 0]
    [asked] = writer.asked
    assert "What time" not in asked and "assistant: Oh." in asked and "It rains" not in asked
    assert asked.endswith("\nKeep: I love tea.\nEdits:")
    assert [said for said, _ in judge.read if "love" in said] == ["I love tea."]


def test_without_marks_the_prompt_is_as_it_was() -> None:
    chat = seen("It rains again.", "Oh.", "I love tea.")
    text, _ = render_observation(chat)
    assert "It rains again." in text and "Keep:" not in text


def test_what_a_sentence_calls_for_is_what_the_first_edit_does_that_quotes_of_it() -> None:
    chat = seen("I moved to Oslo. I hate snow! Who doesn't? I gave up skiing. Forget my age.", known=["x", "y", "z"])
    edits = parse_edits(
        '~ f1: Lives in Oslo. | "moved to Oslo"\n+ preference?: Dislikes snow. | "I hate snow!"\n'
        '- f2 | "I gave up skiing."\nx f3 | "Forget my age."'
    ).edits
    assert worths(chat, edits, sentences_of(chat)) == ["replace", "inferred", "none", "close", "forget"]


def test_marks_are_kept_with_the_adapter(tmp_path: Any) -> None:
    keep_actions(get_actions("edits", marks=0.4), tmp_path)
    assert actions_of(tmp_path) == EditLines(marks=0.4)
    for name, marks in (("edits", 1.0), ("rewrite", 0.5)):
        with pytest.raises(ValueError, match="a probability between 0 and 1, for the actions edits only"):
            get_actions(name, marks=marks)


def test_the_detector_that_ships_knows_plain_cases() -> None:
    marker = shipped_marker(0.5)
    worth = ["I'm allergic to peanuts.", "From now on always answer in French, please.", "I work as a nurse in Leeds."]
    not_worth = ["What is the capital of France?", "Thanks, that helped a lot!", "Translate this sentence, please."]
    for text, marked in [*((text, True) for text in worth), *((text, False) for text in not_worth)]:
        [read] = marker.mark([seen(text)])
        assert bool(read.marks) == marked, text
