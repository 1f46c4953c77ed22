"""Short answers spelled out: "Do you prefer an aisle or a window seat?" - "Aisle." is read as "I prefer an aisle seat."

What is written of it quotes the answer, as the user gave it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentmem.memory import words
from agentmem.policy.base import Observation, Proposal
from agentmem.policy.questions import MOST_SAID, asks_secret, names_nobody, speaks, speaks_of_others, spelled_out
from agentmem.policy.spans import sentences
from agentmem.session import Message

_AROUND = " \n\"'”’*_)"
"""What may stand after a question mark."""
_MOST_CHARS = 200
"""Of a message that are looked at for an answer."""


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


def question_of(messages: Sequence[Message], turn: int, said: str) -> str:
    """The question that the short words of a message answer; empty where they are no answer, or say it themselves."""
    before = messages[turn - 1].content.rstrip(_AROUND) if turn and messages[turn - 1].role == "assistant" else ""
    if before.count("?") != 1 or not before.endswith("?") or len(said.split()) > MOST_SAID or speaks(said):
        return ""
    if re.match(rf"{re.escape(said)}(?!\w)", messages[turn].content.lstrip()) is None:
        return ""
    last = sentences(before)[-1]
    asked = before[last.start : last.end]
    return "" if asks_secret(asked) or _CLOSER.search(asked) else asked


_CLOSER = re.compile(
    r"\b(?:(?:any|some)thing else|what else|what(?:['’]s| is) next|can i (?:help|do)"
    r"|help you)\b",
    re.I,
)
"""Asks for the next request."""


def _answers(observation: Observation) -> dict[int, tuple[str, str]]:
    """By turn, what of the new messages is a short answer, and the sentence it stands for."""
    messages = observation.session.messages
    found = {turn: _answer(messages, turn) for turn in range(observation.start, len(messages))}
    return {turn: own for turn, own in found.items() if own is not None}


def _answer(messages: Sequence[Message], turn: int) -> tuple[str, str] | None:
    """The first sentence of a user's message, and what it stands for as an answer to the one question before it."""
    if turn < 1 or messages[turn].role != "user" or messages[turn - 1].role != "assistant":
        return None
    asked, content = messages[turn - 1].content.rstrip(_AROUND), messages[turn].content.lstrip()
    spans = sentences(content[:_MOST_CHARS])
    if asked.count("?") != 1 or not asked.endswith("?") or not spans or spans[0].start or spans[0].end == _MOST_CHARS:
        return None
    last = sentences(asked)[-1]
    said, question = content[: spans[0].end], asked[last.start : last.end]
    before = messages[turn - 2].content if turn > 1 else ""
    if names_nobody(question) and speaks_of_others(f"{before} {asked}"):
        return None
    sentence = spelled_out(question, said)
    return (said, sentence) if sentence else None
