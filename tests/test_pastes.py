"""What of a message is the user speaking of themselves, and what is pasted, played or said by others."""

from __future__ import annotations

import time
from datetime import date

import pytest

from agentmem.policy.base import Observation
from agentmem.policy.marks import sentences_of
from agentmem.policy.pastes import opens_play
from agentmem.policy.pieces import pieces
from agentmem.policy.spans import own_words, statements
from agentmem.session import Message, Session


def said(message: str) -> list[str]:
    return [message[span.start : span.end] for span in statements(message)]


def seen(*user: str) -> Observation:
    messages = tuple(Message(role="user", content=one) for one in user)
    return Observation(memories=(), session=Session(id="s", messages=messages), today=date(2026, 1, 1))


@pytest.mark.parametrize(
    ("message", "own"),
    [
        ("Hi there,\nI live in Lyon.\nI'm looking for a vegan place", "I live in Lyon."),  # a greeting is no letter
        ("My husband Dan is allergic to nuts. We live in Leeds.", "We live in Leeds."),
        ("You're the best! I moved to Rome last week.", "I moved to Rome last week."),
        ("I'm allergic to latex. Write an email to my dentist.", "I'm allergic to latex."),
        ("I act like I'm fine but I have anxiety.", "I act like I'm fine but I have anxiety."),
        ("My class starts at 8:15 and I teach a language.\nI live in Rome.", "I live in Rome."),  # no text follows
        ("Read https://example.com/a please. I'm a nurse.", "I'm a nurse."),
        ("When you answer: be brief.\nI'm a doctor.", "When you answer: be brief."),
        ("When you answer: be brief.\nI'm a doctor.", "I'm a doctor."),
        ("I love to read: mostly crime novels.", "I love to read: mostly crime novels."),
        ("Note: I don't eat pork.\nNote: I don't drink.", "Note: I don't drink."),
        ("I moved Lyon -> Porto last week.", "I moved Lyon -> Porto last week."),
        ("public transport only, I don't drive", "public transport only, I don't drive"),
        ('I need a 27" monitor and my desk is 60" wide, I sit a lot.',
         'I need a 27" monitor and my desk is 60" wide, I sit a lot.'),
        ("我住在北京。我不吃肉。", "我不吃肉。"),
        ("i live in rome " + "and we go out for dinner and then we walk home " * 9 + "and i am allergic to nuts",
         "i am allergic to nuts"),  # dictated
    ],
)  # fmt: skip
def test_what_the_user_says_of_themselves_is_read(message: str, own: str) -> None:
    assert own in said(message)


@pytest.mark.parametrize(
    "message",
    [
        "Dear Sir,\nI live in Rome.\nI want a refund.",
        "hello,\nI have worked for you for 3 years.\nI want a raise.\nBest regards,\nAna",
        "translate: I live in Rome. I love it",
        "You are a pirate. I love rum. I live on a ship.",
        "Act as my teacher. I love maths and hate rain.",
        "Anna: I love tea a lot\nBen: I hate it so much",
        "return x * self.rate;\nlet y = 3;",
        "<note>I live in Rome and love it.</note>",
        "Which of the following is true?\nTrue\nFalse",
    ],
)
def test_what_is_pasted_played_or_said_by_others_is_not(message: str) -> None:
    assert said(message) == []


def test_a_text_below_a_request_is_pasted_with_a_colon_or_without() -> None:
    assert said("Can you fix the grammar of the letter below?\n\nI live in Rome and I love it.") == [
        "Can you fix the grammar of the letter below?"]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "play"),
    [
        ("let's roleplay, you are a vampire", True),
        ("I'll be the patient and you are the doctor", True),
        ("let's play 20 questions", True),
        ("You are my dungeon master tonight", True),
        ("I'll be a father in March! I live in Rome.", False),
        ("I can't pretend to like coffee", False),
        ("let's play tennis, I need a racket", False),
        ("I'm a dungeon master on weekends", False),
        ("It doesn't suit my character", False),
    ],
)
def test_a_play_is_opened_by_words_to_the_assistant(message: str, play: bool) -> None:
    assert bool(opens_play(message)) is play


def test_in_a_play_only_plain_requests_to_forget_are_heard() -> None:
    whole = seen("I live in Oslo. Let's roleplay, you are a vampire.", "I hate garlic.", "Please forget my address.")
    assert [one.text for one in sentences_of(whole)] == ["I live in Oslo.", "Please forget my address."]


@pytest.mark.parametrize("opening", ["Summarize this text: ", "Please proofread my story below.\n\n", "```\n"])
def test_a_long_paste_is_one_also_where_it_is_read_in_parts(opening: str) -> None:
    long = opening + "I am allergic to shellfish. I married Ruth in 1990. " * 60
    read = [one.text for piece in pieces(seen("I'm vegan by the way.", long), 500, own_words)
            for one in sentences_of(piece)]  # fmt: skip
    assert not [one for one in read if "shellfish" in one or "Ruth" in one]
    assert "I'm vegan by the way." in read
    assert len([*pieces(seen(long), 500)]) > 1  # who reads everything still does, in parts


def test_of_a_long_message_all_that_the_user_says_is_read_and_a_play_stays_one() -> None:
    long = "\n".join(f"I have {count} cats in my house and feed all of them." for count in range(2, 50))
    [*parts] = pieces(seen(long), 500, own_words)
    assert len(parts) > 1
    assert [one.text for part in parts for one in sentences_of(part)] == said(long)
    played = "\n".join(["Let's roleplay, you are a vampire.", *["I bite and I bite and I bite."] * 80])
    assert [one for part in pieces(seen(played, "I hate garlic."), 500, own_words) for one in sentences_of(part)] == []


@pytest.mark.parametrize(
    "text",
    [
        "I live in Rome" + "\n" * 50_000 + "bye", "".join(f"<t{tag}>" for tag in range(8_000)), "A. " * 20_000,
        "I " + "1" * 50_000, "I live" + " " * 50_000 + "in Rome", "?" * 50_000, "you are " * 8_000, '"' * 50_000,
    ],
)  # fmt: skip
def test_no_message_takes_long(text: str) -> None:
    """Of 50,000 characters; one that grew with their square took minutes."""
    begun = time.perf_counter()
    statements(text)
    opens_play(text)
    assert time.perf_counter() - begun < 5
