"""What a memory policy is: it reads known memories and a conversation, and proposes edits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Protocol

from agentmem.memory import Memory, Value
from agentmem.policy.edits import Edit
from agentmem.session import Session


class Observation(Value):
    """What a policy sees: what is known, and a conversation with something new in it."""

    memories: tuple[Memory, ...]
    """The active ones."""
    session: Session
    start: int = 0
    """First turn that is new; the ones before are context."""
    today: date
    marks: tuple[str, ...] | None = None
    """Sentences of the user's that were found worth writing down (agentmem/policy/marks.py); None: nobody looked."""


class Proposal(Value):
    """What a policy wrote: the edits that could be read, and what could not."""

    edits: tuple[Edit, ...] = ()
    raw: str = ""
    """The policy's whole answer."""
    problems: tuple[str, ...] = ()
    """Lines that could not be read, each with its reason."""


class MemoryPolicy(Protocol):
    """Proposes edits; this is extraction, and what is trained."""

    @property
    def name(self) -> str: ...

    def propose(self, observations: Sequence[Observation], /) -> list[Proposal]:
        """One proposal an observation, in order. Raises ModelError when a model fails."""
        ...
