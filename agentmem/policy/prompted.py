"""PromptedPolicy: any chat model writes the edits, a conversation a call."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agentmem.errors import ModelError, OutputError, boundary
from agentmem.models.local import LocalChatModel
from agentmem.policy.base import Observation, Proposal
from agentmem.policy.edits import grammar, parse_edits
from agentmem.policy.resolve import ASSISTANT_CHARS, render_observation, to_ops
from agentmem.prompts import render
from agentmem.route import count_tokens
from agentmem.session import Message

CHUNK_TOKENS = 5000
"""New messages of one call; a longer conversation is read piece by piece. With the prompt, the memory and the answer
this stays below the 8,192 tokens of a local model."""
CHUNK_CHARS = 2 * CHUNK_TOKENS
"""A longer message is read in parts of this size: at most CHUNK_TOKENS in an alphabet of two characters a token."""


class PromptedPolicy:
    """Asks a chat model for the edits.

    Args:
        model: any LangChain chat model. The local ones are held to the grammar, so that every line can be read.
        retries: how often an answer that cannot be read, or is refused as a whole, is asked for again with the reasons.
    """

    name = "prompted"

    def __init__(self, model: BaseChatModel, *, retries: int = 1) -> None:
        self._model = model
        self._retries = retries

    def propose(self, observations: Sequence[Observation], /) -> list[Proposal]:
        """One proposal an observation. Raises OutputError when an answer cannot be read, also not after the retries."""
        pieces = [(place, piece) for place, whole in enumerate(observations) for piece in _chunks(whole)]
        prompts = [_prompt(piece) for _, piece in pieces]
        answers = self._ask(prompts)
        proposals = [Proposal() for _ in observations]
        for (place, piece), prompt, answer in zip(pieces, prompts, answers, strict=True):
            proposals[place] = _joined(proposals[place], self._read(answer, prompt, piece, self._retries))
        return proposals

    def _ask(self, prompts: Sequence[tuple[list[BaseMessage], list[str]]]) -> list[str]:
        with boundary(ModelError, "chat model"):
            if isinstance(self._model, LocalChatModel):  # each has aliases, so a grammar, of its own
                return [self._model.bind(grammar=grammar(aliases)).invoke(prompt).text for prompt, aliases in prompts]
            return [answer.text for answer in self._model.batch([prompt for prompt, _ in prompts])]

    def _read(
        self, answer: str, prompt: tuple[list[BaseMessage], list[str]], piece: Observation, retries: int
    ) -> Proposal:
        messages, aliases = prompt
        try:
            edits, problems = parse_edits(answer)
        except OutputError as error:
            if not retries:
                raise
            proposal, wrong = None, f"That could not be read ({error})."
        else:
            unseen = tuple(edit for edit in edits if set(edit.aliases) - set(aliases))  # a memory it was not shown
            problems += tuple(f"no memory called {' '.join(edit.aliases)} was shown" for edit in unseen)
            seen = tuple(edit for edit in edits if edit not in unseen)
            proposal = Proposal(edits=seen, raw=answer, problems=problems)
            wrong = _all_refused(proposal, piece)
            if not wrong or not retries:
                return proposal
        again = HumanMessage(f"{wrong} Answer with edits only, or = for none.")
        [second] = self._ask([([*messages, again], aliases)])
        try:
            return self._read(second, prompt, piece, retries - 1)
        except OutputError:
            if proposal is None:
                raise
            return proposal  # the first answer could at least be read; its refusals are reported


def _all_refused(proposal: Proposal, piece: Observation) -> str:
    """Why not one edit of the proposal would be carried out; empty when some would, or when nothing was proposed."""
    ops, refused = to_ops(proposal.edits, piece, rng=random.Random(0))
    reasons = [*proposal.problems, *(refusal.reason for refusal in refused)]
    return "" if ops or not reasons else "None of that can be used: " + "; ".join(reasons[:3]) + "."


def _prompt(observation: Observation) -> tuple[list[BaseMessage], list[str]]:
    text, aliases = render_observation(observation)
    return [SystemMessage(render("observe")), HumanMessage(f"{text}\nEdits:")], list(aliases)


def _chunks(observation: Observation) -> Iterator[Observation]:
    """The observation in pieces of at most CHUNK_TOKENS of new messages; a longer message is read in parts."""
    before = list(observation.session.messages[: observation.start])
    new = [part for message in observation.session.messages[observation.start :] for part in _parts(message)]
    first, tokens = 0, 0
    for place, message in enumerate(new):
        cost = count_tokens(message.content if message.role == "user" else message.content[:ASSISTANT_CHARS])
        if tokens and tokens + cost > CHUNK_TOKENS:
            yield _piece(observation, [*before, *new[:place]], len(before) + first)
            first, tokens = place, 0
        tokens += cost
    yield _piece(observation, [*before, *new], len(before) + first)


def _parts(message: Message) -> list[Message]:
    """A user message in parts of at most CHUNK_CHARS, cut at line or sentence ends where there are any."""
    text, parts = message.content, []
    while message.role == "user" and len(text) > CHUNK_CHARS:
        ends = [text.rfind(end, CHUNK_CHARS // 2, CHUNK_CHARS) + len(end) for end in ("\n", ". ", " ")]
        cut = next((end for end in ends if end >= CHUNK_CHARS // 2), CHUNK_CHARS)
        parts.append(text[:cut])
        text = text[cut:]
    return [message.model_copy(update={"content": part}) for part in [*parts, text]] if parts else [message]


def _piece(observation: Observation, messages: list[Message], start: int) -> Observation:
    session = observation.session.model_copy(update={"messages": tuple(messages)})
    return observation.model_copy(update={"session": session, "start": start})


def _joined(first: Proposal, second: Proposal) -> Proposal:
    return Proposal(
        edits=first.edits + second.edits,
        raw="\n".join(filter(None, [first.raw, second.raw])),
        problems=first.problems + second.problems,
    )
