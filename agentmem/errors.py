"""Every error agentmem raises on purpose. One line each: what is wrong, where, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class AgentMemError(Exception):
    """Base of all errors a caller may want to catch."""


class ConfigError(AgentMemError, ValueError):
    """A setting, name or argument that cannot work."""


class SessionError(AgentMemError, ValueError):
    """A conversation that cannot be read; names the file and the line or message."""


class TrainingDataError(AgentMemError, ValueError):
    """Training data that cannot be read or used; names the file, the line and the field."""


class StoreError(AgentMemError):
    """The files of one user cannot be read or written."""


class MarkdownError(StoreError):
    """A memory file that does not follow the format; the message starts with path:line."""


class MemoryNotFoundError(StoreError, LookupError):
    """No memory has this id."""


class WriteConflictError(StoreError):
    """Somebody else changed the same memory since it was read."""


class SearchError(StoreError):
    """The derived search index cannot be used; `agentmem doctor` rebuilds it."""


class ModelError(AgentMemError):
    """A chat model or an embedder failed."""


class OutputError(ModelError):
    """A model answered something that cannot be read.

    Attributes:
        raw: the model's whole answer, so that nothing it said is lost.
    """

    def __init__(self, message: str, raw: str = "") -> None:
        super().__init__(message, raw)  # both in args, so that pickling keeps them
        self.raw = raw

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def boundary(error: type[AgentMemError], what: str) -> Iterator[None]:
    """Turn any failure of foreign code into `error`, keeping the cause. The one broad except.

    Our own errors pass through unchanged; so do KeyboardInterrupt and SystemExit.
    """
    try:
        yield
    except AgentMemError:
        raise
    except Exception as cause:
        said = str(cause).strip().splitlines()
        raise error(f"{what}: {said[0] if said else type(cause).__name__}") from cause
