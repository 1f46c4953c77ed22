"""A long conversation in pieces that a model can read, and what a model answered to each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from agentmem.errors import OutputError
from agentmem.policy.base import Observation, Proposal
from agentmem.policy.edits import parse_edits
from agentmem.policy.resolve import ASSISTANT_CHARS
from agentmem.route import count_tokens
from agentmem.session import Message


def pieces(
    observation: Observation, tokens: int, shortened: Callable[[str], str] = lambda text: text
) -> Iterator[Observation]:
    """The observation in pieces of at most `tokens` (estimated) of new messages; at least one.

    A longer message is read in parts of 2 * `tokens` characters: that is `tokens` in an alphabet of two characters a
    token.

    Args:
        observation: the whole.
        tokens: at most, of one piece.
        shortened: of the text of a message that is too long what is read at all. A part of it does not show any more
            that it stands in a pasted text, so who wants the user's own words takes them from the whole.
    """
    before = list(observation.session.messages[: observation.start])
    chars = 2 * tokens
    new = [
        part
        for message in observation.session.messages[observation.start :]
        for part in _parts(message, chars, shortened)
    ]
    first, read = 0, 0
    for place, message in enumerate(new):
        cost = count_tokens(message.content if message.role == "user" else message.content[:ASSISTANT_CHARS])
        if read and read + cost > tokens:
            yield _piece(observation, [*before, *new[:place]], len(before) + first)
            first, read = place, 0
        read += cost
    yield _piece(observation, [*before, *new], len(before) + first)


def _parts(message: Message, chars: int, shortened: Callable[[str], str]) -> list[Message]:
    """A user message in parts of at most `chars` characters, cut at line or sentence ends where there are any."""
    if message.role != "user" or len(message.content) <= chars:
        return [message]
    text, parts = shortened(message.content), []
    while len(text) > chars:
        ends = [text.rfind(end, chars // 2, chars) + len(end) for end in ("\n", ". ", " ")]
        cut = next((end for end in ends if end >= chars // 2), chars)
        parts.append(text[:cut])
        text = text[cut:]
    return [message.model_copy(update={"content": part}) for part in [*parts, text]]


def _piece(observation: Observation, messages: list[Message], start: int) -> Observation:
    session = observation.session.model_copy(update={"messages": tuple(messages)})
    return observation.model_copy(update={"session": session, "start": start})


def read_answer(answer: str, aliases: Collection[str]) -> Proposal:
    """What a model answered to a piece; an edit of a memory that it was not shown becomes a problem.

    Raises OutputError when not a single line can be read.
    """
    edits, problems = parse_edits(answer)
    unseen = tuple(edit for edit in edits if set(edit.aliases) - set(aliases))
    problems += tuple(f"no memory called {' '.join(edit.aliases)} was shown" for edit in unseen)
    return Proposal(edits=tuple(edit for edit in edits if edit not in unseen), raw=answer, problems=problems)


def read_edits(answer: str, aliases: Collection[str]) -> Proposal:
    """`read_answer`, where an answer that cannot be read at all is a problem of its proposal."""
    try:
        return read_answer(answer, aliases)
    except OutputError as error:
        return Proposal(raw=answer, problems=(str(error),))


def joined(first: Proposal, second: Proposal) -> Proposal:
    """Both as one, in this order."""
    return Proposal(
        edits=first.edits + second.edits,
        raw="\n".join(filter(None, [first.raw, second.raw])),
        problems=first.problems + second.problems,
    )
