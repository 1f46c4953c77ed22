"""Action spaces of a trained policy: what it is shown, what it writes, and how that is read as edits.

`edits`: it writes the changes (agentmem/policy/edits.py). `rewrite`: it writes the whole memory anew
(agentmem/policy/rewrite.py). Both come to edits, so all that follows is the same: resolving, reconciling, rewards.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from agentmem.errors import ConfigError, boundary
from agentmem.models.lora import adapter_folder
from agentmem.policy.base import Observation, Proposal
from agentmem.policy.edits import Edit, format_edits, grammar
from agentmem.policy.pieces import read_edits
from agentmem.policy.resolve import render_observation
from agentmem.policy.rewrite import MEMORY_TOKENS, Rewrite
from agentmem.prompts import render

ActionsName = Literal["edits", "rewrite"]
FILE = "agentmem.json"
"""Beside the weights of an adapter: the action space it was trained for. An adapter without it writes edits."""


class Actions(Protocol):
    """What a policy can do with an observation."""

    @property
    def name(self) -> str: ...

    @property
    def memory_tokens(self) -> int | None:
        """Tokens (estimated) that the memory should stay within; None: whatever the rewards say."""
        ...

    @property
    def marks(self) -> float | None:
        """Probability of being worth something from which on sentences are marked, and the policy asked of these alone
        (agentmem/policy/marks.py); None: it reads all."""
        ...

    @property
    def max_tokens(self) -> int:
        """That one answer may have, where it is served."""
        ...

    @property
    def least_tokens(self) -> int:
        """That one answer must be allowed to have, for all its answers to fit."""
        ...

    def prompt(self, observation: Observation, /) -> tuple[list[dict[str, str]], list[str]]:
        """Chat messages that ask for an answer, and the aliases of the memories shown in them."""
        ...

    def read(self, answer: str, observation: Observation, aliases: Sequence[str], /) -> Proposal:
        """An answer to `prompt` as edits. One that cannot be read is a problem of the proposal, no error."""
        ...

    def write(self, edits: Sequence[Edit], observation: Observation, /) -> str:
        """The answer that a perfect policy would give to come to these edits."""
        ...

    def grammar(self, aliases: Sequence[str], /) -> str:
        """GBNF of all answers that can be read."""
        ...


@dataclass(frozen=True)
class EditLines:
    """The policy writes edits, one a line.

    Args:
        memory_tokens: for the cost `oversize` alone; the prompt doesn't say it.
        marks: see Actions.
    """

    memory_tokens: int | None = None
    marks: float | None = None
    name = "edits"
    max_tokens = 256
    """About six edits. A cut answer loses its last line only."""
    least_tokens = 1
    grammar = staticmethod(grammar)

    def prompt(self, observation: Observation, /) -> tuple[list[dict[str, str]], list[str]]:
        text, aliases = render_observation(observation)
        messages = [{"role": "system", "content": render("edits")}, {"role": "user", "content": f"{text}\nEdits:"}]
        return messages, list(aliases)

    def read(self, answer: str, observation: Observation, aliases: Sequence[str], /) -> Proposal:
        return read_edits(answer, aliases)

    def write(self, edits: Sequence[Edit], observation: Observation, /) -> str:
        return format_edits(edits)


EDITS = EditLines()


def get_actions(name: str, memory_tokens: int | None = None, marks: float | None = None) -> Actions:
    """The action space called `name`.

    Args:
        name: "edits" or "rewrite".
        memory_tokens: that the memory should stay within; None is MEMORY_TOKENS for a rewrite, no bound for edits.
        marks: for edits, probability from which on sentences are marked; None for no marks.

    Raises:
        ConfigError: there is none of that name, or a number cannot be.
    """
    if memory_tokens is not None and memory_tokens < 1:
        raise ConfigError(f"memory_tokens {memory_tokens}: give 1 or more")
    if marks is not None and not (name == "edits" and 0 < marks < 1):
        raise ConfigError(f"marks {marks}: a probability between 0 and 1, for the actions edits only")
    if name == "edits":
        return EditLines(memory_tokens, marks)
    if name == "rewrite":
        return Rewrite(memory_tokens or MEMORY_TOKENS)
    raise ConfigError(f"actions {name!r}: choose edits or rewrite")


def actions_of(adapter: Path) -> Actions:
    """The action space that the adapter in this folder was trained for; edits where nothing says another.

    Raises ConfigError when its file cannot be read, or names no action space.
    """
    file = adapter / FILE
    if not file.is_file():
        return EDITS
    with boundary(ConfigError, f"{file}: cannot be read"):
        found = json.loads(file.read_text("utf-8"))
        name, tokens = str(found["actions"]), found.get("memory_tokens")
        tokens = None if tokens is None else int(tokens)
        marks = None if found.get("marks") is None else float(found["marks"])
    try:
        return get_actions(name, tokens, marks)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error


def keep_actions(actions: Actions, adapter: Path) -> None:
    """Write down beside an adapter for which action space it was trained, as `actions_of` reads it."""
    kept = {"actions": actions.name, "memory_tokens": actions.memory_tokens, "marks": actions.marks}
    (adapter / FILE).write_text(json.dumps(kept, indent=2) + "\n", "utf-8")


def check_start(actions: Actions, adapter: Path) -> None:
    """Raises ConfigError when the adapter to begin from was trained for another action space."""
    own = actions_of(adapter_folder(adapter)).name
    if own != actions.name:
        raise ConfigError(
            f"{adapter}: was trained for the actions {own!r}, and this run is of {actions.name!r}; "
            f"give --actions {own}, or begin from another adapter"
        )
