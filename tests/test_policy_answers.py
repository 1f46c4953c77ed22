"""Short answers, spelled out as the sentences that they stand for."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.policy import Observation, Proposal
from agentmem.policy.answers import as_said, as_spelled, question_of, with_answers
from agentmem.policy.edits import Edit
from agentmem.policy.marks import sentences_of
from agentmem.policy.questions import spelled_out
from agentmem.policy.resolve import find_evidence
from agentmem.session import Message, Session


def talk(*texts: str, start: int = 0) -> Observation:
    """The user begins, and the assistant answers in turn."""
    messages = tuple(Message(role="assistant" if place % 2 else "user", content=text)
                     for place, text in enumerate(texts))  # fmt: skip
    return Observation(memories=(), session=Session(id="s", messages=messages), start=start, today=date(2026, 11, 27))


@pytest.mark.parametrize(
    ("question", "answer", "sentence"),
    [
        ("What's your name?", "Marta.", "My name is Marta."),
        ("What's your favourite game?", "chess", "My favourite game is chess."),
        ("By the way, what’s your shoe size?", "44", "My shoe size is 44."),
        ("What should I call you?", "Dot", "Call me Dot."),
        ("How old is your daughter?", "six", "My daughter is six years old."),
        ("How many kids do you have?", "Two.", "I have two kids."),
        ("How often do you run?", "twice a week", "I run twice a week."),
        ("When do you usually get up?", "at six", "I usually get up at six."),
        ("And where do you live?", "Porto!", "I live in Porto."),
        ("Where are you from?", "near Porto", "I am from near Porto."),
        ("Which state are you in?", "Oregon", "I am in Oregon."),
        ("Which programming language do you use?", "Rust", "The programming language I use is Rust."),
        ("What do you do for a living?", "nurse", "My job is nurse."),
        ("Any dietary restrictions I should know about?", "Vegan.", "My dietary restrictions: vegan."),
        ("Are you allergic to anything?", "Peanuts", "I am allergic to peanuts."),
        ("Do you play any instruments?", "cello", "I play cello."),
        ("Do you have any pets?", "two cats", "I have two cats."),
        ("Do you have any kids?", "no", "I have no kids."),
        ("Are you vegetarian?", "Yes!", "I am vegetarian."),
        ("So you're vegetarian?", "yep", "I'm vegetarian."),
        ("Do you drink alcohol?", "never", "I never drink alcohol."),
        ("Do you prefer an aisle or a window seat?", "Aisle", "I prefer an aisle seat."),
        ("Do you prefer an aisle or a window seat when you fly?", "window pls", "I prefer a window seat when I fly."),
        ("Do you usually drink tea or coffee in the morning?", "Tea", "I usually drink tea in the morning."),
        ("Are you more of a morning person or a night owl?", "night owl", "I am more of a night owl."),
        ("Do you prefer something sweet or savory?", "savory", "I prefer savory."),
        ("Do you use Windows or something else?", "Windows", "I use Windows."),
        ("How do you take your coffee?", "Black", "I take my coffee black."),
        ("How spicy do you like your food?", "very", "I like my food very spicy."),
        ("So I can narrow it down, is there a genre you never watch?", "horror", "I never watch horror."),
        ("Should I always add sources?", "yes please", "Please always add sources."),
        ("Shall I give you distances in miles from now on?", "ok", "Please give me distances in miles from now on."),
        ("Shall I remember that you prefer aisle seats?", "Yes", "I prefer aisle seats."),
        ("Shall I always correct you?", "yes", "Please always correct me."),
    ],
)
def test_an_answer_is_spelled_out(question: str, answer: str, sentence: str) -> None:
    assert spelled_out(question, answer) == sentence


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What's the capital of France?", "Paris"),  # of a quiz
        ("Is it a mammal?", "Yes"),
        ("Shall I go on?", "yes"),  # accepted once
        ("Should I always add sources?", "no"),  # nothing is agreed
        ("Shall I remember that you prefer aisle seats?", "no"),
        ("Which one do you prefer?", "the second"),  # of what is at hand
        ("Do you want a series or a movie?", "series"),
        ("What mood are you in?", "knives out"),
        ("Are you ready to begin?", "yes"),
        ("Do you like this?", "yes"),
        ("When do you fly?", "the 12th"),  # once
        ("Do you have a fan on batteries?", "no"),  # not at hand
        ("Where do you live?", "why?"),  # asks back
        ("Where do you live?", "not telling"),
        ("Where do you live?", "it depends"),
        ("Do you prefer tea or coffee?", "both"),
        ("Do you prefer tea or coffee?", "cocoa"),  # is none of them
        ("What's your size, and do you want it in blue?", "44"),  # two questions
        ("What's your name?", "I'd rather not say"),
        ("What's your name?", "that is a question I have been asked far too often in my life"),
        ("Wo wohnst du?", "Porto"),  # English only
        ("", "yes"),
        ("What's your password?", "hunter2"),
        ("What is your card number?", "4111"),
        ("Do you play an instrument or sing?", "sing"),
        ("For your mom, any allergies?", "nuts"),
        ("If you were a knight, what's your name?", "Lancelot"),
        ("What's your name in this game?", "Lancelot"),
        ("What's your name in the story?", "Lancelot"),
        ("What do you do?", "run away"),  # a turn of a game
        ("Are you allergic to peanuts or shellfish?", "shellfish"),
        ("Do you eat meat or only fish?", "meat"),
        ("Do you live alone or with your parents?", "alone"),
        ("You're pregnant?", "Oh!"),
        ("Is there anything you don't eat?", "No, everything"),
        ("Do you not eat meat?", "no"),
        ("Do you have to wear glasses?", "no"),
        ("Are you two married?", "yes"),
        ("How do you like your new job?", "boring"),
        ("Where do you live?", "used to be Porto"),
        ("Shall I remember your address?", "yes"),
        ("Want me to explain why it never terminates?", "yes"),
    ],
)
def test_what_is_not_plain_stays(question: str, answer: str) -> None:
    assert spelled_out(question, answer) == ""


def test_the_answer_is_replaced_where_it_stands() -> None:
    seen = talk("hi", "Hello! Where do you live?", "Porto. And what's on there?", "A lot. Any allergies?", "nuts")
    said = [message.content for message in with_answers(seen).session.messages]

    assert said[2] == "I live in Porto. And what's on there?"
    assert said[4] == "My allergies: nuts."
    assert [said[place] for place in (0, 1, 3)] == [seen.session.messages[place].content for place in (0, 1, 3)]


def test_what_is_learned_quotes_what_is_served_and_back() -> None:
    seen = talk("hi", "Where do you live?", "Porto. I love it")
    edits = [Edit(sign="+", kind="fact", text="Lives in Porto.", quotes=("Porto",)),
             Edit(sign="+", kind="fact", text="Loves Porto.", quotes=("I love it",))]  # fmt: skip
    shown = as_spelled(edits, seen)
    assert [edit.quotes for edit in shown] == [("I live in Porto.",), ("I love it",)]
    assert all(edit.quotes[0] in with_answers(seen).session.messages[2].content for edit in shown)
    back = as_said(Proposal(edits=tuple(shown)), seen).edits
    assert [edit.quotes for edit in back] == [("Porto.",), ("I love it",)]


def test_what_is_not_new_or_no_answer_is_left() -> None:
    known = talk("hi", "Where do you live?", "Porto", "Nice.", "what's on?", start=3)
    assert with_answers(known) is known
    for said in (["hi", "Where do you live? And your job?", "Porto"],  # of which question?
                 ["hi", "I see. Where do you live? Tell me.", "Porto"],  # not at its end
                 ["Where do you live?"], ["hi", "Hello!", "Porto"]):  # fmt: skip
        seen = talk(*said)
        assert with_answers(seen) is seen


def test_the_evidence_is_what_was_said() -> None:
    seen = talk("hi", "Where do you live?", "Porto. I love it", "Any allergies?", "nuts")
    edits = (Edit(sign="+", kind="fact", text="Lives in Porto.", quotes=("I live in Porto.",)),
             Edit(sign="+", kind="fact", text="Loves Porto.", quotes=("I love it",)),
             Edit(sign="+", kind="fact", text="Is allergic to nuts.", quotes=("My allergies: nuts",)))  # fmt: skip

    proposal = as_said(Proposal(edits=edits), seen)

    assert [edit.quotes for edit in proposal.edits] == [("Porto.",), ("I love it",), ("nuts",)]


@pytest.mark.parametrize(
    ("quote", "pointed"),
    [("the second one sounds good", True), ("that works", True), ("I'd take the last", True), ("option 2", True),
     ("yes", True), ("I moved last week", False), ("the first time I flew", False),
     ("I hate that my room is cold", False), ("both my kids", False)],
)  # fmt: skip
def test_evidence_names_what_it_answers_where_it_points_there(quote: str, pointed: bool) -> None:
    found = find_evidence(quote, talk("hi", "One, two or three.", quote))
    assert found.context == (1 if pointed else None)


def test_an_answer_is_not_found_in_another_word_of_an_earlier_message() -> None:
    seen = talk("I know that Rex is cute. Help?", "Do you have any pets?", "no")
    found = find_evidence("no", seen)
    assert (found.turn, found.context) == (2, 1)


def test_what_follows_an_answer_on_a_line_of_its_own_stays_there() -> None:
    letter = "Yes\n\nDear Sir,\nI am writing to apply. My name is Bob and I live in Rome.\nRegards,\nBob"
    seen = with_answers(talk("hi", "Are you vegetarian?", letter))
    assert seen.session.messages[2].content == f"I am vegetarian.{letter[3:]}"
    assert [one.text for one in sentences_of(seen)] == ["I am vegetarian."]


def test_whose_allergies_are_asked_for_where_others_were_spoken_of_is_open() -> None:
    for asked, spelled in (("cake for me", True), ("a cake for my daughter", False)):
        seen = with_answers(talk(asked, "Sure! Any allergies?", "peanuts"))
        assert (seen.session.messages[2].content == "My allergies: peanuts.") == spelled


def test_quotes_that_differ_in_their_marks_are_those_of_the_answer() -> None:
    seen = talk("hi", "What's your name?", "Conan O’Brien. I love it")
    edit = Edit(sign="+", kind="fact", text="Is called Conan O'Brien.", quotes=("My name is Conan O'Brien.",))
    assert [one.quotes for one in as_said(Proposal(edits=(edit,)), seen).edits] == [("Conan O’Brien.",)]


def test_the_evidence_of_an_answer_names_its_question() -> None:
    seen = talk("hi", "Where do you live?", "Porto. I love it")
    assert [find_evidence(quote, seen).context for quote in ("Porto.", "I love it")] == [1, None]


def test_a_word_is_read_where_it_may_answer() -> None:
    assert [one.text for one in sentences_of(talk("Hi!", "Wo wohnst du?", "Porto"))] == ["Porto"]
    assert sentences_of(talk("Hi!", "There you are.", "Perfect")) == []


@given(st.text(max_size=60), st.text(max_size=40))
def test_any_texts_can_be_read(question: str, answer: str) -> None:
    sentence = spelled_out(question + "?", answer)
    assert sentence == "" or sentence.endswith(".")
    seen = talk("hi", question + "?", answer or "-")
    as_said(Proposal(), with_answers(seen))


@pytest.mark.parametrize(
    ("said", "asked"),
    [("beginners, ages 6-10", True), ("zwei, ein Hund und eine Katze", True), ("That's a great idea!", False),
     ("Pretty good!", False), ("my wife and I", False), ("one, two, three, four, five, six, seven", False)],
)  # fmt: skip
def test_short_words_are_understood_by_their_question_unless_they_speak_for_themselves(said: str, asked: bool) -> None:
    question = "What level do you teach?"
    assert question_of(talk("hi", f"Fine. {question}", said).session.messages, 2, said) == (question if asked else "")
    assert question_of(talk("hi", "Fine.", said).session.messages, 2, said) == ""
    assert question_of(talk("hi", "Fine. And the PIN?", said).session.messages, 2, said) == ""
