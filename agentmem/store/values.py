"""What the store gives back: frozen values."""

from __future__ import annotations

from datetime import datetime

from agentmem.memory import Memory, MemoryOp, Value


class Snapshot(Value):
    """The memories of one user at one version."""

    version: int = 0
    active: tuple[Memory, ...] = ()
    closed: tuple[Memory, ...] = ()

    @property
    def memories(self) -> tuple[Memory, ...]:
        """The active ones, then the closed ones."""
        return self.active + self.closed


class Refusal(Value):
    """A proposed change that was not made."""

    reason: str
    op: MemoryOp | None = None
    """None where the proposal could not even be read as a change."""


class Applied(Value):
    """What one call of `apply` did."""

    snapshot: Snapshot
    """The memory after it."""
    ops: tuple[MemoryOp, ...] = ()
    """The changes as they were really made."""
    refused: tuple[Refusal, ...] = ()


class Change(Value):
    """One entry of the journal: what changed, when, and by whom."""

    version: int
    """Version of the memory after it."""
    at: datetime
    author: str
    """policy, person (by hand), undo, repair, or what the caller of `apply` said."""
    policy: str = ""
    model: str = ""
    ops: tuple[MemoryOp, ...] = ()


class Forgotten(Value):
    """What was erased, and what could not be."""

    ids: tuple[str, ...] = ()
    version: int = 0
    erased: int = 0
    """Places in the stored conversations, and evidence of other memories, that were blanked."""
    leftovers: tuple[str, ...] = ()
    """Files in which the words still stand, with the reason; empty when nothing is left."""
