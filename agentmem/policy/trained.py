"""TrainedPolicy: a model that `agentmem train` fine-tuned keeps the memory. What is trained is what is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from agentmem.policy.actions import EDITS, Actions, actions_of
from agentmem.policy.base import Observation, Proposal
from agentmem.policy.marks import Marker, shipped_marker
from agentmem.policy.pieces import joined, pieces

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


class TrainedPolicy:
    """Asks a fine-tuned model once: all pieces of all observations are one batch.

    Args:
        writer: the model.
        name: for the journal.
        chunk_tokens: new messages of one prompt, at most; a longer conversation is read piece by piece.
        actions: what the model writes, and how it is asked for it.
        marker: finds the sentences that the model is asked of; where there are none it isn't asked. None: the model
            reads all.
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
        parts = [(place, piece) for place, whole in enumerate(observations)
                 for piece in pieces(whole, self._chunk_tokens)]  # fmt: skip
        if self._marker is not None:
            seen = self._marker.mark([piece for _, piece in parts])
            parts = [(place, piece) for (place, _), piece in zip(parts, seen, strict=True) if piece.marks]
        asked = [self.actions.prompt(piece) for _, piece in parts]
        answers = self._writer.write([messages for messages, _ in asked], [names for _, names in asked])
        proposals = [Proposal() for _ in observations]
        for (place, piece), answer, (_, names) in zip(parts, answers, asked, strict=True):
            proposals[place] = joined(proposals[place], self.actions.read(answer, piece, names))
        return proposals


def load_trained(folder: Path, *, cache: Path | None = None, device: str | None = None) -> TrainedPolicy:
    """The policy of a trained adapter, in the action space it was trained for.

    Its weights are loaded when it first reads something.

    Args:
        folder: with adapter_config.json and adapter_model.safetensors, or with one folder that has them.
        cache: folder of downloaded models; None is the user's cache folder.
        device: cpu, cuda or mps; None chooses.

    Raises:
        ConfigError: no adapter lies there, or none that can be used.
    """
    from agentmem.models.adapted import AdaptedModel
    from agentmem.models.lora import adapter_folder

    actions = actions_of(adapter_folder(folder))
    writer = AdaptedModel(folder, grammar=actions.grammar, cache=cache, device=device, max_tokens=actions.max_tokens)
    marker = None if actions.marks is None else shipped_marker(actions.marks)
    return TrainedPolicy(writer, name=f"trained:{folder.resolve().name}", actions=actions, marker=marker)
