"""PromptedPolicy: any chat model writes the edits, a conversation a call."""

from __future__ import annotations

import random
from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agentmem.errors import ModelError, OutputError, boundary
from agentmem.models.local import LocalChatModel
from agentmem.policy.base import Observation, Proposal
from agentmem.policy.edits import grammar
from agentmem.policy.pieces import joined, pieces, read_answer
from agentmem.policy.resolve import render_observation, to_ops
from agentmem.prompts import render

CHUNK_TOKENS = 5000
"""New messages of one call; a longer conversation is read piece by piece. With the prompt, the memory and the answer
this stays below the 8,192 tokens of a local model."""


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
        parts = [(place, piece) for place, whole in enumerate(observations) for piece in pieces(whole, CHUNK_TOKENS)]
        prompts = [_prompt(piece) for _, piece in parts]
        answers = self._ask(prompts)
        proposals = [Proposal() for _ in observations]
        for (place, piece), prompt, answer in zip(parts, prompts, answers, strict=True):
            proposals[place] = joined(proposals[place], self._read(answer, prompt, piece, self._retries))
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
            proposal = read_answer(answer, aliases)
        except OutputError as error:
            if not retries:
                raise
            proposal, wrong = None, f"That could not be read ({error})."
        else:
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
