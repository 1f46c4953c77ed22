"""TrainedPolicy: a model fine-tuned by `agentmem train` writes the edits. What is trained is what is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from agentmem.errors import OutputError
from agentmem.policy.base import Observation, Proposal
from agentmem.policy.edits import grammar
from agentmem.policy.pieces import joined, pieces, read_answer
from agentmem.policy.resolve import render_observation
from agentmem.prompts import render

CHUNK_TOKENS = 1000
"""New messages of one prompt: a small model reads a short text better, and memory and answer need their place too."""


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


def edit_prompt(observation: Observation) -> tuple[list[dict[str, str]], list[str]]:
    """The chat messages that ask for the edits of one observation, and the aliases that the answer may use."""
    text, aliases = render_observation(observation)
    messages = [{"role": "system", "content": render("edits")}, {"role": "user", "content": f"{text}\nEdits:"}]
    return messages, list(aliases)


class TrainedPolicy:
    """Asks a fine-tuned model for the edits, once: all pieces of all observations are one batch.

    Args:
        writer: the model.
        name: for the journal.
        chunk_tokens: new messages of one prompt, at most; a longer conversation is read piece by piece.
    """

    def __init__(self, writer: Writer, name: str = "trained", *, chunk_tokens: int = CHUNK_TOKENS) -> None:
        self.name = name
        self._writer = writer
        self._chunk_tokens = chunk_tokens

    def propose(self, observations: Sequence[Observation], /) -> list[Proposal]:
        """One proposal an observation. An answer that cannot be read is a problem of its proposal, no error."""
        places, prompts, aliases = [], [], []
        for place, observation in enumerate(observations):
            for piece in pieces(observation, self._chunk_tokens):
                messages, names = edit_prompt(piece)
                places.append(place)
                prompts.append(messages)
                aliases.append(names)
        proposals = [Proposal() for _ in observations]
        answers = self._writer.write(prompts, aliases)
        for place, answer, names in zip(places, answers, aliases, strict=True):
            proposals[place] = joined(proposals[place], _read(answer, names))
        return proposals


def _read(answer: str, aliases: Sequence[str]) -> Proposal:
    try:
        return read_answer(answer, aliases)
    except OutputError as error:
        return Proposal(raw=answer, problems=(str(error),))


def load_trained(folder: Path, *, cache: Path | None = None, device: str | None = None) -> TrainedPolicy:
    """The policy of a trained adapter; its weights are loaded when it first reads something.

    Args:
        folder: with adapter_config.json and adapter_model.safetensors, or with one folder that has them.
        cache: folder of downloaded models; None is the user's cache folder.
        device: cpu, cuda or mps; None chooses.

    Raises:
        ConfigError: no adapter lies there, or none that can be used.
    """
    from agentmem.models.adapted import AdaptedModel

    writer = AdaptedModel(folder, grammar=grammar, cache=cache, device=device)
    return TrainedPolicy(writer, name=f"trained:{folder.resolve().name}")
