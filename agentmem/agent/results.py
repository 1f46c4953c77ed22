"""What the agent gives back: frozen values."""

from __future__ import annotations

from collections.abc import Iterator

from agentmem.memory import Hit, MemoryOp, Value
from agentmem.route import RouteName
from agentmem.store import Refusal


class Observed(Value):
    """What one conversation changed in the memory."""

    session: str
    version: int
    """Version of the memory after it."""
    ops: tuple[MemoryOp, ...]
    """Changes really made, in order."""
    refused: tuple[Refusal, ...] = ()
    """Proposed changes that were not made, each with its reason."""
    skipped: int = 0
    """Turns that had been observed before."""


class Recall(Value):
    """What is remembered that bears on a query."""

    hits: tuple[Hit, ...]
    route: RouteName
    """How an answer to this query would read the memory."""
    tokens: int
    """Estimated tokens of the hits together."""


class Context(Value):
    """What of the memory goes into the prompt of an answer."""

    text: str
    """For a system message; empty when nothing is to be shown."""
    shown: tuple[str, ...]
    """Ids of the memories in it."""
    route: RouteName
    tokens: int
    """Estimated tokens of the memories and turns in it."""
    ask: bool = False
    """Whether to ask the user one question first: the answer hangs on something that is not known."""


class Reply(Value):
    """An answer, and what of the memory went into it."""

    text: str
    asked: bool = False
    """Whether it is a question that comes before the answer."""
    used: tuple[str, ...]
    """Ids of the memories that the answer visibly follows."""
    shown: tuple[str, ...]
    """Ids of the memories that the model saw."""
    route: RouteName
    tokens: int
    """Estimated tokens of the memory in the prompt."""


class ReplyStream:
    """The pieces of an answer as they come; `reply` is the whole once they are all read."""

    def __init__(self, pieces: Iterator[str | Reply]) -> None:
        self._pieces = pieces
        self._reply: Reply | None = None

    def __iter__(self) -> Iterator[str]:
        for piece in self._pieces:
            if isinstance(piece, Reply):
                self._reply = piece
            else:
                yield piece

    @property
    def reply(self) -> Reply:
        """The finished answer. Raises RuntimeError before the stream has been read to its end."""
        if self._reply is None:
            raise RuntimeError("read the stream to its end first")
        return self._reply
