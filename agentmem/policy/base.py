"""What a memory policy is: it reads known memories and a conversation, and proposes edits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Literal, Protocol, get_args

from agentmem.memory import Memory, Value
from agentmem.policy.edits import Edit
from agentmem.session import Session

Worth = Literal["none", "fact", "preference", "inferred", "instruction", "replace", "close", "forget"]
WORTHS: tuple[Worth, ...] = get_args(Worth)
"""What a sentence calls for: nothing, an addition of some kind, or a change of what is known."""


class Mark(Value):
    """A sentence of the user's that was found worth writing down (agentmem/policy/marks.py)."""

    text: str
    turn: int
    worth: Worth
    """What it calls for."""
    near: tuple[str, ...] = ()
    """Ids of the memories nearest to it, the nearest first; of a change the one that it is thought to change."""
    sure: float = 1.0
    """Probability that it is worth writing down."""
    otherwise: Mark | None = None
    """What it is taken for when the policy writes nothing of it as this."""


class Observation(Value):
    """What a policy sees: what is known, and a conversation with something new in it."""

    memories: tuple[Memory, ...]
    """The active ones."""
    session: Session
    start: int = 0
    """First turn that is new; the ones before are context."""
    today: date
    mark: Mark | None = None
    """The sentence that the policy is asked of; None: of all that is new."""
    spelled: tuple[str, ...] = ()
    """Sentences in it that stand for short answers, see agentmem/policy/answers.py."""


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
