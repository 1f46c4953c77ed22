"""TrainedPolicy: a model that `agentmem train` fine-tuned keeps the memory. What is trained is what is served."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from agentmem.models.sampling import Answer
from agentmem.policy.actions import EDITS, Actions, actions_of
from agentmem.policy.answers import as_said, with_answers
from agentmem.policy.base import Mark, Observation, Proposal
from agentmem.policy.marks import Marker, shipped_marker
from agentmem.policy.mending import distinct, mended
from agentmem.policy.pieces import joined, pieces
from agentmem.policy.spans import own_words

CHUNK_TOKENS = 1000
"""New messages of one prompt: a small model reads a short text better, and memory and answer need their place too."""

_log = logging.getLogger("agentmem")


class Writer(Protocol):
    """Writes answers: a model, or what records one for a trainer."""

    def write(self, prompts: Sequence[Sequence[Mapping[str, str]]], aliases: Sequence[Sequence[str]], /) -> list[str]:
        """One answer a prompt, in order.

        Args:
            prompts: chat messages with `role` and `content`, up to where the assistant begins.
            aliases: the memories that each answer may name.

        Raises:
            ModelError: the model fails, or a prompt is longer than its context.
        """
        ...


class Question(NamedTuple):
    """What the model is asked of an observation."""

    place: int
    """Of the observation."""
    seen: Observation
    """The part of it that is asked of."""
    messages: list[dict[str, str]]
    aliases: list[str]


class TrainedPolicy:
    """Asks a fine-tuned model once: all questions of all observations are one batch.

    Args:
        writer: the model.
        name: for the journal.
        chunk_tokens: new messages of one prompt, at most; a longer conversation is read piece by piece.
        actions: what the model writes, and how it is asked for it.
        marker: finds the sentences that the model is asked of, each by itself. What it words is held to what was said
            (agentmem/policy/mending.py), and requests to forget are carried out without it. None: it reads all.
    """

    def __init__(
        self,
        writer: Writer,
        name: str = "trained",
        *,
        chunk_tokens: int = CHUNK_TOKENS,
        actions: Actions = EDITS,
        marker: Marker | None = None,
    ) -> None:
        self.name = name
        self.actions = actions
        self._writer = writer
        self._chunk_tokens = chunk_tokens
        self._marker = marker

    def propose(self, observations: Sequence[Observation], /) -> list[Proposal]:
        """One proposal an observation. An answer that cannot be read is a problem of its proposal, no error."""
        return self.answered(observations, lambda questions: self._writer.write(
            [one.messages for one in questions], [one.aliases for one in questions]))  # fmt: skip

    def answered(
        self, observations: Sequence[Observation], write: Callable[[Sequence[Question]], Sequence[str]], /
    ) -> list[Proposal]:
        """One proposal an observation, of the answers that `write` gives: at first to all questions, then to those that
        take a sentence of which nothing was written for something else, or ask of a part that was left out."""
        spelled = observations if self._marker is None else [with_answers(whole) for whole in observations]
        questions, proposals = self.ask(spelled)
        while questions:
            further: list[Question] = []
            for question, answer in zip(questions, write(questions), strict=True):
                found, mark = self.read(question, answer), question.seen.mark
                if mark and mark.otherwise and not found.edits and not found.problems:
                    further.append(self._question(question.place, _marked(question.seen, mark.otherwise)))
                    continue
                proposals[question.place] = joined(proposals[question.place], found)
                left = self._marker.left_out(question.seen, found.edits) if self._marker and mark else []
                further += [self._question(question.place, _marked(question.seen, part)) for part in left]
            questions = further
        return [as_said(together(own), whole) for own, whole in zip(proposals, observations, strict=True)]

    def ask(self, observations: Sequence[Observation], /) -> tuple[list[Question], list[Proposal]]:
        """What the model is to be asked at first, and what is proposed of each observation without it."""
        shortened = own_words if self._marker is not None else str
        parts = [(place, piece) for place, whole in enumerate(observations)
                 for piece in pieces(whole, self._chunk_tokens, shortened)]  # fmt: skip
        proposals = [Proposal() for _ in observations]
        if self._marker is not None:
            marked = self._marker.marked([piece for _, piece in parts])
            parts = [(place, seen) for (place, _), own in zip(parts, marked, strict=True) for seen in own]
            for place, seen in parts:
                if _to_forget(seen):
                    proposals[place] = joined(proposals[place], Proposal(edits=tuple(self._marker.forgets(seen))))
            parts = [(place, seen) for place, seen in parts if not _to_forget(seen)]
        return [self._question(place, seen) for place, seen in parts], proposals

    def _question(self, place: int, seen: Observation) -> Question:
        return Question(place, seen, *self.actions.prompt(seen))

    def read(self, question: Question, answer: str, /) -> Proposal:
        """An answer as edits. Of a marked sentence, what it does not say or the model is unsure of is mended or
        dropped, and logged."""
        found = self.actions.read(answer, question.seen, question.aliases)
        mark = question.seen.mark
        if mark is None:
            return found
        sure = answer.sure if isinstance(answer, Answer) and len(answer.sure) >= len(found.edits) else ()
        own = [mended(edit, question.seen, mark, chance)
               for edit, chance in zip(found.edits, sure or [1.0] * len(found.edits), strict=False)]  # fmt: skip
        for _, problem in own:
            if problem:
                _log.info("an edit was mended: it %s", problem)
        return found.model_copy(update={"edits": tuple(edit for edit, _ in own if edit is not None)})


def _marked(seen: Observation, mark: Mark) -> Observation:
    return seen.model_copy(update={"mark": mark})


def _to_forget(seen: Observation) -> bool:
    return seen.mark is not None and seen.mark.worth == "forget"


def together(proposal: Proposal) -> Proposal:
    """A proposal without edits that do the same: sentences that stand together are often asked of with one outcome."""
    return proposal.model_copy(update={"edits": distinct(proposal.edits)})


def load_trained(
    folder: Path, *, cache: Path | None = None, device: str | None = None, at_once: bool = False
) -> TrainedPolicy:
    """The policy of a trained adapter, in the action space it was trained for.

    Args:
        folder: with adapter_config.json and adapter_model.safetensors, or with one folder that has them.
        cache: folder of downloaded models; None is the user's cache folder.
        device: cpu, cuda or mps; None chooses.
        at_once: load its weights now, and not when it first reads something.

    Raises:
        ConfigError: no adapter lies there, or none that can be used.
        ModelError: its base cannot be had; only with `at_once`.
    """
    from agentmem.models.adapted import AdaptedModel
    from agentmem.models.lora import adapter_folder

    actions = actions_of(adapter_folder(folder))
    writer = AdaptedModel(folder, grammar=actions.grammar, cache=cache, device=device, max_tokens=actions.max_tokens)
    if at_once:
        writer.load()
    marker = None if actions.marks is None else shipped_marker(actions.marks, cache, device)
    return TrainedPolicy(writer, name=f"trained:{folder.resolve().name}", actions=actions, marker=marker)
