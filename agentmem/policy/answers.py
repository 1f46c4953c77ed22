"""Short answers spelled out: "Do you prefer an aisle or a window seat?" - "Aisle." is read as "I prefer an aisle seat."

What is written of it quotes the answer, as the user gave it.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentmem.policy.base import Observation, Proposal
from agentmem.policy.questions import MOST_SAID, asks_secret, speaks, spelled_out
from agentmem.policy.spans import sentences
from agentmem.session import Message

_AROUND = " \n\"'”’*_)"
"""What may stand after a question mark."""


def with_answers(observation: Observation) -> Observation:
    """The observation with the user's new short answers spelled out; itself where there are none."""
    messages, answers = list(observation.session.messages), _answers(observation)
    for turn, (said, sentence) in answers.items():
        rest = messages[turn].content.lstrip()[len(said) :].lstrip()
        messages[turn] = messages[turn].model_copy(update={"content": f"{sentence} {rest}".rstrip()})
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
        own = [answer for answer, sentence in answers.values() if quote.strip(" .!") in sentence or sentence in quote]
        return own[0] if own and not any(quote in content for content in said) else quote

    if not answers:
        return proposal
    edits = [edit.model_copy(update={"quotes": tuple(dict.fromkeys(map(quoted, edit.quotes)))})
             for edit in proposal.edits]  # fmt: skip
    return proposal.model_copy(update={"edits": tuple(edits)})


def question_of(messages: Sequence[Message], turn: int, said: str) -> str:
    """The question that the short words of a message answer; empty where they are no answer, or say it themselves."""
    before = messages[turn - 1] if turn else None
    if before is None or before.role != "assistant" or not before.content.rstrip(_AROUND).endswith("?"):
        return ""
    if len(said.split()) > MOST_SAID or speaks(said) or not messages[turn].content.lstrip().startswith(said):
        return ""
    last = sentences(before.content.rstrip(_AROUND))[-1]
    asked = before.content[last.start : last.end]
    return "" if asks_secret(asked) else asked


def is_answer(messages: Sequence[Message], turn: int, quote: str) -> bool:
    """Whether a quote of a message is such an answer, which nobody understands without the question before it."""
    found = _answer(messages, turn)
    return found is not None and quote.strip() in found[0]


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
    spans = sentences(content[:200])
    if asked.count("?") != 1 or not asked.endswith("?") or not spans or spans[0].start:
        return None
    last = sentences(asked)[-1]
    said = content[: spans[0].end]
    sentence = spelled_out(asked[last.start : last.end], said)
    return (said, sentence) if sentence else None
