"""Short answers spelled out: "Do you prefer an aisle or a window seat?" - "Aisle." is read as "I prefer an aisle seat."

What is written of it quotes the answer, as the user gave it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentmem.memory import words
from agentmem.policy.base import Observation, Proposal
from agentmem.policy.edits import Edit
from agentmem.policy.questions import MOST_SAID, names_nobody, speaks, speaks_of_others, spelled_out
from agentmem.policy.spans import sentences
from agentmem.sensitive import asks_secret
from agentmem.session import Message

_AROUND = " \n\"'”’*_)"
"""What may stand after a question mark."""
_MOST_CHARS = 200
"""Of a message that are looked at for an answer."""
_CLOSER = re.compile(
    r"\b(?:(?:any|some)thing else|what else|what(?:['’]s| is) next|can i (?:help|do)|help you)\b", re.I
)
"""Asks for the next request."""


def with_answers(observation: Observation) -> Observation:
    """The observation with the user's new short answers spelled out; itself where there are none."""
    messages, answers = list(observation.session.messages), _answers(observation)
    for turn, (said, sentence) in answers.items():
        rest = messages[turn].content.lstrip()[len(said) :].lstrip(",;:")  # what is on another line stays there
        messages[turn] = messages[turn].model_copy(update={"content": f"{sentence}{rest}".rstrip()})
    if not answers:
        return observation
    session = observation.session.model_copy(update={"messages": tuple(messages)})
    spelled = tuple(sentence for _, sentence in answers.values())
    return observation.model_copy(update={"session": session, "spelled": spelled})


def as_said(proposal: Proposal, observation: Observation) -> Proposal:
    """A proposal for `with_answers(observation)` with quotes of what was said: the answer, not its sentence."""
    answers = _answers(observation)
    said = [message.content for message in observation.session.messages if message.role == "user"]

    def quoted(quote: str) -> str:
        own = set(words(quote))
        if not own or any(quote in content for content in said):
            return quote
        shared, answer = max((len(own & set(words(sentence))), answer) for answer, sentence in answers.values())
        return answer if 2 * shared >= len(own) else quote

    if not answers:
        return proposal
    edits = [edit.model_copy(update={"quotes": tuple(dict.fromkeys(map(quoted, edit.quotes)))})
             for edit in proposal.edits]  # fmt: skip
    return proposal.model_copy(update={"edits": tuple(edits)})


def as_spelled(edits: Sequence[Edit], observation: Observation) -> list[Edit]:
    """Edits of an observation as those of `with_answers(observation)`: what quotes an answer quotes its sentence."""
    answers = {_plain(answer): sentence for answer, sentence in _answers(observation).values()}
    return [edit.model_copy(update={"quotes": tuple(answers.get(_plain(quote), quote) for quote in edit.quotes)})
            for edit in edits]  # fmt: skip


def _plain(said: str) -> str:
    return said.strip(" .!,;")


def question_of(messages: Sequence[Message], turn: int, said: str) -> str:
    """The question that the short words of a message answer; empty where they are no answer, or say it themselves."""
    if len(said.split()) > MOST_SAID or speaks(said):
        return ""
    asked = _asked(messages, turn)
    if not asked or asks_secret(asked) or _CLOSER.search(asked):
        return ""
    own = messages[turn].content.lstrip()
    return asked if own.startswith(said) and not own[len(said) : len(said) + 1].isalnum() else ""


def _asked(messages: Sequence[Message], turn: int) -> str:
    """The one question with which the assistant ends before a message; empty where there is none, or are several."""
    before = messages[turn - 1].content.rstrip(_AROUND) if turn and messages[turn - 1].role == "assistant" else ""
    if before.count("?") != 1 or not before.endswith("?"):
        return ""
    last = sentences(before)[-1]
    return before[last.start : last.end]


def _answers(observation: Observation) -> dict[int, tuple[str, str]]:
    """By turn, what of the new messages is a short answer, and the sentence it stands for."""
    messages = observation.session.messages
    found = {turn: _answer(messages, turn) for turn in range(observation.start, len(messages))}
    return {turn: own for turn, own in found.items() if own is not None}


def _answer(messages: Sequence[Message], turn: int) -> tuple[str, str] | None:
    """The first sentence of a user's message, and what it stands for as an answer to the question before it."""
    question = _asked(messages, turn) if messages[turn].role == "user" else ""
    content = messages[turn].content.lstrip()
    spans = sentences(content[:_MOST_CHARS]) if question else []
    if not spans or spans[0].start or spans[0].end == _MOST_CHARS:
        return None
    told = " ".join(message.content for message in messages[max(turn - 2, 0) : turn])
    if names_nobody(question) and speaks_of_others(told):
        return None
    said = content[: spans[0].end]
    sentence = spelled_out(question, said)
    return (said, sentence) if sentence else None
